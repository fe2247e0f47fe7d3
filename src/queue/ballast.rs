//! Space set aside for the moment when the disk is full.
//!
//! sled needs room even to open a database for reading, and room comes from delivering what is stored: without a
//! reserve a full disk could not get out of it by itself. So `data_dir/ballast` holds real blocks, and is deleted when
//! something fails for want of space. From then on nothing is acknowledged, delivery goes on, and the ballast is made
//! again as soon as there is room for it. All lanes share one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};

use crate::queue::limits::free_bytes;
use crate::slots::is_full;

/// Opening a generation was seen to take up to 1 MiB (sled fills its last segment and writes a snapshot), and the file
/// system takes some for itself: enough for several lanes at once.
const BALLAST_BYTES: u64 = 8 * 1024 * 1024;
/// The ballast is made when this much stays free beside it: otherwise the first append would need it back.
const MARGIN_BYTES: u64 = 2 * 1024 * 1024;
/// What a lane takes to be opened at most: two generations are opened for writing, that of its queue and that of its dead letters.
const LANE_BYTES: u64 = 2 * 1024 * 1024;
/// A `stat` block (stat(2)).
const BLOCK_BYTES: u64 = 512;
/// Written where the file system cannot allocate without writing.
const PIECE_BYTES: usize = 64 * 1024;

/// There is no room to open lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {room} bytes of room on the disk, and to open lanes anew may take {needed}")]
pub struct NoRoom {
    /// What there is, with the reserve, bytes.
    pub room: u64,
    /// What it may take, bytes.
    pub needed: u64,
}

/// The reserve of one `data_dir`.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
    bytes: u64,
    held: Mutex<bool>,
}

impl Ballast {
    /// The ballast in `data_dir`: found, or made if there is room. Without room it is made later, see
    /// [`Ballast::restore`].
    #[must_use]
    pub fn open(data_dir: &Path) -> Self {
        Self::with_size(data_dir, BALLAST_BYTES)
    }

    fn with_size(data_dir: &Path, bytes: u64) -> Self {
        let path = data_dir.join("ballast");
        let whole = |found: fs::Metadata| found.len() == bytes && found.blocks() * BLOCK_BYTES >= bytes;
        let held = fs::metadata(&path).is_ok_and(whole);
        let ballast = Self {
            path,
            bytes,
            held: Mutex::new(held),
        };
        if !ballast.restore() {
            tracing::warn!(
                bytes,
                "no room for the ballast: nothing is acknowledged until there is"
            );
        }
        ballast
    }

    fn held(&self) -> MutexGuard<'_, bool> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the reserve is there.
    #[must_use]
    pub fn is_held(&self) -> bool {
        *self.held()
    }

    /// Gives the space to whoever needs it now. False when it was given away before.
    pub fn release(&self) -> bool {
        let mut held = self.held();
        if !*held {
            return false;
        }
        match fs::remove_file(&self.path) {
            Ok(()) => tracing::warn!("the disk is full: the ballast is released, nothing is acknowledged"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::warn!("the disk is full, and somebody deleted the ballast");
            }
            Err(error) => {
                tracing::error!(%error, "cannot release the ballast");
                return false;
            }
        }
        *held = false;
        true
    }

    /// Makes the reserve again if there is room for it, with a margin. True when it is there.
    pub fn restore(&self) -> bool {
        let mut held = self.held();
        if !*held && self.has_room() {
            match self.allocate() {
                Ok(()) => *held = true,
                Err(error) => {
                    tracing::debug!(%error, "cannot make the ballast");
                    self.discard();
                }
            }
        }
        *held
    }

    /// Whether so many lanes could be closed and opened anew with what is free, and with the reserve if it is there. To be asked
    /// before the first one is closed: one that is open goes on delivering on a full disk, and makes room.
    ///
    /// # Errors
    /// [`NoRoom`]
    pub fn has_room_to_open(&self, lanes: usize) -> Result<(), NoRoom> {
        let reserve = self.reserve();
        room_to_open(lanes, free_bytes(self.folder()), reserve)
    }

