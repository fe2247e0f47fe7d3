//! The account of a lane: what became of every message that is neither delivered nor queued.
//!
//! Each message ends in one of these ways: delivered or kept as a dead letter (counted by [`super::marks`], in the same
//! write as the cursor move), or removed for one of the [`Reason`]s, counted here. A stretch of sequences behind the
//! cursor that holds no messages any more is a [`Hole`]: it is durable before the messages are deleted, so no crash
//! counts a message twice or takes a removal for a loss. Removals that leave no hole (messages that were never stored,
//! or that a rewritten unit left out) are only counted.
//!
//! What is left follows: `queued = received - delivered - dead-lettered - removed`.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::message::Seq;
use crate::slots::{SlotError, SlotFile};

/// Room for [`HOLES_MAX`] holes at 21 bytes, and the totals.
const SLOT_BYTES: usize = 64 * 1024;
/// Holes remembered at most. They are merged where they touch and forgotten once the cursor has passed them, so only a
/// store that is damaged in thousands of places comes near; it then counts a loss again after a restart.
const HOLES_MAX: usize = 2500;

/// Why messages are not there any more. The discriminant is the place in the file; never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// No message ever: sequences left out after a loss, so that none is used twice.
    Skipped = 0,
    /// Lost: they were durable, and the store is damaged.
    Damaged = 1,
    /// `on_full = "drop-oldest"`
    DroppedOldest = 2,
    /// `on_full = "drop-newest"`: acknowledged and not stored.
    DroppedNewest = 3,
    /// Older than `max_age`.
    Expired = 4,
    /// `on_full = "keep-latest"`: a newer value of the same device was there.
    Superseded = 5,
    /// `edgeferry queue purge`
    Purged = 6,
}

impl Reason {
    /// All of them, in the order of the file.
    pub const ALL: [Self; 7] = [
        Self::Skipped,
        Self::Damaged,
        Self::DroppedOldest,
        Self::DroppedNewest,
        Self::Expired,
        Self::Superseded,
        Self::Purged,
    ];

    /// Name in logs, metrics and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Damaged => "damaged",
            Self::DroppedOldest => "dropped_oldest",
            Self::DroppedNewest => "dropped_newest",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Purged => "purged",
        }
    }
}

/// Numbers by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals([u64; Reason::ALL.len()]);

impl Totals {
    /// Messages (for [`Reason::Skipped`]: sequences) since the store was made.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or_default()
    }

    /// Messages removed for any reason. Sequences that were never used are none.
    #[must_use]
    pub fn removed(&self) -> u64 {
        let reasons = Reason::ALL.iter().filter(|reason| **reason != Reason::Skipped);
        reasons.map(|reason| self.of(*reason)).sum()
    }

    /// Sequences that are accounted for here.
    #[must_use]
    pub fn sequences(&self) -> u64 {
        self.removed() + self.of(Reason::Skipped) - self.of(Reason::DroppedNewest)
    }

    fn add(&mut self, reason: Reason, count: u64) {
        if let Some(total) = self.0.get_mut(reason as usize) {
            *total = total.saturating_add(count);
        }
    }

    fn subtract(&mut self, reason: Reason, count: u64) {
        if let Some(total) = self.0.get_mut(reason as usize) {
            *total = total.saturating_sub(count);
        }
    }
}

/// A stretch of sequences without messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// Its first sequence.
    pub first: Seq,
    /// Its last sequence.
    pub last: Seq,
    /// Why nothing is there.
    pub reason: Reason,
}

impl Hole {
    /// Number of sequences.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.last.0.saturating_sub(self.first.0).saturating_add(1)
    }

    /// Never: a hole has at least one sequence.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Values {
    totals: Totals,
    /// Ascending, not overlapping.
    holes: Vec<Hole>,
}

/// The ledger of one lane; shared by writer and reader.
#[derive(Debug)]
pub struct Ledger(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    file: SlotFile,
    values: Values,
}

impl Ledger {
    /// Opens or creates the file. A damaged one starts at zero; the flag says whether there was a whole one.
    ///
    /// # Errors
    /// [`SlotError::Io`].
    pub fn open(path: &Path) -> Result<(Self, bool), SlotError> {
        let (file, found) = SlotFile::open::<Values>(path, SLOT_BYTES)?;
        let was_there = found.is_some();
        let values = found.unwrap_or_default();
        Ok((Self(Mutex::new(Inner { file, values })), was_there))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.inner().values.totals
    }

    /// All holes that are remembered, in ascending order.
    #[must_use]
    pub fn holes(&self) -> Vec<Hole> {
        self.inner().values.holes.clone()
    }

    /// The hole that `seq` lies in.
    #[must_use]
    pub fn hole_at(&self, seq: Seq) -> Option<Hole> {
        self.inner().values.hole_at(seq)
    }

