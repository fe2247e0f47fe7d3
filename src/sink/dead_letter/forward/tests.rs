//! The forwarding against a scripted Kafka.

use std::sync::MutexGuard;

use super::*;
use crate::message::Arrival;
use crate::queue::seal::Keys;
use crate::route::Header;
use crate::sink::producer::{Committed, Report, TransactionError};

#[derive(Default)]
struct Cluster {
    stored: Vec<Arc<KafkaRecord>>,
    is_missing: bool,
    questions: usize,
    /// Payloads that the topic refuses; the batch fails as a whole.
    refused: Vec<&'static [u8]>,
    /// The next batch comes back unsent.
    fails: bool,
    /// Of a batch, only what is refused fails.
    is_fair: bool,
    /// Times behind this one are refused, and the batch with them.
    latest_ms: Option<i64>,
}

#[derive(Clone, Default)]
struct Kafka(Arc<Mutex<Cluster>>);

impl Kafka {
    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.0.lock().expect("whole")
    }

    fn payloads(&self) -> Vec<String> {
        let cluster = self.cluster();
        let text = |record: &Arc<KafkaRecord>| String::from_utf8_lossy(&record.payload).into_owned();
        cluster.stored.iter().map(text).collect()
    }
}

struct Client {
    kafka: Kafka,
    pending: Vec<(Ticket, Arc<KafkaRecord>)>,
}

impl Connector for Kafka {
    type Producer = Client;

    fn connect(&mut self) -> Result<Client, String> {
        Ok(Client {
            kafka: self.clone(),
            pending: Vec::new(),
        })
    }
}

impl Producer for Client {
    fn submit(
        &mut self,
        record: &Arc<KafkaRecord>,
        _: Option<i32>,
        ticket: Ticket,
    ) -> Result<(), SubmitError> {
        self.pending.push((ticket, Arc::clone(record)));
        Ok(())
    }

    fn reports(&mut self) -> Vec<Report> {
        let mut cluster = self.kafka.cluster();
        let refused = cluster.refused.clone();
        let is_refused = |record: &KafkaRecord| refused.iter().any(|bytes| record.payload == *bytes);
        let latest_ms = cluster.latest_ms.unwrap_or(i64::MAX);
        let of_all = if std::mem::take(&mut cluster.fails) {
            Err(Code::MessageTimedOut)
        } else if self
            .pending
            .iter()
            .any(|(_, record)| record.timestamp_ms > latest_ms)
        {
            Err(Code::InvalidTimestamp)
        } else if !cluster.is_fair && self.pending.iter().any(|(_, record)| is_refused(record)) {
            Err(Code::MessageSizeTooLarge)
        } else {
            Ok(())
        };
        let batch = std::mem::take(&mut self.pending).into_iter();
        batch
            .map(|(ticket, record)| {
                let topic = record.topic.clone();
                let outcome = match is_refused(&record) {
                    true => of_all.and(Err(Code::MessageSizeTooLarge)),
                    false => of_all,
                };
                if outcome.is_ok() {
                    cluster.stored.push(record);
                }
                Report {
                    ticket,
                    topic,
                    outcome,
                }
            })
            .collect()
    }

    fn trouble(&mut self) -> Option<Code> {
        None
    }

    fn take_over(&mut self, _: Duration) -> Result<Committed, TransactionError> {
        Ok(Committed::default())
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        Ok(())
    }

    fn commit(&mut self, _: Seq, _: Duration) -> Result<(), TransactionError> {
        Ok(())
    }

    fn abort(&mut self, _: Duration) {}

    fn topic_state(&mut self, _: &str, _: Duration) -> TopicState {
        let mut cluster = self.kafka.cluster();
        cluster.questions += 1;
        match cluster.is_missing {
            true => TopicState::Missing(Code::UnknownTopicOrPartition),
            false => TopicState::Present { partitions: 1 },
        }
    }
}

