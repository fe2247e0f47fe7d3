//! Taking letters out, and giving back their space.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use super::note::Pending;
use super::store::DeadLetters;
use super::walk::read;
use super::{DeadLetter, KeepError};
use crate::faults;
use crate::message::Seq;
use crate::queue::codec::{Block, Chunk};
use crate::queue::ledger::Replacement;
use crate::queue::store::{Found, Unit};
use crate::ranges::Ranges;

/// A unit is rewritten when at most this part of its letters is left: it then gives back most of its space for little
/// writing.
const LEFT_PART: u64 = 4;
/// What a unit takes whatever is in it: sled makes up to 256 KiB ready for what comes next, and that stays.
const PADDING_BYTES: u64 = 256 * 1024;
/// Units up to this size are merged with their neighbours, for example those that starts with a letter or two left, when
/// that halves what they take.
const SMALL_BYTES: u64 = 2 * PADDING_BYTES;
/// Units that are merged at a time: it is all in memory while it lasts.
const MERGED_MAX: usize = 16;
/// Stretches of lost messages that are remembered as told; beyond it the space between the nearest ones
/// counts as told. Only a store that is damaged in a thousand places comes near.
const TOLD_MAX: usize = 1000;

/// Blocks, and how many letters are in them.
type Packed = (Vec<Vec<Chunk>>, u64);

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

    /// Gives back the space of letters that are gone: units of which little is left are rewritten, small ones merged. Reads
    /// some units; not for a thread that the pipeline needs, unless it has no room anyway.
    ///
    /// # Errors
    /// [`KeepError`]: nothing is lost; what was not given back is at the next call.
    pub fn tidy(&self) -> Result<(), KeepError> {
        let mut rewritten = self.rewritten.lock().unwrap_or_else(PoisonError::into_inner);
        self.sweep(&mut self.inner());
        let units = self.store.units();
        // The newest is being written.
        let older = units.split_last().map_or(&[][..], |(_, older)| older);
        rewritten.retain(|first, _| older.iter().any(|unit| unit.first == *first));
        let mut run = Vec::new();
        for unit in older {
            let is_thin = self.is_thin(*unit, rewritten.get(&unit.first).copied());
            if !is_thin || run.len() >= MERGED_MAX {
                self.merge(&std::mem::take(&mut run), &mut rewritten)?;
            }
            if is_thin {
                run.push(*unit);
            }
        }
        self.merge(&run, &mut rewritten)
    }

    /// Whether the unit is small, or little is left of what it had when it was written.
    fn is_thin(&self, unit: Unit, had: Option<u64>) -> bool {
        let Some(last) = unit.last else { return false };
        let inner = self.inner();
        let is_known = inner.note.values.skipped.count_within(unit.first, last) == 0;
        // One that was looked at is looked at again only when most of it is gone.
        let is_new = had.is_none();
        let had = had.unwrap_or_else(|| last.0.saturating_add(1).saturating_sub(unit.first.0));
        let is_little = inner.living(unit).saturating_mul(LEFT_PART) <= had;
        is_known && (is_little || is_new && unit.bytes <= SMALL_BYTES)
    }

    /// Puts what is left of neighbours in their place, as one unit. The steps, each of which may be the last one before a
    /// crash: built beside them, committed by the note, put in its place (at the next open, if need be).
    fn merge(&self, run: &[Unit], rewritten: &mut BTreeMap<Seq, u64>) -> Result<(), KeepError> {
        let (Some(head), Some(tail)) = (run.first(), run.last()) else {
            return Ok(());
        };
        let Some(last) = tail.last.filter(|_| run.len() > 1 || head.bytes > SMALL_BYTES) else {
            return Ok(());
        };
        let Some((groups, left)) = self.pack(head.first, last)? else {
            return Ok(());
        };
        let chunks = groups.iter().flatten();
        let packed: u64 = chunks.map(|chunk| chunk.bytes.len() as u64).sum();
        let before: u64 = run.iter().map(|unit| unit.bytes).sum();
        if (packed + PADDING_BYTES).saturating_mul(2) > before {
            let inner = self.inner();
            rewritten.extend(run.iter().map(|unit| (unit.first, inner.living(*unit))));
            return Ok(());
        }
        let replacement = Replacement {
            first: head.first,
            last,
            token: rand::random(),
        };
        self.store.stage(replacement, &groups)?;
        let mut inner = self.inner();
        // `drop-oldest` may have come first.
        let units = self.store.units();
        let are_there = run
            .iter()
            .all(|unit| units.iter().any(|known| known.first == unit.first));
        let committed = if are_there {
            inner.change(|values| values.replacement = Some(replacement))
        } else {
            Ok(())
        };
        if !are_there || committed.is_err() {
            self.store.unstage(replacement);
            return committed;
        }
        faults::point("letters.rewritten");
        self.store.replace(replacement);
        rewritten.insert(head.first, left);
        Ok(())
    }

    /// What is left from `first` to `last`, packed, and how many letters that are. `None` when not all of it can be read:
    /// it is left as it is.
    fn pack(&self, first: Seq, last: Seq) -> Result<Option<Packed>, KeepError> {
        let (mut groups, mut left) = (Vec::new(), 0);
        let mut next = first;
        while next <= last {
            let block = match self.store.read_behind(next.previous())? {
                Found::Block(raw) if raw.first > last => break,
                Found::Block(raw) => read(&raw, &self.keys)?.map(|block| (raw.first, block)),
                Found::Nothing => break,
                Found::Salvaging => None,
            };
            let Some((_, block)) = block.filter(|(begins, _)| self.are_gone(next, *begins)) else {
                return Ok(None);
            };
            next = block.last.next();
            let (chunks, count) = self.thin(block)?;
            groups.extend(chunks);
            left += count;
        }
        Ok(self.are_gone(next, last.next()).then_some((groups, left)))
    }

    /// Whether no letter is known from `first` up to, not with, `end`.
    fn are_gone(&self, first: Seq, end: Seq) -> bool {
        let numbers = end.0.saturating_sub(first.0);
        numbers == 0 || self.inner().note.values.gone.count_within(first, end.previous()) == numbers
    }

    /// What is left of a block; nothing when nothing is.
    fn thin(&self, block: Block<DeadLetter>) -> Result<(Option<Vec<Chunk>>, u64), KeepError> {
        let mut inner = self.inner();
        let gone = &inner.note.values.gone;
        let left: Vec<_> = block
            .messages
            .into_iter()
            .filter(|(number, _)| !gone.contains(*number))
            .collect();
        let count = left.len() as u64;
        if left.is_empty() {
            return Ok((None, 0));
        }
        let block = Block {
            messages: left,
            ..block
        };
        Ok((Some(inner.encoder.encode_sparse(&block)?), count))
    }
}
