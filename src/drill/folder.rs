//! The scratch directory: nobody else's, and gone afterwards.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// On disk also where `/tmp` is memory: a store in memory would show nothing of the disk, and take what the gateway has little
/// of. systemd cleans it after 30 days, should nobody else.
const DEFAULT: &str = "/var/tmp";
/// For the user alone: messages, a key and sockets are in it.
const MODE: u32 = 0o700;
/// Room for the store beside what stays free: the ballast, and a drill's messages several times over.
pub(super) const NEEDED_BYTES: u64 = 128 * 1024 * 1024;
/// Longest path of the folder, bytes: a socket in it has to fit into the 107 of `sun_path` (unix(7)).
const PATH_MAX: usize = 90;
/// Magic number of a file system in memory (statfs(2)).
const TMPFS: u64 = 0x0102_1994;

/// Why there is no scratch directory.
#[derive(Debug, thiserror::Error)]
pub(super) enum FolderError {
    #[error("cannot make a scratch directory in {parent}: {source}; give another one with --scratch DIR")]
    Io { parent: PathBuf, source: io::Error },
    #[error("{} has {PATH_MAX} bytes at most, so that sockets fit in it: give a shorter one with --scratch DIR", .0.display())]
    TooLong(PathBuf),
    #[error(
        "the drill needs {} free in {}, there are {}: of these {} are what min_free_bytes leaves free; give another place with \
         --scratch DIR",
        super::settings::size(*needed), parent.display(), super::settings::size(*free), super::settings::size(*kept)
    )]
    NoSpace {
        parent: PathBuf,
        needed: u64,
        free: u64,
        kept: u64,
    },
}

/// The folder. Removed when dropped, unless it is kept.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    is_kept: bool,
}

impl Folder {
    /// Makes it in `parent`, where `kept` bytes stay free.
    pub(super) fn make(parent: Option<&Path>, kept: u64) -> Result<Self, FolderError> {
        let parent = parent.unwrap_or(Path::new(DEFAULT));
        let fail = |source| FolderError::Io {
            parent: parent.to_owned(),
            source,
        };
        let parent = fs::canonicalize(parent).map_err(fail)?;
        check_space(&parent, kept).map_err(fail)??;
        // A name that nobody knows beforehand; making it fails where there is something of that name.
        let name = format!("edgeferry-drill-{:012x}", rand::random::<u64>() >> 16);
        let path = parent.join(name);
        if path.as_os_str().len() > PATH_MAX {
            return Err(FolderError::TooLong(path));
        }
        fs::DirBuilder::new().mode(MODE).create(&path).map_err(fail)?;
        Ok(Self { path, is_kept: false })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it where it is, for whoever looks into it.
    pub(super) const fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Whether it is in memory.
    pub(super) fn is_memory(&self) -> bool {
        let found = rustix::fs::statfs(&self.path);
        found.is_ok_and(|found| u64::try_from(found.f_type) == Ok(TMPFS))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the scratch directory");
        }
    }
}

fn check_space(parent: &Path, kept: u64) -> io::Result<Result<(), FolderError>> {
    let found = rustix::fs::statvfs(parent)?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let needed = kept.saturating_add(NEEDED_BYTES);
    if free >= needed {
        return Ok(Ok(()));
    }
    Ok(Err(FolderError::NoSpace {
        parent: parent.to_owned(),
        needed,
        free,
        kept,
    }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_is_the_users_alone_and_goes() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::make(Some(parent.path()), 0).unwrap();
        let path = folder.path().to_owned();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::write(path.join("a"), "b").unwrap();
        drop(folder);
        assert!(!path.exists());
        let mut folder = Folder::make(Some(parent.path()), 0).unwrap();
        folder.keep();
        let path = folder.path().to_owned();
        drop(folder);
        assert!(path.exists());
    }

    #[test]
    fn too_little_space_and_no_folder_are_said() {
        let parent = tempfile::tempdir().unwrap();
        let error = Folder::make(Some(parent.path()), u64::MAX / 2)
            .unwrap_err()
            .to_string();
        assert!(error.contains("needs") && error.contains("--scratch"), "{error}");
        let missing = parent.path().join("missing");
        let error = Folder::make(Some(&missing), 0).unwrap_err().to_string();
        assert!(
            error.contains("cannot make") && error.contains("--scratch"),
            "{error}"
        );
        let long = parent.path().join("x".repeat(90));
        fs::create_dir(&long).unwrap();
        let error = Folder::make(Some(&long), 0).unwrap_err().to_string();
        assert!(error.contains("90 bytes"), "{error}");
        assert_eq!(
            fs::read_dir(parent.path()).unwrap().count(),
            1,
            "nothing is left behind"
        );
    }
}
