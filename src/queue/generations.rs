//! The log on disk: a row of generations, the newest one open for appending.
//!
//! A generation's folder is named for the first sequence it may hold (`g-00000000000000000001`). It ends where the next one
//! begins: what a failed append left in an older generation is hidden by the generation that was begun
//! instead. Delivered generations are renamed to `*.trash` first, so that a half-deleted one is never opened.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::message::Seq;
use crate::queue::codec::{Chunk, read_chunk};
use crate::queue::generation::{Generation, io_error, sync_folder};
use crate::queue::store::{Loss, RawBlock, Store, StoreError};

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
}

/// What opening found.
#[derive(Debug)]
pub struct Opened {
    /// The log.
    pub generations: Generations,
    /// Sequence of the last message in it; `None` when no generation holds any.
    pub last: Option<Seq>,
    /// First sequence the newest generation may hold; a lower bound for the next sequence.
    pub newest: Option<Seq>,
    /// What could not be kept.
    pub losses: Vec<Loss>,
}

impl Generations {
    /// Opens the log in `folder`, created when missing, within a budget of `max_bytes` on disk.
    ///
    /// Damage never makes this fail: what cannot be opened is set aside and reported.
    ///
    /// # Errors
    /// [`StoreError`] when the folder itself cannot be used.
    pub fn open(folder: &Path, max_bytes: u64) -> Result<Opened, StoreError> {
        fs::create_dir_all(folder).map_err(|source| io_error(folder, source))?;
        let entries = list(folder)?;
        let newest = entries.back().map(|entry| entry.first);
        let row = Row {
            entries,
            writing: None,
            reading: None,
            end: Seq::ZERO,
        };
        let generations = Self {
            folder: folder.to_owned(),
            limit_bytes: GENERATION_BYTES.min(max_bytes / GENERATIONS_MIN),
            row: Mutex::new(row),
        };
        let (last, losses) = generations.find_end()?;
        generations.row().end = last.map_or(newest.unwrap_or(Seq(1)), Seq::next);
        Ok(Opened {
            generations,
            last,
            newest,
            losses,
        })
    }

    fn row(&self) -> MutexGuard<'_, Row> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens generations from the newest back until one holds a whole block; the newest good one goes on
    /// being written.
    fn find_end(&self) -> Result<(Option<Seq>, Vec<Loss>), StoreError> {
        let mut row = self.row();
        let mut losses = Vec::new();
        let mut index = row.entries.len();
        while let Some(entry) = index.checked_sub(1).and_then(|index| row.entries.get(index)) {
            index -= 1;
            match Generation::open(&entry.path).and_then(|open| Ok((last_message(&open)?, open))) {
                Ok((last, open)) => {
                    if index + 1 == row.entries.len() {
                        row.writing = Some(Arc::new(open));
                    }
                    if last.is_some() {
                        return Ok((last, losses));
                    }
                }
                Err(error) => {
                    losses.push(set_aside(entry, &error)?);
                    row.entries.remove(index);
                }
            }
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
            row.entries.pop_back_if(|entry| entry.first == first);
            discard(&path)?;
        }
        let open = Arc::new(Generation::create(&path)?);
        row.entries.push_back(Entry {
            first,
            path,
            bytes: open.bytes(),
        });
        row.writing = Some(Arc::clone(&open));
        Ok(open)
    }

    /// The open generation at `index`, opening it for reading when it is an older one.
    fn open_at(row: &mut Row, index: usize) -> Result<Option<Arc<Generation>>, StoreError> {
        let Some(entry) = row.entries.get(index) else {
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

    /// The first block behind `seq` in the generation at `index` or a later one.
    fn first_behind(row: &mut Row, mut index: usize, seq: Seq) -> Result<Option<RawBlock>, StoreError> {
        while let Some(open) = Self::open_at(row, index)? {
            let end = row.entries.get(index + 1).map(|next| next.first);
            let block = open.block_behind(seq)?;
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
            && let Some(open) = Self::open_at(&mut row, index)?
            && let Some(block) = open.block_before(from)?
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
            discard(&entry.path)?;
        }
    }

    fn bytes(&self) -> u64 {
        self.row().entries.iter().map(|entry| entry.bytes).sum()
    }
}

impl Row {
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

/// The generations in a folder, oldest first. Finishes deletions that a crash interrupted.
fn list(folder: &Path) -> Result<VecDeque<Entry>, StoreError> {
    let mut entries = Vec::new();
    for item in fs::read_dir(folder).map_err(|source| io_error(folder, source))? {
        let path = item.map_err(|source| io_error(folder, source))?.path();
        if path.extension().is_some_and(|extension| extension == TRASH) {
            fs::remove_dir_all(&path).map_err(|source| io_error(&path, source))?;
        } else if let Some(first) = first_of(&path) {
            entries.push(Entry {
                first,
                bytes: disk_bytes(&path),
                path,
            });
        }
    }
    entries.sort_by_key(|entry| entry.first);
    Ok(entries.into())
}

fn first_of(path: &Path) -> Option<Seq> {
    path.file_name()?
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

/// The last message of a generation. A block at its end that was never finished is removed: none of its
/// messages was acknowledged.
fn last_message(open: &Generation) -> Result<Option<Seq>, StoreError> {
    while let Some(block) = open.block_before(Seq(u64::MAX))? {
        let headers = block
            .chunks
            .iter()
            .map(|chunk| read_chunk(chunk).map(|(header, _)| header));
        let whole = match headers.collect::<Result<Vec<_>, _>>() {
            Ok(headers) => headers
                .first()
                .filter(|head| headers.len() >= usize::from(head.parts))
                .copied(),
            // Not ours to judge here: the reader reports damage with its sequences.
            Err(_) => return Ok(Some(block.first)),
        };
        match whole {
            Some(head) => return Ok(Some(head.last())),
            None => open.remove(&block)?,
        }
    }
    Ok(None)
}

/// Renames a generation that cannot be opened, so that the daemon starts and the bytes stay for salvage.
fn set_aside(entry: &Entry, error: &StoreError) -> Result<Loss, StoreError> {
    let kept = entry
        .path
        .with_extension(format!("damaged-{:08x}", rand::random::<u32>()));
    fs::rename(&entry.path, &kept).map_err(|source| io_error(&entry.path, source))?;
    Ok(Loss::SetAside {
        first: entry.first,
        kept,
        reason: error.to_string(),
    })
}

/// Deletes a generation in two steps, so that no crash leaves half of it under its name.
fn discard(path: &Path) -> Result<(), StoreError> {
    let trash = path.with_extension(TRASH);
    fs::rename(path, &trash).map_err(|source| io_error(path, source))?;
    fs::remove_dir_all(&trash).map_err(|source| io_error(&trash, source))?;
    path.parent().map_or(Ok(()), sync_folder)
}
