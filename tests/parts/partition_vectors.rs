//! The partition of a key on live topics is the one that every other producer of the topic chooses.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::kafka::shared;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::Oracle;
use crate::support::scene::FILTER;

const LIMIT: Duration = Duration::from_mins(1);

/// Partition counts of the topics, in the order of the columns below.
const COUNTS: [i32; 4] = [4, 5, 8, 15];

/// Key and its partition among so many. All were asked of Java's own partitioner (kafka-clients 4.1.1,
/// `BuiltInPartitioner.partitionForKey`).
const VECTORS: &[(&str, [i32; 4])] = &[
    ("574bd77c-4aba-4557-aa9e-066939f938cc", [2, 3, 6, 3]),
    ("nrf-111111111111111", [3, 2, 3, 7]),
    ("NPO-101", [3, 2, 7, 12]),
    ("sensor-1", [1, 1, 5, 1]),
    ("urn:ngsi-ld:Sensor:001", [2, 3, 6, 8]),
    ("Thing:id_sen1", [1, 0, 1, 10]),
    ("sérial-é", [1, 2, 5, 2]),
    ("TT0124", [2, 0, 6, 10]),
];

/// The same for `"crc32"`: CRC-32 of the key, modulo the count.
const CRC32_VECTORS: &[(&str, [i32; 4])] = &[
    ("574bd77c-4aba-4557-aa9e-066939f938cc", [2, 4, 6, 4]),
    ("nrf-111111111111111", [1, 4, 5, 4]),
    ("NPO-101", [0, 4, 0, 9]),
    ("sensor-1", [3, 0, 3, 10]),
    ("urn:ngsi-ld:Sensor:001", [0, 2, 4, 2]),
    ("Thing:id_sen1", [3, 0, 7, 5]),
    ("sérial-é", [3, 2, 3, 12]),
];

/// Keys of every length up to 40 bytes, so that each way in which the hash ends is taken, and some beyond ASCII.
fn further_keys() -> Vec<String> {
    let plain = (1..=40).map(|len| "Az09-_.:".chars().cycle().take(len).collect::<String>());
    let devices = (0..100).map(|number| format!("device-{number}"));
    let foreign = ["größe", "温度计-7", "ключ", "é", "🛰️-3"].map(str::to_owned);
    plain.chain(devices).chain(foreign).collect()
}

/// Partition by key, as one topic has it; every key is in one partition only.
fn homes(oracle: &mut Oracle, records: usize) -> BTreeMap<String, i32> {
    let mut homes = BTreeMap::new();
    for record in oracle.first(records) {
        let key = record.key.clone().expect("every record has a key");
        let key = String::from_utf8(key).expect("keys are text");
        let home = *homes.entry(key.clone()).or_insert(record.partition);
        assert_eq!(home, record.partition, "{key} is in two partitions");
    }
    homes
}

#[test]
fn keys_are_in_the_published_partitions_of_live_topics_where_other_producers_put_them_too() {
    check("murmur2", VECTORS, "murmur2_random");
}

#[test]
fn with_crc32_keys_are_where_librdkafkas_own_hash_puts_them_on_live_topics() {
    check("crc32", CRC32_VECTORS, "consistent");
}

/// The daemon with `partitioner` and another producer, librdkafka with what it calls the same, put all keys into the same
/// partitions.
fn check(partitioner: &str, vectors: &[(&str, [i32; 4])], in_librdkafka: &str) {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topics = COUNTS.map(|count| kafka.fresh_topic_with("vectors", count, &[]));
    let config = topics.iter().fold(
        Config::new(kafka)
            .kafka(&format!("partitioner = \"{partitioner}\""))
            .broker("local", "5", &mosquitto),
        |config, topic| config.route("devices/{device}/telemetry", topic),
    );
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);

    let mut keys = further_keys();
    keys.extend(vectors.iter().map(|(key, _)| (*key).to_owned()));
    let mut link = Link::connect(mosquitto.port(), "vectors", true).expect("it accepts");
    for key in &keys {
        link.publish(&format!("devices/{key}/telemetry"), b"from edgeferry");
    }
    let mut oracles = topics.each_ref().map(|topic| Oracle::new(kafka, topic));
    let ours = oracles.each_mut().map(|oracle| homes(oracle, keys.len()));
    for (key, expected) in vectors {
        let found = ours.each_ref().map(|homes| homes[*key]);
        assert_eq!(found, *expected, "{key} among {COUNTS:?} partitions");
    }

    assert!(
        daemon.log().contains(&format!("partitioner={partitioner:?}"))
            || daemon.log().contains(&format!("partitioner={partitioner}")),
        "the start log names the hash: {}",
        daemon.log()
    );

    // librdkafka has hashes of its own, in C; edgeferry and the oracle use neither it nor each other's.
    let other: BaseProducer = kafka
        .client()
        .set("partitioner", in_librdkafka)
        .create()
        .expect("a plain producer");
    for topic in &topics {
        for key in &keys {
            let record = BaseRecord::to(topic).key(key).payload("from another producer");
            other
                .send(record)
                .map_err(|(error, _)| error)
                .expect("there is room");
        }
    }
    other.flush(LIMIT).expect("kafka takes them");
    for ((oracle, ours), count) in oracles.iter_mut().zip(&ours).zip(COUNTS) {
        let both = homes(oracle, 2 * keys.len());
        assert_eq!(both, *ours, "among {count} partitions");
    }
    daemon.assert_alive();
    daemon.terminate();
}
