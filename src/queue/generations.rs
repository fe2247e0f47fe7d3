//! The log on disk: a row of generations, the newest one open for appending.
//!
//! A generation's folder is named for the first sequence it may hold (`g-00000000000000000001`). It ends where the next one
//! begins: what a failed append left in an older generation is hidden by the generation that was begun
//! instead. Delivered generations are renamed to `*.trash` first, so that a half-deleted one is never opened.
//! A damaged one is renamed to `*.damaged-*` and kept; it still ends the one before it.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::message::Seq;
use crate::queue::codec::{BLOCK_MESSAGES_MAX, Chunk, read_chunk};
use crate::queue::generation::{Generation, io_error, sync_folder};
use crate::queue::store::{Extent, Loss, Opened, RawBlock, Store, StoreError};

/// Generations are this large at most: open time, memory, space that waits for deletion and the extent of a
/// damage are bounded by it.
const GENERATION_BYTES: u64 = 8 * 1024 * 1024;
/// A budget is cut into at least this many generations, so that a full queue has something to give back.
const GENERATIONS_MIN: u64 = 8;
/// Delivered messages that stay readable, so that a source can recognise their redelivery after a restart:
/// well over what brokers keep in flight (1,000 by our receive maximum; Mosquitto 2.0 was seen at 13,000 with
/// 3.1.1, those beyond are stored again and marked).
const RECALL_MESSAGES: u64 = 4096;
const PREFIX: &str = "g-";
const TRASH: &str = "trash";
const DAMAGED: &str = "damaged-";

/// See the module documentation.
#[derive(Debug)]
pub struct Generations {
    folder: PathBuf,
    limit_bytes: u64,
    row: Mutex<Row>,
}

#[derive(Debug)]
struct Row {
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// The newest entry, open for appending. `None` before the first append and after a failed one.
    writing: Option<Arc<Generation>>,
    /// The generation read last, if it is not the newest.
    reading: Option<(Seq, Arc<Generation>)>,
    /// Sequence behind the last one appended.
    end: Seq,
}

#[derive(Debug)]
struct Entry {
    first: Seq,
    path: PathBuf,
    bytes: u64,
    /// Set aside: nothing is read from it.
    damaged: bool,
}

