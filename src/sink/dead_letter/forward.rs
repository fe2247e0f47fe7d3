//! `[dead_letter] topic`: letters go to a Kafka topic, behind everything else.
//!
//! One thread for the whole daemon with a producer of its own, so that it holds up no lane. A letter is local first; it is
//! taken out when Kafka has confirmed it. Lane by lane, in the order in which letters were kept, a small batch at a time:
//! whatever fails, the producer is dropped and what is not confirmed is sent again.
//!
//! * A topic that is missing or refuses keeps letters where they are: said once, tried again with growing pauses.
//! * A letter that the topic refuses for what it is, alone and twice, stays where it is and does not hold up the others. It
//!   is tried again after the next start.
//! * What a lane's queue lost to damage is told there too, once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::{DeadLetters, KeepError, record};
use crate::clock;
use crate::message::{Epoch, Seq, Stored};
use crate::route::{KafkaRecord, Refusal, Router};
use crate::signal::Signal;
use crate::sink::producer::{Connector, Producer, SubmitError, Ticket, TopicState};
use crate::sink::verdict::{Verdict, verdict};

/// Letters under way at most, and their bytes: they matter, and nobody is in a hurry.
const BATCH_LETTERS: usize = 100;
const BATCH_BYTES: usize = 1024 * 1024;
/// Letters and losses are looked for this often.
const LOOK: Duration = Duration::from_secs(1);
/// Pause after a failure, doubled up to the maximum: somebody has to do something.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// Patience with the question for the topic. Bounds what a stop has to wait for.
const TOPIC_PATIENCE: Duration = Duration::from_secs(3);
/// Patience with reports: the client itself never gives up.
const REPORT_PATIENCE: Duration = Duration::from_mins(1);
/// A letter that fails alone this often is refused for what it is.
const STRIKES: u32 = 2;

/// What a lane says of itself, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaneNow {
    /// The cursor as a power cut would leave it; `None` when the lane is no more.
    pub cursor: Option<Seq>,
    /// Stretches that its queue lost to damage.
    pub lost: Vec<(Seq, Seq)>,
}

/// Which cursor is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// The one that survives a power cut as it is.
    AsSynced,
    /// That one, brought up to date: it costs a write.
    Synced,
}

/// A lane whose letters are forwarded.
pub struct Outbox {
    /// Its name.
    pub lane: String,
    /// Its letters.
    pub letters: Arc<DeadLetters>,
    /// Tells keys and ids.
    pub router: Arc<Router>,
    /// Gateway and epoch of the store.
    pub gateway: String,
    /// See `gateway`.
    pub epoch: Epoch,
    /// Asks the lane; makes its cursor survive a power cut when that is asked for.
    pub now: Box<dyn Fn(Cursor) -> LaneNow + Send>,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

/// What the forwarding shows of itself.
#[derive(Debug, Default)]
pub struct ForwardMonitor {
    trouble: Mutex<Option<String>>,
    stopping: AtomicBool,
    wake: Signal,
}

impl ForwardMonitor {
    /// Why nothing is forwarded at the moment.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Something may be to do.
    pub fn wake(&self) {
        self.wake.raise();
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.wake.raise();
    }

    fn set(&self, trouble: Option<String>) {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*known, &trouble) {
            (None, Some(reason)) => tracing::error!(
                reason,
                "dead letters are not forwarded, and stay here: trying again now and then"
            ),
            (Some(_), None) => tracing::info!("dead letters are forwarded"),
            _ => {}
        }
        *known = trouble;
    }
}

/// What a record under way stands for.
#[derive(Debug)]
enum Item {
    Letter(Seq),
    Gap(Seq, Seq),
}

#[derive(Debug)]
struct Entry {
    item: Item,
    record: KafkaRecord,
    is_confirmed: bool,
}

/// Why a batch did not get through.
#[derive(Debug)]
enum Failure {
    /// Something is wrong with the way.
    Way(String),
    /// One of the batch may never be accepted.
    Suspect(Code),
    Keep(KeepError),
}

