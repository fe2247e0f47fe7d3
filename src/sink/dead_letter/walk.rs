//! Looking at what is there, one block in memory at a time.

use super::store::DeadLetters;
use super::{DeadLetter, KeepError};
use crate::message::Seq;
use crate::queue::codec::{Block, Unreadable, decode};
use crate::queue::seal::Keys;
use crate::queue::store::{Found, RawBlock, StoreError};

/// A letter in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its number: letters are numbered in the order in which they were kept, and no number is used twice.
    pub number: Seq,
    /// The letter.
    pub letter: DeadLetter,
}

/// Walks over the letters that were there when it began, oldest first, beside whoever keeps and removes.
#[derive(Debug)]
pub struct Walk<'a> {
    letters: &'a DeadLetters,
    next: Seq,
    /// Behind the last one.
    end: Seq,
}

impl DeadLetters {
    /// A look at the letters from number `first` on.
    #[must_use]
    pub fn walk(&self, first: Seq) -> Walk<'_> {
        let oldest = self.store.units().first().map_or(Seq(1), |unit| unit.first);
        Walk {
            letters: self,
            next: first.max(oldest),
            end: self.inner().next,
        }
    }

    /// All letters that can be read, oldest first. What should be there and cannot be read is said in the log, and its
    /// generation is set aside.
    ///
    /// # Errors
    /// As [`Walk::next_letters`].
    pub fn list(&self) -> Result<Vec<DeadLetter>, KeepError> {
        let mut walk = self.walk(Seq(1));
        let mut all = Vec::new();
        while let Some(letters) = walk.next_letters()? {
            all.extend(letters.into_iter().map(|kept| kept.letter));
        }
        Ok(all)
    }

    /// Nothing more can be got out of these numbers: those that are not known as gone are lost, or never were letters.
    fn report_missing(&self, first: Seq, last: Seq) -> Result<(), KeepError> {
        let numbers = last.0.saturating_add(1).saturating_sub(first.0);
        if self.inner().removed(first, last) >= numbers {
            return Ok(());
        }
        for unit in self.store.units() {
            let within = unit.first <= last && unit.last.is_none_or(|end| end >= first);
            if within && self.store.suspect(unit.first.max(first))? {
                return Err(StoreError::Salvaging.into());
            }
        }
        let mut inner = self.inner();
        let known = inner.removed(first, last) + inner.note.values.skipped.count_within(first, last);
        let missing = numbers.saturating_sub(known);
        if missing > 0 {
            tracing::error!(%first, %last, messages = missing, "dead letters are missing: their store is damaged");
        }
        inner.change(|values| {
            values.lost = values.lost.saturating_add(missing);
            values.skipped.remove(first, last);
            values.gone.insert_all(first, last);
        })
    }

    /// The letters of a block that are not gone.
    fn living(&self, block: Block<DeadLetter>) -> Vec<Kept> {
        let mut inner = self.inner();
        let values = &mut inner.note.values;
        // Letters that hid behind a place that could not be read at the start.
        if values.skipped.count_within(block.first, block.last) > 0 {
            values.skipped.remove(block.first, block.last);
        }
        let kept = block.messages.into_iter();
        kept.map(|(number, letter)| Kept { number, letter })
            .filter(|kept| !values.gone.contains(kept.number))
            .collect()
    }
}

impl Walk<'_> {
    /// The letters of the next block, perhaps none; `None` at the end.
    ///
    /// # Errors
    /// [`KeepError`] when the store cannot be read now, or some letters only with another key; it holds
    /// [`StoreError::Salvaging`] while a damaged part is still being read: the place stays, ask again.
    pub fn next_letters(&mut self) -> Result<Option<Vec<Kept>>, KeepError> {
        if self.next >= self.end {
            return Ok(None);
        }
        let found = self.letters.store.read_behind(self.next.previous())?;
        let behind = match &found {
            Found::Block(raw) => raw.first.min(self.end),
            Found::Nothing => self.end,
            Found::Salvaging => return Err(StoreError::Salvaging.into()),
        };
        if self.next < behind {
            self.letters.report_missing(self.next, behind.previous())?;
            self.next = behind;
        }
        let Found::Block(raw) = found else {
            return Ok(Some(Vec::new()));
        };
        if raw.first >= self.end {
            return Ok(None);
        }
        if let Some(block) = read(&raw, &self.letters.keys)? {
            self.next = block.last.next();
            return Ok(Some(self.letters.living(block)));
        }
        self.letters.report_missing(raw.first, raw.first)?;
        self.next = raw.first.next();
        Ok(Some(Vec::new()))
    }
}

/// The letters of a block; `None` when it is damaged.
pub(super) fn read(raw: &RawBlock, keys: &Keys) -> Result<Option<Block<DeadLetter>>, KeepError> {
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
