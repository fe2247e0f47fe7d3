//! What the opening of a lane notes beside its log, put back when the configuration that it was opened for is refused.
//!
//! A lane's routes, its cursor's topics, the keys of its blocks, and the filters of its sessions are noted at its opening, and the
//! next opening goes by them. When another lane cannot be opened nobody wants that configuration any more: what was noted for it would
//! send records by routes that were never in force, commit cursors to a topic that may not exist, or ask for a key that seals
//! nothing. A lane that the configuration would have brought has not run: its folder goes again, or back to where lanes are put away.
//!
//! Only what was certainly not there before is removed. What could not be looked at is left as it is found.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::app::{DataDir, DataDirError, cursor_topic, retired, routing};
use crate::files::replace;
use crate::queue::seal::key_ids;

/// What lanes have noted: some kilobytes each.
#[derive(Debug, Default)]
pub(super) struct Notes {
    lanes: Vec<Lane>,
    /// Folders of lanes, and of their dead letters, that were not there.
    absent: Vec<PathBuf>,
}

/// One lane, also one that comes.
#[derive(Debug)]
struct Lane {
    name: String,
    /// It is put away. It is put away again and never deleted: it knows which sequences are used.
    is_away: bool,
    /// What its files said, by path; a file that is not here was not there.
    files: BTreeMap<PathBuf, File>,
}

/// A file before.
#[derive(Debug)]
enum File {
    /// This stood in it.
    Said(Vec<u8>),
    /// It was there, and is another's to write; or it could not be read.
    Foreign,
}

impl Notes {
    /// Those of `lanes`. Of those that ran until now nothing but notes is ever removed.
    pub(super) fn of<'a>(
        data_dir: &DataDir,
        lanes: impl Iterator<Item = &'a str>,
        ran: &BTreeSet<String>,
    ) -> Self {
        let mut notes = Self::default();
        for name in lanes {
            let (queue, letters) = (data_dir.lane(name), data_dir.dead_letters(name));
            let is_away = is_absent(&queue) && data_dir.retired(name).exists();
            if !ran.contains(name) {
                let folders = [(!is_away).then_some(queue), Some(letters)];
                let absent = folders.into_iter().flatten().filter(|folder| is_absent(folder));
                notes.absent.extend(absent);
            }
            match files(data_dir, name, is_away) {
                Ok(files) => notes.lanes.push(Lane {
                    name: name.to_owned(),
                    is_away,
                    files,
                }),
                Err(error) => {
                    tracing::debug!(lane = name, %error, "its notes cannot be read, and stay as they will be");
                }
            }
        }
        notes
    }

    /// What was noted since is as it was.
    pub(super) fn put_back(self, data_dir: &DataDir) {
        for lane in &self.lanes {
            if lane.is_away && !is_absent(&data_dir.lane(&lane.name)) {
                told(&data_dir.lane(&lane.name), retired::retire(data_dir, &lane.name));
            }
            lane.put_back(data_dir);
        }
        // What is stored comes from stages, and none of theirs has begun.
        for folder in &self.absent {
            told(folder, gone(std::fs::remove_dir_all(folder)));
        }
    }
}

impl Lane {
    fn put_back(&self, data_dir: &DataDir) {
        for (path, before) in &self.files {
            if let File::Said(bytes) = before
                && std::fs::read(path).ok().as_ref() != Some(bytes)
            {
                told(path, replace(path, bytes));
            }
        }
        let now = paths(data_dir, &self.name, self.is_away).unwrap_or_default();
        for path in now.all().filter(|path| !self.files.contains_key(*path)) {
            told(path, gone(std::fs::remove_file(path)));
        }
    }
}

/// The files that an opening makes beside the log.
#[derive(Debug, Default)]
struct Paths {
    /// They say what its configuration was; some may be missing.
    notes: Vec<PathBuf>,
    /// They say what its sessions are; one that comes says that there is a session.
    sessions: Vec<PathBuf>,
}

impl Paths {
    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.notes.iter().chain(&self.sessions)
    }
}

