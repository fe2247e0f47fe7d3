//! The log on disk: a row of generations, the newest one open for appending.
//!
//! A generation's folder is named for the first sequence it may hold (`g-00000000000000000001`). It ends where the next one
//! begins: what a failed append left in an older generation is hidden by the generation that was begun
//! instead. Delivered generations are renamed to `*.trash` first, so that a half-deleted one is never taken for a whole.
//!
//! **sled writes, and never opens what it finds.** An open overwrites everything behind the first tear it meets, so one bad
//! block would cost all messages behind it; it may also fail for ever, hang, panic, and break the threads that all sled
//! databases of the process share. So each start begins a new generation (212 bytes with its first message; opening an
//! old one writes 512 KiB), and what is closed is read from its raw bytes: `raw` finds the chunks, `salvage` bounds
//! the time. Recovery is not a special case: a damaged generation is read like every other one, and nothing that reads
//! ever writes to it.
//!
//! A generation in which something is missing is renamed to `*.damaged-*` and read on; once it is delivered it is kept as
//! `*.kept-*` for people, within a quarter of the budget.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

mod names;
pub(crate) mod probe;
pub(super) mod raw;
mod renew;
mod rewrite;
mod row;
mod salvage;
mod scrub;
mod usage;

use crate::faults;
use crate::message::Seq;
use crate::queue::Share;
use crate::queue::codec::{Chunk, read_chunk};
use crate::queue::generation::Generation;
use crate::queue::ledger::Replacement;
use crate::queue::store::{Extent, Found, Gap, Opened, RawBlock, Store, StoreError, Unit};
use names::{Kept, PREFIX, discard, keep, list, make_folder, remove};
use raw::Index;
pub use rewrite::settle;
use row::{Access, Entry, Row};
use salvage::{Pace, Salvage, Threads};
use scrub::Scrub;
use usage::{Beside, disk_bytes};

/// Generations are this large, and in large budgets larger: sled holds all of the one that is written in memory, whatever its cache is
/// told; open time, space that waits for deletion and the extent of a damage are bounded by it too.
const GENERATION_BYTES: u64 = 4 * 1024 * 1024;
/// No generation is larger.
const GENERATION_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// A budget is cut into no more than these, as long as they are not larger than that: each is a folder to walk through, a minute of
/// [`scrub`], and a stretch in the ledger when it is rewritten.
const GENERATIONS_MAX: u64 = 1024;
/// Bytes of delivered messages that are enough to recognise redeliveries with, where they are fewer than [`RECALL_MESSAGES`].
const RECALL_BYTES: u64 = 8 * 1024 * 1024;
/// A budget is cut into at least this many generations, so that a full queue has something to give back.
const GENERATIONS_MIN: u64 = 8;
/// Delivered messages that stay readable, so that a source can recognise their redelivery after a restart:
/// more than the 8,192 that a source has to see before packet ids make anything certain (in all of a lane; where messages are
/// so large that [`RECALL_BYTES`] hold fewer, it is bytes that decide, and fewer may be there), and well over what
/// brokers keep in flight (1,000 by our receive maximum; Mosquitto 2.0.11 was seen at 13,000 under load, those beyond
/// are stored again and marked).
const RECALL_MESSAGES: u64 = 12_288;

/// Damaged generations that were delivered are kept as long as they take no more than this part of the budget, and the
/// budget has room.
const KEPT_PART: u64 = 4;
/// A generation to which anything was written is larger, bytes: an empty one has 96.
const UNWRITTEN_BYTES: u64 = 128;

/// How long anybody waits for the raw bytes of a generation.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// At the start, for all generations that have to be looked at together. A slow card reads 8 MiB in a second; beyond,
    /// the log goes on behind every sequence that may have been used.
    start: Duration,
    /// In a read. Long enough that the answer is a block and not [`Found::Salvaging`], on all but the slowest card.
    read: Duration,
    /// For one generation. Enough for some hundred bad sectors at the half second that a card tries each.
    salvage: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(5),
            read: Duration::from_secs(1),
            salvage: Duration::from_mins(1),
        }
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct Generations {
    folder: PathBuf,
    max_bytes: u64,
    limit_bytes: u64,
    /// [`RECALL_BYTES`], or less of a small budget.
    recall_bytes: u64,
    patience: Patience,
    row: Mutex<Row>,
    kept: Mutex<VecDeque<Kept>>,
    /// Bytes of `kept`.
    kept_bytes: AtomicU64,
    beside: Beside,
    /// A rewritten generation that is committed and not in its place yet.
    unfinished: Mutex<Option<Replacement>>,
    threads: Threads,
    scrub: Mutex<Scrub>,
    /// Called when a salvage ends.
    waker: Waker,
}

