//! The drain against a scripted Kafka that behaves like the real one where it matters: a batch fails as a
//! whole, and what is behind it comes back unsent.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;

use rdkafka::types::RDKafkaErrorCode as Code;

mod clocks;

use super::*;
use crate::clock::{Clock, Notes, Opened};
use crate::link::Link;
use crate::message::{Arrival, Epoch, Stamp, Stored};
use crate::queue::seal::Keys;
use crate::queue::{Compression, Config, Intake, Writer};
use crate::sink::RecordTimestamp;
use crate::sink::producer::{Committed, Report, SubmitError, TopicState, TransactionError};

mod transactions;

/// The boot in which a bench runs. Its messages are from another one, unless a test says otherwise.
const BOOT: u64 = 7;
/// Records per batch of the scripted cluster.
const BATCH: usize = 5;

mod filtered;
mod partitions;
mod poison;
mod rate;
mod rerouted;
mod stall;
mod tallies;
mod topics;

/// What the cluster holds and how it behaves.
#[derive(Default)]
struct Cluster {
    stored: Vec<Arc<KafkaRecord>>,
    /// Payloads that make their batch fail, and how.
    poison: Vec<(Bytes, Code)>,
    /// Keys whose records make their batch fail as invalid.
    poison_keys: HashSet<String>,
    missing: HashSet<String>,
    /// Records the client takes before it is full; 0 means no limit.
    capacity: usize,
    connects: usize,
    submitted: usize,
    /// Topics that may be looked at, not written to.
    denied: HashSet<String>,
    /// Errors of the connection that wait to be taken.
    trouble: VecDeque<Code>,
    /// Times that a topic was asked for.
    questions: usize,
    /// Record times that it takes; all of them when there is none.
    takes_times: Option<std::ops::RangeInclusive<i64>>,
    /// A failed batch is reported a step later than the client refuses what comes behind it.
    late_reports: bool,
    /// Partition counts that are not 1.
    partitions: HashMap<String, usize>,
    /// The partition of each stored record.
    places: Vec<i32>,
    /// It does not answer questions, or why not.
    silent: Option<TopicState>,
    /// Nothing is stored, and nothing is said about it.
    stuck: bool,
    /// Topics whose first partition has no leader.
    leaderless: HashSet<String>,
    /// Why a topic is missing, if not because nobody made it.
    missing_code: Option<Code>,
    /// What exactly-once needs of a cluster.
    ledger: transactions::Ledger,
}

impl Cluster {
    fn partitions_of(&self, topic: &str) -> usize {
        self.partitions.get(topic).copied().unwrap_or(1)
    }

    /// How it makes its batch fail.
    fn failure(&self, record: &KafkaRecord) -> Option<Code> {
        if self.denied.contains(&record.topic) {
            return Some(Code::TopicAuthorizationFailed);
        }
        let takes_times = self.takes_times.as_ref();
        if takes_times.is_some_and(|times| !times.contains(&record.timestamp_ms)) {
            return Some(Code::InvalidTimestamp);
        }
        if self.poison_keys.contains(&record.key) {
            return Some(Code::InvalidRecord);
        }
        let poison = self.poison.iter().find(|(payload, _)| *payload == record.payload);
        poison.map(|(_, code)| *code)
    }
}

#[derive(Clone, Default)]
struct Kafka(Arc<Mutex<Cluster>>);

impl Kafka {
    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.0.lock().expect("not poisoned")
    }

    /// Payloads of one topic.
    fn on(&self, topic: &str) -> Vec<String> {
        let cluster = self.cluster();
        let records = cluster.stored.iter().filter(|record| record.topic == topic);
        records
            .map(|record| String::from_utf8_lossy(&record.payload).into_owned())
            .collect()
    }

    fn payloads(&self) -> Vec<String> {
        let cluster = self.cluster();
        cluster
            .stored
            .iter()
            .map(|record| String::from_utf8_lossy(&record.payload).into_owned())
            .collect()
    }
}

impl Connector for Kafka {
    type Producer = Client;

    fn connect(&mut self) -> Result<Client, String> {
        let mut cluster = self.cluster();
        cluster.connects += 1;
        if cluster
            .silent
            .take_if(|silent| *silent == TopicState::ClientLost)
            .is_some()
        {
            cluster.stuck = false;
        }
        drop(cluster);
        Ok(Client {
            kafka: self.clone(),
            pending: VecDeque::new(),
            places: VecDeque::new(),
            broken: false,
            late: false,
            epoch: 0,
            begun: false,
        })
    }
}

