//! Feeds Kafka in order and moves the cursor over what Kafka has confirmed.
//!
//! One feeder submits in sequence order; delivery reports come back with the ticket of their record; the
//! cursor moves over the contiguous prefix of messages that are done. On any failure the producer is dropped
//! and everything behind the cursor is sent again, in order: duplicates, never a loss, never a reorder.
//!
//! A batch fails as a whole, so a record that Kafka refuses is found by sending **alone**, one record at a
//! time, up to the suspect. It is a dead letter when it fails alone twice.
//!
//! This file holds the state and the loop; `feed` is the way towards Kafka, `link` looks after it, `topics` where a record goes
//! there, `known` what is known of topics, `failure` what happens when it fails, `stall` what happens when nothing does, `clocks`
//! what is done about wrong times, `transaction` what exactly-once adds.

mod clocks;
mod failure;
mod feed;
mod firsts;
mod known;
mod link;
mod stall;
mod topics;
mod transaction;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use crate::clock;
use crate::faults;
use crate::message::Seq;
use crate::queue::{Passed, QueueError, Reader};
use crate::route::{KafkaRecord, Refusal, Router};
use crate::sink::dead_letter::{DeadLetters, KeepError};
use crate::sink::monitor::Monitor;
use crate::sink::pace::Pace;
use crate::sink::producer::{Connector, Producer, Ticket};
use crate::sink::rate::Gate;
use crate::sink::tally::{Fates, Places, Refused, Share};
use crate::sink::times::Times;
use crate::sink::window::{Fate, InFlight, Window};
use crate::slots::SlotError;
use failure::{Failure, Suspect};
use feed::Fed;
use firsts::Firsts;
pub use known::TopicRules;
use known::Topics;
use link::Watch;
use stall::Stall;
use transaction::Transactions;

/// The loop goes round at least this often, so that the watchdog sees it live.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Wait for the other reports after the first failure, to find the error that caused the rest.
const SETTLE: Duration = Duration::from_secs(2);
/// Pause after a failure, doubled up to the maximum while nothing gets through.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Bytes of records that the client holds at most, on a link that takes them.
const IN_FLIGHT_BYTES: usize = crate::sink::kafka::WINDOW_BYTES;
/// A link refused as a whole (password, certificate) is tried with a new client this often.
const REFUSED_RETRY: Duration = Duration::from_secs(30);

/// See the module documentation.
#[derive(Debug)]
pub struct Drain<C: Connector> {
    reader: Reader,
    router: Router,
    /// Of the routes of `router`.
    places: Places,
    connector: C,
    dead_letters: Arc<DeadLetters>,
    monitor: Arc<Monitor>,
    times: Times,
    producer: Option<C::Producer>,
    window: Window,
    pace: Pace,
    /// Records of the newest message in the window that the client has not taken yet.
    unsent: VecDeque<(Ticket, Arc<KafkaRecord>)>,
    /// Records that Kafka stored ahead of the cursor before the last rewind, by their number in the message.
    ahead: BTreeMap<Seq, Vec<bool>>,
    topics: Topics,
    /// By topics that are not there: the last message that becomes a dead letter for that.
    unkept: HashMap<String, Ticket>,
    firsts: Firsts,
    /// About when this process was started.
    started: Instant,
    /// Fixed topics of the lane that nobody has asked for yet.
    unseen: VecDeque<String>,
    /// The topic that was there last: what an idle link is tried with.
    known_topic: Option<String>,
    /// The cluster was asked for a topic in this step. Each question may take a while, so there is one a step.
    asked: bool,
    failure: Option<Failure>,
    /// Send one message at a time up to here.
    alone_until: Option<Seq>,
    /// The record that was submitted last with nothing else under way.
    lone: Option<Ticket>,
    suspect: Option<Suspect>,
    /// Records that Kafka refuses for what they are, of messages whose turn has not come.
    /// By their number in the message: two routes may give the same topic.
    rejected: BTreeMap<Seq, Vec<(usize, Refusal)>>,
    pause: Duration,
    feed_after: Option<Instant>,
    /// The last step could not keep a letter.
    is_held_by_letters: bool,
    refused_since: Option<Instant>,
    /// Only when the lane delivers exactly once.
    transactions: Option<Transactions>,
    /// Kafka refused to store although it answers questions: only a stored record shows that this is over.
    write_refused: bool,
    gate: Gate,
    watch: Watch,
    stall: Stall,
    /// Who made the records of the messages in the window; messages without records have no entry.
    shares: VecDeque<(Seq, Vec<Share>)>,
    /// What became of messages that are done, until the cursor passes them: those of one window, or of one transaction.
    fates: Vec<Fates>,
    /// The last message that was handed to the client, at least in part, before the last rewind.
    sent_through: Seq,
}

