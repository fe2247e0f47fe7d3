//! The chunks of one generation, spread over many small trees so that each is written about once.
//!
//! sled writes an insert as one entry of its log. But the tenth entry of a leaf rewrites the whole leaf, and so does the
//! split at 17 values: with all chunks in one tree each chunk is written about three times. So a generation is a row of
//! **stripes**, each a tree of its own that is left alone before sled would rewrite it. Every new tree rewrites sled's list
//! of trees, which is why stripes are few and their names short. `docs/decisions/0006-written-once.md` has the figures.
//!
//! A stripe is named for the first chunk in it: its sequence without leading zero bytes, and the number of the slice.

use std::collections::BTreeMap;

use crate::message::Seq;
use crate::queue::codec::ChunkKey;

/// Chunks in a stripe: a new leaf is one entry of the log, and sled rewrites a leaf of ten.
const CHUNKS: usize = 9;
/// Stripes in a generation: its list of trees stays below a few kilobytes, which matters where groups are small.
pub(super) const MAX: usize = 512;
const BEGINNING: ChunkKey = ChunkKey {
    first: Seq::ZERO,
    part: 0,
};

/// The stripes of an open generation.
#[derive(Debug, Default)]
pub(super) struct Stripes {
    /// By the first chunk in each.
    trees: BTreeMap<ChunkKey, sled::Tree>,
    /// The stripe that is being filled, and how many chunks went into it.
    filling: Option<(sled::Tree, usize)>,
}

impl Stripes {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.trees.len()
    }

    /// Puts a chunk behind all others.
    pub(super) fn push(&mut self, db: &sled::Db, key: ChunkKey, bytes: &[u8]) -> sled::Result<()> {
        let (tree, count) = match self.filling.take() {
            Some((tree, count)) if count < CHUNKS => (tree, count),
            _ => (self.begin(db, key)?, 0),
        };
        tree.insert(encode_key(key), bytes)?;
        self.filling = Some((tree, count + 1));
        Ok(())
    }

    fn begin(&mut self, db: &sled::Db, key: ChunkKey) -> sled::Result<sled::Tree> {
        let tree = db.open_tree(encode_name(key))?;
        self.trees.insert(key, tree.clone());
        Ok(tree)
    }

    /// Where the stripe begins that `key` belongs to.
    fn beginning_of(&self, key: ChunkKey) -> ChunkKey {
        let stripe = self.trees.range(..=key).next_back();
        stripe.map_or(BEGINNING, |(begin, _)| *begin)
    }

    /// The stripe that `key` belongs to and those behind it, in order.
    pub(super) fn from(&self, key: ChunkKey) -> impl Iterator<Item = &sled::Tree> {
        self.trees.range(self.beginning_of(key)..).map(|(_, tree)| tree)
    }

    /// The stripe that `key` belongs to and those before it, the nearest first.
    pub(super) fn back_from(&self, key: ChunkKey) -> impl Iterator<Item = &sled::Tree> {
        self.trees.range(..=key).rev().map(|(_, tree)| tree)
    }

    /// The stripes that may hold slices of the block that begins at `first`, in order.
    pub(super) fn of_block(&self, first: Seq) -> impl Iterator<Item = &sled::Tree> {
        let begin = self.beginning_of(ChunkKey { first, part: 0 });
        let end = ChunkKey {
            first,
            part: u16::MAX,
        };
        self.trees.range(begin..=end).map(|(_, tree)| tree)
    }
}

/// Key of a chunk in its stripe.
pub(super) fn encode_key(key: ChunkKey) -> [u8; 10] {
    let mut bytes = [0; 10];
    let (first, part) = bytes.split_at_mut(8);
    first.copy_from_slice(&key.first.0.to_be_bytes());
    part.copy_from_slice(&key.part.to_be_bytes());
    bytes
}

/// The block that the chunk under this key belongs to. `None` when the key is not ours.
pub(super) fn decode_key(bytes: &[u8]) -> Option<Seq> {
    (bytes.len() == 10).then_some(())?;
    Some(Seq(u64::from_be_bytes(*bytes.first_chunk()?)))
}

fn encode_name(begin: ChunkKey) -> Vec<u8> {
    let leading = begin.first.0.leading_zeros() / 8;
    let zeros = usize::try_from(leading).unwrap_or(0);
    encode_key(begin).into_iter().skip(zeros).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_where_its_stripe_begins() {
        let mut names = std::collections::BTreeSet::new();
        for first in [0, 1, 255, 256, 1 << 32, u64::MAX] {
            for part in [0, 9, u16::MAX] {
                let begin = ChunkKey {
                    first: Seq(first),
                    part,
                };
                names.insert(encode_name(begin));
            }
        }
        assert_eq!(names.len(), 18);
        assert_eq!(
            encode_name(ChunkKey {
                first: Seq(300),
                part: 9
            }),
            [1, 44, 0, 9]
        );
    }
}
