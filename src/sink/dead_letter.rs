//! Messages that cannot become a record: kept whole on disk with their reason, out of the way of the others.
//!
//! The same store as the queue's, in a folder of its own. It is bounded; when it is full the lane is held
//! rather than anything dropped.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::message::{Arrival, Epoch, Seq, Stored};
use crate::queue::Compression;
use crate::queue::codec::{Block, EncodeError, Encoder, Unreadable, decode};
use crate::queue::generations::{Generations, Waker};
use crate::queue::seal::{Keys, MissingKeys, key_ids};
use crate::queue::store::{Found, RawBlock, Store, StoreError};
use crate::route::Refusal;
use crate::slots::SlotError;

/// More letters than a generation can hold: see there.
const USED_UNSEEN: u64 = 1 << 32;

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

/// Why a dead letter cannot be kept, or read. The lane is held until it can.
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
    /// A key is not given; nothing was touched.
    #[error(transparent)]
    MissingKeys(#[from] MissingKeys),
    /// The keys that they need cannot be noted.
    #[error("key-ids: {0}")]
    KeyIds(#[from] SlotError),
    /// It cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Those that are kept are whole, but this edgeferry, with the keys that it was given, cannot read them.
    #[error("dead letters from the {}. on: {reason}", first.0)]
    Unreadable {
        /// Number of the first one.
        first: Seq,
        /// What is missing.
        reason: Unreadable,
    },
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
    keys: Keys,
    next: Seq,
    /// The last message kept. They come in sequence order, so a replay after a crash keeps none twice. In
    /// another epoch the same sequence is another message.
    last: Option<(Epoch, Seq)>,
    max_bytes: u64,
}

impl DeadLetters {
    /// Opens or creates the store in `folder`, sealed with `keys`.
    ///
    /// # Errors
    /// [`KeepError`] when the folder cannot be used, or the newest letter not be read.
    pub fn open(folder: &Path, epoch: Epoch, max_bytes: u64, keys: Keys) -> Result<Self, KeepError> {
        key_ids::check(folder, &keys)?;
        let opened = Generations::open(folder, max_bytes, Waker::new(|| {}))?;
        let extent = opened.extent;
        let begun = extent.newest.map(Seq::previous);
        let end = extent.last.max(begun).unwrap_or(Seq::ZERO);
        let last = newest(&opened.store, end, &keys)?.map(|letter| (letter.epoch, letter.seq));
        // A generation begins at its first letter: one that cannot be seen through must not be begun again.
        let end = if extent.unsure || extent.hollow {
            end.plus(USED_UNSEEN)
        } else {
            end
        };
        let trimmed = extent.oldest.map_or(Seq::ZERO, Seq::previous);
        key_ids::note(folder, &keys, end.next(), trimmed)?;
        let encoder = Encoder::new(epoch, Compression::Zstd, &keys)?;
        Ok(Self {
            store: opened.store,
            encoder,
            keys,
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

    /// All letters that can be read, oldest first. What should be there and cannot be read is said in the log, and its
    /// generation is set aside.
    ///
    /// # Errors
    /// [`KeepError`] when the store cannot be read now, or some letters only with another key; it holds
    /// [`StoreError::Salvaging`] while a damaged part is still being read.
    pub fn list(&self) -> Result<Vec<DeadLetter>, KeepError> {
        let mut letters = Vec::new();
        let mut next = self.store.units().first().map_or(Seq(1), |unit| unit.first);
        loop {
            let found = self.store.read_behind(next.previous())?;
            let behind = match &found {
                Found::Block(raw) => raw.first,
                Found::Nothing => self.next,
                Found::Salvaging => return Err(StoreError::Salvaging.into()),
            };
            if next < behind {
                self.report_missing(next, behind.previous())?;
            }
            let Found::Block(raw) = found else {
                return Ok(letters);
            };
            next = raw.first.next();
            if let Some(block) = read(&raw, &self.keys)? {
                next = block.last.next();
                letters.extend(block.messages.into_iter().map(|(_, letter)| letter));
            }
        }
    }

    fn report_missing(&self, first: Seq, last: Seq) -> Result<(), StoreError> {
        for unit in self.store.units() {
            let within = unit.first <= last && unit.last.is_none_or(|end| end >= first);
            if within && self.store.suspect(unit.first.max(first))? {
                return Err(StoreError::Salvaging);
            }
        }
        tracing::error!(%first, %last, "dead letters are missing, if there were any: their store is damaged");
        Ok(())
    }
}

/// The last letter. A damaged or slow store may not tell: then a letter may be kept twice.
fn newest(store: &Generations, end: Seq, keys: &Keys) -> Result<Option<DeadLetter>, KeepError> {
    let Ok(Found::Block(raw)) = store.read(end) else {
        return Ok(None);
    };
    let letter = read(&raw, keys)?.and_then(|mut block| block.messages.pop());
    Ok(letter.map(|(_, letter)| letter))
}

/// The letters of a block; `None` when it is damaged.
fn read(raw: &RawBlock, keys: &Keys) -> Result<Option<Block<DeadLetter>>, KeepError> {
    match decode(&raw.chunks, keys) {
        Ok(block) => Ok(Some(block)),
        Err(Unreadable::Damaged(damage)) => {
            tracing::error!(first = %raw.first, %damage, "a dead letter is damaged");
            Ok(None)
        }
        Err(reason) => Err(KeepError::Unreadable {
            first: raw.first,
            reason,
        }),
    }
}

#[cfg(test)]
mod damaged;
#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::{Delivery, SessionTag, Stamp};

    fn stored(seq: u64) -> Stored {
        Stored {
            seq: Seq(seq),
            epoch: Epoch(1),
            arrival: Arrival {
                broker: "default".into(),
                topic: format!("devices/{seq}"),
                payload: Bytes::from_static(b"payload"),
                oversize: None,
                properties: None,
                delivery: Delivery {
                    session: SessionTag(1),
                    position: seq,
                    packet_id: 1,
                    qos: 1,
                    dup: false,
                    retained: false,
                    fingerprint: seq,
                },
                stamp: Stamp {
                    unix_ms: 0,
                    boot_ms: 0,
                    boot: 0,
                    synchronised: true,
                },
                origin: None,
            },
        }
    }

    fn kept(folder: &Path, keys: Keys, seq: u64) -> DeadLetters {
        let mut letters = DeadLetters::open(folder, Epoch(1), 1 << 24, keys).expect("opens");
        letters.keep(&stored(seq), vec![Refusal::NoRoute]).expect("keeps");
        letters
    }

    #[test]
    fn dead_letters_are_sealed_and_need_every_key_they_were_ever_sealed_with() {
        let dir = tempfile::tempdir().expect("temp dir");
        let readable = |text: &[u8]| {
            let generation = std::fs::read(dir.path().join("g-00000000000000000001/db")).expect("reads");
            generation.windows(text.len()).any(|bytes| bytes == text)
        };
        kept(dir.path(), Keys::default(), 1);
        kept(dir.path(), Keys::of(Some(1), &[]), 2);
        assert!(readable(b"devices/1") && !readable(b"devices/2"));
        let letters = kept(dir.path(), Keys::of(Some(2), &[1]), 3);
        let seqs: Vec<_> = letters
            .list()
            .expect("lists")
            .iter()
            .map(|letter| letter.seq.0)
            .collect();
        assert_eq!(seqs, [1, 2, 3]);
        drop(letters);
        for keys in [Keys::default(), Keys::of(Some(2), &[]), Keys::of(Some(1), &[])] {
            let refused = DeadLetters::open(dir.path(), Epoch(1), 1 << 24, keys);
            assert!(matches!(refused, Err(KeepError::MissingKeys(_))), "{refused:?}");
        }
    }

    #[test]
    fn a_letter_without_its_key_is_no_damaged_one() {
        let dir = tempfile::tempdir().expect("temp dir");
        kept(dir.path(), Keys::of(Some(1), &[]), 1);
        kept(dir.path(), Keys::of(Some(2), &[1]), 2);
        // Nothing says any more that key 1 is needed.
        std::fs::remove_file(dir.path().join("key-ids")).expect("removes");
        let letters = kept(dir.path(), Keys::of(Some(2), &[]), 3);
        assert!(matches!(
            letters.list(),
            Err(KeepError::Unreadable { first: Seq(1), .. })
        ));
    }
}
