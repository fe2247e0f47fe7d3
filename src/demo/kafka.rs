//! What is in the mock cluster, and a reader that knows nothing of the pipeline.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::demo::DemoError;
use crate::demo::devices::{self, Reading};
use crate::demo::tally::{Guest, Tally};

/// Where everything goes.
pub(super) const TOPIC: &str = "telemetry";
/// Of that topic.
pub(super) const PARTITIONS: i32 = 3;
/// How long the reader takes at most to notice that it should end.
const GLANCE: Duration = Duration::from_millis(100);

/// Reads everything that is in Kafka, from the beginning, on a thread of its own. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Reader {
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Starts to read.
    pub(super) fn start(
        bootstrap_servers: &str,
        devices: impl Iterator<Item = String>,
    ) -> Result<Self, DemoError> {
        let consumer = consumer(bootstrap_servers)?;
        let tally = Arc::new(Mutex::new(Tally::new(devices)));
        let stop = Arc::new(AtomicBool::new(false));
        let (tallied, stopping) = (Arc::clone(&tally), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("Kafka reader".to_owned())
            .spawn(move || read(&consumer, &tallied, &stopping))?;
        Ok(Self {
            tally,
            stop,
            thread: Some(thread),
        })
    }

    /// What was read so far.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
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

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

fn consumer(bootstrap_servers: &str) -> Result<BaseConsumer, KafkaError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("client.id", "edgeferry-demo-reader")
        // Needed to assign; nothing is committed.
        .set("group.id", "edgeferry-demo-reader")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        // Small: the demo's traffic is, and the mock cluster is in the same process.
        .set("queued.max.messages.kbytes", "4096")
        .set_log_level(RDKafkaLogLevel::Warning)
        .create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(TOPIC, partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    Ok(consumer)
}

fn read(consumer: &BaseConsumer, tally: &Mutex<Tally>, stopping: &AtomicBool) {
    while !stopping.load(Ordering::Relaxed) {
        // An error is the cluster that is away: it is part of the story, and the client connects again by itself.
        if let Some(Ok(record)) = consumer.poll(GLANCE) {
            take(&record, &mut lock(tally));
        }
    }
}

fn take(record: &BorrowedMessage<'_>, tally: &mut Tally) {
    let (key, payload) = (
        record.key().unwrap_or_default(),
        record.payload().unwrap_or_default(),
    );
    if devices::is_doorbell(key) {
        return;
    }
    let device = std::str::from_utf8(key).ok();
    let reading = serde_json::from_slice::<Reading>(payload).ok();
    let known = device
        .zip(reading)
        .is_some_and(|(device, reading)| tally.reading(device, reading.seq));
    if !known {
        tally.guest(Guest::new(key, payload));
    }
}
