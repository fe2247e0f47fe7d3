//! What a message takes on the disk and on the link: the constants of docs/capacity.md, measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{Kafka, shared};
use crate::support::manual::page;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::PATIENCE;
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::telemetry::{Telemetry, reading};
use crate::support::wait;

/// Readings in a message, and messages: some 200, 1,000 and 10,000 bytes.
const SIZES: [(usize, u64); 3] = [(1, 10_000), (5, 2_000), (50, 400)];
/// So few in a second, and each is stored by itself.
const ALONE: u64 = 6_000;
const ALONE_RATE: u32 = 400;
/// Compression depends on what is sent, and groups on the machine.
const TOLERANCE: f64 = 0.25;

/// A fleet whose messages have so many readings each.
struct Fleet(Telemetry, usize);

impl Fleet {
    fn new(readings: usize) -> Self {
        Self(Telemetry::new(7), readings)
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
        let payload = if self.1 == 1 {
            payload
        } else {
            format!("[{payload}]")
        };
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

/// Bytes of the queue for each message of 200 bytes, when each comes by itself.
fn on_disk_alone() -> f64 {
    let (kafka, mosquitto) = (Kafka::absent(), Mosquitto::start());
    let config = Config::usual("5", &mosquitto, &kafka, "telemetry").queue("commit_interval = \"0s\"");
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    let empty = bytes(&daemon);
    let plan = Plan {
        messages: Some(ALONE),
        rate: Some(ALONE_RATE),
        bytes: 200,
        contents: reading,
        ..Plan::default()
    };
    Devices::start(&mosquitto, &plan).finish(ACK_LIMIT);
    wait::until("all of it is stored", ACK_LIMIT, || {
        (daemon.lane()["received"] == ALONE).then_some(())
    });
    let taken = bytes(&daemon) - empty;
    daemon.terminate();
    ratio(taken, ALONE)
}

/// Bytes of the queue for each message: with Kafka away, and published while the daemon was away, so that groups are full.
fn on_disk(readings: usize, messages: u64) -> f64 {
    let (kafka, mosquitto) = (Kafka::absent(), Mosquitto::start());
    let config = Config::usual("5", &mosquitto, &kafka, "telemetry").queue("commit_interval = \"1s\"");
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    let empty = bytes(&daemon);
    daemon.terminate();
    publish(&mosquitto, readings, messages);
    daemon.restart();
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
        .route_with(
            "devices/{device}/telemetry",
            &topic,
            &format!("headers = \"{headers}\""),
        )
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
    let (readings, messages) = SIZES[0];
    compare(&[
        ("disk_200", on_disk(readings, messages)),
        ("link_200", on_the_link(readings, messages, "full", "")),
    ]);
}

#[test]
#[ignore = "the same for every row of the page, a minute: ./dev bench capacity"]
fn every_figure_of_the_page_for_planning_is_what_is_measured() {
    let mut measured = vec![("disk_alone", on_disk_alone())];
    let names = [
        ["disk_200", "link_200", "link_200_thrifty"],
        ["disk_1000", "link_1000", "link_1000_thrifty"],
        ["disk_10000", "link_10000", "link_10000_thrifty"],
    ];
    for ((readings, messages), [disk, link, thrifty]) in SIZES.into_iter().zip(names) {
        measured.push((disk, on_disk(readings, messages)));
        measured.push((link, on_the_link(readings, messages, "full", "")));
        measured.push((
            thrifty,
            on_the_link(readings, messages, "minimal", "preset = \"throughput\""),
        ));
    }
    compare(&measured);
}

/// Holds what was measured against the page.
fn compare(measured: &[(&str, f64)]) {
    let stated = stated();
    for (name, bytes) in measured {
        eprintln!("{name}: {bytes:.1} bytes for each message");
    }
    for (name, bytes) in measured {
        let page = stated.get(*name).copied();
        let page = page.unwrap_or_else(|| panic!("docs/capacity.md does not say {name}: {bytes:.1}"));
        let off = (bytes / page - 1.0).abs();
        assert!(off < TOLERANCE, "{name}: {bytes:.1} here, {page:.1} in the page");
    }
}
