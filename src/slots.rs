//! A tiny file that always holds the last whole value: two checksummed slots written in turn.
//!
//! Used for marks that may be lost at the price of duplicates, never of data: the queue's cursor, a
//! session's acknowledged position. A write goes to the page cache, so it survives SIGKILL; only
//! [`SlotFile::sync`] makes it survive a power cut. A torn write damages one slot, the other one holds the
//! value before it.
//!
//! # Format
//!
//! Two slots of equal size, each a whole number of 4,096-byte pages: on every known medium sectors of their own. The file
//! has its full length from the start, so that a write needs no room on a full disk. Writes with an odd counter go to the
//! second slot. Integers are big endian:
//!
//! ```text
//! counter u64, from 1 | length of the value u32 | CRC32 of counter, length and value u32 | value | zeros
//! ```
//!
//! The value is in postcard's wire format. A field may be added at its end; files of before have 0 for it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};

use crate::faults;

/// The usual slot: one page. The value, encoded, must fit into it beside 16 bytes of header.
pub const PAGE_BYTES: usize = 4096;
/// Counter (8), length (4), CRC32 over counter, length and value (4).
const HEADER_BYTES: usize = 16;
/// Room for the fields that a value may have got since a file was written: each begins as one zero byte.
const LATER_BYTES: usize = 16;

/// The value does not fit into a slot, or the file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The encoded value is too long. A programming error, kept out of the way of data.
    #[error("a value of {0} bytes does not fit into a slot")]
    TooLong(usize),
    /// The value cannot be encoded.
    #[error("cannot encode the value: {0}")]
    Encode(#[from] postcard::Error),
    /// The file cannot be opened, read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl SlotError {
    /// Whether there is no space left for it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io(error) if is_full(error))
    }
}

/// Whether the error says that there is no space left, for anybody or for us.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
thread_local! {
    /// Whether this thread keeps a copy of each slot file as it was synced last, beside it.
    pub(crate) static KEEPS_SYNCED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// Whether this thread's writes fail, as on a card that has gone read-only.
    pub(crate) static IS_READ_ONLY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// See the module documentation.
#[derive(Debug)]
pub struct SlotFile {
    file: File,
    path: PathBuf,
    slot_bytes: usize,
    counter: u64,
    /// Counter of the value that was synced last by this handle; 0 before.
    synced_counter: u64,
    /// Holds what a power cut would leave, for tests that cut.
    #[cfg(test)]
    synced: PathBuf,
}

impl SlotFile {
    /// Opens or creates the file with slots of `slot_bytes`, a multiple of [`PAGE_BYTES`], and returns the newest whole
    /// value, or `None` when there is none (new, or both slots damaged).
    ///
    /// # Errors
    /// [`SlotError::Io`] when the file cannot be opened, read or brought to its length.
    pub fn open<T: DeserializeOwned>(path: &Path, slot_bytes: usize) -> Result<(Self, Option<T>), SlotError> {
        let file = open_file(path).or_else(|error| replace(path, error))?;
        match allocate(&file, slot_bytes) {
            // A write allocates what it needs, once there is room.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            allocated => allocated?,
        }
        let newest = newest(&file, slot_bytes);
        let counter = newest.as_ref().map_or(0, |(counter, _)| *counter);
        let slots = Self {
            file,
            path: path.to_owned(),
            slot_bytes,
            counter,
            synced_counter: 0,
            #[cfg(test)]
            synced: path.with_extension("synced"),
        };
        Ok((slots, newest.map(|(_, value)| value)))
    }

    /// The newest whole value of a file that is left as it is. `None` when there is none.
    #[must_use]
    pub fn peek<T: DeserializeOwned>(path: &Path, slot_bytes: usize) -> Option<T> {
        let file = File::open(path).ok()?;
        newest(&file, slot_bytes).map(|(_, value)| value)
    }

    /// Writes `value` over the older slot.
    ///
    /// # Errors
    /// Any [`SlotError`]; the value written before is still there.
    pub fn write<T: Serialize>(&mut self, value: &T) -> Result<(), SlotError> {
        self.write_as(self.counter.wrapping_add(1), value)
    }

    /// Writes `value` beside the one that was synced last, over any that was not: a power cut that tears it leaves the
    /// synced one, however often was written since. For values that fill several sectors.
    ///
    /// # Errors
    /// Any [`SlotError`]; the value synced before is still there.
    pub fn write_beside_synced<T: Serialize>(&mut self, value: &T) -> Result<(), SlotError> {
        let next = self.counter.wrapping_add(1);
        let is_synced = self.synced_counter > 0 && next % 2 == self.synced_counter % 2;
        self.write_as(if is_synced { next.wrapping_add(1) } else { next }, value)
    }

    fn write_as<T: Serialize>(&mut self, counter: u64, value: &T) -> Result<(), SlotError> {
        #[cfg(test)]
        if IS_READ_ONLY.get() {
            return Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem).into());
        }
        faults::writes(&self.path)?;
        let body = postcard::to_stdvec(value)?;
        let slot = encode_slot(counter, &body, self.slot_bytes)?;
        self.file
            .write_all_at(&slot, slot_offset(counter, self.slot_bytes))?;
        self.counter = counter;
        Ok(())
    }

    /// Makes the last write survive a power cut (`fdatasync`).
    ///
    /// # Errors
    /// The error of `fdatasync`.
    pub fn sync(&mut self) -> io::Result<()> {
        faults::syncs(&self.path, || self.file.sync_data())?;
        self.synced_counter = self.counter;
        #[cfg(test)]
        self.note_synced()?;
        Ok(())
    }

    #[cfg(test)]
    fn note_synced(&self) -> io::Result<()> {
        if !KEEPS_SYNCED.get() {
            return Ok(());
        }
        let mut bytes = vec![0; 2 * self.slot_bytes];
        self.file.read_exact_at(&mut bytes, 0)?;
        std::fs::write(&self.synced, bytes)
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Moves a folder in the file's place out of the way: repairs of a damaged file system leave such things.
fn replace(path: &Path, error: io::Error) -> io::Result<File> {
    if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(error);
    }
    let aside = path.with_extension(format!("damaged-{:08x}", rand::random::<u32>()));
    std::fs::rename(path, &aside)?;
    tracing::error!(path = %path.display(), aside = %aside.display(), "moved out of the way: it should be a file");
    open_file(path)
}

