//! The way out of the queue: durable messages in order, the cursor, and what to do when something is missing.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::message::{Arrival, Seq, Stored};
use crate::queue::Shared;
use crate::queue::codec::{decode, read_chunk};
use crate::queue::ledger::{Hole, Reason};
use crate::queue::marks::Passed;
use crate::queue::store::{Found, RawBlock, StoreError};
use crate::slots::SlotError;

/// Messages copied from memory at a time: amortises the lock, bounds what a rewind throws away.
const BATCH: usize = 256;

/// Why a read or a cursor move failed. Nothing is lost by it; the caller tries again.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The store cannot be read or trimmed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cursor or the ledger cannot be kept.
    #[error("marks: {0}")]
    Marks(#[from] SlotError),
}

/// Owns the reading side of a lane; the only one that trims.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    ready: VecDeque<Stored>,
    next: Seq,
}

/// The first and the last sequence that a block covers, as far as can be seen.
fn sequences_of(raw: &RawBlock) -> (Seq, Seq) {
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
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let next = shared.marks.values().cursor.next();
        Self {
            shared,
            ready: VecDeque::new(),
            next,
        }
    }

    /// The next durable message, or `None` when there is none yet, or what comes next is being salvaged.
    ///
    /// # Errors
    /// [`QueueError`]; the position stays.
    pub fn read_next(&mut self) -> Result<Option<Stored>, QueueError> {
        loop {
            if let Some(stored) = self.ready.pop_front() {
                self.next = stored.seq.next();
                if self.shared.ledger.hole_at(stored.seq).is_none() {
                    return Ok(Some(stored));
                }
            } else if let Some(hole) = self.shared.ledger.hole_at(self.next) {
                if self.pass(hole)? == Step::Wait {
                    return Ok(None);
                }
            } else if self.next > self.shared.tail.last() || self.refill()? == Step::Wait {
                self.shared.skip_holes()?;
                return Ok(None);
            }
        }
    }

    /// The cursor: every message up to it is done.
    #[must_use]
    pub fn cursor(&self) -> Seq {
        self.shared.marks.values().cursor
    }

    /// The last durable message.
    #[must_use]
    pub fn tail(&self) -> Seq {
        self.shared.tail.last()
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
        let through = self.shared.behind_holes(through);
        self.shared.marks.set_cursor(through, passed)?;
        self.shared.tail.forget(through);
        if self.shared.store.can_trim(through) {
            // A cursor that lags behind what is deleted would have to guess what became of it.
            self.shared.marks.sync_twice()?;
            self.shared.store.trim(through)?;
        }
        Ok(())
    }

    /// Goes back to the message behind the cursor.
    pub fn rewind(&mut self) {
        self.ready.clear();
        self.next = self.cursor().next();
    }

    /// Makes the cursor survive a power cut.
    ///
    /// # Errors
    /// [`QueueError::Marks`].
    pub fn sync(&self) -> Result<(), QueueError> {
        Ok(self.shared.marks.sync()?)
    }

    /// Waits until something new may be readable, or [`crate::queue::Monitor::wake_reader`] is called.
    pub fn wait(&self, timeout: std::time::Duration) {
        self.shared.readable.wait(timeout);
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

    /// Reads one block from disk.
    fn read_block(&mut self) -> Result<Step, QueueError> {
        let raw = match self.shared.store.read(self.next)? {
            Found::Block(raw) => raw,
            Found::Nothing => return self.missing_up_to(self.shared.tail.last()),
            Found::Salvaging => return Ok(Step::Wait),
        };
        if raw.first > self.next {
            return self.missing_up_to(raw.first.previous());
        }
        match decode::<Arrival>(&raw.chunks) {
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
                    self.next = block.last.next();
                }
                Ok(Step::On)
            }
            Ok(_) => self.missing_behind(&raw),
            Err(damage) => {
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
