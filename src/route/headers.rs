//! Facts about a message, as headers of its records.

use crate::clock::Told;
use crate::message::{Arrival, MessageId, rfc3339};
use crate::route::record::Header;

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
pub(super) fn facts(gateway: &str, id: &MessageId, arrival: &Arrival, told: &Told) -> Vec<Header> {
    let mut headers = vec![
        Header::text(ID, id.to_string()),
        Header::text(GATEWAY, gateway),
        Header::text(ARRIVAL, rfc3339(told.arrival_ms)),
        Header::text(MQTT_TOPIC, arrival.topic.clone()),
    ];
    let marks = [(arrival.delivery.dup, DUP), (arrival.delivery.retained, RETAINED)];
    let true_ones = marks.into_iter().filter(|(is_true, _)| *is_true);
    headers.extend(true_ones.map(|(_, name)| Header::text(name, "true")));
    headers.extend(told.clock.iter().map(|clock| Header::text(CLOCK, clock.clone())));
    headers
}
