//! Opening, keeping, making room.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use super::note::{Note, Values};
use super::{DeadLetter, KeepError, Pending};
use crate::faults;
use crate::message::{Epoch, Seq, Stored};
use crate::queue::Compression;
use crate::queue::codec::Encoder;
use crate::queue::generations::{Generations, Waker, settle};
use crate::queue::seal::{Keys, key_ids};
use crate::queue::store::{Opened, Store, Unit};
use crate::ranges::Ranges;
use crate::route::Refusal;
use crate::sink::OnFull;

/// More letters than a generation can hold: see there.
const USED_UNSEEN: u64 = 1 << 32;
/// Letters behind the cursor that are remembered, newest first: what can be under way, and as many that wait for the commit
/// of a transaction. Only a power cut that takes the cursor back over more letters than this has the oldest of them kept
/// once more, under the same message id.
pub(in crate::sink) const RECALLED_MAX: usize = 8192;

/// The store of dead letters of one lane.
#[derive(Debug)]
pub struct DeadLetters {
    pub(super) store: Box<dyn Store>,
    pub(super) keys: Keys,
    max_bytes: u64,
    on_full: OnFull,
    inner: Mutex<Inner>,
    /// Giving back space failed the last time.
    is_untidy: AtomicBool,
    /// The last letter that the start found may not survive a power cut.
    pub(super) is_unproven: AtomicBool,
    /// Messages that the cursor may not have passed and that are letters already. Held for a look only.
    decided: Mutex<BTreeMap<Seq, (Epoch, Vec<Refusal>)>>,
    stood: Mutex<Stand>,
    /// Letters that were left in units when they were rewritten, by their first number. One thread at a time rewrites.
    pub(super) rewritten: Mutex<BTreeMap<Seq, u64>>,
    /// The last field: it goes when all others are gone, the store closed.
    open: Arc<()>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) encoder: Encoder,
    /// Number of the next letter.
    pub(super) next: Seq,
    pub(super) note: Note,
    /// Letters that were removed with their units, in this process: a look that began before still comes to their numbers.
    /// Neighbours join, so these are a few stretches.
    pub(super) forgotten: Ranges,
}

/// How the letters of a lane stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stand {
    /// Letters that are there.
    pub letters: u64,
    /// Space they take on disk, bytes.
    pub bytes: u64,
    /// Letters that `on_full = "drop-oldest"` removed since the store was made.
    pub dropped: u64,
    /// Letters that damage took.
    pub lost: u64,
}

impl DeadLetters {
    /// Goes when nobody has the letters open any more: then their folder may be opened again.
    #[must_use]
    pub fn trace(&self) -> Weak<()> {
        Arc::downgrade(&self.open)
    }

    /// Opens or creates the store in `folder`, sealed with `keys`; when it is full, nothing more is kept.
    ///
    /// # Errors
    /// [`KeepError`] when the folder cannot be used.
    pub fn open(folder: &Path, epoch: Epoch, max_bytes: u64, keys: Keys) -> Result<Self, KeepError> {
        key_ids::check(folder, &keys)?;
        let note = Note::open(folder);
        if folder.is_dir() {
            settle(folder, note.values.replacement)?;
        }
        let opened = Generations::open(folder, max_bytes, Waker::new(|| {}))?;
        Self::assemble(opened, note, folder, epoch, max_bytes, keys)
    }

    /// The same around a store that is kept elsewhere, without keys.
    ///
    /// # Errors
    /// [`KeepError`] when the folder cannot be used.
    #[doc(hidden)]
    pub fn open_on(
        opened: Opened<impl Store + 'static>,
        folder: &Path,
        epoch: Epoch,
        max_bytes: u64,
    ) -> Result<Self, KeepError> {
        let note = Note::open(folder);
        Self::assemble(opened, note, folder, epoch, max_bytes, Keys::default())
    }

    fn assemble(
        opened: Opened<impl Store + 'static>,
        note: Note,
        folder: &Path,
        epoch: Epoch,
        max_bytes: u64,
        keys: Keys,
    ) -> Result<Self, KeepError> {
        let extent = opened.extent;
        let begun = extent.newest.map(Seq::previous);
        let end = extent.last.max(begun).unwrap_or(Seq::ZERO);
        let trimmed = extent.oldest.map_or(Seq::ZERO, Seq::previous);
        let mut inner = Inner {
            encoder: Encoder::new(epoch, Compression::Zstd, &keys)?,
            next: end.next(),
            note,
            forgotten: Ranges::default(),
        };
        // A generation begins at its first letter: one that cannot be seen through must not be begun again.
        if extent.unsure || extent.hollow {
            inner.leave_out(USED_UNSEEN);
        }
        key_ids::note(folder, &keys, inner.next, trimmed).map_err(KeepError::KeyIds)?;
        let letters = Self {
            store: Box::new(opened.store),
            keys,
            max_bytes,
            on_full: OnFull::Hold,
            inner: Mutex::new(inner),
            is_untidy: AtomicBool::new(false),
            is_unproven: AtomicBool::new(false),
            decided: Mutex::default(),
            stood: Mutex::default(),
            rewritten: Mutex::default(),
            open: Arc::new(()),
        };
        letters.sweep(&mut letters.inner());
        Ok(letters)
    }