fn paths(data_dir: &DataDir, lane: &str, is_away: bool) -> Result<Paths, DataDirError> {
    let folder = match is_away {
        true => data_dir.retired(lane),
        false => data_dir.lane(lane),
    };
    let fixed = [routing::FILE, cursor_topic::FILE, key_ids::FILE].map(|name| folder.join(name));
    let mut notes = Vec::from(fixed);
    notes.push(data_dir.dead_letters(lane).join(key_ids::FILE));
    let (filters, sessions) = DataDir::session_files(&folder)?;
    notes.extend(filters);
    Ok(Paths { notes, sessions })
}

fn files(data_dir: &DataDir, lane: &str, is_away: bool) -> Result<BTreeMap<PathBuf, File>, DataDirError> {
    let Paths { notes, sessions } = paths(data_dir, lane, is_away)?;
    let said = notes.into_iter().filter_map(|path| {
        let file = match std::fs::read(&path) {
            Ok(bytes) => File::Said(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(_) => File::Foreign,
        };
        Some((path, file))
    });
    let foreign = sessions.into_iter().map(|path| (path, File::Foreign));
    Ok(said.chain(foreign).collect())
}

/// Certainly: what cannot be looked at may be there.
fn is_absent(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

/// What is not there need not be removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn told(path: &Path, done: io::Result<()>) {
    if let Err(error) = done {
        tracing::error!(path = %path.display(), %error, "cannot put back what was noted for a configuration that is refused");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A configuration that would have brought a lane back is refused; gives what its folder has after that.
    fn refused(dir: &Path, prevent: impl FnOnce(&DataDir)) -> Option<Vec<u8>> {
        let data_dir = DataDir::take(dir).expect("opens");
        fs::create_dir_all(data_dir.retired("a")).expect("makes");
        fs::write(data_dir.retired("a").join("marks"), "used").expect("writes");
        fs::write(data_dir.retired("a").join(cursor_topic::FILE), "before").expect("writes");
        let notes = Notes::of(&data_dir, ["a"].into_iter(), &BTreeSet::new());
        retired::revive(&data_dir, "a").expect("comes back");
        fs::write(data_dir.lane("a").join(cursor_topic::FILE), "typo").expect("writes");
        prevent(&data_dir);
        notes.put_back(&data_dir);
        fs::read(data_dir.lane("a").join("marks")).ok()
    }

    #[test]
    fn a_lane_that_came_back_for_a_refused_configuration_is_put_away_again() {
        let dir = tempfile::tempdir().expect("temp dir");
        assert_eq!(refused(dir.path(), |_| ()), None);
        assert_eq!(
            fs::read(dir.path().join("retired/a/marks")).expect("kept"),
            b"used"
        );
        let topics = fs::read(dir.path().join("retired/a").join(cursor_topic::FILE));
        assert_eq!(topics.expect("kept"), b"before");
    }

    #[test]
    fn a_lane_that_cannot_be_put_away_keeps_the_sequences_that_it_used() {
        let dir = tempfile::tempdir().expect("temp dir");
        let in_the_way = |data_dir: &DataDir| fs::create_dir(data_dir.retired("a")).expect("makes");
        assert_eq!(refused(dir.path(), in_the_way).as_deref(), Some(&b"used"[..]));
    }

    #[test]
    fn a_note_that_could_not_be_read_before_is_not_removed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let data_dir = DataDir::take(dir.path()).expect("opens");
        // Nobody reads a folder as a file, whoever it is.
        let note = data_dir.lane("a").join(routing::FILE);
        fs::create_dir_all(&note).expect("makes");
        let notes = Notes::of(&data_dir, ["a"].into_iter(), &BTreeSet::from(["a".to_owned()]));
        fs::remove_dir(&note).expect("empty");
        fs::write(&note, "readable again").expect("writes");
        notes.put_back(&data_dir);
        assert_eq!(fs::read(&note).expect("kept"), b"readable again");
    }

    #[test]
    fn a_lane_that_ran_is_never_removed_even_if_it_was_not_seen() {
        let dir = tempfile::tempdir().expect("temp dir");
        let data_dir = DataDir::take(dir.path()).expect("opens");
        let folders = [data_dir.lane("a"), data_dir.dead_letters("a")];
        let notes = Notes::of(&data_dir, ["a"].into_iter(), &BTreeSet::from(["a".to_owned()]));
        for folder in &folders {
            fs::create_dir_all(folder).expect("makes");
        }
        notes.put_back(&data_dir);
        assert!(folders.iter().all(|folder| folder.exists()), "{folders:?}");
    }
}
