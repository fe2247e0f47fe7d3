//! `format = "wasp"`: the records of WASP's ingest services, on `raw-payloads`.
//!
//! ```text
//! key    574bd77c-4aba-4557-aa9e-066939f938cc
//! value  {"payloadId":"...","ingest":"mqtt","ingestId":"574bd77c-4aba-4557-aa9e-066939f938cc",
//!         "timestamp":"2026-11-20T11:00:00.000Z","payload":{"answer":42},"metadata":{"deviceId":"574bd77c-..."}}
//! ```
//!
//! The router of WASP reads the key, and `ingest` in the value; headers are thrown away behind it, so there are none. What other formats
//! say in headers when it is true stands in the metadata, which WASP carries on without looking at it: `retained`, `duplicate` and `clock`. Each ingest service
//! fills the same envelope from other devices: `envelope` says which of them this route stands in for.

mod config;
mod lora;
pub mod payload_id;

use base64ct::{Base64, Encoding};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::{Shaped, Unshapable, json_bytes, shown};
use crate::clock::UNSYNCHRONISED;
use crate::message::{Properties, rfc3339};
use crate::route::config::Retained;
use crate::route::json::Json;
use crate::route::marks::Marks;
use crate::route::subject::Subject;
pub(in crate::route) use config::Raw;
pub(super) use config::resolve;
use lora::Gateway;

/// Longest `ingest` and `ingestId` that WASP's thing service can hold, characters. A longer one belongs to no thing.
pub(in crate::route) const NAME_MAX: usize = 50;
/// Says in the metadata that `payload` is base64, and of what.
const BASE64: &str = "base64";

/// `[route.wasp]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wasp {
    envelope: Envelope,
    ingest: String,
    non_json: NonJson,
    user_properties: Vec<String>,
}

/// Which ingest service the route stands in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Envelope {
    /// `wasp-ingest-mqtt`: the key is a UUID.
    Mqtt,
    /// `wasp-ingest-nordic-cloud`: the id is `nrf-` and 15 digits, anywhere in the key.
    NordicCloud,
    /// `wasp-ingest-ttn`: The Things Network, version 2.
    Ttn,
    /// The Things Stack, version 3, in the envelope of `wasp-ingest-ttn`.
    Tts,
    /// `wasp-ingest-http`: any key, all of the body.
    Http,
}

/// What becomes of a payload that is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NonJson {
    /// A base64 string, with a marker in the metadata.
    Base64,
    /// A dead letter.
    Refuse,
}

/// The value of a record, its fields in WASP's order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Value<'a> {
    payload_id: &'a str,
    ingest: &'a str,
    ingest_id: &'a str,
    timestamp: &'a str,
    payload: Payload<'a>,
    metadata: Metadata<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Payload<'a> {
    Json(&'a RawValue),
    Base64(String),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dev_eui: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateways: Option<Vec<Gateway<'a>>>,
    #[serde(skip_serializing_if = "UserProperties::is_empty")]
    user_properties: UserProperties<'a>,
    #[serde(flatten)]
    marks: Marks<'a>,
}

impl Wasp {
    /// The `ingest` that is registered in WASP.
    #[must_use]
    pub fn ingest(&self) -> &str {
        &self.ingest
    }

    /// Whether the key has to be a UUID as a whole.
    pub(in crate::route) const fn wants_uuid(&self) -> bool {
        matches!(self.envelope, Envelope::Mqtt)
    }

    /// Whether the key of the record is searched for in the route's.
    pub(in crate::route) const fn searches_key(&self) -> bool {
        matches!(self.envelope, Envelope::NordicCloud)
    }

