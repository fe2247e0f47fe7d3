//! See [`super`].

use super::{Metric, advice, brokers, dropped_by_brokers, lanes, one, seconds, states};
use crate::ops::history::known_age_s;
use crate::ops::http::exposition::Type::{Counter, Gauge};
use crate::ops::state::Level;

/// All metrics, in the order in which they are printed.
pub const TABLE: &[Metric] = &[
    // The daemon.
    Metric {
        name: "edgeferry_build_info",
        kind: Gauge,
        labels: &["version", "gateway", "epoch", "delivery"],
        help: "1; the labels say which edgeferry, gateway, store and delivery this is.",
        read: |state, out| {
            let labels = [&state.edgeferry, &state.gateway, &state.epoch, &state.delivery];
            let labels = labels.map(|label| label.as_str().into());
            out.push((labels.into(), 1.into()));
        },
    },
    Metric {
        name: "edgeferry_uptime_seconds",
        kind: Gauge,
        labels: &[],
        help: "Time since the start of the process.",
        read: |state, out| one(out, state.uptime_s),
    },
    Metric {
        name: "edgeferry_ready",
        kind: Gauge,
        labels: &[],
        help: "1 if the configuration works on all links and everything can be stored; a link that is merely away does not count.",
        read: |state, out| one(out, state.health.is_ready),
    },
    Metric {
        name: "edgeferry_buffering",
        kind: Gauge,
        labels: &[],
        help: "1 if messages wait because a link is away.",
        read: |state, out| one(out, state.health.is_buffering),
    },
    Metric {
        name: "edgeferry_live",
        kind: Gauge,
        labels: &[],
        help: "1 if every thread goes round, and what should move does; by the same the watchdog is fed.",
        read: |state, out| one(out, state.health.is_live),
    },
    Metric {
        name: "edgeferry_advice",
        kind: Gauge,
        labels: &["level"],
        help: "Things for a person to do, as the status page names them.",
        read: |state, out| {
            for (name, level) in [("error", Level::Error), ("warning", Level::Warning)] {
                out.push((vec![name.into()], advice(state, level).into()));
            }
        },
    },
    Metric {
        name: "edgeferry_configuration_not_applied",
        kind: Gauge,
        labels: &[],
        help: "1 if the last reload refused the configuration file, so that the one before it runs.",
        read: |state, out| one(out, state.health.not_applied.is_some()),
    },
    Metric {
        name: "edgeferry_clock_seconds",
        kind: Gauge,
        labels: &[],
        help: "The gateway's clock, as Unix time.",
        read: |state, out| one(out, seconds(state.unix_ms)),
    },
    Metric {
        name: "edgeferry_clock_synchronised",
        kind: Gauge,
        labels: &[],
        help: "1 once the gateway's clock is synchronised, by systemd-timesyncd; not there where nobody says it, as with chrony.",
        read: |state, out| {
            if let Some(is_synchronised) = state.is_clock_synchronised {
                one(out, is_synchronised);
            }
        },
    },
    // The ledger.
    Metric {
        name: "edgeferry_ledger_messages",
        kind: Gauge,
        labels: &["lane", "account"],
        help: "The ledger since the store was made: received = delivered + queued + dead_lettered + removed.",
        read: |state, out| {
            for lane in &state.lanes {
                let ledger = &lane.ledger;
                for (account, count) in [
                    ("received", ledger.received),
                    ("delivered", ledger.delivered),
                    ("queued", ledger.queued),
                    ("dead_lettered", ledger.dead_lettered),
                    ("removed", ledger.removed.values().sum()),
                ] {
                    out.push((vec![lane.name.as_str().into(), account.into()], count.into()));
                }
            }
        },
    },
    Metric {
        name: "edgeferry_ledger_unaccounted_messages",
        kind: Gauge,
        labels: &["lane"],
        help: "received less all other accounts, with what waits counted on its own: 0, or something is wrong. Not there while it cannot be counted.",
        read: |state, out| {
            for lane in &state.lanes {
                if let Some(count) = lane.ledger.unaccounted {
                    #[expect(clippy::cast_precision_loss, reason = "exact below 2⁵³ messages")]
                    let count = count as f64;
                    out.push((vec![lane.name.as_str().into()], count.into()));
                }
            }
        },
    },
    Metric {
        name: "edgeferry_ledger_removed_messages",
        kind: Gauge,
        labels: &["lane", "reason"],
        help: "Of the account removed, by reason, since the store was made.",
        read: |state, out| {
            for lane in &state.lanes {
                for (reason, count) in &lane.ledger.removed {
                    let labels = vec![lane.name.as_str().into(), reason.as_str().into()];
                    out.push((labels, (*count).into()));
                }
            }
        },
    },
    Metric {
        name: "edgeferry_messages_received_total",
        kind: Counter,
        labels: &["lane"],
        help: "Messages that were acknowledged to a broker.",
        read: |state, out| lanes(state, out, |lane| lane.ledger.received),
    },
    Metric {
        name: "edgeferry_messages_delivered_total",
        kind: Counter,
        labels: &["lane"],
        help: "Messages that Kafka confirmed.",
        read: |state, out| lanes(state, out, |lane| lane.ledger.delivered),
    },
    Metric {
        name: "edgeferry_messages_dead_lettered_total",
        kind: Counter,
        labels: &["lane"],
        help: "Messages that became dead letters.",
        read: |state, out| lanes(state, out, |lane| lane.ledger.dead_lettered),
    },
    Metric {
        name: "edgeferry_messages_removed_total",
        kind: Counter,
        labels: &["lane", "reason"],
        help: "Messages that were removed, by reason.",
        read: |state, out| {
            for lane in &state.lanes {
                for (reason, count) in &lane.ledger.removed {
                    let labels = vec![lane.name.as_str().into(), reason.as_str().into()];
                    out.push((labels, (*count).into()));
                }
            }
        },
    },
    Metric {
        name: "edgeferry_messages_unprotected_total",
        kind: Counter,
        labels: &["lane"],
        help: "Messages that came with QoS 0, which the broker drops while edgeferry is away.",
        read: |state, out| lanes(state, out, |lane| lane.ledger.unprotected),
    },
    Metric {
        name: "edgeferry_redeliveries_recognised_total",
        kind: Counter,
        labels: &["lane"],
        help: "Redeliveries of a broker that were recognised and not stored again.",
        read: |state, out| lanes(state, out, |lane| lane.ledger.recognised),
    },
    Metric {
        name: "edgeferry_records_resent_total",
        kind: Counter,
        labels: &["lane"],
        help: "Records that were sent to Kafka again.",
        read: |state, out| lanes(state, out, |lane| lane.ledger.resent),
    },
    Metric {
        name: "edgeferry_rewinds_total",
        kind: Counter,
        labels: &["lane"],
        help: "Times that everything behind the cursor was sent again.",
        read: |state, out| lanes(state, out, |lane| lane.flow.rewinds),
    },
    // The queue.
    Metric {
        name: "edgeferry_queue_messages",
        kind: Gauge,
        labels: &["lane"],
        help: "Messages that wait.",
        read: |state, out| lanes(state, out, |lane| lane.ledger.queued),
    },
    Metric {
        name: "edgeferry_queue_oldest_age_seconds",
        kind: Gauge,
        labels: &["lane"],
        help: "How long the oldest message has waited; 0 when none waits, left out while it is not known.",
        read: |state, out| {
            for lane in &state.lanes {
                if let Some(age_s) = known_age_s(lane) {
                    out.push((vec![lane.name.as_str().into()], age_s.into()));
                }
            }
        },
    },
    Metric {
        name: "edgeferry_queue_drain_seconds",
        kind: Gauge,
        labels: &["lane"],
        help: "Time until nothing waits, if the rates stay; +Inf when the backlog does not shrink, 0 when nothing waits.",
        read: |state, out| {
            lanes(state, out, |lane| match lane.ledger.queued {
                0 => 0.0,
                _ => lane.flow.drained_in_s.unwrap_or(f64::INFINITY),
            });
        },
    },
    Metric {
        name: "edgeferry_queue_size_bytes",
        kind: Gauge,
        labels: &["lane"],
        help: "Space that the queue takes on disk.",
        read: |state, out| lanes(state, out, |lane| lane.queue.bytes),
    },
    Metric {
        name: "edgeferry_queue_limit_bytes",
        kind: Gauge,
        labels: &["lane"],
        help: "Space that the queue may take: max_bytes.",
        read: |state, out| lanes(state, out, |lane| lane.queue.max_bytes),
    },
    Metric {
        name: "edgeferry_queue_full",
        kind: Gauge,
        labels: &["lane"],
        help: "1 if the budget of the queue is used up.",
        read: |state, out| lanes(state, out, |lane| lane.queue.is_full),
    },
    Metric {
        name: "edgeferry_queue_failed",
        kind: Gauge,
        labels: &["lane"],
        help: "1 if nothing can be stored at the moment.",
        read: |state, out| lanes(state, out, |lane| lane.queue.failure.is_some()),
    },
    Metric {
        name: "edgeferry_queue_commit_interval_seconds",
        kind: Gauge,
        labels: &["lane"],
        help: "Time between two groups of messages that are made durable together.",
        read: |state, out| lanes(state, out, |lane| lane.queue.commit_interval_s),
    },
    Metric {
        name: "edgeferry_lane_stalled",
        kind: Gauge,
        labels: &["lane"],
        help: "1 if the lane hangs: a thread of it gives no sign of life, or nothing goes although the links work.",
        read: |state, out| lanes(state, out, |lane| lane.stalled_s.is_some()),
    },
    Metric {
        name: "edgeferry_lane_reloading",
        kind: Gauge,
        labels: &["lane"],
        help: "1 if a reload exchanges the lane; its other figures are from before.",
        read: |state, out| lanes(state, out, |lane| lane.is_reloading),
    },
    Metric {
        name: "edgeferry_lane_leaving",
        kind: Gauge,
        labels: &["lane"],
        help: "1 if no route uses the lane and it runs until it is empty.",
        read: |state, out| lanes(state, out, |lane| lane.is_leaving),
    },
    // Kafka.
    Metric {
        name: "edgeferry_kafka_link_state",
        kind: Gauge,
        labels: &["lane", "state"],
        help: "1 for the state of the link to Kafka, 0 for the others: connecting, up, down, pushed-back, refused.",
        read: |state, out| {
            for lane in &state.lanes {
                states(out, &[&lane.name], &lane.kafka);
            }
        },
    },
    Metric {
        name: "edgeferry_kafka_away_seconds",
        kind: Gauge,
        labels: &["lane"],
        help: "For how long Kafka has not been there, as far as this process has seen; 0 while it is.",
        read: |state, out| lanes(state, out, |lane| lane.kafka_away_s.unwrap_or(0)),
    },
    Metric {
        name: "edgeferry_delivery_held",
        kind: Gauge,
        labels: &["lane"],
        help: "1 if delivery is held by something on the gateway itself.",
        read: |state, out| lanes(state, out, |lane| lane.held.is_some()),
    },
    Metric {
        name: "edgeferry_delivery_limited",
        kind: Gauge,
        labels: &["lane"],
        help: "1 if max_rate holds messages back.",
        read: |state, out| lanes(state, out, |lane| lane.flow.is_limited),
    },
    Metric {
        name: "edgeferry_route_records_delivered_total",
        kind: Counter,
        labels: &["lane", "route"],
        help: "Records of a route that Kafka confirmed.",
        read: |state, out| {
            for lane in &state.lanes {
                for route in &lane.routes {
                    let labels = vec![lane.name.as_str().into(), route.name.as_str().into()];
                    out.push((labels, route.delivered.into()));
                }
            }
        },
    },
    Metric {
        name: "edgeferry_route_messages_dead_lettered_total",
        kind: Counter,
        labels: &["lane", "route"],
        help: "Messages of a route that became dead letters.",
        read: |state, out| {
            for lane in &state.lanes {
                for route in &lane.routes {
                    let labels = vec![lane.name.as_str().into(), route.name.as_str().into()];
                    out.push((labels, route.dead_lettered.into()));
                }
            }
        },
    },
    Metric {
        name: "edgeferry_busiest_device_ratio",
        kind: Gauge,
        labels: &["lane"],
        help: "Share of all records that the busiest device has: the skew of the keys, 0 to 1.",
        read: |state, out| {
            for lane in &state.lanes {
                if let Some(share) = lane.devices.busiest_share {
                    out.push((vec![lane.name.as_str().into()], share.into()));
                }
            }
        },
    },
    // MQTT.
    Metric {
        name: "edgeferry_broker_link_state",
        kind: Gauge,
        labels: &["lane", "broker", "state"],
        help: "1 for the state of the link to the MQTT broker, 0 for the others: connecting, up, down, pushed-back, refused.",
        read: |state, out| {
            for lane in &state.lanes {
                for broker in &lane.brokers {
                    states(out, &[&lane.name, &broker.name], &broker.link);
                }
            }
        },
    },
    Metric {
        name: "edgeferry_broker_messages_received_total",
        kind: Counter,
        labels: &["lane", "broker"],
        help: "PUBLISH packets that came from the broker.",
        read: |state, out| brokers(state, out, |broker| broker.received),
    },
    Metric {
        name: "edgeferry_broker_messages_stored_total",
        kind: Counter,
        labels: &["lane", "broker"],
        help: "Messages of the broker that were handed to the queue.",
        read: |state, out| brokers(state, out, |broker| broker.stored),
    },
    Metric {
        name: "edgeferry_broker_messages_put_back_total",
        kind: Counter,
        labels: &["lane", "broker"],
        help: "Messages left with the broker unacknowledged: the queue was full, or edgeferry was stopping.",
        read: |state, out| brokers(state, out, |broker| broker.put_back),
    },
    Metric {
        name: "edgeferry_broker_reconnects_total",
        kind: Counter,
        labels: &["lane", "broker"],
        help: "Connections to the broker that ended other than by a stop.",
        read: |state, out| brokers(state, out, |broker| broker.reconnects),
    },
    Metric {
        name: "edgeferry_broker_dropped_messages_total",
        kind: Counter,
        labels: &["broker"],
        help: "Messages that the broker itself dropped, for any client, where its $SYS topics say so.",
        read: dropped_by_brokers,
    },
    // Dead letters.
    Metric {
        name: "edgeferry_dead_letters",
        kind: Gauge,
        labels: &["lane"],
        help: "Dead letters that are there.",
        read: |state, out| lanes(state, out, |lane| lane.letters.count),
    },
    Metric {
        name: "edgeferry_dead_letters_size_bytes",
        kind: Gauge,
        labels: &["lane"],
        help: "Space that dead letters take on disk.",
        read: |state, out| lanes(state, out, |lane| lane.letters.bytes),
    },
    Metric {
        name: "edgeferry_dead_letters_dropped",
        kind: Gauge,
        labels: &["lane"],
        help: "Dead letters that were removed because their space was used up, since the store was made.",
        read: |state, out| lanes(state, out, |lane| lane.letters.dropped),
    },
    Metric {
        name: "edgeferry_dead_letters_lost",
        kind: Gauge,
        labels: &["lane"],
        help: "Dead letters that were lost by damage, since the store was made.",
        read: |state, out| lanes(state, out, |lane| lane.letters.lost),
    },
    Metric {
        name: "edgeferry_dead_letters_not_forwarded",
        kind: Gauge,
        labels: &[],
        help: "1 if dead letters wait here although they should be forwarded to their topic.",
        read: |state, out| one(out, state.not_forwarded.is_some()),
    },
    // The disk.
    Metric {
        name: "edgeferry_disk_free_bytes",
        kind: Gauge,
        labels: &[],
        help: "Free space for edgeferry on the file system of the store.",
        read: |state, out| {
            if let Some(bytes) = state.disk.free_bytes {
                one(out, bytes);
            }
        },
    },
    Metric {
        name: "edgeferry_disk_size_bytes",
        kind: Gauge,
        labels: &[],
        help: "Size of the file system of the store.",
        read: |state, out| {
            if let Some(bytes) = state.disk.total_bytes {
                one(out, bytes);
            }
        },
    },
    Metric {
        name: "edgeferry_disk_reserve_bytes",
        kind: Gauge,
        labels: &[],
        help: "With less free space than this nothing is stored: the largest min_free_bytes.",
        read: |state, out| one(out, state.disk.min_free_bytes),
    },
    Metric {
        name: "edgeferry_disk_written_bytes_total",
        kind: Counter,
        labels: &[],
        help: "Bytes written to the disk.",
        read: |state, out| one(out, state.disk.written_bytes),
    },
    Metric {
        name: "edgeferry_disk_written_last_day_bytes",
        kind: Gauge,
        labels: &[],
        help: "Bytes written to the disk in the last 24 hours, or since the start if that was later.",
        read: |state, out| one(out, state.disk.written_last_day_bytes),
    },
    Metric {
        name: "edgeferry_disk_projected_day_bytes",
        kind: Gauge,
        labels: &[],
        help: "Bytes that a day would take at the rate of the last ten minutes.",
        read: |state, out| one(out, state.disk.projected_per_day_bytes),
    },
    Metric {
        name: "edgeferry_disk_budget_day_bytes",
        kind: Gauge,
        labels: &[],
        help: "Bytes that a day may take: the smallest flash_budget.",
        read: |state, out| {
            if let Some(bytes) = state.disk.budget_per_day_bytes {
                one(out, bytes);
            }
        },
    },
    Metric {
        name: "edgeferry_disk_write_amplification_ratio",
        kind: Gauge,
        labels: &[],
        help: "Bytes written for each byte of payload.",
        read: |state, out| {
            if let Some(ratio) = state.disk.written_per_payload_byte {
                one(out, ratio);
            }
        },
    },
    // Certificates.
    Metric {
        name: "edgeferry_certificate_not_after_timestamp_seconds",
        kind: Gauge,
        labels: &["of", "setting"],
        help: "When a certificate ends, as Unix time.",
        read: |state, out| {
            for certificate in &state.certificates {
                if let Some(end) = certificate.not_after_unix_ms {
                    let labels = vec![
                        certificate.of.as_str().into(),
                        certificate.setting.as_str().into(),
                    ];
                    out.push((labels, seconds(end).into()));
                }
            }
        },
    },
    Metric {
        name: "edgeferry_certificate_unreadable",
        kind: Gauge,
        labels: &["of", "setting"],
        help: "1 if a certificate cannot be read.",
        read: |state, out| {
            for certificate in &state.certificates {
                let labels = vec![
                    certificate.of.as_str().into(),
                    certificate.setting.as_str().into(),
                ];
                out.push((labels, certificate.failure.is_some().into()));
            }
        },
    },
];
