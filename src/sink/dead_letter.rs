//! Messages that cannot become a record: kept whole on disk with their reasons, out of the way of the others.
//!
//! The same store as the queue's, in a folder of its own for each lane. It is bounded; when it is full the lane is held,
//! or, if that is asked for, the oldest letters go and are counted.
//!
//! **Kept once.** A letter is durable before the cursor passes its message, so a crash, or a transaction that is taken
//! back, may bring the message again. The letters behind the cursor are therefore known ([`DeadLetters::recall`]): they
//! say which routes refused it, so nothing that was refused is sent again, and nothing is kept twice. For the same reason
//! a letter is only removed once a cursor that survives a power cut has passed it; whoever removes sees to that.
//!
//! **Removed one by one.** Letters are numbered in the order in which they were kept. Which numbers are gone is noted in a
//! file beside them (`note`) before any space is given back; a unit of the store that holds nothing else any more is
//! deleted, and one that holds little else is rewritten without them.
//!
//! The sink's thread keeps; any other one may look and remove. They share a lock that is held for one append or one note,
//! never for a look.
//!
//! | file | what |
//! | --- | --- |
//! | `store` | opening, keeping, making room |
//! | `recall` | letters whose messages may come again |
//! | `walk` | looking at what is there |
//! | `removal` | taking letters out, giving back space |
//! | `note` | what is gone, durably |
//! | `reason` | names of reasons, for machines |
//! | `forward`, `record` | the Kafka topic for dead letters |

use serde::{Deserialize, Serialize};

use crate::message::{Arrival, Epoch, Seq, Stored};
use crate::queue::codec::{EncodeError, Unreadable};
use crate::queue::seal::MissingKeys;
use crate::queue::store::StoreError;
use crate::route::Refusal;
use crate::slots::SlotError;

pub mod forward;
mod note;
pub mod reason;
mod recall;
mod record;
mod removal;
mod store;
mod walk;

pub use note::Pending;
pub(in crate::sink) use store::RECALLED_MAX;
pub use store::{DeadLetters, Stand};
pub use walk::{Kept, Walk};

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

impl DeadLetter {
    /// The message as the queue had it.
    #[must_use]
    pub fn into_stored(self) -> Stored {
        Stored {
            seq: self.seq,
            epoch: self.epoch,
            arrival: self.arrival,
        }
    }
}

/// Why a dead letter cannot be kept, read or removed. The lane is held until it can be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The budget is used up.
    #[error(
        "dead letters take {bytes} of {max_bytes} bytes: look at them with `edgeferry dead-letter ls`, redrive or purge some, or \
         raise dead_letter.max_bytes"
    )]
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
    KeyIds(SlotError),
    /// What is gone cannot be noted.
    #[error("letters: {0}")]
    Note(SlotError),
    /// Too many separate letters were taken out.
    #[error(
        "letters were removed in too many separate places to note one more: redrive or purge whole stretches of them, for \
         example with --until"
    )]
    Scattered,
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
        match self {
            Self::Store(error) => error.is_full(),
            Self::Note(error) | Self::KeyIds(error) => error.is_full(),
            _ => false,
        }
    }

    fn noting(error: SlotError) -> Self {
        match error {
            SlotError::TooLong(_) => Self::Scattered,
            error => Self::Note(error),
        }
    }
}

#[cfg(test)]
mod damaged;
#[cfg(test)]
mod keeping;
#[cfg(test)]
mod removing;
#[cfg(test)]
mod tests {

    use std::path::Path;

    use super::*;

    use crate::queue::seal::Keys;

    fn stored(seq: u64) -> Stored {
        Stored {
            seq: Seq(seq),
            epoch: Epoch(1),
            arrival: Arrival::trial(seq, format!("devices/{seq}"), &b"payload"[..]),
        }
    }

    fn kept(folder: &Path, keys: Keys, seq: u64) -> DeadLetters {
        let letters = DeadLetters::open(folder, Epoch(1), 1 << 24, keys).expect("opens");
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

    /// Found by a simulation (docs/decisions/0038): SIGKILL between write and sync, then a power cut.
    #[test]
    fn the_last_letter_is_written_anew_when_a_start_finds_that_its_message_comes_again() {
        let dir = tempfile::tempdir().expect("temp dir");
        let letters = kept(dir.path(), Keys::default(), 1);
        letters.keep(&stored(2), vec![Refusal::NoRoute]).expect("keeps");
        drop(letters);
        let newest_behind = |cursor| {
            let letters = DeadLetters::open(dir.path(), Epoch(1), 1 << 24, Keys::default()).expect("opens");
            letters.recall(Seq(cursor), Seq(9)).expect("recalls");
            let seqs: Vec<_> = letters
                .list()
                .expect("lists")
                .iter()
                .map(|letter| letter.seq.0)
                .collect();
            assert_eq!(seqs, [1, 2]);
            letters.store.units().last().map(|unit| unit.first)
        };
        assert_eq!(newest_behind(2), Some(Seq(1)), "the cursor has passed both");
        assert_eq!(newest_behind(1), Some(Seq(2)), "in a place of its own");
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
