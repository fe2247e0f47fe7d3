//! What the opening of a lane notes beside its log, put back when the configuration that it was opened for is refused.
//!
//! A lane's routes, its cursor's topics and the filters of its sessions are noted at its opening, and the next opening goes by
//! them. When another lane cannot be opened nobody wants that configuration any more: what was noted for it would send records
//! by routes that were never in force, and commit cursors to a topic that may not exist. A lane that the configuration would have
//! brought has not run: its folder goes again, or back to where lanes are put away.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::app::{DataDir, cursor_topic, retired, routing};
use crate::files::replace;

/// What lanes have noted: some kilobytes each.
#[derive(Debug)]
pub(super) struct Notes {
    lanes: Vec<String>,
    kept: BTreeMap<PathBuf, Vec<u8>>,
    /// Folders of lanes, and of their dead letters, that are not there.
    absent: Vec<PathBuf>,
    /// Lanes that are put away.
    away: Vec<String>,
}

impl Notes {
    /// Those of `lanes`, also of lanes that come. What cannot be read counts as missing, as it does for whoever opens the lane.
    pub(super) fn of<'a>(data_dir: &DataDir, lanes: impl Iterator<Item = &'a str>) -> Self {
        let lanes: Vec<String> = lanes.map(str::to_owned).collect();
        let paths = lanes.iter().flat_map(|lane| paths(data_dir, lane));
        let kept = paths.filter_map(|path| Some((path.clone(), std::fs::read(path).ok()?)));
        let is_away = |lane: &String| !data_dir.lane(lane).exists() && data_dir.retired(lane).exists();
        // One that was put away is put away again and never deleted: it knows which sequences are used.
        let (away, here): (Vec<_>, Vec<_>) = lanes.iter().cloned().partition(is_away);
        let queues = here.iter().map(|lane| data_dir.lane(lane));
        let folders = queues.chain(lanes.iter().map(|lane| data_dir.dead_letters(lane)));
        Self {
            kept: kept.collect(),
            absent: folders.filter(|folder| !folder.exists()).collect(),
            away,
            lanes,
        }
    }

    /// What was noted since is as it was.
    pub(super) fn put_back(self, data_dir: &DataDir) {
        let now = self.lanes.iter().flat_map(|lane| paths(data_dir, lane));
        let come = now.filter(|path| !self.kept.contains_key(path));
        for path in come {
            told(&path, std::fs::remove_file(&path));
        }
        for (path, bytes) in &self.kept {
            if std::fs::read(path).ok().as_ref() != Some(bytes) {
                told(path, replace(path, bytes));
            }
        }
        for lane in self.away.iter().filter(|lane| data_dir.lane(lane).exists()) {
            told(&data_dir.lane(lane), retired::retire(data_dir, lane));
        }
        // What is stored comes from stages, and none of theirs has begun.
        for folder in self.absent.iter().filter(|folder| folder.exists()) {
            told(folder, std::fs::remove_dir_all(folder));
        }
    }
}

/// The files in a lane's folder that say what its configuration was.
fn paths(data_dir: &DataDir, lane: &str) -> Vec<PathBuf> {
    let folder = data_dir.lane(lane);
    let fixed = [routing::FILE, cursor_topic::FILE].map(|name| folder.join(name));
    let fixed = fixed.into_iter().filter(|path| path.exists());
    // A folder that cannot be read is told by whoever opens the lane.
    let filters = data_dir.all_filters(lane).unwrap_or_default();
    fixed.chain(filters).collect()
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
        let notes = Notes::of(&data_dir, ["a"].into_iter());
        retired::revive(&data_dir, "a").expect("comes back");
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
    }

    #[test]
    fn a_lane_that_cannot_be_put_away_keeps_the_sequences_that_it_used() {
        let dir = tempfile::tempdir().expect("temp dir");
        let in_the_way = |data_dir: &DataDir| fs::create_dir(data_dir.retired("a")).expect("makes");
        assert_eq!(refused(dir.path(), in_the_way).as_deref(), Some(&b"used"[..]));
    }
}