impl Generations {
    /// Opens the log in `folder`, created when missing, within a budget of `max_bytes` on disk.
    ///
    /// Damage never makes this fail: what cannot be opened is set aside and reported.
    ///
    /// # Errors
    /// [`StoreError`] when the folder cannot be used, or the disk is too full for sled to open anything.
    pub fn open(folder: &Path, max_bytes: u64) -> Result<Opened<Self>, StoreError> {
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
        };
        let (last, losses) = store.find_end()?;
        let extent = store.row().reach(last);
        Ok(Opened {
            store,
            extent,
            losses,
        })
    }

    fn row(&self) -> MutexGuard<'_, Row> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens generations from the newest back until one holds a whole block; the newest one goes on being
    /// written.
    fn find_end(&self) -> Result<(Option<Seq>, Vec<Loss>), StoreError> {
        let mut row = self.row();
        let row = &mut *row;
        let mut losses = Vec::new();
        let mut behind = None;
        for entry in row.entries.iter_mut().rev() {
            match find_last(entry, behind) {
                Ok(None) => {}
                Ok(Some((open, last))) => {
                    if behind.is_none() {
                        row.writing = Some(Arc::new(open));
                    }
                    if last.is_some() {
                        return Ok((last, losses));
                    }
                }
                Err(error) if error.is_damage() => losses.push(entry.set_aside(&error)?),
                Err(error) => return Err(error),
            }
            behind = Some(entry.first);
        }
        Ok((None, losses))
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

    /// The open generation at `index`, opening it for reading when it is an older one. `None` when it is set
    /// aside.
    fn open_at(row: &mut Row, index: usize) -> Result<Option<Arc<Generation>>, StoreError> {
        let Some(entry) = row.entries.get(index).filter(|entry| !entry.damaged) else {
            return Ok(None);
        };
        if index + 1 == row.entries.len()
            && let Some(open) = &row.writing
        {
            return Ok(Some(Arc::clone(open)));
        }
        if let Some((first, open)) = &row.reading
            && *first == entry.first
        {
            return Ok(Some(Arc::clone(open)));
        }
        // One older generation at a time: each open one costs memory.
        row.reading = None;
        let open = Arc::new(Generation::open(&entry.path)?);
        row.reading = Some((entry.first, Arc::clone(&open)));
        Ok(Some(open))
    }

    /// Looks for a block in the generation at `index`. A damaged one is set aside; then there is none.
    fn look(
        row: &mut Row,
        index: usize,
        find: impl FnOnce(&Generation) -> Result<Option<RawBlock>, StoreError>,
    ) -> Result<Option<RawBlock>, StoreError> {
        let found = match Self::open_at(row, index) {
            Ok(Some(open)) => find(&open),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        match found {
            Err(error) if error.is_damage() => row.abandon(index, error).map(|()| None),
            found => found,
        }
    }

    /// The first block behind `seq` in the generation at `index` or a later one.
    fn first_behind(row: &mut Row, mut index: usize, seq: Seq) -> Result<Option<RawBlock>, StoreError> {
        while index < row.entries.len() {
            let end = row.entries.get(index + 1).map(|next| next.first);
            let block = Self::look(row, index, |open| open.block_behind(seq))?;
            if let Some(block) = block.filter(|block| end.is_none_or(|end| block.first < end)) {
                return Ok(Some(block));
            }
            index += 1;
        }
        Ok(None)
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

    fn read(&self, from: Seq) -> Result<Option<RawBlock>, StoreError> {
        let mut row = self.row();
        let index = row.entries.partition_point(|entry| entry.first <= from);
        if let Some(index) = index.checked_sub(1)
            && let Some(block) = Self::look(&mut row, index, |open| open.block_before(from))?
        {
            return Ok(Some(block));
        }
        Self::first_behind(&mut row, index.saturating_sub(1), from)
    }

    fn read_behind(&self, seq: Seq) -> Result<Option<RawBlock>, StoreError> {
        let mut row = self.row();
        let index = row
            .entries
            .partition_point(|entry| entry.first <= seq)
            .saturating_sub(1);
        Self::first_behind(&mut row, index, seq)
    }

    fn trim(&self, through: Seq) -> Result<(), StoreError> {
        loop {
            let mut row = self.row();
            if !row.front_is_spent(through) {
                return Ok(());
            }
            let Some(entry) = row.entries.pop_front() else {
                return Ok(());
            };
            if row
                .reading
                .as_ref()
                .is_some_and(|(first, _)| *first == entry.first)
            {
                row.reading = None;
            }
            drop(row);
            // What is set aside is kept for salvage.
            if !entry.damaged {
                discard(&entry.path)?;
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.row().entries.iter().map(|entry| entry.bytes).sum()
    }
}

impl Row {
    /// How far the row reaches; where the next message goes follows from it.
    fn reach(&mut self, last: Option<Seq>) -> Extent {
        let newest = self.entries.back().map(|entry| entry.first);
        self.end = last.map_or(newest.unwrap_or(Seq(1)), Seq::next);
        Extent {
            oldest: self.entries.front().map(|entry| entry.first),
            newest,
            last,
            unsure: self.entries.back().is_some_and(|entry| entry.damaged),
        }
    }

    /// Gives up the generation at `index`, which turned out to be damaged.
    fn abandon(&mut self, index: usize, error: StoreError) -> Result<(), StoreError> {
        if index + 1 == self.entries.len() && self.writing.take().is_some() {
            // The writer may be in it: it ends here, and the next look opens it from disk.
            return Err(error);
        }
        self.reading = None;
        if let Some(entry) = self.entries.get_mut(index) {
            let loss = entry.set_aside(&error)?;
            tracing::error!(%loss, "a generation cannot be read");
        }
        Ok(())
    }

    /// Whether the oldest generation holds only messages up to `through`, and enough younger ones are there
    /// to recognise redeliveries with.
    fn front_is_spent(&self, through: Seq) -> bool {
        let Some(second) = self.entries.get(1) else {
            return false;
        };
        let recallable =
            self.entries.len() > 2 || self.end.0.saturating_sub(second.first.0) >= RECALL_MESSAGES;
        second.first <= through.next() && recallable
    }
}

impl Entry {
    /// Renames a generation that cannot be opened, so that the daemon goes on and the bytes stay for salvage.
    fn set_aside(&mut self, error: &StoreError) -> Result<Loss, StoreError> {
        let kept = self
            .path
            .with_extension(format!("{DAMAGED}{:08x}", rand::random::<u32>()));
        fs::rename(&self.path, &kept).map_err(|source| io_error(&self.path, source))?;
        self.path.clone_from(&kept);
        self.bytes = 0;
        self.damaged = true;
        Ok(Loss::SetAside {
            first: self.first,
            kept,
            reason: error.to_string(),
        })
    }
}

/// The generations in a folder, oldest first. Finishes deletions that a crash interrupted.
fn list(folder: &Path) -> Result<VecDeque<Entry>, StoreError> {
    let mut entries = Vec::new();
    for item in fs::read_dir(folder).map_err(|source| io_error(folder, source))? {
        let path = item.map_err(|source| io_error(folder, source))?.path();
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        let damaged = extension.starts_with(DAMAGED);
        if extension == TRASH {
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot delete a delivered generation");
            }
        } else if let Some(first) = first_of(&path).filter(|_| damaged || extension.is_empty()) {
            entries.push(Entry {
                first,
                bytes: if damaged { 0 } else { disk_bytes(&path) },
                damaged,
                path,
            });
        }
    }
    entries.sort_by_key(|entry| (entry.first, !entry.damaged));
    Ok(entries.into())
}

fn first_of(path: &Path) -> Option<Seq> {
    path.file_stem()?
        .to_str()?
        .strip_prefix(PREFIX)?
        .parse()
        .ok()
        .map(Seq)
}

fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path.join("db")).map_or(0, |metadata| metadata.blocks() * 512)
}

/// Opens a generation that ends before `behind` and finds its last message. `None` when it is set aside.
fn find_last(entry: &Entry, behind: Option<Seq>) -> Result<Option<(Generation, Option<Seq>)>, StoreError> {
    if entry.damaged {
        return Ok(None);
    }
    let open = Generation::open(&entry.path)?;
    let last = last_message(&open, behind.map_or(Seq(u64::MAX), Seq::previous))?;
    // A process that was killed may have left messages in the page cache alone. They count from here on.
    open.sync()?;
    Ok(Some((open, last)))
}

/// The last message of a generation, up to `limit`. A block at its end that was never finished is removed: none
/// of its messages was acknowledged.
fn last_message(open: &Generation, limit: Seq) -> Result<Option<Seq>, StoreError> {
    while let Some(block) = open.block_before(limit)? {
        match last_of(&block) {
            Some(last) => return Ok(Some(last)),
            None => open.remove(block.first)?,
        }
    }
    Ok(None)
}

/// The last sequence of a block, or one behind it when the block is too damaged to say; never one before it, so
/// that none is used twice. `None` when the block was never finished.
fn last_of(block: &RawBlock) -> Option<Seq> {
    let headers = block
        .chunks
        .iter()
        .filter_map(|chunk| read_chunk(chunk).ok())
        .map(|(header, _)| header)
        .filter(|header| header.first == block.first)
        .collect::<Vec<_>>();
    let legible = headers.len() == block.chunks.len();
    match headers.iter().max_by_key(|header| header.last()) {
        Some(head) if legible && block.chunks.len() < usize::from(head.parts) => None,
        Some(head) => Some(head.last()),
        None => Some(block.first.plus(BLOCK_MESSAGES_MAX).previous()),
    }
}

/// Deletes a generation in two steps, so that no crash leaves half of it under its name.
fn discard(path: &Path) -> Result<(), StoreError> {
    let trash = path.with_extension(TRASH);
    if trash.exists() {
        // Of an earlier generation of this name, whose deletion failed.
        fs::remove_dir_all(&trash).map_err(|source| io_error(&trash, source))?;
    }
    fs::rename(path, &trash).map_err(|source| io_error(path, source))?;
    fs::remove_dir_all(&trash).map_err(|source| io_error(&trash, source))?;
    path.parent().map_or(Ok(()), sync_folder)
}

#[cfg(test)]
mod tests;
