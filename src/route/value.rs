//! What a template or a condition may ask of a message: one name, as it stands between braces.
//!
//! | name | what it is |
//! | --- | --- |
//! | `device` | the device id: what `device` of the route says, else the level `{device}` of `from` |
//! | any other plain name | that level of `from` |
//! | `json:/pointer` | a value of the JSON payload, by JSON pointer (RFC 6901): a string's characters, the original text of a number, `true` or `false` |
//! | `property:name` | the MQTT 5 user property of that name, the first one |
//! | `mqtt:topic`, `mqtt:broker`, `mqtt:qos` | topic of the message, `name` of the broker, QoS with which it came |
//! | `mqtt:content_type`, `mqtt:response_topic` | MQTT 5 properties |
//! | `gateway:id` | the gateway that received it first |
//!
//! A name that the message has no value for is never replaced by something else: the message becomes a dead letter.
//! The client that published a message is not in MQTT's PUBLISH; a broker that tells it does so in a user property.

use std::borrow::Cow;
use std::fmt;

use crate::route::json::{Json, Kind, Pointer, PointerError};
use crate::route::pattern::is_name;
use crate::route::subject::Subject;

/// The name whose value is the device id.
pub const DEVICE: &str = "device";

/// What can stand between braces besides plain names, for complaints.
const KNOWN: &str = "json:/pointer, property:name, mqtt:topic, mqtt:broker, mqtt:qos, mqtt:content_type, mqtt:response_topic \
     and gateway:id";

/// One thing that can be asked of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    text: String,
    source: Source,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A level of `from`, or the device id.
    Name,
    Json(Pointer),
    Property(String),
    Topic,
    Broker,
    Qos,
    ContentType,
    ResponseTopic,
    Gateway,
}

/// Why a text is not the name of a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// `{}`, `{two words}`, or `{rest...}`, whose dots belong into the pattern only.
    #[error("has the name {name:?}: a name is letters, digits and '_', and begins with no digit")]
    BadName {
        /// What was written.
        name: String,
    },
    /// `{header:x}`
    #[error("has the name {name:?}: with a colon there are {KNOWN}")]
    Unknown {
        /// What was written.
        name: String,
    },
    /// `{property:}`
    #[error("has the name \"property:\" without the name of a user property, such as property:serial")]
    NoProperty,
    /// `{json:temperature}`
    #[error("has the name \"json:{pointer}\": {error}")]
    Pointer {
        /// What was written behind the colon.
        pointer: String,
        /// What is wrong with it.
        error: PointerError,
    },
}

