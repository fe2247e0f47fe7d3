//! `format = "raw"`: the payload byte for byte, facts about it in headers.

use crate::clock::Told;
use crate::message::{Arrival, MessageId, rfc3339};
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
/// Present when there is something to know about the times (see [`crate::clock::facts`]): `corrected`,
/// `unsynchronised`, with bounds where they are known, or `ahead` when the record's time was lowered.
pub const CLOCK: &str = "edgeferry-clock";

/// Facts about a message, as headers.
pub(super) fn facts(
    gateway: &str,
    id: &MessageId,
    arrival: &Arrival,
    told: &Told,
) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        (ID, id.to_string()),
        (GATEWAY, gateway.to_owned()),
        (ARRIVAL, rfc3339(told.arrival_ms)),
        (MQTT_TOPIC, arrival.topic.clone()),
    ];
    let marks = [
        (arrival.delivery.dup, DUP, "true"),
        (arrival.delivery.retained, RETAINED, "true"),
    ];
    headers.extend(
        marks
            .into_iter()
            .filter(|mark| mark.0)
            .map(|(_, name, value)| (name, value.to_owned())),
    );
    headers.extend(told.clock.iter().map(|clock| (CLOCK, clock.clone())));
    headers
}

/// One record.
pub(super) fn shape(
    gateway: &str,
    id: &MessageId,
    arrival: &Arrival,
    topic: String,
    key: String,
    told: &Told,
) -> KafkaRecord {
    let headers = facts(gateway, id, arrival, told);
    KafkaRecord {
        route: 0,
        is_templated: false,
        topic,
        key,
        payload: arrival.payload.clone(),
        headers,
        timestamp_ms: told.record_ms,
    }
}
