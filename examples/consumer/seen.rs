//! Which messages of one partition have been seen: enough to recognise every duplicate of edgeferry, in bounded memory.
//!
//! # What an id says
//!
//! `edgeferry-id` is `EPOCH-LANE-SEQUENCE`. The epoch names the store of a gateway, the lane a pipeline in it, and sequences
//! of a lane ascend by one and are never used twice.
//!
//! # How duplicates come
//!
//! When a gateway was killed, or lost Kafka, it goes back to the first message of a lane that it has no confirmation for, and
//! sends everything from there again, in order. So in a partition the sequences of a lane ascend, jump back, and ascend
//! again over the same numbers. A jump goes back over what was under way: 4,096 messages of the lane, and after a power cut
//! up to 5 s more.
//!
//! # What is enough to remember, and what is not
//!
//! * The highest sequence of each lane is not enough. It would take for a duplicate, and so lose, what comes late and for
//!   the first time: a dead letter that was put back, an export that was imported, a message whose key moved when the topic got
//!   more partitions.
//! * One set of ids is enough, but not bounded; and a number of ids for all gateways together is used up by their neighbours
//!   while a gateway that crashed is away.
//! * So each lane has a window: one bit for each of its newest [`WINDOW`] sequences, 8 KiB. What is in it is known exactly.
//!   What lies before it is too old for a jump back: it comes late, is new, and is remembered in a short list of its own,
//!   because it may come twice too.
//!
//! Each partition has a memory of its own, because the partitions of a group move between consumers one by one.

use std::collections::{HashMap, VecDeque};

/// Sequences of a lane that are known exactly: what is under way, and 5 s at 12,000 messages a second. A multiple of 64.
pub const WINDOW: u64 = 65_536;
/// Latecomers that are remembered: letters are put back by hand, and come twice only if the gateway is killed meanwhile.
pub const LATECOMERS: usize = 1_000;
/// Lanes that are remembered: those of a large fleet, 16 MB. When there are more, the one that has been silent for longest is
/// forgotten, and what it repeats then is taken for new.
pub const LANES: usize = 2_000;

/// The messages of one partition.
#[derive(Debug, Default)]
pub struct Seen {
    /// By `EPOCH-LANE`.
    lanes: HashMap<String, Lane>,
    latecomers: VecDeque<String>,
    /// Ids looked at so far; tells which lane has been silent for longest.
    clock: u64,
}

impl Seen {
    /// Notes an id. Whether this is the first time.
    ///
    /// An id of another shape is not one of edgeferry and always new.
    pub fn is_new(&mut self, id: &str) -> bool {
        let Some((name, sequence)) = split(id) else {
            return true;
        };
        self.clock += 1;
        if !self.lanes.contains_key(name) {
            self.make_room();
        }
        let lane = self.lanes.entry(name.to_owned()).or_default();
        lane.heard = self.clock;
        lane.is_new(sequence).unwrap_or_else(|| self.is_new_latecomer(id))
    }

    fn is_new_latecomer(&mut self, id: &str) -> bool {
        if self.latecomers.iter().any(|known| known == id) {
            return false;
        }
        if self.latecomers.len() == LATECOMERS {
            self.latecomers.pop_front();
        }
        self.latecomers.push_back(id.to_owned());
        true
    }

    fn make_room(&mut self) {
        if self.lanes.len() < LANES {
            return;
        }
        let silent = self.lanes.iter().min_by_key(|(_, lane)| lane.heard);
        if let Some(name) = silent.map(|(name, _)| name.clone()) {
            self.lanes.remove(&name);
        }
    }
}

/// `EPOCH-LANE` and the sequence.
fn split(id: &str) -> Option<(&str, u64)> {
    let (lane, sequence) = id.rsplit_once('-')?;
    Some((lane, sequence.parse().ok()?))
}

/// A ring of bits over the newest sequences of a lane, 64 of them in a word.
#[derive(Debug)]
struct Lane {
    /// Index of the newest word, counted from sequence 0.
    newest: u64,
    words: Vec<u64>,
    heard: u64,
}

const WORDS: u64 = WINDOW / 64;

impl Default for Lane {
    fn default() -> Self {
        Self {
            newest: 0,
            words: (0..WORDS).map(|_| 0).collect(),
            heard: 0,
        }
    }
}

impl Lane {
    /// Notes a sequence; `None` when it lies before the window.
    fn is_new(&mut self, sequence: u64) -> Option<bool> {
        let word = sequence / 64;
        // The window moves on; what it reaches anew has not been seen.
        for passed in (self.newest + 1..=word).take(usize::try_from(WORDS).unwrap_or(usize::MAX)) {
            *self.word(passed)? = 0;
        }
        self.newest = self.newest.max(word);
        if word + WORDS <= self.newest {
            return None;
        }
        let bit = 1 << (sequence % 64);
        let bits = self.word(word)?;
        let is_new = *bits & bit == 0;
        *bits |= bit;
        Some(is_new)
    }

    fn word(&mut self, index: u64) -> Option<&mut u64> {
        self.words.get_mut(usize::try_from(index % WORDS).ok()?)
    }
}
