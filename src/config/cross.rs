//! What only brokers, lanes and routes together can tell.

use crate::config::{Lane, Status};
use crate::filter::{covers, overlaps};
use crate::route::Format;
use crate::route::format::wasp::payload_id::lane_mark;
use crate::settings::{Problems, Section};
use crate::sink::{self, Delivery};
use crate::source::{STATE, STATUS, Version, status_topic};
use crate::{route, source};

/// Checks that routes and brokers fit together. A route that could not be read is `None`, so that the others
/// keep their places in the file.
pub(super) fn check(
    brokers: &[source::Config],
    lanes: &[Lane],
    routes: &[Option<route::Config>],
    problems: &mut Problems<'_>,
) {
    check_use(lanes, routes, problems);
    check_lane_marks(lanes, routes, problems);
    for (index, route) in routes.iter().enumerate() {
        let Some(route) = route else { continue };
        let mut section = problems.section(format!("route[{index}]"));
        check_broker(brokers, route, &mut section);
        check_lane(lanes, route, &mut section);
        for (earlier, other) in routes.iter().take(index).enumerate() {
            if other
                .as_ref()
                .is_some_and(|other| would_share_with_itself(brokers, route, other))
            {
                let wrong = format!("is also what route[{earlier}] takes, in another lane");
                let right = "with shared_group each message comes to one lane alone: use one lane, or leave shared_group out";
                section.error("from", wrong, right);
            }
            if other
                .as_ref()
                .is_some_and(|other| may_arrive_twice(brokers, route, other))
            {
                warn_of_copies(earlier, &mut section);
            }
        }
    }
}

/// The gateway's own status must not come back to it as a message of a device: that would be a loop.
pub(super) fn check_status(
    brokers: &[source::Config],
    lanes: &[Lane],
    routes: &[Option<route::Config>],
    gateway: Option<&str>,
    problems: &mut Problems<'_>,
) {
    for (index, broker) in brokers.iter().enumerate() {
        let Some(topic) = &broker.status_topic else {
            continue;
        };
        let mut section = problems.section(format!("mqtt[{index}]"));
        if lanes.iter().any(|lane| lane.name == STATUS) {
            let wrong = format!("its client id would be that of lane {STATUS:?}");
            section.error("status_topic", wrong, "give the lane another name");
        }
        // What the id becomes is known on the gateway alone, if it has names in it.
        let known = gateway.filter(|id| !id.contains('{'));
        let topic = known.map_or_else(
            || status_topic::of_any_gateway(topic),
            |id| status_topic::of_gateway(topic, id),
        );
        let neighbours = brokers.iter().filter(|other| other.is_beside(broker));
        let neighbours: Vec<&str> = neighbours.map(|other| other.name.as_str()).collect();
        let takes = |route: &&route::Config| {
            neighbours.iter().any(|name| route.takes(name)) && overlaps(route.from.filter(), &topic)
        };
        let routes = routes.iter().enumerate();
        let mut routes = routes.filter_map(|(number, route)| Some((number, route.as_ref()?)));
        if let Some((number, route)) = routes.find(|(_, route)| takes(route)) {
            let wrong = format!(
                "is a topic that route[{number}] takes ({}): the gateway would forward its own word",
                route.from.filter()
            );
            section.error(
                "status_topic",
                wrong,
                "write a topic that no route of this broker takes",
            );
        }
    }
}

