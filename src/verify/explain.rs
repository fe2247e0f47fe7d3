//! Why a message is not in Kafka, as far as the store knows. Pure.

use serde::{Deserialize, Serialize};

use super::report::{Known, STRETCHES_MAX, Stretch};
use crate::message::Seq;
use crate::ranges::Ranges;

/// What the store says of one lane, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LaneAccount {
    /// Its name.
    pub lane: String,
    /// Every message up to here is done.
    pub cursor: Seq,
    /// Durable messages behind it.
    pub queued: u64,
    /// Places of its dead letters that are still here.
    pub letters: Ranges,
    /// Dead letters that are not here any more: put back, forwarded, purged, dropped.
    pub letters_gone: u64,
    /// Stretches without messages that the log still remembers, ascending.
    pub holes: Vec<Hole>,
    /// Sequences without a message or without a record since the store was made, holes included: filtered, dropped, expired, purged, skipped.
    pub absent: u64,
    /// The same by reason, for people.
    pub by_reason: std::collections::BTreeMap<String, u64>,
}

/// A stretch without messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// Its first sequence.
    pub first: Seq,
    /// Its last.
    pub last: Seq,
    /// Name of the reason.
    pub reason: String,
}

impl Hole {
    const fn count(&self) -> u64 {
        self.last.0.saturating_sub(self.first.0).saturating_add(1)
    }
}

/// What is known of absent messages, one stretch after the other.
#[derive(Debug, Default)]
pub(super) struct Absence<'a> {
    /// Up to here nobody can know.
    unknown_through: Option<Seq>,
    account: Option<&'a LaneAccount>,
    letters: Vec<(u64, u64)>,
    lettered: u64,
    in_holes: Vec<(String, u64)>,
    pub unknown: u64,
    /// Not explained by sequence.
    pub left: u64,
    pub stretches: Vec<Stretch>,
    pub stretches_left_out: u64,
}

impl<'a> Absence<'a> {
    /// `forwarded` are the messages whose dead letters lie in their Kafka topic.
    pub(super) fn new(
        unknown_through: Option<Seq>,
        account: Option<&'a LaneAccount>,
        forwarded: Ranges,
    ) -> Self {
        let mut letters = forwarded;
        if let Some(account) = account {
            letters.add(&account.letters);
        }
        Self {
            unknown_through,
            account,
            letters: letters.iter().map(|(first, last)| (first.0, last.0)).collect(),
            ..Self::default()
        }
    }

    /// These are not in Kafka.
    pub(super) fn add(&mut self, first: Seq, last: Seq) {
        let (mut first, last) = (first.0, last.0);
        if let Some(unknown) = self.unknown_through.map(|through| through.0.min(last))
            && unknown >= first
        {
            self.unknown += unknown - first + 1;
            if unknown == last {
                return;
            }
            first = unknown + 1;
        }
        let (rest, cut) = without((first, last), &self.letters);
        self.lettered += cut;
        for stretch in rest {
            self.look_into_holes(stretch);
        }
    }

    fn look_into_holes(&mut self, stretch: (u64, u64)) {
        let holes = self.account.map_or(&[][..], |account| &account.holes);
        let bounds: Vec<(u64, u64)> = near(stretch, holes.iter().map(|hole| (hole.first.0, hole.last.0)));
        for hole in holes {
            let (first, last) = (hole.first.0.max(stretch.0), hole.last.0.min(stretch.1));
            if first <= last {
                self.note(&hole.reason, last - first + 1);
            }
        }
        let (rest, _) = without(stretch, &bounds);
        for (first, last) in rest {
            self.left += last - first + 1;
            if self.stretches.len() < STRETCHES_MAX {
                self.stretches.push(Stretch {
                    first: Seq(first),
                    last: Seq(last),
                });
            } else {
                self.stretches_left_out += 1;
            }
        }
    }

    fn note(&mut self, reason: &str, count: u64) {
        match self.in_holes.iter_mut().find(|(known, _)| known == reason) {
            Some((_, sum)) => *sum += count,
            None => self.in_holes.push((reason.to_owned(), count)),
        }
    }

    /// What is explained by sequence.
    pub(super) fn known(&self) -> Vec<Known> {
        let letters = (self.lettered > 0).then(|| ("dead_letter".to_owned(), self.lettered));
        let all = letters.into_iter().chain(self.in_holes.iter().cloned());
        all.map(|(why, count)| Known {
            why,
            count,
            is_by_sequence: true,
        })
        .collect()
    }

    /// How many more the ledger counts as not delivered, beside the holes that it still knows.
    pub(super) fn counted(&self) -> u64 {
        let Some(account) = self.account else { return 0 };
        let holes: u64 = account.holes.iter().map(Hole::count).sum();
        account.absent.saturating_sub(holes)
    }
}

/// Those of `all` that share something with `stretch`.
fn near(stretch: (u64, u64), all: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    all.filter(|(first, last)| *first <= stretch.1 && *last >= stretch.0)
        .collect()
}

/// What is left of a stretch without `known` (ascending, not overlapping), and how many that takes away.
fn without(stretch: (u64, u64), known: &[(u64, u64)]) -> (Vec<(u64, u64)>, u64) {
    let (mut next, end) = stretch;
    let (mut rest, mut cut) = (Vec::new(), 0);
    let begin = known.partition_point(|(_, last)| *last < next);
    for (first, last) in known.iter().skip(begin).take_while(|(first, _)| *first <= end) {
        let (first, last) = ((*first).max(next), (*last).min(end));
        if first > next {
            rest.push((next, first - 1));
        }
        cut += last - first + 1;
        if last == end {
            return (rest, cut);
        }
        next = last + 1;
    }
    rest.push((next, end));
    (rest, cut)
}
