//! `[dead_letter] topic`: letters go to a Kafka topic, behind everything else.
//!
//! One thread for the whole daemon with a producer of its own, so that it holds up no lane. A letter is local first; it is
//! taken out when Kafka has confirmed it. Lane by lane, in the order in which letters were kept, a small batch at a time:
//! whatever fails, the producer is dropped and what is not confirmed is sent again.
//!
//! * A topic that is missing or refuses keeps letters where they are: said once, tried again with growing pauses.
//! * A lane whose letters cannot be read or taken out pauses by itself: the others go on.
//! * A letter is never refused for its time. One that Kafka does not take is changed as for other records (see
//!   `sink::timing`); when none is taken, letters wait.
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
use crate::outages::{Outages, Say, Trouble};
use crate::route::{KafkaRecord, Refusal, Router, headers};
use crate::signal::Signal;
use crate::sink::producer::{Connector, Producer, SubmitError, Ticket, TopicState};
use crate::sink::timing::{Next, Timing};
use crate::sink::verdict::{Verdict, verdict};

/// Letters under way at most, and their bytes (beyond by the last one): nobody is in a hurry, and on a slow link an alarm
/// does not wait behind more than this.
const BATCH_LETTERS: usize = 100;
const BATCH_BYTES: usize = 64 * 1024;
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

/// Why letters are not forwarded, and as the log tells it.
#[derive(Debug, Default)]
struct Told {
    reason: Option<String>,
    outages: Outages,
}

/// What the forwarding shows of itself.
#[derive(Debug, Default)]
pub struct ForwardMonitor {
    trouble: Mutex<Told>,
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
            .reason
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
        match (&known.reason, &trouble) {
            (None, Some(reason)) => match known.outages.failed(Trouble::Passing, Instant::now().into()) {
                Say::Loudly { untold } => tracing::error!(
                    reason,
                    untold,
                    "dead letters are not forwarded, and stay here: trying again now and then"
                ),
                Say::Quietly => tracing::debug!(reason, "dead letters are not forwarded"),
            },
            (Some(_), None) => match known.outages.recovered(Instant::now().into()) {
                Some(end) if end.loud => tracing::info!(away = ?end.away, "dead letters are forwarded"),
                _ => tracing::debug!("dead letters are forwarded"),
            },
            _ => {}
        }
        known.reason = trouble;
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
    record: Arc<KafkaRecord>,
    /// The time that the record should have.
    time_ms: i64,
    is_confirmed: bool,
}

/// Why a batch did not get through.
#[derive(Debug)]
enum Failure {
    /// Something is wrong with the way.
    Way(String),
    /// One of the batch may never be accepted.
    Suspect(Code),
    /// One of the batch has a time that is not taken.
    Untimely(Code),
    Keep(KeepError),
}

impl From<KeepError> for Failure {
    fn from(error: KeepError) -> Self {
        Self::Keep(error)
    }
}

/// A lane's letters, on their way.
#[derive(Debug)]
struct Lane {
    outbox: Outbox,
    /// Number of the next letter to look at.
    next: Seq,
    /// What keeps this lane alone from being forwarded.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    reason: String,
    until: Instant,
    pause: Duration,
}

impl Lane {
    fn hold(&mut self, error: &KeepError) {
        let before = self.held.take();
        let pause = before.map_or(PAUSE_MIN, |held| (held.pause * 2).min(PAUSE_MAX));
        self.held = Some(Held {
            reason: format!("lane {:?}: {error}", self.outbox.lane),
            until: Instant::now() + pause,
            pause,
        });
    }

