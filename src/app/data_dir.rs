//! The store's folder: made when missing, used by one daemon at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made or written.
    #[error("data_dir {path}: {source}")]
    Unusable {
        /// The folder or the file in it.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Another daemon uses it.
    #[error("data_dir {path} is in use by another edgeferry{}", owner.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Its pid, if it could be read.
        owner: Option<u32>,
    },
}

/// The locked folder; unlocked when dropped, also by the kernel when the process dies.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder if it is missing and takes it.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn take(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(path).map_err(unusable)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataDirError::InUse {
                    path: path.to_owned(),
                    owner: read_owner(&mut lock),
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        if let Err(error) = write_owner(&mut lock) {
            // Only the message for a second daemon needs it; a full disk must not keep the first from starting.
            tracing::debug!(%error, "cannot note the owner of data_dir");
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Whether there is a log from an earlier run.
    #[must_use]
    pub fn has_log(&self) -> bool {
        self.path.join("lanes").exists()
    }

    /// The folder of a lane's log.
    #[must_use]
    pub fn lane(&self, name: &str) -> PathBuf {
        self.path.join("lanes").join(name)
    }

    /// The folder of the dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> PathBuf {
        self.path.join("dead-letters")
    }

    /// What a source remembers of its session with a broker.
    #[must_use]
    pub fn session(&self, lane: &str, broker: &str) -> PathBuf {
        self.lane(lane).join(format!("session-{broker}"))
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn read_owner(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_owner(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_does_not_keep_the_daemon_from_taking_its_folder() {
        let dir = tempfile::tempdir().expect("temp dir");
        std::os::unix::fs::symlink("/dev/full", dir.path().join("lock")).expect("links");
        DataDir::take(dir.path()).expect("takes");
    }

    #[test]
    fn a_missing_folder_is_made_and_a_second_daemon_is_told_who_has_it() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("a").join("b");
        let taken = DataDir::take(&path).expect("takes");
        match DataDir::take(&path) {
            Err(DataDirError::InUse { owner, .. }) => assert_eq!(owner, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(taken);
        DataDir::take(&path).expect("takes again");
    }
}