    /// Does `work`; if that fails for want of space, releases the ballast and does it once more.
    ///
    /// # Errors
    /// What `work` says the last time.
    pub fn relieve<T, E>(
        &self,
        is_full: impl Fn(&E) -> bool,
        mut work: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        match work() {
            Err(error) if is_full(&error) && self.release() => work(),
            outcome => outcome,
        }
    }

    /// What the file holds, bytes. Somebody may have deleted it: that is noticed only when it is needed.
    fn reserve(&self) -> u64 {
        let is_held = self.restore();
        let found = fs::metadata(&self.path).ok().filter(|_| is_held);
        found.map_or(0, |found| found.blocks().saturating_mul(BLOCK_BYTES))
    }

    fn has_room(&self) -> bool {
        has_room_for(self.bytes, free_bytes(self.folder()))
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Blocks of its own, also after a power cut.
    fn allocate(&self) -> io::Result<()> {
        let mut file = File::create(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.bytes) {
            Ok(()) => {}
            Err(error) if is_full(&error.into()) => return Err(error.into()),
            Err(_) => self.write_out(&mut file)?,
        }
        file.sync_all()?;
        self.path
            .parent()
            .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    /// For file systems that cannot allocate: random bytes, which none can compress away.
    fn write_out(&self, file: &mut File) -> io::Result<()> {
        let mut rest = self.bytes;
        while rest > 0 {
            let length = PIECE_BYTES.min(usize::try_from(rest).unwrap_or(PIECE_BYTES));
            let piece: Vec<u8> = std::iter::repeat_with(rand::random).take(length).collect();
            file.write_all(&piece)?;
            rest -= length as u64;
        }
        Ok(())
    }

    fn discard(&self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "cannot remove half a ballast");
        }
    }
}

/// Whether `bytes` and a margin fit. A file system without figures shows it by taking them.
fn has_room_for(bytes: u64, free: io::Result<u64>) -> bool {
    match free {
        Ok(free) => free >= bytes + MARGIN_BYTES,
        Err(error) => error.kind() == io::ErrorKind::Unsupported,
    }
}

