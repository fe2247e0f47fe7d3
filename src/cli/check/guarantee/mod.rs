//! What a configuration can lose, delay, duplicate or reorder, and the setting that changes it.
//!
//! The promises (docs/delivery.md) hold whatever is configured here; this is about what they leave open: what a broker does
//! while nobody is there, what a policy removes as it was told, what the disk below cannot keep. Rules are pure: the
//! configuration and [`Facts`] go in, [`Finding`]s come out, most serious first. Nothing in here looks at anything
//! ([`facts`] does).
//!
//! A trade-off that somebody wrote into the file is no alarm: it is listed, as configured.

pub mod facts;
mod kafka;
mod machine;
pub mod mosquitto;
mod mqtt;
pub mod place;
pub mod print;
mod queue;
pub mod unit;

use std::time::Duration;

use crate::config::Config;
pub use facts::Facts;

/// What may become of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// They are gone.
    Lose,
    /// A device's messages come in another order than they arrived.
    Reorder,
    /// They come more than once.
    Duplicate,
    /// They come late, or wait for a person.
    Delay,
}

impl Kind {
    /// For people, as the end of "can".
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lose => "lose",
            Self::Reorder => "reorder",
            Self::Duplicate => "duplicate",
            Self::Delay => "delay",
        }
    }

    /// The promise of docs/delivery.md that it is about.
    pub const fn promise(self) -> u8 {
        match self {
            Self::Lose | Self::Delay => 1,
            Self::Reorder => 2,
            Self::Duplicate => 3,
        }
    }
}

/// How it came to be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nobody chose it: a default, or something outside of the file.
    Open,
    /// It depends on something that cannot be seen from here.
    Unseen,
    /// The file says so.
    AsConfigured,
}

/// One way in which messages can be lost, delayed, doubled or reordered.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What may happen.
    pub kind: Kind,
    /// How it came to be so.
    pub standing: Standing,
    /// Number of the promise in docs/delivery.md that it is about.
    pub promise: u8,
    /// When it happens, and to what.
    pub why: String,
    /// The setting that changes it: of this file, or of something else that it names.
    pub setting: String,
    /// What to write there, or what else to do.
    pub right: String,
}

impl Finding {
    fn new(
        kind: Kind,
        standing: Standing,
        setting: impl Into<String>,
        why: impl Into<String>,
        right: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            standing,
            promise: kind.promise(),
            why: why.into(),
            setting: setting.into(),
            right: right.into(),
        }
    }

    /// Messages can be lost, and nobody chose that.
    pub fn is_open_loss(&self) -> bool {
        self.kind == Kind::Lose && self.standing == Standing::Open
    }
}

/// What the gateway has to live with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// The longest time that edgeferry, its MQTT broker or Kafka may be away.
    pub absence: Duration,
    /// Messages per second that come, all lanes together, and their size; `None` when that was not said.
    pub load: Option<Load>,
}

/// What comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Messages a day: whole numbers, so that rates below one a second count too.
    pub messages_per_day: u64,
    /// Bytes of a payload.
    pub payload_bytes: u64,
}

/// Everything that is found, most serious first.
pub fn findings(config: &Config, facts: &Facts, demand: Demand) -> Vec<Finding> {
    let mut all = Vec::new();
    all.extend(mqtt::findings(config, facts, demand));
    all.extend(queue::findings(config, facts, demand));
    all.extend(kafka::findings(config, facts, demand));
    all.extend(machine::findings(config, facts));
    // Stable: within one kind the order is that of the path of a message.
    all.sort_by_key(|finding| (finding.kind, finding.standing));
    all
}

/// How long the queue of each lane lasts when nothing is delivered, in the order of the file.
pub fn horizons(config: &Config, load: Load) -> Vec<(String, Duration)> {
    let lanes = queue::used(config);
    lanes
        .map(|lane| (lane.name.clone(), queue::horizon(lane, load)))
        .collect()
}

/// A time in words that a person would use.
fn span(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

#[cfg(test)]
mod tests;
