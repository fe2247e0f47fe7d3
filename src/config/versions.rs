//! What routes ask of messages that MQTT 3.1.1 does not have.

use crate::route;
use crate::route::condition::Test;
use crate::route::template::Template;
use crate::route::value::Value;
use crate::settings::{Problems, Section};
use crate::source::{self, Version};

const RIGHT: &str = "write version = \"5\" in [[mqtt]], or use the topic or the payload";

/// Where a route asks for a property.
struct Use {
    field: String,
    name: String,
    /// Without the property there is nothing that the route could do with a message.
    is_needed: bool,
}

/// Refuses routes whose brokers all speak a version without what the route needs, and warns when some do.
pub(super) fn check(
    brokers: &[source::Config],
    routes: &[Option<route::Config>],
    problems: &mut Problems<'_>,
) {
    for (index, route) in routes.iter().enumerate() {
        let Some(route) = route else { continue };
        let mut section = problems.section(format!("route[{index}]"));
        check_route(brokers, route, &mut section);
    }
}

fn check_route(brokers: &[source::Config], route: &route::Config, section: &mut Section<'_, '_>) {
    let (old, new): (Vec<_>, Vec<_>) = brokers
        .iter()
        .filter(|broker| route.takes(&broker.name))
        .partition(|broker| broker.version == Version::V3_1_1);
    if old.is_empty() {
        return;
    }
    let names: Vec<&str> = old.iter().map(|broker| broker.name.as_str()).collect();
    for one in uses(route) {
        let wrong = format!(
            "asks for {}, which no message of MQTT 3.1.1 has, and so none from {}",
            one.name,
            names.join(", ")
        );
        match one.is_needed && new.is_empty() {
            true => section.error(&one.field, wrong, RIGHT),
            false => section.warn(&one.field, wrong, RIGHT),
        }
    }
}

fn uses(route: &route::Config) -> Vec<Use> {
    let when = route.when.iter().enumerate().map(|(number, condition)| Use {
        field: format!("when[{number}].value"),
        name: condition.value.to_string(),
        // What is not there may be what is wanted.
        is_needed: condition.is_inverted == (condition.test == Test::Exists(false)),
    });
    let when = when.zip(route.when.iter().map(|condition| &condition.value));
    let when = when.filter(|(_, value)| value.is_property()).map(|(one, _)| one);
    let mut all: Vec<Use> = when.collect();
    let own = [("topic", &route.topic), ("key", &route.key)].into_iter();
    let own = own.chain(route.device.iter().map(|device| ("device", device)));
    let own = own.chain(route.partition_by.iter().map(|by| ("partition_by", by)));
    let own = own.chain(route.format.templates());
    all.extend(own.flat_map(|(field, template)| of_template(field.to_owned(), template)));
    let added = route.add_headers.iter();
    all.extend(added.flat_map(|(name, template)| of_template(format!("add_headers.{name}"), template)));
    all
}

fn of_template(field: String, template: &Template) -> impl Iterator<Item = Use> {
    let properties = template.values().filter(|value| Value::is_property(value));
    properties.map(move |value| Use {
        field: field.clone(),
        name: format!("{{{value}}}"),
        is_needed: true,
    })
}
