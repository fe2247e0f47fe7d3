//! What the value of a record looks like. Each format owns its part of `[[route]]`, and its own files here.
//!
//! A format writes what arrived, never what a program read of it: JSON goes through as the text that came, so that a number of 20
//! digits stays one. It depends on nothing but the message and the configuration, so every copy of a record is the same to the byte.

mod cloudevents;
mod config;
mod ngsiv2;
mod raw;
pub mod wasp;

use bytes::Bytes;
use serde::Serialize;

use crate::route::config::Retained;
use crate::route::record::Header;
use crate::route::subject::Subject;
use crate::route::template::Template;
use crate::settings::Section;
use cloudevents::CloudEvents;
use config::Tables;
use ngsiv2::Ngsiv2;
use wasp::Wasp;

/// Room for what an envelope adds to a payload, bytes: the most that is common.
const ENVELOPE_BYTES: usize = 512;

/// `format` of a route, with the settings of that format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// `"raw"`: payload byte for byte.
    Raw,
    /// `"cloudevents"`: CloudEvents 1.0, as JSON or in headers.
    CloudEvents(Box<CloudEvents>),
    /// `"wasp"`: `raw-payloads` of WASP.
    Wasp(Box<Wasp>),
    /// `"ngsiv2"`: notifications of FIWARE's context brokers.
    Ngsiv2(Box<Ngsiv2>),
}

/// What a format makes of a message; topic and the headers that every record has are the router's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shaped {
    /// Key of the record, where the format says it instead of the route.
    pub key: Option<String>,
    /// Value of the record.
    pub payload: Bytes,
    /// Headers that belong to the format, behind those that every record has.
    pub headers: Vec<Header>,
    /// Values in it that have times by the arrival, where they are more than the record itself.
    pub timed: Option<Timed>,
}

/// Values of one record that have times by the arrival: the first at the arrival, each further one a millisecond later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timed {
    /// Of what no two values may have the same time, for example an entity.
    pub name: String,
    /// How many there are.
    pub times: u32,
}

/// Why a format cannot carry a message, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unshapable(pub String);

/// The tables of formats as they stand in a `[[route]]`: one field for each, so that an unknown one is found.
pub(super) type RawCloudEvents = cloudevents::Raw;
/// `[route.wasp]`
pub(super) type RawWasp = wasp::Raw;
/// `[route.ngsiv2]`
pub(super) type RawNgsiv2 = ngsiv2::Raw;

/// The format that a route names, with its table. `None` only together with a problem.
pub(super) fn resolve(
    name: Option<&str>,
    cloudevents: Option<RawCloudEvents>,
    wasp: Option<RawWasp>,
    ngsiv2: Option<RawNgsiv2>,
    section: &mut Section<'_, '_>,
) -> Option<Format> {
    let tables = Tables {
        cloudevents,
        wasp,
        ngsiv2,
    };
    config::resolve(name, tables, section)
}