/// Brings a new file to its full length, with blocks of its own.
fn allocate(file: &File, slot_bytes: usize) -> io::Result<()> {
    let metadata = file.metadata()?;
    let length = 2 * slot_bytes as u64;
    if metadata.is_file() && metadata.len() < length {
        let missing = usize::try_from(length - metadata.len()).unwrap_or(2 * slot_bytes);
        file.write_all_at(&vec![0; missing], metadata.len())?;
    }
    Ok(())
}

fn newest<T: DeserializeOwned>(file: &File, slot_bytes: usize) -> Option<(u64, T)> {
    [0, 1]
        .into_iter()
        .filter_map(|slot| read_slot(file, slot, slot_bytes))
        .max_by_key(|(counter, _)| *counter)
}

const fn slot_offset(counter: u64, slot_bytes: usize) -> u64 {
    (counter % 2) * slot_bytes as u64
}

fn encode_slot(counter: u64, body: &[u8], slot_bytes: usize) -> Result<Vec<u8>, SlotError> {
    let too_long = || SlotError::TooLong(body.len());
    let length = u32::try_from(body.len()).map_err(|_| too_long())?;
    if HEADER_BYTES + body.len() > slot_bytes {
        return Err(too_long());
    }
    let mut slot = Vec::with_capacity(HEADER_BYTES + body.len());
    slot.extend_from_slice(&counter.to_be_bytes());
    slot.extend_from_slice(&length.to_be_bytes());
    slot.extend_from_slice(&checksum(counter, length, body).to_be_bytes());
    slot.extend_from_slice(body);
    Ok(slot)
}

fn read_slot<T: DeserializeOwned>(file: &File, slot: u64, slot_bytes: usize) -> Option<(u64, T)> {
    let mut bytes = vec![0_u8; slot_bytes];
    file.read_exact_at(&mut bytes, slot_offset(slot, slot_bytes))
        .ok()?;
    let counter = u64::from_be_bytes(*bytes.first_chunk()?);
    let length = u32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
    let crc = u32::from_be_bytes(*bytes.get(12..)?.first_chunk()?);
    let body = bytes.get(HEADER_BYTES..)?.get(..usize::try_from(length).ok()?)?;
    if counter == 0 || crc != checksum(counter, length, body) {
        return None;
    }
    Some((counter, decode(body)?))
}

/// The value, with zeros where a file of before has none of its last fields: numbers are 0 there, lists empty.
fn decode<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let mut body = body.to_vec();
    body.extend_from_slice(&[0; LATER_BYTES]);
    postcard::from_bytes(&body).ok()
}