impl From<KeepError> for Failure {
    fn from(error: KeepError) -> Self {
        Self::Keep(error)
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct Forwarder<C: Connector> {
    topic: String,
    connector: C,
    /// With the number of the next letter to look at.
    boxes: VecDeque<(Outbox, Seq)>,
    monitor: Arc<ForwardMonitor>,
    producer: Option<C::Producer>,
    /// The producer has seen the topic.
    is_there: bool,
    pause: Duration,
    /// Send one at a time, so many more times.
    alone: usize,
    strikes: u32,
    tickets: Ticket,
}

impl<C: Connector> Forwarder<C> {
    /// A thread's work; the connector has to wake `monitor`.
    #[must_use]
    pub fn new(topic: String, connector: C, boxes: Vec<Outbox>, monitor: Arc<ForwardMonitor>) -> Self {
        Self {
            topic,
            connector,
            boxes: boxes.into_iter().map(|outbox| (outbox, Seq(1))).collect(),
            monitor,
            producer: None,
            is_there: false,
            pause: PAUSE_MIN,
            alone: 0,
            strikes: 0,
            tickets: 0,
        }
    }

    /// Runs until the monitor says stop.
    pub fn run(mut self) {
        while !self.is_stopping() {
            let wait = self.step();
            self.wait(wait);
        }
    }

    fn is_stopping(&self) -> bool {
        self.monitor.stopping.load(Ordering::Relaxed)
    }

    /// Waits; reports of an old producer do not cut it short.
    fn wait(&self, patience: Duration) {
        let until = Instant::now() + patience;
        while !self.is_stopping() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.monitor.wake.wait(left);
        }
    }

    /// Forwards what there is. Returns how long to wait for more.
    fn step(&mut self) -> Duration {
        for _ in 0..self.boxes.len() {
            match self.forward_box() {
                Ok(()) => {}
                Err(Failure::Way(reason)) => return self.hold(reason),
                Err(Failure::Keep(error)) => return self.hold(error.to_string()),
                Err(Failure::Suspect(code)) => return self.hold(code.to_string()),
            }
            self.boxes.rotate_left(1);
        }
        LOOK
    }

    fn hold(&mut self, reason: String) -> Duration {
        self.drop_producer();
        self.monitor.set(Some(reason));
        let pause = self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        pause
    }

    fn drop_producer(&mut self) {
        self.producer = None;
        self.is_there = false;
    }

    /// Forwards everything that the first lane has to say now.
    fn forward_box(&mut self) -> Result<(), Failure> {
        let mut has_sent = false;
        while !self.is_stopping() {
            let mut batch = self.load()?;
            if batch.is_empty() {
                break;
            }
            has_sent = true;
            let sent = self.send(&mut batch);
            let all = batch.len();
            self.take_out(&batch)?;
            match sent {
                Ok(()) => self.sent(all),
                Err(Failure::Suspect(code)) => self.suspect(&batch, code)?,
                Err(failure) => return Err(failure),
            }
        }
        match self.boxes.front() {
            Some((outbox, _)) if has_sent => Ok(outbox.letters.tidy()?),
            _ => Ok(()),
        }
    }

    /// Everything of a batch is confirmed.
    fn sent(&mut self, count: usize) {
        self.pause = PAUSE_MIN;
        self.strikes = 0;
        self.alone = self.alone.saturating_sub(count);
        self.monitor.set(None);
    }

    /// One of the batch may be refused for what it is: found by sending alone.
    fn suspect(&mut self, batch: &[Entry], code: Code) -> Result<(), Failure> {
        self.drop_producer();
        let [only] = batch else {
            self.alone = batch.len();
            self.strikes = 0;
            return Ok(());
        };
        self.strikes += 1;
        if self.strikes < STRIKES {
            return Ok(());
        }
        self.strikes = 0;
        self.alone = self.alone.saturating_sub(1);
        let Item::Letter(number) = only.item else {
            return Err(Failure::Way(code.to_string()));
        };
        let Some((outbox, next)) = self.boxes.front_mut() else {
            return Ok(());
        };
        *next = number.next();
        let id = only.record.headers.first().map_or("", |(_, id)| id.as_str());
        tracing::warn!(lane = outbox.lane, id, %code, "the topic for dead letters refuses this one: it stays here");
        Ok(())
    }

    /// What the first lane has to say: losses, then letters, oldest first.
    fn load(&mut self) -> Result<Vec<Entry>, Failure> {
        let most = if self.alone > 0 { 1 } else { BATCH_LETTERS };
        let Some((outbox, next)) = self.boxes.front_mut() else {
            return Ok(Vec::new());
        };
        let mut lane = (outbox.now)(Cursor::AsSynced);
        let mut is_asked = false;
        let untold = outbox.letters.untold(&lane.lost).into_iter();
        let mut batch: Vec<Entry> = untold
            .take(most)
            .map(|(first, last)| gap(outbox, &self.topic, first, last))
            .collect();
        let mut bytes = 0;
        let mut walk = outbox.letters.walk(*next);
        while batch.len() < most && bytes < BATCH_BYTES {
            let Some(block) = walk.next_letters()? else { break };
            for kept in block {
                let number = kept.number;
                let reasons = kept.letter.reasons.clone();
                let stored = kept.letter.into_stored();
                if !is_asked && !outbox.letters.is_settled(&stored, lane.cursor) {
                    lane = (outbox.now)(Cursor::Synced);
                    is_asked = true;
                }
                if batch.len() >= most || !outbox.letters.is_settled(&stored, lane.cursor) {
                    return Ok(batch);
                }
                bytes += stored.arrival.cost();
                batch.push(letter(outbox, &self.topic, number, &stored, &reasons));
            }
        }
        Ok(batch)
    }

    /// Sends a batch, and waits until Kafka has answered all of it.
    fn send(&mut self, batch: &mut [Entry]) -> Result<(), Failure> {
        self.connect()?;
        let Some(producer) = &mut self.producer else {
            return Ok(());
        };
        let base = self.tickets;
        self.tickets = base.wrapping_add(batch.len());
        let began = Instant::now();
        let (mut submitted, mut answered) = (0, 0);
        while answered < batch.len() {
            if let Some(entry) = batch.get(submitted) {
                match producer.submit(&entry.record, None, base.wrapping_add(submitted)) {
                    Ok(()) => {
                        submitted += 1;
                        continue;
                    }
                    Err(SubmitError::Full) if submitted > answered => {}
                    Err(SubmitError::Full) => return Err(Failure::Way("the client is full".to_owned())),
                    Err(SubmitError::Refused(code)) => return Err(failure(code)),
                }
            }
            for report in producer.reports() {
                report.outcome.map_err(failure)?;
                if let Some(entry) = batch.get_mut(report.ticket.wrapping_sub(base)) {
                    entry.is_confirmed = true;
                    answered += 1;
                }
            }
            if let Some(code) = producer.trouble()
                && verdict(code) == Verdict::Hold
            {
                return Err(Failure::Way(code.to_string()));
            }
            if self.monitor.stopping.load(Ordering::Relaxed) || began.elapsed() > REPORT_PATIENCE {
                return Err(Failure::Way("Kafka does not answer".to_owned()));
            }
            if answered < batch.len() {
                self.monitor.wake.wait(LOOK);
            }
        }
        Ok(())
    }

    /// Sees to a producer that has seen the topic.
    fn connect(&mut self) -> Result<(), Failure> {
        if self.producer.is_none() {
            self.producer = Some(self.connector.connect().map_err(Failure::Way)?);
        }
        let Some(producer) = self.producer.as_mut().filter(|_| !self.is_there) else {
            return Ok(());
        };
        match producer.topic_state(&self.topic, TOPIC_PATIENCE) {
            // The client waits for a leader by itself.
            TopicState::Present { .. } | TopicState::Leaderless { .. } => {
                self.is_there = true;
                Ok(())
            }
            TopicState::Missing(code) | TopicState::Unreachable(code) => {
                Err(Failure::Way(format!("topic {:?}: {code}", self.topic)))
            }
        }
    }

    /// Takes out what is confirmed.
    fn take_out(&mut self, batch: &[Entry]) -> Result<(), KeepError> {
        let Some((outbox, next)) = self.boxes.front_mut() else {
            return Ok(());
        };
        let mut numbers = Vec::new();
        for entry in batch.iter().filter(|entry| entry.is_confirmed) {
            match entry.item {
                Item::Letter(number) => numbers.push(number),
                Item::Gap(first, last) => outbox.letters.told(first, last)?,
            }
        }
        if let Some(last) = numbers.last() {
            outbox.letters.remove(&numbers)?;
            // Only a contiguous beginning is passed: what failed comes again.
            let through = batch.iter().take_while(|entry| entry.is_confirmed).last();
            if let Some(Item::Letter(number)) = through.map(|entry| &entry.item) {
                *next = number.next().min(last.next());
            }
        }
        Ok(())
    }
}

fn failure(code: Code) -> Failure {
    match verdict(code) {
        Verdict::Suspect | Verdict::Untimely => Failure::Suspect(code),
        _ => Failure::Way(code.to_string()),
    }
}

fn letter(outbox: &Outbox, topic: &str, number: Seq, stored: &Stored, reasons: &[Refusal]) -> Entry {
    let now = clock::unix_ms();
    Entry {
        item: Item::Letter(number),
        record: record::of_letter(topic, &outbox.lane, &outbox.router, stored, reasons, now),
        is_confirmed: false,
    }
}

fn gap(outbox: &Outbox, topic: &str, first: Seq, last: Seq) -> Entry {
    let Outbox {
        lane, gateway, epoch, ..
    } = outbox;
    let gap = format!("{epoch}-{lane}-{first}..{last}");
    Entry {
        item: Item::Gap(first, last),
        record: record::of_gap(topic, gateway, gap, lane, clock::unix_ms()),
        is_confirmed: false,
    }
}

#[cfg(test)]
mod tests;
