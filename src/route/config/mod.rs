//! `[[route]]`

mod headers;
mod names;
mod reach;
mod scatter;
mod templates;
mod when;

use std::collections::BTreeMap;

use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::message::Qos;
use crate::route::condition::Condition;
use crate::route::conflict;
use crate::route::expression::Expression;
use crate::route::format::{self, Format};
use crate::route::pattern::Pattern;
use crate::route::scope::Mark;
use crate::route::template::Template;
use crate::settings::{Problems, Section, Size};
pub use headers::Headers;
use names::Names;
pub(crate) use reach::{KAFNUS_ERRORS, WASP_TOPICS};
use templates::{RawTemplates, parse as parse_template};

/// Key of a route that says none.
const DEFAULT_KEY: &str = "{device}";

/// The lane without a table.
const DEFAULT_LANE: &str = "default";

/// `[[route]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `from`
    pub from: Pattern,
    /// `[route.match]`: what levels of `from` have to be, by name.
    pub matches: Vec<(String, Expression)>,
    /// `when`: what else has to hold; all of it.
    pub when: Vec<Condition>,
    /// `retained`
    pub retained: Retained,
    /// `device`: what the device id is made of; `None` means the level `{device}`, if there is one.
    pub device: Option<Template>,
    /// `topic`, Kafka topic.
    pub topic: Template,
    /// `key`; default `{device}`. Not the same for every message.
    pub key: Template,
    /// `partition_by`: what decides the partition instead of the key.
    pub partition_by: Option<Template>,
    /// `format`; default `"raw"`.
    pub format: Format,
    /// `headers`
    pub headers: Headers,
    /// `[route.add_headers]`, by name.
    pub add_headers: Vec<(String, Template)>,
    /// `max_payload`, bytes.
    pub max_payload: Option<u64>,
    /// `broker`: name of the `[[mqtt]]` table; `None` means every broker.
    pub broker: Option<String>,
    /// `lane`: name of the pipeline that carries it; default `default`.
    pub lane: String,
    /// `qos` of the subscription: 0 or 1; default 1. A configured 2 is lowered to 1 with a warning.
    pub qos: Qos,
    /// `unique_times`: the times of the records of a key ascend strictly; on by default for formats whose readers tell
    /// records apart by time.
    pub unique_times: bool,
}

/// `retained`: what becomes of messages that the broker had kept and sent because of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retained {
    /// `"forward"`: a record as any other.
    Forward,
    /// `"mark"` (default): a record with the header `edgeferry-retained`.
    #[default]
    Mark,
    /// `"skip"`: not wanted.
    Skip,
}

impl Config {
    /// Recognises the route after a restart.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            filter: self.from.filter().to_owned(),
            broker: self.broker.clone(),
            rest: Some(format!("{:016x}", xxh3_64(self.rest().as_bytes()))),
        }
    }

    /// What tells routes with the same filter from each other, as text. It is compared with what earlier versions wrote, and
    /// may differ from that: then the route counts as edited.
    fn rest(&self) -> String {
        let Self {
            matches,
            when,
            retained,
            topic,
            key,
            ..
        } = self;
        let matches: Vec<_> = matches
            .iter()
            .map(|(name, expression)| (name, expression.as_str()))
            .collect();
        format!("{matches:?} {when:?} {retained:?} {topic} {key}")
    }

    /// Whether it turns down messages that its filter matches.
    #[must_use]
    pub fn is_choosy(&self) -> bool {
        !self.when.is_empty() || !self.matches.is_empty() || self.retained == Retained::Skip
    }

    /// Whether the route takes messages of the broker with this name.
    #[must_use]
    pub fn takes(&self, broker: &str) -> bool {
        self.broker.as_deref().is_none_or(|name| name == broker)
    }
}

/// `[[route]]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Raw {
    from: Option<String>,
    r#match: BTreeMap<String, String>,
    when: Vec<when::Raw>,
    retained: Option<String>,
    device: Option<String>,
    topic: Option<String>,
    key: Option<String>,
    partition_by: Option<String>,
    format: Option<String>,
    headers: Option<String>,
    add_headers: BTreeMap<String, String>,
    max_payload: Option<Size>,
    broker: Option<String>,
    lane: Option<String>,
    qos: Option<u64>,
    unique_times: Option<bool>,
    cloudevents: Option<format::RawCloudEvents>,
    wasp: Option<format::RawWasp>,
    ngsiv2: Option<format::RawNgsiv2>,
}

/// The keys of [`Raw`]: what stands below a table of the route by mistake is told by them.
pub(crate) const KEYS: [&str; 16] = [
    "from",
    "match",
    "when",
    "retained",
    "device",
    "topic",
    "key",
    "partition_by",
    "format",
    "headers",
    "max_payload",
    "broker",
    "lane",
    "qos",
    "unique_times",
    "add_headers",
];

