//! `data_dir/format`: the layout that the store has, so that no other version of edgeferry touches it.
//!
//! One line of text, made with the store. Where it is missing or cannot be understood, the newest chunks of the logs say
//! it: a lost file must not keep a gateway from starting.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::DataDir;
use crate::queue;

const FILE: &str = "format";
const NAME: &str = "edgeferry-store";
/// Layout of the store, described in `docs/disk-format.md`. Chunks have versions of their own, of which this is the highest.
pub(crate) const VERSION: u32 = 2;

/// The store has a layout that this edgeferry does not know; nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A later one.
    #[error(
        "{} was written by a newer edgeferry (format {found}); this one reads up to {VERSION}: upgrade, or move the \
         folder away; nothing was changed", path.display()
    )]
    Newer {
        /// The store's folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// An earlier one. None was ever released.
    #[error(
        "{} was written by a development version of edgeferry (format {found}), which this one does not read: let that \
         version deliver what is in it, or move the folder away; nothing was changed", path.display()
    )]
    Older {
        /// The store's folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// Looks whether the store in `data_dir` may be used, without changing anything. True when its file says so; otherwise it
/// is for [`write`] to do.
///
/// # Errors
/// [`FormatError`].
pub(super) fn check(data_dir: &Path) -> Result<bool, FormatError> {
    let written = read(data_dir);
    let found = written.or_else(|| newest(data_dir)).unwrap_or(VERSION);
    let path = data_dir.to_owned();
    match found {
        VERSION => Ok(written.is_some()),
        found if found > VERSION => Err(FormatError::Newer { path, found }),
        found => Err(FormatError::Older { path, found }),
    }
}

/// What the file says.
fn read(data_dir: &Path) -> Option<u32> {
    let text = fs::read_to_string(data_dir.join(FILE)).ok()?;
    text.trim_end().strip_prefix(NAME)?.trim_start().parse().ok()
}

/// The highest version among the newest chunks of all logs.
fn newest(data_dir: &Path) -> Option<u32> {
    let versions = DataDir::logs(data_dir)
        .into_iter()
        .filter_map(|log| queue::newest_version(&log));
    versions.max().map(u32::from)
}

/// Writes the file, whole or not at all.
///
/// # Errors
/// [`io::Error`]: the next start looks at the chunks again.
pub(super) fn write(data_dir: &Path) -> io::Result<()> {
    let new = data_dir.join("format.new");
    let mut file = File::create(&new)?;
    writeln!(file, "{NAME} {VERSION}")?;
    file.sync_all()?;
    fs::rename(&new, data_dir.join(FILE))?;
    File::open(data_dir)?.sync_all()
}