/// The letters of one lane, and their way.
struct Bench {
    kafka: Kafka,
    letters: Arc<DeadLetters>,
    forwarder: Forwarder<Kafka>,
    monitor: Arc<ForwardMonitor>,
    now: Arc<Mutex<LaneNow>>,
    _dir: tempfile::TempDir,
}

const ROUTES: &str = "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n\
                      [kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\n\
                      [[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"t\"\n";

fn outbox(lane: &str, letters: &Arc<DeadLetters>, now: &Arc<Mutex<LaneNow>>) -> Outbox {
    let (config, _) = crate::config::parse(std::path::Path::new("t.toml"), ROUTES).expect("valid");
    let asked = Arc::clone(now);
    Outbox {
        lane: lane.to_owned(),
        letters: Arc::clone(letters),
        router: Arc::new(Router::new(config.routes, "gw", lane)),
        gateway: "gw".to_owned(),
        epoch: Epoch(1),
        now: Box::new(move |_| asked.lock().expect("whole").clone()),
    }
}

/// A letter whose message came just now.
fn stored(seq: u64, payload: &'static str) -> Stored {
    let mut arrival = Arrival {
        topic: format!("devices/d{}/telemetry", seq % 2),
        payload: payload.into(),
        ..Arrival::trial(1, "a/b", "x")
    };
    arrival.stamp.unix_ms = clock::unix_ms();
    Stored {
        seq: Seq(seq),
        epoch: Epoch(1),
        arrival,
    }
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let letters = DeadLetters::open(dir.path(), Epoch(1), 1 << 24, Keys::default()).expect("opens");
        let letters = Arc::new(letters);
        let now = Arc::new(Mutex::new(LaneNow::default()));
        let outbox = outbox("default", &letters, &now);
        let (kafka, monitor) = (Kafka::default(), Arc::<ForwardMonitor>::default());
        let forwarder = Forwarder::new(
            "dead".to_owned(),
            kafka.clone(),
            vec![outbox],
            Arc::clone(&monitor),
        );
        Self {
            kafka,
            letters,
            forwarder,
            monitor,
            now,
            _dir: dir,
        }
    }

    fn keep(&self, seq: u64, payload: &'static str) {
        let refusal = Refusal::Rejected {
            topic: "t".to_owned(),
            code: "why".to_owned(),
        };
        assert!(
            self.letters
                .keep(&stored(seq, payload), vec![refusal])
                .expect("keeps")
        );
    }

    fn left(&self) -> Vec<u64> {
        let letters = self.letters.list().expect("lists");
        letters.iter().map(|letter| letter.seq.0).collect()
    }

    fn set_now(&self, cursor: Option<u64>, lost: Vec<(Seq, Seq)>) {
        *self.now.lock().expect("whole") = LaneNow {
            cursor: cursor.map(Seq),
            lost,
        };
    }
}

#[test]
fn letters_go_in_order_with_their_facts_and_leave_when_kafka_has_them() {
    let mut bench = Bench::new();
    for (seq, payload) in [(3, "a"), (5, "b"), (9, "c")] {
        bench.keep(seq, payload);
    }
    assert_eq!(bench.forwarder.step(), LOOK);
    assert_eq!(bench.kafka.payloads(), ["a", "b", "c"]);
    assert_eq!(bench.left(), Vec::<u64>::new());
    let cluster = bench.kafka.cluster();
    let record = &cluster.stored[0];
    assert_eq!((record.topic.as_str(), record.key.as_str()), ("dead", "d1"));
    let header = |wanted: &str| record.header(wanted);
    assert_eq!(header("edgeferry-id"), Some("0000000000000001-default-3"));
    assert_eq!(header("edgeferry-gateway"), Some("gw"));
    assert_eq!(header("mqtt-topic"), Some("devices/d1/telemetry"));
    assert_eq!(header("edgeferry-dead-letter-reason"), Some("rejected"));
    assert_eq!(header("edgeferry-lane"), Some("default"));
    assert!(header("edgeferry-dead-letter-detail").is_some_and(|detail| detail.contains("why")));
}

