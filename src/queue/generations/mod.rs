//! The log on disk: a row of generations, the newest one open for appending.
//!
//! A generation's folder is named for the first sequence it may hold (`g-00000000000000000001`). It ends where the next one
//! begins: what a failed append left in an older generation is hidden by the generation that was begun
//! instead. Delivered generations are renamed to `*.trash` first, so that a half-deleted one is never opened.
//! A damaged one is renamed to `*.damaged-*` and kept; it still ends the one before it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod names;
mod recovery;
mod row;

use crate::message::Seq;
use crate::queue::Share;
use crate::queue::codec::{Chunk, read_chunk};
use crate::queue::generation::{Generation, io_error};
use crate::queue::store::{Found, Opened, Store, StoreError, Unit};
use names::{PREFIX, discard, list};
use recovery::find_last;
use row::{Entry, Row};

/// Generations are this large at most: open time, memory, space that waits for deletion and the extent of a
/// damage are bounded by it.
const GENERATION_BYTES: u64 = 8 * 1024 * 1024;
/// A budget is cut into at least this many generations, so that a full queue has something to give back.
const GENERATIONS_MIN: u64 = 8;
/// Delivered messages that stay readable, so that a source can recognise their redelivery after a restart:
/// well over what brokers keep in flight (1,000 by our receive maximum; Mosquitto 2.0 was seen at 13,000 with
/// 3.1.1, those beyond are stored again and marked).
const RECALL_MESSAGES: u64 = 4096;

/// See the module documentation.
#[derive(Debug)]
pub struct Generations {
    folder: PathBuf,
    limit_bytes: u64,
    row: Mutex<Row>,
    /// Called when a salvage ends.
    #[expect(dead_code, reason = "nothing is salvaged yet")]
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

impl Generations {
    /// Opens the log in `folder`, created when missing, within a budget of `max_bytes` on disk.
    ///
    /// Damage never makes this fail: what cannot be opened is set aside and reported.
    ///
    /// # Errors
    /// [`StoreError`] when the folder cannot be used, or the disk is too full for sled to open anything.
    pub fn open(folder: &Path, max_bytes: u64, waker: Waker) -> Result<Opened<Self>, StoreError> {
        fs::create_dir_all(folder).map_err(|source| io_error(folder, source))?;
        let entries = list(folder)?;
        let row = Row {
            entries,
            writing: None,
            reading: None,
            end: Seq::ZERO,
        };
        let store = Self {
            folder: folder.to_owned(),
            limit_bytes: GENERATION_BYTES.min(max_bytes / GENERATIONS_MIN),
            row: Mutex::new(row),
            waker,
        };
        let last = store.find_end()?;
        let extent = store.row().reach(last);
        Ok(Opened { store, extent })
    }

    /// Keeps generations smaller from now on: what sled holds in memory follows their size, and it is the most that a
    /// lane costs.
    pub fn share(&mut self, share: Share) {
        self.limit_bytes = share.part_of_bytes(self.limit_bytes);
    }

    fn row(&self) -> MutexGuard<'_, Row> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens generations from the newest back until one holds a whole block; the newest one goes on being
    /// written.
    fn find_end(&self) -> Result<Option<Seq>, StoreError> {
        let mut row = self.row();
        let row = &mut *row;
        let mut behind = None;
        for entry in row.entries.iter_mut().rev() {
            match find_last(entry, behind) {
                Ok(None) => {}
                Ok(Some((open, last))) => {
                    if behind.is_none() {
                        row.writing = Some(Arc::new(open));
                    }
                    if last.is_some() {
                        return Ok(last);
                    }
                }
                Err(error) if error.is_damage() => entry.set_aside(&error)?,
                Err(error) => return Err(error),
            }
            behind = Some(entry.first);
        }
        Ok(None)
    }

    /// The generation for a group that begins at `first`: the newest one, or a new one when that is large
    /// enough, has failed, or is not there.
    fn writing(&self, first: Seq) -> Result<Arc<Generation>, StoreError> {
        let mut row = self.row();
        if let Some(open) = &row.writing
            && open.bytes() < self.limit_bytes
        {
            return Ok(Arc::clone(open));
        }
        row.writing = None;
        let path = self.folder.join(format!("{PREFIX}{:020}", first.0));
        if path.exists() {
            // Left by a failed append or creation that began with this very group: nothing in it was promised.
            row.entries
                .pop_back_if(|entry| entry.first == first && !entry.damaged);
            row.reading = None;
            discard(&path)?;
        }
        let open = Arc::new(Generation::create(&path)?);
        row.entries.push_back(Entry {
            first,
            path,
            bytes: open.bytes(),
            damaged: false,
        });
        row.writing = Some(Arc::clone(&open));
        Ok(open)
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
        match &appended {
            Ok(()) => {
                let end = read_chunk(&tail.bytes).map_or(tail.key.first, |(header, _)| header.last());
                row.end = end.next();
            }
            Err(_) => row.writing = None,
        }
        if let Some(entry) = row.entries.back_mut() {
            entry.bytes = open.bytes();
        }
        appended
    }

    fn seal(&self) {
        self.row().writing = None;
    }

    fn read(&self, from: Seq) -> Result<Found, StoreError> {
        let mut row = self.row();
        let index = row.entries.partition_point(|entry| entry.first <= from);
        if let Some(index) = index.checked_sub(1)
            && let Some(block) = row.look(index, |open| open.block_before(from))?
        {
            return Ok(Found::Block(block));
        }
        let behind = row.first_behind(index.saturating_sub(1), from)?;
        Ok(behind.map_or(Found::Nothing, Found::Block))
    }

    fn read_behind(&self, seq: Seq) -> Result<Found, StoreError> {
        let mut row = self.row();
        let index = row
            .entries
            .partition_point(|entry| entry.first <= seq)
            .saturating_sub(1);
        let behind = row.first_behind(index, seq)?;
        Ok(behind.map_or(Found::Nothing, Found::Block))
    }

    fn suspect(&self, _seq: Seq) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn trim(&self, through: Seq) -> Result<(), StoreError> {
        loop {
            let mut row = self.row();
            if !row.front_is_spent(through) {
                return Ok(());
            }
            let Some(entry) = row.take(0) else {
                return Ok(());
            };
            drop(row);
            // What is set aside is kept for salvage.
            if !entry.damaged {
                discard(&entry.path)?;
            }
        }
    }

    fn can_trim(&self, through: Seq) -> bool {
        self.row().front_is_spent(through)
    }

    fn units(&self) -> Vec<Unit> {
        self.row().units()
    }

    fn drop_unit(&self, first: Seq) -> Result<(), StoreError> {
        let mut row = self.row();
        let index = row.entries.iter().position(|entry| entry.first == first);
        let older = index.filter(|index| index + 1 < row.entries.len());
        let Some(entry) = older.and_then(|index| row.take(index)) else {
            return Ok(());
        };
        drop(row);
        discard(&entry.path)
    }

    fn bytes(&self) -> u64 {
        self.row().entries.iter().map(|entry| entry.bytes).sum()
    }
}

#[cfg(test)]
mod tests;
