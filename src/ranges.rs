//! A set of sequences, kept as stretches.

use serde::{Deserialize, Serialize};

use crate::message::Seq;

/// Stretches in ascending order that neither overlap nor touch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Whether `seq` is in it.
    #[must_use]
    pub fn contains(&self, seq: Seq) -> bool {
        let index = self.0.partition_point(|(_, last)| *last < seq.0);
        self.0.get(index).is_some_and(|(first, _)| *first <= seq.0)
    }

    /// Number of stretches.
    #[must_use]
    pub fn stretches(&self) -> usize {
        self.0.len()
    }

    /// Number of sequences.
    #[must_use]
    pub fn count(&self) -> u64 {
        let lengths = self
            .0
            .iter()
            .map(|(first, last)| last.saturating_sub(*first).saturating_add(1));
        lengths.sum()
    }

    /// Number of sequences from `first` to `last`.
    #[must_use]
    pub fn count_within(&self, first: Seq, last: Seq) -> u64 {
        let begin = self.0.partition_point(|(_, end)| *end < first.0);
        let near = self
            .0
            .iter()
            .skip(begin)
            .take_while(|(start, _)| *start <= last.0);
        near.map(|(start, end)| {
            let (start, end) = (first.0.max(*start), last.0.min(*end));
            end.saturating_sub(start).saturating_add(1)
        })
        .sum()
    }

    /// The stretches, first and last sequence of each, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (Seq, Seq)> {
        self.0.iter().map(|(first, last)| (Seq(*first), Seq(*last)))
    }

    /// Adds `seq`.
    pub fn insert(&mut self, seq: Seq) {
        self.insert_all(seq, seq);
    }

    /// Adds all from `first` to `last`.
    pub fn insert_all(&mut self, first: Seq, last: Seq) {
        let begin = self.0.partition_point(|(_, end)| end.saturating_add(1) < first.0);
        let end = self
            .0
            .partition_point(|(start, _)| *start <= last.0.saturating_add(1));
        let merged = self.0.get(begin..end).unwrap_or_default();
        let first = merged.first().map_or(first.0, |(start, _)| first.0.min(*start));
        let last = merged.last().map_or(last.0, |(_, stop)| last.0.max(*stop));
        self.0.splice(begin..end.max(begin), [(first, last)]);
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        for (first, last) in &other.0 {
            self.insert_all(Seq(*first), Seq(*last));
        }
    }

    /// Takes all from `first` to `last` out.
    pub fn remove(&mut self, first: Seq, last: Seq) {
        let begin = self.0.partition_point(|(_, end)| *end < first.0);
        let end = self.0.partition_point(|(start, _)| *start <= last.0);
        let Some(cut @ [(start, _), ..]) = self.0.get(begin..end) else {
            return;
        };
        let stop = cut.last().map_or(0, |(_, stop)| *stop);
        let before = (*start < first.0).then_some((*start, first.0.saturating_sub(1)));
        let behind = (last.0 < stop).then_some((last.0.saturating_add(1), stop));
        self.0.splice(begin..end, before.into_iter().chain(behind));
    }

    /// Takes all of `other` out.
    pub fn remove_all(&mut self, other: &Self) {
        for (first, last) in &other.0 {
            self.remove(Seq(*first), Seq(*last));
        }
    }

    /// Fills the smallest gaps until `limit` stretches are left.
    pub fn coarsen(&mut self, limit: usize) {
        let surplus = self.0.len().saturating_sub(limit.max(1));
        if surplus == 0 {
            return;
        }
        let gap = |pair: &[(u64, u64)]| match pair {
            [(_, end), (start, _)] => start.saturating_sub(*end),
            _ => u64::MAX,
        };
        let mut gaps: Vec<u64> = self.0.windows(2).map(gap).collect();
        gaps.sort_unstable();
        let widest = surplus.checked_sub(1).and_then(|index| gaps.get(index)).copied();
        let widest = widest.unwrap_or_default();
        self.0.dedup_by(|next, before| {
            let near = next.0.saturating_sub(before.1) <= widest;
            if near {
                before.1 = next.1;
            }
            near
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stretches_are_the_set_they_stand_for(steps in proptest::collection::vec((any::<bool>(), 0_u64..40, 0_u64..6), 1..60)) {
            let mut ranges = Ranges::default();
            let mut set = BTreeSet::new();
            for (add, first, more) in steps {
                if add {
                    ranges.insert_all(Seq(first), Seq(first + more));
                    set.extend(first..=first + more);
                } else {
                    ranges.remove(Seq(first), Seq(first + more));
                    set.retain(|seq| !(first..=first + more).contains(seq));
                }
                for seq in 0..50 {
                    prop_assert_eq!(ranges.contains(Seq(seq)), set.contains(&seq));
                    let within = set.range(3..=seq.max(3)).count() as u64;
                    prop_assert_eq!(ranges.count_within(Seq(3), Seq(seq.max(3))), within);
                }
                for pair in ranges.0.windows(2) {
                    prop_assert!(pair[0].1 + 1 < pair[1].0, "{:?}", ranges);
                }
            }
        }
    }

    #[test]
    fn the_smallest_gaps_are_filled_first_and_nothing_is_taken_out() {
        let mut ranges = Ranges(vec![(1, 1), (3, 3), (10, 10), (12, 12), (100, 100)]);
        ranges.coarsen(3);
        assert_eq!(ranges.0, [(1, 3), (10, 12), (100, 100)]);
        ranges.coarsen(3);
        assert_eq!(ranges.stretches(), 3);
    }
}
