//! One sled database: a stretch of the log, append only, deleted whole.
//!
//! sled 0.34 needs care, all of it here: `flush()` does not survive a power cut on Linux, our own `fdatasync`
//! on its `db` file after it does; a new folder must be synced itself. And sled is never let near a file that it did not
//! make in this process: opening one overwrites everything behind the first tear, and may fail for ever, hang or panic,
//! also in threads that all databases of the process share. Closed generations are read by [`super::generations`].

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::message::Seq;
use crate::queue::codec::{Chunk, ChunkKey};
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
        let file = File::open(path.join("db")).map_err(|source| io_error(path, source))?;
        let generation = Self {
            path: path.to_owned(),
            db: Some(db),
            file,
        };
        sync_folder(path)?;
        if let Some(parent) = path.parent() {
            sync_folder(parent)?;
        }
        Ok(generation)
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
        self.guarded(|db| {
            chunks.iter().try_for_each(|chunk| {
                db.insert(encode_key(chunk.key), chunk.bytes.as_slice())
                    .map(|_| ())
            })
        })?;
        self.sync()
    }

    /// Makes everything in it durable.
    ///
    /// # Errors
    /// [`StoreError`]; the handle must not be used for appending any more.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.guarded(|db| db.flush().map(|_| ()))?;
        self.file
            .sync_data()
            .map_err(|source| io_error(&self.path, source))
    }

    /// The last block that begins at or before `from`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn block_before(&self, from: Seq) -> Result<Option<RawBlock>, StoreError> {
        let end = encode_key(ChunkKey {
            first: from,
            part: u16::MAX,
        });
        self.block(|db| db.range(..=end).next_back())
    }

    /// The first block that begins behind `seq`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn block_behind(&self, seq: Seq) -> Result<Option<RawBlock>, StoreError> {
        let begin = encode_key(ChunkKey {
            first: seq.next(),
            part: 0,
        });
        self.block(|db| db.range(begin..).next())
    }

    /// All chunks of the block that an entry belongs to.
    fn block(
        &self,
        find: impl FnOnce(&sled::Db) -> Option<sled::Result<(sled::IVec, sled::IVec)>>,
    ) -> Result<Option<RawBlock>, StoreError> {
        let Some((key, _)) = self.guarded(|db| find(db).transpose())? else {
            return Ok(None);
        };
        let Some(first) = decode_key(&key) else {
            return Err(StoreError::Foreign {
                path: self.path.clone(),
            });
        };
        let chunks = self.guarded(|db| {
            let values = db.range(keys_of(first)).values();
            values.map(|value| value.map(|bytes| bytes.to_vec())).collect()
        })?;
        Ok(Some(RawBlock { first, chunks }))
    }

    /// Space its file takes on disk, bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        /// `st_blocks` counts in this unit whatever the file system (stat(2)).
        const BLOCK: u64 = 512;
        self.file
            .metadata()
            .map_or(0, |metadata| metadata.blocks() * BLOCK)
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
        let db = self.db.take();
        if catch_unwind(AssertUnwindSafe(move || drop(db))).is_err() {
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

fn encode_key(key: ChunkKey) -> [u8; 10] {
    let mut bytes = [0; 10];
    let (first, part) = bytes.split_at_mut(8);
    first.copy_from_slice(&key.first.0.to_be_bytes());
    part.copy_from_slice(&key.part.to_be_bytes());
    bytes
}

fn decode_key(bytes: &[u8]) -> Option<Seq> {
    (bytes.len() == 10).then_some(())?;
    Some(Seq(u64::from_be_bytes(*bytes.first_chunk()?)))
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
