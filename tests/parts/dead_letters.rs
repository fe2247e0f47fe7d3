//! Messages that Kafka cannot have: kept, shown, put back, carried out, forwarded.

use std::time::Duration;

use serde_json::Value;

use crate::support::config::{Config, GATEWAY};
use crate::support::daemon::Daemon;
use crate::support::kafka::{self, Kafka, shared, unused_topic};
use crate::support::mosquitto::{Mark, Mosquitto};
use crate::support::mqtt::Link;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::seed::Seed;
use crate::support::wait;

/// A topic of the usual route, refused by none.
const GOOD: &str = "devices/d1/telemetry";
/// What its route makes of it is no name for a Kafka topic.
const BAD: &str = "named/no topic/x";
const BAD_FILTER: &str = "named/+/x";
/// So many letters of this size, which do not compress, fill [`MAX_BYTES`] twice.
const LETTER_BYTES: usize = 60_000;
const LETTERS: usize = 150;
const MAX_BYTES: &str = "max_bytes = \"4 MiB\"";

/// Bytes that nothing compresses.
fn noise(length: usize) -> Vec<u8> {
    let mut seed = Seed::new(length as u64);
    let words = std::iter::repeat_with(|| seed.next().to_le_bytes());
    words.flatten().take(length).collect()
}

/// How the letters stand, as `ls --json` says it.
fn letters(daemon: &Daemon) -> Value {
    let said = daemon.dead_letter(&["ls", "--json"]);
    let answer: Value = serde_json::from_str(&said).expect("one line of JSON");
    answer["letters"].clone()
}

fn number(state: &Value, name: &str) -> u64 {
    state[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name} in {state}"))
}

fn until_letters(daemon: &Daemon, count: u64) {
    wait::until(&format!("there are {count} letters"), PATIENCE, || {
        (number(&letters(daemon), "letters") == count).then_some(())
    });
}

/// With a route whose Kafka topic may come out illegal.
fn with_bad_route(mosquitto: &Mosquitto, kafka: &Kafka, topic: &str) -> Config {
    Config::usual("5", mosquitto, kafka, topic).route_with(
        "named/{name}/x",
        "named-{name}",
        "key = \"{name}\"",
    )
}

fn start(config: &Config, mosquitto: &Mosquitto, filter: &str) -> (Daemon, Link) {
    let daemon = Daemon::start(config);
    mosquitto.until_subscribed(filter, Mark::default());
    let link = Link::connect(mosquitto.port(), "publisher", true).expect("it accepts");
    (daemon, link)
}

#[test]
fn a_record_that_the_broker_refuses_is_shown_and_arrives_with_its_id_once_it_may() {
    let kafka = shared();
    let topic = kafka.fresh_topic_with("narrow", kafka::PARTITIONS, &[("max.message.bytes", "20000")]);
    let mosquitto = Mosquitto::start();
    let config = Config::usual("5", &mosquitto, kafka, &topic);
    let (mut daemon, mut link) = start(&config, &mosquitto, GOOD_FILTER);
    let large = noise(60_000);
    for payload in [&b"before"[..], &large, b"behind"] {
        link.publish(GOOD, payload);
    }
    let mut oracle = Oracle::new(kafka, &topic);
    // The device behind the head flows.
    let values: Vec<_> = oracle
        .first(2)
        .iter()
        .map(|record| record.value.clone())
        .collect();
    assert_eq!(values, [b"before", b"behind"]);
    until_letters(&daemon, 1);
    let state = letters(&daemon);
    assert_eq!(state["reasons"]["rejected"], 1, "{state}");

    let file = daemon.beside("letters.jsonl");
    daemon.dead_letter(&["export", "--output", file.to_str().expect("text")]);
    let text = std::fs::read_to_string(&file).expect("reads");
    let letter: Value = serde_json::from_str(text.lines().nth(1).expect("a letter")).expect("JSON");
    assert_eq!(letter["reasons"][0]["reason"], "rejected", "{letter}");
    let id = format!("{}-default-2", letter["epoch"].as_str().expect("has one"));
    let shown = daemon.dead_letter(&["show", &id]);
    assert!(
        shown.contains("topic: devices/d1/telemetry\n") && shown.contains("bytes: 60000\n"),
        "{shown}"
    );

    // Too early: it is refused again, and is a letter again.
    daemon.dead_letter(&["redrive", "--all"]);
    wait::until("it is a letter again", PATIENCE, || {
        let lane = daemon.queue(&["ls", "--json"]);
        let lane: Value = serde_json::from_str(&lane).expect("JSON");
        (number(&lane["lane"], "dead_lettered") == 2).then_some(())
    });
    until_letters(&daemon, 1);
    kafka.configure_topic(&topic, &[("max.message.bytes", "1000000")]);
    let said = daemon.dead_letter(&["redrive", "--id", &id]);
    assert!(said.contains("1 dead letters went back"), "{said}");
    let record = oracle.first(3)[2].clone();
    assert_eq!(record.value, large);
    assert_eq!(record.header("edgeferry-id"), Some(id.as_str()));
    assert_eq!(record.header("edgeferry-gateway"), Some(GATEWAY));
    assert_eq!(number(&letters(&daemon), "letters"), 0);
    daemon.terminate();
}

const GOOD_FILTER: &str = "devices/+/telemetry";