impl Format {
    /// As it is written in the configuration.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::CloudEvents(_) => "cloudevents",
            Self::Wasp(_) => "wasp",
            Self::Ngsiv2(_) => "ngsiv2",
        }
    }

    /// Whether facts about the message go into headers. Readers of a format that has none may stumble over them.
    #[must_use]
    pub const fn has_headers(&self) -> bool {
        match self {
            Self::Raw | Self::CloudEvents(_) | Self::Ngsiv2(_) => true,
            Self::Wasp(_) => false,
        }
    }

    /// The largest value that comes of a payload of so many bytes, without the envelope: base64 is a third more, and NGSIv2 is
    /// what it is at worst, with names and values of one letter. With the default settings; names and types of a
    /// configuration that are long come on top.
    #[must_use]
    pub fn largest(&self, payload: u64) -> u64 {
        match self {
            Self::Raw => payload,
            Self::CloudEvents(cloudevents) => cloudevents.largest(payload),
            Self::Wasp(_) => base64_len(payload),
            Self::Ngsiv2(_) => ngsiv2_len(payload),
        }
    }

    /// Whether a message of this MQTT topic is refused, whatever it carries.
    #[must_use]
    pub fn refuses_topic(&self, topic: &str) -> bool {
        match self {
            Self::Raw | Self::CloudEvents(_) | Self::Wasp(_) => false,
            Self::Ngsiv2(_) => ngsiv2::is_command(topic),
        }
    }

    /// Whether the format itself writes a header of this name, whatever its case.
    #[must_use]
    pub fn writes_header(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        match self {
            Self::Raw | Self::Wasp(_) => false,
            Self::CloudEvents(_) => {
                name == cloudevents::CONTENT_TYPE || name.starts_with(cloudevents::PREFIX)
            }
            Self::Ngsiv2(_) => {
                [ngsiv2::SERVICE, ngsiv2::SERVICE_PATH, ngsiv2::CORRELATOR].contains(&name.as_str())
            }
        }
    }

    /// Whether edgeferry may make the Kafka topic. Of some formats the readers make them, with settings of their own.
    #[must_use]
    pub const fn may_create_topics(&self) -> bool {
        match self {
            Self::Raw | Self::CloudEvents(_) | Self::Ngsiv2(_) => true,
            Self::Wasp(_) => false,
        }
    }

    /// The key of a route that says none, where it is another than the device id.
    #[must_use]
    pub fn default_key(&self) -> Option<String> {
        match self {
            Self::Raw | Self::CloudEvents(_) => None,
            Self::Wasp(wasp) => wasp.default_key().map(str::to_owned),
            Self::Ngsiv2(ngsiv2) => ngsiv2.default_key(),
        }
    }

    /// The templates of the format's table, each with its field in the route.
    #[must_use]
    pub fn templates(&self) -> Vec<(&'static str, &Template)> {
        match self {
            Self::Raw | Self::Wasp(_) => Vec::new(),
            Self::CloudEvents(cloudevents) => cloudevents.templates(),
            Self::Ngsiv2(ngsiv2) => ngsiv2.templates(),
        }
    }

    /// Shapes one message; `key` and `retained` are those of the route.
    ///
    /// # Errors
    /// [`Unshapable`]: the message becomes a dead letter.
    pub fn shape(&self, subject: &Subject<'_>, key: &str, retained: Retained) -> Result<Shaped, Unshapable> {
        match self {
            Self::Raw => Ok(raw::shape(subject)),
            Self::CloudEvents(cloudevents) => cloudevents.shape(subject),
            Self::Wasp(wasp) => wasp.shape(subject, key, retained),
            Self::Ngsiv2(ngsiv2) => ngsiv2.shape(subject),
        }
    }
}

/// What NGSIv2 makes of a payload at worst, bytes: `a|1|` becomes `"a":{"type":"Number","value":1},`, and each measure,
/// `a|1#` at least, has id, type and time.
const fn ngsiv2_len(payload: u64) -> u64 {
    const PER_BYTE: u64 = 8;
    const MEASURE_BYTES: u64 = 4;
    const ENTITY_BYTES: u64 = 256;
    const MEASURES_MAX: u64 = 1024;
    let measures = payload / MEASURE_BYTES;
    let measures = if measures < MEASURES_MAX {
        measures
    } else {
        MEASURES_MAX
    };
    payload
        .saturating_mul(PER_BYTE)
        .saturating_add(measures * ENTITY_BYTES)
}

/// What bytes are in base64, bytes.
const fn base64_len(bytes: u64) -> u64 {
    bytes.div_ceil(3).saturating_mul(4)
}

/// A value as compact JSON; `payload_len` is a guess at what it holds.
fn json_bytes(value: &impl Serialize, payload_len: usize) -> Result<Bytes, Unshapable> {
    let mut bytes = Vec::with_capacity(payload_len.saturating_add(ENVELOPE_BYTES));
    serde_json::to_writer(&mut bytes, value).map_err(|error| Unshapable(error.to_string()))?;
    Ok(Bytes::from(bytes))
}

/// What a template of a format's table makes of a message.
fn rendered(key: &str, template: &Template, subject: &Subject<'_>) -> Result<String, Unshapable> {
    template
        .render(subject)
        .map_err(|error| Unshapable(format!("{key}: {error}")))
}

/// The same for a name: each value in it says something. With a hole in it, messages that have nothing in common would share a name.
fn filled(key: &str, template: &Template, subject: &Subject<'_>) -> Result<String, Unshapable> {
    let why = |error| Unshapable(format!("{key}: {error}"));
    template.check_filled(subject).map_err(why)?;
    template.render(subject).map_err(why)
}

/// Text for a reason: quoted, not longer than anybody reads.
fn shown(text: &str) -> String {
    const SHOWN: usize = 60;
    format!("{:?}", text.chars().take(SHOWN).collect::<String>())
}

#[cfg(test)]
mod tests;