/// Checks all `[[route]]` tables, also against each other. A table that makes no route gives `None`, so that
/// the others keep their places; there is a problem then.
pub(crate) fn resolve(tables: Vec<Raw>, problems: &mut Problems<'_>) -> Vec<Option<Config>> {
    if tables.is_empty() {
        let right =
            "write a table [[route]] with from = \"devices/{device}/telemetry\" and topic = \"telemetry\"";
        problems.section("").error("route", "is missing", right);
    }
    let tables = tables.into_iter().enumerate();
    let routes: Vec<Option<Config>> = tables
        .map(|(index, raw)| resolve_one(raw, &mut problems.section(format!("route[{index}]"))))
        .collect();
    conflict::check(&routes, problems);
    routes
}

fn resolve_one(raw: Raw, section: &mut Section<'_, '_>) -> Option<Config> {
    let from = section.required(
        "from",
        raw.from,
        "write for example from = \"devices/{device}/telemetry\"",
    );
    let from = from.and_then(|text| parse_pattern(&text, section));
    let matches = when::resolve_match(raw.r#match, section);
    let when = when::resolve(raw.when, section);
    let retained = resolve_retained(raw.retained.as_deref(), section);
    let name = raw.format.as_deref();
    let format = format::resolve(name, raw.cloudevents, raw.wasp, raw.ngsiv2, section);
    let raw_templates = RawTemplates {
        device: raw.device,
        topic: raw.topic,
        key: raw.key.or_else(|| format.as_ref().and_then(Format::default_key)),
        partition_by: raw.partition_by,
    };
    let templates = templates::resolve(raw_templates, section);
    let headers_of = format.as_ref().unwrap_or(&Format::Raw);
    let headers = headers::resolve(raw.headers.as_deref(), headers_of, section);
    let add_headers = headers::resolve_added(raw.add_headers, headers_of, section);
    let qos = resolve_qos(raw.qos, section);
    let route = Config {
        from: from?,
        matches: matches?,
        when: when?,
        retained,
        device: templates.device,
        topic: templates.topic?,
        key: templates.key?,
        partition_by: templates.partition_by,
        unique_times: raw
            .unique_times
            .unwrap_or_else(|| format.as_ref().is_some_and(default_unique_times)),
        format: format?,
        headers,
        add_headers: add_headers?,
        max_payload: resolve_max_payload(raw.max_payload, section),
        broker: raw.broker,
        lane: raw.lane.unwrap_or_else(|| DEFAULT_LANE.to_owned()),
        qos,
    };
    let names = Names {
        from: &route.from,
        has_device: templates.has_device,
    };
    when::check_names(&route.when, &route.matches, names, section);
    templates::check(&route, names, templates.has_key, section);
    headers::check_names(&route.add_headers, names, section);
    reach::check(&route, section);
    Some(route)
}

fn resolve_max_payload(size: Option<Size>, section: &mut Section<'_, '_>) -> Option<u64> {
    let size = size?;
    Some(section.at_least("max_payload", Some(size), size, Size(1)).0)
}

/// Whether `unique_times` is on for a format when nothing is said: its consumers keep one value for a series and a
/// millisecond, so that of two messages with the same time one would replace the other.
fn default_unique_times(format: &Format) -> bool {
    matches!(format.name(), "wasp" | "ngsiv2")
}

fn resolve_retained(word: Option<&str>, section: &mut Section<'_, '_>) -> Retained {
    let known = [
        ("forward", Retained::Forward),
        ("mark", Retained::Mark),
        ("skip", Retained::Skip),
    ];
    section.one_of("retained", word, &known, &[], Retained::default())
}

fn parse_pattern(text: &str, section: &mut Section<'_, '_>) -> Option<Pattern> {
    let report = |error| {
        let right =
            "write an MQTT pattern such as \"devices/{device}/telemetry\" or \"plant/{device}/{rest...}\"";
        section.error("from", format!("{text:?} {error}"), right);
    };
    Pattern::parse(text).map_err(report).ok()
}

fn resolve_qos(qos: Option<u64>, section: &mut Section<'_, '_>) -> Qos {
    match qos {
        None | Some(1) => Qos::AtLeastOnce,
        Some(0) => {
            let what = "with QoS 0 the broker drops messages while edgeferry is away";
            section.warn("qos", what, "use qos = 1 where no message may be lost");
            Qos::AtMostOnce
        }
        Some(2) => {
            let what = "2 is lowered to 1: a crash between PUBREC and PUBCOMP ends in an endless reconnect \
                        loop in the MQTT client";
            section.warn("qos", what, "publishers may still use QoS 2");
            Qos::AtLeastOnce
        }
        Some(other) => {
            section.error(
                "qos",
                format!("{other} is not a QoS of MQTT"),
                "write 1 (default) or 0",
            );
            Qos::AtLeastOnce
        }
    }
}

#[cfg(test)]
mod tests;
