//! Opens sled on a folder that may be damaged.
//!
//! An open may fail for ever on a leftover or torn snapshot or on damaged settings, although both say nothing that is
//! not in the log; it may panic on damaged bytes; sled's lock is released a moment after the last handle is dropped.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{guarded, io_error};
use crate::queue::store::StoreError;

/// sled's page cache. Its real use is bounded by the generation's size, not by this number.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// How long to wait for sled to release the lock of a handle dropped in this process.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Opens the database in `path`, or creates it when the folder is missing.
///
/// # Errors
/// [`StoreError`]. After a failed open nothing in the folder has been removed but sled's snapshots, which
/// sled rebuilds from its log, and its settings, which are always the same.
pub(super) fn open(path: &Path) -> Result<sled::Db, StoreError> {
    remove_snapshots(path, |name| name.ends_with(".generating"))?;
    open_db(path)
        .or_else(|_| {
            remove_snapshots(path, |_| true)?;
            open_db(path)
        })
        .or_else(|error| reopen_without_settings(path, error))
}

/// Opens sled, waiting for a lock that this process may just be releasing.
fn open_db(path: &Path) -> Result<sled::Db, StoreError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match try_open_db(path) {
            Err(StoreError::Sled {
                source: sled::Error::Io(error),
                ..
            }) if error.kind() == std::io::ErrorKind::Other && Instant::now() < deadline => {
                std::thread::park_timeout(LOCK_RETRY);
            }
            outcome => return outcome,
        }
    }
}

fn try_open_db(path: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None);
    guarded(path, || config.open())
}

/// A damaged settings file makes every open fail, although it says nothing that this program does not know.
fn reopen_without_settings(path: &Path, error: StoreError) -> Result<sled::Db, StoreError> {
    if matches!(
        &error,
        StoreError::Sled {
            source: sled::Error::Corruption { .. } | sled::Error::Unsupported(_),
            ..
        }
    ) && fs::remove_file(path.join("conf")).is_ok()
    {
        return open_db(path);
    }
    Err(error)
}

/// sled writes snapshots only when opening and rebuilds them from its log; a torn one makes every open fail.
fn remove_snapshots(path: &Path, which: impl Fn(&str) -> bool) -> Result<(), StoreError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(io_error(path, source)),
    };
    for entry in entries {
        let entry = entry.map_err(|source| io_error(path, source))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && which(&name) {
            fs::remove_file(entry.path()).map_err(|source| io_error(path, source))?;
        }
    }
    Ok(())
}