    fn is_due(&self) -> bool {
        let held = self.held.as_ref();
        held.is_none_or(|held| held.until <= Instant::now())
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct Forwarder<C: Connector> {
    topic: String,
    connector: C,
    lanes: VecDeque<Lane>,
    /// Which times Kafka takes.
    timing: Timing,
    /// The clock's time is compared with what passed since.
    began: Instant,
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
            lanes: boxes.into_iter().map(lane).collect(),
            timing: Timing::default(),
            began: Instant::now(),
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
        let offset_ms = self.offset_ms(clock::unix_ms());
        self.timing.review(Instant::now(), offset_ms);
        for _ in 0..self.lanes.len() {
            let outcome = match self.lanes.front() {
                Some(lane) if lane.is_due() => self.forward_lane(),
                _ => Ok(()),
            };
            match outcome {
                Ok(()) => {}
                Err(Failure::Keep(error)) => {
                    self.drop_producer();
                    self.lanes.iter_mut().take(1).for_each(|lane| lane.hold(&error));
                }
                Err(Failure::Way(reason)) => return self.hold(reason),
                Err(Failure::Suspect(code) | Failure::Untimely(code)) => return self.hold(code.to_string()),
            }
            self.turn();
        }
        self.show();
        LOOK
    }

    /// It is the next lane's turn.
    fn turn(&mut self) {
        self.lanes.rotate_left(1);
        self.alone = 0;
        self.strikes = 0;
    }

    /// The way is the same for all lanes; the next attempt begins with the next one.
    fn hold(&mut self, reason: String) -> Duration {
        self.drop_producer();
        self.turn();
        self.monitor.set(Some(reason));
        let pause = self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        pause
    }

    /// The way is well; a lane may be in trouble.
    fn show(&self) {
        let held = self.lanes.iter().find_map(|lane| lane.held.as_ref());
        self.monitor.set(held.map(|held| held.reason.clone()));
    }

    /// How the wall clock stands against the time that passes.
    fn offset_ms(&self, now_ms: i64) -> i64 {
        let passed = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        now_ms.saturating_sub(passed)
    }

    fn drop_producer(&mut self) {
        self.producer = None;
        self.is_there = false;
    }

    /// Forwards everything that the first lane has to say now.
    fn forward_lane(&mut self) -> Result<(), Failure> {
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
                Err(Failure::Untimely(code)) => self.untimely(&batch, code)?,
                Err(failure) => return Err(failure),
            }
        }
        let Some(lane) = self.lanes.front_mut() else {
            return Ok(());
        };
        if has_sent {
            lane.outbox.letters.tidy()?;
        }
        lane.held = None;
        Ok(())
    }

    /// Everything of a batch is confirmed.
    fn sent(&mut self, count: usize) {
        self.pause = PAUSE_MIN;
        self.strikes = 0;
        self.alone = self.alone.saturating_sub(count);
        self.timing.accepted();
        self.show();
    }

    /// Kafka does not take a time of the batch. It is found by sending alone, and changed.
    fn untimely(&mut self, batch: &[Entry], code: Code) -> Result<(), Failure> {
        self.drop_producer();
        let [only] = batch else {
            self.alone = batch.len();
            return Ok(());
        };
        let now_ms = clock::unix_ms();
        let learned = (Instant::now(), self.offset_ms(now_ms));
        let sent_ms = only.record.timestamp_ms;
        match self.timing.refused(sent_ms, only.time_ms, now_ms, learned) {
            Next::Try => Ok(()),
            Next::Wait | Next::GiveUp => Err(Failure::Way(format!(
                "{code}: Kafka takes no time at all for the topic {:?}; is a clock wrong?",
                self.topic
            ))),
        }
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
        let Some(Lane { outbox, next, .. }) = self.lanes.front_mut() else {
            return Ok(());
        };
        *next = number.next();
        let id = only.record.header(headers::ID).unwrap_or_default();
        tracing::warn!(lane = outbox.lane, id, %code, "the topic for dead letters refuses this one: it stays here");
        Ok(())
    }

    /// What the first lane has to say: losses, then letters, oldest first.
    fn load(&mut self) -> Result<Vec<Entry>, Failure> {
        let most = if self.alone > 0 { 1 } else { BATCH_LETTERS };
        let Some(Lane { outbox, next, .. }) = self.lanes.front_mut() else {
            return Ok(Vec::new());
        };
        let mut lane = (outbox.now)(Cursor::AsSynced);
        let mut is_asked = false;
        let untold = outbox.letters.untold(&lane.lost).into_iter();
        let mut batch: Vec<Entry> = untold
            .take(most)
            .map(|(first, last)| gap(outbox, &self.topic, &self.timing, first, last))
            .collect();
        let mut bytes = 0;
        let mut walk = outbox.letters.walk(*next);
        while batch.len() < most && bytes < BATCH_BYTES {
            let block = match walk.next_letters() {
                Ok(Some(block)) => block,
                Ok(None) => break,
                // What is in front of it goes first.
                Err(_) if !batch.is_empty() => break,
                Err(error) => return Err(error.into()),
            };
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
                batch.push(letter(
                    outbox,
                    &self.topic,
                    &self.timing,
                    number,
                    &stored,
                    &reasons,
                ));
            }
        }
        Ok(batch)
    }

    /// Sends a batch, and waits until Kafka has answered all of it, or all that was sent before something failed.
    fn send(&mut self, batch: &mut [Entry]) -> Result<(), Failure> {
        self.connect()?;
        let Some(producer) = &mut self.producer else {
            return Ok(());
        };
        let mut sending = Sending {
            base: self.tickets,
            submitted: 0,
            answered: 0,
            failed: None,
        };
        self.tickets = self.tickets.wrapping_add(batch.len());
        let began = Instant::now();
        while sending.is_on(batch) {
            sending.submit(producer, batch);
            sending.hear(producer, batch);
            if !sending.is_on(batch) {
                break;
            }
            if let Some(code) = producer.trouble()
                && verdict(code) == Verdict::Hold
            {
                return Err(sending.failed.unwrap_or(Failure::Way(code.to_string())));
            }
            if self.monitor.stopping.load(Ordering::Relaxed) || began.elapsed() > REPORT_PATIENCE {
                let silence = || Failure::Way("Kafka does not answer".to_owned());
                return Err(sending.failed.unwrap_or_else(silence));
            }
            self.monitor.wake.wait(LOOK);
        }
        sending.failed.map_or(Ok(()), Err)
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
            // As behind any failure, the next attempt is made with a new one.
            TopicState::ClientLost => Err(Failure::Way("the client has lost Kafka".to_owned())),
        }
    }

    /// Takes out what is confirmed.
    fn take_out(&mut self, batch: &[Entry]) -> Result<(), KeepError> {
        let Some(Lane { outbox, next, .. }) = self.lanes.front_mut() else {
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

/// A batch under way.
struct Sending {
    /// Ticket of its first record.
    base: Ticket,
    submitted: usize,
    answered: usize,
    failed: Option<Failure>,
}

impl Sending {
    /// Whether there is more to send or to hear.
    const fn is_on(&self, batch: &[Entry]) -> bool {
        self.answered < self.submitted || self.failed.is_none() && self.submitted < batch.len()
    }

    /// Submits what the client takes, until something fails.
    fn submit<P: Producer>(&mut self, producer: &mut P, batch: &[Entry]) {
        while self.failed.is_none()
            && let Some(entry) = batch.get(self.submitted)
        {
            let ticket = self.base.wrapping_add(self.submitted);
            match producer.submit(&entry.record, None, ticket) {
                Ok(()) => self.submitted += 1,
                Err(SubmitError::Full) if self.submitted > self.answered => return,
                Err(SubmitError::Full) => self.fail(Failure::Way("the client is full".to_owned())),
                Err(SubmitError::Refused(code)) => self.fail(failure(code)),
            }
        }
    }

    /// Takes all reports that there are: what is confirmed counts also when others failed.
    fn hear<P: Producer>(&mut self, producer: &mut P, batch: &mut [Entry]) {
        for report in producer.reports() {
            let Some(entry) = batch.get_mut(report.ticket.wrapping_sub(self.base)) else {
                continue;
            };
            self.answered += 1;
            match report.outcome {
                Ok(()) => entry.is_confirmed = true,
                Err(code) => self.fail(failure(code)),
            }
        }
    }

    /// What says something of a letter says more than what others had from it.
    fn fail(&mut self, failure: Failure) {
        if matches!(self.failed, None | Some(Failure::Way(_))) {
            self.failed = Some(failure);
        }
    }
}

fn failure(code: Code) -> Failure {
    match verdict(code) {
        Verdict::Suspect => Failure::Suspect(code),
        Verdict::Untimely => Failure::Untimely(code),
        _ => Failure::Way(code.to_string()),
    }
}

const fn lane(outbox: Outbox) -> Lane {
    Lane {
        outbox,
        next: Seq(1),
        held: None,
    }
}

fn letter(
    outbox: &Outbox,
    topic: &str,
    timing: &Timing,
    number: Seq,
    stored: &Stored,
    reasons: &[Refusal],
) -> Entry {
    let record = record::of_letter(
        topic,
        &outbox.lane,
        &outbox.router,
        stored,
        reasons,
        clock::unix_ms(),
    );
    entry(Item::Letter(number), record, timing)
}

fn gap(outbox: &Outbox, topic: &str, timing: &Timing, first: Seq, last: Seq) -> Entry {
    let Outbox {
        lane, gateway, epoch, ..
    } = outbox;
    let gap = format!("{epoch}-{lane}-{first}..{last}");
    let record = record::of_gap(topic, gateway, gap, lane, clock::unix_ms());
    entry(Item::Gap(first, last), record, timing)
}

/// The record with a time that Kafka takes, as far as that is known.
fn entry(item: Item, record: KafkaRecord, timing: &Timing) -> Entry {
    let time_ms = record.timestamp_ms;
    let record = KafkaRecord {
        timestamp_ms: timing.fit(time_ms, clock::unix_ms()).record_ms,
        ..record
    };
    Entry {
        item,
        record: Arc::new(record),
        time_ms,
        is_confirmed: false,
    }
}

#[cfg(test)]
mod tests;
