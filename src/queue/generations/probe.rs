//! A look into a lane's folder that changes nothing in it, for what must be known before it is opened.
//!
//! sled writes when it opens, so the bytes of its file are looked at instead. What cannot be read is not seen: whether
//! it is damaged is for the opening to find out.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::names::{TRASH, first_of};
use crate::message::Seq;
use crate::queue::codec::{CHUNK_BYTES, MAGIC, Unreadable, VERSION, read_first_chunk};
use crate::queue::seal::KeyId;

/// Bytes of a file in memory at a time.
const WINDOW_BYTES: usize = 1024 * 1024;

/// What the newest chunk of a log says of itself. The greatest one is the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Glimpse {
    /// Format version.
    pub(crate) version: u8,
    /// The last sequence of its block, or 0 when it is of another version.
    pub(crate) last: Seq,
    /// The key it needs.
    pub(crate) sealed_by: Option<KeyId>,
}

/// First sequence that the oldest generation may hold.
pub(crate) fn oldest(folder: &Path) -> Option<Seq> {
    generations(folder).first().map(|(first, _)| *first)
}

/// The newest chunk in the folder. `None` when there is none.
pub(crate) fn newest_chunk(folder: &Path) -> Option<Glimpse> {
    let generations = generations(folder);
    generations
        .iter()
        .rev()
        .find_map(|(_, path)| newest_in(&path.join("db")))
}

/// The generations, oldest first, those that are set aside too, but none that was being deleted.
fn generations(folder: &Path) -> Vec<(Seq, PathBuf)> {
    let Ok(items) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = items.filter_map(|item| item.ok().map(|item| item.path()));
    let paths = paths.filter(|path| path.extension().is_none_or(|extension| extension != TRASH));
    let mut found: Vec<_> = paths.filter_map(|path| Some((first_of(&path)?, path))).collect();
    found.sort();
    found
}

/// The newest chunk among the bytes of a file: a whole one of the newest version, or else something that looks like one
/// of the versions before checksums could be found in raw bytes.
fn newest_in(path: &Path) -> Option<Glimpse> {
    let file = File::open(path).ok()?;
    let mut window = vec![0; WINDOW_BYTES];
    let mut newest = None;
    let mut at = 0;
    loop {
        let length = fill(&file, &mut window, at);
        let bytes = window.get(..length)?;
        newest = newest.max(
            bytes
                .windows(MAGIC.len())
                .enumerate()
                .filter_map(|(begin, magic)| {
                    if magic == MAGIC {
                        glimpse(bytes.get(begin..)?)
                    } else {
                        None
                    }
                })
                .max(),
        );
        if length < WINDOW_BYTES {
            break;
        }
        // A chunk may lie across the border.
        at += (WINDOW_BYTES - CHUNK_BYTES) as u64;
    }
    newest
}

fn fill(file: &File, window: &mut [u8], at: u64) -> usize {
    let mut length = 0;
    while let Some(rest) = window.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + length as u64) {
            Ok(0) | Err(_) => break,
            Ok(read) => length += read,
        }
    }
    length
}

/// What the chunk says that bytes begin with.
fn glimpse(bytes: &[u8]) -> Option<Glimpse> {
    let other = |version| Glimpse {
        version,
        last: Seq::ZERO,
        sealed_by: None,
    };
    match read_first_chunk(bytes) {
        Ok((header, _)) => Some(Glimpse {
            version: VERSION,
            last: header.last(),
            sealed_by: header.sealed_by(),
        }),
        Err(Unreadable::Version(version)) => Some(other(version)),
        Err(_) => {
            let version = *bytes.get(MAGIC.len())?;
            (version < VERSION).then(|| other(version))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Epoch;
    use crate::queue::Compression;
    use crate::queue::codec::Encoder;
    use crate::queue::generations::{Generations, Waker};
    use crate::queue::seal::Keys;
    use crate::queue::store::Store;

    #[test]
    fn the_newest_chunk_is_found_in_the_bytes_of_sled() {
        let dir = tempfile::tempdir().expect("temp dir");
        assert_eq!(newest_chunk(dir.path()), None);
        let store = Generations::open(dir.path(), 16 << 20, Waker::new(|| {}))
            .expect("opens")
            .store;
        let mut first = Seq(1);
        for key in [Some(1), None, Some(2)] {
            let keys = Keys::of(key, &[]);
            let mut encoder = Encoder::new(Epoch(1), Compression::None, &keys).expect("encoder");
            for _ in 0..40 {
                let chunks = encoder.encode(first, [&vec![7_u8; 15_000]]).expect("encodes");
                store.append(&chunks).expect("appends");
                first = first.next();
            }
            let found = newest_chunk(dir.path());
            assert_eq!(
                found,
                Some(Glimpse {
                    version: VERSION,
                    last: first.previous(),
                    sealed_by: keys.current()
                })
            );
        }
        fs::create_dir(dir.path().join("g-00000000000000000000.trash")).expect("creates");
        fs::create_dir(dir.path().join("g-00000000000000000001.damaged-1")).expect("creates");
        assert_eq!(oldest(dir.path()), Some(Seq(1)));
    }

    #[test]
    fn what_only_looks_like_an_old_chunk_does_not_hide_a_whole_one() {
        let dir = tempfile::tempdir().expect("temp dir");
        let db = dir.path().join("g-00000000000000000001").join("db");
        fs::create_dir(db.parent().expect("has one")).expect("creates");
        let old = [&MAGIC[..], &[1], &[0; 100]].concat();
        fs::write(&db, &old).expect("writes");
        assert_eq!(newest_chunk(dir.path()).map(|found| found.version), Some(1));
        let mut encoder = Encoder::new(Epoch(1), Compression::None, &Keys::default()).expect("encoder");
        let chunk = encoder
            .encode(Seq(1), [&"hello"])
            .expect("encodes")
            .swap_remove(0);
        fs::write(&db, [&old[..], &chunk.bytes, &old].concat()).expect("writes");
        assert_eq!(newest_chunk(dir.path()).map(|found| found.version), Some(VERSION));
    }
}
