//! Routes whose filters overlap in part: each message goes through each route once, whatever the broker sends.

use std::collections::HashMap;

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::Oracle;

/// Messages that both filters match, one of the first and one of the second alone after each.
const ROUNDS: usize = 100;

/// Payloads of two routes' topics by how often they came, and whether any was marked.
fn run(version: &str, lines: &str) -> [HashMap<String, usize>; 2] {
    let kafka = kafka::shared();
    let mosquitto = Mosquitto::start_with(lines);
    let topics = [kafka.fresh_topic("first"), kafka.fresh_topic("second")];
    let config = Config::new(kafka)
        .broker("local", version, &mosquitto)
        .route("plant/{device}/{what}", &topics[0])
        .route("{site}/{device}/temperature", &topics[1]);
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed("plant/+/+", mark);
    mosquitto.until_subscribed("+/+/temperature", mark);
    let mut link = Link::connect(mosquitto.port(), "device", true).expect("it accepts");
    for number in 0..ROUNDS {
        link.publish("plant/d1/temperature", format!("both {number}").as_bytes());
        link.publish("plant/d1/temperature", b"both, always the same");
        link.publish("plant/d1/pressure", format!("first {number}").as_bytes());
        link.publish("office/d1/temperature", format!("second {number}").as_bytes());
    }
    link.publish("plant/d1/temperature", b"end");
    let counts = topics.map(|topic| {
        let mut oracle = Oracle::new(kafka, &topic);
        let mut count = 3 * ROUNDS + 1;
        // All are in one partition, so the end is behind everything.
        while oracle.first(count).iter().all(|record| record.value != b"end") {
            count += 1;
        }
        let mut counts = HashMap::new();
        for record in oracle.records() {
            let text = String::from_utf8(record.value.clone()).expect("text");
            *counts.entry(text).or_insert(0) += 1;
        }
        counts
    });
    daemon.terminate();
    let said = daemon.log();
    eprintln!(
        "{version} {lines}: {}",
        said.lines()
            .find(|line| line.contains("totals"))
            .unwrap_or_default()
    );
    counts
}

fn assert_each_once(counts: &[HashMap<String, usize>; 2]) {
    for (counts, own) in counts.iter().zip(["first", "second"]) {
        assert_eq!(counts.get("both, always the same"), Some(&ROUNDS), "{own}");
        for number in 0..ROUNDS {
            assert_eq!(counts.get(&format!("both {number}")), Some(&1), "{own} {number}");
            assert_eq!(counts.get(&format!("{own} {number}")), Some(&1));
        }
        assert_eq!(
            counts.values().sum::<usize>(),
            3 * ROUNDS + 1,
            "{own}: {counts:?}"
        );
    }
}

#[test]
fn a_message_of_two_overlapping_filters_goes_through_each_route_once() {
    for version in ["5", "3.1.1"] {
        assert_each_once(&run(version, ""));
    }
}

#[test]
fn copies_for_each_subscription_are_one_message_with_mqtt_5() {
    assert_each_once(&run("5", "allow_duplicate_messages true"));
    assert_each_once(&run("5", "allow_duplicate_messages false"));
}
