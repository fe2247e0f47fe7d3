//! Space on disk, as `du` counts it: blocks of files and folders, not lengths.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::row::Row;

/// `st_blocks` counts in this unit whatever the file system (stat(2)).
const BLOCK_BYTES: u64 = 512;
/// What is beside the generations is looked at again after this long: it changes at starts, at damages and at deletions,
/// and looking costs a few system calls for each name.
const MAX_AGE: Duration = Duration::from_secs(1);

/// Space of a file, or of a folder with all that is in it. What is not there takes none.
pub(super) fn disk_bytes(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    let below: u64 = match fs::read_dir(path) {
        Ok(entries) if metadata.is_dir() => entries.flatten().map(|entry| disk_bytes(&entry.path())).sum(),
        _ => 0,
    };
    metadata.blocks() * BLOCK_BYTES + below
}

/// Space of what is in a lane's folder beside its generations: marks, ledger, sessions, and what is on its way in or
/// out.
#[derive(Debug, Default)]
pub(super) struct Beside(Mutex<Option<(Instant, u64)>>);

impl Beside {
    /// Bytes, at most [`MAX_AGE`] old.
    pub(super) fn bytes(&self, folder: &Path, row: &Row) -> u64 {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((looked, bytes)) = *known
            && looked.elapsed() < MAX_AGE
        {
            return bytes;
        }
        let bytes = look(folder, row);
        *known = Some((Instant::now(), bytes));
        bytes
    }

    /// Something was added or removed: looks again at the next question.
    pub(super) fn changed(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn look(folder: &Path, row: &Row) -> u64 {
    let is_counted = |path: &Path| row.entries.iter().any(|entry| entry.path == path);
    let own = fs::symlink_metadata(folder).map_or(0, |metadata| metadata.blocks() * BLOCK_BYTES);
    let Ok(entries) = fs::read_dir(folder) else {
        return own;
    };
    let beside = entries.flatten().map(|entry| entry.path());
    own + beside
        .filter(|path| !is_counted(path))
        .map(|path| disk_bytes(&path))
        .sum::<u64>()
}
