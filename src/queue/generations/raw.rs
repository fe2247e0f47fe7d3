//! Chunks in the raw bytes of a file, and the whole blocks they make.
//!
//! Nothing here trusts anything but a chunk's checksum: not sled's structures, not the file's length, not the order of what
//! is found. sled's log holds most chunks several times; within one generation all copies are equal, because no sequence
//! is given twice in it. A chunk inside another whole chunk is part of a payload, and passed over.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};

use memchr::memmem;

use crate::message::Seq;
use crate::queue::codec::{CHUNK_BYTES, Header, MAGIC, chunk_length, header_of};
use crate::queue::store::{Gap, RawBlock};

/// The file is read in steps of this size: few calls, little memory, and a reader is never far from the next look at
/// the time.
const WINDOW_BYTES: usize = 256 * 1024;
/// What a medium loses is lost in units of this size or larger; an unreadable one is passed over.
const SECTOR_BYTES: usize = 4096;

/// Where a chunk stands in the file.
#[derive(Debug, Clone, Copy)]
pub(in crate::queue) struct Piece {
    offset: u64,
    length: usize,
}

impl Piece {
    /// What stands there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in crate::queue) fn read(self, file: &File) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length];
        file.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes)
    }
}

/// A chunk that was found.
#[derive(Debug)]
pub(in crate::queue) struct Hit {
    pub(in crate::queue) header: Header,
    pub(in crate::queue) piece: Piece,
}

/// Reads the whole file, or device, as far as it can be read, and hands over what each step of [`WINDOW_BYTES`] holds
/// until `found` says that it is enough. Returns how many bytes could not be read.
pub(in crate::queue) fn search(file: &File, mut found: impl FnMut(Vec<Hit>) -> bool) -> u64 {
    let length = length_of(file);
    let mut buffer = Vec::with_capacity(WINDOW_BYTES + CHUNK_BYTES);
    let mut base = 0;
    let mut unreadable = 0;
    loop {
        let end = base + buffer.len() as u64;
        let window = match end < length {
            true => read_window(file, end, &mut buffer),
            false => Window::End,
        };
        if window == Window::Unreadable {
            unreadable += SECTOR_BYTES as u64;
        }
        let ended = window == Window::End;
        let (hits, used) = chunks_in(&buffer, base, ended);
        if !found(hits) || ended {
            return unreadable;
        }
        buffer.drain(..used);
        base += used as u64;
    }
}

fn length_of(mut file: &File) -> u64 {
    match file.metadata() {
        // It says nothing of its length but where its end is.
        Ok(metadata) if metadata.file_type().is_block_device() => {
            file.seek(SeekFrom::End(0)).unwrap_or_default()
        }
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    }
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Window {
    Read,
    /// A sector of zeros stands for what cannot be read.
    Unreadable,
    End,
}

/// Appends what the file holds at `offset`. What cannot be read comes as zeros.
fn read_window(file: &File, offset: u64, buffer: &mut Vec<u8>) -> Window {
    let known = buffer.len();
    let mut read = |bytes: usize| {
        buffer.resize(known + bytes, 0);
        let got = match buffer.get_mut(known..) {
            Some(target) => read_some(file, target, offset),
            None => Ok(0),
        };
        buffer.truncate(known + *got.as_ref().unwrap_or(&bytes));
        got
    };
    match read(WINDOW_BYTES).or_else(|_| read(SECTOR_BYTES)) {
        Ok(0) => Window::End,
        Ok(_) => Window::Read,
        Err(_) => Window::Unreadable,
    }
}

fn read_some(file: &File, target: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(target, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            got => return got,
        }
    }
}

/// The chunks in `bytes`, which stand at `base` in the file, and how many bytes are done with. Unless the file has
/// `ended`, a chunk that may go on behind them waits for more.
fn chunks_in(bytes: &[u8], base: u64, ended: bool) -> (Vec<Hit>, usize) {
    let mut hits = Vec::new();
    let mut at = 0;
    let rest = |at: usize| bytes.get(at..).unwrap_or_default();
    while let Some(begin) = memmem::find(rest(at), &MAGIC).map(|found| at + found) {
        let length = chunk_length(rest(begin)).filter(|length| *length <= rest(begin).len());
        let believable = chunk_length(rest(begin)).is_none_or(|length| length <= CHUNK_BYTES);
        if length.is_none() && believable && !ended {
            return (hits, begin);
        }
        at = begin + 1;
        let chunk = length.and_then(|length| rest(begin).get(..length));
        if let Some(chunk) = chunk.filter(|_| believable)
            && let Some(header) = header_of(chunk)
        {
            at = begin + chunk.len();
            hits.push(Hit {
                header,
                piece: Piece {
                    offset: base + begin as u64,
                    length: chunk.len(),
                },
            });
        }
    }
    let kept = if ended { 0 } else { MAGIC.len() - 1 };
    (hits, at.max(bytes.len().saturating_sub(kept)))
}

