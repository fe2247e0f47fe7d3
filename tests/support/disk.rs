//! Small file systems of their own that a test may fill: tmpfs, and ext4 on a loop device. Mounting needs root.
//!
//! They are mounted where all of this machine sees them, below the folder for temporary files: a namespace of its own would be one thread's, and
//! daemons of tests are started by another one. Each is unmounted when its test ends, also when it fails; what a killed test process left is unmounted by
//! the next one that mounts something.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate};

/// Before the number of the process that mounted it.
const NAME: &str = "edgeferry-disk-";

/// Kinds of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In memory: every block is taken when it is written.
    Tmpfs,
    /// On a loop device, with a journal and delayed allocation: a block may be refused later than it was written.
    Ext4,
}

/// Left for small pieces when a disk is filled, bytes.
const SPARED: u64 = 2 << 20;

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// A file system of `mib` MiB. `None`, and a word about it, where mounting is not possible.
    pub fn mount(kind: Kind, mib: u64) -> Option<Self> {
        unmount_leftovers();
        let name = format!("{NAME}{}-", std::process::id());
        let folder = tempfile::Builder::new()
            .prefix(&name)
            .tempdir()
            .expect("temp dir");
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
        // Most of it at once and without writing it: blocks that are promised to a file are nobody else's. To note that takes blocks too.
        let len = file.metadata().expect("it is open").len();
        if let Err(error) = fallocate(
            &file,
            FallocateFlags::empty(),
            len,
            self.free().saturating_sub(SPARED).max(1),
        ) {
            eprintln!("the neighbour writes all of it: {error}");
        }
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

/// Unmounts what test processes mounted that are no more.
fn unmount_leftovers() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    // proc_mounts(5): device, place, …; places of ours have nothing in them that is written otherwise there.
    for at in mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(Path::new)
    {
        if is_leftover(at) {
            remove_leftover(at);
        }
    }
}

fn is_leftover(at: &Path) -> bool {
    let name = at
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    let process = name
        .and_then(|name| name.strip_prefix(NAME))
        .and_then(|rest| rest.split('-').next())
        .and_then(|number| number.parse::<u32>().ok());
    process.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists())
}

/// Another test process may do the same at the same time, so nothing here has to succeed. Nothing is deleted through a mount: folders have to be
/// empty.
fn remove_leftover(at: &Path) {
    drop(run(Command::new("umount").arg(at)));
    let folder = at.parent().unwrap_or(at);
    if fs::remove_dir(at).is_ok() {
        drop(fs::remove_file(folder.join("image")));
        drop(fs::remove_dir(folder));
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
