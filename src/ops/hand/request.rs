//! What can be asked of the queue: the same on the command line and through the control socket.

use serde::{Deserialize, Serialize};

use crate::message::{Epoch, Seq};

/// Version of requests and answers.
pub const VERSION: u32 = 1;

/// One request; a JSON line on the control socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`]
    pub version: u32,
    /// What to do.
    #[serde(flatten)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb")]
pub enum Verb {
    /// Say how the whole stands. Only of a running daemon.
    #[serde(rename = "status")]
    Status,
    /// Say how each lane stands.
    #[serde(rename = "queue ls")]
    List {
        /// Only this lane.
        lane: Option<String>,
    },
    /// Show messages.
    #[serde(rename = "queue peek")]
    Peek {
        /// Which ones.
        filter: Filter,
        /// At most so many.
        limit: u64,
        /// Whole payloads instead of their first bytes.
        payload: bool,
    },
    /// Give messages in the portable format.
    #[serde(rename = "queue export")]
    Export {
        /// Which ones.
        filter: Filter,
        /// At most so many.
        limit: Option<u64>,
    },
    /// Take messages in the portable format: they follow the request.
    #[serde(rename = "queue import")]
    Import {
        /// The lane that takes them, instead of the one that they come from.
        into: Option<String>,
        /// Also what this store imported or delivered before.
        again: bool,
    },
    /// Read everything and say what is wrong.
    #[serde(rename = "queue verify")]
    Verify {
        /// Only this lane.
        lane: Option<String>,
    },
    /// Say which messages need not be in Kafka.
    #[serde(rename = "account")]
    Account,
    /// Remove messages, and count them.
    #[serde(rename = "queue purge")]
    Purge {
        /// Which ones.
        filter: Filter,
        /// Without it only what would be removed is said.
        yes: bool,
    },
    /// Say which dead letters there are.
    #[serde(rename = "dead-letter ls")]
    Letters {
        /// Only of this lane.
        lane: Option<String>,
    },
    /// Show everything of dead letters.
    #[serde(rename = "dead-letter show")]
    ShowLetter {
        /// Message id.
        id: String,
    },
    /// Put dead letters back into a queue.
    #[serde(rename = "dead-letter redrive")]
    Redrive {
        /// Which ones.
        filter: LetterFilter,
        /// The lane that takes them, instead of the one that they come from.
        into: Option<String>,
    },
    /// Give dead letters in the portable format.
    #[serde(rename = "dead-letter export")]
    ExportLetters {
        /// Which ones.
        filter: LetterFilter,
        /// At most so many.
        limit: Option<u64>,
    },
    /// Remove dead letters.
    #[serde(rename = "dead-letter purge")]
    PurgeLetters {
        /// Which ones.
        filter: LetterFilter,
        /// Without it only what would be removed is said.
        yes: bool,
    },
    /// Read configuration and secrets again. For a daemon alone: nobody else has a configuration that runs.
    #[serde(rename = "reload")]
    Reload,
}

/// Which dead letters: what is `None` or empty says nothing, what is there must all hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LetterFilter {
    /// What holds of the message.
    pub message: Filter,
    /// With a reason of this name (see [`crate::sink::dead_letter::reason`]).
    pub reason: Option<String>,
    /// With one of these message ids.
    pub ids: Vec<String>,
}

/// Which messages. What is `None` says nothing; what is there must all hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Of this lane.
    pub lane: Option<String>,
    /// Whose Kafka key, as the routes make it, is this.
    pub device: Option<String>,
    /// Whose MQTT topic matches this filter, with `+` and `#`.
    pub topic: Option<String>,
    /// From this one on.
    pub from: Option<Bound>,
    /// Up to and with this one.
    pub to: Option<Bound>,
    /// That arrived at this time or later, milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// That arrived before this time, milliseconds since 1970.
    pub until_ms: Option<i64>,
}

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Sequence.
    pub seq: Seq,
    /// Only messages that were stored first in this epoch, when a whole message id was given.
    pub epoch: Option<Epoch>,
}
