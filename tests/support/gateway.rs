//! States of a gateway, made up: what the page and the metrics show of times that no test can wait for.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use edgeferry::link::Link;
use edgeferry::ops::Look;
use edgeferry::ops::history::History;
use edgeferry::ops::http::Server;
use edgeferry::ops::http::access::Access;
use edgeferry::ops::state::{
    Broker, Certificate, Devices, Disk, Event, Flow, Health, Lane, LastHour, Ledger, Letters, Level,
    NotApplied, Queue, State, Tally, Trouble, VERSION,
};

use super::{ports, wait};

const DAY_MS: i64 = 24 * 3_600_000;

fn now_ms() -> i64 {
    let since = wait::wall_clock()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292278994")
}

/// A gateway with two lanes and nothing the matter.
pub fn calm() -> State {
    let mut lane = lane("default", 41_208_377);
    lane.brokers.push(broker("plc-hall-2"));
    judged(State {
        version: VERSION,
        edgeferry: "0.1.0".into(),
        gateway: "pi-10000000d43f2a91".into(),
        epoch: "019ad8e27c41a0b5".into(),
        delivery: "at-least-once".into(),
        unix_ms: now_ms(),
        is_clock_synchronised: Some(true),
        uptime_s: 19 * 86_400 + 7_000,
        health: Health::default(),
        lanes: vec![lane, alarms()],
        disk: Disk {
            path: "/var/lib/edgeferry".into(),
            free_bytes: Some(9_300_000_000),
            total_bytes: Some(15_600_000_000),
            written_bytes: 61_000_000_000,
            written_last_day_bytes: 3_350_000_000,
            written_last_day_over_s: 86_400,
            projected_per_day_bytes: 3_100_000_000,
            written_per_payload_byte: Some(2.4),
            min_free_bytes: 64 << 20,
            budget_per_day_bytes: Some(4 << 30),
        },
        certificates: vec![
            certificate("kafka", "ca_file", "/etc/edgeferry/kafka-ca.pem", Some(2_400)),
            certificate(
                "mqtt local",
                "cert_file",
                "/etc/edgeferry/mqtt-cert.pem",
                Some(64),
            ),
        ],
        events: Vec::new(),
        not_forwarded: None,
        stalled_s: None,
    })
}

/// With what the daemon makes of it.
pub fn judged(mut state: State) -> State {
    let not_applied = state.health.not_applied.take();
    state.health = Health::of(&state);
    let advice = not_applied.iter().map(NotApplied::advice);
    state.health.advice.extend(advice);
    state.health.not_applied = not_applied;
    state
}

fn alarms() -> Lane {
    let mut lane = lane("alarms", 10_412);
    lane.flow.in_per_s = 0.2;
    lane.flow.out_per_s = 0.2;
    lane.ledger.queued = 0;
    lane.ledger.dead_lettered = 0;
    lane.ledger.received -= 3 + 23;
    lane.queue.age_s = None;
    lane.letters.count = 0;
    lane.letters.bytes = 0;
    lane.queue.bytes = 180_224;
    lane.queue.max_bytes = 64 << 20;
    lane.routes = vec![tally("alarms", 10_000, None)];
    lane.devices = Devices::default();
    lane
}

/// Kafka has been away for two hours; an old certificate; a few errors.
pub fn away() -> State {
    let mut state = calm();
    let reason =
        "ssl://kafka-2.example.net:9093/2: Connect to ipv4#203.0.113.17:9093 failed: Connection timed out";
    for lane in &mut state.lanes {
        lane.kafka = Link::Down(reason.into());
        lane.flow.out_per_s = 0.0;
        lane.flow.drained_in_s = None;
        lane.kafka_away_s = Some(7_411);
    }
    let lane = &mut state.lanes[0];
    lane.ledger.queued += 903_114;
    lane.ledger.received += 903_114;
    lane.queue.bytes = 412_000_000;
    lane.queue.age_s = Some(7_411.0);
    lane.letters.count = 23;
    state.certificates[1] = certificate("mqtt local", "cert_file", "/etc/edgeferry/mqtt-cert.pem", Some(5));
    state.events = vec![
        event(
            Level::Warning,
            40,
            reason,
            241,
            Some("See whether the uplink works; messages wait here meanwhile."),
        ),
        event(
            Level::Warning,
            5_400,
            "disconnected; trying again broker=\"plc-hall-2\" error=connection reset by peer",
            2,
            Some("See whether the broker runs."),
        ),
        event(
            Level::Error,
            40_000,
            "a message becomes a dead letter: the payload is no JSON topic=\"devices/press-4/telemetry\"",
            23,
            Some("`edgeferry dead-letter ls` shows it; put the device or the route right."),
        ),
    ];
    judged(state)
}

