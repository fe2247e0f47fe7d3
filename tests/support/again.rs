//! Records that come again, as after a crash of the gateway.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::kafka::Kafka;
use super::oracle::Record;

const LIMIT: Duration = Duration::from_mins(1);

/// Writes the last `count` of these records of each partition once more, byte for byte and in their order, as a gateway does
/// that was killed before it knew of Kafka's answer. How many that are.
pub fn repeat_the_end(kafka: &Kafka, topic: &str, records: &[Record], count: usize) -> usize {
    let producer: BaseProducer = kafka.client().create().expect("a plain producer");
    let mut by_partition: BTreeMap<i32, Vec<&Record>> = BTreeMap::new();
    for record in records {
        by_partition.entry(record.partition).or_default().push(record);
    }
    let ends = by_partition.values();
    let ends = ends.flat_map(|records| &records[records.len().saturating_sub(count)..]);
    let mut written = 0;
    for record in ends {
        let headers = record.headers.iter();
        let headers = headers.fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header {
                key,
                value: Some(value),
            })
        });
        let copy = BaseRecord::to(topic)
            .partition(record.partition)
            .key(record.key.as_deref().expect("it has one"))
            .payload(&record.value)
            .headers(headers);
        let sent = producer.send(copy).map_err(|(error, _)| error);
        sent.expect("there is room");
        written += 1;
    }
    producer.flush(LIMIT).expect("kafka takes them");
    written
}