struct Client {
    kafka: Kafka,
    pending: VecDeque<(Ticket, Arc<KafkaRecord>)>,
    places: VecDeque<i32>,
    broken: bool,
    late: bool,
    /// Of its transactional id; 0 without one.
    epoch: u64,
    /// A transaction is open.
    begun: bool,
}

impl Producer for Client {
    fn submit(
        &mut self,
        record: &Arc<KafkaRecord>,
        partition: Option<i32>,
        ticket: Ticket,
    ) -> Result<(), SubmitError> {
        let mut cluster = self.kafka.cluster();
        let place = partition.expect("the partition is chosen");
        if usize::try_from(place).expect("counts from 0") >= cluster.partitions_of(&record.topic) {
            return Err(SubmitError::Refused(Code::UnknownPartition));
        }
        let fails = |(_, record): &(Ticket, Arc<KafkaRecord>)| cluster.failure(record).is_some();
        if self.broken || cluster.late_reports && self.pending.iter().any(fails) {
            return Err(SubmitError::Refused(Code::Fatal));
        }
        if record.payload.len() > 1000 {
            return Err(SubmitError::Refused(Code::MessageSizeTooLarge));
        }
        if cluster.capacity > 0 && self.pending.len() >= cluster.capacity {
            return Err(SubmitError::Full);
        }
        cluster.submitted += 1;
        self.pending.push_back((ticket, Arc::clone(record)));
        self.places.push_back(place);
        Ok(())
    }

    /// Sends one batch.
    fn reports(&mut self) -> Vec<Report> {
        let mut cluster = self.kafka.cluster();
        if cluster.stuck {
            return Vec::new();
        }
        if cluster.late_reports && !self.pending.is_empty() {
            self.late = !self.late;
            if self.late {
                return Vec::new();
            }
        }
        // A batch is for one topic.
        let topic = self.pending.front().map(|(_, record)| record.topic.clone());
        let same_topic = |(_, record): &&(Ticket, Arc<KafkaRecord>)| Some(&record.topic) == topic.as_ref();
        let size = self.pending.iter().take_while(same_topic).count().min(BATCH);
        let batch: Vec<_> = self.pending.drain(..size).collect();
        let places: Vec<_> = self.places.drain(..size).collect();
        let failed = batch.iter().find_map(|(_, record)| cluster.failure(record));
        let failed = failed.or_else(|| cluster.ledger.refusal(self.epoch));
        let outcome = failed.map_or(Ok(()), Err);
        if outcome.is_ok() {
            let records = batch.iter().map(|(_, record)| Arc::clone(record));
            match self.epoch {
                0 => {
                    cluster.stored.extend(records);
                    cluster.places.extend(places);
                }
                _ => cluster.ledger.open.extend(records),
            }
        }
        drop(cluster);
        let mut reports: Vec<_> = batch
            .into_iter()
            .map(|(ticket, record)| report(ticket, &record, outcome))
            .collect();
        if outcome.is_err() {
            self.broken = true;
            let purged = self.pending.drain(..);
            reports.extend(purged.map(|(ticket, record)| report(ticket, &record, Err(Code::PurgeQueue))));
        }
        reports
    }

    fn trouble(&mut self) -> Option<Code> {
        self.kafka.cluster().trouble.pop_front()
    }

    fn take_over(&mut self, _patience: Duration) -> Result<Committed, TransactionError> {
        let (epoch, committed) = self.kafka.cluster().ledger.take_over()?;
        self.epoch = epoch;
        Ok(committed)
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        if std::mem::replace(&mut self.begun, true) {
            return Err(self.kafka.cluster().ledger.why_not_begin(self.epoch));
        }
        Ok(())
    }

    fn commit(&mut self, cursor: Seq, _patience: Duration) -> Result<(), TransactionError> {
        let mut cluster = self.kafka.cluster();
        let visible = cluster.ledger.commit(self.epoch, cursor);
        self.begun = visible.1.is_err();
        cluster.stored.extend(visible.0);
        visible.1
    }

    fn abort(&mut self, _patience: Duration) {
        self.kafka.cluster().ledger.open.clear();
    }

