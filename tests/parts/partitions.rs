//! Topics whose partitions change under load.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{Kafka, shared};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE, murmur2};
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::wait;

const LIMIT: Duration = Duration::from_mins(1);

/// A daemon that looks for another number of partitions every second.
fn start(kafka: &Kafka, mosquitto: &Mosquitto, topic: &str, mode: &str) -> Daemon {
    let config = Config::usual("5", mosquitto, kafka, topic)
        .kafka(&format!("on_partition_change = \"{mode}\""))
        .property("topic.metadata.refresh.interval.ms", "1000");
    let mark = mosquitto.mark();
    let daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    daemon
}

fn fleet(prefix: &'static str) -> Plan {
    Plan {
        prefix,
        devices: 40,
        rate: Some(1_000),
        ..Plan::default()
    }
}

#[test]
fn a_topic_grows_under_load() {
    grows("warn");
}

#[test]
fn a_topic_grows_under_load_and_what_is_under_way_is_finished_first() {
    let oracle = grows("drain");
    // The topic has the broker's times: when a record was stored.
    let stored = |wanted: i32, other: i32| {
        let times = oracle.records().iter().filter(|record| {
            let key = record.key.as_deref().unwrap_or_default();
            let home = murmur2::partition(key, wanted);
            record.partition == home && home != murmur2::partition(key, other)
        });
        times.filter_map(|record| record.time_ms).collect::<Vec<_>>()
    };
    let (before, after) = (stored(5, 8), stored(8, 5));
    let (last, first) = (before.iter().max(), after.iter().min());
    assert!(last.is_some() && first.is_some(), "keys have moved");
    assert!(
        last <= first,
        "the last of the old layout is stored at {last:?}, the first of the new one at {first:?}"
    );
}

fn grows(mode: &str) -> Oracle {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic_with("growing", 5, &[("message.timestamp.type", "LogAppendTime")]);
    let mut daemon = start(kafka, &mosquitto, &topic, mode);
    let devices = Devices::start(&mosquitto, &fleet("d"));
    devices.until_acked(3_000, ACK_LIMIT);
    kafka.grow_topic(&topic, 8);
    wait::until("the change is noticed", LIMIT, || {
        daemon
            .log()
            .contains("another number of partitions")
            .then_some(())
    });
    devices.until_acked(3_000, ACK_LIMIT);
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.assert_alive();
    daemon.terminate();
    let verdict = oracle.verdict_over(&sent, &[5, 8]);
    eprintln!("{mode}:\n{verdict}");
    verdict.assert_clean_without_duplicates();
    let new = oracle.records().iter().filter(|record| record.partition >= 5);
    assert!(new.count() > 100, "the new partitions are used");
    oracle
}

/// edgeferry chooses partitions by the answer to its own question, so librdkafka must know what that answer said.
#[test]
fn librdkafka_takes_a_record_for_a_new_partition_right_after_it_was_asked_for_the_topic() {
    let topic = shared().fresh_topic_with("asked", 1, &[]);
    let producer: BaseProducer = shared()
        .client()
        .set("enable.idempotence", "true")
        .create()
        .expect("a plain producer");
    let send = |partition| {
        let record = BaseRecord::<str, str>::to(&topic)
            .payload("x")
            .partition(partition);
        producer.send(record).map_err(|(error, _)| error)
    };
    send(0).expect("taken");
    producer.flush(LIMIT).expect("kafka takes it");
    for partitions in 2..10 {
        shared().grow_topic(&topic, partitions);
        let refused = send(partitions - 1).expect_err("it has not been asked");
        let unknown = Some(RDKafkaErrorCode::UnknownPartition);
        assert_eq!(refused.rdkafka_error_code(), unknown);
        wait::until("the cluster answers with the new count", LIMIT, || {
            let metadata = producer.client().fetch_metadata(Some(&topic), LIMIT).ok()?;
            let found = metadata.topics().first()?.partitions().len();
            (i32::try_from(found) == Ok(partitions)).then_some(())
        });
        send(partitions - 1).expect("taken right away");
    }
    producer.flush(LIMIT).expect("kafka takes them");
}

#[test]
fn a_topic_is_deleted_and_made_anew_with_fewer_partitions() {
    made_anew(8, 3);
}

#[test]
fn a_topic_is_deleted_and_made_anew_with_more_partitions() {
    made_anew(3, 8);
}

fn made_anew(before: i32, after: i32) {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic_with("anew", before, &[]);
    let mut daemon = start(kafka, &mosquitto, &topic, "drain");
    let devices = Devices::start(&mosquitto, &fleet("d"));
    devices.until_acked(2_000, ACK_LIMIT);
    kafka.delete_topic(&topic);
    devices.until_acked(1_000, ACK_LIMIT);
    kafka.create_topic(&topic, after, &[]);
    devices.until_acked(1_000, ACK_LIMIT);
    let mut sent = devices.finish(ACK_LIMIT);
    // What Kafka had confirmed is gone with the topic.
    sent.require_only(|_, _| false);
    sent.merge(
        Devices::start(
            &mosquitto,
            &Plan {
                messages: Some(2_000),
                ..fleet("e")
            },
        )
        .finish(ACK_LIMIT),
    );
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.assert_alive();
    daemon.terminate();
    let verdict = oracle.verdict_over(&sent, &[before, after]);
    eprintln!("{before} to {after}:\n{verdict}");
    verdict.assert_clean();
    assert_eq!(verdict.expected, 2_000);
}