/// Kafka refuses, one broker is away, a lane is full, and every name and text is an attempt to be markup.
pub fn hostile() -> State {
    let mut state = away();
    state.gateway = "\"><script>window.owned=1</script>".into();
    state.edgeferry = "<b>0</b>".into();
    state.epoch = "<u>1</u>".into();
    state.not_forwarded = Some(HOSTILE.into());
    state.disk.path = HOSTILE.into();
    state.lanes[0].kafka = Link::Refused(HOSTILE.into());
    state.lanes[1].name = HOSTILE.into();
    state.lanes[1].held = Some(HOSTILE.into());
    state.lanes[1].queue.is_full = true;
    state.lanes[1].queue.bytes = 64 << 20;
    state.lanes[1].brokers[0] = Broker {
        link: Link::Down(HOSTILE.into()),
        dropped_by_broker: Some(412),
        dropped_last_hour: 0,
        away_s: None,
        ..broker(HOSTILE)
    };
    state.lanes[0].ledger.removed.insert(HOSTILE.into(), 0);
    state.lanes[0].ledger.removed.insert("damaged".into(), 4);
    state.lanes[0].last_hour.lost = 4;
    state.health.not_applied = Some(NotApplied {
        file: HOSTILE.into(),
        unix_ms: now_ms() - 60_000,
        why: vec![HOSTILE.into(), HOSTILE.into()],
        more: 3,
    });
    state.lanes[0].ledger.received += 4;
    state.lanes[0].routes.push(tally(HOSTILE, 12, Some(HOSTILE)));
    state.lanes[0]
        .devices
        .busiest
        .push(tally(HOSTILE, 99_999_999, Some(HOSTILE)));
    state.lanes[0].devices.troubled = vec![tally(&"very-long-device-name-".repeat(12), 0, Some(HOSTILE))];
    state.certificates[0] = Certificate {
        of: HOSTILE.into(),
        failure: Some(HOSTILE.into()),
        ..certificate(HOSTILE, HOSTILE, HOSTILE, None)
    };
    state.events = vec![
        event(Level::Error, 3, HOSTILE, 1, Some(HOSTILE)),
        event(Level::Warning, 3, &"x".repeat(600), 1, None),
    ];
    judged(state)
}

/// Markup, an attribute's end, a handler, a direction, and a template.
pub const HOSTILE: &str = "</p>'\"><img src=x onerror=\"window.owned=1\"><script>window.owned=1</script>${window.owned=1}\u{202e}&amp;";

fn quiet_hour() -> LastHour {
    LastHour {
        over_s: 3600,
        ..LastHour::default()
    }
}