    fn topic_state(&mut self, topic: &str, _patience: Duration) -> TopicState {
        let mut cluster = self.kafka.cluster();
        cluster.questions += 1;
        let partitions = cluster.partitions_of(topic);
        if let Some(silent) = cluster.silent {
            silent
        } else if cluster.missing.contains(topic) {
            TopicState::Missing(cluster.missing_code.unwrap_or(Code::UnknownTopicOrPartition))
        } else if cluster.leaderless.contains(topic) {
            TopicState::Leaderless { partitions, first: 0 }
        } else {
            TopicState::Present { partitions }
        }
    }
}

fn report(ticket: Ticket, record: &KafkaRecord, outcome: Result<(), Code>) -> Report {
    Report {
        ticket,
        topic: record.topic.clone(),
        outcome,
    }
}

/// A drain over a real queue that holds the given payloads.
struct Bench {
    drain: Drain<Kafka>,
    kafka: Kafka,
    now: Instant,
    dir: tempfile::TempDir,
}

const SILENT: TopicState = TopicState::Unreachable(Code::OperationTimedOut);

const ONE_ROUTE: &str = r#"
    [[route]]
    from = "devices/{device}/telemetry"
    topic = "telemetry"
"#;

impl Bench {
    async fn with(payloads: &[&str]) -> Self {
        Self::routed(ONE_ROUTE, payloads).await
    }

    async fn routed(table: &str, payloads: &[&str]) -> Self {
        Self::ruled(table, payloads, |_| {}).await
    }

    /// The same with changed settings of `[kafka]`.
    async fn ruled(table: &str, payloads: &[&str], change: impl FnOnce(&mut crate::sink::Config)) -> Self {
        let mut kafka_config = crate::sink::Config::for_test();
        change(&mut kafka_config);
        let dir = tempfile::tempdir().expect("temp dir");
        let config = Config {
            max_bytes: 1 << 26,
            min_free_bytes: 0,
            commit_interval: Duration::ZERO,
            compression: Compression::None,
            ..Config::default()
        };
        let queue = crate::queue::open(&dir.path().join("lane"), Epoch(1), &config).expect("opens");
        fill(&queue.door.intake(), queue.writer, queue.door, payloads).await;
        let kafka = Kafka::default();
        let router = Router::new(parse_routes(table), "gw", "default");
        let dead_letters =
            DeadLetters::open(&dir.path().join("dead"), Epoch(1), 1 << 24, Keys::default()).expect("opens");
        let folder = dir.path().join("lane");
        let at = Opened {
            boot: BOOT,
            tail: Seq::ZERO,
            cursor: Seq::ZERO,
        };
        let notes = Notes::open(&folder, true, at).expect("opens");
        let clock = Clock::with_probe(BOOT, || Some(SYNCHRONISED.get()));
        let times = Times::new(clock, notes, RecordTimestamp::Arrival);
        let dead_letters = Arc::new(dead_letters);
        let monitor = Arc::new(Monitor::default());
        let rules = (&kafka_config).into();
        let drain = Drain::new(
            queue.reader,
            router,
            kafka.clone(),
            dead_letters,
            monitor,
            times,
            rules,
        );
        Self {
            drain,
            kafka,
            now: Instant::now(),
            dir,
        }
    }

    /// Steps until `done`, in scripted time.
    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if done(self) {
                return;
            }
            let wait = self.drain.step(self.now);
            self.now += wait;
        }
        panic!(
            "not reached: cursor {}, stored {:?}",
            self.drain.reader.cursor(),
            self.kafka.payloads()
        );
    }

    fn steps(&mut self, count: usize) {
        for _ in 0..count {
            let wait = self.drain.step(self.now);
            self.now += wait;
        }
    }

    /// Steps for so long in scripted time.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.steps(1);
        }
    }

    fn until_empty(&mut self) {
        self.until(|bench| bench.drain.reader.cursor() == bench.drain.reader.tail());
    }

    fn dead(&self) -> Vec<(u64, Vec<Refusal>)> {
        let letters = self.drain.dead_letters.list().expect("lists");
        letters
            .into_iter()
            .map(|letter| (letter.seq.0, letter.reasons))
            .collect()
    }
}

