//! State of a link to the outside world, as an operator sees it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One link: an MQTT broker or the Kafka cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "kebab-case")]
pub enum Link {
    /// Not connected yet since the start.
    #[default]
    Connecting,
    /// Works.
    Up,
    /// Lost or never reached; edgeferry keeps trying.
    Down(String),
    /// Disconnected on purpose, because the queue is full; the broker keeps the data.
    PushedBack,
    /// Reachable, but it refuses what the configuration asks for. Needs a person; nothing is dropped meanwhile.
    Refused(String),
}

impl Link {
    /// Its state in a word, as in JSON.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Down(_) => "down",
            Self::PushedBack => "pushed-back",
            Self::Refused(_) => "refused",
        }
    }

    /// Whether the configuration works on this link. A link that is merely away counts: buffering is the job.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::Up => f.write_str("up"),
            Self::Down(reason) => write!(f, "down ({reason})"),
            Self::PushedBack => f.write_str("pushed back (queue full)"),
            Self::Refused(reason) => write!(f, "refused ({reason})"),
        }
    }
}
