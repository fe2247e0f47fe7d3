//! Space on disk, as `du` counts it: blocks of files and folders, not lengths.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
pub(super) struct Beside(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    looked: Option<(Instant, u64)>,
    /// How often something was added or removed.
    changes: u64,
}

impl Beside {
    /// Bytes, at most [`MAX_AGE`] old, or as they were a moment ago while another looks. `counted` are the paths of generations.
    pub(super) fn bytes(&self, folder: &Path, counted: impl FnOnce() -> Vec<PathBuf>) -> u64 {
        let changes = {
            let mut known = self.known();
            if let Some((looked, bytes)) = &mut known.looked {
                if looked.elapsed() < MAX_AGE {
                    return *bytes;
                }
                // The others go on with what was known: only one has to walk.
                *looked = Instant::now();
            }
            known.changes
        };
        let bytes = look(folder, counted);
        let mut known = self.known();
        if known.changes == changes {
            known.looked = Some((Instant::now(), bytes));
        }
        bytes
    }

    /// Something was added or removed: looks again at the next question.
    pub(super) fn changed(&self) {
        let mut known = self.known();
        known.looked = None;
        known.changes = known.changes.wrapping_add(1);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look(folder: &Path, counted: impl FnOnce() -> Vec<PathBuf>) -> u64 {
    let own = fs::symlink_metadata(folder).map_or(0, |metadata| metadata.blocks() * BLOCK_BYTES);
    let Ok(entries) = fs::read_dir(folder) else {
        return own;
    };
    let beside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    // Asked after the names are known: a generation that was made meanwhile is not counted twice.
    let counted: HashSet<PathBuf> = counted().into_iter().collect();
    let beside = beside.iter().filter(|path| !counted.contains(path.as_path()));
    own + beside.map(|path| disk_bytes(path)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_another_ones_walk_and_what_changed_meanwhile_is_looked_at_again() {
        let dir = tempfile::tempdir().expect("temp dir");
        let beside = Beside::default();
        let empty = beside.bytes(dir.path(), Vec::new);
        beside.known().looked = Instant::now().checked_sub(MAX_AGE).map(|looked| (looked, empty));
        fs::write(dir.path().join("file"), [1; 9000]).expect("writes");
        let walked = beside.bytes(dir.path(), || {
            // In the midst of a walk.
            assert_eq!(beside.bytes(dir.path(), || panic!("one walks")), empty);
            beside.changed();
            Vec::new()
        });
        assert!(walked > empty, "{walked} {empty}");
        let counted = || vec![dir.path().join("file")];
        assert_eq!(beside.bytes(dir.path(), counted), empty, "looked at again");
    }
}
