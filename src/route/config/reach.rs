//! Whether what a route makes can be right at all, and whether its reader sees it.

use super::Config;
use super::templates::expanded;
use crate::route::format::Format;
use crate::route::format::wasp::{NAME_MAX, Wasp};
use crate::route::template::{Part, Template};
use crate::settings::Section;

/// WASP's router takes every topic whose name has this in it for live data.
pub const WASP_TOPICS: &str = "raw-payloads";
/// Readers of Kafnus expect headers of Kafka Connect in the topic that ends so, and make rows of its records.
pub const KAFNUS_ERRORS: &str = "raw_errors";
/// Characters of a UUID.
const UUID_CHARS: usize = 36;

/// Refuses what no message could satisfy, and warns of what no reader would see, or the wrong one.
pub(super) fn check(route: &Config, section: &mut Section<'_, '_>) {
    if let Format::Wasp(wasp) = &route.format {
        check_wasp_key(wasp, route, section);
    }
    check_source(route, section);
    check_reader(route, section);
}

/// What of the key is the same for every message must be able to stand in a key that WASP takes.
fn check_wasp_key(wasp: &Wasp, route: &Config, section: &mut Section<'_, '_>) {
    if wasp.searches_key() {
        return;
    }
    let literal = literal(&route.key, route);
    let count = literal.chars().count();
    if wasp.wants_uuid() {
        let may_be = literal.chars().all(|c| c == '-' || c.is_ascii_hexdigit()) && count < UUID_CHARS;
        if !may_be {
            let wrong = format!(
                "\"{}\" is never a UUID, every message would be a dead letter",
                route.key
            );
            let right = "write what is the UUID alone, for example \"{device}\", or envelope = \"http\" in [route.wasp] for \
                         other ids";
            section.error("key", wrong, right);
        }
    } else if count >= NAME_MAX {
        let wrong = format!(
            "\"{}\" has always over {NAME_MAX} characters, every message would be a dead letter",
            route.key
        );
        section.error(
            "key",
            wrong,
            "write a shorter one: WASP's thing service holds no more",
        );
    }
}

/// The text of a template that is the same for every message.
fn literal(template: &Template, route: &Config) -> String {
    let texts = expanded(template, route).filter_map(|part| match part {
        Part::Literal(text) => Some(text.as_str()),
        Part::Value(_) => None,
    });
    texts.collect()
}

/// A topic that matches `from` stands for all of them: names stand for one letter, and the rest is never a whole level of an
/// IoT Agent's commands.
fn check_source(route: &Config, section: &mut Section<'_, '_>) {
    let filter = route.from.filter();
    if filter.ends_with('#') || !route.format.refuses_topic(&filter.replace('+', "x")) {
        return;
    }
    let wrong = format!(
        "\"{}\" takes commands of an IoT Agent alone, which format = \"{}\" never carries",
        route.from,
        route.format.name()
    );
    let right = "write the topic of measures, for example \"/{apikey}/{device}/attrs\", or format = \"raw\"";
    section.error("from", wrong, right);
}

/// A topic with names in it may be any; what stands beside them is part of all.
fn check_reader(route: &Config, section: &mut Section<'_, '_>) {
    let topic = &route.topic;
    let mut literals = topic.parts().iter().filter_map(|part| match part {
        Part::Literal(text) => Some(text.as_str()),
        Part::Value(_) => None,
    });
    let is_wasp = matches!(route.format, Format::Wasp(_));
    let has_pattern = literals.any(|text| text.contains(WASP_TOPICS));
    if is_wasp && topic.is_static() && !has_pattern {
        let wrong = format!(
            "WASP's router takes topics with {WASP_TOPICS:?} in their names alone, \"{topic}\" is none"
        );
        section.warn(
            "topic",
            wrong,
            "write topic = \"raw-payloads\", unless the router has been changed",
        );
    }
    if !is_wasp && has_pattern {
        let wrong = format!(
            "\"{topic}\" has {WASP_TOPICS:?} in it: WASP's router takes every such topic for live data of its own format"
        );
        section.warn("topic", wrong, "write another name, or format = \"wasp\"");
    }
    if matches!(topic.parts().last(), Some(Part::Literal(end)) if end.ends_with(KAFNUS_ERRORS)) {
        let wrong = format!(
            "\"{topic}\" ends in {KAFNUS_ERRORS:?}: its readers take what they find there for errors of Kafka Connect"
        );
        section.warn("topic", wrong, "write another name");
    }
}