#[test]
fn a_full_store_holds_the_lane_until_letters_are_purged() {
    let kafka = shared();
    let topic = kafka.fresh_topic("telemetry");
    let mosquitto = Mosquitto::start();
    let config = with_bad_route(&mosquitto, kafka, &topic).dead_letter(MAX_BYTES);
    let (mut daemon, mut link) = start(&config, &mosquitto, BAD_FILTER);
    for _ in 0..LETTERS {
        link.publish(BAD, &noise(LETTER_BYTES));
    }
    link.publish(GOOD, b"behind");
    daemon
        .notify()
        .until_status("the lane is held", PATIENCE, |status| {
            status.contains("NOT READY")
                && status.contains("delivery held")
                && status.contains("dead-letter ls")
        });
    let mut oracle = Oracle::new(kafka, &topic);
    assert_eq!(oracle.available(), 0);
    // What is behind may be in Kafka before the last of them are kept.
    let mut purged = 0;
    wait::until("purges let all letters through", PATIENCE, || {
        let said = daemon.dead_letter(&["purge", "--reason", "illegal-topic", "--yes", "--json"]);
        let answer: Value = serde_json::from_str(&said).expect("JSON");
        purged += number(&answer["purged"], "messages");
        (purged >= LETTERS as u64).then_some(())
    });
    assert_eq!(purged, LETTERS as u64);
    assert_eq!(oracle.first(1)[0].value, b"behind");
    let state = letters(&daemon);
    assert_eq!(number(&state, "letters"), 0, "{state}");
    assert_eq!(number(&state, "dropped"), 0);
    daemon
        .notify()
        .until_status("the lane goes on", PATIENCE, |status| {
            !status.contains("NOT READY") && status.contains("backlog 0")
        });
    daemon.terminate();
}

#[test]
fn drop_oldest_lets_the_lane_go_on_and_counts_over_restarts() {
    let kafka = shared();
    let topic = kafka.fresh_topic("telemetry");
    let mosquitto = Mosquitto::start();
    let config = with_bad_route(&mosquitto, kafka, &topic)
        .dead_letter(MAX_BYTES)
        .dead_letter("on_full = \"drop-oldest\"");
    let (mut daemon, mut link) = start(&config, &mosquitto, BAD_FILTER);
    for _ in 0..LETTERS {
        link.publish(BAD, &noise(LETTER_BYTES));
    }
    link.publish(GOOD, b"behind");
    let mut oracle = Oracle::new(kafka, &topic);
    assert_eq!(oracle.first(1)[0].value, b"behind");
    // What is behind may be in Kafka before the last of them are kept.
    let state = wait::until("all letters are kept or dropped", PATIENCE, || {
        let state = letters(&daemon);
        let known = number(&state, "letters") + number(&state, "dropped");
        (known == LETTERS as u64).then_some(state)
    });
    let (left, dropped) = (number(&state, "letters"), number(&state, "dropped"));
    assert!(dropped > 0 && left > 0, "{state}");
    assert_eq!(number(&state, "lost"), 0, "{state}");
    daemon
        .notify()
        .until_status("drops are shown", PATIENCE, |status| {
            status.contains(&format!("dead letters dropped {dropped}"))
        });
    daemon.kill();
    daemon.restart();
    assert_eq!(letters(&daemon)["dropped"], dropped);
    daemon.terminate();
    assert_eq!(letters(&daemon)["letters"], left);
}

#[test]
fn letters_wait_for_their_topic_and_go_there_in_order_once_it_exists() {
    let kafka = shared();
    let topic = kafka.fresh_topic("telemetry");
    let dead = unused_topic("edge-gateway.dead-letter");
    let mosquitto = Mosquitto::start();
    let config = with_bad_route(&mosquitto, kafka, &topic).dead_letter(&format!("topic = \"{dead}\""));
    let (mut daemon, mut link) = start(&config, &mosquitto, BAD_FILTER);
    for number in 0..20 {
        link.publish(BAD, format!("letter {number}").as_bytes());
    }
    link.publish(GOOD, b"behind");
    let mut healthy = Oracle::new(kafka, &topic);
    assert_eq!(healthy.first(1)[0].value, b"behind");
    until_letters(&daemon, 20);
    daemon
        .notify()
        .until_status("nothing is forwarded", PATIENCE, |status| {
            status.contains("dead letters not forwarded") && !status.contains("NOT READY")
        });
    daemon.kill();
    daemon.restart();
    kafka.create_topic(&dead, 1, &[]);
    let mut oracle = Oracle::new(kafka, &dead);
    let records = oracle.first(20).to_vec();
    until_letters(&daemon, 0);
    for (number, record) in records.iter().enumerate() {
        assert_eq!(record.value, format!("letter {number}").as_bytes());
        assert_eq!(record.header("mqtt-topic"), Some(BAD));
        assert_eq!(
            record.header("edgeferry-dead-letter-reason"),
            Some("illegal-topic")
        );
        assert_eq!(record.header("edgeferry-gateway"), Some(GATEWAY));
        assert_eq!(record.header("mqtt-qos"), Some("1"));
        // No route makes a key.
        assert_eq!(record.key.as_deref(), Some(BAD.as_bytes()));
    }
    daemon.terminate();
    wait::let_pass("nothing more comes", Duration::from_millis(500));
    assert_eq!(oracle.available(), 20, "each of them once");
}
