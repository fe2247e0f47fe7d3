//! The durable log of one lane.
//!
//! What must hold:
//!
//! * A receipt is confirmed only when its message survives power loss: sled flush **and** `fdatasync`.
//! * The reader gives only durable messages, in sequence order, and nobody else trims.
//! * Sequences ascend by one, never go back and are never reused. After a loss they jump, and the loss is
//!   reported as the exact range.
//! * Memory is bounded: arrivals that are not durable by [`intake::BUDGET_BYTES`], durable ones by the tail's
//!   limit; everything else is on disk, bounded by `max_bytes`.
//! * A store that fails or is damaged never ends the process and never blocks the start.
//!
//! ```text
//! Intake ──Offer──▶ Writer ──chunks──▶ Store (sled generations) ──blocks──▶ Reader ──Stored──▶
//!    ◀──receipt────── │                                                       ▲ │
//!                     └──────────────────── Tail (memory) ────────────────────┘ └─▶ Marks (cursor)
//! ```
//!
//! The folder of a lane holds the generations (see [`generations`]) and `marks` (see [`marks`]). The queue
//! knows neither MQTT nor Kafka.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::Semaphore;

mod ballast;
pub mod codec;
mod compaction;
mod config;
pub mod dig;
mod drops;
mod expiry;
mod generation;
pub mod generations;
pub mod inspect;
pub mod intake;
mod jobs;
pub mod ledger;
mod limits;
pub mod marks;
mod opening;
mod place;
mod reader;
mod relief;
pub mod seal;
pub mod store;
mod tail;
mod wear;
mod writer;

pub use ballast::{Ballast, NoRoom};
pub use config::{Compression, Config, OnFull, Share};
pub(crate) use config::{Raw, RawLane, resolve};
pub use expiry::Now;
pub use intake::{Closed, Intake, Room};
pub use jobs::{Filter, PurgeError, Purged};
pub use ledger::Reason;
pub use limits::free_bytes;
pub use marks::Passed;
#[doc(hidden)]
pub use opening::open_on;
pub use opening::{OpenError, Outside, Recalled, SeriesOf, keys_for, newest_version, open, open_with};
pub use reader::{QueueError, Reader};
pub use relief::{KeyOf, Owner};
pub use wear::Wear;
pub use writer::Writer;
#[doc(hidden)]
pub use writer::{Held, Round};

use crate::message::{Arrival, Epoch, Seq, Stamp};
use crate::outages::{Outages, Say, Trouble};
use crate::pulse::Pulse;
use crate::queue::codec::decode;
use crate::queue::drops::Drops;
use crate::queue::expiry::Expiry;
use crate::queue::intake::Offer;
use crate::queue::jobs::Jobs;
use crate::queue::ledger::{Hole, Ledger, Totals};
use crate::queue::marks::{Marks, Values};
use crate::queue::seal::Keys;
use crate::queue::store::{Found, Store};
use crate::queue::tail::Tail;
use crate::queue::wear::Meter;
use crate::queue::writer::unprotected_of;
use crate::signal::Signal;
use crate::slots::SlotError;

/// Looks at cursor and ledger until both belong together: the cursor moves some hundred times a second at most.
const LOOKS_MAX: usize = 8;

/// What writer, reader and onlookers of a lane share.
#[derive(Debug)]
struct Shared {
    epoch: Epoch,
    keys: Keys,
    folder: PathBuf,
    store: Box<dyn Store>,
    tail: Tail,
    marks: Marks,
    ledger: Ledger,
    /// Every message up to here may be on its way to Kafka, so it is not removed. Held while messages are taken, and
    /// while it is decided what to remove.
    taken: Mutex<Seq>,
    /// The reader looked for messages in what was left out behind a loss, up to here.
    looked: AtomicU64,
    /// What the start found behind the watermark is not written anew yet; the tail does not show it.
    unproven: AtomicBool,
    readable: Arc<Signal>,
    writer_pulse: Pulse,
    meter: Meter,
    full: AtomicBool,
    closed: AtomicBool,
    jobs: Jobs,
    expiry: Option<Expiry>,
    ballast: Option<Arc<Ballast>>,
    drops: Drops,
    /// The message that waits for longest, as far as it is known: see [`Reader::note_oldest`].
    oldest: Mutex<Option<Waiting>>,
    store_failure: Mutex<StoreFailure>,
    /// The last field: it goes when all others are gone, the store closed.
    open: Arc<()>,
}