    /// The same store with what it does when it is full.
    #[must_use]
    pub fn on_full(mut self, on_full: OnFull) -> Self {
        self.on_full = on_full;
        self
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn known(&self) -> MutexGuard<'_, BTreeMap<Seq, (Epoch, Vec<Refusal>)>> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of the next letter.
    pub(super) fn end(&self) -> Seq {
        self.inner().next
    }

    pub(super) fn decide(&self, letter: DeadLetter) {
        let mut known = self.known();
        known.insert(letter.seq, (letter.epoch, letter.reasons));
        while known.len() > RECALLED_MAX {
            known.pop_first();
        }
    }

    /// Why the message is a letter already; `None` when it is none, or its turn was long ago.
    #[must_use]
    pub fn decided(&self, stored: &Stored) -> Option<Vec<Refusal>> {
        let known = self.known();
        let (epoch, reasons) = known.get(&stored.seq)?;
        // In another epoch the same sequence is another message.
        (*epoch == stored.epoch).then(|| reasons.clone())
    }

    /// Keeps a message; durable when this returns. One that is kept already is not kept again: then the answer is false.
    ///
    /// # Errors
    /// [`KeepError`]: not kept.
    pub fn keep(&self, stored: &Stored, reasons: Vec<Refusal>) -> Result<bool, KeepError> {
        self.prove()?;
        if self.decided(stored).is_some() {
            return Ok(false);
        }
        if self.store.bytes() >= self.max_bytes {
            self.try_tidy();
        }
        let mut inner = self.inner();
        self.make_room(&mut inner)?;
        inner.note.make().map_err(KeepError::noting)?;
        let letter = DeadLetter {
            epoch: stored.epoch,
            seq: stored.seq,
            reasons,
            arrival: stored.arrival.clone(),
        };
        let number = inner.next;
        let chunks = inner.encoder.encode(number, [&letter])?;
        faults::point("letter.encoded");
        self.store.append(&chunks)?;
        faults::point("letter.kept");
        inner.next = number.next();
        drop(inner);
        self.decide(letter);
        Ok(true)
    }

    /// What cannot be tidied takes its room, and is no reason not to look for some elsewhere. Said once, until it works.
    fn try_tidy(&self) {
        match self.tidy() {
            Ok(()) => self.is_untidy.store(false, Ordering::Relaxed),
            Err(error) if !self.is_untidy.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "cannot give back the space of dead letters that are gone");
            }
            Err(_) => {}
        }
    }

    /// Sees to it that another letter is within the budget.
    fn make_room(&self, inner: &mut Inner) -> Result<(), KeepError> {
        if self.taken(inner) < self.max_bytes {
            return Ok(());
        }
        self.sweep(inner);
        while self.taken(inner) >= self.max_bytes {
            let bytes = self.store.bytes();
            let full = KeepError::Full {
                bytes,
                max_bytes: self.max_bytes,
            };
            match (self.on_full, self.store.units().as_slice()) {
                (OnFull::DropOldest, [oldest, _, ..]) => self.drop_oldest(inner, *oldest)?,
                // Nothing is older: the next letter begins a unit, and then this one may go.
                (OnFull::DropOldest, [_]) => {
                    self.store.seal();
                    return Ok(());
                }
                _ => return Err(full),
            }
        }
        Ok(())
    }

    /// Space taken, without that of a newest unit that goes when the next one begins.
    fn taken(&self, inner: &Inner) -> u64 {
        let bytes = self.store.bytes();
        match self.store.units().last() {
            Some(newest) if newest.first < inner.next && inner.living(*newest) == 0 => {
                self.store.seal();
                bytes.saturating_sub(newest.bytes)
            }
            _ => bytes,
        }
    }

    fn drop_oldest(&self, inner: &mut Inner, oldest: Unit) -> Result<(), KeepError> {
        let count = inner.living(oldest);
        let last = oldest.last.unwrap_or(oldest.first);
        let mut values = inner.note.values.clone();
        values.gone.insert_all(oldest.first, last);
        values.dropped = values.dropped.saturating_add(count);
        inner.note.save(values).map_err(KeepError::noting)?;
        faults::point("letters.dropped");
        self.store.drop_unit(oldest.first)?;
        self.forget(inner);
        tracing::warn!(messages = count, "dead letters are full: the oldest were dropped");
        Ok(())
    }

    /// Deletes units of which nothing is left.
    pub(super) fn sweep(&self, inner: &mut Inner) {
        for unit in self.store.units() {
            let Some(last) = unit.last else { continue };
            if inner.living(unit) > 0 || inner.note.values.skipped.count_within(unit.first, last) > 0 {
                continue;
            }
            let is_oldest = self
                .store
                .units()
                .first()
                .is_some_and(|oldest| oldest.first == unit.first);
            // A damaged one is kept for people.
            let dropped = if is_oldest {
                self.store.trim_all(last)
            } else {
                self.store.drop_unit(unit.first)
            };
            if let Err(error) = dropped {
                tracing::warn!(first = %unit.first, %error, "cannot delete dead letters that were removed");
            }
        }
        self.forget(inner);
    }

    /// Forgets what was noted of units that are not there any more. Durable with the next note.
    fn forget(&self, inner: &mut Inner) {
        let before = self
            .store
            .units()
            .first()
            .map_or(inner.next, |unit| unit.first)
            .previous();
        let values = &mut inner.note.values;
        for (first, last) in values.gone.iter().take_while(|(first, _)| *first <= before) {
            inner.forgotten.insert_all(first, last.min(before));
        }
        values.gone.remove(Seq::ZERO, before);
        values.skipped.remove(Seq::ZERO, before);
    }

    /// How they stand now, or stood a moment ago: nobody who watches waits for the disk.
    #[must_use]
    pub fn stand(&self) -> Stand {
        let mut stood = self.stood.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = match self.inner.try_lock() {
            Ok(inner) => inner,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return *stood,
        };
        let units = self.store.units();
        let stand = Stand {
            letters: units.iter().map(|unit| inner.living(*unit)).sum(),
            bytes: stood.bytes,
            dropped: inner.note.values.dropped,
            lost: inner.note.values.lost,
        };
        // Nor does who keeps a letter wait for whoever watches: the disk is asked when both are let go of.
        drop(inner);
        *stood = stand;
        drop(stood);
        let bytes = self.store.bytes();
        self.stood.lock().unwrap_or_else(PoisonError::into_inner).bytes = bytes;
        Stand { bytes, ..stand }
    }

    /// Whether the letter of this message may be taken out: a crash must not bring the message again. `cursor` is the
    /// lane's, as a power cut would leave it; `None` when there is no such lane any more.
    #[must_use]
    pub fn is_settled(&self, stored: &Stored, cursor: Option<Seq>) -> bool {
        cursor.is_none_or(|cursor| stored.seq <= cursor || self.decided(stored).is_none())
    }

    /// Letters that were handed to a queue, and of which it is not known whether they are there.
    #[must_use]
    pub fn pending(&self) -> Option<Pending> {
        self.inner().note.values.pending.clone()
    }
}

