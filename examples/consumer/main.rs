//! A consumer that processes each message of edgeferry once. To run, to read, and to copy from.
//!
//! ```sh
//! cargo run --example consumer -- --bootstrap-servers 127.0.0.1:9092 --topic telemetry --group billing
//! ```
//!
//! It prints one line of JSON for each message; [`process`] is the place for something better. Start it several times with one
//! `--group`, and the partitions are shared; with different ones, each has everything. The names of the settings below are
//! librdkafka's, so they are the same in its clients for Python, Go, C#, Node and PHP, and nearly the same in Java.
//!
//! # What it does, and why
//!
//! 1. **Drops duplicates by id.** edgeferry sends at least once: after a crash a stretch of records comes again, with the same
//!    header `edgeferry-id`. [`seen`] recognises them in bounded memory, and says what is enough for that. A record with the header
//!    `edgeferry-dup` may be a second copy of what MQTT brought twice, and has an id of its own: only what it holds can tell,
//!    so it is passed on with `in_doubt`.
//! 2. **Begins at the beginning** (`auto.offset.reset=earliest`): a new group gets what a gateway delivered before it first
//!    joined, and not only what comes from then on.
//! 3. **Reads what is committed** (`isolation.level=read_committed`): of a gateway with `delivery = "exactly-once"` nothing is
//!    seen that is taken back. For all others it changes nothing.
//! 4. **Commits after processing**: its place in Kafka moves when the work is done, so a crash loses nothing.
//!
//! # After a restart
//!
//! What was seen is not kept anywhere: it is in Kafka already. Whoever gets a partition, after a restart or from another
//! consumer of the group, reads the last `--look-back` records before the committed place once more, and only notes their ids. So
//! memory and place always agree: exactly what lies before the place counts as seen.
//!
//! # What remains
//!
//! * Records without `edgeferry-id` cannot be told apart, so each counts as new: those of other producers, and those of edgeferry with
//!   `format = "wasp"`, which have no headers (WASP's `payloadId` in the value is the same in every copy). The first one is said on stderr.
//! * A consumer that dies between processing and committing processes again what it had not committed, [`COMMIT_RECORDS`] records
//!   at most. Where that must not be, store id or place together with the result, in one transaction of your database;
//!   with a unique column for the id, nothing of [`seen`] is needed.
//! * A duplicate gets through when it comes after a restart of the consumer, and its first copy lies farther back than
//!   `--look-back`: the gateway crashed, stayed away, its neighbours wrote that much to the partition, and the consumer was
//!   restarted before the gateway came back.
//! * A topic that gets more partitions moves keys, and copies of one message may then be in two of them: see
//!   `docs/consumers.md` for how to do it.

mod seen;

use std::collections::HashMap;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use seen::Seen;
use tokio::signal::unix::{SignalKind, signal};

/// The place is committed after so many records, or after [`COMMIT_INTERVAL`]: what a crash makes the next one process again.
const COMMIT_RECORDS: usize = 500;
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How soon a signal is noticed when nothing comes.
const POLL_LIMIT: Duration = Duration::from_millis(100);
/// While Kafka is away librdkafka says so several times a second; people need it once in a while.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(30);
/// How long Kafka may take to say where the group is.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Prints each message of edgeferry once, as a line of JSON.
#[derive(Debug, Parser)]
struct Options {
    /// Some of the cluster's servers, host:port, with commas between them
    #[arg(long, default_value = "127.0.0.1:9092")]
    bootstrap_servers: String,
    /// Kafka topic
    #[arg(long)]
    topic: String,
    /// Group id: consumers with the same one share the work
    #[arg(long)]
    group: String,
    /// Records of a partition that are looked at again after a restart, to know what was seen
    #[arg(long, default_value_t = 100_000)]
    look_back: i64,
    /// Further settings of librdkafka, such as sasl.mechanism=PLAIN
    #[arg(short = 'X', value_name = "NAME=VALUE", value_parser = pair)]
    properties: Vec<(String, String)>,
}