/// What the gateway tells of itself must not come back to it, nor lie among what it carries.
pub(super) fn check_state_topics(
    status: &Status,
    (brokers, lanes, routes): (&[source::Config], &[Lane], &[Option<route::Config>]),
    (gateway, letters): (Option<&str>, Option<&str>),
    problems: &mut Problems<'_>,
) {
    let mut section = problems.section("status");
    if let Some(topic) = &status.mqtt_topic {
        // What the id becomes is known on the gateway alone, if it has names in it.
        let complete = |topic: &str| match gateway.filter(|id| !id.contains('{')) {
            Some(id) => status_topic::of_gateway(topic, id),
            None => status_topic::of_any_gateway(topic),
        };
        let own = complete(topic);
        if lanes.iter().any(|lane| lane.name == STATE) {
            let wrong = format!("its client id would be that of lane {STATE:?}");
            section.error("mqtt_topic", wrong, "give the lane another name");
        }
        let is_word = |broker: &&source::Config| {
            let word = broker.status_topic.as_deref();
            word.is_some_and(|word| overlaps(&complete(word), &own))
        };
        if let Some(broker) = brokers.iter().find(is_word) {
            let wrong = format!("is the status_topic of broker {:?}", broker.name);
            section.error(
                "mqtt_topic",
                wrong,
                "write another topic: each would replace the other's retained message",
            );
        }
        let mut known = routes.iter().enumerate();
        let takes = |route: &route::Config| overlaps(route.from.filter(), &own);
        if let Some((number, Some(route))) = known.find(|(_, route)| route.as_ref().is_some_and(takes)) {
            let wrong = format!(
                "is a topic that route[{number}] takes ({}): the gateway would forward its own state",
                route.from.filter()
            );
            section.error("mqtt_topic", wrong, "write a topic that no route takes");
        }
    }
    let Some(topic) = &status.kafka_topic else { return };
    if letters == Some(topic.as_str()) {
        let wrong = format!("{topic:?} is the topic of the dead letters");
        section.error("kafka_topic", wrong, "write a topic of its own");
    }
    let may_be = |route: &route::Config| route.topic.may_render_to(topic);
    let mut routes = routes.iter().enumerate();
    if let Some((number, Some(route))) = routes.find(|(_, route)| route.as_ref().is_some_and(may_be)) {
        let is = if route.topic.is_static() { "is" } else { "may be" };
        let wrong = format!(
            "{topic:?} {is} the topic of route[{number}]: its readers would take the state for a message"
        );
        section.error("kafka_topic", wrong, "write a name that no route makes");
    }
}

/// Dead letters in a route's topic would be taken for its records.
pub(super) fn check_dead_letters(
    topic: Option<&str>,
    routes: &[Option<route::Config>],
    problems: &mut Problems<'_>,
) {
    let Some(topic) = topic else { return };
    let may_be = |route: &&route::Config| route.topic.may_render_to(topic);
    let routes = routes.iter().enumerate();
    let same = routes.filter_map(|(index, route)| route.as_ref().filter(may_be).map(|route| (index, route)));
    for (index, route) in same {
        let wrong = if route.topic.is_static() {
            format!("{topic:?} is the topic of route[{index}]")
        } else {
            format!(
                "{topic:?} may be the topic of route[{index}], which is {:?}",
                route.topic.to_string()
            )
        };
        let mut section = problems.section("dead_letter");
        section.error("topic", wrong, "write a name that no route makes");
    }
}

/// Exactly-once keeps each lane's cursor on a topic.
pub(super) fn check_cursor(
    kafka: &sink::Config,
    lanes: &[Lane],
    routes: &[Option<route::Config>],
    problems: &mut Problems<'_>,
) {
    let is_fine = kafka.delivery != Delivery::ExactlyOnce || kafka.cursor_topic.is_some();
    if is_fine || routes.iter().any(Option::is_none) {
        return;
    }
    let routes = || routes.iter().flatten();
    for lane in lanes {
        let is_used = routes().any(|route| route.lane == lane.name);
        let is_static = |route: &route::Config| route.lane == lane.name && route.topic.is_static();
        if is_used && !routes().any(is_static) {
            let wrong = format!(
                "is missing: lane {:?} has no route with a fixed topic to keep its cursor on",
                lane.name
            );
            problems.section("kafka").error(
                "cursor_topic",
                wrong,
                "write the name of a topic that is always there, for example cursor_topic = \"edgeferry-cursors\"",
            );
        }
    }
}

/// A lane that no route names runs only to be emptied.
fn check_use(lanes: &[Lane], routes: &[Option<route::Config>], problems: &mut Problems<'_>) {
    let tables = lanes.iter().filter(|lane| lane.has_table).enumerate();
    for (index, lane) in tables {
        let is_used = routes.iter().any(|route| match route {
            Some(route) => route.lane == lane.name,
            // It may be the one.
            None => true,
        });
        if !is_used {
            let mut section = problems.section(format!("lane[{index}]"));
            section.warn(
                "name",
                "no route uses this lane",
                "write lane = in a [[route]], or remove the table",
            );
        }
    }
}