/// What a message has for a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// Text from outside the payload, which has no types: a level, a property, a fact. May be empty.
    Plain(Cow<'a, str>),
    /// A JSON string, unescaped.
    String(Cow<'a, str>),
    /// A JSON number, as it was written.
    Number(&'a str),
    /// A JSON `true` or `false`.
    Bool(bool),
    /// A JSON object or array: it is there, but has no text.
    Composite(Kind),
}

/// A message has nothing for a value that is needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct NoValue {
    /// The value, as it is written in the configuration.
    pub name: String,
    /// What is wrong with the message.
    pub why: String,
}

impl Value {
    /// Reads a name as it stands between braces.
    ///
    /// # Errors
    /// [`ValueError`] says what could stand there.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let source = match text.split_once(':') {
            None if is_name(text) => Source::Name,
            None => {
                let name = text.to_owned();
                return Err(ValueError::BadName { name });
            }
            Some(("json", pointer)) => Source::Json(parse_pointer(pointer)?),
            Some(("property", "")) => return Err(ValueError::NoProperty),
            Some(("property", name)) => Source::Property(name.to_owned()),
            Some(("mqtt", "topic")) => Source::Topic,
            Some(("mqtt", "broker")) => Source::Broker,
            Some(("mqtt", "qos")) => Source::Qos,
            Some(("mqtt", "content_type")) => Source::ContentType,
            Some(("mqtt", "response_topic")) => Source::ResponseTopic,
            Some(("gateway", "id")) => Source::Gateway,
            Some(_) => {
                let name = text.to_owned();
                return Err(ValueError::Unknown { name });
            }
        };
        let text = text.to_owned();
        Ok(Self { text, source })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The plain name: a level of `from`, or `device`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        matches!(self.source, Source::Name).then_some(self.as_str())
    }

    /// Whether devices can differ in it. What it does not tell apart is the same for all of one gateway.
    #[must_use]
    pub const fn tells_devices_apart(&self) -> bool {
        !matches!(self.source, Source::Gateway | Source::Broker | Source::Qos)
    }

    /// Whether it is a property of MQTT 5, which no message of an earlier version has.
    #[must_use]
    pub const fn is_property(&self) -> bool {
        matches!(
            self.source,
            Source::Property(_) | Source::ContentType | Source::ResponseTopic
        )
    }

    /// What the message has for it.
    ///
    /// # Errors
    /// [`NoValue`]: nothing. A JSON `null` is nothing.
    pub fn look<'s>(&self, subject: &'s Subject<'_>) -> Result<Found<'s>, NoValue> {
        let properties = subject.properties();
        let arrival = subject.arrival();
        let plain = |text: &'s str| Found::Plain(Cow::Borrowed(text));
        match &self.source {
            Source::Name if self.text == DEVICE => subject.device().map(plain).ok_or("there is no device id"),
            Source::Name => {
                let value = subject.captures.get(&self.text);
                value.map(plain).ok_or("`from` has no such level")
            }
            Source::Json(pointer) => return self.look_into(subject, pointer),
            Source::Property(name) => {
                let user = properties.iter().flat_map(|properties| &properties.user);
                let value = user.into_iter().find(|(known, _)| known == name);
                value.map(|(_, value)| plain(value)).ok_or(NO_PROPERTY)
            }
            Source::Topic => Ok(plain(&arrival.topic)),
            Source::Broker => Ok(plain(&arrival.broker)),
            Source::Qos => Ok(Found::Plain(Cow::Owned(arrival.delivery.qos.to_string()))),
            Source::ContentType => {
                let value = properties.and_then(|properties| properties.content_type.as_deref());
                value.map(plain).ok_or(NO_PROPERTY)
            }
            Source::ResponseTopic => {
                let value = properties.and_then(|properties| properties.response_topic.as_deref());
                value.map(plain).ok_or(NO_PROPERTY)
            }
            Source::Gateway => Ok(plain(subject.gateway)),
        }
        .map_err(|why| self.missing(why))
    }

    /// Whether anybody can tell what the message has for it.
    ///
    /// # Errors
    /// [`NoValue`]: it is looked for in JSON, and the payload is none.
    pub fn can_be_looked_for(&self, subject: &Subject<'_>) -> Result<(), NoValue> {
        match &self.source {
            Source::Json(_) => self.json(subject).map(drop),
            _ => Ok(()),
        }
    }

    /// The text of what the message has for it.
    ///
    /// # Errors
    /// [`NoValue`]: nothing, or nothing that has a text.
    pub fn text<'s>(&self, subject: &'s Subject<'_>) -> Result<Cow<'s, str>, NoValue> {
        match self.look(subject)? {
            Found::Plain(text) | Found::String(text) => Ok(text),
            Found::Number(text) => Ok(Cow::Borrowed(text)),
            Found::Bool(value) => Ok(Cow::Borrowed(if value { "true" } else { "false" })),
            Found::Composite(kind) => Err(self.missing(format!("is {kind}, which is no text"))),
        }
    }

    fn look_into<'s>(&self, subject: &'s Subject<'_>, pointer: &Pointer) -> Result<Found<'s>, NoValue> {
        let value = self.json(subject)?.at(pointer);
        self.found(value.ok_or_else(|| self.missing("is not in the payload"))?)
    }

    fn json<'s>(&self, subject: &'s Subject<'_>) -> Result<Json<'s>, NoValue> {
        subject.json().map_err(|error| self.missing(error.to_string()))
    }

    fn found<'s>(&self, value: Json<'s>) -> Result<Found<'s>, NoValue> {
        match value.kind() {
            Kind::Null => Err(self.missing("is null in the payload")),
            Kind::Bool => Ok(Found::Bool(value.text() == "true")),
            Kind::Number => Ok(Found::Number(value.text())),
            Kind::String => {
                let text = value.string();
                let text =
                    text.ok_or_else(|| self.missing("is a string with half a character (a lone surrogate)"));
                text.map(Found::String)
            }
            kind @ (Kind::Array | Kind::Object) => Ok(Found::Composite(kind)),
        }
    }

    fn missing(&self, why: impl Into<String>) -> NoValue {
        NoValue {
            name: self.text.clone(),
            why: why.into(),
        }
    }
}

impl fmt::Display for Value {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const NO_PROPERTY: &str = "is not among the message's properties";

fn parse_pointer(text: &str) -> Result<Pointer, ValueError> {
    Pointer::parse(text).map_err(|error| ValueError::Pointer {
        pointer: text.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests;
