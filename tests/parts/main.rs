//! Tests on real parts: the daemon as a process between a real Mosquitto and a real Apache Kafka.
//!
//! Every test starts what it needs on free loopback ports and stops it again; tests that do not disturb
//! Kafka share one. What reached Kafka is judged by an oracle that reads it with a consumer of its own.
//! `./dev test` runs all of this, `./dev kills 100` the long form of the kill test,
//! `./dev mismatch` that of the rate mismatch, `./dev storm` that of the storm, `./dev soak` that of the soak.
//!
//! | module | what its tests show |
//! | --- | --- |
//! | [`instrument`] | the parts start, stop and come back; the oracle finds every fault put there on purpose; what was taken over is seen |
//! | [`delivery`] | with nothing in the way: both MQTT versions, 100 devices, payloads byte for byte, QoS 0, two brokers |
//! | [`boot`] | parts absent at boot in either order; a topic that is missing, then created |
//! | [`capacity`] | what a message takes on the disk and on the link is what `docs/capacity.md` says |
//! | [`check_live`] | what Kafka has for a configuration; missing topics are made when that is said, and only then |
//! | [`clocks`] | a clock ahead, in 1970, synchronised later: nothing lost, corrected where Kafka has not seen it, same bytes where it has |
//! | [`kafka_outage`] | Kafka away for longer than every timeout of librdkafka; killed, paused and restarted under load |
//! | [`clean_root`] | the CAs of the system are found without being named, in a root with nothing else in it |
//! | [`links`] | a broker that moves or advertises a dead address; `max_rate`, `weight`, codecs, presets |
//! | [`security`] | TLS, mutual TLS, every SASL mechanism, the least rights; each refused, put right, and nothing lost |
//! | [`broker_faults`] | three brokers: each killed, stopped, paused; two away; leaders moved; answers swallowed, connections cut |
//! | [`fleet`] | many gateways on one broker and one Kafka topic: order, connections, memory |
//! | [`monitoring`] | metrics, alert rules and dashboard say the same; a real Prometheus scrapes and evaluates |
//! | [`mqtt_transports`] | TCP, TLS, WebSocket, both, and a Unix socket, each with both versions, all at once |
//! | [`mqtt_security`] | TLS, client certificates, passwords and rights at the MQTT broker; each refusal clear; renewed files |
//! | [`gateway_status`] | the gateway's own retained word: online, offline after a kill, stopped; never in the way of data |
//! | [`broker_watch`] | what a broker says it has dropped is heard beside the data; one that does not let us is left alone |
//! | [`mosquitto_config`] | `config/mosquitto.conf`: what is kept for edgeferry, what a crash of Mosquitto takes, the Unix socket |
//! | [`mosquitto_outage`] | Mosquitto stopped, paused, killed and wiped under load; a client id taken over |
//! | [`ledger`] | the account after each of many kills: held against the one before, Kafka, and all that was published |
//! | [`sigkill`] | the daemon killed again and again, under load and while Kafka is away |
//! | [`storm`] | everything at once, in both modes: daemon, brokers, Mosquitto, the ways between them, the disk |
//! | [`shutdown`] | SIGTERM under load, with Kafka there and with Kafka away |
//! | [`full_queue`] | a full queue pushes back on the broker, and everything arrives later |
//! | [`queue_in_hand`] | `edgeferry queue` beside a daemon that delivers: look, export, import elsewhere, purge, verify |
//! | [`exactly_once`] | transactions: killed at every step, fenced, silent for too long, coordinator and cursor topic gone |
//! | [`dead_letters`] | refused, shown, redriven with its id; a full store held or dropping; a Kafka topic for letters |
//! | [`full_disk`] | a disk that a neighbour filled: killed and started on it, delivering, and going on when there is room |
//! | [`sealed`] | encryption at rest: wrong keys and newer stores are refused untouched, changed keys deliver all |
//! | [`mismatch`] | Kafka slower than the input: memory stays flat, the disk grows as predicted, everything arrives |
//! | [`identity`] | a cloned store on another board; a store under another gateway id |
//! | [`lanes`] | lanes do not hold each other up; lanes and routes come, move, go and are renamed over restarts |
//! | [`lane_memory`] | a measurement, not a test: what a further lane costs |
//! | [`slow_link`] | 256 kbit/s, 600 ms, 2 % loss: the link is used, nothing times out, an alarm passes the backlog |
//! | [`soak`] | a steady load for hours, with outages: memory, open files, threads, disk and latency stay flat |
//! | [`page`] | the status page in a real Chromium: what it says, live, on a phone, by keyboard, contrast, hostile names, daemon gone |
//! | [`redelivery`] | links to the broker that are cut under load, and a queue that is full: few messages come twice |
//! | [`planted`] | secrets in every place, every failure, the lowest log level: none comes out anywhere |
//! | [`reload`] | the configuration changes under load: routes, lanes, limits, secrets; what is wrong or needs a restart changes nothing |
//! | [`replacement`] | a board dies with a backlog: another takes over its store, or imports it from the card |
//! | [`retained`] | retained messages are not new again after a restart or a lost session; times that ascend for each key |
//! | [`routes_live`] | what routes promise, with an MQTT 5 publisher: properties byte for byte, refusals, filters, odd JSON |
//! | [`overlap`] | filters that overlap in part: each message once through each route, whatever the broker sends |
//! | [`shared`] | shared subscriptions: two gateways share the work; the group comes and goes without a gap |
//! | [`refused`] | records that Kafka refuses for what they are become dead letters; their neighbours keep their order |
//! | [`unknown_topics`] | topics that nobody made: given up in time, found when they are made, and nothing else is held or doubled |
//! | [`partitions`] | a topic that grows, and one that is deleted and made anew, under load |
//! | [`partition_vectors`] | keys on topics of 4, 5, 8 and 15 partitions are where other producers put them |
//! | [`consumer_groups`] | partitions × consumers × groups: work shared complete and disjoint, sums right at every step; even spread |
//! | [`sample_consumer`] | `examples/consumer`: each id processed once, also over restarts and crashes |
//! | [`interop`] | every shipped example for another system, end to end: its samples, and what must not be forwarded |
//! | [`systemd`] | the units on a real systemd in a container: sandbox, user, secrets, watchdog, exit codes, stop, reboot, instances; README and pages followed word for word; the container image |
//! | [`status_topics`] | `[status]`: the state in Kafka and at the brokers; never queued, never in the way of data |
//! | [`verify`] | `edgeferry verify` reads Kafka back: what is well, missing, there twice, out of order, explained, not to be known |
//! | [`bad_input`] | messages that cannot be forwarded let their neighbours pass; wrong configurations are refused |

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    reason = "all of this is a test, also what stands outside of its #[test] functions: it fails by panicking, and \
              says on standard error what it does"
)]

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod boot;
mod broker_faults;
mod broker_watch;
mod capacity;
mod check_live;
mod clean_root;
mod clocks;
mod consumer_groups;
mod dead_letters;
mod delivery;
mod exactly_once;
mod fleet;
mod full_disk;
mod full_queue;
mod gateway_status;
mod identity;
mod instrument;
mod interop;
mod kafka_outage;
mod lane_memory;
mod lanes;
mod ledger;
mod links;
mod long_queue;
mod mismatch;
mod monitoring;
mod mosquitto_config;
mod mosquitto_outage;
mod mqtt_security;
mod mqtt_transports;
mod overlap;
mod page;
mod partition_vectors;
mod partitions;
mod planted;
mod queue_in_hand;
mod redelivery;
mod refused;
mod reload;
mod replacement;
mod retained;
mod routes_live;
mod sample_consumer;
mod sealed;
mod security;
mod shared;
mod shutdown;
mod sigkill;
mod slow_link;
mod soak;
mod status_topics;
mod storm;
mod systemd;
mod unknown_topics;
mod verify;