impl Inner {
    /// How many of these numbers are of letters that were removed.
    pub(super) fn removed(&self, first: Seq, last: Seq) -> u64 {
        self.note.values.gone.count_within(first, last) + self.forgotten.count_within(first, last)
    }

    /// Letters of a unit that are there.
    pub(super) fn living(&self, unit: Unit) -> u64 {
        let last = unit
            .last
            .unwrap_or(self.next.previous())
            .min(self.next.previous());
        let numbers = last.0.saturating_add(1).saturating_sub(unit.first.0);
        let values = &self.note.values;
        let gone = values.gone.count_within(unit.first, last);
        numbers.saturating_sub(gone + values.skipped.count_within(unit.first, last))
    }

    /// Goes on `count` numbers further on. Should it not be noted now, the letters are counted wrongly until it is.
    fn leave_out(&mut self, count: u64) {
        let first = self.next;
        self.next = first.plus(count);
        let mut values = self.note.values.clone();
        values.skipped.insert_all(first, self.next.previous());
        if let Err(error) = self.note.save(values) {
            tracing::warn!(%error, "cannot note what is left out of the dead letters");
        }
    }

    /// Changes what is noted, durably.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Values)) -> Result<(), KeepError> {
        let mut values = self.note.values.clone();
        change(&mut values);
        self.note.save(values).map_err(KeepError::noting)
    }
}