/// Puts chunks together to blocks. Grows with the number of chunks in the file, some 200 bytes for each block.
#[derive(Debug, Default)]
pub(super) struct Finder(BTreeMap<Seq, Vec<Candidate>>);

/// Chunks that agree on the block they belong to.
#[derive(Debug)]
struct Candidate {
    block: Header,
    /// By part.
    pieces: Vec<(u16, Piece)>,
}

impl Finder {
    pub(super) fn add(&mut self, hits: &[Hit]) {
        for hit in hits {
            self.add_one(hit);
        }
    }

    fn add_one(&mut self, hit: &Hit) {
        let block = hit.header.of_block();
        let candidates = self.0.entry(block.first).or_default();
        let known = candidates.iter_mut().find(|candidate| candidate.block == block);
        let Some(candidate) = known else {
            candidates.push(Candidate {
                block,
                pieces: vec![(hit.header.part, hit.piece)],
            });
            return;
        };
        let place = candidate
            .pieces
            .binary_search_by_key(&hit.header.part, |(part, _)| *part);
        if let Err(place) = place {
            candidate.pieces.insert(place, (hit.header.part, hit.piece));
        }
    }

    /// The whole blocks, and the file they are in.
    pub(super) fn finish(self, file: Option<File>) -> Index {
        let mut blocks: Vec<Block> = Vec::new();
        let bytes = file.as_ref().and_then(|file| file.metadata().ok());
        for mut candidates in self.0.into_values() {
            candidates.retain(|found| found.pieces.len() == usize::from(found.block.parts));
            // There is one, unless somebody forged chunks.
            let Some(whole) = candidates.into_iter().max_by_key(|found| found.block.span) else {
                continue;
            };
            let first = whole.block.first;
            if blocks.last().is_none_or(|before| before.last < first) {
                blocks.push(Block {
                    first,
                    last: whole.block.last(),
                    pieces: whole.pieces.into_iter().map(|(_, piece)| piece).collect(),
                });
            }
        }
        Index {
            file,
            bytes: bytes.map_or(0, |metadata| metadata.len()),
            blocks,
        }
    }
}

#[derive(Debug)]
struct Block {
    first: Seq,
    last: Seq,
    pieces: Box<[Piece]>,
}

/// The whole blocks of one generation, and where their chunks stand.
#[derive(Debug)]
pub(super) struct Index {
    file: Option<File>,
    bytes: u64,
    /// Ascending, not overlapping.
    blocks: Vec<Block>,
}

impl Index {
    /// The last sequence a block covers.
    pub(super) fn last(&self) -> Option<Seq> {
        self.blocks.last().map(|block| block.last)
    }

    /// Length of the file, bytes.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a whole block covers `seq`.
    pub(super) fn covers(&self, seq: Seq) -> bool {
        let behind = self.blocks.partition_point(|block| block.first <= seq);
        let block = behind.checked_sub(1).and_then(|index| self.blocks.get(index));
        block.is_some_and(|block| block.last >= seq)
    }

    /// The last block that begins at or before `from`.
    pub(super) fn block_before(&self, from: Seq) -> Option<RawBlock> {
        let behind = self.blocks.partition_point(|block| block.first <= from);
        self.read(behind.checked_sub(1)?)
    }

    /// The first block that begins behind `seq`.
    pub(super) fn block_behind(&self, seq: Seq) -> Option<RawBlock> {
        self.read(self.blocks.partition_point(|block| block.first <= seq))
    }

    /// First sequences of the blocks that end behind `seq`.
    pub(super) fn ending_behind(&self, seq: Seq) -> impl Iterator<Item = Seq> {
        self.blocks
            .iter()
            .filter(move |block| block.last > seq)
            .map(|block| block.first)
    }

