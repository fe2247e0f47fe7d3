//! Many gateways, one broker, one Kafka topic: what each costs the broker and Kafka. `./dev bench fleet` takes 40 of them with the
//! release binary; the test takes a few, and looks at what must be right.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::sent::Sent;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{Kafka, shared};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::payload::origin;
use crate::support::proc_stats;
use crate::support::scene::ACK_LIMIT;
use crate::support::wait;

/// Messages of each gateway.
const EACH: u64 = 500;
/// A gateway's part of the broker: its own devices, so that order holds for each.
const NAMES: usize = 40;
/// Partitions of the topic.
const PARTITIONS: i32 = 12;

/// Gateways of one broker, each with topics of its own.
struct Fleet {
    mosquitto: Mosquitto,
    topic: String,
    daemons: Vec<Daemon>,
}

/// MQTT topics of a gateway; a plan wants them for ever.
fn topics() -> [&'static str; NAMES] {
    std::array::from_fn(|number| &*Box::leak(format!("site{number}/{{device}}").into_boxed_str()))
}

fn start(kafka: &Kafka, gateways: usize) -> Fleet {
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic_with("fleet", PARTITIONS, &[]);
    let mut daemons = Vec::new();
    for (number, from) in (0..gateways).zip(topics()) {
        let mark = mosquitto.mark();
        let config = Config::new(kafka)
            .broker("local", "5", &mosquitto)
            .route(from, &topic)
            .gateway(&format!("gw-{number}"));
        daemons.push(Daemon::start(&config));
        mosquitto.until_subscribed(&from.replace("{device}", "+"), mark);
    }
    Fleet {
        mosquitto,
        topic,
        daemons,
    }
}

/// Has the devices of all gateways publish at the same time, and waits until all is in Kafka, in order and once.
fn deliver(fleet: &Fleet, kafka: &Kafka) -> Duration {
    let began = Instant::now();
    let prefixes: [&'static str; NAMES] =
        std::array::from_fn(|number| &*Box::leak(format!("s{number}d").into_boxed_str()));
    let plans = fleet.daemons.iter().zip(topics()).zip(prefixes);
    let devices: Vec<Devices> = plans
        .map(|((_, topic), prefix)| {
            let plan = Plan {
                prefix,
                topic,
                connections: 1,
                devices: 5,
                messages: Some(EACH),
                rate: None,
                ..Plan::default()
            };
            Devices::start(&fleet.mosquitto, &plan)
        })
        .collect();
    let mut sent = Sent::new();
    for devices in devices {
        sent.merge(devices.finish(ACK_LIMIT));
    }
    let mut oracle = Oracle::new(kafka, &fleet.topic);
    oracle.until_all_there(&sent, PATIENCE);
    let took = began.elapsed();
    let mut partitions: BTreeMap<i32, usize> = BTreeMap::new();
    let mut found: BTreeMap<(String, i32), Vec<u64>> = BTreeMap::new();
    for record in oracle.rest() {
        *partitions.entry(record.partition).or_default() += 1;
        let (device, seq) = origin(&record.value).expect("ours");
        found.entry((device, record.partition)).or_default().push(seq);
    }
    let mut wanted: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (device, seq) in sent.acked() {
        wanted.entry(device).or_default().push(seq);
    }
    assert_eq!(found.len(), wanted.len(), "each device has one partition");
    for ((device, _), seqs) in &found {
        assert_eq!(
            Some(seqs),
            wanted.get(device.as_str()),
            "{device}: each once, in order"
        );
    }
    eprintln!(
        "records by partition: {:?}",
        partitions.values().collect::<Vec<_>>()
    );
    took
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10)
}

/// What each gateway costs, in words.
fn cost(fleet: &Fleet, kafka: &Kafka) -> (usize, usize) {
    let to_kafka: Vec<usize> = fleet
        .daemons
        .iter()
        .map(|daemon| proc_stats::connections_to(daemon.id(), kafka.port()).len())
        .collect();
    let to_mqtt: Vec<usize> = fleet
        .daemons
        .iter()
        .map(|daemon| proc_stats::connections_to(daemon.id(), fleet.mosquitto.port()).len())
        .collect();
    let resident: Vec<u64> = fleet
        .daemons
        .iter()
        .filter_map(|daemon| proc_stats::resident(daemon.id()))
        .collect();
    let most = resident.iter().max().copied().unwrap_or_default();
    let mean = resident.iter().sum::<u64>() / resident.len().max(1) as u64;
    eprintln!(
        "{} gateways: connections to Kafka {to_kafka:?}, to MQTT {to_mqtt:?}; resident MB mean {}, most {}",
        fleet.daemons.len(),
        megabytes(mean),
        megabytes(most)
    );
    let largest = |counts: &[usize]| counts.iter().max().copied().unwrap_or_default();
    (largest(&to_kafka), largest(&to_mqtt))
}

#[test]
fn gateways_that_share_a_broker_and_a_topic_keep_the_order_of_each_device_with_few_connections() {
    let kafka = shared();
    let fleet = start(kafka, 4);
    deliver(&fleet, kafka);
    let (to_kafka, to_mqtt) = cost(&fleet, kafka);
    assert!(
        to_kafka <= 2,
        "one for each Kafka broker, and one to find it by: {to_kafka}"
    );
    // The data, and what the broker says that it dropped.
    assert_eq!(to_mqtt, 2, "docs/fleet.md says so");
}

#[test]
#[ignore = "a measurement of the release binary: ./dev bench fleet"]
fn what_many_gateways_cost() {
    let gateways = std::env::var("EDGEFERRY_FLEET").map_or(NAMES, |text| text.parse().expect("a number"));
    let mut kafka = Kafka::start_for_benchmark();
    let broker = |kafka: &Kafka| proc_stats::resident(kafka.id()).map_or_else(String::new, megabytes);
    eprintln!("Kafka, no gateway: resident MB {}", broker(&kafka));
    let mut fleet = start(&kafka, gateways.min(NAMES));
    let cpu = |fleet: &Fleet| -> Duration { fleet.daemons.iter().map(|daemon| daemon.stats().cpu).sum() };
    let before = cpu(&fleet);
    wait::let_pass("nobody publishes", Duration::from_secs(20));
    let spent = cpu(&fleet).saturating_sub(before);
    eprintln!("idle: {spent:?} of CPU in 20 s, all of them together");
    cost(&fleet, &kafka);
    let took = deliver(&fleet, &kafka);
    let all = EACH * fleet.daemons.len() as u64;
    eprintln!(
        "{all} messages through all of them in {took:?}; Kafka resident MB {}",
        broker(&kafka)
    );
    cost(&fleet, &kafka);
    for daemon in &mut fleet.daemons {
        daemon.terminate();
    }
    kafka.stop();
}
