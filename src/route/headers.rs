//! Headers of records: facts about the message, MQTT 5 properties, and what `[route.add_headers]` adds.
//!
//! Who publishes must not be able to say what only edgeferry says, or to choose a tenant: a user property whose name is one
//! of ours, of the route's, of the format's, or one that readers of FIWARE and CloudEvents act upon, goes under
//! [`USER_PREFIX`] and its own name.

use crate::clock::Told;
use crate::message::{Arrival, MessageId, Properties, rfc3339};
use crate::route::config::{Config, Headers, Retained};
use crate::route::marks::Marks;
use crate::route::record::Header;
use crate::route::refusal::Refusal;
use crate::route::subject::Subject;
use crate::route::value::NoValue;

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
/// MQTT 5 Content Type.
pub const CONTENT_TYPE: &str = "mqtt-content-type";
/// MQTT 5 Response Topic.
pub const RESPONSE_TOPIC: &str = "mqtt-response-topic";
/// MQTT 5 Correlation Data, as the bytes that came.
pub const CORRELATION_DATA: &str = "mqtt-correlation-data";

/// Before the name of a user property that would be taken for something else.
pub const USER_PREFIX: &str = "mqtt-user-";
/// Names that only edgeferry gives, and those that readers act upon: `fiware-service` chooses a tenant.
const RESERVED_PREFIXES: [&str; 4] = ["edgeferry-", "mqtt-", "fiware-", "ce_"];
/// The same as whole names.
const RESERVED: [&str; 2] = ["graphname", "content-type"];

/// Headers that name a tenant.
const TENANT: [&str; 2] = ["fiware-service", "fiware-servicepath"];

/// User properties that become headers at most. Senders have a dozen; a packet of 16 MiB has room for three million.
pub const USER_PROPERTIES_MAX: usize = 1000;
/// Bytes of all names and values of user properties: a quarter of what Kafka takes as one record by default.
pub const USER_PROPERTIES_MAX_BYTES: usize = 256 * 1024;

/// Headers of a message without marks: its id, and who received it, when and where.
const FACTS: usize = 4;

/// Facts about a message, as headers.
pub(super) fn facts(gateway: &str, id: &MessageId, arrival: &Arrival, told: &Told) -> Vec<Header> {
    let mut headers = vec![Header::text(ID, id.to_string())];
    headers.extend(origin(gateway, arrival, told));
    headers.extend(marks(arrival, told, Retained::Mark));
    headers
}

/// Who received it, when, and where.
fn origin(gateway: &str, arrival: &Arrival, told: &Told) -> [Header; 3] {
    [
        Header::text(GATEWAY, gateway),
        Header::text(ARRIVAL, rfc3339(told.arrival_ms)),
        Header::text(MQTT_TOPIC, arrival.topic.clone()),
    ]
}

/// What is there only when it is true.
fn marks<'a>(
    arrival: &Arrival,
    told: &'a Told,
    retained: Retained,
) -> impl Iterator<Item = Header> + use<'a> {
    let of = Marks::of(arrival, told, retained);
    let marks = [(of.duplicate, DUP), (of.retained, RETAINED)];
    let true_ones = marks.into_iter().filter(|(is_true, _)| *is_true);
    let clock = of.clock.into_iter().map(|clock| Header::text(CLOCK, clock));
    true_ones.map(|(_, name)| Header::text(name, "true")).chain(clock)
}

/// Why a record has no headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HeaderError {
    NoValue(NoValue),
    /// Over [`USER_PROPERTIES_MAX`] or [`USER_PROPERTIES_MAX_BYTES`].
    TooMuch {
        count: usize,
        bytes: usize,
    },
    /// MQTT forbids U+0000 in text, and a header's name cannot have it.
    Nul,
}

impl HeaderError {
    pub(super) fn refusal(self, route: usize) -> Refusal {
        match self {
            Self::NoValue(NoValue { name, why }) => Refusal::NoValue { route, name, why },
            Self::TooMuch { count, bytes } => Refusal::BadProperties {
                route,
                why: format!(
                    "{count} user properties of {bytes} bytes are more than the {USER_PROPERTIES_MAX} of \
                     {USER_PROPERTIES_MAX_BYTES} that become headers"
                ),
            },
            Self::Nul => Refusal::BadProperties {
                route,
                why: "the name of a user property has the character U+0000, which MQTT forbids".to_owned(),
            },
        }
    }
}

/// All headers of a record; `of_format` are those that its format has.
pub(super) fn of(
    route: &Config,
    subject: &Subject<'_>,
    of_format: Vec<Header>,
) -> Result<Vec<Header>, HeaderError> {
    if !route.format.has_headers() {
        return Ok(of_format);
    }
    let arrival = subject.arrival();
    let is_full = route.headers == Headers::Full;
    let facts = if is_full { FACTS } else { 1 };
    let mut headers = Vec::with_capacity(facts + of_format.len() + route.add_headers.len());
    headers.push(Header::text(ID, subject.id.to_string()));
    if is_full {
        headers.extend(origin(subject.gateway, arrival, subject.told));
    }
    headers.extend(marks(arrival, subject.told, route.retained));
    headers.extend(of_format);
    for (name, template) in &route.add_headers {
        let value = template.render(subject).map_err(HeaderError::NoValue)?;
        if value.trim().is_empty() && names_tenant(name) {
            let name = format!("add_headers.{name}");
            let why = format!("\"{template}\" is empty, readers would take the tenant \"default\"");
            return Err(HeaderError::NoValue(NoValue { name, why }));
        }
        headers.push(Header::text(name.clone(), value));
    }
    if let Some(properties) = subject.properties().filter(|_| is_full) {
        add_properties(properties, &mut headers)?;
    }
    Ok(headers)
}

fn add_properties(properties: &Properties, headers: &mut Vec<Header>) -> Result<(), HeaderError> {
    let pairs = &properties.user;
    let bytes = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
    if pairs.len() > USER_PROPERTIES_MAX || bytes > USER_PROPERTIES_MAX_BYTES {
        let count = pairs.len();
        return Err(HeaderError::TooMuch { count, bytes });
    }
    if pairs.iter().any(|(name, _)| name.contains('\0')) {
        return Err(HeaderError::Nul);
    }
    let is_taken = |name: &str| headers.iter().any(|known| known.name.eq_ignore_ascii_case(name));
    let user = pairs.iter().map(|(name, value)| {
        let name = match is_reserved(name) || is_taken(name) {
            true => format!("{USER_PREFIX}{name}"),
            false => name.clone(),
        };
        Header::text(name, value.clone())
    });
    let user: Vec<Header> = user.collect();
    let texts = [
        (CONTENT_TYPE, &properties.content_type),
        (RESPONSE_TOPIC, &properties.response_topic),
    ];
    let texts = texts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.clone()?)));
    headers.extend(texts.map(|(name, value)| Header::text(name, value)));
    let correlation = properties.correlation_data.iter();
    headers.extend(correlation.map(|data| Header::raw(CORRELATION_DATA, data.clone())));
    headers.extend(user);
    Ok(())
}

/// Whether readers of FIWARE choose a tenant by the header: an empty one is as good as none to them.
pub(super) fn names_tenant(name: &str) -> bool {
    TENANT.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether only edgeferry, the configuration or a format gives headers of this name. Readers take names in any case.
pub(super) fn is_reserved(name: &str) -> bool {
    let begins = |prefix: &&str| {
        name.get(..prefix.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
    };
    // An empty name is legal in MQTT; nobody could ask for such a header.
    name.is_empty()
        || RESERVED_PREFIXES.iter().any(begins)
        || RESERVED.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