/// Called when something may be readable that was not before.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// Wakes by calling `wake`, from any thread.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Calls it.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

/// What can be read of a generation.
enum View {
    Open(Arc<Generation>),
    Known(Arc<Index>),
    /// Ask again later.
    Wait,
}

/// How large the generations of a budget are.
fn generation_bytes(max_bytes: u64) -> u64 {
    let bytes = (max_bytes / GENERATIONS_MAX).clamp(GENERATION_BYTES, GENERATION_BYTES_MAX);
    bytes.min(max_bytes / GENERATIONS_MIN)
}

impl Generations {
    /// Opens the log in `folder`, created when missing, within a budget of `max_bytes` on disk.
    ///
    /// Neither damage nor a full disk makes this fail.
    ///
    /// # Errors
    /// [`StoreError`] when the folder cannot be made or listed.
    pub fn open(folder: &Path, max_bytes: u64, waker: Waker) -> Result<Opened<Self>, StoreError> {
        Self::open_with(folder, max_bytes, waker, Patience::default())
    }

    fn open_with(
        folder: &Path,
        max_bytes: u64,
        waker: Waker,
        patience: Patience,
    ) -> Result<Opened<Self>, StoreError> {
        let listing = match make_folder(folder).and_then(|()| list(folder)) {
            // The folder is made when there is room.
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull => {
                names::Listing::default()
            }
            listing => listing?,
        };
        let kept_bytes = listing.kept.iter().map(|kept| kept.bytes).sum();
        let store = Self {
            folder: folder.to_owned(),
            max_bytes,
            limit_bytes: generation_bytes(max_bytes),
            recall_bytes: RECALL_BYTES.min(max_bytes / GENERATIONS_MIN),
            patience,
            row: Mutex::new(Row::new(listing.entries)),
            kept: Mutex::new(listing.kept),
            kept_bytes: AtomicU64::new(kept_bytes),
            beside: Beside::default(),
            unfinished: Mutex::default(),
            threads: Threads::default(),
            scrub: Mutex::new(Scrub::new()),
            waker,
        };
        let extent = store.survey();
        store.row().end = extent
            .last
            .max(extent.newest.map(Seq::previous))
            .unwrap_or(Seq::ZERO)
            .next();
        store.make_room();
        Ok(Opened { store, extent })
    }

    /// Keeps generations smaller from now on: what sled holds in memory follows their size, and it is the most that a
    /// lane costs.
    pub fn share(&mut self, share: Share) {
        let largest = GENERATION_BYTES_MAX.min(self.max_bytes / GENERATIONS_MIN);
        self.limit_bytes = self.limit_bytes.min(share.part_of_bytes(largest));
        self.recall_bytes = share.part_of_bytes(self.recall_bytes);
    }

    fn row(&self) -> MutexGuard<'_, Row> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for the end of the log: from the newest generation back until one holds a whole block.
    fn survey(&self) -> Extent {
        let firsts: Vec<_> = self.row().entries.iter().map(|entry| entry.first).collect();
        let mut extent = Extent {
            oldest: firsts.first().copied(),
            newest: firsts.last().copied(),
            ..Extent::default()
        };
        let deadline = Instant::now() + self.patience.start;
        for (first, behind) in firsts
            .iter()
            .rev()
            .zip(std::iter::once(None).chain(firsts.iter().rev().map(Some)))
        {
            let newest = behind.is_none();
            let left = deadline.saturating_duration_since(Instant::now());
            match self.view(*first, left) {
                Ok(View::Known(index)) => {
                    extent.hollow |= newest && index.last().is_none() && index.bytes() > UNWRITTEN_BYTES;
                    extent.last = index
                        .last()
                        .map(|last| behind.map_or(last, |behind| last.min(behind.previous())));
                }
                Ok(View::Open(_) | View::Wait) => extent.unsure = newest,
                Err(error) => {
                    tracing::warn!(%error, "cannot read the end of the log: trying again later");
                    extent.unsure = newest;
                }
            }
            if extent.last.is_some() || extent.unsure {
                break;
            }
        }
        extent
    }

