//! Nothing has to be there when the daemon starts.

use std::time::Duration;

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{Kafka, PARTITIONS, shared, unused_topic};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::wait;

/// Long enough for several rounds of reconnecting.
const ALONE: Duration = Duration::from_secs(8);

#[test]
fn mosquitto_appears_first_then_kafka() {
    parts_appear(Order::MosquittoFirst);
}

#[test]
fn kafka_appears_first_then_mosquitto() {
    parts_appear(Order::KafkaFirst);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    MosquittoFirst,
    KafkaFirst,
}

fn parts_appear(order: Order) {
    let mut kafka = Kafka::absent();
    let mut mosquitto = Mosquitto::absent();
    let topic = unused_topic("telemetry");
    let config = Config::usual("5", &mosquitto, &kafka, &topic).impatient();
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    wait::let_pass("the daemon is alone", ALONE);
    daemon.assert_alive();

    let mut start_kafka = || {
        kafka.restart();
        kafka.create_topic(&topic, PARTITIONS, &[]);
    };
    if order == Order::KafkaFirst {
        start_kafka();
    }
    mosquitto.restart();
    mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(&mosquitto, &Plan::default());
    devices.until_acked(2_000, ACK_LIMIT);
    if order == Order::MosquittoFirst {
        start_kafka();
    }
    devices.until_acked(1_000, ACK_LIMIT);
    let sent = devices.finish(ACK_LIMIT);

    let mut oracle = Oracle::new(&kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.assert_alive();
    daemon.terminate();
    oracle.verdict(&sent).assert_clean();
    assert_eq!(kafka.partitions(&topic), Some(PARTITIONS));
}

#[test]
fn a_missing_topic_holds_everything_until_it_is_created() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = unused_topic("late");
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&Config::usual("5", &mosquitto, kafka, &topic).impatient());
    mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(&mosquitto, &Plan::default());
    devices.until_acked(1_000, ACK_LIMIT);
    // Longer than librdkafka believes in a topic that it cannot see (lowered to 5 s).
    wait::let_pass("the topic is missing", Duration::from_secs(20));
    daemon.assert_alive();
    assert_eq!(kafka.partitions(&topic), None, "edgeferry never creates topics");
    assert!(daemon.log().contains(&topic), "the log names the topic");

    kafka.create_topic(&topic, PARTITIONS, &[]);
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.terminate();
    oracle.verdict(&sent).assert_clean();
}
