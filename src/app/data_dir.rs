//! The store's folder: made when missing, used by one daemon at a time.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::format::{self, FormatError};
use crate::config::is_lane_name;

const LANES: &str = "lanes";
const DEAD_LETTERS: &str = "dead-letters";
/// How the names of a session's files begin; the name of the broker follows.
const SESSION: &str = "session-";
const FILTERS: &str = "filters-";
const RETAINED: &str = "retained-";

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made or written.
    #[error("data_dir {path}: {source}{}", advice(source))]
    Unusable {
        /// The folder or the file in it.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Another version of edgeferry wrote it.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Another daemon uses it.
    #[error("data_dir {path} is in use by another edgeferry{}", owner.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Its pid, if it could be read.
        owner: Option<u32>,
    },
}

/// What a person can do about the reasons that have one answer.
fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "; name a folder that this user may write, or run as the user that it belongs to"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; under systemd the unit needs ReadWritePaths= for it (docs/systemd.md)"
        }
        _ => "",
    }
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
        let is_marked = format::check(path)?;
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
        if !is_marked && let Err(error) = format::write(path) {
            // The next start finds out by the chunks; a full disk must not keep this one from going on.
            tracing::warn!(%error, "cannot note the format of data_dir");
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The folders of all logs in a store, whether it is taken or not.
    pub(super) fn logs(data_dir: &Path) -> Vec<PathBuf> {
        let places = [data_dir.join(LANES), data_dir.join(DEAD_LETTERS)];
        let items = places
            .iter()
            .filter_map(|place| fs::read_dir(place).ok())
            .flatten();
        let logs = items.filter_map(|item| item.ok().map(|item| item.path()));
        logs.chain([data_dir.join(DEAD_LETTERS)]).collect()
    }

    /// Whether there is a log from an earlier run.
    #[must_use]
    pub fn has_log(&self) -> bool {
        self.path.join(LANES).exists()
    }

    /// The folder of a lane's log.
    #[must_use]
    pub fn lane(&self, name: &str) -> PathBuf {
        self.path.join(LANES).join(name)
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
        self.path.join(DEAD_LETTERS).join(lane)
    }

    /// The lanes that have dead letters, or had.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`].
    pub fn letter_lanes(&self) -> Result<BTreeSet<String>, DataDirError> {
        folders(&self.path.join(DEAD_LETTERS))
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

    /// Where the newest message of each topic of this broker is remembered.
    #[must_use]
    pub fn retained_messages(&self, lane: &str, broker: &str) -> PathBuf {
        self.lane(lane).join(format!("{RETAINED}{broker}"))
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

    /// The files of all sessions in a lane's folder: the filters of each, and what else is known of it.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`].
    pub fn session_files(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataDirError> {
        let begins = |name: &str, begin: &[&str]| begin.iter().any(|begin| name.starts_with(begin));
        let own = names(folder)?.into_iter();
        let own = own.filter(|name| begins(name, &[SESSION, FILTERS, RETAINED]));
        let (filters, others): (Vec<_>, Vec<_>) = own.partition(|name| begins(name, &[FILTERS]));
        let path = |name: String| folder.join(name);
        Ok((
            filters.into_iter().map(path).collect(),
            others.into_iter().map(path).collect(),
        ))
    }

    /// What is kept of lanes that are no more.
    #[must_use]
    pub fn retired(&self, lane: &str) -> PathBuf {
        self.path.join("retired").join(lane)
    }

    /// The lanes that are no more and of which something is kept.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`].
    pub fn retired_lanes(&self) -> Result<BTreeSet<String>, DataDirError> {
        folders(&self.path.join("retired"))
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
    fn a_folder_that_may_not_be_written_comes_with_advice() {
        let said = |kind: io::ErrorKind| {
            let (path, source) = (PathBuf::from("/var/lib/edgeferry"), kind.into());
            DataDirError::Unusable { path, source }.to_string()
        };
        assert!(said(io::ErrorKind::PermissionDenied).contains("run as the user that it belongs to"));
        assert!(said(io::ErrorKind::ReadOnlyFilesystem).contains("ReadWritePaths="));
        assert!(!said(io::ErrorKind::NotADirectory).contains(';'));
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

    fn names(folder: &Path) -> Vec<std::ffi::OsString> {
        let items = fs::read_dir(folder).expect("lists");
        let mut names: Vec<_> = items.map(|item| item.expect("item").file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_store_says_its_format_from_its_first_moment() {
        let dir = tempfile::tempdir().expect("temp dir");
        for damaged in [
            None,
            Some(""),
            Some("\0\0\0\0"),
            Some("edgeferry-store two\n"),
            Some("edgeferry-store 2\n"),
        ] {
            if let Some(damaged) = damaged {
                fs::write(dir.path().join("format"), damaged).expect("writes");
            }
            DataDir::take(dir.path()).expect("takes");
            let text = fs::read_to_string(dir.path().join("format")).expect("is there");
            assert_eq!(text, "edgeferry-store 2\n");
        }
        assert_eq!(names(dir.path()), ["format", "lock"]);
    }

    #[test]
    fn a_store_of_another_version_is_refused_in_plain_words_and_not_touched() {
        let dir = tempfile::tempdir().expect("temp dir");
        let refused = |version: u32, words: &str| {
            fs::write(dir.path().join("format"), format!("edgeferry-store {version}\n")).expect("writes");
            let error = DataDir::take(dir.path()).expect_err("refused");
            assert!(matches!(error, DataDirError::Format(_)), "{error}");
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(names(dir.path()), ["format"]);
        };
        refused(
            3,
            "was written by a newer edgeferry (format 3); this one reads up to 2",
        );
        refused(1, "was written by a development version of edgeferry (format 1)");
    }

    #[test]
    fn without_the_file_the_newest_chunk_says_the_format() {
        for (version, words) in [(1_u8, "development version"), (3, "newer edgeferry (format 3)")] {
            let dir = tempfile::tempdir().expect("temp dir");
            let generation = dir.path().join("lanes/default/g-00000000000000000001");
            fs::create_dir_all(&generation).expect("creates");
            let mut chunk = [&b"EFQ1"[..], &[version], &[0; 35]].concat();
            chunk.extend(crc32fast::hash(&chunk).to_be_bytes());
            fs::write(generation.join("db"), [&[7; 100], &chunk[..], &[7; 100]].concat()).expect("writes");
            let error = DataDir::take(dir.path()).expect_err("refused").to_string();
            assert!(error.contains(words), "{error}");
            assert_eq!(names(dir.path()), ["lanes"]);
        }
    }
}
