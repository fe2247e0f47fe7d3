//! Small files that are replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::faults;

/// A path that begins with this name is looked for where systemd puts the credentials of the service.
pub(crate) const CREDENTIALS: &str = "$CREDENTIALS_DIRECTORY";

/// The path is relative to the credentials of a service, and there are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}: CREDENTIALS_DIRECTORY is not set: systemd sets it for a unit with LoadCredential= or LoadCredentialEncrypted="
)]
pub struct NoCredentials(pub PathBuf);

/// The path, with `$CREDENTIALS_DIRECTORY` at its beginning replaced.
///
/// # Errors
/// [`NoCredentials`]
pub fn in_credentials(path: &Path) -> Result<PathBuf, NoCredentials> {
    let Ok(name) = path.strip_prefix(CREDENTIALS) else {
        return Ok(path.to_owned());
    };
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(folder) => Ok(Path::new(&folder).join(name)),
        None => Err(NoCredentials(path.to_owned())),
    }
}

/// Where a file is written before it takes its place at `path`: beside it, under a name that nobody knows before. In `/tmp` anybody may put a file or
/// a link where a known one would be.
pub fn unfinished(path: &Path) -> PathBuf {
    path.with_added_extension(format!("{:016x}.part", rand::random::<u64>()))
}

/// A new file for its user alone: no link is followed, and no file of somebody else's taken.
///
/// # Errors
/// Whatever the file system says; [`io::ErrorKind::AlreadyExists`].
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Makes the file hold `bytes`, all of them or what it held before, also over a power cut.
///
/// # Errors
/// Whatever the file system says.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    faults::writes(path)?;
    let unfinished = path.with_added_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_folder_of(path)
}

/// Makes the name `path` durable, or its absence.
///
/// # Errors
/// Whatever the file system says.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    faults::syncs(path, || File::open(folder)?.sync_all())
}
