//! `device`, `topic`, `key` and `partition_by`: what they may say.

use super::names::Names;
use super::{Config, DEFAULT_KEY, scatter};
use crate::route::TOPIC_LEN_MAX;
use crate::route::template::{Part, Template};
use crate::route::value::{DEVICE, Value};
use crate::settings::Section;

/// The templates of a route, each checked for what can be said of it alone. One that could not be read is `None`, together
/// with a problem.
#[derive(Debug)]
pub(super) struct Templates {
    /// Whether there is one; it may be wrong.
    pub has_device: bool,
    pub has_key: bool,
    pub device: Option<Template>,
    pub topic: Option<Template>,
    pub key: Option<Template>,
    pub partition_by: Option<Template>,
}

/// The same as they are written.
#[derive(Debug)]
pub(super) struct RawTemplates {
    pub device: Option<String>,
    pub topic: Option<String>,
    pub key: Option<String>,
    pub partition_by: Option<String>,
}

pub(super) fn resolve(raw: RawTemplates, section: &mut Section<'_, '_>) -> Templates {
    let has_device = raw.device.is_some();
    let has_key = raw.key.is_some();
    let device = raw.device.and_then(|text| parse("device", &text, section));
    let topic = section.required(
        "topic",
        raw.topic,
        "write the Kafka topic, for example topic = \"telemetry\"",
    );
    let topic = topic.and_then(|text| parse("topic", &text, section));
    let key = parse("key", raw.key.as_deref().unwrap_or(DEFAULT_KEY), section);
    let partition_by = raw.partition_by;
    let partition_by = partition_by.and_then(|text| parse("partition_by", &text, section));
    if let Some(topic) = &topic {
        check_topic(topic, section);
    }
    if let Some(key) = &key {
        check_spread("key", key, section);
    }
    if let Some(partition_by) = &partition_by {
        check_spread("partition_by", partition_by, section);
    }
    if let Some(device) = &device {
        check_device(device, section);
    }
    Templates {
        has_device,
        has_key,
        device,
        topic,
        key,
        partition_by,
    }
}

pub(super) fn parse(field: &str, text: &str, section: &mut Section<'_, '_>) -> Option<Template> {
    let report = |error| {
        let right = "write a name of `from` as {name}, what else a message has as {json:/pointer} or {property:name}, \
                     and {{ or }} for a brace";
        section.error(field, format!("{text:?} {error}"), right);
    };
    Template::parse(text).map_err(report).ok()
}

/// What can only be said when the names are known.
pub(super) fn check(route: &Config, names: Names<'_>, has_key: bool, section: &mut Section<'_, '_>) {
    if !has_key && !names.knows(DEVICE) {
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
    if let Some(device) = &route.device {
        // There it is the level that is meant.
        names.levels().check("device", device, section);
    }
    names.check("topic", &route.topic, section);
    names.check("key", &route.key, section);
    for (field, template) in route.format.templates() {
        names.check(field, template, section);
    }
    if let Some(partition_by) = &route.partition_by {
        names.check("partition_by", partition_by, section);
        scatter::check(route, partition_by, section);
    }
}

/// Without a value in it, all messages of a route would share one partition and one order.
fn check_spread(field: &str, template: &Template, section: &mut Section<'_, '_>) {
    let right = "use a name of `from`, for example \"{device}\"";
    if template.is_static() {
        let wrong = format!("\"{template}\" is the same for every message, all would go to one partition");
        section.error(field, wrong, right);
    } else if !template.values().any(Value::tells_devices_apart) {
        let what =
            format!("\"{template}\" is the same for all devices of a gateway, they share one partition");
        section.warn(field, what, right);
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
    if !is_name || !crate::settings::is_plain_name(&literal) || literal.len() > TOPIC_LEN_MAX {
        section.error(
            "topic",
            format!("{:?} is no topic name", topic.to_string()),
            right,
        );
    }
}

/// The parts of a template, with those of `device` for the device id.
pub(super) fn expanded<'t>(template: &'t Template, route: &'t Config) -> impl Iterator<Item = &'t Part> {
    let parts = template.parts().iter();
    parts.flat_map(|part| match (part.value(), &route.device) {
        (Some(value), Some(device)) if value.name() == Some(DEVICE) => device.parts(),
        _ => std::slice::from_ref(part),
    })
}