/// Why nothing can be stored, and as the log tells it.
#[derive(Debug, Default)]
struct StoreFailure {
    reason: Option<String>,
    outages: Outages,
}

impl Shared {
    /// Records that nothing is in `hole` any more, and says so.
    fn record(&self, hole: Hole) -> Result<(), SlotError> {
        for new in self.ledger.record(hole, self.marks.synced_cursor())? {
            let Hole { first, last, reason } = new;
            match reason {
                Reason::Damaged => {
                    tracing::error!(%first, %last, "messages that were durable are lost: the store is damaged");
                }
                Reason::Skipped => tracing::warn!(%first, %last, "sequences left out behind a loss"),
                _ => self.drops.note(reason, first, last, new.len()),
            }
        }
        Ok(())
    }

    /// How many of the messages behind `behind`, up to `last`, came with QoS 0. What cannot be read now is not counted: it
    /// is what one group held, or some seconds of a power cut.
    fn unprotected(&self, behind: Seq, last: Seq) -> u64 {
        let mut count = 0;
        let mut behind = behind;
        while behind < last
            && let Ok(Found::Block(raw)) = self.store.read(behind.next())
            && let Ok(block) = decode::<Arrival>(&raw.chunks, &self.keys)
            && block.last > behind
        {
            let new = block
                .messages
                .iter()
                .filter(|(seq, _)| *seq > behind && *seq <= last);
            count += unprotected_of(new.map(|(_, arrival)| arrival));
            behind = block.last;
        }
        count
    }

    /// Gives the ballast's space to whoever needs it now. False when there is none left.
    fn release_ballast(&self) -> bool {
        self.ballast.as_ref().is_some_and(|ballast| ballast.release())
    }

    /// Whether the ballast is where it should be, which it is brought to if there is room. True without one.
    fn restore_ballast(&self) -> bool {
        self.ballast.as_ref().is_none_or(|ballast| ballast.restore())
    }

    /// Deletes units that are holes as a whole: a crash came between the removal of their messages and their own.
    fn sweep(&self) {
        for unit in self.store.units() {
            let Some(last) = unit.last else {
                continue;
            };
            if self.ledger.is_removed(unit.first, last)
                && let Err(error) = self.store.drop_unit(unit.first)
            {
                tracing::warn!(first = %unit.first, %error, "cannot delete what was removed");
            }
        }
    }

    /// The end of the holes that begin right behind `seq`, or `seq`. What was left out behind a loss counts as a hole
    /// only when the reader has found nothing there.
    fn behind_holes(&self, mut seq: Seq) -> Seq {
        let looked = self.looked.load(Ordering::Relaxed);
        while let Some(hole) = self.ledger.hole_at(seq.next()) {
            if hole.reason == Reason::Skipped && hole.last.0 > looked {
                break;
            }
            seq = hole.last;
        }
        seq
    }

    /// A block was found: none of its sequences was left out.
    fn reclaim(&self, first: Seq, last: Seq) -> Result<(), SlotError> {
        let count = self.ledger.reclaim(first, last)?;
        if count > 0 {
            tracing::info!(%first, %last, messages = count, "messages found behind the place where the log seemed to end");
        }
        Ok(())
    }

    /// Has the store look for damage in what nobody reads yet, and says what is missing.
    fn look_ahead(&self) {
        let cursor = self.marks.values().cursor;
        for gap in self.store.scrub() {
            let first = gap.first.max(cursor.next());
            let missing = (gap.last.0 + 1).saturating_sub(first.0);
            let known = self.ledger.covered(first, gap.last);
            if missing > known {
                tracing::error!(%first, last = %gap.last, messages = missing - known, "messages that wait for delivery cannot be read: the store is damaged");
            }
        }
    }

    /// Moves the cursor over holes right behind it.
    fn skip_holes(&self) -> Result<(), SlotError> {
        let cursor = self.marks.values().cursor;
        let through = self.behind_holes(cursor);
        if through > cursor {
            self.marks.set_cursor(through, Passed::default())?;
            self.settle();
        }
        Ok(())
    }

    /// The cursor moved: what was guessed of damage behind it is put right.
    fn settle(&self) {
        if !self.ledger.has_guessed() {
            return;
        }
        let passed = || {
            let marks = self.marks.values();
            (marks.cursor, marks.done())
        };
        match self.ledger.settle(passed) {
            Ok(0) => {}
            Ok(off) => tracing::info!(
                messages = off,
                "so many more messages were lost by damage in a rewritten unit than was guessed"
            ),
            Err(error) => tracing::warn!(%error, "cannot put right what was guessed of damage"),
        }
    }