    /// What no block covers from `first` to `last`.
    pub(super) fn gaps(&self, first: Seq, last: Seq) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let mut next = first;
        for block in &self.blocks {
            if block.first > last {
                break;
            }
            if next < block.first {
                gaps.push(Gap {
                    first: next,
                    last: block.first.previous(),
                });
            }
            next = next.max(block.last.next());
        }
        if next <= last {
            gaps.push(Gap { first: next, last });
        }
        gaps
    }

    /// Reads a block. A chunk that cannot be read any more comes as it is: whoever decodes it finds out.
    fn read(&self, index: usize) -> Option<RawBlock> {
        let block = self.blocks.get(index)?;
        let chunk = |piece: &Piece| {
            let mut bytes = vec![0; piece.length];
            let read = self
                .file
                .as_ref()
                .map(|file| file.read_exact_at(&mut bytes, piece.offset));
            if !matches!(read, Some(Ok(()))) {
                bytes.clear();
            }
            bytes
        };
        Some(RawBlock {
            first: block.first,
            chunks: block.pieces.iter().map(chunk).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Epoch;
    use crate::queue::Compression;
    use crate::queue::codec::{Chunk, Encoder, decode};
    use crate::queue::seal::Keys;

    fn chunks(first: u64, content: &[u8]) -> Vec<Chunk> {
        let mut encoder = Encoder::new(Epoch(1), Compression::None, &Keys::default()).expect("encoder");
        encoder.encode(Seq(first), [&content]).expect("encodes")
    }

    fn noise(bytes: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(bytes)
        .collect()
    }

    fn index(bytes: &[u8]) -> Index {
        let file = tempfile::NamedTempFile::new().expect("temp file");
        std::fs::write(file.path(), bytes).expect("writes");
        let file = File::open(file.path()).expect("opens");
        let mut finder = Finder::default();
        search(&file, |hits| {
            finder.add(&hits);
            true
        });
        finder.finish(Some(file))
    }

    fn firsts(index: &Index) -> Vec<u64> {
        index.blocks.iter().map(|block| block.first.0).collect()
    }

    #[test]
    fn blocks_are_found_wherever_they_stand_and_in_whatever_order() {
        let large = noise(40_000, 7);
        for step in 0..40 {
            // Also across the border between two windows.
            let mut bytes = noise(WINDOW_BYTES - 40 * 200 + step * 199, step as u64);
            let blocks = [chunks(5, &large), chunks(6, b"small"), chunks(2, b"early")];
            for chunk in blocks.iter().flatten().rev() {
                bytes.extend_from_slice(&chunk.bytes);
                bytes.extend(noise(step * 13, 3));
            }
            let index = index(&bytes);
            assert_eq!(firsts(&index), [2, 5, 6]);
            let raw = index.block_before(Seq(5)).expect("there");
            let block = decode::<Vec<u8>>(&raw.chunks, &Keys::default()).expect("whole");
            assert_eq!(block.messages, [(Seq(5), large.clone())]);
        }
    }

    #[test]
    fn a_block_with_a_missing_or_damaged_chunk_is_not_there() {
        let whole = chunks(5, &noise(20_000, 1));
        for damaged in 0..whole.len() {
            let mut bytes = Vec::new();
            for (number, chunk) in whole.iter().enumerate() {
                let mut chunk = chunk.bytes.clone();
                if number == damaged {
                    chunk[100] ^= 1;
                }
                bytes.extend(chunk);
            }
            bytes.extend(&chunks(9, b"behind")[0].bytes);
            let index = index(&bytes);
            assert_eq!(firsts(&index), [9]);
            assert!(!index.covers(Seq(5)) && index.covers(Seq(9)));
            let gap = |first, last| Gap {
                first: Seq(first),
                last: Seq(last),
            };
            assert_eq!(index.gaps(Seq(5), Seq(12)), [gap(5, 8), gap(10, 12)]);
        }
    }

    #[test]
    fn chunks_of_an_unfinished_block_do_not_mix_with_those_of_another() {
        let old = chunks(5, &noise(20_000, 1));
        let new = chunks(5, &noise(20_001, 2));
        let bytes: Vec<u8> = [&old[..2], &new[..], &old[3..]]
            .concat()
            .into_iter()
            .flat_map(|chunk| chunk.bytes)
            .collect();
        let raw = index(&bytes).block_before(Seq(5)).expect("there");
        let block = decode::<Vec<u8>>(&raw.chunks, &Keys::default()).expect("whole");
        assert_eq!(block.messages[0].1, noise(20_001, 2));
    }

    #[test]
    fn a_chunk_inside_a_payload_is_not_taken_for_a_message() {
        let forged = chunks(77, b"forged").remove(0).bytes;
        let bytes: Vec<u8> = chunks(5, &[&forged[..], b"rest"].concat())
            .into_iter()
            .flat_map(|chunk| chunk.bytes)
            .collect();
        assert_eq!(firsts(&index(&bytes)), [5]);
    }

    #[test]
    fn no_bytes_make_it_fail() {
        for seed in 0..64 {
            let mut bytes = noise(20_000, seed);
            for at in (0..bytes.len() - 8).step_by(50) {
                bytes[at..at + 4].copy_from_slice(&MAGIC);
            }
            assert_eq!(firsts(&index(&bytes)), [] as [u64; 0]);
        }
        assert_eq!(firsts(&index(b"")), [] as [u64; 0]);
        assert_eq!(firsts(&index(b"EFQ")), [] as [u64; 0]);
    }
}
