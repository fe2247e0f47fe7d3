//! Exactly once: the records of a stretch of the queue and the cursor behind them become visible as one transaction.
//!
//! The cursor that counts is the one in Kafka: the committed offset of a consumer group that is named like the lane's
//! transactional id, written inside the transaction. The one on disk follows it, so a crash in between costs nothing: whoever
//! takes over asks Kafka, and passes over what it has.
//!
//! * **Nothing is assumed.** Whatever fails, the producer is dropped and a new one takes over: that ends what was open, and
//!   tells whether the last commit was done.
//! * **Dead letters** are kept on disk before the transaction commits. When it is not, they are recognised.
//! * **A producer is fenced** when another one took over, and also when it was silent for longer than the transaction's
//!   time limit. Only a commit by somebody else in between tells the first from the second.

use std::time::{Duration, Instant};

use super::known::Need;
use super::topics::Place;
use super::{Drain, StepError};
use crate::clock;
use crate::faults;
use crate::link::Link;
use crate::message::Seq;
use crate::queue::Passed;
use crate::sink::dead_letter::RECALLED_MAX;
use crate::sink::kafka::WINDOW_RECORDS;
use crate::sink::producer::{Committed, Connector, Producer, TransactionError};
use crate::sink::verdict::{Verdict, verdict};

/// Patience with each question of a transaction: long enough for a slow link, short enough for the watchdog's thread limit.
const PATIENCE: Duration = Duration::from_secs(5);
/// An outcome that is not known by then is found out by a new producer. The coordinator gives up no later.
const COMMIT_LIMIT: Duration = crate::sink::kafka::TRANSACTION_TIMEOUT;
/// Patience with taking back at a stop: readers would otherwise wait for the transaction's time limit.
const ABORT_PATIENCE: Duration = Duration::from_secs(2);
/// A transaction is kept open for this many times what a commit costs: a tenth of the time is spent on commits.
const OPEN_PER_COMMIT: u32 = 9;
/// Bounds of that: what a reader waits for at least under load, and how much is sent again after a failure at most.
const OPEN_MIN: Duration = Duration::from_millis(50);
const OPEN_MAX: Duration = Duration::from_secs(5);
/// Authors of cursors that are remembered: the own producers of a long outage, and whoever was there before.
const AUTHORS_MAX: usize = 64;
/// Messages in one transaction at most: a reader that holds one back has to keep it in memory, and so has the drain with what
/// became of them, some 200 bytes each, 6 MiB.
const MESSAGES_MAX: u64 = 32_768;
/// Dead letters in one at most: together with those that the window may bring they are all recognised when the transaction
/// is taken back.
const LETTERS_MAX: u64 = (RECALLED_MAX - WINDOW_RECORDS) as u64;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Transactions {
    stage: Stage,
    /// Everything up to here is in Kafka although the cursor on disk may lag.
    pub(super) delivered_through: Seq,
    /// What the open transaction makes of the cursor.
    pending: Option<(Seq, Passed)>,
    /// Who had committed last, at each time that this drain took over; [`AUTHORS_MAX`] of them at most.
    seen: Vec<String>,
    /// The last producer was fenced.
    was_fenced: bool,
    /// What the last commit cost.
    cost: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The producer has not taken over.
    Outside,
    /// Taken over; no transaction is open.
    Idle,
    /// Records may have been submitted.
    Open { since: Instant },
    /// The commit was begun.
    Committing { since: Instant },
}

impl Default for Transactions {
    fn default() -> Self {
        Self {
            stage: Stage::Outside,
            delivered_through: Seq::ZERO,
            pending: None,
            seen: Vec::new(),
            was_fenced: false,
            cost: Duration::ZERO,
        }
    }
}

impl Transactions {
    /// The producer is gone, and with it what it had open.
    pub(super) fn reset(&mut self) {
        self.stage = Stage::Outside;
        self.pending = None;
    }

