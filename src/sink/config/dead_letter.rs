//! `[dead_letter]`

use serde::Deserialize;

use crate::route::{KAFNUS_ERRORS, WASP_TOPICS, is_legal_topic};
use crate::settings::{Section, Size};

const DEFAULT_MAX_BYTES: Size = Size::mib(64);

/// What happens when there is no room for another letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// `"hold"` (default): the lane waits, and says so.
    Hold,
    /// `"drop-oldest"`: the oldest letters go, and are counted.
    DropOldest,
}

/// `[dead_letter]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterConfig {
    /// `max_bytes`: disk space for dead letters of one lane; default 64 MiB, at least 1 MiB.
    pub max_bytes: u64,
    /// `on_full`
    pub on_full: OnFull,
    /// `topic`: the Kafka topic that letters are forwarded to; legal. Default: they stay here.
    pub topic: Option<String>,
}

/// `[dead_letter]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawDeadLetter {
    max_bytes: Option<Size>,
    on_full: Option<String>,
    topic: Option<String>,
}

/// Checks `[dead_letter]`; where there is a problem, the default stands in.
pub(crate) fn resolve(raw: RawDeadLetter, section: &mut Section<'_, '_>) -> DeadLetterConfig {
    let policies = [("hold", OnFull::Hold), ("drop-oldest", OnFull::DropOldest)];
    DeadLetterConfig {
        max_bytes: section
            .at_least("max_bytes", raw.max_bytes, DEFAULT_MAX_BYTES, Size::mib(1))
            .0,
        on_full: section.one_of("on_full", raw.on_full.as_deref(), &policies, &[], OnFull::Hold),
        topic: raw.topic.filter(|topic| is_good_topic(topic, section)),
    }
}

fn is_good_topic(topic: &str, section: &mut Section<'_, '_>) -> bool {
    let right = "write a name of its own, for example topic = \"edge-gateway.dead-letter\"";
    let wrong = if !is_legal_topic(topic) {
        format!("{topic:?} is not a legal Kafka topic name")
    } else if topic.contains(WASP_TOPICS) {
        format!(
            "{topic:?} has {WASP_TOPICS:?} in it: readers that take every such topic would take dead letters for live data"
        )
    } else if topic.ends_with(KAFNUS_ERRORS) {
        format!(
            "{topic:?} ends in {KAFNUS_ERRORS:?}: its readers take what they find there for errors of Kafka Connect"
        )
    } else {
        return true;
    };
    section.error("topic", wrong, right);
    false
}