#[test]
fn a_missing_topic_keeps_letters_here_and_is_asked_for_with_growing_pauses() {
    let mut bench = Bench::new();
    bench.keep(1, "a");
    bench.kafka.cluster().is_missing = true;
    let pauses: Vec<u64> = (0..12).map(|_| bench.forwarder.step().as_secs()).collect();
    assert_eq!(pauses[..4], [1, 2, 4, 8]);
    assert_eq!(pauses[11], 300);
    assert!(bench.monitor.trouble().is_some_and(|why| why.contains("dead")));
    assert_eq!(bench.left(), [1]);
    bench.kafka.cluster().is_missing = false;
    bench.forwarder.step();
    assert_eq!(bench.monitor.trouble(), None);
    assert_eq!((bench.kafka.payloads().len(), bench.left().len()), (1, 0));
}

#[test]
fn a_letter_that_the_topic_refuses_stays_and_its_neighbours_go_in_order() {
    let mut bench = Bench::new();
    for (seq, payload) in [(1, "a"), (2, "large"), (3, "c"), (4, "d")] {
        bench.keep(seq, payload);
    }
    bench.kafka.cluster().refused = vec![b"large"];
    bench.forwarder.step();
    assert_eq!(bench.kafka.payloads(), ["a", "c", "d"]);
    assert_eq!(bench.left(), [2]);
    bench.keep(5, "e");
    bench.forwarder.step();
    assert_eq!(bench.kafka.payloads(), ["a", "c", "d", "e"]);
    assert_eq!(bench.left(), [2]);
}

#[test]
fn what_comes_back_unsent_is_sent_again() {
    let mut bench = Bench::new();
    bench.keep(1, "a");
    bench.kafka.cluster().fails = true;
    assert_eq!(bench.forwarder.step(), PAUSE_MIN);
    assert_eq!(bench.left(), [1]);
    bench.forwarder.step();
    assert_eq!((bench.kafka.payloads().len(), bench.left().len()), (1, 0));
}

#[test]
fn a_letter_goes_only_when_the_cursor_has_passed_its_message() {
    let mut bench = Bench::new();
    for seq in 1..=3 {
        bench.keep(seq, "x");
    }
    bench.set_now(Some(2), Vec::new());
    bench.forwarder.step();
    assert_eq!(bench.left(), [3]);
    bench.set_now(Some(3), Vec::new());
    bench.forwarder.step();
    assert_eq!(bench.left(), Vec::<u64>::new());
}

#[test]
fn a_loss_is_told_once_and_what_it_grows_by_once_more() {
    let mut bench = Bench::new();
    bench.set_now(Some(0), vec![(Seq(4), Seq(9))]);
    bench.kafka.cluster().fails = true;
    for _ in 0..3 {
        bench.forwarder.step();
    }
    bench.set_now(Some(0), vec![(Seq(4), Seq(12))]);
    for _ in 0..2 {
        bench.forwarder.step();
    }
    let cluster = bench.kafka.cluster();
    let gaps: Vec<_> = cluster
        .stored
        .iter()
        .map(|record| (record.headers[0].clone(), record.payload.len()))
        .collect();
    assert_eq!(
        gaps,
        [
            (Header::text("edgeferry-gap", "0000000000000001-default-4..9"), 0),
            (
                Header::text("edgeferry-gap", "0000000000000001-default-10..12"),
                0
            )
        ]
    );
}

const HOUR_MS: i64 = 3_600_000;

