//! What a further lane costs in memory: a measurement, run by `./dev bench lanes`.

use std::time::Duration;

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::shared;
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::ACK_LIMIT;
use crate::support::{proc_stats, wait};

/// Each lane, and its devices' MQTT topic.
const LANES: [(&str, &str); 4] = [
    ("l1", "l1/{device}"),
    ("l2", "l2/{device}"),
    ("l3", "l3/{device}"),
    ("l4", "l4/{device}"),
];
/// A lane connects to Kafka when it first has something for it.
const FIRST: u64 = 100;
const LOAD: u64 = 40_000;

#[test]
#[ignore = "a measurement of the release binary: ./dev bench lanes"]
fn what_a_further_lane_costs() {
    eprintln!("MB     idle: resident, anonymous   peak under load: resident, anonymous");
    for lanes in [1, 2, 4] {
        let [idle, peak] = measure(lanes);
        eprintln!("{lanes} lanes     {idle}                    {peak}");
    }
}

/// Memory of a daemon with so many lanes, idle and at its peak.
fn measure(lanes: usize) -> [String; 2] {
    let mosquitto = Mosquitto::start();
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config(lanes, &mosquitto));
    for (_, topic) in &LANES[..lanes] {
        mosquitto.until_subscribed(&topic.replace("{device}", "+"), mark);
    }
    deliver(FIRST, FIRST, lanes, &mosquitto, &daemon);
    wait::let_pass("nobody publishes", Duration::from_secs(5));
    let idle = [
        proc_stats::resident(daemon.id()),
        proc_stats::anonymous(daemon.id()),
    ];
    let idle = idle.map(|bytes| bytes.expect("it runs"));
    deliver(LOAD, FIRST + LOAD, lanes, &mosquitto, &daemon);
    let peak = [daemon.peak_rss(), daemon.peak_anonymous()];
    daemon.terminate();
    [idle, peak].map(|[resident, anonymous]| format!("{}, {}", megabytes(resident), megabytes(anonymous)))
}

fn config(lanes: usize, mosquitto: &Mosquitto) -> Config {
    let kafka = shared();
    let topic = kafka.fresh_topic("lanes");
    let mut config = Config::new(kafka).broker("local", "5", mosquitto);
    for (lane, from) in &LANES[..lanes] {
        let in_it = format!("lane = \"{lane}\"");
        config = config.lane(lane, "").route_with(from, &topic, &in_it);
    }
    config
}

/// Publishes in all lanes at the same time, and waits until each has delivered `total` since its start.
fn deliver(messages: u64, total: u64, lanes: usize, mosquitto: &Mosquitto, daemon: &Daemon) {
    let plan = |(prefix, topic)| Plan {
        prefix,
        topic,
        messages: Some(messages),
        rate: None,
        ..Plan::default()
    };
    let fleets = LANES[..lanes]
        .iter()
        .map(|lane| Devices::start(mosquitto, &plan(*lane)));
    for fleet in fleets.collect::<Vec<_>>() {
        fleet.finish(ACK_LIMIT);
    }
    let delivered = format!("delivered {total}");
    daemon
        .notify()
        .until_status("all of it is in Kafka", ACK_LIMIT, |status| {
            status.matches(&delivered).count() == lanes
        });
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10)
}
