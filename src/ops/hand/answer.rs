//! What is answered: a JSON line each, one key that says what it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::format::Record;
use crate::exit::Exit;
use crate::message::{Epoch, Seq};
use crate::ops::State;
use crate::verify::LaneAccount;

/// One answer. The last one to a request is [`Answer::Done`] or [`Answer::Error`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// How the whole stands.
    State(Box<State>),
    /// How a lane stands.
    Lane(LaneState),
    /// A message.
    Message(Peeked),
    /// A line of an export.
    Record(Box<RawValue>),
    /// Something is wrong in the store.
    Fault(FaultSeen),
    /// A lane was read.
    Verified(Verified),
    /// What was removed, or would be.
    Purged(Purged),
    /// What became of an import.
    Imported(Imported),
    /// What a salvage found.
    Salvaged(Salvaged),
    /// Which dead letters a lane has.
    Letters(LettersState),
    /// A dead letter.
    Letter(Box<Letter>),
    /// What became of a redrive.
    Redriven(Redriven),
    /// Which messages need not be in Kafka.
    Account(Box<Account>),
    /// Something a person should know.
    Note(String),
    /// All was answered. What was found may still be bad: `exit` says so.
    Done {
        /// Exit code of the command.
        exit: u8,
    },
    /// It could not be done, or not to the end.
    Error {
        /// Exit code of the command.
        exit: u8,
        /// Why.
        message: String,
    },
}

impl Answer {
    /// The last answer.
    #[must_use]
    pub const fn done(exit: Exit) -> Self {
        Self::Done { exit: exit as u8 }
    }
}

/// What a store says of its messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Gateway id.
    pub gateway: String,
    /// Epoch of what is stored now.
    pub epoch: Epoch,
    /// Messages imported, over all lanes.
    pub imported: u64,
    /// Each lane.
    pub lanes: Vec<LaneAccount>,
}

/// How a lane stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneState {
    /// Its name.
    pub lane: String,
    /// Acknowledged since the store was made. Equals all the following numbers together.
    pub received: u64,
    /// Confirmed by Kafka.
    pub delivered: u64,
    /// Kept as dead letters.
    pub dead_lettered: u64,
    /// Removed, by reason; those that are zero are left out.
    pub removed: BTreeMap<String, u64>,
    /// Durable and neither of these yet.
    pub queued: u64,
    /// Every message up to here is done.
    pub cursor: Seq,
    /// The last one.
    pub last: Seq,
    /// When the oldest queued message arrived, RFC 3339.
    pub oldest: Option<String>,
    /// When the newest queued message arrived, RFC 3339.
    pub newest: Option<String>,
    /// Space on disk.
    pub bytes: u64,
    /// Generations.
    pub units: Vec<UnitState>,
    /// Stretches without messages in front of the cursor.
    pub holes: Vec<HoleState>,
    /// Why nothing can be stored at the moment.
    pub failure: Option<String>,
}

/// A generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// First sequence it may hold.
    pub first: Seq,
    /// Last one; the newest has none.
    pub last: Option<Seq>,
    /// Space on disk.
    pub bytes: u64,
}

/// A stretch without messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoleState {
    /// First sequence.
    pub first: Seq,
    /// Last sequence.
    pub last: Seq,
    /// Name of the reason.
    pub reason: String,
}

/// A message, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peeked {
    /// Its lane.
    pub lane: String,
    /// Its place in the lane.
    pub seq: Seq,
    /// Its id.
    pub id: String,
    /// Where it was received first, when it was imported.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origin: Option<String>,
    /// When it arrived, RFC 3339.
    pub arrival: String,
    /// MQTT topic.
    pub topic: String,
    /// Its Kafka keys; none when no route takes it.
    pub devices: Vec<String>,
    /// Length of the payload.
    pub bytes: u64,
    /// The payload, or its beginning, when it is text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload: Option<String>,
    /// The same in base64, when it is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload_base64: Option<String>,
    /// Whether what is shown is only the beginning.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub cut: bool,
}

/// Something wrong in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultSeen {
    /// In this lane.
    pub lane: String,
    /// From this sequence.
    pub first: Seq,
    /// Up to and with this one.
    pub last: Seq,
    /// What is wrong.
    pub what: String,
    /// All of it was delivered before: nothing is lost by it.
    pub delivered: bool,
}

/// A lane that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Its name.
    pub lane: String,
    /// Blocks that were read and are whole.
    pub blocks: u64,
    /// Messages in them.
    pub messages: u64,
    /// Those in front of the cursor.
    pub queued: u64,
    /// What the ledger calls queued; `None` when messages came or went during the look, so that the two cannot be compared.
    pub ledger: Option<u64>,
    /// Faults found.
    pub faults: u64,
}

/// What a purge removed, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// In this lane.
    pub lane: String,
    /// Messages.
    pub messages: u64,
    /// Messages by device, those with the most first.
    pub devices: Vec<(String, u64)>,
    /// Messages of devices that are not in the list.
    pub other: u64,
    /// Matching messages that stay because they may be on their way to Kafka.
    pub under_way: u64,
    /// Whether they are removed.
    pub done: bool,
}

/// What became of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Imported {
    /// Stored, durably.
    pub taken: u64,
    /// Not stored, because they are here or were here already.
    pub known: u64,
    /// Stored, although no route makes a record of them: they will become dead letters.
    pub unrouted: u64,
    /// Stored, although the routes do not want them (`when`, `retained`): they will be dropped and counted as filtered.
    #[serde(default)]
    pub filtered: u64,
}

/// The dead letters of a lane.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LettersState {
    /// Its name.
    pub lane: String,
    /// Letters that are there.
    pub letters: u64,
    /// Space that they take on disk.
    pub bytes: u64,
    /// When the message of the oldest one arrived, RFC 3339.
    pub oldest: Option<String>,
    /// When the message of the newest one arrived, RFC 3339.
    pub newest: Option<String>,
    /// Letters by the name of their reason; one with several counts for each.
    pub reasons: BTreeMap<String, u64>,
    /// Letters that a full store dropped since it was made.
    pub dropped: u64,
    /// Letters that damage took.
    pub lost: u64,
}

/// A dead letter, with everything that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The message's id.
    pub id: String,
    /// The lane that keeps it.
    pub kept_in: String,
    /// Place in that lane's log.
    pub kept_seq: Seq,
    /// Its Kafka keys by the routes as they are now; none when no route takes it.
    pub devices: Vec<String>,
    /// Length of the payload that is kept.
    pub bytes: u64,
    /// The message, and why it is here.
    #[serde(flatten)]
    pub record: Record,
}

/// What became of a redrive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Redriven {
    /// The letters were of this lane.
    pub lane: String,
    /// The lane that took them.
    pub into: String,
    /// Letters that are in its queue now, durably.
    pub letters: u64,
    /// Letters that stay because their payload was cut.
    pub cut: u64,
    /// Letters that stay because the cursor has not passed their message yet.
    pub under_way: u64,
    /// Letters that stay because no route wants them (`when`, `retained`): they would be dropped.
    #[serde(default)]
    pub unwanted: u64,
}

/// What a salvage found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Salvaged {
    /// Name given to the lane.
    pub lane: String,
    /// Files that were looked through.
    pub files: u64,
    /// Bytes in them that could not be read.
    pub unreadable: u64,
    /// Whole chunks in them.
    pub chunks: u64,
    /// Messages written.
    pub messages: u64,
    /// Messages left out, because they were delivered.
    pub delivered: u64,
    /// Blocks that are whole and cannot be understood.
    pub damaged: u64,
}