async fn fill(intake: &Intake, writer: Writer, door: crate::queue::Door, payloads: &[&str]) {
    let mut durable = intake.durable();
    let thread = std::thread::spawn(move || writer.run());
    for (position, payload) in (1..).zip(payloads) {
        let (topic, payload) = payload
            .split_once('=')
            .unwrap_or(("devices/d/telemetry", payload));
        let arrival = arrival(position, topic, payload);
        let room = intake.reserve(arrival.cost()).await.expect("open");
        intake.offer(arrival, room, true).expect("open");
    }
    let all = payloads.len() as u64;
    durable
        .wait_for(|position| *position == all)
        .await
        .expect("writer lives");
    drop(door);
    // The intake is still borrowed: the writer ends with it, later.
    drop(thread);
}

fn arrival(position: u64, topic: &str, payload: &str) -> Arrival {
    Arrival {
        stamp: STAMP.get(),
        ..Arrival::trial(position, topic, payload.to_owned())
    }
}

thread_local! {
    /// What the test's messages are stamped with.
    static STAMP: std::cell::Cell<Stamp> = const {
        std::cell::Cell::new(Stamp {
            unix_ms: 1,
            boot_ms: 1,
            boot: 1,
            synchronised: true,
        })
    };
    /// Whether the test's clock is synchronised.
    static SYNCHRONISED: std::cell::Cell<bool> = const { std::cell::Cell::new(true) };
}

fn parse_routes(routes: &str) -> Vec<crate::route::Config> {
    let head = "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n\
                [kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\n";
    crate::config::parse(std::path::Path::new("test.toml"), &format!("{head}{routes}"))
        .expect("valid")
        .0
        .routes
}

#[tokio::test]
async fn everything_arrives_once_in_order_and_the_cursor_follows() {
    let payloads: Vec<String> = (0..23).map(|n| n.to_string()).collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let mut bench = Bench::with(&payloads).await;
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), payloads);
    assert_eq!(bench.kafka.cluster().connects, 1);
}

#[tokio::test]
async fn the_second_record_of_a_partition_waits_until_kafka_has_the_first_of_this_producer() {
    let mut bench = Bench::with(&["a", "b", "c"]).await;
    bench.kafka.cluster().stuck = true;
    bench.steps(5);
    assert_eq!(bench.kafka.cluster().submitted, 1);
    bench.kafka.cluster().stuck = false;
    bench.until(|bench| bench.kafka.cluster().submitted == 3);
    assert_eq!(bench.kafka.payloads(), ["a"], "two are under way");
    // Kafka does not know the next producer.
    bench.drain.rewind(bench.now);
    bench.kafka.cluster().stuck = true;
    bench.until(|bench| bench.kafka.cluster().submitted == 4);
    bench.steps(5);
    assert_eq!(bench.kafka.cluster().submitted, 4);
    bench.kafka.cluster().stuck = false;
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_transient_failure_is_sent_again_and_nothing_becomes_a_dead_letter() {
    let mut bench = Bench::with(&["a", "b", "c"]).await;
    bench
        .kafka
        .cluster()
        .poison
        .push((Bytes::from_static(b"a"), Code::RequestTimedOut));
    for _ in 0..20 {
        let wait = bench.drain.step(bench.now);
        bench.now += wait;
    }
    assert_eq!(bench.drain.reader.cursor(), Seq::ZERO);
    bench.kafka.cluster().poison.clear();
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a", "b", "c"]);
    assert_eq!(bench.dead(), []);
}

#[tokio::test]
async fn a_refused_permission_holds_everything_until_it_is_granted() {
    let mut bench = Bench::with(&["a", "b", "c"]).await;
    bench
        .kafka
        .cluster()
        .poison
        .push((Bytes::from_static(b"a"), Code::TopicAuthorizationFailed));
    bench.until(|bench| !bench.drain.monitor.link().is_ready());
    for _ in 0..50 {
        let wait = bench.drain.step(bench.now);
        bench.now += wait;
    }
    assert!(bench.kafka.payloads().is_empty());
    assert_eq!(bench.dead(), []);
    bench.kafka.cluster().poison.clear();
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a", "b", "c"]);
    assert_eq!(bench.drain.monitor.link(), Link::Up);
}

#[tokio::test]
async fn a_full_client_gets_the_same_record_again() {
    let payloads: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let mut bench = Bench::with(&payloads).await;
    bench.kafka.cluster().capacity = 3;
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), payloads);
}

