//! The account of a lane: what became of every message that is neither delivered nor queued.
//!
//! Each message ends in one of these ways: delivered, kept as a dead letter or filtered (counted by [`super::marks`], in the
//! same write as the cursor move), or removed for one of the [`Reason`]s, counted here. A stretch of sequences behind the
//! cursor that holds no messages any more is a [`Hole`]: it is durable before the messages are deleted, so no crash
//! counts a message twice or takes a removal for a loss. Messages that were never stored are only counted. Messages
//! that a rewritten unit leaves out are counted in the same write that commits the rewriting ([`Replacement`]); how many
//! of a stretch are gone in this way is remembered until the cursor has passed it (`Thinned`), so that a hole over it
//! does not count them again.
//!
//! Where damage takes a block of a rewritten unit nobody knows how many messages were in it: that is guessed, and put right once the
//! cursor has passed the unit, because then it is known how many came out of the rest of it ([`Ledger::settle`]).
//!
//! What is left follows: `queued = received - delivered - dead-lettered - removed`. Whoever looks counts it once more, by the log:
//! all behind the cursor, less what is gone from there ([`Ledger::gone_behind`]). The two are the same, or something is wrong.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::faults;
use crate::message::Seq;
use crate::slots::{SlotError, SlotFile};

/// Room for [`HOLES_MAX`] holes at 21 bytes, [`THINNED_MAX`] stretches at 30, and the totals.
const SLOT_BYTES: usize = 96 * 1024;
/// Holes remembered at most. They are merged where they touch and forgotten once the cursor has passed them, so only a
/// store that is damaged in thousands of places comes near; it then counts a loss again after a restart.
const HOLES_MAX: usize = 2500;
/// Rewritten stretches remembered at most; beyond it nothing more is rewritten. A lane of 8 GiB has as many units.
const THINNED_MAX: usize = 1000;

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
    /// No route wanted it, by a filter of the configuration. Counted by [`super::marks`], in the same write as the cursor
    /// move; not in this file.
    Filtered = 7,
}

/// Reasons that the file has totals of.
const IN_FILE: usize = 7;

impl Reason {
    /// All of them, in the order of the file.
    pub const ALL: [Self; 8] = [
        Self::Skipped,
        Self::Damaged,
        Self::DroppedOldest,
        Self::DroppedNewest,
        Self::Expired,
        Self::Superseded,
        Self::Purged,
        Self::Filtered,
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
            Self::Filtered => "filtered",
        }
    }
}

/// Numbers by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    in_file: [u64; IN_FILE],
    #[serde(skip)]
    filtered: u64,
}

impl Totals {
    /// Messages (for [`Reason::Skipped`]: sequences) since the store was made.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        let in_file = self.in_file.get(reason as usize).copied();
        in_file.unwrap_or(self.filtered)
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

    /// With `count` more for `reason`.
    #[must_use]
    pub fn with(mut self, reason: Reason, count: u64) -> Self {
        self.add(reason, count);
        self
    }

    fn add(&mut self, reason: Reason, count: u64) {
        let total = self.total(reason);
        *total = total.saturating_add(count);
    }

    fn subtract(&mut self, reason: Reason, count: u64) {
        let total = self.total(reason);
        *total = total.saturating_sub(count);
    }