/// Settings that make the rules above true: another value would break one without a word.
const OURS: [&str; 8] = [
    "auto.offset.reset",
    "isolation.level",
    "enable.auto.commit",
    "auto.commit.enable",
    "enable.auto.offset.store",
    "partition.assignment.strategy",
    "bootstrap.servers",
    "group.id",
];

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if OURS.contains(&name) || name == "metadata.broker.list" {
        return Err(format!(
            "{name} is set by this consumer: change it in `connect`, if you know what follows"
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("ends: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let asked_to_stop = on_signal()?;
    let consumer = connect(options)?;
    consumer.subscribe(&[&options.topic])?;
    let mut uncommitted = 0;
    let mut committed = Instant::now();
    let mut complaints = Complaints::default();
    while !asked_to_stop.load(Ordering::Relaxed) {
        // Partitions are taken and given up in here as well, see `Place`.
        match consumer.poll(POLL_LIMIT) {
            Some(Ok(message)) => uncommitted += handle(&consumer, &message)?,
            // librdkafka goes on by itself; what it cannot repair comes out of the next call that needs it.
            Some(Err(error)) => complaints.add(&error.to_string(), Instant::now()),
            None => {}
        }
        consumer.context().check()?;
        if uncommitted >= COMMIT_RECORDS || (uncommitted > 0 && committed.elapsed() >= COMMIT_INTERVAL) {
            commit(&consumer);
            (uncommitted, committed) = (0, Instant::now());
        }
    }
    commit(&consumer);
    Ok(())
}

fn connect(options: &Options) -> Result<BaseConsumer<Place>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.bootstrap_servers)
        .set("group.id", &options.group)
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        // Both off: librdkafka would move the place when it hands a record over, before it is processed.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // `Place` gives up all partitions at each change of the group, and takes its new share.
        .set("partition.assignment.strategy", "range,roundrobin");
    for (name, value) in &options.properties {
        config.set(name, value);
    }
    Ok(config.create_with_context(Place::new(options.look_back))?)
}

/// One record, new or not. By how much it moves the place.
fn handle(consumer: &BaseConsumer<Place>, message: &BorrowedMessage<'_>) -> Result<usize> {
    match consumer.context().look_at(message) {
        Look::Again => return Ok(0),
        Look::Duplicate => {}
        Look::New => process(message)?,
    }
    consumer.store_offset_from_message(message)?;
    Ok(1)
}

/// The work. When it fails, the consumer ends without committing, and the next one begins with this record.
fn process(message: &BorrowedMessage<'_>) -> Result<()> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let line = serde_json::json!({
        "id": header(message, "edgeferry-id").map(text),
        "in_doubt": header(message, "edgeferry-dup").is_some(),
        "key": message.key().map(text),
        "partition": message.partition(),
        "offset": message.offset(),
        "value": message.payload().map(text),
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn header<'a>(message: &'a BorrowedMessage<'_>, name: &str) -> Option<&'a [u8]> {
    let header = message.headers()?.iter().find(|header| header.key == name)?;
    header.value
}

/// Moves the place in Kafka over all that was processed.
fn commit(consumer: &BaseConsumer<Place>) {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
        // The next commit includes this one; if the partition went to another consumer meanwhile, that one processes again.
        Err(error) => note(&format!("cannot commit: {error}")),
    }
}

/// What a record is to this group.
enum Look {
    /// It lies before the place: it was processed, and only its id is of interest.
    Again,
    /// Its id was seen.
    Duplicate,
    /// It has to be processed.
    New,
}

/// One partition of this consumer.
struct Partition {
    /// Where the group was when the partition was taken.
    place: i64,
    seen: Seen,
}

/// Takes partitions with their place, and gives them up when everything is committed.
struct Place {
    look_back: i64,
    partitions: Mutex<HashMap<i32, Partition>>,
    failure: Mutex<Option<KafkaError>>,
    has_warned: AtomicBool,
}

impl Place {
    fn new(look_back: i64) -> Self {
        Self {
            look_back,
            partitions: Mutex::default(),
            failure: Mutex::default(),
            has_warned: AtomicBool::new(false),
        }
    }

    fn look_at(&self, message: &BorrowedMessage<'_>) -> Look {
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(partition) = partitions.get_mut(&message.partition()) else {
            return Look::New;
        };
        let id = header(message, "edgeferry-id").and_then(|id| std::str::from_utf8(id).ok());
        if id.is_none() && !self.has_warned.swap(true, Ordering::Relaxed) {
            note(&format!(
                "offset {} of partition {} has no edgeferry-id: duplicates among such records are not seen",
                message.offset(),
                message.partition()
            ));
        }
        // Nothing can be said about it.
        let is_new = id.is_none_or(|id| partition.seen.is_new(id));
        match (message.offset() < partition.place, is_new) {
            (true, _) => Look::Again,
            (false, true) => Look::New,
            (false, false) => Look::Duplicate,
        }
    }

    /// Begins `look_back` records before the committed place. An offset that retention has removed becomes the first one that is
    /// there, and a partition without a place begins there too: `auto.offset.reset=earliest`.
    fn take(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> Result<(), KafkaError> {
        let mut starts = TopicPartitionList::new();
        let mut partitions = HashMap::new();
        for committed in consumer
            .committed_offsets(list.clone(), REQUEST_LIMIT)?
            .elements()
        {
            let place = match committed.offset() {
                Offset::Offset(place) => place,
                _ => 0,
            };
            let start = Offset::Offset(place.saturating_sub(self.look_back).max(0));
            starts.add_partition_offset(committed.topic(), committed.partition(), start)?;
            let seen = Seen::default();
            partitions.insert(committed.partition(), Partition { place, seen });
        }
        *self.partitions.lock().unwrap_or_else(PoisonError::into_inner) = partitions;
        consumer.assign(&starts)
    }

    fn give_up(&self, consumer: &BaseConsumer<Self>) -> Result<(), KafkaError> {
        commit(consumer);
        // Another consumer goes on there: what is known about it here would be old when it comes back.
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        partitions.clear();
        consumer.unassign()
    }

    /// What went wrong while partitions were taken or given up.
    fn check(&self) -> Result<(), KafkaError> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take().map_or(Ok(()), Err)
    }
}

impl ClientContext for Place {}

impl ConsumerContext for Place {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        change: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let done = match change {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.take(consumer, list),
            _ => self.give_up(consumer),
        };
        if let Err(error) = done {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }
}

/// Becomes true with Ctrl-C or SIGTERM. Without it the consumer may be killed at any time as well.
fn on_signal() -> Result<Arc<AtomicBool>> {
    let asked = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&asked);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        flag.store(true, Ordering::Relaxed);
    });
    Ok(asked)
}

/// What Kafka complains of, without repeating it too often.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    left_out: u64,
}

impl Complaints {
    fn add(&mut self, text: &str, now: Instant) {
        let is_soon = self
            .last
            .is_some_and(|last| now.duration_since(last) < COMPLAINT_INTERVAL);
        if is_soon {
            self.left_out += 1;
            return;
        }
        let left_out = match std::mem::take(&mut self.left_out) {
            0 => String::new(),
            left_out => format!(" ({left_out} such lines left out)"),
        };
        self.last = Some(now);
        note(&format!("kafka: {text}{left_out}"));
    }
}

/// A line for people.
fn note(text: &str) {
    let mut err = std::io::stderr().lock();
    drop(writeln!(err, "consumer: {text}"));
}
