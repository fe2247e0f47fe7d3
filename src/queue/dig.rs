//! Blocks in raw bytes: a copied folder, a copied card, the image of one.
//!
//! Nothing is trusted but a chunk's checksum: not sled's structures, not names, not the order of what is found. sled's log
//! holds most chunks several times; where two blocks say something about the same sequence, the one in the later file
//! counts, because a generation ends where the next one begins.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use crate::message::{Arrival, Seq, Stored};
use crate::queue::codec::{Damage, Header, Unreadable, decode};
use crate::queue::generations::raw::{Hit, Piece, search};
use crate::queue::seal::Keys;

/// Chunks of one file that agree on the block they belong to.
#[derive(Debug)]
struct Candidate {
    block: Header,
    file: usize,
    /// By part.
    pieces: BTreeMap<u16, Piece>,
}

/// What was found so far: some 200 bytes of memory for each block.
#[derive(Debug, Default)]
pub struct Dig {
    files: Vec<PathBuf>,
    candidates: BTreeMap<Seq, Vec<Candidate>>,
}

/// How much of a file there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// Whole chunks, copies included.
    pub chunks: u64,
    /// Bytes that could not be read.
    pub unreadable: u64,
}

impl Dig {
    /// Looks through a file. Parts of it that cannot be read are passed over.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn add(&mut self, path: PathBuf) -> io::Result<Found> {
        let file = File::open(&path)?;
        let number = self.files.len();
        self.files.push(path);
        let mut chunks = 0;
        let unreadable = search(&file, |hits| {
            chunks += hits.len() as u64;
            for hit in &hits {
                self.note(number, hit);
            }
            true
        });
        Ok(Found { chunks, unreadable })
    }

    fn note(&mut self, file: usize, hit: &Hit) {
        let block = hit.header.of_block();
        let candidates = self.candidates.entry(block.first).or_default();
        let known = candidates
            .iter_mut()
            .find(|known| known.block == block && known.file == file);
        if let Some(candidate) = known {
            candidate.pieces.entry(hit.header.part).or_insert(hit.piece);
        } else {
            candidates.push(Candidate {
                block,
                file,
                pieces: BTreeMap::from([(hit.header.part, hit.piece)]),
            });
        }
    }

    /// All messages, in the order of their blocks, one block in memory at a time. A sequence may come more than once, the
    /// one that counts first.
    pub fn messages<'a>(
        &'a self,
        keys: &'a Keys,
    ) -> impl Iterator<Item = Result<Vec<Stored>, (Seq, Unreadable)>> + 'a {
        self.candidates.iter().flat_map(move |(first, candidates)| {
            let mut whole: Vec<&Candidate> = candidates
                .iter()
                .filter(|found| found.pieces.len() == usize::from(found.block.parts))
                .collect();
            whole.sort_by_key(|found| Reverse((found.file, found.block.span)));
            whole
                .into_iter()
                .map(move |found| self.read(found, keys).map_err(|error| (*first, error)))
        })
    }

    fn read(&self, found: &Candidate, keys: &Keys) -> Result<Vec<Stored>, Unreadable> {
        let path = self.files.get(found.file).ok_or(Damage::Parts)?;
        let file = File::open(path).map_err(|_| Damage::Parts)?;
        let chunks = found.pieces.values().map(|piece| piece.read(&file));
        let chunks = chunks
            .collect::<io::Result<Vec<_>>>()
            .map_err(|_| Damage::Parts)?;
        let block = decode::<Arrival>(&chunks, keys)?;
        let epoch = block.epoch;
        let messages = block.messages.into_iter();
        Ok(messages
            .map(|(seq, arrival)| Stored { seq, epoch, arrival })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Epoch;
    use crate::queue::Compression;
    use crate::queue::codec::{Encoder, MAGIC};
    use crate::queue::tests::arrival;

    fn chunks(first: u64, count: u64, bytes: usize) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(Epoch(5), Compression::None, &Keys::default()).expect("sets up");
        let messages: Vec<Arrival> = (0..count)
            .map(|at| arrival(first + at, &vec![7; bytes]))
            .collect();
        let chunks = encoder.encode(Seq(first), &messages).expect("encodes");
        chunks.into_iter().map(|chunk| chunk.bytes).collect()
    }

    fn dug(files: &[Vec<u8>]) -> Vec<u64> {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut dig = Dig::default();
        for (number, bytes) in files.iter().enumerate() {
            let path = dir.path().join(number.to_string());
            std::fs::write(&path, bytes).expect("writes");
            dig.add(path).expect("opens");
        }
        let keys = Keys::default();
        let messages = dig.messages(&keys).flat_map(|block| block.expect("decodes"));
        messages.map(|stored| stored.seq.0).collect()
    }

    #[test]
    fn blocks_are_found_wherever_they_stand() {
        let noise = |bytes: usize| MAGIC.repeat(bytes / 4);
        // Chunks on both sides of a window's edge, and one that reaches over it.
        let parts: Vec<Vec<u8>> = chunks(1, 60, 10_000)
            .into_iter()
            .flat_map(|chunk| [chunk, noise(40), vec![0; 13]])
            .collect();
        let expected: Vec<u64> = (1..=60).collect();
        assert_eq!(dug(&[parts.concat()]), expected);
        let mut backwards: Vec<Vec<u8>> = chunks(1, 60, 10_000);
        backwards.reverse();
        assert_eq!(dug(&[backwards.concat()]), expected);
    }

    #[test]
    fn a_damaged_chunk_costs_its_block_alone() {
        let mut parts = [chunks(1, 5, 100), chunks(6, 5, 20_000), chunks(11, 5, 100)];
        // Four of the large messages fill a block.
        parts[1][3][100] ^= 1;
        assert_eq!(
            dug(&[parts.concat().concat()]),
            [1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]
        );
    }

    #[test]
    fn the_later_file_counts_first() {
        let (old, new) = (chunks(1, 3, 10).concat(), chunks(1, 2, 50).concat());
        assert_eq!(dug(&[old, new]), [1, 2, 1, 2, 3]);
    }
}
