//! librdkafka's mock cluster, and a reader that knows nothing of the pipeline.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::demo::DemoError;
use crate::demo::devices::{self, Reading};
use crate::demo::tally::{Guest, Tally};

/// Where everything goes.
pub(super) const TOPIC: &str = "telemetry";
const PARTITIONS: i32 = 3;
/// All brokers of the cluster; there is one.
const ALL: i32 = -1;
/// How long the reader takes at most to notice that it should end.
const GLANCE: Duration = Duration::from_millis(100);

/// A Kafka cluster in this process. It keeps 5 MB per partition and forgets what is older.
pub(super) struct Cluster(MockCluster<'static, DefaultProducerContext>);

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cluster").field(&self.bootstrap_servers()).finish()
    }
}

impl Cluster {
    /// One broker and the topic.
    pub(super) fn start() -> Result<Self, KafkaError> {
        let cluster = MockCluster::new(1)?;
        cluster.create_topic(TOPIC, PARTITIONS, 1)?;
        Ok(Self(cluster))
    }

    /// Where clients find it.
    pub(super) fn bootstrap_servers(&self) -> String {
        self.0.bootstrap_servers()
    }

    /// Cuts all connections and refuses new ones. What is stored stays.
    pub(super) fn take_away(&self) -> Result<(), KafkaError> {
        self.0.broker_down(ALL)
    }

    /// Lets clients connect again.
    pub(super) fn bring_back(&self) -> Result<(), KafkaError> {
        self.0.broker_up(ALL)
    }
}

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
