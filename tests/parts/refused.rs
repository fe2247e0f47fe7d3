//! Records that Kafka, or the client, refuses for what they are.

use std::time::Duration;

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::sent::Sent;
use crate::support::kafka::shared;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::{Oracle, PATIENCE, Verdict};
use crate::support::payload::{USUAL_BYTES, payload};
use crate::support::scene::FILTER;

const DEVICES: u64 = 6;
const MESSAGES: u64 = 30;
/// Over the topic's limit, far below the client's. Noise does not compress below it.
const POISON_BYTES: usize = 20_000;
const STATUS_LIMIT: Duration = Duration::from_mins(1);

/// Each device's poison is in another place.
fn is_poison(device: u64, seq: u64) -> bool {
    (seq + 5 * device) % 15 == 5
}

#[test]
fn poison_between_records_of_the_same_devices_leaves_the_others_in_order() {
    refused_by_the_topic(|config| config).assert_clean();
}

#[test]
fn poison_between_records_of_the_same_devices_leaves_the_others_in_order_exactly_once() {
    refused_by_the_topic(Config::exactly_once).assert_clean_without_duplicates();
}

fn refused_by_the_topic(change: impl FnOnce(Config) -> Config) -> Verdict {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic_with("small", 2, &[("max.message.bytes", "2000")]);
    // Many small batches, so that five of them are in flight.
    let config = Config::usual("5", &mosquitto, kafka, &topic).property("batch.size", "1500");
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&change(config));
    mosquitto.until_subscribed(FILTER, mark);
    // All of it waits when it comes back: then everything is sent at once.
    daemon.terminate();
    let (sent, poison) = publish_all(&mosquitto);
    daemon.restart();
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    until_dead(&daemon, poison);
    daemon.terminate();
    let verdict = oracle.verdict(&sent);
    eprintln!("{topic}:\n{verdict}");
    assert!(
        daemon.log().contains("MessageSizeTooLarge"),
        "the log names the code"
    );
    verdict
}

fn publish_all(mosquitto: &Mosquitto) -> (Sent, u64) {
    let mut link = Link::connect(mosquitto.port(), "devices", true).expect("it accepts");
    let mut sent = Sent::new();
    let mut poison = 0;
    for seq in 1..=MESSAGES {
        for device in 0..DEVICES {
            let name = format!("d{device}");
            let topic = sent.topic_of(&name, seq);
            if is_poison(device, seq) {
                poison += 1;
                link.publish(&topic, &payload(&name, seq, POISON_BYTES));
            } else {
                link.publish(&topic, &payload(&name, seq, USUAL_BYTES));
                sent.note(&name, seq);
            }
        }
    }
    (sent, poison)
}

/// Waits until the status line counts so many dead letters.
fn until_dead(daemon: &Daemon, count: u64) {
    let fits =
        |status: &str| status.contains(&format!("dead letters {count}")) && status.contains("backlog 0");
    daemon
        .notify()
        .until_status(&format!("{count} dead letters"), STATUS_LIMIT, fits);
}

#[test]
fn a_record_over_the_clients_own_limit_is_a_dead_letter_at_once() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("telemetry");
    let config = Config::usual("5", &mosquitto, kafka, &topic).property("message.max.bytes", "5000");
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    let (sent, poison) = publish_all(&mosquitto);
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    until_dead(&daemon, poison);
    daemon.terminate();
    oracle.verdict(&sent).assert_clean_without_duplicates();
}
