//! What became of letters, beside the letters: which are gone, how many were dropped, what is half done.
//!
//! The file `letters` in the store's folder, two slots (see [`crate::slots`]); it is made with the first letter, while
//! there is room. Every change is durable before anything is deleted because of it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::faults;
use crate::message::Seq;
use crate::queue::ledger::Replacement;
use crate::ranges::Ranges;
use crate::slots::{SlotError, SlotFile};

const FILE: &str = "letters";
/// Stretches take two bytes each where every other letter is gone, four where few are: room for 16,000 and more. The
/// stretches of units that are gone are forgotten.
const SLOT_BYTES: usize = 64 * 1024;

/// The contents of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Values {
    /// Numbers of letters that are not there any more.
    pub(super) gone: Ranges,
    /// Numbers that were left out at an open because they may have been used: letters may be among them, most are none.
    pub(super) skipped: Ranges,
    /// Letters that `on_full = "drop-oldest"` removed since the store was made.
    pub(super) dropped: u64,
    /// Letters that damage took.
    pub(super) lost: u64,
    /// The rewritten unit that was committed last.
    pub(super) replacement: Option<Replacement>,
    /// Letters on their way back into a queue.
    pub(super) pending: Option<Pending>,
    /// Sequences that the lane's queue lost, and of which the Kafka topic was told.
    pub(super) told: Ranges,
}

/// Letters that were handed to a queue; a crash may have come before it was noted that they are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The lane whose queue takes them.
    pub lane: String,
    /// The last message of that lane before them.
    pub behind: Seq,
    /// Their numbers.
    pub numbers: Vec<Seq>,
}

/// [`Values`] as they are written: stretches by the distance from the one before, so that they take few bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    gone: Vec<(u64, u64)>,
    skipped: Vec<(u64, u64)>,
    dropped: u64,
    lost: u64,
    replacement: Option<Replacement>,
    pending: Option<Pending>,
    told: Vec<(u64, u64)>,
}

fn distances(ranges: &Ranges) -> Vec<(u64, u64)> {
    let mut at = 0;
    let step = |(first, last): (Seq, Seq)| {
        let pair = (first.0.saturating_sub(at), last.0.saturating_sub(first.0));
        at = last.0;
        pair
    };
    ranges.iter().map(step).collect()
}

fn stretches(pairs: &[(u64, u64)]) -> Ranges {
    let mut ranges = Ranges::default();
    let mut at = 0_u64;
    for (gap, length) in pairs {
        let first = at.saturating_add(*gap);
        at = first.saturating_add(*length);
        ranges.insert_all(Seq(first), Seq(at));
    }
    ranges
}

impl From<&Values> for Written {
    fn from(values: &Values) -> Self {
        Self {
            gone: distances(&values.gone),
            skipped: distances(&values.skipped),
            dropped: values.dropped,
            lost: values.lost,
            replacement: values.replacement,
            pending: values.pending.clone(),
            told: distances(&values.told),
        }
    }
}

impl From<Written> for Values {
    fn from(written: Written) -> Self {
        Self {
            gone: stretches(&written.gone),
            skipped: stretches(&written.skipped),
            dropped: written.dropped,
            lost: written.lost,
            replacement: written.replacement,
            pending: written.pending,
            told: stretches(&written.told),
        }
    }
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
    file: Option<SlotFile>,
    pub(super) values: Values,
}

impl Note {
    /// What the file in `folder` says; nothing when there is none. A damaged one cannot tell: letters that were removed
    /// and whose unit is there come back.
    pub(super) fn open(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let found: Option<Written> = SlotFile::peek(&path, SLOT_BYTES);
        if found.is_none() && path.exists() {
            tracing::error!(path = %path.display(), "what was removed of the dead letters is not known: the file is damaged");
        }
        Self {
            path,
            file: None,
            values: found.map(Values::from).unwrap_or_default(),
        }
    }

    /// Makes the file while there is room for it.
    ///
    /// # Errors
    /// [`SlotError`]
    pub(super) fn make(&mut self) -> Result<(), SlotError> {
        if self.file.is_none() && !self.path.exists() {
            self.save(self.values.clone())?;
        }
        Ok(())
    }

    /// Makes `values` what is noted, durably.
    ///
    /// # Errors
    /// [`SlotError`]: what was noted before still is. [`SlotError::TooLong`]: too many separate letters are gone.
    pub(super) fn save(&mut self, values: Values) -> Result<(), SlotError> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(SlotFile::open::<Written>(&self.path, SLOT_BYTES)?.0),
        };
        file.write_beside_synced(&Written::from(&values))?;
        faults::point("letters.noted");
        file.sync()?;
        self.values = values;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(stretches: u64) -> Values {
        let mut values = Values {
            dropped: 3,
            ..Values::default()
        };
        for number in 0..stretches {
            values.gone.insert(Seq(2 * number + 1));
        }
        values
    }

    #[test]
    fn what_is_noted_is_read_back() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut note = Note::open(dir.path());
        assert_eq!(note.values, Values::default());
        let mut wanted = values(20_000);
        wanted
            .skipped
            .insert_all(Seq(1 << 40), Seq((1 << 40) + (1 << 32)));
        wanted.pending = Some(Pending {
            lane: "default".to_owned(),
            behind: Seq(7),
            numbers: vec![Seq(1), Seq(9)],
        });
        note.save(wanted.clone()).expect("saves");
        assert_eq!(Note::open(dir.path()).values, wanted);
    }

    #[test]
    fn more_than_fits_is_refused_and_what_was_noted_stays() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut note = Note::open(dir.path());
        note.save(values(10)).expect("saves");
        assert!(matches!(note.save(values(100_000)), Err(SlotError::TooLong(_))));
        assert_eq!(note.values, values(10));
        assert_eq!(Note::open(dir.path()).values, values(10));
    }
}
