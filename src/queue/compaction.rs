//! Rewriting stretches of the log so that messages that nobody wants any more give back their space.
//!
//! A unit is read from its end to its beginning, what is left of it is packed into sparse blocks that cover the same
//! sequences, and the result takes the place of the unit, or of several neighbours. The steps, each of which may be the
//! last one before a crash:
//!
//! 1. the new unit is built beside the old ones and made durable ([`Store::stage`]);
//! 2. one durable write of the ledger commits it, with the count of what it leaves out ([`Ledger::replace`]);
//! 3. the old units are deleted and the new one takes their place ([`Store::replace`], or the next open).
//!
//! Before step 2 nothing has happened; from then on the messages are gone and counted. What may be on its way to Kafka is
//! never left out: step 2 is done under the lock of `Shared.taken`, and not at all when the reader got there meanwhile.
//! Only the writer's thread rewrites.
//!
//! [`Store::stage`]: super::store::Store::stage
//! [`Store::replace`]: super::store::Store::replace
//! [`Ledger::replace`]: super::ledger::Ledger::replace

use std::sync::PoisonError;

use crate::faults;
use crate::message::{Arrival, Seq, Stored};
use crate::queue::Shared;
use crate::queue::codec::{Block, Chunk, Encoder, decode};
use crate::queue::jobs::PurgeError;
use crate::queue::ledger::{Hole, Reason, Replacement};
use crate::queue::reader::sequences_of;
use crate::queue::store::{Found, Unit};
use crate::slots::SlotError;

/// Blocks are merged up to this size: as large as the writer makes them.
const BLOCK_BYTES: usize = 64 * 1024;

/// Says of a message whether it is to be left out.
pub(super) type Judge<'a> = dyn FnMut(&Stored) -> bool + 'a;

/// What is left of one unit or of several neighbours.
#[derive(Debug)]
pub(super) struct Thin {
    /// Where it begins, and where it may end.
    first: Seq,
    last: Seq,
    /// What its blocks cover.
    blocks: (Seq, Seq),
    /// Its blocks, newest first.
    groups: Vec<Vec<Chunk>>,
    /// Bytes in these.
    pub(super) bytes: u64,
    /// Units it stands for.
    pub(super) units: usize,
    /// Messages that stay.
    pub(super) kept: u64,
    /// Messages that are left out.
    pub(super) removed: u64,
    first_removed: Option<Seq>,
}

/// How a rewriting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// The reader has taken some of what was to be left out: nothing has happened.
    Overtaken,
    /// The ledger cannot remember another rewritten unit: nothing has happened.
    TooMany,
}

impl Thin {
    /// Nothing of it is left.
    pub(super) const fn is_empty(&self) -> bool {
        self.kept == 0
    }

    /// Puts the unit before it and this one together.
    pub(super) fn join(mut self, older: Self) -> Self {
        self.groups.extend(older.groups);
        Self {
            first: older.first,
            last: self.last,
            blocks: (older.blocks.0, self.blocks.1),
            groups: self.groups,
            bytes: self.bytes + older.bytes,
            units: self.units + older.units,
            kept: self.kept + older.kept,
            removed: self.removed + older.removed,
            first_removed: older.first_removed.or(self.first_removed),
        }
    }
}

/// Collects what is left, block by block from the end.
struct Collector<'a> {
    encoder: &'a mut Encoder,
    /// The block that is being merged; its messages are the newest first.
    open: Option<Block<Arrival>>,
    open_bytes: usize,
    groups: Vec<Vec<Chunk>>,
    bytes: u64,
}

