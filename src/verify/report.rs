//! What comes of it: for people and, as JSON, for machines.

use serde::{Deserialize, Serialize};

use super::explain::LaneAccount;
use crate::message::{Epoch, Seq};

/// Version of the JSON form.
pub const VERSION: u32 = 1;

/// What the judge is told of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// `delivery = "exactly-once"`: a repetition is a mistake.
    pub is_exactly_once: bool,
}

/// What this store says of its messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreAccount {
    /// Gateway id.
    pub gateway: String,
    /// Epoch of what is stored now.
    pub epoch: Option<Epoch>,
    /// Its lanes.
    pub lanes: Vec<LaneAccount>,
    /// Messages imported into it, by hand.
    pub imported: u64,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// `VERSION`
    pub version: u32,
    /// What it comes to.
    pub verdict: Verdict,
    /// Whose store was asked; `None`: nobody's, so a gap has no explanation.
    pub gateway: Option<String>,
    /// What was read.
    pub topics: Vec<TopicReport>,
    /// Records that were read.
    pub records: u64,
    /// Records that name no message: they can only be counted.
    pub unnamed: u64,
    /// Records of other gateways, of other epochs and of lanes that are no more; not looked at.
    pub others: u64,
    /// Records of more epochs and lanes than are kept apart; not looked at.
    pub beyond: u64,
    /// Records whose order was not looked at, because there are more keys than are remembered.
    pub unordered: u64,
    /// Each lane.
    pub lanes: Vec<LaneReport>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// What it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything is there, or its absence is explained.
    Well,
    /// Nothing wrong was found, but not everything could be judged by name.
    Uncertain,
    /// Something is missing, in a wrong order, or there twice where it may not be.
    Wrong,
}

/// A topic that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicReport {
    /// Its name.
    pub name: String,
    /// How many it has.
    pub partitions: usize,
    /// Records that were read.
    pub records: u64,
    /// Partitions whose beginning is gone, by retention or otherwise.
    pub trimmed: usize,
    /// Kafka keeps the newest record of each key alone; `None`: not known.
    pub is_compacted: Option<bool>,
}

/// One log of one gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LaneReport {
    /// Its gateway, where that is known.
    pub gateway: Option<String>,
    /// Epoch.
    pub epoch: String,
    /// Lane.
    pub lane: String,
    /// First sequence that was judged; `None` when there was nothing to judge.
    pub first: Option<Seq>,
    /// Last one.
    pub last: Option<Seq>,
    /// Messages that wait in the store, behind `last`.
    pub queued: u64,
    /// Messages that are in Kafka.
    pub present: u64,
    /// Absent, and why.
    pub known: Vec<Known>,
    /// Absent, and nobody can know why: the beginning of a topic is gone, or it is compacted.
    pub unknown: u64,
    /// Absent without an explanation.
    pub missing: u64,
    /// Where those are which no sequence explains: the first `STRETCHES_MAX` stretches.
    pub stretches: Vec<Stretch>,
    /// Further stretches.
    pub stretches_left_out: u64,
    /// Records whose message was there before, in the same topic.
    pub duplicates: Duplicate,
    /// First copies that came behind a later message of the same key.
    pub misplaced: u64,
    /// The first of them.
    pub misplaced_examples: Vec<Misplaced>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Stretches that are listed.
pub const STRETCHES_MAX: usize = 1000;
/// Records out of order that are listed for each lane.
pub const MISPLACED_MAX: usize = 20;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// Messages are not in Kafka, and this gateway's store does not know why.
    Missing,
    /// Messages are not in Kafka; the store was not asked.
    Gap,
    /// Messages of a key are out of order.
    OutOfOrder,
    /// Messages are there twice, and `delivery = "exactly-once"`.
    Duplicated,
}

/// Absent messages and why they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// `dead_letter`, `by_hand`, or a reason of the ledger (docs/delivery.md); `not_delivered` for those that it knows by number.
    pub why: String,
    /// How many.
    pub count: u64,
    /// Their sequences are known. Otherwise there are as many that the ledger counts, and nobody can say that they are these.
    pub is_by_sequence: bool,
}

/// A stretch of sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// Its first.
    pub first: Seq,
    /// Its last.
    pub last: Seq,
}

/// Records whose message was there before, in the same topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Duplicate {
    /// Key and value are the same.
    pub same: u64,
    /// They are not.
    pub altered: u64,
    /// The first copy lies too far back to be compared.
    pub uncompared: u64,
    /// Several routes may send to the topic, so these may be theirs.
    pub several_routes: u64,
}

impl Duplicate {
    /// Those that are no route's.
    #[must_use]
    pub const fn repeated(&self) -> u64 {
        self.same + self.altered + self.uncompared
    }
}

/// A record in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Misplaced {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Kafka key: the device.
    pub key: String,
    /// Its sequence.
    pub seq: Seq,
    /// That of a record before it.
    pub behind: Seq,
}