    /// The account now.
    fn balance(&self) -> Balance {
        let marks = self.marks.values();
        let totals = self.ledger.totals();
        Balance::of(self.tail.last(), &marks, totals)
    }

    /// The account with what waits counted on its own: what the log has behind the cursor, less what was removed from there. With it
    /// by how much the account does not add up. `None` where that cannot be counted now.
    fn counted(&self) -> Option<(Balance, i64)> {
        let (marks, (totals, gone)) = (0..LOOKS_MAX).find_map(|_| {
            let marks = self.marks.values();
            let known = self.ledger.gone_behind(marks.cursor);
            // The two are written one after the other: a look between them compares what does not belong together.
            (self.marks.values().cursor == marks.cursor).then_some(known.map(|known| (marks, known)))
        })??;
        let last = self.tail.last();
        let balance = Balance::of(last, &marks, totals);
        let waiting = i128::from(last.0) - i128::from(marks.cursor.0) - i128::from(gone);
        let fates = [
            balance.delivered,
            balance.dead_lettered,
            balance.removed.removed(),
        ];
        let fates: i128 = fates.into_iter().map(i128::from).sum();
        let unaccounted = i128::from(balance.received) - fates - waiting;
        let queued = u64::try_from(waiting).unwrap_or(0);
        Some((Balance { queued, ..balance }, i64::try_from(unaccounted).ok()?))
    }

    /// The counted account where there is one, and by how much it is off.
    fn best_account(&self) -> (Balance, Option<i64>) {
        match self.counted() {
            Some((balance, unaccounted)) => (balance, Some(unaccounted)),
            None => (self.balance(), None),
        }
    }

    fn report_store_failure(&self, error: &dyn fmt::Display) {
        let mut failure = self.store_failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.reason.is_none() {
            match failure.outages.failed(Trouble::Passing, Instant::now().into()) {
                Say::Loudly { untold } => {
                    tracing::error!(%error, untold, "cannot store: acknowledging nothing, trying again");
                }
                Say::Quietly => tracing::debug!(%error, "cannot store"),
            }
        }
        failure.reason = Some(error.to_string());
    }

    fn store_recovered(&self) {
        let mut failure = self.store_failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.reason.take().is_some() {
            match failure.outages.recovered(Instant::now().into()) {
                Some(end) if end.loud => tracing::info!(away = ?end.away, "storing again"),
                _ => tracing::debug!("storing again"),
            }
        }
    }
}

/// An opened lane, in parts that go to different threads.
#[derive(Debug)]
pub struct Queue {
    /// For the writer thread.
    pub writer: Writer,
    /// For the sink.
    pub reader: Reader,
    /// Makes intakes; the writer ends when this and all intakes are gone.
    pub door: Door,
    /// For whoever watches.
    pub monitor: Monitor,
    /// For whoever else keeps messages of this lane on disk.
    pub keys: Keys,
    /// The newest messages, oldest first.
    pub recalled: Vec<Recalled>,
}

/// Makes entrances for sources.
#[derive(Debug, Clone)]
pub struct Door {
    memory: usize,
    budget: Arc<Semaphore>,
    offers: Sender<Offer>,
}

impl Door {
    /// An entrance for one source.
    #[must_use]
    pub fn intake(&self) -> Intake {
        Intake::new(self.memory, Arc::clone(&self.budget), self.offers.clone())
    }
}

/// A look at the queue from outside.
#[derive(Debug, Clone)]
pub struct Monitor(Arc<Shared>);

/// The account of a lane: `received = delivered + dead_lettered + removed + queued`, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Messages that were acknowledged, since the store was made.
    pub received: u64,
    /// Confirmed by Kafka.
    pub delivered: u64,
    /// Kept as dead letters.
    pub dead_lettered: u64,
    /// Removed, by reason.
    pub removed: Totals,
    /// Durable and neither of these yet.
    pub queued: u64,
}

impl Balance {
    /// Of a log that ends with `last`. To be read in this order, the end of the log last: so nothing is done that was not received.
    fn of(last: Seq, marks: &Values, in_file: Totals) -> Self {
        let removed = in_file
            .with(Reason::Expired, marks.expired)
            .with(Reason::Filtered, marks.filtered);
        Self::new(last, marks, removed)
    }