    /// What can be read of the generation that begins at `first`, waiting for it for `patience` at most.
    fn view(&self, first: Seq, patience: Duration) -> Result<View, StoreError> {
        let salvage = {
            let mut row = self.row();
            match row.access(first) {
                Some(Access::Open(open)) => return Ok(View::Open(open)),
                Some(Access::Known(index)) => return Ok(View::Known(index)),
                Some(Access::Closing) | None => return Ok(View::Wait),
                Some(Access::Sought(salvage)) => salvage,
                Some(Access::Unread(path)) => {
                    let pace = Pace {
                        limit: self.patience.salvage,
                        pause: Duration::ZERO,
                    };
                    let salvage = Salvage::start(&path, pace, &self.threads, self.waker.clone())?;
                    row.seek(first, salvage.clone());
                    salvage
                }
            }
        };
        if !salvage.wait(patience) {
            return Ok(View::Wait);
        }
        let mut row = self.row();
        row.settle(first, &salvage)?;
        match row.access(first) {
            Some(Access::Known(index)) => Ok(View::Known(index)),
            _ => Ok(View::Wait),
        }
    }

    /// Looks for a block in the generation that begins at `first`.
    fn look(
        &self,
        first: Seq,
        open: impl FnOnce(&Generation) -> Result<Option<RawBlock>, StoreError>,
        known: impl FnOnce(&Index) -> Option<RawBlock>,
    ) -> Result<Found, StoreError> {
        let block = match self.view(first, self.patience.read)? {
            View::Wait => return Ok(Found::Salvaging),
            View::Known(index) => known(&index),
            View::Open(generation) => match open(&generation) {
                Err(error) if error.is_damage() => {
                    // The next look reads its raw bytes; the writer goes on in another one.
                    tracing::error!(%error, "sled cannot read what it wrote: reading the file without it");
                    self.leave(&generation);
                    return Ok(Found::Salvaging);
                }
                block => block?,
            },
        };
        Ok(block.map_or(Found::Nothing, Found::Block))
    }

    /// Nothing is appended to this generation any more.
    fn leave(&self, generation: &Arc<Generation>) {
        let mut row = self.row();
        row.writing.take_if(|open| Arc::ptr_eq(open, generation));
        drop(row);
        self.waker.wake();
    }

    /// The first block behind `seq`, in the generation that begins at `first` or a later one.
    fn first_behind(&self, first: Option<Seq>, seq: Seq) -> Result<Found, StoreError> {
        let mut at = first;
        while let Some(first) = at {
            let behind = self.row().behind(first);
            let found = self.look(
                first,
                |open| open.block_behind(seq),
                |index| index.block_behind(seq),
            )?;
            match found {
                Found::Block(block) if behind.is_some_and(|behind| block.first >= behind) => {}
                Found::Nothing => {}
                found => return Ok(found),
            }
            at = behind;
        }
        Ok(Found::Nothing)
    }

    /// The generation for a group that begins at `first`: the newest one, or a new one when that is large
    /// enough, has failed, or is not there.
    fn writing(&self, first: Seq) -> Result<Arc<Generation>, StoreError> {
        let mut row = self.row();
        if let Some(open) = &row.writing
            && open.has_room(self.limit_bytes)
        {
            return Ok(Arc::clone(open));
        }
        row.writing = None;
        let path = self.path_of(first);
        if path.symlink_metadata().is_ok() {
            // Left by a failed append or creation that began with this very group: nothing in it was promised.
            row.entries
                .pop_back_if(|entry| entry.first == first && !entry.damaged);
            discard(&path)?;
        }
        if row.entries.is_empty() {
            // There may have been no room for it at the start.
            make_folder(&self.folder)?;
        }
        faults::point("rotate.begun");
        let open = Arc::new(Generation::create(&path)?);
        faults::point("rotate.created");
        row.entries.push_back(Entry::open(first, path, &open));
        row.writing = Some(Arc::clone(&open));
        Ok(open)
    }

    fn path_of(&self, first: Seq) -> PathBuf {
        self.folder.join(format!("{PREFIX}{:020}", first.0))
    }

    /// Deletes what is kept for people, oldest first, when it takes more than its part or the budget is nearly used up.
    fn make_room(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while self.kept_bytes.load(Ordering::Relaxed) > self.max_bytes / KEPT_PART
            || self.bytes() + self.limit_bytes > self.max_bytes
        {
            let Some(oldest) = kept.pop_front() else {
                return;
            };
            self.kept_bytes.fetch_sub(oldest.bytes, Ordering::Relaxed);
            self.beside.changed();
            if let Err(error) = remove(&oldest.path) {
                tracing::warn!(path = %oldest.path.display(), %error, "cannot delete a damaged generation");
            }
        }
    }

