//! Routes that contradict each other.

use crate::filter::overlaps;
use crate::route::config::Config;
use crate::route::pattern::Pattern;
use crate::route::template::Template;
use crate::route::value::{DEVICE, Value};
use crate::settings::{Problems, Section};

/// Compares each route with those before it. What could not be read is `None`.
pub(super) fn check(routes: &[Option<Config>], problems: &mut Problems<'_>) {
    for (index, route) in routes.iter().enumerate() {
        let Some(route) = route else { continue };
        let mut section = problems.section(format!("route[{index}]"));
        for (earlier, other) in routes.iter().take(index).enumerate() {
            if let Some(other) = other.as_ref().filter(|other| shares_messages(route, other)) {
                compare(route, other, earlier, &mut section);
            }
            if let Some(other) = other {
                warn_of_one_id(route, other, earlier, &mut section);
            }
        }
    }
}

fn compare(route: &Config, other: &Config, earlier: usize, section: &mut Section<'_, '_>) {
    let same_topic = meaning(&route.topic, route) == meaning(&other.topic, other);
    let same_key = meaning(&route.key, route) == meaning(&other.key, other);
    if route.qos != other.qos && route.lane == other.lane {
        let wrong = format!(
            "is {}, but {} in route[{earlier}] for the same messages",
            route.qos as u8, other.qos as u8
        );
        section.error("qos", wrong, "one subscription has one QoS");
    }
    // With other conditions they are for other messages, or the overlap is meant.
    if route.when != other.when || route.matches != other.matches {
        return;
    }
    let partition = |route: &Config| {
        route
            .partition_by
            .as_ref()
            .map(|template| meaning(template, route))
    };
    if same_topic && same_key && partition(route) != partition(other) {
        let wrong = format!("differs from route[{earlier}] for the same messages and the same topic");
        section.error("partition_by", wrong, "use one, or two topics");
        return;
    }
    match (same_topic, same_key, route.format == other.format) {
        (false, ..) => {}
        (true, true, true) => {
            let wrong = format!("is the same as route[{earlier}], every message would be sent twice");
            section.error("from", wrong, "remove one of them");
        }
        (true, false, _) => {
            let wrong = format!("differs from route[{earlier}] for the same messages and the same topic");
            section.error("key", wrong, "use one key, or two topics");
        }
        (true, true, false) => {
            let wrong = format!("differs from route[{earlier}] for the same messages and the same topic");
            section.error("format", wrong, "use one format, or two topics");
        }
    }
}

/// Readers of `CloudEvents` take two events of one source and id for the same one, and drop the second.
fn warn_of_one_id(route: &Config, other: &Config, earlier: usize, section: &mut Section<'_, '_>) {
    let field = |route: &Config, name: &str| {
        let templates = route.format.templates().into_iter();
        let mut found = templates.filter(|(field, _)| *field == name);
        found.next().map(|(_, template)| meaning(template, route))
    };
    let source = field(route, "cloudevents.source");
    let differs = |name: &str| field(route, name) != field(other, name);
    let may_meet = is_for_one_broker(route, other)
        && overlaps(route.from.filter(), other.from.filter())
        && route.when == other.when
        && route.matches == other.matches;
    if !may_meet || source.is_none() || source != field(other, "cloudevents.source") {
        return;
    }
    let differing = ["cloudevents.type", "cloudevents.subject"]
        .into_iter()
        .find(|name| differs(name));
    if let Some(name) = differing {
        let wrong = format!(
            "differs from route[{earlier}] for the same messages, and cloudevents.source does not: two events would have one \
             id, and readers drop one of them"
        );
        let right = "write another source for one of them, for example \"edgeferry/{gateway:id}/alarms\"";
        section.warn(name, wrong, right);
    }
}

fn shares_messages(route: &Config, other: &Config) -> bool {
    is_for_one_broker(route, other) && route.from.filter() == other.from.filter()
}

fn is_for_one_broker(route: &Config, other: &Config) -> bool {
    route.broker.is_none() || other.broker.is_none() || route.broker == other.broker
}

/// The template with each name replaced by its level, because two patterns may name one level differently.
fn meaning(template: &Template, route: &Config) -> String {
    template.render_with(|value| match (value.name(), &route.device) {
        (Some(DEVICE), Some(device)) => levels(device, &route.from),
        _ => level(value, &route.from),
    })
}

fn levels(template: &Template, pattern: &Pattern) -> String {
    template.render_with(|value| level(value, pattern))
}

/// Something that no template can say otherwise.
fn level(value: &Value, pattern: &Pattern) -> String {
    let level = value.name().and_then(|name| pattern.level_of(name));
    level.map_or_else(|| format!("{{{value}}}"), |level| format!("{{{level}}}"))
}
