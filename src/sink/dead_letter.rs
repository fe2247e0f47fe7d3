//! Messages that cannot become a record: kept whole on disk with their reason, out of the way of the others.
//!
//! The same store as the queue's, in a folder of its own. It is bounded; when it is full the lane is held
//! rather than anything dropped.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::message::{Arrival, Epoch, Seq, Stored};
use crate::queue::Compression;
use crate::queue::codec::{Damage, EncodeError, Encoder, decode};
use crate::queue::generations::{Generations, Waker};
use crate::queue::store::{Extent, Found, Store, StoreError};
use crate::route::Refusal;

/// One kept message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Epoch and sequence it was stored under: with the lane its message id.
    pub epoch: Epoch,
    /// See `epoch`.
    pub seq: Seq,
    /// Why it is here; one entry for each route that refused it.
    pub reasons: Vec<Refusal>,
    /// The message as it arrived.
    pub arrival: Arrival,
}

/// Why a dead letter cannot be kept. The lane is held until it can.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The budget is used up.
    #[error("dead letters take {bytes} of {max_bytes} bytes: raise dead_letter.max_bytes or remove some")]
    Full {
        /// Space taken.
        bytes: u64,
        /// Space allowed.
        max_bytes: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl KeepError {
    /// Whether the disk has no space left for it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_full())
    }
}

/// The store of dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    store: Generations,
    encoder: Encoder,
    next: Seq,
    /// The last message kept. They come in sequence order, so a replay after a crash keeps none twice. In
    /// another epoch the same sequence is another message.
    last: Option<(Epoch, Seq)>,
    max_bytes: u64,
}

impl DeadLetters {
    /// Opens or creates the store in `folder`.
    ///
    /// # Errors
    /// [`KeepError`] when the folder cannot be used.
    pub fn open(folder: &Path, epoch: Epoch, max_bytes: u64) -> Result<Self, KeepError> {
        let opened = Generations::open(folder, max_bytes, Waker::new(|| {}))?;
        let Extent {
            newest: begun, last, ..
        } = opened.extent;
        let end = last.max(begun.map(Seq::previous)).unwrap_or(Seq::ZERO);
        let last = newest(&opened.store, end)?.map(|letter| (letter.epoch, letter.seq));
        let encoder = Encoder::new(epoch, Compression::Zstd)?;
        Ok(Self {
            store: opened.store,
            encoder,
            next: end.next(),
            last,
            max_bytes,
        })
    }

    /// Keeps a message; durable when this returns. Messages come in sequence order; what was kept
    /// before is not kept again.
    ///
    /// # Errors
    /// [`KeepError`]: not kept.
    pub fn keep(&mut self, stored: &Stored, reasons: Vec<Refusal>) -> Result<(), KeepError> {
        let is_kept = |(epoch, seq)| epoch == stored.epoch && seq >= stored.seq;
        if self.last.is_some_and(is_kept) {
            return Ok(());
        }
        let bytes = self.store.bytes();
        if bytes >= self.max_bytes {
            return Err(KeepError::Full {
                bytes,
                max_bytes: self.max_bytes,
            });
        }
        let letter = DeadLetter {
            epoch: stored.epoch,
            seq: stored.seq,
            reasons,
            arrival: stored.arrival.clone(),
        };
        let chunks = self.encoder.encode(self.next, [&letter])?;
        self.store.append(&chunks)?;
        self.next = self.next.next();
        self.last = Some((letter.epoch, letter.seq));
        Ok(())
    }

    /// All letters that can be read, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read at all.
    pub fn list(&self) -> Result<Vec<DeadLetter>, StoreError> {
        let mut letters = Vec::new();
        let mut from = Seq::ZERO;
        while let Found::Block(raw) = self.store.read_behind(from)? {
            from = raw.first;
            match decode::<DeadLetter>(&raw.chunks) {
                Ok(block) => letters.extend(block.messages.into_iter().map(|(_, letter)| letter)),
                Err(damage) => report_damage(raw.first, &damage),
            }
        }
        Ok(letters)
    }
}

fn newest(store: &Generations, end: Seq) -> Result<Option<DeadLetter>, StoreError> {
    let Found::Block(raw) = store.read(end)? else {
        return Ok(None);
    };
    match decode::<DeadLetter>(&raw.chunks) {
        Ok(mut block) => Ok(block.messages.pop().map(|(_, letter)| letter)),
        Err(damage) => {
            report_damage(raw.first, &damage);
            Ok(None)
        }
    }
}

fn report_damage(first: Seq, damage: &Damage) {
    tracing::error!(%first, %damage, "a dead letter is damaged");
}
