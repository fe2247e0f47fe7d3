//! On real lanes in a temporary folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::message::{Arrival, Delivery, Epoch, Seq, SessionTag, Stamp};
use crate::queue::{self, Passed, Queue, Reader};

mod exporting;
mod filtering;
mod importing;
mod pausing;
mod purging;
mod redriving;
mod verifying;

const PATIENCE: Duration = Duration::from_secs(20);
const ROUTES: &str = "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n\
                      [kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\n\
                      [[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"t\"\n\
                      [[route]]\nfrom = \"meters/{device}\"\ntopic = \"t\"\nwhen = [{ value = \"device\", equals = \"m1\" }]\n";

pub(super) fn arrival(number: u64) -> Arrival {
    Arrival {
        stamp: Stamp {
            boot_ms: number,
            boot: 7,
            ..Stamp::right(i64::try_from(number).expect("small") * 1000)
        },
        ..Arrival::trial(
            number,
            format!("devices/d{}/telemetry", number % 3),
            format!("payload {number}"),
        )
    }
}

fn routes() -> Vec<crate::route::Config> {
    crate::config::parse(Path::new("test.toml"), ROUTES)
        .expect("valid")
        .0
        .routes
}

/// A gateway with one lane and no sink but the test.
pub(super) struct Gateway {
    pub(super) hand: Hand,
    pub(super) reader: Reader,
    pub(super) writer: JoinHandle<()>,
    runtime: tokio::runtime::Runtime,
}

impl Gateway {
    pub(super) fn open(folder: &Path, name: &str, epoch: u64) -> Self {
        Self::open_with(folder, name, epoch, &queue::Config::default())
    }

    pub(super) fn open_with(folder: &Path, name: &str, epoch: u64, config: &queue::Config) -> Self {
        let identity = Identity {
            gateway: name.to_owned(),
            epoch: Epoch(epoch),
        };
        let lane = folder.join("lanes").join("default");
        let Queue {
            writer,
            reader,
            door,
            monitor,
            ..
        } = queue::open(&lane, identity.epoch, config).expect("opens");
        let router = Router::new(routes(), name, "default");
        let lanes = vec![HandLane::new("default".to_owned(), monitor, router, Some(door))];
        let mut known = Known::open(folder).expect("opens");
        known.reconcile(&lanes).expect("reads");
        Self {
            hand: Hand::new(identity, lanes, known, false),
            reader,
            writer: std::thread::spawn(move || writer.run()),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("builds"),
        }
    }

    /// With the messages of these numbers, in this order.
    pub(super) fn with(self, numbers: impl IntoIterator<Item = u64>) -> Self {
        self.with_arrivals(numbers.into_iter().map(arrival))
    }

    /// With these, in this order.
    pub(super) fn with_arrivals(self, arrivals: impl IntoIterator<Item = Arrival>) -> Self {
        let lane = self.lane();
        let intake = lane.door.lock().expect("whole").as_ref().expect("open").intake();
        let mut count = 0;
        for arrival in arrivals {
            count += 1;
            let room = self
                .runtime
                .block_on(intake.reserve(arrival.cost()))
                .expect("open");
            intake.offer_at(count, arrival, room, false).expect("open");
        }
        let mut durable = intake.durable();
        let waiting = async {
            tokio::time::timeout(PATIENCE, durable.wait_for(|at| *at >= count))
                .await
                .is_ok()
        };
        assert!(self.runtime.block_on(waiting), "durable in time");
        self
    }

    pub(super) fn lane(&self) -> Arc<HandLane> {
        self.hand.lane("default").expect("there is one")
    }

    pub(super) fn monitor(&self) -> Monitor {
        self.lane().monitor.clone()
    }

    pub(super) fn ask_with(&self, verb: &Verb, mut input: &[u8]) -> (Vec<Answer>, Result<Exit, HandError>) {
        let mut answers = Vec::new();
        let outcome = self.hand.serve(verb, &mut input, &mut |answer| {
            answers.push(answer);
            Ok(())
        });
        (answers, outcome)
    }

    pub(super) fn ask(&self, verb: &Verb) -> Vec<Answer> {
        let (answers, outcome) = self.ask_with(verb, b"");
        outcome.expect("served");
        answers
    }

    /// The file that an export makes.
    pub(super) fn export(&self, filter: Filter) -> String {
        let answers = self.ask(&Verb::Export { filter, limit: None });
        let lines = answers.into_iter().filter_map(|answer| match answer {
            Answer::Record(line) => Some(format!("{line}\n")),
            _ => None,
        });
        lines.collect()
    }

    pub(super) fn import(&self, file: &str) -> (Imported, Result<Exit, HandError>, Vec<String>) {
        self.import_with(file, false)
    }

    pub(super) fn import_with(
        &self,
        file: &str,
        again: bool,
    ) -> (Imported, Result<Exit, HandError>, Vec<String>) {
        let (answers, outcome) = self.ask_with(&Verb::Import { into: None, again }, file.as_bytes());
        let imported = answers.iter().find_map(|answer| match answer {
            Answer::Imported(imported) => Some(*imported),
            _ => None,
        });
        (imported.expect("said"), outcome, notes(&answers))
    }

