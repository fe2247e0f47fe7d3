//! The store's folder: made when missing, used by one daemon at a time.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::config::{DEFAULT_LANE, is_lane_name};

/// How the names of a session's files begin; the name of the broker follows.
const SESSION: &str = "session-";
const FILTERS: &str = "filters-";

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

    /// The lanes that have a log, by name.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`].
    pub fn lanes(&self) -> Result<BTreeSet<String>, DataDirError> {
        folders(&self.path.join("lanes"))
    }

    /// The folder of a lane's dead letters.
    #[must_use]
    pub fn dead_letters(&self, lane: &str) -> PathBuf {
        self.path.join("dead-letters").join(lane)
    }

    /// What a source remembers of its session with a broker.
    #[must_use]
    pub fn session(&self, lane: &str, broker: &str) -> PathBuf {
        self.lane(lane).join(format!("{SESSION}{broker}"))
    }

    /// The filters that this session may hold.
    #[must_use]
    pub fn filters(&self, lane: &str, broker: &str) -> PathBuf {
        self.lane(lane).join(format!("{FILTERS}{broker}"))
    }

    /// The brokers that a lane has, or had, a session with.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`].
    pub fn sessions(&self, lane: &str) -> Result<BTreeSet<String>, DataDirError> {
        let names = names(&self.lane(lane))?.into_iter();
        let brokers = names.filter_map(|name| Some(name.strip_prefix(SESSION)?.to_owned()));
        Ok(brokers.collect())
    }

    /// What is kept of lanes that are no more.
    #[must_use]
    pub fn retired(&self, lane: &str) -> PathBuf {
        self.path.join("retired").join(lane)
    }

    /// The dead letters of a store from before there were lanes go where those of the lane `default` are.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`].
    pub fn give_dead_letters_a_lane(&self) -> Result<(), DataDirError> {
        let (place, aside) = (
            self.path.join("dead-letters"),
            self.path.join("dead-letters.moving"),
        );
        let is_generation = |name: &String| name.starts_with("g-");
        let fail = |source| DataDirError::Unusable {
            path: place.clone(),
            source,
        };
        // In steps of which each can be the last one before a crash.
        if !aside.exists() && names(&place)?.iter().any(is_generation) {
            fs::rename(&place, &aside).map_err(fail)?;
        }
        if aside.exists() {
            fs::create_dir_all(&place).map_err(fail)?;
            fs::rename(&aside, place.join(DEFAULT_LANE)).map_err(fail)?;
        }
        Ok(())
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The names in a folder; none when it is not there.
fn names(path: &Path) -> Result<Vec<String>, DataDirError> {
    let fail = |source| DataDirError::Unusable {
        path: path.to_owned(),
        source,
    };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<io::Result<_>>().map_err(fail)
}

/// Folders in a folder that may be a lane's.
fn folders(path: &Path) -> Result<BTreeSet<String>, DataDirError> {
    let names = names(path)?.into_iter();
    Ok(names
        .filter(|name| is_lane_name(name) && path.join(name).is_dir())
        .collect())
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
    fn dead_letters_from_before_there_were_lanes_are_those_of_the_default_lane() {
        let dir = tempfile::tempdir().expect("temp dir");
        let data_dir = DataDir::take(dir.path()).expect("takes");
        data_dir.give_dead_letters_a_lane().expect("nothing to do");
        fs::create_dir_all(dir.path().join("dead-letters/g-1")).expect("makes");
        data_dir.give_dead_letters_a_lane().expect("moves");
        assert!(data_dir.dead_letters("default").join("g-1").exists());
        data_dir.give_dead_letters_a_lane().expect("nothing to do");
        // A crash right after the first step.
        fs::rename(
            data_dir.dead_letters("default"),
            dir.path().join("dead-letters.moving"),
        )
        .expect("renames");
        data_dir.give_dead_letters_a_lane().expect("goes on");
        assert!(data_dir.dead_letters("default").join("g-1").exists());
    }

    #[test]
    fn only_folders_that_can_be_lanes_are_lanes() {
        let dir = tempfile::tempdir().expect("temp dir");
        let data_dir = DataDir::take(dir.path()).expect("takes");
        assert!(data_dir.lanes().expect("reads").is_empty());
        for name in ["alarms", "lost+found", ".x"] {
            fs::create_dir_all(data_dir.lane(name)).expect("makes");
        }
        fs::write(data_dir.lane("file"), b"").expect("writes");
        assert_eq!(data_dir.lanes().expect("reads"), ["alarms".to_owned()].into());
        fs::write(data_dir.session("alarms", "a.b"), b"").expect("writes");
        fs::write(data_dir.filters("alarms", "c"), b"").expect("writes");
        assert_eq!(
            data_dir.sessions("alarms").expect("reads"),
            ["a.b".to_owned()].into()
        );
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
