//! Why a message does not become a record.

/// Why a route does not make a record of a message. It becomes a dead letter with this reason, never a drop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum Refusal {
    /// No route wants it (any more).
    #[error("no route matches the topic")]
    NoRoute,
    /// The key came out empty.
    #[error("route {route}: the key is empty")]
    EmptyKey {
        /// Number of the `[[route]]`, from 0.
        route: usize,
    },
    /// The Kafka topic came out illegal.
    #[error("route {route}: {topic:?} is not a legal Kafka topic name")]
    IllegalTopic {
        /// Number of the `[[route]]`, from 0.
        route: usize,
        /// What came out.
        topic: String,
    },
    /// The payload was over `max_packet_size` and has been cut.
    #[error("the payload of {bytes} bytes is over max_packet_size")]
    Oversize {
        /// Length of the whole payload.
        bytes: u64,
    },
    /// Kafka refused the record for what it is. Only in letters of before [`Refusal::Refused`].
    #[error("Kafka topic {topic:?} refused the record: {code}")]
    Rejected {
        /// Where it should have gone.
        topic: String,
        /// Kafka's reason.
        code: String,
    },
    // Letters are kept over versions: what is stored is the number of the variant, so new ones come last.
    /// Kafka refused the record for what it is.
    #[error("route {route}: Kafka topic {topic:?} refused the record: {code} (sent alone {attempts} times)")]
    Refused {
        /// Number of the `[[route]]`, from 0.
        route: usize,
        /// Where it should have gone.
        topic: String,
        /// Kafka's reason.
        code: String,
        /// Times that it was sent alone and refused; 0 when the client itself did not take it.
        attempts: u32,
    },
    /// The route's topic came out as one that nobody made, for longer than `kafka.unknown_topic_after`.
    #[error("route {route}: Kafka topic {topic:?} does not exist, and did not appear in {after_s} s")]
    UnknownTopic {
        /// Number of the `[[route]]`, from 0.
        route: usize,
        /// Where it should have gone.
        topic: String,
        /// How long it was waited for when it was given up, seconds.
        after_s: u64,
    },
    /// What the record needs from the message is not there, or not of a kind that it can use.
    #[error("route {route}: {name}: {why}")]
    NoValue {
        /// Number of the `[[route]]`, from 0.
        route: usize,
        /// What asked for it: a field of the `[[route]]`, or a name in braces.
        name: String,
        /// What is wrong with the message.
        why: String,
    },
    /// The route's format cannot carry the message.
    #[error("route {route}: not {format}: {why}")]
    Unshapable {
        /// Number of the `[[route]]`, from 0.
        route: usize,
        /// `format` of the route.
        format: String,
        /// What is wrong with the message.
        why: String,
    },
    /// The payload is over the route's `max_payload`.
    #[error("route {route}: the payload of {bytes} bytes is over max_payload = {limit}")]
    OverMaxPayload {
        /// Number of the `[[route]]`, from 0.
        route: usize,
        /// Length of the payload.
        bytes: u64,
        /// `max_payload`.
        limit: u64,
    },
    /// A level of the topic is not what `[route.match]` of the route that it came for says, and no other route takes it.
    #[error("route {route}: {name} = {text:?} is not what [route.match] says")]
    Mismatch {
        /// Number of the `[[route]]`, from 0.
        route: usize,
        /// Name of the level.
        name: String,
        /// What it is.
        text: String,
    },
    /// The MQTT 5 properties cannot become headers.
    #[error("route {route}: {why}")]
    BadProperties {
        /// Number of the `[[route]]`, from 0.
        route: usize,
        /// What is wrong with them.
        why: String,
    },
}

impl Refusal {
    /// Number of the `[[route]]` that refused, from 0; `None` when it was no single one.
    #[must_use]
    pub const fn route(&self) -> Option<usize> {
        match self {
            Self::NoRoute | Self::Oversize { .. } | Self::Rejected { .. } => None,
            Self::EmptyKey { route }
            | Self::IllegalTopic { route, .. }
            | Self::Refused { route, .. }
            | Self::UnknownTopic { route, .. }
            | Self::NoValue { route, .. }
            | Self::Unshapable { route, .. }
            | Self::OverMaxPayload { route, .. }
            | Self::Mismatch { route, .. }
            | Self::BadProperties { route, .. } => Some(*route),
        }
    }
}

/// What a refusal repeats of a message at most, bytes: the message itself is kept beside it.
const SAID_MAX_BYTES: usize = 256;

/// The text, cut to what is worth repeating.
pub(super) fn said(text: &str) -> String {
    if text.len() <= SAID_MAX_BYTES {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(SAID_MAX_BYTES);
    format!("{}…", text.get(..end).unwrap_or_default())
}
