//! The way out of the queue: durable messages in order, the cursor, and what to do when something is missing.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::faults;
use crate::message::{Arrival, Seq, Stored};
use crate::queue::codec::{Decoder, Unreadable, read_chunk};
use crate::queue::ledger::{Hole, Reason};
use crate::queue::marks::Passed;
use crate::queue::store::{Found, RawBlock, StoreError};
use crate::queue::{Shared, Waiting};
use crate::slots::SlotError;

/// Messages copied from memory at a time: amortises the lock, bounds what a rewind throws away.
const BATCH: usize = 256;
/// How often the disk is asked which message waits for longest: an age need not be younger, and it is a block that is read.
const OLDEST_INTERVAL: Duration = Duration::from_secs(10);

/// Why a read or a cursor move failed. Nothing is lost by it; the caller tries again.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The store cannot be read or trimmed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cursor or the ledger cannot be kept.
    #[error("marks: {0}")]
    Marks(#[from] SlotError),
    /// What comes next is whole, but this edgeferry, with the keys that it was given, cannot read it.
    #[error("messages from {first} on are held, none is lost: {reason}")]
    Held {
        /// Its first sequence.
        first: Seq,
        /// What is missing.
        reason: Unreadable,
    },
}

/// Owns the reading side of a lane; the only one that trims.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    ready: VecDeque<Stored>,
    /// For what comes from disk.
    decoder: Decoder,
    next: Seq,
    /// The first sequence that was not in use when the log was opened.
    begun: Seq,
    /// The last message ever handed out: it may be on its way, so it does not expire any more.
    handed: Seq,
    /// Stretches between the cursor and the position in which a rewritten unit holds nothing, ascending. Each lies behind
    /// a message that is under way, or right behind the cursor; so there are no more of them than messages under way.
    empty: VecDeque<(Seq, Seq)>,
    /// The cursor passed expired messages and that is not durable yet.
    unsynced: bool,
    /// When the disk was last asked which message waits for longest.
    asked_for_oldest: Option<Instant>,
}

/// What to do with the message that is ready.
#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    HandOut,
    /// It was removed meanwhile.
    Leave,
    /// It is too old.
    Expired,
    /// It is too old, and others before it are under way: the cursor has to come first.
    Later,
}

/// The first and the last sequence that a block covers, as far as can be seen.
pub(super) fn sequences_of(raw: &RawBlock) -> (Seq, Seq) {
    let header = raw.chunks.first().and_then(|chunk| read_chunk(chunk).ok());
    (raw.first, header.map_or(raw.first, |(header, _)| header.last()))
}

