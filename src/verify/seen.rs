//! A set of sequences that is small both where they are dense and where they are scattered.
//!
//! Ranges alone cost 16 bytes for each message of a lane whose messages go to several topics in turn; here that is a bit or two.

use std::collections::BTreeMap;

use crate::message::Seq;

const WORDS: usize = 64;
/// Sequences of a block.
const BLOCK: u64 = 64 * WORDS as u64;
/// Bytes of a block that is neither empty nor full.
pub(super) const BLOCK_BYTES: usize = WORDS * 8;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Block {
    Some { bits: Box<[u64; WORDS]>, count: u64 },
    All,
}

/// The set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen(BTreeMap<u64, Block>);

/// What an insertion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inserted {
    /// It was not in it before.
    pub is_new: bool,
    /// Blocks of [`BLOCK_BYTES`] more, or fewer.
    pub blocks: isize,
}

impl Seen {
    /// Adds `seq`.
    pub fn insert(&mut self, seq: Seq) -> Inserted {
        let (number, at) = (seq.0 / BLOCK, seq.0 % BLOCK);
        let mut blocks = 0;
        let block = self.0.entry(number).or_insert_with(|| {
            blocks = 1;
            Block::Some {
                bits: Box::new([0; WORDS]),
                count: 0,
            }
        });
        let Block::Some { bits, count } = block else {
            return Inserted {
                is_new: false,
                blocks,
            };
        };
        let mask = 1_u64 << (at % 64);
        let word = usize::try_from(at / 64).ok().and_then(|word| bits.get_mut(word));
        let is_new = word.is_some_and(|word| {
            let is_new = *word & mask == 0;
            *word |= mask;
            is_new
        });
        *count += u64::from(is_new);
        if *count == BLOCK {
            *block = Block::All;
            blocks -= 1;
        }
        Inserted { is_new, blocks }
    }

    /// The first and the last one.
    #[must_use]
    pub fn bounds(&self) -> Option<(Seq, Seq)> {
        let mut bounds: Option<(Seq, Seq)> = None;
        present(&[self], |first, last| {
            bounds = Some(bounds.map_or((first, last), |(begin, _)| (begin, last)));
        });
        bounds
    }
}

/// The stretches of what is in any of `sets`, ascending; none touches the next.
pub fn present(sets: &[&Seen], mut take: impl FnMut(Seq, Seq)) {
    let mut numbers: Vec<u64> = sets.iter().flat_map(|set| set.0.keys().copied()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut open: Option<(u64, u64)> = None;
    let mut add = |first: u64, last: u64| match &mut open {
        Some((_, end)) if *end + 1 == first => *end = last,
        _ => {
            if let Some((begin, end)) = open.replace((first, last)) {
                take(Seq(begin), Seq(end));
            }
        }
    };
    for number in numbers {
        let base = number * BLOCK;
        let blocks: Vec<&Block> = sets.iter().filter_map(|set| set.0.get(&number)).collect();
        if blocks.iter().any(|block| **block == Block::All) {
            add(base, base + (BLOCK - 1));
            continue;
        }
        for word in 0..WORDS {
            let of = |block: &&Block| match block {
                Block::Some { bits, .. } => bits.get(word).copied().unwrap_or_default(),
                Block::All => u64::MAX,
            };
            let bits = blocks.iter().map(of).fold(0, |all, bits| all | bits);
            runs(bits, |from, to| {
                let start = base + 64 * word as u64;
                add(start + from, start + to);
            });
        }
    }
    if let Some((begin, end)) = open {
        take(Seq(begin), Seq(end));
    }
}

/// The stretches of ones in a word, first and last bit of each.
fn runs(mut bits: u64, mut take: impl FnMut(u64, u64)) {
    let mut passed = 0;
    while bits != 0 {
        let zeros = bits.trailing_zeros();
        bits >>= zeros;
        let ones = bits.trailing_ones();
        take(u64::from(passed + zeros), u64::from(passed + zeros + ones - 1));
        passed += zeros + ones;
        bits = bits.checked_shr(ones).unwrap_or(0);
    }
}

/// The stretches from `first` to `last` that are in none of `sets`, ascending.
pub fn absent(sets: &[&Seen], first: Seq, last: Seq, mut take: impl FnMut(Seq, Seq)) {
    let mut next = first;
    present(sets, |begin, end| {
        if begin > next && next <= last {
            take(next, begin.previous().min(last));
        }
        next = next.max(end.next());
    });
    if next <= last {
        take(next, last);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_present_and_absent_is_what_a_plain_set_says(
            a in proptest::collection::vec((0_u64..20_000, 1_u64..5_000), 0..8),
            b in proptest::collection::vec(0_u64..20_000, 0..200),
            first in 0_u64..20_000, length in 0_u64..20_000,
        ) {
            let (mut dense, mut sparse, mut plain) = (Seen::default(), Seen::default(), BTreeSet::new());
            let mut blocks = 0;
            for seq in a.iter().flat_map(|(first, length)| *first..first + length) {
                let inserted = dense.insert(Seq(seq));
                prop_assert_eq!(inserted.is_new, plain.insert(seq));
                blocks += inserted.blocks;
            }
            let held = dense.0.values().filter(|block| **block != Block::All).count();
            prop_assert_eq!(blocks, isize::try_from(held).expect("few"));
            for seq in b {
                sparse.insert(Seq(seq));
                plain.insert(seq);
            }
            let last = first + length;
            let mut found = BTreeSet::new();
            let mut before = None;
            absent(&[&dense, &sparse], Seq(first), Seq(last), |begin, end| {
                assert!(begin <= end && before.is_none_or(|before| before < begin.0));
                before = Some(end.0);
                found.extend(begin.0..=end.0);
            });
            let expected: BTreeSet<u64> = (first..=last).filter(|seq| !plain.contains(seq)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn two_sequences_that_are_worlds_apart_cost_two_blocks() {
        let mut seen = Seen::default();
        seen.insert(Seq(1));
        seen.insert(Seq(u64::MAX - 1));
        let mut gaps = Vec::new();
        absent(&[&seen], Seq(1), Seq(u64::MAX - 1), |first, last| {
            gaps.push((first.0, last.0));
        });
        assert_eq!(gaps, [(2, u64::MAX - 2)]);
        assert_eq!(seen.bounds(), Some((Seq(1), Seq(u64::MAX - 1))));
    }
}