/// Why a step could not do its work. Nothing is lost by it.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("cannot keep a dead letter: {0}")]
    Keep(#[from] KeepError),
    #[error("cannot note what is known of the clock: {0}")]
    Clock(#[from] SlotError),
}

impl<C: Connector> Drain<C> {
    /// Whether there may be something new: what [`Drain::run`] waits for between two steps.
    #[doc(hidden)]
    #[must_use]
    pub fn is_woken(&self) -> bool {
        self.reader.is_woken()
    }

    /// A drain that has not connected yet.
    #[must_use]
    pub fn new(
        reader: Reader,
        router: Router,
        connector: C,
        dead_letters: Arc<DeadLetters>,
        monitor: Arc<Monitor>,
        times: Times,
        rules: TopicRules,
    ) -> Self {
        Self {
            reader,
            unseen: router.fixed_topics().into(),
            places: Places::of(&router),
            router,
            connector,
            dead_letters,
            monitor,
            times,
            producer: None,
            window: Window::default(),
            pace: Pace::new(IN_FLIGHT_BYTES),
            unsent: VecDeque::new(),
            ahead: BTreeMap::new(),
            topics: Topics::new(rules),
            unkept: HashMap::new(),
            firsts: Firsts::default(),
            started: clock::instant(),
            known_topic: None,
            asked: false,
            failure: None,
            alone_until: None,
            lone: None,
            suspect: None,
            rejected: BTreeMap::new(),
            pause: PAUSE_MIN,
            feed_after: None,
            is_held_by_letters: false,
            refused_since: None,
            transactions: None,
            write_refused: false,
            gate: Gate::default(),
            watch: Watch::default(),
            stall: Stall::default(),
            shares: VecDeque::new(),
            fates: Vec::new(),
            sent_through: Seq::ZERO,
        }
    }

    /// The same, sending no more than `gate` lets through.
    #[must_use]
    pub fn limited(self, gate: Gate) -> Self {
        Self { gate, ..self }
    }

    /// The same, delivering exactly once: the connector makes producers with a transactional id.
    #[must_use]
    pub fn exactly_once(self) -> Self {
        Self {
            transactions: Some(Transactions::default()),
            ..self
        }
    }

    /// Runs until `stopping` says so, then lets Kafka answer what is under way, `patience` at most. Ends by itself only when
    /// another gateway with the same identity took over, which the monitor shows.
    pub fn run(mut self, stopping: impl Fn() -> bool, patience: Duration) {
        while !stopping() && !self.monitor.is_fenced() {
            let now = clock::instant();
            let wait = self.step(now);
            let oldest = self.window.front().map(InFlight::waiting);
            self.reader.note_oldest(oldest, now);
            self.reader.wait(wait);
        }
        self.finish(patience);
    }

    /// Does everything that can be done now. Returns how long nothing more will be to do, unless woken.
    #[doc(hidden)]
    pub fn step(&mut self, now: Instant) -> Duration {
        faults::hang(faults::SINK_ROUND);
        self.monitor.pulse.beat();
        self.asked = false;
        self.collect(now);
        self.look_after_link(now);
        self.watch_flight(now);
        self.gate.leave();
        self.times.review(now);
        let settled = self.settle(now);
        if settled.is_ok() && std::mem::take(&mut self.is_held_by_letters) {
            // Somebody made room.
            self.feed_after = None;
            self.pause = PAUSE_MIN;
        }
        let worked = settled
            .and_then(|()| self.correct())
            .and_then(|()| self.feed(now));
        match worked {
            Ok(Fed::Tried) => {
                self.monitor.recovered();
                if self.window.rest() {
                    self.shares.shrink_to_fit();
                }
            }
            Ok(Fed::Paused) => {}
            Ok(Fed::Interrupted) => {
                self.monitor.recovered();
                return Duration::from_millis(1);
            }
            Err(error) => {
                if matches!(&error, StepError::Keep(error) if error.is_full()) {
                    self.reader.release_ballast();
                }
                self.monitor.troubled(&error);
                self.commit_before_trouble(now);
                // A window that was given up is no room that somebody made.
                self.is_held_by_letters = matches!(error, StepError::Keep(_)) && !self.window.is_empty();
                self.hold_feed(now);
            }
        }
        self.monitor.set_limited(self.gate.closed_until().is_some());
        let held = self
            .feed_after
            .max(self.pace.due(now))
            .max(self.gate.closed_until())
            .map_or(HEARTBEAT, |after| after.saturating_duration_since(now));
        let due = self.producer.as_ref().and_then(Producer::due);
        let due = due.map_or(HEARTBEAT, |due| due.saturating_duration_since(clock::instant()));
        held.min(due).min(HEARTBEAT).max(Duration::from_millis(1))
    }

    /// Takes the reports in and reacts to a failure once its cause is known.
    fn collect(&mut self, now: Instant) {
        let Some(producer) = &mut self.producer else {
            return;
        };
        let trouble = producer.trouble();
        for report in producer.reports() {
            match believed(report.outcome) {
                Ok(()) => {
                    self.window.delivered(report.ticket);
                    self.firsts.confirmed(report.ticket, now);
                    self.confirmed();
                }
                Err(code) => {
                    self.window.failed(report.ticket);
                    self.note_suspect(report.ticket, code);
                    self.note_failure(report.ticket, report.topic, code, now);
                }
            }
        }
        if let Some(code) = trouble {
            self.note_trouble(code, now);
        }
        if let Some(failure) = self.failure.take() {
            let settled =
                self.window.is_settled(self.unsent.len()) || now.duration_since(failure.since) > SETTLE;
            if settled {
                self.react(&failure, now);
            } else {
                self.failure = Some(failure);
            }
        }
        if self
            .refused_since
            .is_some_and(|since| now.duration_since(since) > REFUSED_RETRY)
        {
            self.rewind(now);
            self.refused_since = Some(now);
        }
    }

    /// Kafka has stored a record.
    fn confirmed(&mut self) {
        self.times.accepted();
        self.stall.over();
        self.monitor.delivered();
        // In a transaction that shows only when it is committed.
        if self.transactions.is_none() {
            self.link_works();
        }
    }

    /// Somebody can read what Kafka has stored: the link works, whatever was wrong before.
    fn link_works(&mut self) {
        self.pause = PAUSE_MIN;
        self.refused_since = None;
        self.write_refused = false;
        self.watch.is_well();
        self.link_is_up();
    }

    /// Passes the contiguous prefix of done messages, keeping dead letters on the way.
    fn settle(&mut self, now: Instant) -> Result<(), StepError> {
        let mut cursor = None;
        let mut passed = Passed::default();
        let mut kept = Ok(());
        while let Some(done) = self.window.front_done() {
            if !done.refusals.is_empty() {
                // A window full of letters on a bad card takes longer than a thread may be silent.
                self.monitor.pulse.beat();
                if faults::omits(faults::LETTER_MAKES_ROOM) {
                    break;
                }
                let letter = match faults::omits(faults::LETTER_IS_KEPT) {
                    true => Ok(true),
                    false => self.dead_letters.keep(&done.stored, done.refusals.clone()),
                };
                match letter {
                    Ok(true) => self.monitor.dead_lettered(
                        &self.router.id(&done.stored),
                        &done.stored,
                        &done.refusals,
                    ),
                    // It was kept before a crash.
                    Ok(false) => {}
                    Err(error) => {
                        kept = Err(error);
                        break;
                    }
                }
            }
            match done.fate() {
                Fate::Delivered => passed.delivered += 1,
                Fate::DeadLetter => passed.dead_lettered += 1,
                Fate::Filtered => passed.filtered += 1,
            }
            cursor = Some(done.stored.seq);
            self.fates.extend(fates(done, &mut self.shares, &self.places));
            self.pace.confirmed(done.bytes, now);
            self.window.pop();
        }
        if let Some(cursor) = cursor {
            self.pass(cursor, passed)?;
        }
        Ok(kept?)
    }

    /// Moves the cursor, or leaves that to the transaction that is open.
    fn pass(&mut self, cursor: Seq, passed: Passed) -> Result<(), StepError> {
        let now = match &mut self.transactions {
            Some(transactions) if !faults::omits(faults::CURSOR_IS_COMMITTED) => {
                transactions.pass(cursor, passed)
            }
            _ => Some((cursor, passed)),
        };
        now.map_or(Ok(()), |(cursor, passed)| self.advance(cursor, passed))
    }

    /// Moves the cursor, and forgets what was known of the messages up to it.
    fn advance(&mut self, cursor: Seq, passed: Passed) -> Result<(), StepError> {
        self.ahead = self.ahead.split_off(&cursor.next());
        self.rejected = self.rejected.split_off(&cursor.next());
        if self.alone_until.is_some_and(|until| until <= cursor) {
            self.alone_until = None;
        }
        let advanced = self.reader.advance(cursor, passed);
        // Kafka has them and nobody sends them again, whether or not that can be noted: a card that takes no writes must not
        // fill the memory.
        let now = clock::unix_ms();
        let mut tallies = self.monitor.tallies();
        for fates in std::mem::take(&mut self.fates) {
            tallies.note(fates, now);
        }
        drop(tallies);
        Ok(advanced?)
    }

    /// Takes no more, lets Kafka answer, keeps the cursor.
    fn finish(&mut self, patience: Duration) {
        let deadline = clock::instant() + patience;
        while self.has_under_way() && clock::instant() < deadline {
            self.let_answer();
            self.reader.wait(Duration::from_millis(20));
        }
        self.end();
    }

    /// Whether Kafka has yet to answer.
    #[doc(hidden)]
    #[must_use]
    pub fn has_under_way(&self) -> bool {
        !self.window.is_settled(self.unsent.len()) && self.producer.is_some()
    }

    /// Takes in what Kafka has answered.
    #[doc(hidden)]
    pub fn let_answer(&mut self) {
        self.monitor.pulse.beat();
        let now = clock::instant();
        self.collect(now);
        if let Err(error) = self.settle(now) {
            self.monitor.troubled(&error);
        }
    }

    /// Keeps the cursor. Nothing is submitted behind it.
    #[doc(hidden)]
    pub fn end(&mut self) {
        let settled = self.settle(clock::instant());
        self.end_transaction();
        let synced = self.reader.sync().map_err(StepError::from);
        let noted = self.times.finish().map_err(StepError::from);
        for error in [settled.err(), synced.err(), noted.err()].into_iter().flatten() {
            self.monitor.troubled(&error);
        }
    }
}

/// What a delivery report says, unless a test wants it misunderstood.
fn believed(outcome: Result<(), Code>) -> Result<(), Code> {
    match outcome {
        Err(_) if faults::omits(faults::STATUS_COUNTS) => Ok(()),
        Err(Code::PurgeQueue) if faults::omits(faults::PURGED_GO_AGAIN) => Ok(()),
        outcome => outcome,
    }
}

/// What becomes of a message that is done, for the tallies. Its entry in `shares` is used up.
fn fates(done: &InFlight, shares: &mut VecDeque<(Seq, Vec<Share>)>, places: &Places) -> Option<Fates> {
    let own = shares.pop_front_if(|(seq, _)| *seq <= done.stored.seq);
    let own = own.map(|(_, shares)| shares).unwrap_or_default();
    // Nothing outstanding and nothing refused: Kafka has every record of it.
    if done.fate() == Fate::Delivered {
        return (!own.is_empty()).then_some(Fates {
            delivered: own,
            refused: None,
        });
    }
    let (delivered, rest): (Vec<_>, Vec<_>) = own
        .into_iter()
        .enumerate()
        .partition(|(number, _)| done.has(*number));
    let refused = done.refusals.first().map(|first| {
        let device = rest
            .first()
            .map_or(done.stored.arrival.topic.as_str(), |(_, share)| &share.device);
        let numbers = done.refusals.iter().filter_map(Refusal::route);
        let routes = numbers.filter_map(|number| places.get(number)).collect();
        Refused::new(routes, device, &first.to_string())
    });
    let delivered: Vec<Share> = delivered.into_iter().map(|(_, share)| share).collect();
    (refused.is_some() || !delivered.is_empty()).then_some(Fates { delivered, refused })
}

#[cfg(test)]
mod tests;