    /// How many sequences from `first` to `last` lie in holes.
    #[must_use]
    pub fn covered(&self, first: Seq, last: Seq) -> u64 {
        let whole = Hole {
            first,
            last,
            reason: Reason::Skipped,
        };
        if first > last {
            return 0;
        }
        let unknown = self.inner().values.parts_unknown(whole);
        whole.len() - unknown.iter().map(Hole::len).sum::<u64>()
    }

    /// The first hole that begins behind `seq`.
    #[must_use]
    pub fn hole_behind(&self, seq: Seq) -> Option<Hole> {
        let inner = self.inner();
        let index = inner.values.holes.partition_point(|hole| hole.first <= seq);
        inner.values.holes.get(index).copied()
    }

    /// Records that nothing is in `hole` any more, durably, and returns the parts of it that were not known before:
    /// those are counted. Holes that end at or before `done` (a cursor that survives a power cut) are forgotten.
    ///
    /// # Errors
    /// [`SlotError`]: nothing is recorded, so nothing may be deleted.
    pub fn record(&self, hole: Hole, done: Seq) -> Result<Vec<Hole>, SlotError> {
        let mut inner = self.inner();
        let new = inner.values.parts_unknown(hole);
        if new.is_empty() {
            return Ok(new);
        }
        let mut values = inner.values.clone();
        for part in &new {
            values.totals.add(part.reason, part.len());
        }
        values.holes.extend(&new);
        values.tidy(done);
        inner.write(values, true)?;
        Ok(new)
    }

    /// Takes back, durably, that the sequences from `first` to `last` were skipped: messages were found there. Returns how
    /// many of them had been taken for unused.
    ///
    /// # Errors
    /// [`SlotError`]: nothing changes.
    pub fn reclaim(&self, first: Seq, last: Seq) -> Result<u64, SlotError> {
        let mut inner = self.inner();
        let skips = |hole: &Hole| hole.reason == Reason::Skipped && hole.first <= last && hole.last >= first;
        if !inner.values.holes.iter().any(skips) {
            return Ok(0);
        }
        let mut values = inner.values.clone();
        let count = values.reclaim(first, last);
        inner.write(values, true)?;
        Ok(count)
    }

    /// Counts removals that leave no hole. Durable when `durably`; otherwise it survives SIGKILL only, and the next
    /// durable write takes it along.
    ///
    /// # Errors
    /// [`SlotError`]: nothing is counted.
    pub fn count(&self, reason: Reason, count: u64, durably: bool) -> Result<(), SlotError> {
        let mut inner = self.inner();
        let mut values = inner.values.clone();
        values.totals.add(reason, count);
        inner.write(values, durably)
    }
}

impl Inner {
    fn write(&mut self, values: Values, durably: bool) -> Result<(), SlotError> {
        self.file.write(&values)?;
        if durably {
            self.file.sync()?;
        }
        self.values = values;
        Ok(())
    }
}

impl Values {
    fn hole_at(&self, seq: Seq) -> Option<Hole> {
        let index = self.holes.partition_point(|hole| hole.last < seq);
        self.holes.get(index).copied().filter(|hole| hole.first <= seq)
    }

    fn reclaim(&mut self, first: Seq, last: Seq) -> u64 {
        let mut count = 0;
        let mut holes = Vec::with_capacity(self.holes.len() + 1);
        for hole in self.holes.drain(..) {
            let cut = Hole {
                first: hole.first.max(first),
                last: hole.last.min(last),
                ..hole
            };
            if hole.reason != Reason::Skipped || cut.first > cut.last {
                holes.push(hole);
                continue;
            }
            count += cut.len();
            let before = Hole {
                last: cut.first.previous(),
                ..hole
            };
            let behind = Hole {
                first: cut.last.next(),
                ..hole
            };
            holes.extend(
                [before, behind]
                    .into_iter()
                    .filter(|part| part.first <= part.last),
            );
        }
        self.holes = holes;
        self.totals.subtract(Reason::Skipped, count);
        count
    }

    fn parts_unknown(&self, hole: Hole) -> Vec<Hole> {
        let mut parts = Vec::new();
        let mut first = hole.first;
        for known in self.holes.iter().filter(|known| known.last >= hole.first) {
            if known.first > hole.last {
                break;
            }
            if first < known.first {
                parts.push(Hole {
                    first,
                    last: known.first.previous(),
                    ..hole
                });
            }
            first = first.max(known.last.next());
        }
        if first <= hole.last {
            parts.push(Hole { first, ..hole });
        }
        parts
    }