impl Collector<'_> {
    /// Takes what is left of the block before the one that came last.
    fn add(&mut self, block: Block<Arrival>) -> Result<(), PurgeError> {
        let bytes: usize = block.messages.iter().map(|(_, arrival)| arrival.cost()).sum();
        let full = self.open_bytes > 0 && self.open_bytes + bytes > BLOCK_BYTES;
        let other = self.open.as_ref().is_some_and(|open| {
            open.epoch != block.epoch || open.last.0.saturating_sub(block.first.0) >= u64::from(u32::MAX)
        });
        if full || other {
            self.flush()?;
        }
        self.open_bytes += bytes;
        match &mut self.open {
            Some(open) => {
                open.first = block.first;
                open.messages.extend(block.messages);
            }
            None => self.open = Some(block),
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PurgeError> {
        if let Some(mut block) = self.open.take() {
            block.messages.reverse();
            let chunks = self.encoder.encode_sparse(&block)?;
            self.bytes += chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum::<u64>();
            self.groups.push(chunks);
        }
        self.open_bytes = 0;
        Ok(())
    }
}

/// Everything up to here may be on its way: the reader has taken it or the cursor has passed it.
pub(super) fn floor(shared: &Shared) -> Seq {
    let taken = *shared.taken.lock().unwrap_or_else(PoisonError::into_inner);
    taken.max(shared.marks.values().cursor)
}

/// Reads `unit` up to `last` and leaves out what `judge` says, newest message first; what may be on its way is not judged.
/// `None` when not all of it can be read: it is left as it is. The newest unit is judged and not packed.
pub(super) fn thin(
    shared: &Shared,
    encoder: &mut Encoder,
    unit: Unit,
    last: Seq,
    judge: &mut Judge<'_>,
) -> Result<Option<Thin>, PurgeError> {
    let floor = floor(shared);
    let mut thin = Thin {
        first: unit.first,
        last,
        blocks: (last, last),
        groups: Vec::new(),
        bytes: 0,
        units: 1,
        kept: 0,
        removed: 0,
        first_removed: None,
    };
    let mut collector = Collector {
        encoder,
        open: None,
        open_bytes: 0,
        groups: Vec::new(),
        bytes: 0,
    };
    let mut from = last;
    let mut is_newest = true;
    while from >= unit.first && from > Seq::ZERO {
        shared.writer_pulse.beat();
        let Some(block) = block_at(shared, from)? else {
            return Ok(None);
        };
        let here = block.first >= unit.first && block.first <= from;
        let end = if here { block.last } else { unit.first.previous() };
        let missing = from.0.saturating_sub(end.0);
        if shared.ledger.covered(end.next(), from) < missing {
            return Ok(None);
        }
        if !here {
            break;
        }
        if std::mem::take(&mut is_newest) {
            thin.blocks.1 = block.last;
        }
        thin.blocks.0 = block.first;
        from = block.first.previous();
        collector.add(thin.weed(block, floor, judge))?;
    }
    if is_newest {
        return Ok(None);
    }
    collector.flush()?;
    thin.groups = collector.groups;
    thin.bytes = collector.bytes;
    Ok(Some(thin))
}

/// The block that `seq` lies in or behind. `None` when it cannot be read or is damaged.
fn block_at(shared: &Shared, seq: Seq) -> Result<Option<Block<Arrival>>, PurgeError> {
    let Found::Block(raw) = shared.store.read(seq)? else {
        return Ok(None);
    };
    Ok(decode(&raw.chunks, &shared.keys).ok())
}

impl Thin {
    /// What is left of a block, its newest message first.
    fn weed(&mut self, block: Block<Arrival>, floor: Seq, judge: &mut Judge<'_>) -> Block<Arrival> {
        let epoch = block.epoch;
        let mut left = Vec::new();
        for (seq, arrival) in block.messages.into_iter().rev() {
            let stored = Stored { seq, epoch, arrival };
            if seq > floor && judge(&stored) {
                self.removed += 1;
                self.first_removed = Some(seq);
            } else {
                self.kept += 1;
                left.push((seq, stored.arrival));
            }
        }
        Block {
            messages: left,
            ..block
        }
    }
}

/// Steps of a rewriting, for who looks what a crash behind one leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Staged,
    Committed,
}

/// Puts what is left in the place of what was there, and counts the rest under `reason`.
pub(super) fn commit(shared: &Shared, thin: Thin, reason: Reason) -> Result<Outcome, PurgeError> {
    commit_in_steps(shared, thin, reason, |_| {})
}

/// The same; `behind` is called behind each step.
pub(super) fn commit_in_steps(
    shared: &Shared,
    thin: Thin,
    reason: Reason,
    mut behind: impl FnMut(Step),
) -> Result<Outcome, PurgeError> {
    if !shared.ledger.has_room() {
        return Ok(Outcome::TooMany);
    }
    let replacement = Replacement {
        first: thin.first,
        last: thin.last,
        token: faults::random(),
    };
    let groups: Vec<_> = thin.groups.into_iter().rev().collect();
    shared.store.stage(replacement, &groups)?;
    behind(Step::Staged);
    let taken = shared.taken.lock().unwrap_or_else(PoisonError::into_inner);
    if thin.first_removed.is_some_and(|first| first <= *taken) {
        shared.store.unstage(replacement);
        return Ok(Outcome::Overtaken);
    }
    let counted = (reason, thin.removed);
    let done = shared.marks.synced_cursor();
    if let Err(error) = shared.ledger.replace(replacement, thin.blocks, counted, done) {
        shared.store.unstage(replacement);
        return Err(error.into());
    }
    behind(Step::Committed);
    // What is in memory is what was there before.
    shared.tail.forget(thin.last);
    shared.store.replace(replacement);
    // A reader must not look between the two: the lock is held until here.
    drop(taken);
    let first = thin.first_removed.unwrap_or(thin.first);
    shared.drops.note(reason, first, thin.last, thin.removed);
    Ok(Outcome::Done)
}

/// What a start left out behind a loss may hold messages after all, which the reader would find when it came there. Nobody will come there: they are counted as the
/// messages that they are. What cannot be read now stays left out.
fn find_left_out(shared: &Shared, first: Seq, last: Seq) -> Result<(), SlotError> {
    let mut from = first;
    while let Some(hole) = shared
        .ledger
        .hole_at(from)
        .or_else(|| shared.ledger.hole_behind(from))
        && hole.first <= last
    {
        let start = hole.first.max(from);
        let end = hole.last.min(last);
        from = end.next();
        if hole.reason == Reason::Skipped
            && let Ok(Found::Block(raw)) = shared.store.read_behind(start.previous())
        {
            let (found, through) = sequences_of(&raw);
            if found <= end {
                shared.reclaim(found, through)?;
                from = through.next();
            }
        }
    }
    Ok(())
}

/// Drops the whole unit and counts what it held under `reason`. The newest one stays.
pub(super) fn drop_whole(shared: &Shared, unit: Unit, reason: Reason) -> Result<Outcome, PurgeError> {
    let Some(last) = unit.last else {
        return Ok(Outcome::Overtaken);
    };
    let taken = shared.taken.lock().unwrap_or_else(PoisonError::into_inner);
    if unit.first <= shared.marks.values().cursor.max(*taken) {
        return Ok(Outcome::Overtaken);
    }
    find_left_out(shared, unit.first, last)?;
    shared.record(Hole {
        first: unit.first,
        last,
        reason,
    })?;
    drop(taken);
    shared.store.drop_unit(unit.first)?;
    Ok(Outcome::Done)
}
