//! Reads everything that comes to the mock cluster, while it comes: the cluster keeps 5 MB per partition.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use xxhash_rust::xxh3::xxh3_64;

use super::book::Book;
use super::mark;
use crate::route::headers;

/// Of each topic.
pub(super) const PARTITIONS: i32 = 3;
/// How long the reader takes at most to notice that it should end.
const GLANCE: Duration = Duration::from_millis(100);

/// Which lane's records a topic has for a message, where the id does not say it; by what was expected.
pub(super) type LaneOf = Arc<dyn Fn(u64, &str) -> Option<String> + Send + Sync>;

/// See the module. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Reader {
    stop: Arc<AtomicBool>,
    records: Arc<AtomicU64>,
    letters: Arc<Mutex<BTreeMap<u64, String>>>,
    thread: Option<JoinHandle<()>>,
}

struct Reading {
    consumer: BaseConsumer,
    /// `[dead_letter] topic`
    letters_topic: Option<String>,
    lane_of: LaneOf,
    book: Arc<Mutex<Book>>,
    letters: Arc<Mutex<BTreeMap<u64, String>>>,
    stop: Arc<AtomicBool>,
    records: Arc<AtomicU64>,
}

impl Reader {
    /// Reads these topics from their beginning.
    pub(super) fn start(
        bootstrap_servers: &str,
        topics: &[String],
        letters_topic: Option<String>,
        lane_of: LaneOf,
        book: &Arc<Mutex<Book>>,
    ) -> Result<Self, super::DrillError> {
        let (stop, letters) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let records = Arc::new(AtomicU64::new(0));
        let reading = Reading {
            consumer: consumer(bootstrap_servers, topics)?,
            letters_topic,
            lane_of,
            book: Arc::clone(book),
            letters: Arc::clone(&letters),
            stop: Arc::clone(&stop),
            records: Arc::clone(&records),
        };
        let thread = std::thread::Builder::new().name("Kafka reader".to_owned());
        let thread = thread.spawn(move || reading.run())?;
        Ok(Self {
            stop,
            records,
            letters,
            thread: Some(thread),
        })
    }

    /// Records read so far.
    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Dead letters that came to their topic, with the lane that kept them.
    pub(super) fn letters(&self) -> BTreeMap<u64, String> {
        self.letters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the reader panicked");
        }
    }
}

fn consumer(bootstrap_servers: &str, topics: &[String]) -> Result<BaseConsumer, KafkaError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("client.id", "edgeferry-drill-reader")
        // Needed to assign; nothing is committed.
        .set("group.id", "edgeferry-drill-reader")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "50")
        .set("fetch.error.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "500")
        // What is read is taken at once.
        .set("queued.max.messages.kbytes", "4096")
        .set_log_level(RDKafkaLogLevel::Emerg)
        .create()?;
    let mut partitions = TopicPartitionList::new();
    for topic in topics {
        for partition in 0..PARTITIONS {
            partitions.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
    }
    consumer.assign(&partitions)?;
    Ok(consumer)
}

impl Reading {
    fn run(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            // An error is the cluster that is away, on purpose; the client connects again by itself.
            if let Some(Ok(record)) = self.consumer.poll(GLANCE) {
                self.take(&record);
                self.records.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn take(&self, record: &BorrowedMessage<'_>) {
        let payload = record.payload().unwrap_or_default();
        let topic = record.topic();
        let number = mark::find(payload);
        if self.letters_topic.as_deref() == Some(topic) {
            if let Some(number) = number {
                let lane = header(record, "edgeferry-lane").unwrap_or_default();
                let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
                letters.insert(number, lane);
            }
            return;
        }
        let id = header(record, headers::ID).or_else(|| payload_id(payload));
        let lane = number.and_then(|number| {
            let of_id = id.as_deref().and_then(lane_of_id);
            of_id.or_else(|| (self.lane_of)(number, topic))
        });
        let hash = xxh3_64(&[record.key().unwrap_or_default(), b"\0", payload].concat());
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        match (number, id, lane) {
            (Some(number), Some(id), Some(lane)) => book.delivered(&lane, number, &id, topic, hash),
            _ => book.foreign += 1,
        }
    }
}

fn header(record: &BorrowedMessage<'_>, name: &str) -> Option<String> {
    let headers = record.headers()?;
    let found = headers.iter().find(|header| header.key == name)?;
    std::str::from_utf8(found.value?).ok().map(ToOwned::to_owned)
}

/// WASP has its id in the payload.
fn payload_id(payload: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    value.get("payloadId")?.as_str().map(ToOwned::to_owned)
}

/// The lane in `<epoch>-<lane>-<sequence>`; no name of a lane has a hyphen.
fn lane_of_id(id: &str) -> Option<String> {
    let mut parts = id.split('-');
    let (_, lane, sequence) = (parts.next()?, parts.next()?, parts.next()?);
    let is_id = parts.next().is_none() && sequence.parse::<u64>().is_ok();
    is_id.then(|| lane.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lane_is_in_the_id_unless_it_is_a_uuid() {
        assert_eq!(lane_of_id("00000000000000a1-alarms-7").as_deref(), Some("alarms"));
        assert_eq!(lane_of_id("d0000000-0000-4000-8000-000000000001"), None);
        assert_eq!(lane_of_id("a-b"), None);
    }
}
