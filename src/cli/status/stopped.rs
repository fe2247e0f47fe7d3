//! A store on which nobody runs, by its files alone: they are read, and nothing is opened for writing.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::failure::{AskError, foreign};
use crate::app;
use crate::identity;
use crate::ops::state::{Ledger, VERSION};
use crate::queue;

/// Folders are looked into this deep: lane, generation, what sled keeps there.
const DEPTH_MAX: usize = 6;

/// What a store says of itself. As JSON it has the names that a state has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Store {
    pub version: u32,
    /// Always `false`: a state of a daemon does not have it.
    pub is_running: bool,
    pub edgeferry: &'static str,
    /// `None`: it cannot be understood.
    pub gateway: Option<String>,
    pub epoch: Option<String>,
    /// When the daemon gave its last sign in the store; `None`: it cannot be told.
    pub last_sign_unix_ms: Option<i64>,
    pub data_dir: String,
    pub lanes: Vec<Lane>,
}

/// A lane of such a store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lane {
    pub name: String,
    /// `None`: its files are damaged, or not there; the daemon finds out from the log itself.
    pub ledger: Option<Ledger>,
    /// Space taken on disk.
    pub bytes: u64,
}

/// Looks at the store in `folder`.
pub fn look(folder: &Path) -> Result<Store, AskError> {
    let lanes = folder.join("lanes");
    let entries = match fs::read_dir(&lanes) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(AskError::NoStore(folder.to_owned()));
        }
        Err(error) => return Err(foreign(&lanes, error)),
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            entry
                .path()
                .is_dir()
                .then(|| entry.file_name().to_string_lossy().into_owned())
        })
        .collect();
    names.sort();
    // A store of another user may be listed and not read.
    if let Some(first) = names.first()
        && let Err(error) = fs::File::open(lanes.join(first).join("marks"))
        && error.kind() == std::io::ErrorKind::PermissionDenied
    {
        return Err(foreign(&lanes.join(first), error));
    }
    let kept = identity::kept(folder).ok().flatten();
    Ok(Store {
        version: VERSION,
        is_running: false,
        edgeferry: env!("CARGO_PKG_VERSION"),
        gateway: kept.as_ref().map(|kept| kept.gateway.clone()),
        epoch: kept.as_ref().map(|kept| kept.epoch.to_string()),
        last_sign_unix_ms: last_sign(folder, &names),
        data_dir: folder.display().to_string(),
        lanes: names.iter().map(|name| lane(&lanes.join(name), name)).collect(),
    })
}

fn lane(folder: &Path, name: &str) -> Lane {
    let ledger = queue::peek(folder).map(|peeked| Ledger {
        unprotected: peeked.unprotected,
        ..app::ledger(&peeked.balance)
    });
    Lane {
        name: name.to_owned(),
        ledger,
        bytes: bytes_of(folder, DEPTH_MAX),
    }
}

/// Space of all files below, as the file system counts it.
fn bytes_of(folder: &Path, depth: usize) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => match depth.checked_sub(1) {
            Some(depth) => bytes_of(&entry.path(), depth),
            None => 0,
        },
        Ok(metadata) => metadata.blocks().saturating_mul(512),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

/// The marks are written with every group that is stored and every move of the cursor, the lock at the start.
fn last_sign(folder: &Path, lanes: &[String]) -> Option<i64> {
    let marks = lanes
        .iter()
        .map(|lane| folder.join("lanes").join(lane).join("marks"));
    let files = marks.chain([folder.join("lock")]);
    let newest = files
        .filter_map(|file| fs::metadata(file).ok()?.modified().ok())
        .max()?;
    unix_ms(newest)
}

fn unix_ms(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}