/// WASP's `payloadId` has room for a mark of the lane only: two lanes with one mark would give two messages one id.
fn check_lane_marks(lanes: &[Lane], routes: &[Option<route::Config>], problems: &mut Problems<'_>) {
    // Any of them: a lane makes something of messages that came for another lane's route.
    let mut known = routes.iter().flatten();
    if !known.any(|route| matches!(route.format, Format::Wasp(_))) {
        return;
    }
    let tables = lanes.iter().filter(|lane| lane.has_table).enumerate();
    for (index, lane) in tables {
        let is_same =
            |other: &&Lane| other.name != lane.name && lane_mark(&other.name) == lane_mark(&lane.name);
        if let Some(other) = lanes.iter().find(is_same) {
            let wrong = format!(
                "{:?} and {:?} could not be told apart in the payloadId of format = \"wasp\"",
                lane.name, other.name
            );
            let mut section = problems.section(format!("lane[{index}]"));
            section.error("name", wrong, "write another name, for example with a digit more");
        }
    }
}

fn check_broker(brokers: &[source::Config], route: &route::Config, section: &mut Section<'_, '_>) {
    let Some(wanted) = &route.broker else { return };
    let known: Vec<&str> = brokers.iter().map(|broker| broker.name.as_str()).collect();
    // A broker without a name is a problem of its own, and may be the one that is meant.
    let are_named = !known.is_empty() && !known.contains(&"");
    if are_named && !known.contains(&wanted.as_str()) {
        let right = format!("name one of the [[mqtt]] tables: {}", known.join(", "));
        section.error("broker", format!("there is no broker {wanted:?}"), right);
    }
}

fn check_lane(lanes: &[Lane], route: &route::Config, section: &mut Section<'_, '_>) {
    if !lanes.iter().any(|lane| lane.name == route.lane) {
        let known: Vec<&str> = lanes.iter().map(|lane| lane.name.as_str()).collect();
        let right = format!(
            "write a table [[lane]] with this name, or one of: {}",
            known.join(", ")
        );
        section.error("lane", format!("there is no lane {:?}", route.lane), right);
    }
}

/// MQTT 3.1.1 leaves it to the broker whether a message that matches two subscriptions comes once or twice,
/// and has no subscription identifiers to tell. A covered filter is not subscribed, so it does no harm.
fn may_arrive_twice(brokers: &[source::Config], one: &route::Config, other: &route::Config) -> bool {
    let (first, second) = (one.from.filter(), other.from.filter());
    let same_session = one.lane == other.lane;
    let partly = overlaps(first, second) && !covers(first, second) && !covers(second, first);
    same_session
        && partly
        && brokers
            .iter()
            .any(|broker| is_ambiguous(broker) && one.takes(&broker.name) && other.takes(&broker.name))
}

/// Lanes have sessions of their own: two with the same shared filter are two members of the group.
fn would_share_with_itself(brokers: &[source::Config], one: &route::Config, other: &route::Config) -> bool {
    let is_shared = |broker: &source::Config| {
        broker.shared_group.is_some() && one.takes(&broker.name) && other.takes(&broker.name)
    };
    one.lane != other.lane && one.from.filter() == other.from.filter() && brokers.iter().any(is_shared)
}

/// The members of a group get some of the copies each, so identifiers do not tell there either.
fn is_ambiguous(broker: &source::Config) -> bool {
    broker.version == Version::V3_1_1 || broker.shared_group.is_some()
}

fn warn_of_copies(earlier: usize, section: &mut Section<'_, '_>) {
    let what = format!("overlaps with route[{earlier}].from in part");
    let instead = "an MQTT 3.1.1 broker, and any with shared_group, may send such a message once for each; use version = \
                   \"5\" or one wider pattern";
    section.warn("from", what, instead);
}
