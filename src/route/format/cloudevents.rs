//! `format = "cloudevents"`: CloudEvents 1.0, by its JSON format and its Kafka protocol binding.
//!
//! `structured`: the value is the event as JSON, header `content-type: application/cloudevents+json; charset=UTF-8`. `binary`: the
//! value is the payload as it came, attributes are headers `ce_...`, and `content-type` says what the payload is.
//!
//! | attribute | is |
//! | --- | --- |
//! | `id` | the message id, so that copies are recognised; with `source` it is unique |
//! | `source`, `type`, `subject` | templates; values in `source` are percent-encoded |
//! | `time` | the arrival |
//! | `datacontenttype` | the MQTT 5 content type if it is a media type; else what the payload is seen to be |
//! | `traceparent`, `tracestate` | user properties of these names (extension "distributed tracing") |
//!
//! What else is known of a message stays in the headers that every record has; it is no attribute.

mod config;
mod content;
mod uri;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Shaped, Unshapable, base64_len, json_bytes, rendered, shown};
use crate::message::rfc3339;
use crate::route::record::Header;
use crate::route::subject::Subject;
use crate::route::template::Template;
pub(in crate::route) use config::Raw;
pub(super) use config::resolve;
use content::Content;

/// What the value, or the payload in it, is.
pub const CONTENT_TYPE: &str = "content-type";
/// Before the names of attributes that are headers.
pub const PREFIX: &str = "ce_";
/// Content type of the structured mode.
const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";
const SPEC_VERSION: &str = "1.0";

/// `[route.cloudevents]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudEvents {
    mode: Mode,
    source: Template,
    kind: Template,
    subject: Template,
}

/// Where the attributes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// In the value, which is JSON.
    Structured,
    /// In headers.
    Binary,
}

/// The event as JSON. The order is that of the specification's examples.
#[derive(Debug, Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: &'a str,
    time: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

impl CloudEvents {
    /// The templates, by the fields of the route that hold them.
    pub(super) fn templates(&self) -> Vec<(&'static str, &Template)> {
        vec![
            ("cloudevents.source", &self.source),
            ("cloudevents.type", &self.kind),
            ("cloudevents.subject", &self.subject),
        ]
    }

    /// The largest value that comes of a payload of so many bytes.
    pub(super) const fn largest(&self, payload: u64) -> u64 {
        match self.mode {
            Mode::Structured => base64_len(payload),
            Mode::Binary => payload,
        }
    }

    /// Shapes one message.
    pub(super) fn shape(&self, subject: &Subject<'_>) -> Result<Shaped, Unshapable> {
        let source = self.source.render_as(subject, uri::value);
        let source = source.map_err(|error| Unshapable(format!("cloudevents.source: {error}")))?;
        let kind = attribute("cloudevents.type", &self.kind, subject)?;
        let about = attribute("cloudevents.subject", &self.subject, subject)?;
        for (key, text) in [("cloudevents.source", &source), ("cloudevents.type", &kind)] {
            if text.is_empty() {
                return Err(Unshapable(format!("{key} came out empty")));
            }
        }
        let content = Content::of(subject);
        let trace = content::trace(subject.properties());
        let event = Event {
            specversion: SPEC_VERSION,
            id: &subject.id.to_string(),
            source: &source,
            kind: &kind,
            subject: &about,
            time: &rfc3339(subject.told.arrival_ms),
            datacontenttype: content.media_type(),
            traceparent: trace.map(|trace| trace.parent),
            tracestate: trace.and_then(|trace| trace.state),
            data: content.json(),
            data_base64: None,
        };
        let payload = &subject.arrival().payload;
        match self.mode {
            Mode::Structured => event.structured(payload),
            Mode::Binary => Ok(event.binary(payload)),
        }
    }
}

impl Event<'_> {
    fn structured(mut self, payload: &Bytes) -> Result<Shaped, Unshapable> {
        let mut length = payload.len();
        if self.data.is_none() && !payload.is_empty() {
            let text = Base64::encode_string(payload);
            length = text.len();
            self.data_base64 = Some(text);
        }
        Ok(Shaped {
            key: None,
            payload: json_bytes(&self, length)?,
            headers: vec![Header::text(CONTENT_TYPE, STRUCTURED)],
            timed: None,
        })
    }

    fn binary(self, payload: &Bytes) -> Shaped {
        let attributes = [
            ("ce_specversion", Some(self.specversion)),
            ("ce_id", Some(self.id)),
            ("ce_source", Some(self.source)),
            ("ce_type", Some(self.kind)),
            ("ce_subject", Some(self.subject).filter(|text| !text.is_empty())),
            ("ce_time", Some(self.time)),
            ("ce_traceparent", self.traceparent),
            ("ce_tracestate", self.tracestate),
            (CONTENT_TYPE, self.datacontenttype),
        ];
        let present = attributes
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| Header::text(name, value)));
        Shaped {
            key: None,
            payload: payload.clone(),
            headers: present.collect(),
            timed: None,
        }
    }
}

/// The value of an attribute; the specification allows no control characters and no noncharacters.
fn attribute(key: &str, template: &Template, subject: &Subject<'_>) -> Result<String, Unshapable> {
    let text = rendered(key, template, subject)?;
    if content::is_attribute(&text) {
        Ok(text)
    } else {
        let text = shown(&text);
        Err(Unshapable(format!(
            "{key} came out as {text}: CloudEvents allow no control characters and no noncharacters"
        )))
    }
}

#[cfg(test)]
mod tests;