#[tokio::test]
async fn what_no_route_can_shape_becomes_a_dead_letter_in_its_turn() {
    let mut bench = Bench::with(&["a", "other/topic=x", "devices//telemetry=y", "b"]).await;
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a", "b"]);
    assert_eq!(
        bench.dead(),
        [
            (2, vec![Refusal::NoRoute]),
            (3, vec![Refusal::EmptyKey { route: 0 }])
        ]
    );
}

#[tokio::test]
async fn one_of_two_routes_refused_does_not_keep_the_other_from_delivering() {
    let routes = r#"
        [[route]]
        from = "devices/{device}/telemetry"
        topic = "good"
        [[route]]
        from = "devices/{device}/telemetry"
        topic = "{device}"
    "#;
    let mut bench = Bench::routed(routes, &["devices/a b/telemetry=x", "devices/ok/telemetry=y"]).await;
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["x", "y", "y"]);
    assert!(
        matches!(bench.dead().as_slice(), [(1, reasons)] if matches!(reasons[..], [Refusal::IllegalTopic { .. }]))
    );
}

const TWO_ROUTES: &str = r#"
    [[route]]
    from = "devices/{device}/telemetry"
    topic = "one"
    [[route]]
    from = "devices/{device}/telemetry"
    topic = "two"
"#;

#[tokio::test]
async fn a_stored_record_is_not_sent_again_while_another_of_its_message_is_refused() {
    let mut bench = Bench::routed(TWO_ROUTES, &["a", "b"]).await;
    bench.kafka.cluster().denied.insert("two".to_owned());
    bench.steps(100);
    assert_eq!(bench.drain.reader.cursor(), Seq::ZERO);
    bench.kafka.cluster().denied.clear();
    bench.until_empty();
    assert_eq!(bench.kafka.on("one"), ["a", "b"]);
    assert_eq!(bench.kafka.on("two"), ["a", "b"]);
}

#[tokio::test]
async fn the_cursor_moves_up_to_a_dead_letter_that_cannot_be_kept() {
    let mut bench = Bench::with(&["a", "b", "other/topic=x", "c"]).await;
    let full = tempfile::tempdir().expect("temp dir");
    bench.drain.dead_letters =
        Arc::new(DeadLetters::open(full.path(), Epoch(1), 0, Keys::default()).expect("opens"));
    bench.until(|bench| bench.drain.monitor.held().is_some());
    bench.steps(20);
    assert_eq!(bench.drain.reader.cursor(), Seq(2));
}