    /// Sorts, merges what touches, forgets what is done with, keeps to the limit.
    fn tidy(&mut self, done: Seq) {
        self.holes.sort_by_key(|hole| hole.first);
        self.holes.retain(|hole| hole.last > done);
        self.holes.dedup_by(|hole, before| {
            let touches = before.reason == hole.reason && before.last.next() == hole.first;
            if touches {
                before.last = hole.last;
            }
            touches
        });
        self.holes.truncate(HOLES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(first: u64, last: u64, reason: Reason) -> Hole {
        Hole {
            first: Seq(first),
            last: Seq(last),
            reason,
        }
    }

    fn open(folder: &Path) -> Ledger {
        Ledger::open(&folder.join("ledger")).expect("opens").0
    }

    #[test]
    fn a_removal_is_counted_once_whatever_is_recorded_again() {
        let dir = tempfile::tempdir().expect("temp dir");
        let ledger = open(dir.path());
        ledger
            .record(hole(10, 19, Reason::DroppedOldest), Seq::ZERO)
            .expect("records");
        ledger
            .record(hole(5, 30, Reason::Damaged), Seq::ZERO)
            .expect("records");
        let ledger = open(dir.path());
        ledger
            .record(hole(1, 30, Reason::Purged), Seq::ZERO)
            .expect("records");
        let totals = ledger.totals();
        assert_eq!(totals.of(Reason::DroppedOldest), 10);
        assert_eq!(totals.of(Reason::Damaged), 16);
        assert_eq!(totals.of(Reason::Purged), 4);
        assert_eq!(totals.removed(), 30);
        let at = |seq| ledger.hole_at(Seq(seq)).map(|hole| (hole.first.0, hole.last.0));
        assert_eq!(at(4), Some((1, 4)));
        assert_eq!(at(15), Some((10, 19)));
        assert_eq!(at(30), Some((20, 30)));
        assert_eq!(at(31), None);
    }

    #[test]
    fn holes_that_touch_are_one_and_those_behind_the_cursor_are_forgotten() {
        let dir = tempfile::tempdir().expect("temp dir");
        let ledger = open(dir.path());
        for first in (1..100).step_by(10) {
            ledger
                .record(hole(first, first + 9, Reason::Expired), Seq::ZERO)
                .expect("records");
        }
        assert_eq!(ledger.holes(), [hole(1, 100, Reason::Expired)]);
        ledger
            .record(hole(200, 200, Reason::Damaged), Seq(100))
            .expect("records");
        assert_eq!(ledger.holes(), [hole(200, 200, Reason::Damaged)]);
        assert_eq!(ledger.totals().removed(), 101);
    }

    #[test]
    fn sequences_that_were_never_used_are_no_messages() {
        let dir = tempfile::tempdir().expect("temp dir");
        let ledger = open(dir.path());
        ledger
            .record(hole(1, 1_000_000, Reason::Skipped), Seq::ZERO)
            .expect("records");
        ledger.count(Reason::DroppedNewest, 3, false).expect("counts");
        assert_eq!(ledger.totals().removed(), 3);
        assert_eq!(open(dir.path()).totals(), ledger.totals());
    }

    #[test]
    fn sequences_that_turn_out_to_be_used_are_counted_as_messages_again() {
        let dir = tempfile::tempdir().expect("temp dir");
        let ledger = open(dir.path());
        ledger
            .record(hole(10, 99, Reason::Skipped), Seq::ZERO)
            .expect("records");
        ledger
            .record(hole(100, 109, Reason::Damaged), Seq::ZERO)
            .expect("records");
        assert_eq!(ledger.reclaim(Seq(5), Seq(14)).expect("reclaims"), 5);
        assert_eq!(ledger.reclaim(Seq(20), Seq(29)).expect("reclaims"), 10);
        assert_eq!(ledger.reclaim(Seq(20), Seq(29)).expect("reclaims"), 0);
        assert_eq!(ledger.reclaim(Seq(95), Seq(105)).expect("reclaims"), 5);
        let ledger = open(dir.path());
        let holes = [
            hole(15, 19, Reason::Skipped),
            hole(30, 94, Reason::Skipped),
            hole(100, 109, Reason::Damaged),
        ];
        assert_eq!(ledger.holes(), holes);
        let totals = ledger.totals();
        assert_eq!((totals.of(Reason::Skipped), totals.of(Reason::Damaged)), (70, 10));
    }

    #[test]
    fn a_full_ledger_still_fits_its_slot() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (ledger, _) = Ledger::open(&dir.path().join("ledger")).expect("opens");
        let far = u64::MAX - 2 * HOLES_MAX as u64 - 10;
        let mut values = ledger.inner().values.clone();
        values.totals = Totals([u64::MAX; 7]);
        values.holes = (0..HOLES_MAX as u64)
            .map(|number| hole(far + 2 * number, far + 2 * number, Reason::Damaged))
            .collect();
        ledger.inner().write(values, true).expect("fits");
    }
}
