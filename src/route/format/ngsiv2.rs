//! `format = "ngsiv2"`: NGSIv2 notifications in normalized form, for Kafnus and others that read what Orion writes.
//!
//! ```text
//! {"data":[{"id":"Thing:id_sen1","type":"Thing","TimeInstant":{"type":"DateTime","value":"2026-11-20T11:00:00.000Z"},
//!           "h":{"type":"Number","value":70}}]}
//! ```
//!
//! Readers go by two headers, the tenant's: `fiware-service` and `fiware-servicepath`. With any header there and these missing, data
//! goes to the tenant `default` without a word, so they are always written.

mod attribute;
mod config;
mod measures;
mod names;
mod number;
mod spread;
mod time;
mod topic;
mod ul;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Shaped, Timed, Unshapable, filled, json_bytes, rendered, shown};
use crate::message::rfc3339;
use crate::route::record::Header;
use crate::route::subject::Subject;
use crate::route::template::Template;
use attribute::{Attribute, Wanted};
pub(in crate::route) use config::Raw;
pub(super) use config::resolve;
use measures::{Kind, TIME};
pub(super) use topic::is_command;

/// Tenant.
pub const SERVICE: &str = "fiware-service";
/// Part of the tenant.
pub const SERVICE_PATH: &str = "fiware-servicepath";
/// Names one request in the logs of everybody who saw it.
pub const CORRELATOR: &str = "fiware-correlator";

/// `[route.ngsiv2]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ngsiv2 {
    id: Template,
    kind: Template,
    service: Template,
    path: Template,
    has_correlator: bool,
    subscription_id: Option<String>,
    payload: Kind,
    attribute: Option<Template>,
    types: BTreeMap<String, Wanted>,
}

impl Ngsiv2 {
    /// The templates, by the fields of the route that hold them.
    pub(super) fn templates(&self) -> Vec<(&'static str, &Template)> {
        let mut all = vec![
            ("ngsiv2.id", &self.id),
            ("ngsiv2.type", &self.kind),
            ("ngsiv2.service", &self.service),
            ("ngsiv2.servicepath", &self.path),
        ];
        all.extend(
            self.attribute
                .iter()
                .map(|template| ("ngsiv2.attribute", template)),
        );
        all
    }

    /// Records of one entity share a key, so that they stay in order. An id that is the same for every message is a problem of its
    /// own.
    pub(super) fn default_key(&self) -> Option<String> {
        (!self.id.is_static()).then(|| self.id.to_string())
    }

    /// Shapes one message.
    pub(super) fn shape(&self, subject: &Subject<'_>) -> Result<Shaped, Unshapable> {
        let arrival = subject.arrival();
        if is_command(&arrival.topic) {
            let why = "the topic carries commands, results of commands or configurations of an IoT Agent";
            return Err(Unshapable(why.to_owned()));
        }
        let id = field("ngsiv2.id", &self.id, subject)?;
        let kind = field("ngsiv2.type", &self.kind, subject)?;
        let single = self.attribute.as_ref();
        let single = single.map(|template| filled("ngsiv2.attribute", template, subject));
        let groups = measures::read(subject, self.payload, single.transpose()?, &self.types)?;
        let own: Vec<_> = groups.iter().map(|group| group.time_ms).collect();
        let times = spread::spread(&own, subject.told.arrival_ms)
            .ok_or_else(|| Unshapable("its times go on behind the end of the year 9999".to_owned()))?;
        let entities = groups.into_iter().zip(times).map(|(group, ms)| Entity {
            id: &id,
            kind: &kind,
            time: rfc3339(ms),
            attributes: group.attributes,
        });
        let notification = Notification {
            subscription_id: self.subscription_id.as_deref(),
            data: entities.collect(),
        };
        Ok(Shaped {
            key: None,
            payload: json_bytes(&notification, 2 * arrival.payload.len())?,
            headers: self.headers(subject)?,
            timed: Some(Timed {
                times: u32::try_from(spread::without_time(&own)).unwrap_or(u32::MAX),
                name: id,
            }),
        })
    }

    fn headers(&self, subject: &Subject<'_>) -> Result<Vec<Header>, Unshapable> {
        let service = filled("ngsiv2.service", &self.service, subject)?;
        let path = rendered("ngsiv2.servicepath", &self.path, subject)?;
        let bad = |key, text: &str, rule| Unshapable(format!("{key} came out as {}: {rule}", shown(text)));
        let tenant =
            names::service(&service).ok_or_else(|| bad("ngsiv2.service", &service, names::SERVICE_RULE))?;
        let tenant_path =
            names::service_path(&path).ok_or_else(|| bad("ngsiv2.servicepath", &path, names::PATH_RULE))?;
        let mut headers = vec![
            Header::text(SERVICE, tenant),
            Header::text(SERVICE_PATH, tenant_path),
        ];
        if self.has_correlator {
            headers.push(Header::text(CORRELATOR, subject.id.to_string()));
        }
        Ok(headers)
    }
}

/// What a template makes of a message, where that can be a name of NGSIv2.
fn field(key: &str, template: &Template, subject: &Subject<'_>) -> Result<String, Unshapable> {
    let text = filled(key, template, subject)?;
    if names::is_field(&text) {
        Ok(text)
    } else {
        let (text, rule) = (shown(&text), names::FIELD_RULE);
        Err(Unshapable(format!("{key} came out as {text}: {rule}")))
    }
}

/// What Orion sends to subscribers.
#[derive(Serialize)]
struct Notification<'a> {
    #[serde(rename = "subscriptionId", skip_serializing_if = "Option::is_none")]
    subscription_id: Option<&'a str>,
    data: Vec<Entity<'a>>,
}

struct Entity<'a> {
    id: &'a str,
    kind: &'a str,
    time: String,
    attributes: Vec<(Cow<'a, str>, Attribute<'a>)>,
}

impl Serialize for Entity<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", self.id)?;
        map.serialize_entry("type", self.kind)?;
        map.serialize_entry(
            TIME,
            &Time {
                value: &self.time,
                kind: "DateTime",
            },
        )?;
        for (name, attribute) in &self.attributes {
            map.serialize_entry(name, attribute)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct Time<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    value: &'a str,
}

#[cfg(test)]
mod tests;