    /// Takes a delivered generation off the disk, or keeps it for people when something was missing in it.
    fn dispose(&self, entry: &Entry) -> Result<(), StoreError> {
        if !entry.damaged {
            return discard(&entry.path);
        }
        let spent = keep(&entry.path)?;
        self.beside.changed();
        self.kept_bytes.fetch_add(spent.bytes, Ordering::Relaxed);
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(spent);
        self.make_room();
        Ok(())
    }

    /// Disposes of the oldest generation as long as `goes` says so.
    fn dispose_while(&self, goes: impl Fn(&Row) -> bool) -> Result<(), StoreError> {
        loop {
            let mut row = self.row();
            if !goes(&row) {
                return Ok(());
            }
            let Some(entry) = row.entries.pop_front() else {
                return Ok(());
            };
            drop(row);
            self.dispose(&entry)?;
        }
    }
}

impl Store for Generations {
    fn append(&self, chunks: &[Chunk]) -> Result<(), StoreError> {
        let (Some(head), Some(tail)) = (chunks.first(), chunks.last()) else {
            return Ok(());
        };
        let open = self.writing(head.key.first)?;
        let appended = open.append(chunks);
        let mut row = self.row();
        if appended.is_ok() {
            let end = read_chunk(&tail.bytes).map_or(tail.key.first, |(header, _)| header.last());
            row.end = end.next();
        } else {
            row.writing.take_if(|writing| Arc::ptr_eq(writing, &open));
        }
        if let Some(entry) = row.entries.back_mut() {
            entry.bytes = disk_bytes(&entry.path);
        }
        drop(row);
        self.make_room();
        appended
    }

    fn seal(&self) {
        self.row().writing = None;
    }

    fn read(&self, from: Seq) -> Result<Found, StoreError> {
        let first = self.row().place_of(from);
        if let Some(first) = first.filter(|first| *first <= from) {
            let found = self.look(
                first,
                |open| open.block_before(from),
                |index| index.block_before(from),
            )?;
            if found != Found::Nothing {
                return Ok(found);
            }
        }
        self.first_behind(first, from)
    }

    fn read_behind(&self, seq: Seq) -> Result<Found, StoreError> {
        let first = self.row().place_of(seq);
        self.first_behind(first, seq)
    }

    fn suspect(&self, seq: Seq) -> Result<bool, StoreError> {
        let again = self.row().suspect(seq);
        if again {
            self.waker.wake();
        }
        Ok(again)
    }

    fn renew_behind(&self, seq: Seq) -> Result<(), StoreError> {
        renew::renew_behind(self, seq)
    }

    fn scrub(&self) -> Vec<Gap> {
        let mut scrub = self.scrub.lock().unwrap_or_else(PoisonError::into_inner);
        scrub.go_on(
            Instant::now(),
            &mut self.row(),
            &self.threads,
            self.patience.salvage,
        )
    }

    fn trim(&self, through: Seq) -> Result<(), StoreError> {
        self.dispose_while(|row| row.front_is_spent(through, self.recall_bytes))
    }

    fn trim_all(&self, through: Seq) -> Result<(), StoreError> {
        self.dispose_while(|row| row.front_is_delivered(through))
    }

    fn can_trim(&self, through: Seq) -> bool {
        self.row().front_is_spent(through, self.recall_bytes)
    }

    fn units(&self) -> Vec<Unit> {
        self.row().units()
    }

    fn drop_unit(&self, first: Seq) -> Result<(), StoreError> {
        let mut row = self.row();
        let index = row.entries.iter().position(|entry| entry.first == first);
        let older = index.filter(|index| index + 1 < row.entries.len());
        let Some(entry) = older.and_then(|index| row.entries.remove(index)) else {
            return Ok(());
        };
        drop(row);
        discard(&entry.path)
    }

    fn stage(&self, replacement: Replacement, groups: &[Vec<Chunk>]) -> Result<(), StoreError> {
        self.finish_replacing()?;
        let built = self.build(replacement, groups);
        if built.is_err() {
            self.give_up(replacement);
        }
        self.beside.changed();
        built
    }

    fn unstage(&self, replacement: Replacement) {
        self.give_up(replacement);
    }

    fn replace(&self, replacement: Replacement) {
        self.take_place(replacement);
    }

    fn bytes(&self) -> u64 {
        // The row is let go of before the folder is walked through: the path needs it, and nobody knows how long a walk takes.
        let generations: u64 = self.row().entries.iter().map(|entry| entry.bytes).sum();
        let counted = || {
            self.row()
                .entries
                .iter()
                .map(|entry| entry.path.clone())
                .collect()
        };
        generations + self.beside.bytes(&self.folder, counted)
    }
}

#[cfg(test)]
mod tests;