    /// Where the envelope has its device id.
    pub(super) const fn default_key(&self) -> Option<&'static str> {
        match self.envelope {
            Envelope::Mqtt | Envelope::Http => None,
            Envelope::NordicCloud => Some("{mqtt:topic}"),
            Envelope::Ttn => Some("{json:/hardware_serial}"),
            Envelope::Tts => Some("{json:/end_device_ids/dev_eui}"),
        }
    }

    /// Shapes one message; `key` and `retained` are those of the route.
    pub(super) fn shape(
        &self,
        subject: &Subject<'_>,
        key: &str,
        retained: Retained,
    ) -> Result<Shaped, Unshapable> {
        let id = self.ingest_id(key)?;
        let (payload, mut metadata) = self.body(subject, id)?;
        metadata.marks = Marks::of(subject.arrival(), subject.told, retained);
        // That nobody vouched for the clock is no reason to send anything else than WASP's own ingest would.
        metadata.marks.clock = metadata.marks.clock.filter(|clock| *clock != UNSYNCHRONISED);
        let payload_id = payload_id::encode(subject.id)
            .ok_or_else(|| Unshapable("the sequence is over what fits into a payloadId".to_owned()))?;
        let value = Value {
            payload_id: &payload_id,
            ingest: &self.ingest,
            ingest_id: id,
            timestamp: &rfc3339(subject.told.arrival_ms),
            payload,
            metadata,
        };
        Ok(Shaped {
            key: Some(id.to_owned()),
            payload: json_bytes(&value, 2 * subject.arrival().payload.len())?,
            headers: Vec::new(),
            timed: None,
        })
    }

    /// The device id in the route's key.
    fn ingest_id<'k>(&self, key: &'k str) -> Result<&'k str, Unshapable> {
        let id = match self.envelope {
            Envelope::Mqtt if !payload_id::is_uuid(key) => {
                let key = shown(key);
                return Err(Unshapable(format!(
                    "the key {key} is no UUID (8-4-4-4-12 hex digits)"
                )));
            }
            Envelope::NordicCloud => {
                let none = || Unshapable(format!("there is no nrf- with 15 digits in {}", shown(key)));
                nordic_id(key).ok_or_else(none)?
            }
            Envelope::Mqtt | Envelope::Ttn | Envelope::Tts | Envelope::Http => key,
        };
        if id.chars().count() > NAME_MAX {
            let id = shown(id);
            return Err(Unshapable(format!("the key {id} has over {NAME_MAX} characters")));
        }
        Ok(id)
    }

    fn body<'s, 'a: 's>(
        &'s self,
        subject: &Subject<'a>,
        id: &'s str,
    ) -> Result<(Payload<'s>, Metadata<'s>), Unshapable> {
        let mut metadata = Metadata {
            device_id: Some(id),
            payload_encoding: None,
            dev_eui: None,
            port: None,
            gateways: None,
            user_properties: UserProperties {
                wanted: &self.user_properties,
                properties: subject.properties(),
            },
            marks: Marks::default(),
        };
        let json = match (subject.json(), self.non_json) {
            (Ok(json), _) => json,
            (Err(_), NonJson::Base64) => {
                metadata.payload_encoding = Some(BASE64);
                let text = Base64::encode_string(&subject.arrival().payload);
                return Ok((Payload::Base64(text), metadata));
            }
            (Err(error), NonJson::Refuse) => return Err(Unshapable(error.to_string())),
        };
        let uplink = match self.envelope {
            Envelope::Mqtt | Envelope::Http => return Ok((Payload::Json(json.raw()), metadata)),
            Envelope::NordicCloud => {
                check_nordic(json)?;
                return Ok((Payload::Json(json.raw()), metadata));
            }
            Envelope::Ttn => lora::ttn(json)?,
            Envelope::Tts => lora::tts(json)?,
        };
        let metadata = Metadata {
            device_id: None,
            dev_eui: Some(uplink.dev_eui),
            port: uplink.port,
            gateways: Some(uplink.gateways),
            ..metadata
        };
        Ok((Payload::Json(uplink.payload), metadata))
    }
}

/// The first `nrf-` with 15 digits.
fn nordic_id(text: &str) -> Option<&str> {
    const PREFIX: &str = "nrf-";
    const LENGTH: usize = PREFIX.len() + 15;
    text.match_indices(PREFIX).find_map(|(begin, _)| {
        let id = text.get(begin..begin + LENGTH)?;
        let digits = id.strip_prefix(PREFIX)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(id)
    })
}

/// What the Nordic ingest takes for a message.
fn check_nordic(json: Json<'_>) -> Result<(), Unshapable> {
    let members = lora::members(json)?;
    for name in ["appId", "data", "messageType"] {
        if !lora::get(&members, name).is_some_and(is_truthy) {
            return Err(Unshapable(format!(
                "{name:?} is missing in the payload, or empty, 0, false or null"
            )));
        }
    }
    Ok(())
}

/// What JavaScript takes for true.
fn is_truthy(json: Json<'_>) -> bool {
    match json.text() {
        "null" | "false" | "\"\"" => false,
        text => !text.parse::<f64>().is_ok_and(|number| number == 0.0),
    }
}

/// User properties that go into the metadata. Of several with one name the first counts, as everywhere.
#[derive(Debug)]
struct UserProperties<'a> {
    wanted: &'a [String],
    properties: Option<&'a Properties>,
}

impl UserProperties<'_> {
    /// Name and value of those that are there, in the order of the configuration.
    fn present(&self) -> impl Iterator<Item = (&str, &str)> {
        self.wanted.iter().filter_map(|name| {
            let user = &self.properties?.user;
            let (name, value) = user.iter().find(|(known, _)| known == name)?;
            Some((name.as_str(), value.as_str()))
        })
    }

    fn is_empty(&self) -> bool {
        self.present().next().is_none()
    }
}

impl Serialize for UserProperties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.present() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