    /// The ids of what is queued, in order.
    pub(super) fn ids(&self) -> Vec<String> {
        self.peek(Filter::default())
            .into_iter()
            .map(|message| message.id)
            .collect()
    }

    pub(super) fn peek(&self, filter: Filter) -> Vec<Peeked> {
        let verb = Verb::Peek {
            filter,
            limit: 1_000_000,
            payload: false,
        };
        let messages = self.ask(&verb).into_iter().filter_map(|answer| match answer {
            Answer::Message(message) => Some(message),
            _ => None,
        });
        messages.collect()
    }

    /// Delivers so many messages, as the sink would.
    pub(super) fn deliver(&mut self, count: usize) -> Vec<Stored> {
        let deadline = Instant::now() + PATIENCE;
        let mut delivered = Vec::new();
        while delivered.len() < count {
            match self.reader.read_next().expect("reads") {
                Some(stored) => delivered.push(stored),
                None => assert!(Instant::now() < deadline, "{} of {count}", delivered.len()),
            }
        }
        if let Some(last) = delivered.last() {
            let passed = Passed {
                delivered: count as u64,
                ..Passed::default()
            };
            self.reader.advance(last.seq, passed).expect("advances");
        }
        delivered
    }

    pub(super) fn close(self) {
        self.hand.close();
        self.writer.join().expect("the writer ends");
    }
}

pub(super) fn notes(answers: &[Answer]) -> Vec<String> {
    let notes = answers.iter().filter_map(|answer| match answer {
        Answer::Note(note) => Some(note.clone()),
        _ => None,
    });
    notes.collect()
}

pub(super) fn seqs(messages: &[Peeked]) -> Vec<u64> {
    messages.iter().map(|message| message.seq.0).collect()
}

fn lane_state(gateway: &Gateway) -> LaneState {
    match gateway.ask(&Verb::List { lane: None }).as_slice() {
        [Answer::Lane(lane)] => lane.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lane_says_how_it_stands() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut gateway = Gateway::open(dir.path(), "gw", 5).with(1..=10);
    gateway.deliver(4);
    let lane = lane_state(&gateway);
    assert_eq!((lane.received, lane.delivered, lane.queued), (10, 4, 6));
    assert_eq!((lane.cursor, lane.last), (Seq(4), Seq(10)));
    assert_eq!(lane.oldest.as_deref(), Some("1970-01-01T00:00:05.000Z"));
    assert_eq!(lane.newest.as_deref(), Some("1970-01-01T00:00:10.000Z"));
    assert_eq!(lane.removed, BTreeMap::new());
    assert!(lane.bytes > 0 && lane.units.len() == 1);
    gateway.close();
}

#[test]
fn a_lane_that_is_not_there_is_named_with_those_that_are() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::open(dir.path(), "gw", 5);
    let lane = Some("alarms".to_owned());
    let (_, outcome) = gateway.ask_with(&Verb::List { lane }, b"");
    let error = outcome.expect_err("there is none");
    assert_eq!(error.exit(), Exit::Usage);
    assert!(error.to_string().contains("default"), "{error}");
    gateway.close();
}

#[test]
fn one_long_look_at_a_time() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::open(dir.path(), "gw", 5).with(1..=3);
    let verify = Verb::Verify { lane: None };
    let mut second = None;
    let outcome = gateway.hand.serve(&verify, &mut io::empty(), &mut |_| {
        second = Some(gateway.ask_with(&verify, b"").1);
        assert_eq!(lane_state(&gateway).queued, 3, "`ls` is always answered");
        Ok(())
    });
    assert_eq!(outcome.expect("served"), Exit::Stopped);
    assert!(matches!(second, Some(Err(HandError::Busy))));
    gateway.close();
}

#[test]
fn a_stop_ends_a_long_look_and_lets_the_writer_go() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::open(dir.path(), "gw", 5).with(1..=3000);
    let mut shown = 0;
    let verb = Verb::Export {
        filter: Filter::default(),
        limit: None,
    };
    let outcome = gateway.hand.serve(&verb, &mut io::empty(), &mut |_| {
        gateway.hand.close();
        shown += 1;
        Ok(())
    });
    assert!(matches!(outcome, Err(HandError::Stopping)), "{outcome:?}");
    assert!(shown < 3000);
    gateway.writer.join().expect("the writer ends");
}

#[test]
fn what_is_delivered_meanwhile_is_simply_not_there_any_more() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut gateway = Gateway::open(dir.path(), "gw", 5).with(1..=20_000);
    let mut browser = gateway.monitor().browse(Seq(1), Seq(u64::MAX));
    let Some(Piece::Messages(first)) = browser.next_piece().expect("reads") else {
        panic!("there are messages");
    };
    gateway.deliver(20_000);
    let mut gone = 0;
    let mut seen = first.len() as u64;
    while let Some(piece) = browser.next_piece().expect("reads") {
        match piece {
            Piece::Messages(messages) => seen += messages.len() as u64,
            Piece::Gone(Stretch { first, last }) => gone += last.0 - first.0 + 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen + gone, 20_000);
    drop(browser);
    gateway.close();
}