/// Whether so many lanes can be opened with what is free and the reserve. A file system without figures that took the reserve takes
/// more, as far as anybody knows.
fn room_to_open(lanes: usize, free: io::Result<u64>, reserve: u64) -> Result<(), NoRoom> {
    let free = match free {
        Ok(free) => free,
        Err(error) if error.kind() == io::ErrorKind::Unsupported && reserve > 0 => return Ok(()),
        Err(_) => 0,
    };
    let room = free.saturating_add(reserve);
    let needed = LANE_BYTES
        .saturating_mul(lanes as u64)
        .saturating_add(MARGIN_BYTES);
    match room >= needed {
        true => Ok(()),
        false => Err(NoRoom { room, needed }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: u64 = 256 * 1024;

    fn disk_bytes(folder: &Path) -> u64 {
        fs::metadata(folder.join("ballast")).map_or(0, |found| found.blocks() * BLOCK_BYTES)
    }

    #[test]
    fn the_ballast_is_real_space_released_once_and_made_again() {
        let dir = tempfile::tempdir().expect("temp dir");
        let ballast = Ballast::with_size(dir.path(), SMALL);
        assert!(ballast.is_held());
        assert!(disk_bytes(dir.path()) >= SMALL);
        assert!(ballast.release());
        assert!(!ballast.release());
        assert_eq!(disk_bytes(dir.path()), 0);
        assert!(ballast.restore() && ballast.is_held());
        assert!(disk_bytes(dir.path()) >= SMALL);
    }

    #[test]
    fn a_ballast_that_is_not_whole_is_made_again() {
        let dir = tempfile::tempdir().expect("temp dir");
        for torn in [0, SMALL - 1, SMALL, SMALL + 1] {
            // A length without blocks.
            File::create(dir.path().join("ballast"))
                .expect("creates")
                .set_len(torn)
                .expect("sets");
            assert!(Ballast::with_size(dir.path(), SMALL).is_held());
            assert!(disk_bytes(dir.path()) >= SMALL, "{torn}");
        }
    }

    #[test]
    fn without_room_there_is_none_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().expect("temp dir");
        let ballast = Ballast::with_size(dir.path(), u64::MAX / 2);
        assert!(!ballast.is_held() && !ballast.restore() && !ballast.release());
        assert_eq!(disk_bytes(dir.path()), 0);
    }

    #[test]
    fn lanes_are_not_closed_where_they_could_not_be_opened_again() {
        let dir = tempfile::tempdir().expect("temp dir");
        let without = Ballast::with_size(dir.path(), u64::MAX / 2);
        let free = free_bytes(dir.path()).expect("tells");
        assert_eq!(without.has_room_to_open(1), Ok(()), "room, although no reserve");
        let many = usize::try_from(2 * free / LANE_BYTES).expect("fits");
        let refused = without.has_room_to_open(many).expect_err("too many");
        assert_eq!(refused.needed, LANE_BYTES * many as u64 + MARGIN_BYTES);
        assert!(refused.room < refused.needed, "{refused:?}");
        assert!(
            refused.to_string().contains("bytes of room on the disk"),
            "{refused}"
        );
        let ballast = Ballast::with_size(dir.path(), SMALL);
        assert!(ballast.reserve() >= SMALL);
        fs::remove_file(&ballast.path).expect("was there");
        assert_eq!(ballast.reserve(), 0, "somebody deleted it");
    }

    #[test]
    fn a_file_system_without_figures_is_believed_when_it_takes_the_reserve() {
        let untold = || Err(io::ErrorKind::Unsupported.into());
        let unreadable = || Err(io::ErrorKind::PermissionDenied.into());
        assert!(has_room_for(SMALL, untold()), "the allocation shows it");
        assert!(!has_room_for(SMALL, Ok(SMALL)) && !has_room_for(SMALL, unreadable()));
        assert_eq!(room_to_open(100, untold(), SMALL), Ok(()));
        for free in [untold(), Ok(0), unreadable()] {
            let refused = room_to_open(100, free, 0).expect_err("no reserve, no figures");
            assert_eq!(refused.room, 0);
        }
        assert!(room_to_open(100, Ok(0), SMALL).is_err(), "a full disk is one");
    }

    #[test]
    fn space_is_written_out_where_it_cannot_be_allocated() {
        let dir = tempfile::tempdir().expect("temp dir");
        let ballast = Ballast::with_size(dir.path(), SMALL);
        let mut file = File::create(&ballast.path).expect("creates");
        ballast.write_out(&mut file).expect("writes");
        file.sync_all().expect("syncs");
        assert!(disk_bytes(dir.path()) >= SMALL);
    }

    #[test]
    fn work_that_fails_for_space_is_done_once_more_with_the_ballast_released() {
        let dir = tempfile::tempdir().expect("temp dir");
        let ballast = Ballast::with_size(dir.path(), SMALL);
        let mut tries = 0;
        let mut work = |kind: io::ErrorKind| {
            tries = 0;
            let outcome = ballast.relieve(is_full, || {
                tries += 1;
                if tries == 1 {
                    Err(io::Error::from(kind))
                } else {
                    Ok(())
                }
            });
            (outcome.is_ok(), tries)
        };
        assert_eq!(work(io::ErrorKind::PermissionDenied), (false, 1));
        assert_eq!(work(io::ErrorKind::StorageFull), (true, 2));
        assert_eq!(
            work(io::ErrorKind::StorageFull),
            (false, 1),
            "nothing left to release"
        );
    }
}
