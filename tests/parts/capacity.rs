//! What a message takes on the disk and on the link: the constants of docs/capacity.md, measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::kafka::{Kafka, shared};
use crate::support::manual::page;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::PATIENCE;
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::telemetry::Telemetry;
use crate::support::wait;

/// Readings in a message, and messages: some 200, 1,000 and 10,000 bytes.
const SIZES: [(usize, u64); 3] = [(1, 4_000), (5, 2_000), (50, 400)];
/// Sent one after the other, each stored by itself.
const ALONE: u64 = 300;
/// Compression depends on what is sent, and groups on the machine.
const TOLERANCE: f64 = 0.25;

/// A fleet whose messages have so many readings each.
struct Fleet(Telemetry, usize);

impl Fleet {
    fn new(readings: usize) -> Self {
        Self(Telemetry::new(7, 1_000), readings)
    }

    fn next(&mut self) -> (String, String) {
        let mut device = String::new();
        let mut payload = String::new();
        for index in 0..self.1 {
            let (name, reading) = self.0.next();
            name.clone_into(&mut device);
            let comma = if index == 0 { "" } else { "," };
            write!(payload, "{comma}{reading}").expect("text can grow");
        }
        let payload = if self.1 == 1 { payload } else { format!("[{payload}]") };
        (device, payload)
    }
}

/// Publishes; how many bytes the payloads have in all.
fn publish(mosquitto: &Mosquitto, readings: usize, messages: u64) -> u64 {
    let mut fleet = Fleet::new(readings);
    let mut link = Link::connect(mosquitto.port(), "device", true).expect("it accepts");
    let mut bytes = 0;
    for _ in 0..messages {
        let (device, payload) = fleet.next();
        bytes += payload.len() as u64;
        link.publish(&format!("devices/{device}/telemetry"), payload.as_bytes());
    }
    bytes
}

/// Bytes of the queue for each message: with Kafka away, published at once while the daemon was away, so that groups are full; or one by one.
fn on_disk(readings: usize, messages: u64, alone: bool) -> f64 {
    let (kafka, mosquitto) = (Kafka::absent(), Mosquitto::start());
    let interval = if alone { "0s" } else { "1s" };
    let config = Config::usual("5", &mosquitto, &kafka, "telemetry");
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config.queue(&format!("commit_interval = \"{interval}\"")));
    mosquitto.until_subscribed(FILTER, mark);
    let empty = bytes(&daemon);
    if !alone {
        daemon.terminate();
    }
    publish(&mosquitto, readings, messages);
    if !alone {
        daemon.restart();
    }
    wait::until("all of it is stored", ACK_LIMIT, || {
        (daemon.lane()["received"] == messages).then_some(())
    });
    let taken = bytes(&daemon) - empty;
    daemon.terminate();
    ratio(taken, messages)
}

fn bytes(daemon: &Daemon) -> u64 {
    daemon.lane()["bytes"].as_u64().expect("the lane says it")
}

/// Bytes of Kafka's log for each message of a backlog: what the producer sent.
fn on_the_link(readings: usize, messages: u64, headers: &str, kafka_line: &str) -> f64 {
    let (kafka, mosquitto) = (shared(), Mosquitto::start());
    let topic = kafka.fresh_topic_with("link", 1, &[]);
    let config = Config::new(kafka)
        .broker("local", "5", &mosquitto)
        .route_with("devices/{device}/telemetry", &topic, &format!("headers = \"{headers}\""))
        .kafka(kafka_line);
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    daemon.terminate();
    publish(&mosquitto, readings, messages);
    daemon.restart();
    wait::until("all of it is delivered", PATIENCE, || {
        (daemon.lane()["delivered"] == messages).then_some(())
    });
    daemon.terminate();
    ratio(kafka.topic_bytes(&topic), messages)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn ratio(bytes: u64, messages: u64) -> f64 {
    bytes as f64 / messages as f64
}

/// The figures of the page, by the name in their row.
fn stated() -> BTreeMap<String, f64> {
    let text = page("docs/capacity.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| {
        let (name, rest) = row.split_once('`')?;
        let number = rest.split('|').nth(1)?.trim().replace(',', "");
        Some((name.to_owned(), number.parse().ok()?))
    })
    .collect()
}

#[test]
fn what_a_message_takes_on_disk_and_on_the_link_is_what_the_page_for_planning_says() {
    let mut measured = vec![("disk_alone", on_disk(1, ALONE, true))];
    let names = [
        ["disk_200", "link_200", "link_200_thrifty"],
        ["disk_1000", "link_1000", "link_1000_thrifty"],
        ["disk_10000", "link_10000", "link_10000_thrifty"],
    ];
    for ((readings, messages), [disk, link, thrifty]) in SIZES.into_iter().zip(names) {
        measured.push((disk, on_disk(readings, messages, false)));
        measured.push((link, on_the_link(readings, messages, "full", "")));
        measured.push((
            thrifty,
            on_the_link(readings, messages, "minimal", "preset = \"throughput\""),
        ));
    }
    let stated = stated();
    for (name, bytes) in &measured {
        eprintln!("{name}: {bytes:.1} bytes for each message");
    }
    for (name, bytes) in measured {
        let page = stated.get(name).copied();
        let page = page.unwrap_or_else(|| panic!("docs/capacity.md does not say {name}: {bytes:.1}"));
        let off = (bytes / page - 1.0).abs();
        assert!(off < TOLERANCE, "{name}: {bytes:.1} here, {page:.1} in the page");
    }
}
