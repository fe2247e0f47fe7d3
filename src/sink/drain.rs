//! Feeds Kafka in order and moves the cursor over what Kafka has confirmed.
//!
//! One feeder submits in sequence order; delivery reports come back with the ticket of their record; the
//! cursor moves over the contiguous prefix of messages that are done. On any failure the producer is dropped
//! and everything behind the cursor is sent again, in order: duplicates, never a loss, never a reorder.
//!
//! A batch fails as a whole, so a record that Kafka refuses is found by sending **alone**, one message at a
//! time, up to the suspect. It is a dead letter when it fails alone twice.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use crate::clock::Clock;
use crate::link::Link;
use crate::message::Seq;
use crate::queue::{QueueError, Reader};
use crate::route::{KafkaRecord, Refusal, Router};
use crate::sink::dead_letter::{DeadLetters, KeepError};
use crate::sink::monitor::Monitor;
use crate::sink::producer::{Connector, Producer, SubmitError, Ticket, TopicState};
use crate::sink::verdict::{Verdict, verdict};
use crate::sink::window::Window;

/// The loop goes round at least this often, so that the watchdog sees it live.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Messages under way at most.
const WINDOW_MESSAGES: usize = super::kafka::WINDOW_RECORDS;
/// Wait for the other reports after the first failure, to find the error that caused the rest.
const SETTLE: Duration = Duration::from_secs(2);
/// Patience with a question for a topic. Bounds what a stop has to wait for.
const TOPIC_PATIENCE: Duration = Duration::from_secs(3);
/// Pause after a failure, doubled up to the maximum while nothing gets through.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Topics whose presence is remembered; beyond it all are asked for again.
const TOPICS_MAX: usize = 1000;
/// A record that fails alone this often is refused for what it is.
const STRIKES: u32 = 2;
/// A link refused as a whole (password, certificate) is tried with a new client this often.
const REFUSED_RETRY: Duration = Duration::from_secs(30);

/// See the module documentation.
#[derive(Debug)]
pub struct Drain<C: Connector> {
    reader: Reader,
    router: Router,
    connector: C,
    dead_letters: DeadLetters,
    monitor: Arc<Monitor>,
    clock: Clock,
    producer: Option<C::Producer>,
    window: Window,
    /// Records of the newest message in the window that the client has not taken yet.
    unsent: VecDeque<(Ticket, KafkaRecord)>,
    /// Records that Kafka stored ahead of the cursor before the last rewind, by their number in the message.
    ahead: BTreeMap<Seq, Vec<bool>>,
    topics: HashSet<String>,
    /// The topic that was there last: what an idle link is tried with.
    known_topic: Option<String>,
    /// The cluster was asked for a topic in this step. Each question may take a while, so there is one a step.
    asked: bool,
    failure: Option<Failure>,
    /// Send one message at a time up to here.
    alone_until: Option<Seq>,
    strikes: (Seq, u32),
    /// Records that Kafka refuses for what they are, of messages whose turn has not come.
    rejected: BTreeMap<Seq, Vec<Refusal>>,
    pause: Duration,
    feed_after: Option<Instant>,
    refused_since: Option<Instant>,
    /// Kafka refused to store although it answers questions: only a stored record shows that this is over.
    write_refused: bool,
}

/// The failure that decides what happens next.
#[derive(Debug)]
struct Failure {
    ticket: Ticket,
    topic: String,
    code: Code,
    since: Instant,
}

/// How far feeding went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fed {
    /// Nothing was tried: a failure is being looked at, or a pause is on.
    Paused,
    /// All that could be done.
    Tried,
    /// There is more to do at once.
    Interrupted,
}

/// Whether the error says nothing about reading: a cluster that answers questions may still refuse.
const fn is_about_writing(code: Code) -> bool {
    matches!(
        code,
        Code::ClusterAuthorizationFailed | Code::TopicAuthorizationFailed | Code::UnsupportedFeature
    )
}

/// Why a step could not do its work. Nothing is lost by it.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("cannot keep a dead letter: {0}")]
    Keep(#[from] KeepError),
}

