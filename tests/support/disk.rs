//! Small file systems of their own that a test may fill: tmpfs, and ext4 on a loop device. Mounting needs root.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Kinds of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In memory: every block is taken when it is written.
    Tmpfs,
    /// On a loop device, with a journal and delayed allocation: a block may be refused later than it was written.
    Ext4,
}

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// A file system of `mib` MiB. `None`, and a word about it, where mounting is not possible.
    pub fn mount(kind: Kind, mib: u64) -> Option<Self> {
        let folder = tempfile::tempdir().expect("temp dir");
        let at = folder.path().join("mnt");
        fs::create_dir(&at).expect("creates");
        let outcome = match kind {
            Kind::Tmpfs => run(Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
                .arg(&at)),
            Kind::Ext4 => mount_ext4(&folder.path().join("image"), &at, mib),
        };
        match outcome {
            Ok(()) => Some(Self { folder }),
            Err(reason) => {
                eprintln!("skipped: cannot mount a {kind:?}, which needs root and loop devices: {reason}");
                None
            }
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    fn neighbour(&self) -> PathBuf {
        self.path().join("neighbour")
    }

    /// A neighbour takes all that is left.
    pub fn eat(&self) {
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(self.neighbour())
            .expect("a name needs no space");
        // Ever smaller pieces, down to a block of the smallest file systems.
        for piece in [1 << 20, 1 << 16, 1 << 12, 1 << 10] {
            let bytes = vec![0x5a; piece];
            while file.write_all(&bytes).is_ok() {}
            // What is written may be refused only here.
            if let Err(error) = file.sync_data() {
                eprintln!("the neighbour is full: {error}");
            }
        }
    }

    /// The neighbour goes away.
    pub fn leave(&self) {
        fs::remove_file(self.neighbour()).expect("it was there");
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.path()).expect("mounted");
        stat.f_bavail * stat.f_frsize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a thread of a test that failed may still have files open.
        if let Err(reason) = run(Command::new("umount").arg("-l").arg(self.path())) {
            eprintln!("cannot unmount {}: {reason}", self.path().display());
        }
    }
}

fn mount_ext4(image: &Path, at: &Path, mib: u64) -> Result<(), String> {
    let file = File::create(image).map_err(|error| error.to_string())?;
    file.set_len(mib << 20).map_err(|error| error.to_string())?;
    // No blocks for root alone: the test is root, the daemon usually is not.
    run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(image))?;
    run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at))
}

fn run(command: &mut Command) -> Result<(), String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = command
        .env("PATH", path)
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