    const fn total(&mut self, reason: Reason) -> &mut u64 {
        let [skipped, damaged, oldest, newest, expired, superseded, purged] = &mut self.in_file;
        match reason {
            Reason::Skipped => skipped,
            Reason::Damaged => damaged,
            Reason::DroppedOldest => oldest,
            Reason::DroppedNewest => newest,
            Reason::Expired => expired,
            Reason::Superseded => superseded,
            Reason::Purged => purged,
            Reason::Filtered => &mut self.filtered,
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
    /// A stretch to ask about.
    const fn of(first: Seq, last: Seq) -> Self {
        Self {
            first,
            last,
            reason: Reason::Skipped,
        }
    }

    /// How many sequences it has in common with the stretch from `first` to `last`.
    fn shared(&self, first: Seq, last: Seq) -> u64 {
        let (first, last) = (self.first.max(first), self.last.min(last));
        last.0.saturating_add(1).saturating_sub(first.0)
    }

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

/// A stretch of the log that is kept rewritten: sequences in it hold no message any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Thinned {
    first: Seq,
    last: Seq,
    /// How many of its messages are gone.
    removed: u64,
}

/// A rewritten unit that takes the place of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// First sequence of the first unit it replaces, and its own.
    pub first: Seq,
    /// Last sequence of the last unit it replaces.
    pub last: Seq,
    /// Tells it from one that was begun before and not committed.
    pub token: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Values {
    totals: Totals,
    /// Ascending, not overlapping.
    holes: Vec<Hole>,
    /// Ascending, not overlapping.
    thinned: Vec<Thinned>,
    /// The last one committed. A crash may have come before it was put in its place.
    replacement: Option<Replacement>,
}

/// The ledger of one lane; shared by writer and reader.
#[derive(Debug)]
pub struct Ledger {
    inner: Mutex<Inner>,
    /// For those who look: `inner` is held over `fdatasync`.
    shown: Shown,
}

/// The values as they were written last.
type Shown = Arc<Mutex<Arc<Values>>>;

#[derive(Debug)]
struct Inner {
    file: SlotFile,
    values: Values,
    shown: Shown,
}

impl Ledger {
    /// Opens or creates the file. A damaged one starts at zero; the flag says whether there was a whole one.
    ///
    /// # Errors
    /// [`SlotError::Io`].
    pub fn open(path: &Path) -> Result<(Self, bool), SlotError> {
        let (mut file, found) = SlotFile::open::<Values>(path, SLOT_BYTES)?;
        // What a killed process left in the page cache counts from here on.
        if let Err(error) = file.sync() {
            tracing::warn!(%error, "cannot sync the ledger now");
        }
        let was_there = found.is_some();
        let values = found.unwrap_or_default();
        let shown = Arc::new(Mutex::new(Arc::new(values.clone())));
        let inner = Mutex::new(Inner {
            file,
            values,
            shown: Arc::clone(&shown),
        });
        Ok((Self { inner, shown }, was_there))
    }

    /// The totals in a file that is left as it is. `None` when there is none, or it is damaged.
    #[must_use]
    pub fn peek(path: &Path) -> Option<Totals> {
        let values: Values = SlotFile::peek(path, SLOT_BYTES)?;
        Some(values.totals)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self) -> Arc<Values> {
        Arc::clone(&self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The numbers so far. Waits for no medium.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.shown().totals
    }

    /// How many of the sequences behind `cursor` hold no message, with the numbers of the same moment; `None` while the cursor is
    /// within a rewritten stretch, of which nobody knows where the gaps are. Waits for no medium.
    #[must_use]
    pub fn gone_behind(&self, cursor: Seq) -> Option<(Totals, u64)> {
        let values = self.shown();
        Some((values.totals, values.gone_behind(cursor)?))
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
        if first > last {
            return 0;
        }
        let whole = Hole::of(first, last);
        let unknown = self.inner().values.parts_unknown(whole);
        whole.len() - unknown.iter().map(Hole::len).sum::<u64>()
    }

    /// Whether everything from `first` to `last` was removed on purpose: nothing of it is to be looked for any more, not
    /// even by a salvage.
    #[must_use]
    pub fn is_removed(&self, first: Seq, last: Seq) -> bool {
        let inner = self.inner();
        let mut values = inner.values.clone();
        values
            .holes
            .retain(|hole| !matches!(hole.reason, Reason::Damaged | Reason::Skipped));
        first <= last && values.parts_unknown(Hole::of(first, last)).is_empty()
    }

    /// How many sequences from `first` to `last` hold no message, because of a hole or because a rewritten unit left them
    /// out. Exact for whole units.
    #[must_use]
    pub fn gone(&self, first: Seq, last: Seq) -> u64 {
        if first > last {
            return 0;
        }
        let inner = self.inner();
        let whole = Hole::of(first, last);
        let unknown = inner.values.parts_unknown(whole);
        whole.len() - inner.values.messages(&unknown)
    }

    /// The rewritten unit that was committed last.
    #[must_use]
    pub fn replacement(&self) -> Option<Replacement> {
        self.inner().values.replacement
    }

    /// Whether another rewritten unit can be remembered.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.inner().values.thinned.len() < THINNED_MAX
    }

    /// Commits a rewritten unit: from here on it is the one that counts, whatever a crash leaves in its place. Its blocks
    /// cover `blocks.0` to `blocks.1`; `removed` messages were left out for `reason`, in addition to those that were gone
    /// before. Durable.
    ///
    /// # Errors
    /// [`SlotError`]: nothing is committed.
    pub fn replace(
        &self,
        replacement: Replacement,
        blocks: (Seq, Seq),
        (reason, removed): (Reason, u64),
        done: Seq,
    ) -> Result<(), SlotError> {
        let (first, last) = blocks;
        let mut inner = self.inner();
        let mut values = inner.values.clone();
        let before = values
            .thinned
            .extract_if(.., |known| known.first <= last && known.last >= first);
        let before: u64 = before.map(|known| known.removed).sum();
        values.thinned.push(Thinned {
            first,
            last,
            removed: before.saturating_add(removed),
        });
        values.totals.add(reason, removed);
        values.replacement = Some(replacement);
        values.tidy(done);
        inner.write(values, true)
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
        values.totals.add(hole.reason, values.messages(&new));
        values.forget_thinned(&new);
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

    /// Whether damage in a rewritten stretch was counted by a guess.
    #[must_use]
    pub fn has_guessed(&self) -> bool {
        let values = self.shown();
        let mut damaged = values.holes.iter().filter(|hole| hole.reason == Reason::Damaged);
        // Asked at each move of the cursor: stretches are in order, and do not overlap.
        damaged.any(|hole| {
            let behind = values.thinned.partition_point(|known| known.last < hole.first);
            values
                .thinned
                .get(behind)
                .is_some_and(|known| known.first <= hole.last)
        })
    }

    /// Puts right what was guessed of rewritten stretches that the cursor has passed: what is missing in the account, or too much in
    /// it, was lost by the damage there, or was not. `passed` gives the cursor and how many messages were delivered, kept as dead
    /// letters, filtered or expired. More than the damage can have held is another mistake, and stays to be seen. Returns by how much
    /// `damaged` changed.
    ///
    /// # Errors
    /// [`SlotError`]: nothing changes; it is found again at the next call.
    pub fn settle(&self, passed: impl FnOnce() -> (Seq, u64)) -> Result<i64, SlotError> {
        let mut inner = self.inner();
        // Asked now: while this is locked nothing of what the cursor has not passed is forgotten.
        let (cursor, done) = passed();
        let Some(off) = inner.values.off_by(cursor, done).filter(|off| *off != 0) else {
            return Ok(0);
        };
        let mut values = inner.values.clone();
        if !values.settle(cursor, off) {
            return Ok(0);
        }
        // A power cut takes it back, and the next start finds it again.
        inner.write(values, false)?;
        Ok(off)
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
        faults::point("ledger.begun");
        self.file.write_beside_synced(&values)?;
        faults::point("ledger.written");
        if durably {
            if let Err(error) = self.file.sync() {
                self.take_back();
                return Err(error.into());
            }
            faults::point("ledger.synced");
        }
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(values.clone());
        self.values = values;
        Ok(())
    }

    /// A restart must not find what the caller is told was not written.
    fn take_back(&mut self) {
        if let Err(error) = self.file.write_beside_synced(&self.values) {
            tracing::warn!(%error, "cannot take back what was written to the ledger");
        }
    }
}

impl Values {
    fn hole_at(&self, seq: Seq) -> Option<Hole> {
        let index = self.holes.partition_point(|hole| hole.last < seq);
        self.holes.get(index).copied().filter(|hole| hole.first <= seq)
    }

    fn gone_behind(&self, cursor: Seq) -> Option<u64> {
        let is_across = |known: &Thinned| known.first <= cursor && known.last > cursor && known.removed > 0;
        // With the last place taken there may be holes that nobody remembers.
        if self.thinned.iter().any(is_across) || self.holes.len() >= HOLES_MAX {
            return None;
        }
        let end = Seq(u64::MAX - 1);
        let holes = self.holes.iter().map(|hole| hole.shared(cursor.next(), end));
        let thinned = self.thinned.iter().filter(|known| known.first > cursor);
        Some(holes.sum::<u64>() + thinned.map(|known| known.removed).sum::<u64>())
    }

    /// How many sequences of a rewritten stretch were taken by damage: as many messages at most.
    fn damage_in(&self, known: &Thinned) -> u64 {
        let damaged = self.holes.iter().filter(|hole| hole.reason == Reason::Damaged);
        damaged.map(|hole| hole.shared(known.first, known.last)).sum()
    }

    /// How many messages up to `cursor` are missing in the account, of which `done` are in the marks. `None` where it cannot be counted.
    fn off_by(&self, cursor: Seq, done: u64) -> Option<i64> {
        let gone_behind = self.gone_behind(cursor)?;
        let counted = i128::from(done) + i128::from(self.totals.sequences());
        i64::try_from(i128::from(cursor.0) + i128::from(gone_behind) - counted).ok()
    }

    /// Takes what is missing for damage in the stretches that the cursor has passed. False when it is too much for that.
    fn settle(&mut self, cursor: Seq, off: i64) -> bool {
        let passed = self.thinned.iter().enumerate();
        let passed = passed.filter(|(_, known)| known.last <= cursor);
        let guessed: Vec<(usize, u64)> = passed
            .map(|(index, known)| (index, self.damage_in(known)))
            .filter(|(_, damage)| *damage > 0)
            .collect();
        let most: u64 = guessed.iter().map(|(_, damage)| damage).sum();
        if off.unsigned_abs() > most {
            return false;
        }
        let Some(known) = guessed.last().and_then(|(index, _)| self.thinned.get_mut(*index)) else {
            return false;
        };
        // After a power cut the cursor may be before it again: then this is what is gone there.
        known.removed = known.removed.saturating_add_signed(off);
        let damaged = self.totals.total(Reason::Damaged);
        *damaged = damaged.saturating_add_signed(off);
        true
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

    /// How many messages `parts`, of which nothing lies in a hole, hold.
    fn messages(&self, parts: &[Hole]) -> u64 {
        let sequences: u64 = parts.iter().map(Hole::len).sum();
        let gone = self.thinned.iter().map(|known| self.share(known, parts));
        sequences.saturating_sub(gone.sum())
    }

    /// How many of the sequences that are gone from `known` lie in `parts`. Exact when these have all of it that is no
    /// hole. Otherwise nobody knows (a damaged block in a rewritten unit), and they are taken to be spread evenly.
    fn share(&self, known: &Thinned, parts: &[Hole]) -> u64 {
        let shared: u64 = parts
            .iter()
            .map(|part| part.shared(known.first, known.last))
            .sum();
        if shared == 0 {
            return 0;
        }
        let open = self.parts_unknown(Hole::of(known.first, known.last));
        let open: u64 = open.iter().map(Hole::len).sum();
        let share = u128::from(known.removed) * u128::from(shared) / u128::from(open.max(1));
        u64::try_from(share).map_or(shared, |share| share.min(shared))
    }

    /// What is gone from `parts`, which become holes, is the holes' from now on.
    fn forget_thinned(&mut self, parts: &[Hole]) {
        let shares: Vec<u64> = self
            .thinned
            .iter()
            .map(|known| self.share(known, parts))
            .collect();
        for (known, share) in self.thinned.iter_mut().zip(shares) {
            known.removed = known.removed.saturating_sub(share);
        }
        self.thinned.retain(|known| known.removed > 0);
    }

    /// Forgets what the cursor has passed for good. What was guessed is settled when the cursor is within no rewritten stretch, so it is
    /// kept, with the damage in it, as long as one that touches it.
    fn forget_passed(&mut self, done: Seq) {
        let mut open = None;
        let mut kept = Vec::with_capacity(self.thinned.len());
        for known in self.thinned.iter().rev() {
            let is_followed = open == Some(known.last.next()) && self.damage_in(known) > 0;
            if known.last > done || is_followed {
                open = Some(known.first);
                kept.push(*known);
            }
        }
        kept.reverse();
        self.thinned = kept;
        let thinned = &self.thinned;
        let is_needed = |hole: &Hole| {
            let lies_in = |known: &Thinned| hole.shared(known.first, known.last) > 0;
            hole.reason == Reason::Damaged && thinned.iter().any(lies_in)
        };
        self.holes.retain(|hole| hole.last > done || is_needed(hole));
    }

    /// Sorts, merges what touches, forgets what is done with, keeps to the limit.
    fn tidy(&mut self, done: Seq) {
        self.thinned.sort_by_key(|known| known.first);
        self.holes.sort_by_key(|hole| hole.first);
        self.forget_passed(done);
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

    fn replace(ledger: &Ledger, first: u64, last: u64, removed: u64) {
        let (first, last) = (Seq(first), Seq(last));
        let replacement = Replacement {
            first,
            last,
            token: 1,
        };
        ledger
            .replace(
                replacement,
                (first, last),
                (Reason::Superseded, removed),
                Seq::ZERO,
            )
            .expect("commits");
    }

    #[test]
    fn a_hole_over_a_rewritten_unit_counts_only_what_it_still_held() {
        let dir = tempfile::tempdir().expect("temp dir");
        let ledger = open(dir.path());
        replace(&ledger, 11, 20, 7);
        replace(&ledger, 11, 30, 10);
        assert_eq!(ledger.gone(Seq(1), Seq(40)), 17);
        let ledger = open(dir.path());
        for _ in 0..2 {
            ledger
                .record(hole(1, 30, Reason::DroppedOldest), Seq::ZERO)
                .expect("records");
            assert_eq!(ledger.totals().of(Reason::DroppedOldest), 13);
            assert_eq!(ledger.totals().of(Reason::Superseded), 17);
            assert_eq!(ledger.gone(Seq(1), Seq(40)), 30);
        }
        assert_eq!(ledger.replacement().map(|known| known.last), Some(Seq(30)));
    }

    #[test]
    fn holes_over_parts_of_a_rewritten_unit_come_to_its_whole() {
        let dir = tempfile::tempdir().expect("temp dir");
        let ledger = open(dir.path());
        replace(&ledger, 1, 100, 37);
        for first in [41, 1, 21, 91, 61] {
            ledger
                .record(hole(first, first + 9, Reason::Damaged), Seq::ZERO)
                .expect("records");
        }
        ledger
            .record(hole(1, 100, Reason::DroppedOldest), Seq::ZERO)
            .expect("records");
        assert_eq!(ledger.totals().removed(), 100);
        assert!(ledger.inner().values.thinned.is_empty());
    }

    fn settle(ledger: &Ledger, cursor: u64, done: u64) -> i64 {
        ledger.settle(|| (Seq(cursor), done)).expect("settles")
    }

    #[test]
    fn what_was_guessed_of_damage_in_a_rewritten_unit_is_put_right_behind_it() {
        // Of 30 messages 17 were left out; of the other 13 so many were in the ten sequences that are damaged.
        for really in [0, 2, 5, 9] {
            let dir = tempfile::tempdir().expect("temp dir");
            let ledger = open(dir.path());
            replace(&ledger, 1, 30, 17);
            assert!(!ledger.has_guessed());
            ledger
                .record(hole(11, 20, Reason::Damaged), Seq::ZERO)
                .expect("records");
            assert!(ledger.has_guessed());
            let delivered = 13 - really;
            assert_eq!(settle(&ledger, 15, 1), 0, "within it nobody knows");
            let guessed = ledger.totals().of(Reason::Damaged);
            let off = settle(&ledger, 30, delivered);
            assert_eq!(
                off,
                i64::try_from(really).expect("few") - i64::try_from(guessed).expect("few")
            );
            let ledger = open(dir.path());
            assert_eq!(
                ledger.totals().of(Reason::Damaged),
                really,
                "{guessed} were guessed"
            );
            assert_eq!(settle(&ledger, 30, delivered), 0, "once");
            let (totals, gone) = ledger.gone_behind(Seq::ZERO).expect("counts");
            assert_eq!(totals.of(Reason::Superseded), 17);
            assert_eq!(
                30 - gone,
                delivered,
                "also when a power cut takes the cursor back"
            );
        }
    }

    #[test]
    fn what_damage_cannot_explain_stays_to_be_seen() {
        let dir = tempfile::tempdir().expect("temp dir");
        let ledger = open(dir.path());
        replace(&ledger, 1, 30, 17);
        assert_eq!(settle(&ledger, 30, 10), 0, "no damage at all");
        ledger
            .record(hole(11, 13, Reason::Damaged), Seq::ZERO)
            .expect("records");
        let guessed = ledger.totals();
        assert_eq!(
            settle(&ledger, 30, 1),
            0,
            "three sequences do not hold eleven messages"
        );
        assert_eq!(ledger.totals(), guessed);
    }

    #[test]
    fn what_was_guessed_is_remembered_until_the_cursor_is_within_no_rewritten_unit() {
        let dir = tempfile::tempdir().expect("temp dir");
        let ledger = open(dir.path());
        replace(&ledger, 1, 30, 17);
        replace(&ledger, 31, 60, 10);
        ledger
            .record(hole(11, 20, Reason::Damaged), Seq::ZERO)
            .expect("records");
        // The cursor went from one to the other in one step, for good.
        ledger
            .record(hole(90, 90, Reason::Damaged), Seq(33))
            .expect("records");
        assert_ne!(settle(&ledger, 60, 11 + 20), 0);
        assert_eq!(ledger.totals().of(Reason::Damaged), 2 + 1);
        ledger
            .record(hole(92, 92, Reason::Damaged), Seq(60))
            .expect("records");
        assert!(ledger.inner().values.thinned.is_empty());
        assert_eq!(
            ledger.holes(),
            [hole(90, 90, Reason::Damaged), hole(92, 92, Reason::Damaged)]
        );
    }

    #[test]
    fn with_more_holes_than_can_be_remembered_nobody_says_how_many_wait() {
        let dir = tempfile::tempdir().expect("temp dir");
        let ledger = open(dir.path());
        for number in 1..=HOLES_MAX as u64 {
            assert!(ledger.gone_behind(Seq::ZERO).is_some(), "{number}");
            let mut values = ledger.inner().values.clone();
            values.holes.push(hole(2 * number, 2 * number, Reason::Damaged));
            let mut inner = ledger.inner();
            *inner.shown.lock().expect("whole") = Arc::new(values.clone());
            inner.values = values;
        }
        assert_eq!(ledger.gone_behind(Seq::ZERO), None);
    }

    #[test]
    fn what_the_cursor_has_passed_is_forgotten() {
        let dir = tempfile::tempdir().expect("temp dir");
        let ledger = open(dir.path());
        replace(&ledger, 1, 10, 5);
        ledger
            .record(hole(20, 20, Reason::Damaged), Seq(10))
            .expect("records");
        assert!(ledger.inner().values.thinned.is_empty());
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
        values.totals.in_file = [u64::MAX; IN_FILE];
        values.holes = (0..HOLES_MAX as u64)
            .map(|number| hole(far + 2 * number, far + 2 * number, Reason::Damaged))
            .collect();
        values.thinned = vec![
            Thinned {
                first: Seq(far),
                last: Seq(far),
                removed: u64::MAX,
            };
            THINNED_MAX
        ];
        values.replacement = Some(Replacement {
            first: Seq(far),
            last: Seq(far),
            token: u32::MAX,
        });
        ledger.inner().write(values, true).expect("fits");
    }
}
