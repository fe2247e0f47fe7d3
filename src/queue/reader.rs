//! The way out of the queue: durable messages in order, the cursor, and what to do when something is missing.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::message::{Arrival, Seq, Stored};
use crate::queue::Shared;
use crate::queue::codec::{Damage, decode};
use crate::queue::store::{Loss, RawBlock, StoreError};
use crate::slots::SlotError;

/// Messages copied from memory at a time: amortises the lock, bounds what a rewind throws away.
const BATCH: usize = 256;

/// Why a read or a cursor move failed. Nothing is lost by it; the caller tries again.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The store cannot be read or trimmed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cursor cannot be kept.
    #[error("marks: {0}")]
    Marks(#[from] SlotError),
}

/// Owns the reading side of a lane; the only one that trims.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    ready: VecDeque<Stored>,
    next: Seq,
    /// Losses up to here are reported.
    judged: Seq,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let next = shared.marks.values().cursor.next();
        Self {
            shared,
            ready: VecDeque::new(),
            next,
            judged: Seq::ZERO,
        }
    }

    /// The next durable message, or `None` when there is none yet.
    ///
    /// # Errors
    /// [`QueueError::Store`]; the position stays.
    pub fn read_next(&mut self) -> Result<Option<Stored>, QueueError> {
        while self.ready.is_empty() && self.next <= self.shared.tail.last() {
            self.refill()?;
        }
        let stored = self.ready.pop_front();
        if let Some(stored) = &stored {
            self.next = stored.seq.next();
        }
        Ok(stored)
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

    /// Moves the cursor: every message up to and including `through` is done. Gives its space back.
    ///
    /// # Errors
    /// [`QueueError`]; at worst messages are sent again after a restart.
    pub fn advance(&mut self, through: Seq) -> Result<(), QueueError> {
        let through = match self.shared.marks.values().gap {
            Some((first, last)) if first == through.next() => last,
            _ => through,
        };
        self.shared.marks.set_cursor(through)?;
        self.shared.tail.forget(through);
        self.shared.store.trim(through)?;
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

    fn refill(&mut self) -> Result<(), QueueError> {
        self.ready.extend(self.shared.tail.get(self.next, BATCH));
        if self.ready.is_empty() {
            self.read_block()?;
        }
        Ok(())
    }

    /// Reads one block from disk. What cannot be read is reported and passed over.
    fn read_block(&mut self) -> Result<(), QueueError> {
        let Some(raw) = self.shared.store.read(self.next)? else {
            self.pass_over(self.shared.tail.last().next());
            return Ok(());
        };
        match decode::<Arrival>(&raw.chunks) {
            Ok(block) => {
                let stored = (block.first.0..).map(Seq).zip(block.messages);
                let wanted = stored.skip_while(|(seq, _)| *seq < self.next);
                self.ready.extend(wanted.map(|(seq, arrival)| Stored {
                    seq,
                    epoch: block.epoch,
                    arrival,
                }));
                match self.ready.front().map(|stored| stored.seq) {
                    Some(first) => self.report_gap(first),
                    // The block ends before the position: what is wanted begins behind it.
                    None => self.read_behind(raw.first)?,
                }
                Ok(())
            }
            Err(damage) => self.skip_damaged(&raw, damage),
        }
    }

    fn read_behind(&mut self, first: Seq) -> Result<(), QueueError> {
        let behind = self.shared.store.read_behind(first.max(self.next.previous()))?;
        let next = behind.map_or_else(|| self.shared.tail.last().next(), |raw| raw.first);
        self.pass_over(next);
        Ok(())
    }

    fn skip_damaged(&mut self, raw: &RawBlock, damage: Damage) -> Result<(), QueueError> {
        if self.next > self.judged {
            self.shared.report_loss(&Loss::Damaged {
                first: raw.first,
                damage,
            });
        }
        let behind = self
            .shared
            .store
            .read_behind(raw.first.max(self.next.previous()))?;
        self.pass_over(behind.map_or_else(|| self.shared.tail.last().next(), |raw| raw.first));
        Ok(())
    }

    /// Goes on at `next`; everything before it that was not read is gone.
    fn pass_over(&mut self, next: Seq) {
        if next > self.next {
            self.report_gap(next);
            self.next = next;
        }
    }

    /// Reports that everything from the position up to `next` is gone, but for what was reported before.
    fn report_gap(&mut self, next: Seq) {
        let last = next.previous();
        let first = self.next.max(self.judged.next());
        self.judged = self.judged.max(last);
        let (before, behind) = match self.shared.marks.values().gap {
            Some((from, to)) => ((first, last.min(from.previous())), (first.max(to.next()), last)),
            None => ((first, last), (last.next(), last)),
        };
        for (first, last) in [before, behind] {
            if first <= last {
                self.shared.report_loss(&Loss::Gone { first, last });
            }
        }
    }
}
