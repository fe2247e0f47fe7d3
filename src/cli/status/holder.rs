//! Who has locked a store, without locking it: a lock that is tried, even for a moment, could keep a daemon from starting.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The process that holds the lock of the store in `folder`, by the kernel's list (proc_locks(5)). `None` also when the list
/// cannot be read.
pub fn of(folder: &Path) -> Option<u32> {
    let inode = fs::metadata(folder.join("lock")).ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let noted = fs::read_to_string(folder.join("lock")).ok();
    let noted = noted.and_then(|text| text.trim().parse().ok());
    held_by(&locks, inode, noted)
}

/// `1: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF`. The device there is that of the file system, which some (overlayfs, btrfs)
/// do not tell otherwise, so it is not compared; of several files with this number the one is meant whose holder noted itself.
fn held_by(locks: &str, inode: u64, noted: Option<u32>) -> Option<u32> {
    let holders: Vec<u32> = locks
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let kind = words.next()?;
            let holder = words.nth(2)?.parse().ok()?;
            let file = words.next()?.rsplit(':').next()?;
            (kind == "FLOCK" && file.parse() == Ok(inode)).then_some(holder)
        })
        .collect();
    holders
        .iter()
        .copied()
        .find(|holder| Some(*holder) == noted)
        .or_else(|| holders.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::DataDir;

    #[test]
    fn the_holder_of_a_store_is_found_and_the_store_is_not_touched() {
        let dir = tempfile::tempdir().expect("temp dir");
        assert_eq!(of(dir.path()), None, "no lock file");
        let taken = DataDir::take(dir.path()).expect("takes");
        assert_eq!(of(dir.path()), Some(std::process::id()));
        drop(taken);
        assert_eq!(
            of(dir.path()),
            None,
            "the file is there, and names us, but nobody holds it"
        );
    }

    #[test]
    fn other_locks_are_not_taken_for_it() {
        let locks = "1: POSIX  ADVISORY  WRITE 10 fd:01:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 11 fd:01:78 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 12 fd:01:77 0 EOF\n4: FLOCK  ADVISORY  WRITE 13 00:2f:77 0 EOF\n\
                     5: FLOCK  ADVISORY  WRITE 14 fd:01:77 0 EOF\nrubbish\n";
        assert_eq!(held_by(locks, 77, Some(14)), Some(14));
        assert_eq!(held_by(locks, 77, None), Some(13));
        assert_eq!(held_by(locks, 79, Some(14)), None);
    }
}
