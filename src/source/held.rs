//! The filters that the broker's session may hold: remembered on disk, so that those which a later configuration does not
//! want can be unsubscribed.
//!
//! A JSON list, replaced as a whole. It is written before anything is asked for. If that fails, or the file is lost, all
//! that follows is that a filter may stay subscribed: its messages are still taken and routed.

use std::path::{Path, PathBuf};
use std::{fs, io};

use tracing::warn;

use crate::files::replace;

/// The file of one session.
#[derive(Debug)]
pub struct HeldFile {
    path: PathBuf,
    /// What the file says, as far as known.
    written: Option<Vec<String>>,
}

impl HeldFile {
    /// Reads the file. A damaged one counts as missing.
    pub fn open(path: &Path) -> Self {
        let written = fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self {
            path: path.to_owned(),
            written,
        }
    }

    /// What it says; `None` when there is none.
    pub fn filters(&self) -> Option<&[String]> {
        self.written.as_deref()
    }

    /// Makes it say this, durably. A failure is told, and the next call tries again.
    pub fn remember(&mut self, filters: Vec<String>) {
        if self.written.as_ref() == Some(&filters) {
            return;
        }
        let written = serde_json::to_vec(&filters)
            .map_err(io::Error::from)
            .and_then(|json| replace(&self.path, &json));
        match written {
            Ok(()) => self.written = Some(filters),
            Err(error) => {
                warn!(path = %self.path.display(), %error, "cannot note which filters are subscribed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_remembered_is_found_again_and_damage_counts_as_missing() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("filters-a.b");
        let mut held = HeldFile::open(&path);
        assert_eq!(held.filters(), None);
        let filters = vec!["a/+".to_owned(), "ä/#".to_owned()];
        held.remember(filters.clone());
        assert_eq!(HeldFile::open(&path).filters(), Some(&filters[..]));
        fs::write(&path, b"[\"a").expect("writes");
        assert_eq!(HeldFile::open(&path).filters(), None);
    }

    #[test]
    fn a_failure_is_tried_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("missing").join("filters");
        let mut held = HeldFile::open(&path);
        held.remember(vec!["a".to_owned()]);
        assert_eq!(held.filters(), None);
        fs::create_dir(dir.path().join("missing")).expect("a folder");
        held.remember(vec!["a".to_owned()]);
        assert_eq!(HeldFile::open(&path).filters().map(<[_]>::len), Some(1));
    }
}
