//! Reads a topic from its beginning with a consumer that belongs to no group.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::wait::wall_clock;
use crate::support::{kafka, wait};

const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// Kafka may just be coming back from an outage.
const TOPIC_LIMIT: Duration = Duration::from_secs(90);

/// One Kafka record as it lies in the log.
#[derive(Debug, Clone)]
pub struct Record {
    /// Partition.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Key, if there is one.
    pub key: Option<Vec<u8>>,
    /// Value; empty when there is none.
    pub value: Vec<u8>,
    /// Headers by name; the last one wins.
    pub headers: HashMap<String, Vec<u8>>,
    /// All headers in their order, also those that share a name.
    pub all_headers: Vec<(String, Vec<u8>)>,
    /// Time of the record, milliseconds since 1970: the producer's, or the broker's when the topic is set so.
    pub time_ms: Option<i64>,
    /// When this reader saw it.
    pub seen: SystemTime,
}

impl Record {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.headers.get(name)?).ok()
    }

    fn read(message: &BorrowedMessage<'_>) -> Self {
        let all_headers: Vec<(String, Vec<u8>)> = message
            .headers()
            .into_iter()
            .flat_map(Headers::iter)
            .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
            .collect();
        Self {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().unwrap_or_default().to_vec(),
            headers: all_headers.iter().cloned().collect(),
            all_headers,
            time_ms: message.timestamp().to_millis(),
            seen: wall_clock(),
        }
    }
}

/// A topic that is being read.
pub struct Reader {
    consumer: BaseConsumer,
    /// Asks where the partitions end. Kafka answers a connection's requests one after the other, and on the
    /// consumer's own connection every question would wait behind a fetch that waits for records.
    probe: BaseConsumer,
    topic: String,
    /// Next offset to read, by partition.
    positions: Vec<i64>,
}

impl Reader {
    /// Begins at the beginning of every partition.
    pub fn new(bootstrap: &str, topic: &str) -> Self {
        let consumer: BaseConsumer = kafka::client(bootstrap)
            .set("group.id", "the oracle commits nothing")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .create()
            .expect("a plain consumer");
        let partitions = wait::until(&format!("{topic} can be read"), TOPIC_LIMIT, || {
            let metadata = consumer.fetch_metadata(Some(topic), REQUEST_LIMIT).ok()?;
            let topic = metadata
                .topics()
                .first()
                .filter(|topic| topic.error().is_none())?;
            Some(topic.partitions().len()).filter(|count| *count > 0)
        });
        let probe = kafka::client(bootstrap).create().expect("a plain client");
        let reader = Self {
            consumer,
            probe,
            topic: topic.into(),
            positions: vec![0; partitions],
        };
        reader.assign();
        reader
    }

    /// Goes on where it is.
    fn assign(&self) {
        let mut list = TopicPartitionList::new();
        for (partition, position) in (0..).zip(&self.positions) {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(*position))
                .expect("a valid offset");
        }
        self.consumer.assign(&list).expect("assigning needs no broker");
    }

    /// Its name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Number of partitions.
    pub fn partitions(&self) -> i32 {
        i32::try_from(self.positions.len()).expect("few partitions")
    }

    /// The next record, if one comes within `limit`. Errors of the connection are waited out.
    pub fn next(&mut self, limit: Duration) -> Option<Record> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.consumer.poll(left) {
                Some(Ok(message)) => {
                    let record = Record::read(&message);
                    let partition = usize::try_from(record.partition).expect("partitions count from 0");
                    self.positions[partition] = record.offset + 1;
                    return Some(record);
                }
                Some(Err(_)) if Instant::now() < deadline => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Everything that is in the topic now and was not read. Behind the last record a transaction has a marker, so only Kafka
    /// itself can say where the end is: once for each time that reading begins.
    ///
    /// # Panics
    ///
    /// When the end is not reached within `limit`.
    pub fn rest(&mut self, limit: Duration) -> Vec<Record> {
        self.assign();
        let deadline = Instant::now() + limit;
        let mut at_end = HashSet::new();
        let mut records = Vec::new();
        while at_end.len() < self.positions.len() {
            assert!(Instant::now() < deadline, "the end of the topic is not reached");
            match self.consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => {
                    let record = Record::read(&message);
                    let partition = usize::try_from(record.partition).expect("partitions count from 0");
                    self.positions[partition] = record.offset + 1;
                    at_end.remove(&record.partition);
                    records.push(record);
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    at_end.insert(partition);
                }
                Some(Err(_)) | None => {}
            }
        }
        records
    }

    /// Records in the topic now; with transactions their markers count too.
    pub fn available(&self) -> i64 {
        self.ends().map_or(0, |ends| ends.iter().sum())
    }

    fn ends(&self) -> Option<Vec<i64>> {
        (0..self.partitions())
            .map(|partition| {
                let marks = self
                    .consumer
                    .fetch_watermarks(&self.topic, partition, REQUEST_LIMIT);
                marks.ok().map(|(_, high)| high)
            })
            .collect()
    }
}
