//! Taking letters out, and giving back their space.

use std::sync::PoisonError;

use super::note::Pending;
use super::store::DeadLetters;
use super::walk::read;
use super::{DeadLetter, KeepError};
use crate::faults;
use crate::message::Seq;
use crate::queue::codec::{Block, Chunk};
use crate::queue::ledger::Replacement;
use crate::queue::store::{Found, Store, Unit};
use crate::ranges::Ranges;

/// A unit is rewritten when at most this part of its letters is left: it then gives back most of its space for little
/// writing.
const LEFT_PART: u64 = 4;
/// Stretches of lost messages that are remembered as told; beyond it the space between the nearest ones
/// counts as told. Only a store that is damaged in a thousand places comes near.
const TOLD_MAX: usize = 1000;
/// A unit this small is not worth another one: what sled and the file system take for it is as much.
const UNIT_BYTES: u64 = 64 * 1024;

impl DeadLetters {
    /// Takes letters out, durably: they do not come back. Space is given back by [`DeadLetters::tidy`].
    ///
    /// # Errors
    /// [`KeepError`]: all of them are there.
    pub fn remove(&self, numbers: &[Seq]) -> Result<(), KeepError> {
        self.take_out(numbers, true)
    }

    /// Notes, durably, that letters are about to be handed to a queue.
    ///
    /// # Errors
    /// [`KeepError`]: they must not be handed over.
    pub fn begin(&self, pending: Pending) -> Result<(), KeepError> {
        self.inner().change(|values| values.pending = Some(pending))
    }

    /// Notes, durably, that of the letters that were handed over these have arrived: they are taken out.
    ///
    /// # Errors
    /// [`KeepError`]: all of them are there, and pending.
    pub fn arrived(&self, numbers: &[Seq]) -> Result<(), KeepError> {
        self.take_out(numbers, false)
    }

    /// Sequences of `holes` of which the Kafka topic was not told.
    #[must_use]
    pub fn untold(&self, holes: &[(Seq, Seq)]) -> Vec<(Seq, Seq)> {
        let told = &self.inner().note.values.told;
        let mut untold = Ranges::default();
        for (first, last) in holes {
            untold.insert_all(*first, *last);
        }
        untold.remove_all(told);
        untold.iter().collect()
    }

    /// Notes, durably, that the Kafka topic was told of a stretch.
    ///
    /// # Errors
    /// [`KeepError`]: it will be told again.
    pub fn told(&self, first: Seq, last: Seq) -> Result<(), KeepError> {
        self.inner().change(|values| {
            values.told.insert_all(first, last);
            values.told.coarsen(TOLD_MAX);
        })
    }

    fn take_out(&self, numbers: &[Seq], stays_pending: bool) -> Result<(), KeepError> {
        let mut inner = self.inner();
        inner.change(|values| {
            for number in numbers {
                values.gone.insert(*number);
            }
            if !stays_pending {
                values.pending = None;
            }
        })?;
        faults::point("letters.removed");
        self.sweep(&mut inner);
        Ok(())
    }

    /// Gives back the space of letters that are gone: the newest unit ends, and units of which little is left are
    /// rewritten. Reads a unit at a time; not for a thread that the pipeline needs.
    ///
    /// # Errors
    /// [`KeepError`]: nothing is lost; what was not given back is at the next call.
    pub fn tidy(&self) -> Result<(), KeepError> {
        let mut rewritten = self.rewritten.lock().unwrap_or_else(PoisonError::into_inner);
        self.sweep(&mut self.inner());
        let Some((_, older)) = self
            .store
            .units()
            .split_last()
            .map(|(last, older)| (*last, older.to_vec()))
        else {
            return Ok(());
        };
        rewritten.retain(|first, _| older.iter().any(|unit| unit.first == *first));
        for unit in older {
            let Some(last) = unit.last else { continue };
            if let Some(left) = self.left_of(unit, last, rewritten.get(&unit.first).copied()) {
                self.rewrite(unit, last)?;
                rewritten.insert(unit.first, left);
            }
        }
        Ok(())
    }

    /// How many letters of the unit are left, if that is little of what it had when it was written.
    fn left_of(&self, unit: Unit, last: Seq, had: Option<u64>) -> Option<u64> {
        let inner = self.inner();
        let is_known = inner.note.values.skipped.count_within(unit.first, last) == 0;
        let had = had.unwrap_or_else(|| last.0.saturating_add(1).saturating_sub(unit.first.0));
        let left = inner.living(unit);
        let is_little = left.saturating_mul(LEFT_PART) <= had && unit.bytes > UNIT_BYTES;
        (is_known && is_little).then_some(left)
    }

    /// Puts what is left of a unit in its place. The steps, each of which may be the last one before a crash: built beside
    /// it, committed by the note, put in its place (at the next open, if need be).
    fn rewrite(&self, unit: Unit, last: Seq) -> Result<(), KeepError> {
        let Some(groups) = self.pack(unit, last)? else {
            return Ok(());
        };
        let replacement = Replacement {
            first: unit.first,
            last,
            token: rand::random(),
        };
        self.store.stage(replacement, &groups)?;
        let mut inner = self.inner();
        // `drop-oldest` may have come first.
        let is_there = self.store.units().iter().any(|known| known.first == unit.first);
        let committed = if is_there {
            inner.change(|values| values.replacement = Some(replacement))
        } else {
            Ok(())
        };
        if !is_there || committed.is_err() {
            self.store.unstage(replacement);
            return committed;
        }
        faults::point("letters.rewritten");
        self.store.replace(replacement);
        Ok(())
    }

    /// What is left of a unit, packed. `None` when not all of it can be read: it is left as it is.
    fn pack(&self, unit: Unit, last: Seq) -> Result<Option<Vec<Vec<Chunk>>>, KeepError> {
        let mut groups = Vec::new();
        let mut next = unit.first;
        while next <= last {
            let Found::Block(raw) = self.store.read_behind(next.previous())? else {
                break;
            };
            if raw.first > last {
                break;
            }
            let Some(block) = read(&raw, &self.keys)? else {
                return Ok(None);
            };
            next = block.last.next();
            groups.extend(self.thin(block)?);
        }
        Ok(Some(groups))
    }

    /// What is left of a block; nothing when nothing is.
    fn thin(&self, block: Block<DeadLetter>) -> Result<Option<Vec<Chunk>>, KeepError> {
        let mut inner = self.inner();
        let gone = &inner.note.values.gone;
        let left: Vec<_> = block
            .messages
            .into_iter()
            .filter(|(number, _)| !gone.contains(*number))
            .collect();
        if left.is_empty() {
            return Ok(None);
        }
        let block = Block {
            messages: left,
            ..block
        };
        Ok(Some(inner.encoder.encode_sparse(&block)?))
    }
}