#[tokio::test]
async fn a_pause_does_not_end_the_alarm() {
    let mut bench = Bench::with(&["a"]).await;
    bench.drain.monitor.troubled(&"cannot be read");
    bench.drain.hold_feed(bench.now);
    bench.drain.step(bench.now);
    assert!(bench.drain.monitor.held().is_some());
    bench.until_empty();
    assert!(bench.drain.monitor.held().is_none());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_what_was_never_submitted() {
    let mut bench = Bench::with(&["a", "b"]).await;
    bench.kafka.cluster().missing.insert("telemetry".to_owned());
    bench.steps(5);
    let before = Instant::now();
    bench.drain.finish(Duration::from_secs(10));
    assert!(before.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_idle_link_is_seen_to_be_back() {
    for code in [Code::AllBrokersDown, Code::Authentication] {
        let mut bench = Bench::with(&["a"]).await;
        bench.until_empty();
        bench.kafka.cluster().trouble.push_back(code);
        bench.kafka.cluster().missing.insert("telemetry".to_owned());
        bench.steps(50);
        assert_ne!(bench.drain.monitor.link(), Link::Up);
        bench.kafka.cluster().missing.clear();
        bench.until(|bench| bench.drain.monitor.link() == Link::Up);
    }
}

#[tokio::test]
async fn a_refusal_is_not_hidden_by_the_connection_that_it_closes() {
    let mut bench = Bench::with(&["a"]).await;
    bench
        .kafka
        .cluster()
        .poison
        .push((Bytes::from_static(b"a"), Code::RequestTimedOut));
    bench.steps(1);
    bench.drain.note_trouble(Code::Authentication, bench.now);
    bench.drain.note_trouble(Code::AllBrokersDown, bench.now);
    assert!(!bench.drain.monitor.link().is_ready());
}

#[tokio::test]
async fn answers_do_not_hide_that_writing_is_refused() {
    let mut bench = Bench::with(&["a"]).await;
    bench.kafka.cluster().denied.insert("telemetry".to_owned());
    bench.until(|bench| !bench.drain.monitor.link().is_ready());
    for _ in 0..100 {
        bench.steps(1);
        assert!(!bench.drain.monitor.link().is_ready());
    }
    bench.kafka.cluster().denied.clear();
    bench.until_empty();
    assert_eq!(bench.drain.monitor.link(), Link::Up);
}

#[tokio::test]
async fn a_cause_that_is_reported_late_is_waited_for() {
    let mut bench = Bench::with(&["bad", "a"]).await;
    bench.kafka.cluster().late_reports = true;
    bench
        .kafka
        .cluster()
        .poison
        .push((Bytes::from_static(b"bad"), Code::InvalidRecord));
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a"]);
    assert_eq!(bench.dead().len(), 1);
}

#[tokio::test]
async fn a_dead_letter_of_a_new_store_is_not_taken_for_one_of_the_old() {
    let mut bench = Bench::with(&["other/topic=x"]).await;
    bench.until_empty();
    let mut stored = Stored {
        seq: Seq(1),
        epoch: Epoch(1),
        arrival: arrival(1, "other/topic", "y"),
    };
    bench
        .drain
        .dead_letters
        .keep(&stored, vec![Refusal::NoRoute])
        .expect("keeps");
    assert_eq!(bench.dead().len(), 1, "the same message again");
    stored.epoch = Epoch(2);
    bench
        .drain
        .dead_letters
        .keep(&stored, vec![Refusal::NoRoute])
        .expect("keeps");
    assert_eq!(bench.dead().len(), 2);
}

/// A crash came behind a letter and before the cursor: what is a letter is not tried again, what is not is.
#[tokio::test]
async fn a_letter_that_was_kept_before_a_crash_is_neither_sent_nor_kept_nor_counted_twice() {
    let mut bench = Bench::with(&["a", "bad", "c", "other/topic=x", "e"]).await;
    let stored = |seq, topic, payload| Stored {
        seq: Seq(seq),
        epoch: Epoch(1),
        arrival: arrival(seq, topic, payload),
    };
    let rejected = Refusal::Rejected {
        topic: "telemetry".to_owned(),
        code: "why".to_owned(),
    };
    let letters = &bench.drain.dead_letters;
    let bad = stored(2, "devices/d/telemetry", "bad");
    letters.keep(&bad, vec![rejected.clone()]).expect("keeps");
    let unrouted = stored(4, "other/topic", "x");
    letters.keep(&unrouted, vec![Refusal::NoRoute]).expect("keeps");
    let folder = bench.dir.path().join("dead");
    let again = DeadLetters::open(&folder, Epoch(1), 1 << 24, Keys::default()).expect("opens");
    again.recall(Seq::ZERO, bench.drain.reader.tail()).expect("reads");
    bench.drain.dead_letters = Arc::new(again);
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a", "c", "e"]);
    assert_eq!(bench.kafka.cluster().submitted, 3);
    assert_eq!(bench.dead(), [(2, vec![rejected]), (4, vec![Refusal::NoRoute])]);
    assert_eq!(bench.drain.monitor.counts().dead_letters, 0);
    let values = crate::queue::marks::peek(&bench.dir.path().join("lane")).expect("marks");
    assert_eq!((values.delivered, values.dead_lettered), (3, 2));
}

#[tokio::test]
async fn only_the_route_that_refused_is_passed_over_after_a_crash() {
    let mut bench = Bench::routed(TWO_ROUTES, &["x"]).await;
    let topics = |bench: &Bench| -> Vec<String> {
        let cluster = bench.kafka.cluster();
        cluster.stored.iter().map(|record| record.topic.clone()).collect()
    };
    let mut first = Bench::routed(TWO_ROUTES, &["x"]).await;
    first.until_empty();
    let both = topics(&first);
    let stored = Stored {
        seq: Seq(1),
        epoch: Epoch(1),
        arrival: arrival(1, "devices/d/telemetry", "x"),
    };
    let refused = Refusal::Rejected {
        topic: both[0].clone(),
        code: "why".to_owned(),
    };
    bench
        .drain
        .dead_letters
        .keep(&stored, vec![refused])
        .expect("keeps");
    bench.until_empty();
    assert_eq!(topics(&bench), both[1..]);
    assert_eq!(bench.dead().len(), 1);
}