    /// Whether messages that are done wait for the commit: until then the cursor lies before them.
    pub(super) const fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Adds to what the open transaction makes of the cursor. Hands it back when none is open.
    pub(super) fn pass(&mut self, cursor: Seq, passed: Passed) -> Option<(Seq, Passed)> {
        if matches!(self.stage, Stage::Outside | Stage::Idle) {
            return Some((cursor, passed));
        }
        let before = self.pending.map_or(Passed::default(), |(_, passed)| passed);
        self.pending = Some((cursor, before.plus(passed)));
        None
    }

    /// Whether it is time to commit, so that nothing more is taken.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let passed = self.pending.map_or(Passed::default(), |(_, passed)| passed);
        let is_large = passed.messages() >= MESSAGES_MAX || passed.dead_lettered >= LETTERS_MAX;
        match self.stage {
            Stage::Open { since } => now.duration_since(since) >= self.open_for() || is_large,
            Stage::Committing { .. } => true,
            Stage::Outside | Stage::Idle => false,
        }
    }

    fn open_for(&self) -> Duration {
        (self.cost * OPEN_PER_COMMIT).clamp(OPEN_MIN, OPEN_MAX)
    }

    /// Whether another gateway with the same identity has committed since this one took over. A cursor that Kafka has
    /// forgotten, and one that was there before, say nothing.
    fn is_replaced(&self, found: &Committed) -> bool {
        let by = found.by.as_ref().filter(|by| !by.is_empty());
        self.was_fenced && !found.is_ours && by.is_some_and(|by| !self.seen.contains(by))
    }

    fn remember(&mut self, by: Option<String>) {
        let Some(by) = by.filter(|by| !self.seen.contains(by)) else {
            return;
        };
        if self.seen.len() >= AUTHORS_MAX {
            self.seen.remove(0);
        }
        self.seen.push(by);
    }
}

impl<C: Connector> Drain<C> {
    /// Whether records may be submitted: always, unless a transaction has to be waited for.
    pub(super) fn may_submit(&mut self, now: Instant) -> Result<bool, StepError> {
        let Some(transactions) = &self.transactions else {
            return Ok(true);
        };
        match transactions.stage {
            Stage::Outside => self.take_over(now),
            Stage::Committing { .. } => self.commit(now),
            Stage::Idle | Stage::Open { .. } => Ok(true),
        }
    }

    /// Commits when nothing of the open transaction is under way any more. True when it did.
    pub(super) fn commit_if_settled(&mut self, now: Instant) -> Result<bool, StepError> {
        let is_open = |transactions: &Transactions| {
            matches!(transactions.stage, Stage::Open { .. }) && transactions.pending.is_some()
        };
        if !self.transactions.as_ref().is_some_and(is_open) || !self.window.is_untouched(self.unsent.len()) {
            return Ok(false);
        }
        self.commit(now)
    }

