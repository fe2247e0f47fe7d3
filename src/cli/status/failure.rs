//! Why nothing can be said of a store.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exit::Exit;

/// A daemon answers within milliseconds, on a busy board within a second; one that does not for so long hangs.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("there is no store in {}: edgeferry never ran with this data_dir", .0.display())]
    NoStore(PathBuf),
    #[error(
        "{path} cannot be read: {source}; it belongs to user {owner}: run this as that user or as root, for example with sudo"
    )]
    Foreign {
        path: String,
        owner: String,
        source: io::Error,
    },
    #[error(
        "process {pid} has the store, and does not answer ({source}): edgeferry is starting or stopping, or another command such as \
         `edgeferry queue` is at work; try again"
    )]
    Held { pid: u32, source: io::Error },
    #[error(
        "the daemon{} does not answer within {} s: it hangs, or the machine is overloaded. Under systemd its watchdog restarts it; \
         see `systemctl status edgeferry` and the log",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), PATIENCE.as_secs()
    )]
    Silent { pid: Option<u32> },
    #[error("what answers at {} is no edgeferry that this command understands: {why}; use the edgeferry that the daemon was started from", path.display())]
    Garbage { path: PathBuf, why: String },
    #[error("the daemon does not say: {0}")]
    Refused(String),
    #[error("{} cannot be asked: {source}", path.display())]
    Socket { path: PathBuf, source: io::Error },
}

impl AskError {
    /// Nobody can say that it is ready.
    pub const EXIT: Exit = Exit::Failure;
}

/// It cannot be read by whoever asks.
pub(super) fn foreign(path: &Path, source: io::Error) -> AskError {
    let owner = std::fs::metadata(path)
        .or_else(|_| std::fs::metadata(path.parent().unwrap_or(path)))
        .map_or_else(|_| "unknown".to_owned(), |metadata| metadata.uid().to_string());
    AskError::Foreign {
        path: path.display().to_string(),
        owner,
        source,
    }
}
