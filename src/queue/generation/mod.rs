//! One sled database: a stretch of the log, append only, deleted whole.
//!
//! sled 0.34 needs care, all of it here: `flush()` does not survive a power cut on Linux, our own `fdatasync`
//! on its `db` file after it does; a new folder must be synced itself. And sled is never let near a file that it did not
//! make in this process: opening one overwrites everything behind the first tear, and may fail for ever, hang or panic,
//! also in threads that all databases of the process share. Closed generations are read by [`super::generations`].
//! How little is written is the matter of `stripes` (what sled writes) and of `ahead` (what the file system writes).

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

mod ahead;
mod stripes;

use crate::faults;
use crate::message::Seq;
use crate::queue::codec::{Chunk, ChunkKey};
use crate::queue::generation::ahead::Ahead;
use crate::queue::generation::stripes::{Stripes, decode_key, encode_key};
use crate::queue::store::{RawBlock, StoreError};

/// sled's page cache. Its real use is bounded by the generation's size, not by this number.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// A generation that is being written.
#[derive(Debug)]
pub struct Generation {
    path: PathBuf,
    db: Option<sled::Db>,
    /// Our own handle of sled's file, for `fdatasync`.
    file: File,
    stripes: Mutex<Stripes>,
    ahead: Mutex<Ahead>,
}

impl Generation {
    /// Creates the generation and makes its folder entry durable.
    ///
    /// # Errors
    /// [`StoreError`], also when there is something at `path`; a half-made folder may be left, holding nothing.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        fs::create_dir(path).map_err(|source| io_error(path, source))?;
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None);
        let db = guarded(path, || config.open())?;
        let file = File::options()
            .read(true)
            .write(true)
            .open(path.join("db"))
            .map_err(|source| io_error(path, source))?;
        let generation = Self {
            path: path.to_owned(),
            db: Some(db),
            ahead: Mutex::new(Ahead::of(&file)),
            file,
            stripes: Mutex::default(),
        };
        faults::point("create.opened");
        sync_folder(path)?;
        faults::point("create.synced");
        if let Some(parent) = path.parent() {
            sync_folder(parent)?;
        }
        Ok(generation)
    }

    /// Whether another group may be appended to a file of at most about `limit` bytes.
    #[must_use]
    pub fn has_room(&self, limit: u64) -> bool {
        let length = self.file.metadata().map_or(0, |metadata| metadata.len());
        length < limit && self.stripes().len() < stripes::MAX
    }

    fn stripes(&self) -> MutexGuard<'_, Stripes> {
        self.stripes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on sled. It panics on some damage, and only then finds it.
    fn guarded<T>(&self, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, StoreError> {
        let db = self
            .db
            .as_ref()
            .ok_or_else(|| io_error(&self.path, std::io::ErrorKind::NotConnected.into()))?;
        guarded(&self.path, || work(db))
    }

    /// Inserts the chunks and makes them durable.
    ///
    /// # Errors
    /// [`StoreError`]; the handle must not be used for appending any more.
    pub fn append(&self, chunks: &[Chunk]) -> Result<(), StoreError> {
        let bytes = chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum();
        self.ahead
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .provide(&self.file, bytes);
        self.guarded(|db| {
            let mut stripes = self.stripes();
            chunks.iter().try_for_each(|chunk| {
                faults::point("append.insert");
                stripes.push(db, chunk.key, &chunk.bytes)
            })
        })?;
        self.sync()
    }

    /// Makes everything in it durable.
    ///
    /// # Errors
    /// [`StoreError`]; the handle must not be used for appending any more.
    pub fn sync(&self) -> Result<(), StoreError> {
        faults::point("sync.inserted");
        let flushed = self.guarded(|db| db.flush().map(|_| ()));
        if faults::omits(faults::FLUSH_COUNTS) {
            return Ok(());
        }
        flushed?;
        faults::point("sync.flushed");
        if faults::omits("sync.fdatasync") {
            return Ok(());
        }
        self.file
            .sync_data()
            .map_err(|source| io_error(&self.path, source))
    }

    /// The last block that begins at or before `from`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn block_before(&self, from: Seq) -> Result<Option<RawBlock>, StoreError> {
        let last = ChunkKey {
            first: from,
            part: u16::MAX,
        };
        self.block(|stripes| {
            let mut found = stripes
                .back_from(last)
                .map(|stripe| stripe.range(..=encode_key(last)).next_back());
            found.find_map(|entry| entry)
        })
    }

    /// The first block that begins behind `seq`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn block_behind(&self, seq: Seq) -> Result<Option<RawBlock>, StoreError> {
        let next = ChunkKey {
            first: seq.next(),
            part: 0,
        };
        self.block(|stripes| {
            let mut found = stripes
                .from(next)
                .map(|stripe| stripe.range(encode_key(next)..).next());
            found.find_map(|entry| entry)
        })
    }

    /// All chunks of the block that an entry belongs to.
    fn block(
        &self,
        find: impl FnOnce(&Stripes) -> Option<sled::Result<(sled::IVec, sled::IVec)>>,
    ) -> Result<Option<RawBlock>, StoreError> {
        let Some((key, _)) = self.guarded(|_| find(&self.stripes()).transpose())? else {
            return Ok(None);
        };
        let first = decode_key(&key).ok_or_else(|| foreign(&self.path))?;
        let chunks = self.guarded(|_| {
            let stripes = self.stripes();
            let values = stripes
                .of_block(first)
                .flat_map(|stripe| stripe.range(keys_of(first)).values());
            values.map(|value| value.map(|bytes| bytes.to_vec())).collect()
        })?;
        Ok(Some(RawBlock { first, chunks }))
    }
}

#[cfg(test)]
impl Generation {
    /// From here on `fdatasync` fails.
    pub(super) fn break_sync(&mut self) {
        self.file = File::open("/dev/null").expect("opens");
    }
}

impl Drop for Generation {
    /// sled syncs when its last handle is dropped, and panics when that fails: everything that matters was
    /// synced by [`Generation::append`] before, so the panic is only caught.
    fn drop(&mut self) {
        let handles = (self.db.take(), std::mem::take(&mut *self.stripes()));
        if catch_unwind(AssertUnwindSafe(move || drop(handles))).is_err() {
            tracing::warn!(path = %self.path.display(), "sled panicked while closing a generation");
        }
    }
}

/// Calls sled, which panics on some damage.
fn guarded<T>(path: &Path, work: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome.map_err(|source| StoreError::Sled {
            path: path.to_owned(),
            source,
        }),
        Err(panic) => Err(StoreError::Panicked {
            path: path.to_owned(),
            reason: panic_text(&*panic),
        }),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
        .to_owned()
}

/// The keys of the chunks of one block.
fn keys_of(first: Seq) -> std::ops::RangeInclusive<[u8; 10]> {
    let key = |part| encode_key(ChunkKey { first, part });
    key(0)..=key(u16::MAX)
}

fn foreign(path: &Path) -> StoreError {
    StoreError::Foreign {
        path: path.to_owned(),
    }
}

pub(super) fn io_error(path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Makes names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| io_error(path, source))
}

#[cfg(test)]
mod tests;
