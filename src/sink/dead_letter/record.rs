//! Letters, and what the queue lost, as records of the Kafka topic for dead letters.

use base64ct::{Base64, Encoding};
use bytes::Bytes;

use super::reason;
use crate::message::{Arrival, Properties, Stored};
use crate::route::{Header, KafkaRecord, Refusal, Router, headers};

/// Name of the reason; reason, detail and attempts come once for each route that refused it, in this order.
pub const REASON: &str = "edgeferry-dead-letter-reason";
/// The reason in words.
pub const DETAIL: &str = "edgeferry-dead-letter-detail";
/// How often Kafka was asked, when that is known.
pub const ATTEMPTS: &str = "edgeferry-dead-letter-attempts";
/// The lane that kept it.
pub const LANE: &str = "edgeferry-lane";
/// Length of the whole payload, when it was over `max_packet_size` and is cut.
pub const OVERSIZE: &str = "edgeferry-oversize";
/// `<epoch>-<lane>-<first>..<last>`: messages that the queue lost to damage.
pub const GAP: &str = "edgeferry-gap";

/// A letter as a record.
pub(super) fn of_letter(
    topic: &str,
    lane: &str,
    router: &Router,
    stored: &Stored,
    reasons: &[Refusal],
    now_ms: i64,
) -> KafkaRecord {
    let arrival = &stored.arrival;
    let mut headers = router.facts(stored);
    headers.push(Header::text(LANE, lane));
    for refusal in reasons {
        headers.push(Header::text(REASON, reason::name(refusal)));
        headers.push(Header::text(DETAIL, refusal.to_string()));
        if let Some(attempts) = reason::attempts(refusal) {
            headers.push(Header::text(ATTEMPTS, attempts.to_string()));
        }
    }
    headers.extend(properties(arrival));
    // A device's letters stay together, and in order.
    let key = router.keys(stored).into_iter().next();
    KafkaRecord {
        route: 0,
        is_templated: false,
        topic: topic.to_owned(),
        key: key.unwrap_or_else(|| arrival.topic.clone()),
        payload: arrival.payload.clone(),
        partition_by: None,
        headers,
        timestamp_ms: arrival.stamp.unix_ms.clamp(1, now_ms.max(1)),
    }
}

/// That messages are lost, as a record without a payload.
pub(super) fn of_gap(topic: &str, gateway: &str, gap: String, lane: &str, now_ms: i64) -> KafkaRecord {
    KafkaRecord {
        route: 0,
        is_templated: false,
        topic: topic.to_owned(),
        key: format!("{gateway}-{lane}"),
        payload: Bytes::new(),
        partition_by: None,
        headers: vec![
            Header::text(GAP, gap),
            Header::text(headers::GATEWAY, gateway),
            Header::text(LANE, lane),
        ],
        timestamp_ms: now_ms.max(1),
    }
}

/// What the publisher said of the message.
fn properties(arrival: &Arrival) -> Vec<Header> {
    let mut headers = vec![Header::text("mqtt-qos", arrival.delivery.qos.to_string())];
    if let Some(bytes) = arrival.oversize {
        headers.push(Header::text(OVERSIZE, bytes.to_string()));
    }
    let Some(properties) = arrival.properties.as_deref() else {
        return headers;
    };
    let Properties {
        payload_format,
        content_type,
        response_topic,
        correlation_data,
        user,
        ..
    } = properties;
    let texts = [
        (
            "mqtt-payload-format",
            payload_format.map(|format| format.to_string()),
        ),
        ("mqtt-content-type", content_type.clone()),
        ("mqtt-response-topic", response_topic.clone()),
        (
            "mqtt-correlation-data",
            correlation_data.as_ref().map(|data| Base64::encode_string(data)),
        ),
    ];
    headers.extend(
        texts
            .into_iter()
            .filter_map(|(name, text)| Some(Header::text(name, text?))),
    );
    let pair = |(name, value): &(String, String)| format!("{name}={value}");
    headers.extend(
        user.iter()
            .map(|user| Header::text("mqtt-user-property", pair(user))),
    );
    headers
}