    fn new(last: Seq, marks: &Values, removed: Totals) -> Self {
        let used = last.0.saturating_sub(removed.of(Reason::Skipped));
        let received = used.saturating_add(removed.of(Reason::DroppedNewest));
        let done = marks.delivered + marks.dead_lettered + removed.removed();
        Self {
            received,
            delivered: marks.delivered,
            dead_lettered: marks.dead_lettered,
            removed,
            queued: received.saturating_sub(done),
        }
    }
}

/// What the files of a lane say, which are left as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peeked {
    /// The account, up to the last message that was acknowledged; what a power cut took back is not in it.
    pub balance: Balance,
    /// Messages that came with QoS 0.
    pub unprotected: u64,
}

/// Looks at the lane in `folder` without opening it, also beside whoever has it. `None` when its marks are not there, damaged,
/// or not ours to read.
#[must_use]
pub fn peek(folder: &Path) -> Option<Peeked> {
    let marks = marks::peek(folder)?;
    let totals = Ledger::peek(&folder.join("ledger")).unwrap_or_default();
    Some(Peeked {
        balance: Balance::of(marks.durable, &marks, totals),
        unprotected: marks.unprotected,
    })
}

/// State of the queue at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// What became of every message.
    pub balance: Balance,
    /// What was received, less everything in `balance`, where what waits is counted on its own: by the log, the cursor and the holes.
    /// 0 unless edgeferry is wrong or a file that counts was damaged. `None` where it cannot be counted at the moment, which is
    /// while the cursor is within a rewritten unit: then `queued` is what is left over.
    pub unaccounted: Option<i64>,
    /// Space taken on disk, bytes.
    pub bytes: u64,
    /// What was written to the medium.
    pub wear: Wear,
    /// The budget is used up; nothing is taken.
    pub full: bool,
    /// Why nothing can be stored at the moment.
    pub failure: Option<String>,
    /// Messages that came with QoS 0, since the store was made.
    pub unprotected: u64,
    /// When the message arrived that waits for longest; `None` when none waits, or it is not known yet.
    pub oldest: Option<Stamp>,
}

/// A message that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Its place in the log.
    pub seq: Seq,
    /// When it arrived.
    pub stamp: Stamp,
}

impl Monitor {
    /// The state now.
    #[must_use]
    pub fn status(&self) -> Status {
        let (balance, unaccounted) = self.0.best_account();
        Status {
            balance,
            unaccounted,
            bytes: self.0.store.bytes(),
            wear: self.0.meter.wear(),
            full: self.0.full.load(Ordering::Relaxed),
            failure: self
                .0
                .store_failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .reason
                .clone(),
            unprotected: self.0.marks.values().unprotected,
            oldest: self.oldest(),
        }
    }

    /// The account now, with what waits counted by the log where that can be: a mistake in the account must not look like messages that
    /// wait for ever. Asks no disk and waits for none.
    #[must_use]
    pub fn balance(&self) -> Balance {
        self.0.best_account().0
    }

    fn oldest(&self) -> Option<Stamp> {
        let waiting = (*self.0.oldest.lock().unwrap_or_else(PoisonError::into_inner))?;
        (waiting.seq > self.0.marks.values().cursor).then_some(waiting.stamp)
    }

    /// Whether nothing is left to deliver, and that is certain.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let cursor = self.0.behind_holes(self.0.marks.values().cursor);
        !self.0.unproven.load(Ordering::Relaxed) && cursor >= self.0.tail.last()
    }

    /// What the log is sealed with, and what opens it.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// The last durable message.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.0.tail.last()
    }

    /// The writer's sign of life.
    #[must_use]
    pub fn writer_pulse(&self) -> &Pulse {
        &self.0.writer_pulse
    }

    /// Tells a writer that cannot commit to give up; what it holds was never acknowledged.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }

    /// Removes every durable message that `filter` picks and that was not handed to the reader yet, counts it as
    /// [`Reason::Purged`], and says how many there were. The writer does it between two groups; this waits for it, so it
    /// must not be called on a thread that the pipeline needs.
    ///
    /// # Errors
    /// [`PurgeError`].
    pub fn purge(&self, filter: Filter) -> Purged {
        self.0.jobs.post(filter).recv().unwrap_or(Err(PurgeError::Closed))
    }

    /// Goes when nobody has the lane open any more: then its folder may be opened again.
    #[must_use]
    pub fn trace(&self) -> Weak<()> {
        Arc::downgrade(&self.0.open)
    }

    /// Ends the reader's wait.
    pub fn wake_reader(&self) {
        self.0.readable.raise();
    }
}

#[cfg(test)]
mod damage;
#[cfg(test)]
mod model;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
