//! A state for tests: two lanes, one of them in trouble, names that need escaping everywhere.

use std::collections::BTreeMap;

use super::*;

/// See the module.
pub fn state() -> State {
    State {
        version: VERSION,
        edgeferry: "0.1.0".to_owned(),
        gateway: "gw-7 \"north\\<b>\"".to_owned(),
        epoch: "00000000000000a1".to_owned(),
        delivery: "at-least-once".to_owned(),
        unix_ms: 1_795_000_000_000,
        is_clock_synchronised: Some(true),
        uptime_s: 86_400,
        health: Health {
            is_ready: false,
            is_live: true,
            is_buffering: true,
            level: Grade::Bad,
            heading: "Stored safely, but stuck until somebody acts.".to_owned(),
            more: "Kafka refuses <i>.".to_owned(),
            summary: "NOT READY; Kafka is away".to_owned(),
            advice: vec![Advice {
                level: Level::Error,
                what: "Kafka refuses: SASL authentication failed".to_owned(),
                todo: "put the password right and say `systemctl reload edgeferry`".to_owned(),
            }],
            not_applied: Some(NotApplied {
                file: "/etc/edgeferry/edgeferry.toml".to_owned(),
                unix_ms: 1_794_999_980_000,
                why: vec!["line 12: mqtt[0].keep_alive: cannot be used as it is".to_owned()],
                more: 0,
            }),
        },
        lanes: vec![
            lane("default", Link::Up, 0),
            lane(
                "alarms",
                Link::Refused("SASL authentication failed".to_owned()),
                17,
            ),
        ],
        disk: Disk {
            path: "/var/lib/edgeferry".to_owned(),
            free_bytes: Some(5_000_000_000),
            total_bytes: Some(16_000_000_000),
            written_bytes: 3_000_000,
            written_last_day_bytes: 2_000_000,
            written_last_day_over_s: 86_400,
            projected_per_day_bytes: 2_500_000,
            written_per_payload_byte: Some(2.6),
            min_free_bytes: 64 << 20,
            budget_per_day_bytes: Some(1 << 30),
        },
        certificates: vec![Certificate {
            of: "kafka".to_owned(),
            setting: "ca_file".to_owned(),
            file: "/etc/edgeferry/ca.pem".to_owned(),
            not_after_unix_ms: Some(1_795_864_000_000),
            failure: None,
        }],
        events: vec![Event {
            unix_ms: 1_794_999_990_000,
            level: Level::Warning,
            text: "disconnected; trying again broker=\"local\" <script>".to_owned(),
            count: 3,
            advice: Some("see whether the broker runs".to_owned()),
        }],
        not_forwarded: None,
        stalled_s: None,
    }
}

fn lane(name: &str, kafka: Link, queued: u64) -> Lane {
    Lane {
        name: name.to_owned(),
        is_leaving: false,
        is_reloading: false,
        stalled_s: None,
        brokers: vec![Broker {
            name: "local".to_owned(),
            link: Link::Up,
            received: 1_030,
            stored: 1_020,
            put_back: 3,
            reconnects: 2,
            dropped_by_broker: Some(4),
            dropped_last_hour: 0,
            away_s: None,
        }],
        kafka_away_s: (kafka != Link::Up).then_some(60),
        kafka,
        held: None,
        ledger: Ledger {
            received: 1_020 + queued,
            delivered: 1_000,
            queued,
            dead_lettered: 5,
            removed: BTreeMap::from([("damaged".to_owned(), 0), ("expired".to_owned(), 15)]),
            recognised: 7,
            resent: 11,
            unprotected: 2,
            unaccounted: Some(0),
        },
        queue: Queue {
            bytes: 300_000,
            max_bytes: 1 << 30,
            is_full: false,
            failure: None,
            oldest_unix_ms: (queued > 0).then_some(1_794_999_940_000),
            age_s: (queued > 0).then_some(60.0),
            is_age_unknown: false,
            commit_interval_s: 0.01,
        },
        flow: Flow {
            in_per_s: 12.5,
            out_per_s: 12.5,
            drained_in_s: None,
            rewinds: 1,
            is_limited: false,
        },
        letters: Letters {
            count: 5,
            bytes: 2_048,
            dropped: 0,
            lost: 0,
        },
        routes: vec![tally("telemetry", None)],
        devices: Devices {
            busiest: vec![tally("pump-1", None)],
            troubled: vec![tally("pump-\u{1f6a8}", Some("payload is no JSON"))],
            busiest_share: Some(0.4),
        },
        last_hour: LastHour {
            over_s: 3600,
            ..LastHour::default()
        },
    }
}

fn tally(name: &str, why: Option<&str>) -> Tally {
    Tally {
        name: name.to_owned(),
        delivered: 400,
        dead_lettered: u64::from(why.is_some()),
        trouble: why.map(|why| Trouble {
            unix_ms: 1_794_999_000_000,
            why: why.to_owned(),
        }),
    }
}

#[test]
fn a_state_goes_through_json_and_back() {
    let json = serde_json::to_string(&state()).unwrap();
    assert_eq!(serde_json::from_str::<State>(&json).unwrap(), state());
    assert!(json.contains(r#""kafka":{"state":"refused","reason":"SASL authentication failed"}"#));
}