#[test]
fn letters_of_a_clock_that_is_ahead_go_with_times_that_kafka_takes() {
    let mut bench = Bench::new();
    for (seq, payload) in [(1, "a"), (2, "b"), (3, "c")] {
        bench.keep(seq, payload);
    }
    bench.set_now(None, vec![(Seq(4), Seq(9))]);
    // Kafka's clock is three hours behind ours, and takes what is up to one hour ahead of it.
    let latest_ms = clock::unix_ms() - 2 * HOUR_MS;
    bench.kafka.cluster().latest_ms = Some(latest_ms);
    assert_eq!(bench.forwarder.step(), LOOK);
    assert_eq!(bench.kafka.payloads(), ["", "a", "b", "c"]);
    assert_eq!((bench.left().len(), bench.monitor.trouble()), (0, None));
    let cluster = bench.kafka.cluster();
    assert!(
        cluster
            .stored
            .iter()
            .all(|record| record.timestamp_ms <= latest_ms)
    );
}

#[test]
fn letters_of_which_no_time_is_taken_wait_and_none_is_passed_over() {
    let mut bench = Bench::new();
    for (seq, payload) in [(1, "a"), (2, "b")] {
        bench.keep(seq, payload);
    }
    bench.kafka.cluster().latest_ms = Some(0);
    assert_eq!(bench.forwarder.step(), PAUSE_MIN);
    assert_eq!(bench.forwarder.step(), 2 * PAUSE_MIN);
    assert!(bench.monitor.trouble().is_some_and(|why| why.contains("clock")));
    assert_eq!(bench.left(), [1, 2]);
    bench.kafka.cluster().latest_ms = None;
    assert_eq!(bench.forwarder.step(), LOOK);
    assert_eq!(bench.kafka.payloads(), ["a", "b"]);
    assert_eq!(bench.left(), Vec::<u64>::new());
}

/// A store whose letters behind the first one need a key that is not given.
fn without_its_key(folder: &std::path::Path) -> DeadLetters {
    let open = |keys| DeadLetters::open(folder, Epoch(1), 1 << 24, keys).expect("opens");
    let keep = |keys, seq, payload| {
        let kept = open(keys).keep(&stored(seq, payload), vec![Refusal::NoRoute]);
        assert!(kept.expect("keeps"));
    };
    keep(Keys::of(Some(2), &[]), 1, "in front");
    keep(Keys::of(Some(1), &[2]), 2, "unreadable");
    keep(Keys::of(Some(2), &[1]), 3, "behind");
    std::fs::remove_file(folder.join("key-ids")).expect("removes");
    open(Keys::of(Some(2), &[]))
}

#[test]
fn a_lane_whose_letters_cannot_be_read_holds_up_no_other_lane() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut bench = Bench::new();
    let sealed = Arc::new(without_its_key(dir.path()));
    let first = lane(outbox("sealed", &sealed, &bench.now));
    bench.forwarder.lanes.push_front(first);
    bench.keep(1, "a");
    assert_eq!(bench.forwarder.step(), LOOK);
    assert_eq!(bench.kafka.payloads(), ["in front", "a"]);
    assert!(bench.monitor.trouble().is_some_and(|why| why.contains("sealed")));
    bench.keep(2, "b");
    assert_eq!(bench.forwarder.step(), LOOK);
    assert_eq!(bench.kafka.payloads(), ["in front", "a", "b"]);
    assert!(bench.monitor.trouble().is_some_and(|why| why.contains("sealed")));
    assert_eq!((bench.left().len(), sealed.stand().letters), (0, 2));
}

#[test]
fn what_is_confirmed_behind_a_failure_is_not_sent_again() {
    let mut bench = Bench::new();
    for (seq, payload) in [(1, "a"), (2, "large"), (3, "c"), (4, "d")] {
        bench.keep(seq, payload);
    }
    let mut cluster = bench.kafka.cluster();
    cluster.refused = vec![b"large"];
    cluster.is_fair = true;
    drop(cluster);
    bench.forwarder.step();
    assert_eq!(bench.kafka.payloads(), ["a", "c", "d"], "once each");
    assert_eq!(bench.left(), [2]);
}