impl<C: Connector> Drain<C> {
    /// A drain that has not connected yet.
    #[must_use]
    pub fn new(
        reader: Reader,
        router: Router,
        connector: C,
        dead_letters: DeadLetters,
        monitor: Arc<Monitor>,
        clock: Clock,
    ) -> Self {
        Self {
            reader,
            router,
            connector,
            dead_letters,
            monitor,
            clock,
            producer: None,
            window: Window::default(),
            unsent: VecDeque::new(),
            ahead: BTreeMap::new(),
            topics: HashSet::new(),
            known_topic: None,
            asked: false,
            failure: None,
            alone_until: None,
            strikes: (Seq::ZERO, 0),
            rejected: BTreeMap::new(),
            pause: PAUSE_MIN,
            feed_after: None,
            refused_since: None,
            write_refused: false,
        }
    }

    /// Runs until `stopping` says so, then lets Kafka answer what is under way, `patience` at most.
    pub fn run(mut self, stopping: impl Fn() -> bool, patience: Duration) {
        while !stopping() {
            let wait = self.step(Instant::now());
            self.reader.wait(wait);
        }
        self.finish(patience);
    }

    /// Does everything that can be done now. Returns how long nothing more will be to do, unless woken.
    fn step(&mut self, now: Instant) -> Duration {
        self.monitor.pulse.beat();
        self.asked = false;
        self.collect(now);
        let worked = self.settle().and_then(|()| self.feed(now));
        match worked {
            Ok(Fed::Tried) => self.monitor.recovered(),
            Ok(Fed::Paused) => {}
            Ok(Fed::Interrupted) => {
                self.monitor.recovered();
                return Duration::from_millis(1);
            }
            Err(error) => {
                self.monitor.troubled(&error);
                self.hold_feed(now);
            }
        }
        let held = self
            .feed_after
            .map_or(HEARTBEAT, |after| after.saturating_duration_since(now));
        held.min(HEARTBEAT).max(Duration::from_millis(1))
    }

