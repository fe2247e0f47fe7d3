//! Folders for one test: removed when it passes, kept and named when it fails.

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder below cargo's `target/tmp`, so that stores lie on a real disk and not on a tmpfs.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty folder whose name begins with `name`.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        remove_leftovers();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = home()
            .join(std::process::id().to_string())
            .join(format!("{name}-{number}"));
        std::fs::create_dir_all(&path).expect("target/tmp is writable");
        Self(path)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path in the folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Space that all files below a folder take on disk, bytes; files that vanish meanwhile do not count.
pub fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    /// `st_blocks` counts in this unit (stat(2)).
    const BLOCK: u64 = 512;
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
            Ok(metadata) => metadata.blocks() * BLOCK,
            Err(_) => 0,
        })
        .sum()
}

/// Copies a folder with everything in it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the copy can be made");
    for entry in std::fs::read_dir(from).expect("the folder can be read") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("has one").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copies");
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: {}", self.0.display());
        } else {
            // Leftovers go with the next run, so a failure here is not worth a failed test.
            drop(std::fs::remove_dir_all(&self.0));
        }
    }
}

fn home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("parts")
}

/// Removes what earlier runs kept: folders are named after the process that made them.
fn remove_leftovers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Ok(entries) = std::fs::read_dir(home()) else {
            return;
        };
        for entry in entries.flatten() {
            let alive = Path::new("/proc").join(entry.file_name()).exists();
            if !alive {
                drop(std::fs::remove_dir_all(entry.path()));
            }
        }
    });
}