    /// Opens a transaction unless one is open. False when that was not possible.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let Some(transactions) = &mut self.transactions else {
            return true;
        };
        if matches!(transactions.stage, Stage::Open { .. }) {
            return true;
        }
        let Some(producer) = &mut self.producer else {
            return false;
        };
        match producer.begin() {
            Ok(()) => {
                faults::point("transaction.opened");
                transactions.stage = Stage::Open { since: now };
                true
            }
            Err(error) => {
                self.transaction_failed("begin", error, now);
                false
            }
        }
    }

    /// Whether the open transaction takes nothing more.
    pub(super) fn is_commit_due(&self, now: Instant) -> bool {
        let is_alone = self.alone_until.is_some();
        let is_due = |transactions: &Transactions| {
            // Whatever fails alone must not take others back with it.
            transactions.is_due(now) || is_alone && transactions.pending.is_some()
        };
        self.transactions.as_ref().is_some_and(is_due)
    }

    /// Whether Kafka has the message, as it said when this drain took over.
    pub(super) fn is_delivered(&self, seq: Seq) -> bool {
        let transactions = self.transactions.as_ref();
        transactions.is_some_and(|transactions| seq <= transactions.delivered_through)
    }

    /// Whether it is known what becomes of the other records of a message: a transaction that has only a part of a message
    /// cannot be committed, and what is before the message should not wait for a topic.
    pub(super) fn others_are_placed(&mut self, now: Instant) -> bool {
        if self.transactions.is_none() {
            return true;
        }
        let others: Vec<_> = self.unsent.iter().cloned().collect();
        others.iter().all(|(ticket, record)| {
            let may_ask = !self.asked || self.topics.need(&record.topic, now) != Need::Must;
            may_ask && self.place(*ticket, record, now) != Place::Later
        })
    }

    /// Delivery is held, perhaps for long: what can be committed is, and no reader waits for the rest.
    pub(super) fn commit_before_trouble(&mut self, now: Instant) {
        let Some(transactions) = &self.transactions else {
            return;
        };
        let is_open = matches!(transactions.stage, Stage::Open { .. });
        match self.commit_if_settled(now) {
            // What is under way is waited for first: then it can be committed.
            Ok(false) if is_open && self.window.is_settled(self.unsent.len()) => {
                // The next attempt goes one by one, so that it stops right before the trouble.
                self.alone_until = self
                    .alone_until
                    .max(self.window.front_done().map(|done| done.stored.seq));
                self.rewind(now);
            }
            Ok(_) => {}
            Err(error) => self.monitor.troubled(&error),
        }
    }

    fn take_over(&mut self, now: Instant) -> Result<bool, StepError> {
        if self.producer.is_none() && !self.connect(now) {
            return Ok(false);
        }
        let Some(producer) = &mut self.producer else {
            return Ok(false);
        };
        self.asked = true;
        let taken = producer.take_over(PATIENCE);
        let found = match taken {
            Ok(found) => found,
            Err(error) => {
                self.transaction_failed("take over", error, now);
                return Ok(false);
            }
        };
        self.taken_over(found, now)
    }

    fn taken_over(&mut self, found: Committed, now: Instant) -> Result<bool, StepError> {
        let reach = self.reader.reach();
        let local = self.reader.cursor();
        let Some(transactions) = &mut self.transactions else {
            return Ok(true);
        };
        if transactions.is_replaced(&found) {
            tracing::error!("another edgeferry with the same identity delivers this lane's messages");
            self.monitor.fence();
            return Ok(false);
        }
        faults::point("transaction.taken");
        transactions.was_fenced = false;
        transactions.remember(found.by);
        transactions.stage = Stage::Idle;
        match found.cursor {
            Some(cursor) if cursor > reach => {
                tracing::error!(kafka = %cursor, store = %reach, "Kafka's cursor is ahead of the store: the store is older than what was delivered from it (a restored copy?). Its messages are sent again");
                return self.set_back(local, now);
            }
            Some(cursor) => transactions.delivered_through = cursor,
            None => transactions.delivered_through = Seq::ZERO,
        }
        if transactions.delivered_through > local {
            tracing::info!(%local, kafka = %transactions.delivered_through, "Kafka has more than the cursor on disk says: passing over it");
        }
        if !self.write_refused {
            self.refused_since = None;
            self.link_is_up();
        }
        Ok(true)
    }

    /// Makes the cluster's cursor what the store's is.
    fn set_back(&mut self, cursor: Seq, now: Instant) -> Result<bool, StepError> {
        if !self.begin(now) {
            return Ok(false);
        }
        if let Some(transactions) = &mut self.transactions {
            transactions.delivered_through = Seq::ZERO;
            transactions.pending = Some((cursor, Passed::default()));
        }
        self.commit(now)
    }

    /// Commits. False when it has to be tried again, or failed.
    fn commit(&mut self, now: Instant) -> Result<bool, StepError> {
        let (Some(transactions), Some(producer)) = (&mut self.transactions, &mut self.producer) else {
            return Ok(false);
        };
        let Some((cursor, passed)) = transactions.pending else {
            return Ok(true);
        };
        let since = match transactions.stage {
            Stage::Committing { since } => since,
            _ => now,
        };
        transactions.stage = Stage::Committing { since };
        faults::point("transaction.begun");
        let begun = clock::instant();
        match producer.commit(cursor, PATIENCE) {
            Ok(()) => {
                faults::point("transaction.committed");
                transactions.stage = Stage::Idle;
                transactions.pending = None;
                transactions.cost = clock::instant().saturating_duration_since(begun);
                self.advance(cursor, passed)?;
                faults::point("transaction.advanced");
                self.link_works();
                Ok(true)
            }
            Err(error) if error.is_retriable && now.duration_since(since) < COMMIT_LIMIT => {
                tracing::debug!(code = %error.code, "the commit is not answered yet");
                Ok(false)
            }
            Err(error) => {
                let error = TransactionError {
                    is_retriable: false,
                    ..error
                };
                self.transaction_failed("commit", error, now);
                Ok(false)
            }
        }
    }

    fn transaction_failed(&mut self, step: &str, error: TransactionError, now: Instant) {
        let code = error.code;
        tracing::debug!(%code, error.is_retriable, "a transaction has to wait");
        match verdict(code) {
            Verdict::Hold => {
                self.refused_since.get_or_insert(now);
                self.write_refused = true;
                self.alone_until = self.alone_until.max(self.window.last());
                self.monitor
                    .set_link(Link::Refused(format!("transaction ({step}): {code}")));
            }
            Verdict::Fenced => self.fenced(),
            _ if self.refused_since.is_some() => {}
            _ => self.monitor.set_link(Link::Down(code.to_string())),
        }
        if error.is_retriable {
            self.hold_feed(now);
        } else {
            self.rewind(now);
        }
    }

    /// Everything under way came back without a reason. In a transaction the client keeps the reason to itself, until it is asked
    /// to begin another one.
    pub(super) fn ask_for_reason(&mut self, now: Instant) {
        let is_open = |transactions: &Transactions| matches!(transactions.stage, Stage::Open { .. });
        let asked = match &mut self.producer {
            Some(producer) if self.transactions.as_ref().is_some_and(is_open) => producer.begin(),
            _ => Ok(()),
        };
        match asked {
            Ok(()) => self.rewind(now),
            Err(error) => self.transaction_failed(
                "records",
                TransactionError {
                    is_retriable: false,
                    ..error
                },
                now,
            ),
        }
    }

    /// Kafka does not take this producer any more. Why, whoever takes over finds out.
    pub(super) fn fenced(&mut self) {
        if let Some(transactions) = &mut self.transactions {
            tracing::warn!(
                "Kafka has given the transactional id to another producer, or given this one up: asking"
            );
            transactions.was_fenced = true;
        }
    }

    /// At a stop: commits what is settled, takes the rest back.
    pub(super) fn end_transaction(&mut self) {
        let committed = self.commit_if_settled(clock::instant());
        if let Err(error) = &committed {
            self.monitor.troubled(error);
        }
        let is_open = |transactions: &Transactions| {
            matches!(transactions.stage, Stage::Open { .. } | Stage::Committing { .. })
        };
        if self.transactions.as_ref().is_some_and(is_open)
            && let Some(producer) = &mut self.producer
        {
            producer.abort(ABORT_PATIENCE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_committed_before_it_has_more_letters_than_are_recognised() {
        let now = Instant::now();
        let mut transactions = Transactions {
            stage: Stage::Open { since: now },
            ..Transactions::default()
        };
        let mut pass = |delivered, dead_lettered| {
            let passed = Passed {
                delivered,
                dead_lettered,
                filtered: 0,
            };
            assert_eq!(transactions.pass(Seq(1), passed), None);
            transactions.is_due(now)
        };
        assert!(!pass(LETTERS_MAX, LETTERS_MAX - 1));
        assert!(pass(0, 1));
        assert!(LETTERS_MAX + WINDOW_RECORDS as u64 <= RECALLED_MAX as u64);
    }

    #[test]
    fn a_transaction_is_due_before_what_became_of_its_messages_fills_the_memory() {
        let now = Instant::now();
        let mut open = Transactions {
            stage: Stage::Open { since: now },
            cost: Duration::from_secs(1),
            ..Transactions::default()
        };
        let passed = |delivered| Passed {
            delivered,
            ..Passed::default()
        };
        assert_eq!(open.pass(Seq(32_767), passed(32_767)), None);
        assert!(!open.is_due(now));
        assert_eq!(open.pass(Seq(32_768), passed(1)), None);
        assert!(open.is_due(now));
    }
}