fn lane(name: &str, delivered: u64) -> Lane {
    let removed = [
        ("damaged", 0),
        ("dropped_newest", 0),
        ("dropped_oldest", 0),
        ("expired", 1_204),
        ("filtered", 88_130),
        ("purged", 0),
        ("superseded", 0),
    ];
    let removed: BTreeMap<String, u64> = removed.map(|(name, count)| (name.to_owned(), count)).into();
    let gone: u64 = removed.values().sum();
    Lane {
        name: name.into(),
        is_leaving: false,
        is_reloading: false,
        stalled_s: None,
        kafka_away_s: None,
        brokers: vec![broker("local")],
        kafka: Link::Up,
        held: None,
        ledger: Ledger {
            received: delivered + 3 + 23 + gone,
            delivered,
            queued: 3,
            dead_lettered: 23,
            removed,
            recognised: 311,
            resent: 1_920,
            unprotected: 0,
            unaccounted: Some(0),
        },
        queue: Queue {
            bytes: 9_437_184,
            max_bytes: 8 << 30,
            is_full: false,
            failure: None,
            oldest_unix_ms: Some(now_ms() - 210),
            age_s: Some(0.21),
            is_age_unknown: false,
            commit_interval_s: 0.01,
        },
        flow: Flow {
            in_per_s: 124.6,
            out_per_s: 124.8,
            drained_in_s: Some(0.1),
            rewinds: 4,
            is_limited: false,
        },
        letters: Letters {
            count: 2,
            bytes: 40_960,
            dropped: 0,
            lost: 0,
        },
        routes: vec![
            tally("telemetry", 38_100_204, Some("the payload is no JSON")),
            tally("counters", 3_108_173, None),
        ],
        devices: Devices {
            busiest: vec![
                tally("press-4", 9_402_114, None),
                tally("press-1", 8_120_977, None),
                tally("oven-2", 4_771_020, None),
                tally("conveyor-north", 1_204_318, None),
            ],
            troubled: vec![tally("press-4", 9_402_114, Some("the payload is no JSON"))],
            busiest_share: Some(0.228),
        },
        last_hour: quiet_hour(),
    }
}

fn broker(name: &str) -> Broker {
    Broker {
        name: name.into(),
        link: Link::Up,
        received: 900,
        stored: 898,
        put_back: 0,
        reconnects: 1,
        dropped_by_broker: Some(0),
        dropped_last_hour: 0,
        away_s: None,
    }
}

fn tally(name: &str, delivered: u64, why: Option<&str>) -> Tally {
    Tally {
        name: name.into(),
        delivered,
        dead_lettered: if why.is_some() { 23 } else { 0 },
        trouble: why.map(|why| Trouble {
            unix_ms: now_ms() - 23 * 60_000,
            why: why.into(),
        }),
    }
}

fn certificate(of: &str, setting: &str, file: &str, days: Option<i64>) -> Certificate {
    Certificate {
        of: of.into(),
        setting: setting.into(),
        file: file.into(),
        not_after_unix_ms: days.map(|days| now_ms() + days * DAY_MS + 3_600_000),
        failure: None,
    }
}

fn event(level: Level, seconds_ago: i64, text: &str, count: u64, advice: Option<&str>) -> Event {
    Event {
        unix_ms: now_ms() - seconds_ago * 1000,
        level,
        text: text.into(),
        count,
        advice: advice.map(str::to_owned),
    }
}

/// Nine hours: an outage of an hour and a half in the morning, and the one that goes on.
fn hours(state: &State) -> History {
    let (mut history, now) = (History::default(), Instant::now());
    let Some(backlog) = state.lanes.first().map(|lane| lane.ledger.queued) else {
        history.record(now, state);
        return history;
    };
    for ago_s in (0..9 * 3600_u64).rev().step_by(30) {
        let mut then = state.clone();
        let (queued, age) = match ago_s {
            23_400..=28_800 => ((28_800 - ago_s) * 124, 28_800 - ago_s),
            22_000..23_400 => ((ago_s - 22_000) * 478, (ago_s - 22_000) * 4),
            ..7_411 if backlog > 1_000 => ((7_411 - ago_s) * backlog / 7_411, 7_411 - ago_s),
            _ => (ago_s * 7 % 90, 0),
        };
        #[expect(clippy::cast_precision_loss, reason = "hours in seconds")]
        let age = Some(age as f64);
        then.lanes[0].ledger.queued = queued;
        then.lanes[0].queue.age_s = age;
        history.record(
            now.checked_sub(Duration::from_secs(ago_s)).expect("in range"),
            &then,
        );
    }
    history
}

/// A server that shows a state, with a past; and its address.
pub fn serve(state: State) -> (Server, String) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
    let history = hours(&state);
    let server = Server::start_with(address, Access::Local, Look::new(move || state.clone()), history);
    let server = server.expect("a thread");
    wait::until("the server listens", Duration::from_secs(30), || {
        std::net::TcpStream::connect(address).ok()
    });
    (server, format!("http://{address}/"))
}
