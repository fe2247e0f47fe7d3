//! `[[route]]`

mod names;

use serde::Deserialize;

use crate::message::Qos;
use crate::route::conflict;
use crate::route::format::{self, Format};
use crate::route::pattern::Pattern;
use crate::route::scope::Mark;
use crate::route::template::Template;
use crate::route::value::{DEVICE, Value};
use crate::settings::{Problems, Section};
use names::Names;

/// Key of a route that says none.
const DEFAULT_KEY: &str = "{device}";

/// The lane without a table.
const DEFAULT_LANE: &str = "default";

/// Longest topic name that Kafka allows, characters.
const MAX_TOPIC_LEN: usize = 249;

/// `[[route]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `from`
    pub from: Pattern,
    /// `device`: what the device id is made of; `None` means the level `{device}`, if there is one.
    pub device: Option<Template>,
    /// `topic`, Kafka topic.
    pub topic: Template,
    /// `key`; default `{device}`. Not the same for every message.
    pub key: Template,
    /// `format`; default `"raw"`.
    pub format: Format,
    /// `broker`: name of the `[[mqtt]]` table; `None` means every broker.
    pub broker: Option<String>,
    /// `lane`: name of the pipeline that carries it; default `default`.
    pub lane: String,
    /// `qos` of the subscription: 0 or 1; default 1. A configured 2 is lowered to 1 with a warning.
    pub qos: Qos,
    /// `unique_times`: the times of the records of a key ascend strictly; see [`default_unique_times`].
    pub unique_times: bool,
}

impl Config {
    /// Recognises the route after a restart.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            filter: self.from.filter(),
            broker: self.broker.clone(),
        }
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
    device: Option<String>,
    topic: Option<String>,
    key: Option<String>,
    format: Option<String>,
    broker: Option<String>,
    lane: Option<String>,
    qos: Option<u64>,
    unique_times: Option<bool>,
}

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
    let has_device = raw.device.is_some();
    let device = raw.device.map(|text| parse_template("device", &text, section));
    let topic = section.required(
        "topic",
        raw.topic,
        "write the Kafka topic, for example topic = \"telemetry\"",
    );
    let topic = topic.and_then(|text| parse_template("topic", &text, section));
    let is_default_key = raw.key.is_none();
    let key = parse_template("key", raw.key.as_deref().unwrap_or(DEFAULT_KEY), section);
    let format = format::resolve(raw.format.as_deref(), section);
    let qos = resolve_qos(raw.qos, section);
    if let Some(topic) = &topic {
        check_topic(topic, section);
    }
    if let Some(key) = &key {
        check_key(key, section);
    }
    if let Some(Some(device)) = &device {
        check_device(device, section);
    }
    let route = Config {
        from: from?,
        device: device.map_or(Some(None), |device| device.map(Some))?,
        topic: topic?,
        key: key?,
        unique_times: raw.unique_times.unwrap_or_else(|| default_unique_times(&format)),
        format,
        broker: raw.broker,
        lane: raw.lane.unwrap_or_else(|| DEFAULT_LANE.to_owned()),
        qos,
    };
    let names = Names {
        from: &route.from,
        has_device,
    };
    if is_default_key {
        check_default_key(names, section);
    }
    check_names(&route, names, section);
    Some(route)
}

/// Whether `unique_times` is on for a format when nothing is said: its consumers keep one value for a series and a
/// millisecond, so that of two messages with the same time one would replace the other.
fn default_unique_times(format: &Format) -> bool {
    matches!(format.name(), "wasp" | "ngsiv2")
}

fn parse_pattern(text: &str, section: &mut Section<'_, '_>) -> Option<Pattern> {
    let report = |error| {
        let right =
            "write an MQTT pattern such as \"devices/{device}/telemetry\" or \"plant/{device}/{rest...}\"";
        section.error("from", format!("{text:?} {error}"), right);
    };
    Pattern::parse(text).map_err(report).ok()
}

fn parse_template(field: &str, text: &str, section: &mut Section<'_, '_>) -> Option<Template> {
    let report = |error| {
        let right = "write a name of `from` as {name}, what else a message has as {json:/pointer} or {property:name}, and {{ or }} for \
                     a brace";
        section.error(field, format!("{text:?} {error}"), right);
    };
    Template::parse(text).map_err(report).ok()
}

fn check_default_key(names: Names<'_>, section: &mut Section<'_, '_>) {
    if !names.knows(DEVICE) {
        let wrong = format!(
            "is missing, and \"{}\" has no {DEFAULT_KEY} for its default",
            names.from
        );
        section.error(
            "key",
            wrong,
            "write a key with a name of `from`, name a level {device}, or write device = \"{json:/id}\" where the \
             payload has it",
        );
    }
}

/// Without a value in the key, all messages of a route would share one partition and one order.
fn check_key(key: &Template, section: &mut Section<'_, '_>) {
    if key.is_static() {
        let wrong = format!("\"{key}\" is the same for every message, all would go to one partition");
        section.error("key", wrong, "use a name of `from`, for example \"{device}\"");
    } else if !key.values().any(Value::tells_devices_apart) {
        let what = format!("\"{key}\" is the same for all devices of a gateway, they share one partition");
        section.warn("key", what, "use a name of `from`, for example \"{device}\"");
    }
}

/// A device id that says nothing of the device is no id.
fn check_device(device: &Template, section: &mut Section<'_, '_>) {
    if !device.values().any(Value::tells_devices_apart) {
        let wrong = format!("\"{device}\" is the same for all devices of a gateway");
        section.error(
            "device",
            wrong,
            "use what tells them apart, for example \"{json:/id}\" or \"{property:serial}\"",
        );
    }
}

fn check_topic(topic: &Template, section: &mut Section<'_, '_>) {
    let literal = topic.render_with(|_| String::new());
    let right = "Kafka allows 1 to 249 letters, digits, '.', '_' and '-', but not \".\" or \"..\"";
    let is_name = !topic.is_static() || !matches!(literal.as_str(), "" | "." | "..");
    if !is_name || !crate::settings::is_plain_name(&literal) || literal.len() > MAX_TOPIC_LEN {
        section.error(
            "topic",
            format!("{:?} is no topic name", topic.to_string()),
            right,
        );
    }
}

fn check_names(route: &Config, names: Names<'_>, section: &mut Section<'_, '_>) {
    if let Some(device) = &route.device {
        // There it is the level that is meant.
        let levels = Names {
            has_device: false,
            ..names
        };
        levels.check("device", device, section);
    }
    for (field, template) in [("topic", &route.topic), ("key", &route.key)] {
        names.check(field, template, section);
    }
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