fn checksum(counter: u64, length: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&counter.to_be_bytes());
    hasher.update(&length.to_be_bytes());
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reopened(path: &Path) -> Option<u64> {
        SlotFile::open::<u64>(path, PAGE_BYTES).expect("opens").1
    }

    #[test]
    fn the_last_value_is_read_back() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("marks");
        assert_eq!(reopened(&path), None);
        for value in 1..=5_u64 {
            let (mut file, _) = SlotFile::open::<u64>(&path, PAGE_BYTES).expect("opens");
            file.write(&value).expect("writes");
            assert_eq!(reopened(&path), Some(value));
        }
    }

    #[test]
    fn a_torn_write_leaves_the_value_before_it() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("marks");
        let (mut file, _) = SlotFile::open::<u64>(&path, PAGE_BYTES).expect("opens");
        file.write(&7_u64).expect("writes");
        file.write(&8_u64).expect("writes");
        for cut in 0..128 {
            let torn = dir.path().join("torn");
            std::fs::copy(&path, &torn).expect("copies");
            let handle = OpenOptions::new().write(true).open(&torn).expect("opens");
            // The second write went to slot 0; damage one byte of it.
            handle.write_all_at(&[0xA5], cut).expect("damages");
            let found = reopened(&torn);
            assert!(found == Some(7) || found == Some(8), "byte {cut}: {found:?}");
        }
    }

    #[test]
    fn a_folder_in_place_of_the_file_is_moved_out_of_the_way() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("marks");
        std::fs::create_dir(&path).expect("creates");
        std::fs::write(path.join("found"), b"by fsck").expect("writes");
        let (mut file, found) = SlotFile::open::<u64>(&path, PAGE_BYTES).expect("opens");
        assert_eq!(found, None);
        file.write(&7_u64).expect("writes");
        assert_eq!(reopened(&path), Some(7));
        assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 2);
    }

    #[test]
    fn a_synced_value_outlives_torn_writes_of_later_ones() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("ledger");
        let (mut file, _) = SlotFile::open::<u64>(&path, PAGE_BYTES).expect("opens");
        for value in 1..=4_u64 {
            file.write_beside_synced(&(10 * value)).expect("writes");
            file.sync().expect("syncs");
            let synced = std::fs::read(&path).expect("reads");
            for unsynced in 1..=3 {
                file.write_beside_synced(&(10 * value + unsynced))
                    .expect("writes");
                assert_eq!(reopened(&path), Some(10 * value + unsynced));
            }
            // Whatever was written since is torn.
            let mut torn = std::fs::read(&path).expect("reads");
            for (byte, before) in torn.iter_mut().zip(&synced) {
                *byte ^= u8::from(byte != before);
            }
            let cut = dir.path().join("cut");
            std::fs::write(&cut, torn).expect("writes");
            assert_eq!(reopened(&cut), Some(10 * value));
        }
    }

    #[test]
    fn the_format_stays() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("marks");
        let (mut file, _) = SlotFile::open::<u64>(&path, PAGE_BYTES).expect("opens");
        file.write(&7_u64).expect("writes");
        file.write(&300_u64).expect("writes");
        let bytes = std::fs::read(&path).expect("reads");
        assert_eq!(bytes.len(), 2 * 4096);
        let slot = |counter: u64, value: &[u8]| {
            let length = u32::try_from(value.len()).expect("it is short").to_be_bytes();
            let counter = counter.to_be_bytes();
            let crc = crc32fast::hash(&[&counter[..], &length, value].concat());
            [&counter[..], &length, &crc.to_be_bytes(), value].concat()
        };
        assert!(bytes[..128].starts_with(&slot(2, &[0xAC, 0x02])));
        assert!(bytes[4096..].starts_with(&slot(1, &[7])));
    }

    #[test]
    fn a_value_that_does_not_fit_is_refused_and_the_old_one_stays() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("marks");
        let (mut file, _) = SlotFile::open::<Vec<u8>>(&path, PAGE_BYTES).expect("opens");
        file.write(&vec![1_u8; 8]).expect("writes");
        assert!(matches!(
            file.write(&vec![2_u8; 5000]),
            Err(SlotError::TooLong(_))
        ));
        assert_eq!(
            SlotFile::open::<Vec<u8>>(&path, PAGE_BYTES).expect("opens").1,
            Some(vec![1_u8; 8])
        );
    }
}