/// How far a look for the next messages got.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// There are messages, or the position moved on.
    On,
    /// What comes next is being salvaged.
    Wait,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, begun: Seq) -> Self {
        let next = shared.marks.values().cursor.next();
        Self {
            shared,
            ready: VecDeque::new(),
            decoder: Decoder::default(),
            next,
            begun,
            handed: Seq::ZERO,
            empty: VecDeque::new(),
            unsynced: false,
            asked_for_oldest: None,
        }
    }

    /// The next durable message, or `None` when there is none yet, or what comes next is being salvaged, or is too old and
    /// has to wait until those before it are done.
    ///
    /// # Errors
    /// [`QueueError`]; the position stays.
    pub fn read_next(&mut self) -> Result<Option<Stored>, QueueError> {
        loop {
            if let Some(seq) = self.ready.front().map(|stored| stored.seq) {
                self.pass_empty(seq.previous());
                match self.judge()? {
                    Judgement::HandOut => {
                        self.next = seq.next();
                        self.handed = self.handed.max(seq);
                        return Ok(self.ready.pop_front());
                    }
                    Judgement::Leave => self.drop_ready(seq),
                    Judgement::Expired => self.expire()?,
                    Judgement::Later => return Ok(None),
                }
            } else if self.next <= self.cursor() {
                // The cursor went over a hole in front of which this stands. Forgotten, it would be taken for damage.
                self.next = self.cursor().next();
            } else if let Some(hole) = self.shared.ledger.hole_at(self.next) {
                if self.pass(hole)? == Step::Wait {
                    return Ok(None);
                }
            } else if self.next > self.shared.tail.last() || self.refill()? == Step::Wait {
                self.decoder = Decoder::default();
                self.skip()?;
                return Ok(None);
            }
        }
    }

    /// Judges the message that is ready. What is to be handed out behind expired messages waits until it is durable that
    /// these were passed: otherwise a crash could bring them back behind it.
    fn judge(&mut self) -> Result<Judgement, QueueError> {
        let Some(stored) = self.ready.front() else {
            return Ok(Judgement::Leave);
        };
        // The cursor goes over a hole as soon as it comes to it, and then the hole may be forgotten.
        if stored.seq <= self.cursor() || self.shared.ledger.hole_at(stored.seq).is_some() {
            return Ok(Judgement::Leave);
        }
        if self.is_expired(stored) {
            let done = self.done_through(self.cursor()).next() >= stored.seq;
            return Ok(if done {
                Judgement::Expired
            } else {
                Judgement::Later
            });
        }
        if self.unsynced {
            self.shared.marks.sync()?;
            self.unsynced = false;
        }
        Ok(Judgement::HandOut)
    }

    /// Whether it is too old, and certainly not on its way.
    fn is_expired(&self, stored: &Stored) -> bool {
        let expiry = self.shared.expiry.as_ref();
        stored.seq > self.handed && expiry.is_some_and(|expiry| expiry.is_over(&stored.arrival.stamp))
    }

    /// Moves the cursor over the messages that are ready and expired. Cursor and count are one write, so that no crash
    /// counts one of them twice.
    fn expire(&mut self) -> Result<(), QueueError> {
        let expired =
            |stored: &&Stored| self.is_expired(stored) && self.shared.ledger.hole_at(stored.seq).is_none();
        let mut through = self.cursor();
        let mut count = 0;
        for stored in self.ready.iter().take_while(expired) {
            through = stored.seq;
            count += 1;
        }
        self.shared.marks.expire(through, count)?;
        self.unsynced = true;
        self.shared.drops.note(Reason::Expired, self.next, through, count);
        self.drop_ready(through);
        self.give_back(through)
    }

    /// Leaves the ready messages up to `through` out.
    fn drop_ready(&mut self, through: Seq) {
        while self.ready.front().is_some_and(|stored| stored.seq <= through) {
            self.ready.pop_front();
        }
        self.next = through.next();
    }

    /// From the position up to `last` there is nothing in the log.
    fn pass_empty(&mut self, last: Seq) {
        if last < self.next {
            return;
        }
        match self.empty.back_mut() {
            Some((_, end)) if end.next() == self.next => *end = last,
            _ => self.empty.push_back((self.next, last)),
        }
        self.next = last.next();
    }

    /// How far the cursor may go when everything up to `through` is done: over what holds no messages behind it.
    fn done_through(&self, mut through: Seq) -> Seq {
        loop {
            let behind = self.shared.behind_holes(through);
            let next = behind.next();
            let index = self.empty.partition_point(|(_, last)| *last < next);
            match self.empty.get(index) {
                Some((first, last)) if *first <= next => through = *last,
                _ => return behind,
            }
        }
    }

    /// Moves the cursor over what holds no messages right behind it.
    fn skip(&mut self) -> Result<(), QueueError> {
        let cursor = self.cursor();
        let through = self.done_through(cursor);
        if through > cursor {
            self.shared.marks.set_cursor(through, Passed::default())?;
            self.give_back(through)?;
        }
        Ok(())
    }

    /// The cursor: every message up to it is done.
    #[must_use]
    pub fn cursor(&self) -> Seq {
        self.shared.marks.values().cursor
    }

    /// The last message that may ever have been handed out, by this reader or before the log was opened.
    #[must_use]
    pub fn reach(&self) -> Seq {
        self.handed.max(self.begun.previous())
    }

    /// The last durable message.
    #[must_use]
    pub fn tail(&self) -> Seq {
        self.shared.tail.last()
    }

    /// Whether the tail shows all that is durable. After a start it may not, for a while.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        !self.shared.unproven.load(Ordering::Relaxed)
    }

    /// Whether everything up to `seq` was given or is known to be missing.
    #[cfg(test)]
    pub(super) fn has_passed(&self, seq: Seq) -> bool {
        self.next > seq
    }

    /// Moves the cursor: every message up to and including `through` is done, in the way that `passed` says. Gives
    /// its space back.
    ///
    /// # Errors
    /// [`QueueError`]; at worst messages are sent again after a restart.
    pub fn advance(&mut self, through: Seq, passed: Passed) -> Result<(), QueueError> {
        let through = self.done_through(through);
        self.shared.marks.set_cursor(through, passed)?;
        faults::point("advance.noted");
        self.give_back(through)
    }

    /// Gives back memory and space of what the cursor has passed.
    fn give_back(&mut self, through: Seq) -> Result<(), QueueError> {
        self.shared.settle();
        while self.empty.front().is_some_and(|(_, last)| *last <= through) {
            self.empty.pop_front();
        }
        self.shared.tail.forget(through);
        if self.shared.store.can_trim(through) {
            // A cursor that lags behind what is deleted would have to guess what became of it.
            self.shared.marks.sync_twice()?;
            faults::point("advance.synced");
            self.shared.store.trim(through)?;
            faults::point("advance.trimmed");
        }
        Ok(())
    }

    /// Goes back to the message behind the cursor.
    pub fn rewind(&mut self) {
        self.ready.clear();
        self.empty.clear();
        self.next = self.cursor().next();
    }

    /// Notes for onlookers which message waits for longest. `taken` is the first one that the caller has and that is not
    /// done. Costs some locks; only when no memory has the message, which is so after a start with a backlog and no link, the
    /// disk is asked, `OLDEST_INTERVAL` apart.
    pub fn note_oldest(&mut self, taken: Option<Waiting>, now: Instant) {
        let cursor = self.cursor();
        let shared = Arc::clone(&self.shared);
        let note = |waiting: Option<Waiting>| {
            *shared.oldest.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
        };
        if shared.tail.last() <= cursor {
            return note(None);
        }
        let of = |stored: &Stored| Waiting {
            seq: stored.seq,
            stamp: stored.arrival.stamp,
        };
        let is_waiting = |waiting: &Waiting| waiting.seq > cursor;
        let in_memory = taken
            .filter(is_waiting)
            .or_else(|| shared.tail.get(cursor.next(), 1).first().map(of))
            .or_else(|| self.ready.front().map(of).filter(is_waiting));
        if in_memory.is_some() {
            return note(in_memory);
        }
        let asked = self.asked_for_oldest;
        if asked.is_none_or(|asked| now.duration_since(asked) >= OLDEST_INTERVAL) {
            self.asked_for_oldest = Some(now);
            note(shared.oldest_on_disk(cursor.next()));
        }
    }

    /// Makes the cursor survive a power cut.
    ///
    /// # Errors
    /// [`QueueError::Marks`].
    pub fn sync(&self) -> Result<(), QueueError> {
        Ok(self.shared.marks.sync()?)
    }

    /// Gives the ballast's space to whoever delivers: from here on nothing is acknowledged until there is room again.
    pub fn release_ballast(&self) {
        self.shared.release_ballast();
    }

    /// Waits until something new may be readable, or [`crate::queue::Monitor::wake_reader`] is called.
    pub fn wait(&self, timeout: Duration) {
        self.shared.readable.wait(timeout);
    }

    /// Whether something new may be readable since the last call: what [`Reader::wait`] waits for.
    #[doc(hidden)]
    #[must_use]
    pub fn is_woken(&self) -> bool {
        self.shared.readable.take()
    }

    /// Passes over a hole, unless it was left out behind a loss and there are messages in it after all.
    fn pass(&mut self, hole: Hole) -> Result<Step, QueueError> {
        if hole.reason == Reason::Skipped {
            let inside = match self.shared.store.read_behind(self.next.previous())? {
                Found::Salvaging => return Ok(Step::Wait),
                Found::Block(raw) if raw.first <= hole.last => Some(sequences_of(&raw)),
                Found::Block(_) | Found::Nothing => None,
            };
            let empty_up_to = inside.map_or(hole.last, |(first, _)| first.previous());
            self.shared.looked.fetch_max(empty_up_to.0, Ordering::Relaxed);
            if let Some((first, last)) = inside {
                self.shared.reclaim(first, last)?;
                self.next = first;
                return Ok(Step::On);
            }
        }
        self.next = hole.last.next();
        Ok(Step::On)
    }

    /// Looks for messages at the position. What is found counts as taken: nothing that is taken is removed.
    fn refill(&mut self) -> Result<Step, QueueError> {
        let shared = Arc::clone(&self.shared);
        let mut taken = shared.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.ledger.hole_at(self.next).is_some() {
            // Removed since it was looked at last.
            return Ok(Step::On);
        }
        self.ready.extend(shared.tail.get(self.next, BATCH));
        let step = if self.ready.is_empty() {
            self.read_block()?
        } else {
            Step::On
        };
        if let Some(last) = self.ready.back() {
            *taken = last.seq.max(*taken);
        }
        Ok(step)
    }

    /// What the store has at the position. Opening a unit takes space: on a full disk that is what the ballast is for.
    fn read_at(&self) -> Result<Found, StoreError> {
        let read = self.shared.store.read(self.next);
        if let Err(error) = &read
            && error.is_full()
            && self.shared.release_ballast()
        {
            return self.shared.store.read(self.next);
        }
        read
    }

    /// Reads one block from disk.
    fn read_block(&mut self) -> Result<Step, QueueError> {
        let raw = match self.read_at()? {
            Found::Block(raw) => raw,
            Found::Nothing => return self.missing_up_to(self.shared.tail.last()),
            Found::Salvaging => return Ok(Step::Wait),
        };
        if raw.first > self.next {
            return self.missing_up_to(raw.first.previous());
        }
        match self.decoder.decode::<Arrival>(&raw.chunks, &self.shared.keys) {
            Ok(block) if block.last >= self.next => {
                self.shared.reclaim(block.first, block.last)?;
                let wanted = block.messages.into_iter().skip_while(|(seq, _)| *seq < self.next);
                self.ready.extend(wanted.map(|(seq, arrival)| Stored {
                    seq,
                    epoch: block.epoch,
                    arrival,
                }));
                if self.ready.is_empty() {
                    // All that is left of this block lies before the position.
                    self.pass_empty(block.last);
                }
                Ok(Step::On)
            }
            Ok(_) => self.missing_behind(&raw),
            Err(reason @ (Unreadable::NoKey(_) | Unreadable::Version(_))) => Err(QueueError::Held {
                first: raw.first,
                reason,
            }),
            Err(Unreadable::Damaged(damage)) => {
                tracing::error!(first = %raw.first, %damage, "a block in the store is damaged");
                self.missing_behind(&raw)
            }
        }
    }

    /// From the position up to the block behind `raw` nothing can be read.
    fn missing_behind(&mut self, raw: &RawBlock) -> Result<Step, QueueError> {
        let behind = raw.first.max(self.next.previous());
        match self.shared.store.read_behind(behind)? {
            Found::Block(next) => self.missing_up_to(next.first.previous()),
            Found::Nothing => self.missing_up_to(self.shared.tail.last()),
            Found::Salvaging => Ok(Step::Wait),
        }
    }

    /// From the position up to `last` nothing can be read: salvaged if that is possible, given up otherwise.
    fn missing_up_to(&mut self, last: Seq) -> Result<Step, QueueError> {
        let hole = self.shared.ledger.hole_behind(self.next);
        let last = hole.map_or(last, |hole| last.min(hole.first.previous()));
        for unit in self.shared.store.units() {
            let within = unit.first <= last && unit.last.is_none_or(|end| end >= self.next);
            if within && self.shared.store.suspect(unit.first.max(self.next))? {
                return Ok(Step::Wait);
            }
        }
        self.shared.record(Hole {
            first: self.next,
            last,
            reason: Reason::Damaged,
        })?;
        self.next = last.next();
        Ok(Step::On)
    }
}
