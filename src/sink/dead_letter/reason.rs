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

/// Whether a letter with these reasons says that the record, which a route makes of the same message now, is not to be sent.
///
/// A letter names a route by its number in the file of then, and a reload may have given that number to another route. So it does not
/// say more than the route of now: what a route alone decides (an empty key, a value that is not there) it decides again, and where
/// it makes a record by now, it is another route, or was put right. In doubt a record is sent: it has an id, and what is left out is lost.
#[must_use]
pub fn refuses(reasons: &[Refusal], record: &KafkaRecord) -> bool {
    reasons.iter().any(|refusal| match refusal {
        // The message as a whole: that a route wants it by now is for a redrive to tell.
        Refusal::NoRoute | Refusal::Mismatch { .. } | Refusal::Oversize { .. } => true,
        Refusal::EmptyKey { .. }
        | Refusal::NoValue { .. }
        | Refusal::Unshapable { .. }
        | Refusal::OverMaxPayload { .. }
        | Refusal::BadProperties { .. } => false,
        Refusal::Rejected { topic, .. } => *topic == record.topic,
        // Kafka's word. That the number is another route's which has the same topic is not known; two routes of one message with one
        // topic are rare, and both are in the letter, whole.
        Refusal::Refused { route, topic, .. }
        | Refusal::UnknownTopic { route, topic, .. }
        | Refusal::IllegalTopic { route, topic } => *route == record.route && *topic == record.topic,
    })
}
