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
        // Kafka's word. Two routes that bring one message to one topic cannot be told from each other when their numbers shift: then
        // the wrong one may be left out, and the message is in the letter, whole.
        Refusal::Refused { route, topic, .. }
        | Refusal::UnknownTopic { route, topic, .. }
        | Refusal::IllegalTopic { route, topic } => *route == record.route && *topic == record.topic,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(route: usize, topic: &str) -> KafkaRecord {
        KafkaRecord {
            route,
            is_templated: false,
            topic: topic.to_owned(),
            key: "k".to_owned(),
            payload: Bytes::new(),
            partition_by: None,
            headers: Vec::new(),
            timestamp_ms: 1,
        }
    }

    #[test]
    fn what_a_route_alone_decides_says_nothing_of_a_record_that_the_route_of_that_number_makes_now() {
        let text = String::new;
        let by_routes = [
            Refusal::EmptyKey { route: 1 },
            Refusal::NoValue {
                route: 1,
                name: text(),
                why: text(),
            },
            Refusal::Unshapable {
                route: 1,
                format: text(),
                why: text(),
            },
            Refusal::OverMaxPayload {
                route: 1,
                bytes: 2,
                limit: 1,
            },
            Refusal::BadProperties {
                route: 1,
                why: text(),
            },
        ];
        for refusal in by_routes {
            assert!(
                !refuses(std::slice::from_ref(&refusal), &record(1, "t")),
                "{refusal}"
            );
        }
    }

    #[test]
    fn what_kafka_refused_is_refused_for_the_route_of_that_number_and_that_topic_alone() {
        let topic = || "t".to_owned();
        let by_kafka = [
            Refusal::Refused {
                route: 1,
                topic: topic(),
                code: String::new(),
                attempts: 2,
            },
            Refusal::UnknownTopic {
                route: 1,
                topic: topic(),
                after_s: 60,
            },
            Refusal::IllegalTopic {
                route: 1,
                topic: topic(),
            },
        ];
        for refusal in by_kafka {
            let of = |record| refuses(std::slice::from_ref(&refusal), &record);
            assert!(of(record(1, "t")), "{refusal}");
            assert!(!of(record(2, "t")) && !of(record(1, "u")), "{refusal}");
        }
    }

    #[test]
    fn what_is_refused_as_a_whole_is_refused_for_every_route() {
        for refusal in [Refusal::NoRoute, Refusal::Oversize { bytes: 1 }] {
            assert!(refuses(&[refusal], &record(7, "t")));
        }
        assert!(!refuses(&[], &record(0, "t")));
    }
}
