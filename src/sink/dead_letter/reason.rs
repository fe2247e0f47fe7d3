//! Reasons by name, for filters, headers and JSON: short, stable, never a sentence.

use crate::route::{KafkaRecord, Refusal};

/// The name of a refusal.
#[must_use]
pub const fn name(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NoRoute => "no-route",
        Refusal::EmptyKey { .. } => "empty-key",
        Refusal::IllegalTopic { .. } => "illegal-topic",
        Refusal::Oversize { .. } => "oversize",
        Refusal::Rejected { .. } | Refusal::Refused { .. } => "rejected",
        Refusal::UnknownTopic { .. } => "unknown-topic",
        Refusal::NoValue { .. } => "no-value",
        Refusal::Unshapable { .. } => "unshapable",
        Refusal::OverMaxPayload { .. } => "over-max-payload",
        Refusal::Mismatch { .. } => "mismatch",
        Refusal::BadProperties { .. } => "bad-properties",
    }
}

/// All names, for whoever writes one wrongly.
pub const NAMES: [&str; 11] = [
    "no-route",
    "empty-key",
    "illegal-topic",
    "oversize",
    "rejected",
    "unknown-topic",
    "no-value",
    "unshapable",
    "over-max-payload",
    "mismatch",
    "bad-properties",
];

/// How often Kafka was asked for it; `None` when it was never its turn, or nobody counted.
#[must_use]
pub const fn attempts(refusal: &Refusal) -> Option<u32> {
    match refusal {
        Refusal::NoRoute
        | Refusal::EmptyKey { .. }
        | Refusal::IllegalTopic { .. }
        | Refusal::Oversize { .. }
        | Refusal::UnknownTopic { .. }
        | Refusal::NoValue { .. }
        | Refusal::Unshapable { .. }
        | Refusal::OverMaxPayload { .. }
        | Refusal::Mismatch { .. }
        | Refusal::BadProperties { .. } => Some(0),
        Refusal::Refused { attempts, .. } => Some(*attempts),
        // A letter from before attempts were counted.
        Refusal::Rejected { .. } => None,
    }
}

/// Whether a letter with these reasons says that the record is not to be sent again.
#[must_use]
pub fn refuses(reasons: &[Refusal], record: &KafkaRecord) -> bool {
    reasons.iter().any(|refusal| match refusal {
        // The message as a whole: that a route wants it by now is for a redrive to tell.
        Refusal::NoRoute | Refusal::Mismatch { .. } | Refusal::Oversize { .. } => true,
        Refusal::EmptyKey { route }
        | Refusal::IllegalTopic { route, .. }
        | Refusal::NoValue { route, .. }
        | Refusal::Unshapable { route, .. }
        | Refusal::OverMaxPayload { route, .. }
        | Refusal::BadProperties { route, .. } => *route == record.route,
        Refusal::Rejected { topic, .. } => *topic == record.topic,
        Refusal::Refused { route, topic, .. } | Refusal::UnknownTopic { route, topic, .. } => {
            *route == record.route && *topic == record.topic
        }
    })
}
