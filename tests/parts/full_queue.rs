//! A full queue: edgeferry stops taking, the broker keeps the data, and everything arrives in the end.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::support::config::{CLIENT_ID, Config};
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::wait;

/// The smallest queue that can be configured.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Three times that, even when it compresses to half.
const MESSAGES: u64 = 12_000;
const MESSAGE_BYTES: usize = 8_000;

#[test]
fn a_full_queue_pushes_back_and_everything_arrives_later() {
    let mut kafka = Kafka::start();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("telemetry");
    let config = Config::new(&kafka)
        .broker_with("local", "5", &mosquitto, "keep_alive = \"5s\"")
        .route("devices/{device}/telemetry", &topic)
        .queue("max_bytes = \"16MiB\"")
        .impatient();
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    kafka.kill();

    let plan = Plan {
        messages: Some(MESSAGES),
        rate: None,
        bytes: MESSAGE_BYTES,
        ..Plan::default()
    };
    // The broker takes everything: it has no limit.
    let sent = Devices::start(&mosquitto, &plan).finish(ACK_LIMIT);
    wait::until(
        "edgeferry disconnects because its queue is full",
        ACK_LIMIT,
        || {
            let log = mosquitto.log();
            log.lines()
                .any(|line| line.starts_with("Client ") && line.contains(CLIENT_ID))
                .then_some(())
        },
    );
    assert!(
        !mosquitto.log().contains("exceeded timeout"),
        "edgeferry leaves before the broker throws it out"
    );
    wait::let_pass("the queue stays full", Duration::from_secs(10));
    daemon.assert_alive();
    let used = bytes_in(&daemon.store().join("lanes/default"));
    assert!(used <= MAX_BYTES, "{used} bytes on disk");

    kafka.restart();
    let mut oracle = Oracle::new(&kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.terminate();
    let verdict = oracle.verdict(&sent);
    eprintln!("{verdict}");
    verdict.assert_clean();
}

/// Bytes on disk of all that is in a folder, as `du` counts; files that vanish meanwhile do not count.
fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
