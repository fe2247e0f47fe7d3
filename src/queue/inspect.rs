//! A look at what a lane holds, by whoever asks, while it is written, delivered and trimmed.
//!
//! A [`Browser`] walks by sequence, one block in memory at a time. It reads from disk alone, through a handle of its own in
//! the store, so the reader's place does not move. What is delivered and trimmed while it walks is simply not there
//! any more; what should be there and is not is told, never mended: that is the reader's.

use std::sync::Arc;
use std::time::Duration;

use crate::message::{Arrival, Seq, Stored};
use crate::queue::codec::{Block, Unreadable, decode};
use crate::queue::ledger::Hole;
use crate::queue::store::{Found, RawBlock, StoreError, Unit};
use crate::queue::{Monitor, Shared, Waiting};
use crate::slots::SlotError;

/// How long a look waits for one generation: a little more than the store itself gives to the worst of them.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// What stands at one stretch of the log.
#[derive(Debug)]
pub enum Piece {
    /// Messages of one block, in order. May be empty: all of them were removed on purpose.
    Messages(Vec<Stored>),
    /// Nothing, and the ledger says why.
    Hole(Hole),
    /// Nothing any more: delivered, and given back.
    Gone(Stretch),
    /// Something that cannot be read.
    Fault(Stretch, Fault),
    /// What stands here is being read from raw bytes, which may take a minute on a bad medium. The place stays: ask again, or
    /// [`Browser::give_up`].
    Wait,
}

/// Sequences from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The first.
    pub first: Seq,
    /// The last.
    pub last: Seq,
}

/// What is wrong with a stretch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A block is there, and it is not what was written, or there is no key to it.
    #[error("a block cannot be understood: {0}")]
    Damaged(Unreadable),
    /// No block covers it.
    #[error("no block covers it")]
    Missing,
    /// It took too long to read.
    #[error("it cannot be read within {} s", PATIENCE.as_secs())]
    Slow,
    /// Its generation cannot be read.
    #[error("its generation cannot be read: {0}")]
    Unreadable(String),
}

/// Walks over what a lane holds. See the module documentation.
#[derive(Debug)]
pub struct Browser {
    shared: Arc<Shared>,
    next: Seq,
    last: Seq,
}

impl Monitor {
    /// A look at the messages from `first` to `last`, as far as they are durable now.
    #[must_use]
    pub fn browse(&self, first: Seq, last: Seq) -> Browser {
        Browser {
            shared: Arc::clone(&self.0),
            next: first.max(Seq(1)),
            last: last.min(self.last()),
        }
    }

    /// The cursor as a power cut would leave it.
    #[must_use]
    pub fn synced_cursor(&self) -> Seq {
        self.0.marks.synced_cursor()
    }

    /// Makes the cursor survive a power cut, and says where it stands then.
    ///
    /// # Errors
    /// [`SlotError::Io`]: it may go back.
    pub fn settle_cursor(&self) -> Result<Seq, SlotError> {
        self.0.marks.sync()?;
        Ok(self.0.marks.synced_cursor())
    }

    /// Every message up to here is done.
    #[must_use]
    pub fn cursor(&self) -> Seq {
        self.0.marks.values().cursor
    }

    /// The stretches in which the log is kept, oldest first.
    #[must_use]
    pub fn units(&self) -> Vec<Unit> {
        self.0.store.units()
    }

    /// Stretches without messages that the ledger remembers, in ascending order.
    #[must_use]
    pub fn holes(&self) -> Vec<Hole> {
        self.0.ledger.holes()
    }
}

/// Pieces that are looked at for the oldest message: behind so many without one it is not worth more reading.
const OLDEST_PIECES: usize = 16;

impl Shared {
    /// The first message from `first` on that can be read at a glance.
    pub(super) fn oldest_on_disk(self: &Arc<Self>, first: Seq) -> Option<Waiting> {
        let mut browser = Monitor(Arc::clone(self)).browse(first, Seq(u64::MAX));
        for _ in 0..OLDEST_PIECES {
            match browser.next_piece() {
                Ok(Some(Piece::Messages(messages))) => {
                    if let Some(stored) = messages.first() {
                        return Some(Waiting {
                            seq: stored.seq,
                            stamp: stored.arrival.stamp,
                        });
                    }
                }
                Ok(Some(Piece::Hole(_) | Piece::Gone(_) | Piece::Fault(..))) => {}
                Ok(Some(Piece::Wait) | None) | Err(_) => return None,
            }
        }
        None
    }
}

