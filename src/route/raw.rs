//! `format = "raw"`: the payload byte for byte, facts about it in headers.

use crate::message::{Arrival, MessageId};
use crate::route::KafkaRecord;

/// The same for every copy of a message.
pub const ID: &str = "edgeferry-id";
/// Which gateway carried it.
pub const GATEWAY: &str = "edgeferry-gateway";
/// When it arrived: RFC 3339, milliseconds, UTC.
pub const ARRIVAL: &str = "edgeferry-arrival";
/// Where it was published.
pub const MQTT_TOPIC: &str = "mqtt-topic";
/// Present when the broker marked it as a redelivery: it may be a second copy of another message.
pub const DUP: &str = "edgeferry-dup";
/// Present when the broker sent it as a retained message.
pub const RETAINED: &str = "edgeferry-retained";
/// Present, with the value `unsynchronised`, when the gateway's clock was not known to be synchronised at
/// arrival (see [`crate::clock`]).
pub const CLOCK: &str = "edgeferry-clock";

/// Facts about a message, as headers.
pub(super) fn facts(gateway: &str, id: &MessageId, arrival: &Arrival) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        (ID, id.to_string()),
        (GATEWAY, gateway.to_owned()),
        (ARRIVAL, arrival.stamp.rfc3339()),
        (MQTT_TOPIC, arrival.topic.clone()),
    ];
    let marks = [
        (arrival.delivery.dup, DUP, "true"),
        (arrival.delivery.retained, RETAINED, "true"),
        (!arrival.stamp.synchronised, CLOCK, "unsynchronised"),
    ];
    headers.extend(
        marks
            .into_iter()
            .filter(|mark| mark.0)
            .map(|(_, name, value)| (name, value.to_owned())),
    );
    headers
}

/// One record.
pub(super) fn shape(
    gateway: &str,
    id: &MessageId,
    arrival: &Arrival,
    topic: String,
    key: String,
    timestamp_ms: i64,
) -> KafkaRecord {
    let headers = facts(gateway, id, arrival);
    KafkaRecord {
        route: 0,
        is_templated: false,
        topic,
        key,
        payload: arrival.payload.clone(),
        headers,
        timestamp_ms,
    }
}
