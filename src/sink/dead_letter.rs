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
use crate::queue::store::{Found, Store, StoreError};
use crate::route::Refusal;

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
        let extent = opened.extent;
        let begun = extent.newest.map(Seq::previous);
        let end = extent.last.max(begun).unwrap_or(Seq::ZERO);
        let last = newest(&opened.store, end).map(|letter| (letter.epoch, letter.seq));
        // A generation begins at its first letter: one that cannot be seen through must not be begun again.
        let end = if extent.unsure || extent.hollow {
            end.plus(USED_UNSEEN)
        } else {
            end
        };
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

    /// All letters that can be read, oldest first. What should be there and cannot be read is said in the log, and its
    /// generation is set aside.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read now; [`StoreError::Salvaging`] while a damaged part is still being read.
    pub fn list(&self) -> Result<Vec<DeadLetter>, StoreError> {
        let mut letters = Vec::new();
        let mut next = self.store.units().first().map_or(Seq(1), |unit| unit.first);
        loop {
            let found = self.store.read_behind(next.previous())?;
            let behind = match &found {
                Found::Block(raw) => raw.first,
                Found::Nothing => self.next,
                Found::Salvaging => return Err(StoreError::Salvaging),
            };
            if next < behind {
                self.report_missing(next, behind.previous())?;
            }
            let Found::Block(raw) = found else {
                return Ok(letters);
            };
            next = raw.first.next();
            match decode::<DeadLetter>(&raw.chunks) {
                Ok(block) => {
                    next = block.last.next();
                    letters.extend(block.messages.into_iter().map(|(_, letter)| letter));
                }
                Err(damage) => report_damage(raw.first, &damage),
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
fn newest(store: &Generations, end: Seq) -> Option<DeadLetter> {
    let Ok(Found::Block(raw)) = store.read(end) else {
        return None;
    };
    match decode::<DeadLetter>(&raw.chunks) {
        Ok(mut block) => block.messages.pop().map(|(_, letter)| letter),
        Err(damage) => {
            report_damage(raw.first, &damage);
            None
        }
    }
}

fn report_damage(first: Seq, damage: &Damage) {
    tracing::error!(%first, %damage, "a dead letter is damaged");
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Bytes;

    use super::*;
    use crate::message::{Delivery, SessionTag, Stamp};

    fn stored(seq: u64) -> Stored {
        Stored {
            seq: Seq(seq),
            epoch: Epoch(1),
            arrival: Arrival {
                broker: "default".into(),
                topic: "a/b".to_owned(),
                payload: Bytes::from(vec![7; 9000]),
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

    fn open(folder: &Path) -> DeadLetters {
        DeadLetters::open(folder, Epoch(1), 1 << 30).expect("opens")
    }

    fn listed(letters: &DeadLetters) -> Vec<u64> {
        let letters = letters.list().expect("lists");
        letters.iter().map(|letter| letter.seq.0).collect()
    }

    #[test]
    fn damage_costs_the_letters_it_touches_and_no_start() {
        let dir = tempfile::tempdir().expect("temp dir");
        for seq in 1..=3 {
            open(dir.path()).keep(&stored(seq), Vec::new()).expect("keeps");
        }
        let mut folders: Vec<_> = fs::read_dir(dir.path())
            .expect("lists")
            .map(|entry| entry.expect("entry").path())
            .collect();
        folders.sort();
        for (damaged, left) in [(0, vec![2, 3]), (2, vec![2])] {
            let db = folders[damaged].join("db");
            let length = fs::read(&db).expect("reads").len();
            fs::write(&db, vec![0xA5; length]).expect("writes");
            assert_eq!(listed(&open(dir.path())), left);
        }
        let mut letters = open(dir.path());
        for seq in [3, 4] {
            letters.keep(&stored(seq), Vec::new()).expect("keeps");
        }
        assert_eq!(listed(&letters), [2, 3, 4]);
        drop(letters);
        assert_eq!(listed(&open(dir.path())), [2, 3, 4]);
    }
}
