//! The filters that the broker's session may hold: remembered on disk, so that those which a later configuration does not
//! want can be unsubscribed.
//!
//! Beside them stands what is settled with other lanes ([`HeldFile::settle`]).
//!
//! JSON, replaced as a whole; files of earlier versions are a list of the filters alone. It is written before anything is
//! asked for. If that fails, or the file is lost, a filter may stay subscribed: its messages are still taken and routed. And
//! what another lane may lack is marked only if that lane's file says that it never asked for it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::handover::Foreign;
use crate::files::replace;

/// The file of one session.
#[derive(Debug)]
pub struct HeldFile {
    path: PathBuf,
    /// What the file says, as far as known.
    written: Option<Said>,
    /// What it is to say.
    said: Said,
}

/// What one file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Form")]
struct Said {
    held: Vec<String>,
    /// `None`: an earlier version wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    settled: Option<Vec<Foreign>>,
}

/// All forms that a file may have.
#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Filters(Vec<String>),
    Said {
        held: Vec<String>,
        settled: Option<Vec<Foreign>>,
    },
}

impl From<Form> for Said {
    fn from(form: Form) -> Self {
        match form {
            Form::Filters(held) => Self { held, settled: None },
            Form::Said { held, settled } => Self { held, settled },
        }
    }
}

impl HeldFile {
    /// Reads the file. A damaged one counts as missing.
    pub fn open(path: &Path) -> Self {
        let written: Option<Said> = fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self {
            path: path.to_owned(),
            said: written.clone().unwrap_or_default(),
            written,
        }
    }

    /// The filters that the session may hold; `None` when there is no file.
    pub fn filters(&self) -> Option<&[String]> {
        self.written.as_ref().map(|said| &said.held[..])
    }

    /// What was settled; `None` when that was never written down.
    pub fn settled(&self) -> Option<&[Foreign]> {
        self.written.as_ref()?.settled.as_deref()
    }

    /// Makes it say that the session may hold these, durably. A failure is told, and the next call tries again.
    pub fn remember(&mut self, held: Vec<String>) {
        self.said.held = held;
        self.write();
    }

    /// Makes it say of which filters of other lanes the broker has nothing for this session that those may lack.
    /// As [`HeldFile::remember`].
    pub fn settle(&mut self, settled: Vec<Foreign>) {
        self.said.settled = Some(settled);
        self.write();
    }

    fn write(&mut self) {
        if self.written.as_ref() == Some(&self.said) {
            return;
        }
        let written = serde_json::to_vec(&self.said)
            .map_err(io::Error::from)
            .and_then(|json| replace(&self.path, &json));
        match written {
            Ok(()) => self.written = Some(self.said.clone()),
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
    fn what_is_settled_is_kept_beside_the_filters_and_files_of_earlier_versions_say_nothing_of_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("filters-a.b");
        fs::write(&path, br#"["a/+"]"#).expect("writes");
        let mut held = HeldFile::open(&path);
        assert_eq!(held.filters(), Some(&["a/+".to_owned()][..]));
        assert_eq!(held.settled(), None);
        let settled = vec![Foreign {
            lane: "other".to_owned(),
            filter: "a/b".to_owned(),
        }];
        held.settle(settled.clone());
        held.remember(vec!["b/+".to_owned()]);
        let held = HeldFile::open(&path);
        assert_eq!(held.filters(), Some(&["b/+".to_owned()][..]));
        assert_eq!(held.settled(), Some(&settled[..]));
    }

    #[test]
    fn a_failure_is_tried_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("missing").join("filters");
        let mut held = HeldFile::open(&path);
        held.remember(vec!["a".to_owned()]);
        assert_eq!(held.filters(), None);
        fs::create_dir(dir.path().join("missing")).expect("a folder");
        held.settle(Vec::new());
        assert_eq!(HeldFile::open(&path).filters().map(<[_]>::len), Some(1));
    }
}