    /// Takes the reports in and reacts to a failure once its cause is known.
    fn collect(&mut self, now: Instant) {
        let Some(producer) = &mut self.producer else {
            return;
        };
        let trouble = producer.trouble();
        for report in producer.reports() {
            match report.outcome {
                Ok(()) => {
                    self.window.delivered(report.ticket);
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

    /// Kafka has stored a record: the link works, whatever was wrong before.
    fn confirmed(&mut self) {
        self.pause = PAUSE_MIN;
        self.refused_since = None;
        self.write_refused = false;
        self.monitor.delivered();
    }

    /// Any record of a batch that failed as a whole may be the one.
    fn note_suspect(&mut self, ticket: Ticket, code: Code) {
        if verdict(code) == Verdict::Suspect {
            self.alone_until = self
                .alone_until
                .max(self.window.get(ticket).map(|message| message.stored.seq));
        }
    }

    /// Keeps the first failure that is a cause rather than an echo of another one.
    fn note_failure(&mut self, ticket: Ticket, topic: String, code: Code, now: Instant) {
        let is_cause = |code| verdict(code) != Verdict::Echo;
        let known = self.failure.as_ref();
        if known.is_none_or(|known| !is_cause(known.code) && is_cause(code)) {
            let since = known.map_or(now, |known| known.since);
            self.failure = Some(Failure {
                ticket,
                topic,
                code,
                since,
            });
        }
    }

    /// An error of the connection as a whole. Records wait in the client meanwhile.
    fn note_trouble(&mut self, code: Code, now: Instant) {
        match verdict(code) {
            Verdict::Hold => {
                self.refused_since.get_or_insert(now);
                self.write_refused |= is_about_writing(code);
                self.monitor.set_link(Link::Refused(code.to_string()));
            }
            // What refuses us closes the connection, and so looks like being away as well.
            _ if code == Code::AllBrokersDown && self.refused_since.is_none() => {
                self.monitor.set_link(Link::Down(code.to_string()))
            }
            _ => {}
        }
    }

    fn react(&mut self, failure: &Failure, now: Instant) {
        let Some(seq) = self.window.get(failure.ticket).map(|message| message.stored.seq) else {
            return self.rewind(now);
        };
        tracing::warn!(%seq, topic = failure.topic, code = %failure.code, "Kafka did not take a record");
        match verdict(failure.code) {
            Verdict::Suspect => self.suspect(failure, seq, now),
            Verdict::Hold => {
                self.alone_until = Some(seq);
                self.topics.remove(&failure.topic);
                self.write_refused = true;
                self.monitor
                    .set_link(Link::Refused(format!("{}: {}", failure.topic, failure.code)));
                self.rewind(now);
            }
            Verdict::Rewind | Verdict::Echo => self.rewind(now),
        }
    }

    /// Counts a strike when nothing else was under way; otherwise the next attempt sends it alone.
    fn suspect(&mut self, failure: &Failure, seq: Seq, now: Instant) {
        let strikes = match self.strikes {
            (known, strikes) if known == seq => strikes,
            _ => 0,
        };
        self.strikes = (seq, strikes + u32::from(self.window.len() == 1));
        if self.strikes.1 >= STRIKES {
            let refusal = Refusal::Rejected {
                topic: failure.topic.clone(),
                code: failure.code.to_string(),
            };
            self.rejected.entry(seq).or_default().push(refusal);
            // Another record of the message begins anew.
            self.strikes.1 = 0;
        }
        self.rewind(now);
        // Nothing is wrong with the link: no reason to wait.
        self.feed_after = None;
    }

    /// Drops the producer and goes back to the cursor.
    fn rewind(&mut self, now: Instant) {
        self.producer = None;
        self.failure = None;
        self.unsent.clear();
        self.ahead.append(&mut self.window.abandon());
        self.reader.rewind();
        self.monitor.rewound();
        self.hold_feed(now);
    }

    fn hold_feed(&mut self, now: Instant) {
        self.feed_after = Some(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// Moves the cursor over the contiguous prefix of done messages, keeping dead letters on the way.
    fn settle(&mut self) -> Result<(), StepError> {
        let mut cursor = None;
        let mut kept = Ok(());
        while let Some(done) = self.window.front_done() {
            if !done.refusals.is_empty() {
                kept = self.dead_letters.keep(&done.stored, done.refusals.clone());
                if kept.is_err() {
                    break;
                }
                self.monitor
                    .dead_lettered(&self.router.id(&done.stored), &done.stored, &done.refusals);
            }
            let seq = done.stored.seq;
            self.window.pop();
            cursor = Some(seq);
            if self.alone_until.is_some_and(|until| until <= seq) {
                self.alone_until = None;
            }
        }
        if let Some(cursor) = cursor {
            self.ahead = self.ahead.split_off(&cursor.next());
            self.rejected = self.rejected.split_off(&cursor.next());
            self.reader.advance(cursor)?;
        }
        Ok(kept?)
    }

    /// Submits what the window has room for.
    fn feed(&mut self, now: Instant) -> Result<Fed, StepError> {
        if self.failure.is_some() || self.feed_after.is_some_and(|after| now < after) {
            return Ok(Fed::Paused);
        }
        self.feed_after = None;
        let limit = if self.alone_until.is_some() {
            1
        } else {
            WINDOW_MESSAGES
        };
        loop {
            if let Some((ticket, record)) = self.unsent.pop_front() {
                if self.asked && !self.topics.contains(&record.topic) {
                    self.unsent.push_front((ticket, record));
                    return Ok(Fed::Interrupted);
                }
                if !self.submit(ticket, record, now) {
                    return Ok(Fed::Tried);
                }
            } else if self.window.len() >= limit {
                return Ok(Fed::Tried);
            } else if !self.take()? {
                self.try_idle_link(now);
                return Ok(Fed::Tried);
            }
        }
    }

    /// Takes the next message from the queue into the window. False when there is none.
    fn take(&mut self) -> Result<bool, StepError> {
        let Some(stored) = self.reader.next()? else {
            return Ok(false);
        };
        let mut outcome = self.router.route(&stored, self.clock.now().unix_ms);
        let rejected = self.rejected.get(&stored.seq).map_or(&[][..], Vec::as_slice);
        let is_rejected = |record: &KafkaRecord| {
            let names = |refusal: &Refusal| matches!(refusal, Refusal::Rejected { topic, .. } if *topic == record.topic);
            rejected.iter().any(names)
        };
        let mut confirmed = self.ahead.get(&stored.seq).cloned().unwrap_or_default();
        confirmed.resize(outcome.records.len(), false);
        let records = outcome.records.into_iter().zip(&confirmed).enumerate();
        let wanted: Vec<_> = records
            .filter(|(_, (record, confirmed))| !**confirmed && !is_rejected(record))
            .map(|(number, (record, _))| (number, record))
            .collect();
        outcome.refusals.extend(rejected.iter().cloned());
        let first = self
            .window
            .push(stored, confirmed, wanted.len(), outcome.refusals);
        self.unsent.extend(
            wanted
                .into_iter()
                .map(|(number, record)| (first.wrapping_add(number), record)),
        );
        if self.unsent.is_empty() {
            self.settle()?;
        }
        Ok(true)
    }

    /// Hands one record to the client. False when feeding has to wait; the record is kept then.
    fn submit(&mut self, ticket: Ticket, record: KafkaRecord, now: Instant) -> bool {
        let submitted = self
            .topic_is_there(&record.topic, now)
            .then(|| match &mut self.producer {
                Some(producer) => producer.submit(&record, ticket),
                None => Err(SubmitError::Full),
            });
        match submitted {
            Some(Ok(())) => return true,
            Some(Err(SubmitError::Refused(Code::MessageSizeTooLarge))) => {
                // The client's own limit: it depends on this record alone.
                let code = Code::MessageSizeTooLarge.to_string();
                self.window.refused(
                    ticket,
                    Refusal::Rejected {
                        topic: record.topic,
                        code,
                    },
                );
                return true;
            }
            Some(Err(SubmitError::Refused(code))) => {
                self.note_failure(ticket, record.topic.clone(), code, now);
            }
            Some(Err(SubmitError::Full)) | None => {}
        }
        self.unsent.push_front((ticket, record));
        false
    }

    /// Makes sure there is a producer and the topic exists; otherwise says why and pauses.
    fn topic_is_there(&mut self, topic: &str, now: Instant) -> bool {
        if self.producer.is_none() && !self.connect(now) {
            return false;
        }
        if self.topics.contains(topic) {
            return true;
        }
        let Some(producer) = &mut self.producer else {
            return false;
        };
        self.asked = true;
        match producer.topic_state(topic, TOPIC_PATIENCE) {
            TopicState::Present => {
                if self.topics.len() >= TOPICS_MAX {
                    self.topics.clear();
                }
                self.topics.insert(topic.to_owned());
                self.known_topic = Some(topic.to_owned());
                if !self.write_refused {
                    self.refused_since = None;
                    self.monitor.set_link(Link::Up);
                }
                return true;
            }
            TopicState::Missing(code) => {
                self.monitor
                    .set_link(Link::Refused(format!("topic {topic:?}: {code}")));
            }
            // A refused password looks like this too, and says so by itself.
            TopicState::Unreachable(_) if self.refused_since.is_some() => {}
            TopicState::Unreachable(code) => self.monitor.set_link(Link::Down(code.to_string())),
        }
        self.hold_feed(now);
        false
    }

    /// With nothing to send, nothing shows that a link is back: asks for a topic instead.
    fn try_idle_link(&mut self, now: Instant) {
        let is_well = matches!(self.monitor.link(), Link::Up | Link::Connecting);
        if is_well || self.asked || !self.window.is_empty() {
            return;
        }
        if let Some(topic) = self.known_topic.clone() {
            self.topics.remove(&topic);
            self.topic_is_there(&topic, now);
        }
    }

    fn connect(&mut self, now: Instant) -> bool {
        match self.connector.connect() {
            Ok(producer) => {
                self.producer = Some(producer);
                true
            }
            Err(reason) => {
                self.monitor.set_link(Link::Refused(reason));
                self.hold_feed(now);
                false
            }
        }
    }

    /// Takes no more, lets Kafka answer, keeps the cursor.
    fn finish(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !self.window.is_settled(self.unsent.len())
            && self.producer.is_some()
            && Instant::now() < deadline
        {
            self.monitor.pulse.beat();
            self.collect(Instant::now());
            if let Err(error) = self.settle() {
                self.monitor.troubled(&error);
            }
            self.reader.wait(Duration::from_millis(20));
        }
        let settled = self.settle();
        let synced = self.reader.sync().map_err(StepError::from);
        for error in [settled.err(), synced.err()].into_iter().flatten() {
            self.monitor.troubled(&error);
        }
    }
}

#[cfg(test)]
mod tests;
