//! Space in sled's file, made ready ahead of what sled writes.
//!
//! A file that grows with each group makes the file system write too: the file's size, the map of its blocks, a record of
//! both in its journal. On ext4 that is 12 KiB at each `fdatasync`, three times what a small group needs itself, and a
//! second wait for the medium. So:
//!
//! * While groups are small, a stretch of the file is filled with zeros in advance. Groups then overwrite blocks that are
//!   there, and nothing about the file changes. It costs one byte per byte of file, and less than that is saved only where
//!   groups are over [`SMALL_BYTES`].
//! * While they are large, blocks are only reserved: then at least the map of free blocks is written once per stretch.
//!
//! sled reads zeros behind its log as the end of the log, and writes such zeros itself when it opens a database. All this
//! is an optimisation: when it cannot be done, the group is written all the same.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate, fstatfs};

/// Made ready at once. sled's segments are a multiple of it: sled overwrites a segment that holds nothing when it opens a
/// database, so none must be made ready as a whole before it is begun.
const STRETCH_BYTES: u64 = 256 * 1024;
/// Below this average size of a group zeros pay: measured, both ways write the same at 12 KB.
const SMALL_BYTES: u64 = 8 * 1024;
/// Written one by one: of a larger write the kernel (Linux 6.16) makes larger units of its page cache, and counts the
/// whole unit as written whenever a part of it is.
const PAGE: [u8; 4096] = [0; 4096];
/// `f_type` of ext2, ext3 and ext4 (statfs(2)). A file system that never overwrites in place gains nothing by zeros.
const EXT: u64 = 0xEF53;

/// How far the file of a generation is ready.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// End of the stretch made ready last.
    until: u64,
    groups: u64,
    bytes: u64,
}

impl Ahead {
    /// What is ready in a file that sled has just opened: sled itself filled its last segment up with zeros.
    pub(super) fn of(file: &File) -> Self {
        Self {
            until: file.metadata().map_or(0, |metadata| metadata.len()),
            ..Self::default()
        }
    }

    /// Called before a group of `bytes` is given to sled, when nothing else is under way.
    pub(super) fn provide(&mut self, file: &File, bytes: u64) {
        self.groups += 1;
        self.bytes += bytes;
        // Once sled has gone over what was made ready, the file ends where its log ends.
        let Ok(end) = file.metadata().map(|metadata| metadata.len()) else {
            return;
        };
        if end <= self.until {
            return;
        }
        let until = (end + 1).next_multiple_of(STRETCH_BYTES);
        let done = if self.bytes / self.groups <= SMALL_BYTES && overwrites_in_place(file) {
            fill(file, end, until)
        } else {
            fallocate(file, FallocateFlags::KEEP_SIZE, end, until - end).map_err(Into::into)
        };
        if let Err(error) = done {
            tracing::debug!(%error, "cannot make space ready");
        }
        *self = Self {
            until,
            ..Self::default()
        };
    }
}

fn overwrites_in_place(file: &File) -> bool {
    fstatfs(file).is_ok_and(|status| u64::try_from(status.f_type).is_ok_and(|kind| kind == EXT))
}

fn fill(file: &File, mut from: u64, until: u64) -> std::io::Result<()> {
    while from < until {
        let next = (from + 1).next_multiple_of(PAGE.len() as u64).min(until);
        let bytes = usize::try_from(next - from).unwrap_or(PAGE.len());
        file.write_all_at(PAGE.get(..bytes).unwrap_or(&PAGE), from)?;
        from = next;
    }
    Ok(())
}