impl Browser {
    /// Where it looks next.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.next
    }

    /// What stands next; `None` at the end.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read for a reason that is no damage; ask again.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, StoreError> {
        if self.next > self.last {
            return Ok(None);
        }
        if let Some(hole) = self.shared.ledger.hole_at(self.next) {
            let Stretch { first, last } = self.pass(hole.last);
            return Ok(Some(Piece::Hole(Hole { first, last, ..hole })));
        }
        let piece = match self.shared.store.read(self.next) {
            Ok(Found::Block(raw)) if raw.first > self.next => self.missing(raw.first.previous()),
            Ok(Found::Block(raw)) => self.block(&raw)?,
            Ok(Found::Nothing) => self.missing(self.last),
            Ok(Found::Salvaging) => Piece::Wait,
            Err(error) if error.is_damage() => self.unreadable(&error),
            Err(error) => return Err(error),
        };
        Ok(Some(piece))
    }

    /// Passes the generation at the position, which cannot be read in time.
    pub fn give_up(&mut self) -> Piece {
        self.fault(self.unit_end(), Fault::Slow)
    }

    fn block(&mut self, raw: &RawBlock) -> Result<Piece, StoreError> {
        let damage = match decode::<Arrival>(&raw.chunks, &self.shared.keys) {
            Ok(block) if block.last >= self.next => return Ok(self.messages(block)),
            Ok(_) => None,
            Err(damage) => Some(damage),
        };
        let end = match self.shared.store.read_behind(raw.first) {
            Ok(Found::Block(behind)) => behind.first.previous(),
            Ok(Found::Nothing) => self.last,
            Ok(Found::Salvaging) => self.unit_end(),
            Err(error) if error.is_damage() => self.unit_end(),
            Err(error) => return Err(error),
        };
        let end = end.max(self.next);
        Ok(match damage {
            Some(damage) => self.fault(end, Fault::Damaged(damage)),
            None => self.missing(end),
        })
    }

    fn messages(&mut self, block: Block<Arrival>) -> Piece {
        let Stretch { first, last } = self.pass(block.last);
        let ledger = &self.shared.ledger;
        let has_holes = ledger.covered(first, last) > 0;
        let wanted =
            |seq: Seq| (first..=last).contains(&seq) && !(has_holes && ledger.hole_at(seq).is_some());
        let messages = block.messages.into_iter().filter(|(seq, _)| wanted(*seq));
        let stored = messages.map(|(seq, arrival)| Stored {
            seq,
            epoch: block.epoch,
            arrival,
        });
        Piece::Messages(stored.collect())
    }

    /// No block covers the position up to `end`: what is delivered may be trimmed at any time.
    fn missing(&mut self, end: Seq) -> Piece {
        let cursor = self.shared.marks.values().cursor;
        if self.next <= cursor {
            return Piece::Gone(self.pass(end.min(cursor)));
        }
        self.fault(end, Fault::Missing)
    }

    fn unreadable(&mut self, error: &StoreError) -> Piece {
        self.fault(self.unit_end(), Fault::Unreadable(error.to_string()))
    }

    fn fault(&mut self, end: Seq, fault: Fault) -> Piece {
        let hole = self.shared.ledger.hole_behind(self.next);
        let end = hole.map_or(end, |hole| end.min(hole.first.previous()));
        Piece::Fault(self.pass(end), fault)
    }

    /// The last sequence of the unit at the position.
    fn unit_end(&self) -> Seq {
        let units = self.shared.store.units();
        let here = units
            .iter()
            .find(|unit| unit.last.is_none_or(|last| last >= self.next));
        here.and_then(|unit| unit.last).unwrap_or(self.last)
    }

    /// Moves behind `end` and says what was passed.
    fn pass(&mut self, end: Seq) -> Stretch {
        let first = self.next;
        let last = end.min(self.last);
        self.next = last.next();
        Stretch { first, last }
    }
}

#[cfg(test)]
mod tests;
