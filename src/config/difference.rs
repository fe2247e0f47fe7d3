//! What is different between two configurations, and what it takes to apply that. Pure.
//!
//! Every structure is taken apart completely, so that a new setting does not compile until somebody has decided here what
//! a change of it takes. `docs/operations.md` has the result as a table, which a test compares.

use std::fmt;

use super::{Config, Gateway, Lane, Log, Status as Told};
use crate::ops::http::Config as Http;
use crate::queue::Config as Queue;
use crate::route::Config as Route;
use crate::sink::{Config as Kafka, DeadLetterConfig as Letters};
use crate::source::Config as Broker;

/// All changes, in the order in which they are told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Each setting, or table, that is another one.
    pub changes: Vec<Change>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The setting or table, for people: `kafka.max_rate`, `route[1]`, `lane alarms`. Empty: it goes along with another change,
    /// and is not told.
    pub setting: String,
    /// What happened to it, for people.
    pub what: String,
    /// What it takes.
    pub takes: Takes,
}

/// What it takes to apply a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Takes {
    /// A start of the process, for this reason.
    Restart(&'static str),
    /// All lanes are stopped and started anew.
    AllLanes,
    /// The lanes whose plan is another one by it.
    Plans,
    /// The lanes with a connection to the broker of this name, before or after.
    Broker(String),
    /// The lanes that carry the route, before or after, and those that get messages which it may want.
    Route {
        /// As it was; `None` for a new one.
        before: Option<Box<Route>>,
        /// As it is; `None` when it is gone.
        after: Option<Box<Route>>,
    },
    /// The lanes whose own routes stand in another order.
    Order,
    /// The forwarding of dead letters.
    Forwarding,
    /// The connection for the status topic at the broker of this name.
    Status(String),
    /// Those who tell the state (`[status]`).
    Telling,
    /// The log.
    Log,
}

/// The fields of a structure that are different, by the name of their setting. All fields have to be there.
macro_rules! changed {
    ($old:expr, $new:expr, $type:ident { $($field:ident => $setting:literal),* $(,)? } $(apart from { $($apart:ident),* })?) => {{
        let $type { $($field,)* $($($apart: _,)*)? } = $old;
        let mut changed: Vec<&'static str> = Vec::new();
        $(if *$field != $new.$field {
            changed.push($setting);
        })*
        changed
    }};
}

impl Difference {
    /// What is different in `new`.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        let Config {
            gateway,
            brokers,
            routes,
            queue,
            lanes,
            kafka,
            dead_letter,
            http,
            log,
            status,
        } = old;
        let mut changes = of_gateway(gateway, &new.gateway);
        changes.extend(of_brokers(brokers, &new.brokers));
        changes.extend(of_routes(routes, &new.routes));
        changes.extend(settings("queue", &of_queue(queue, &new.queue), &Takes::Plans));
        changes.extend(of_lanes(lanes, &new.lanes));
        changes.extend(of_kafka(kafka, &new.kafka));
        changes.extend(of_letters(dead_letter, &new.dead_letter));
        changes.extend(of_http(http, &new.http));
        changes.extend(of_told(status, &new.status));
        changes.extend(of_log(*log, new.log));
        Self { changes }
    }

    /// Whether the files say the same.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What cannot be applied while the process runs.
    pub fn restarts(&self) -> impl Iterator<Item = (&Change, &'static str)> {
        self.changes.iter().filter_map(|change| match change.takes {
            Takes::Restart(why) => Some((change, why)),
            _ => None,
        })
    }

    /// Whether this is among what is to do.
    pub fn takes(&self, is_meant: impl Fn(&Takes) -> bool) -> bool {
        self.changes.iter().any(|change| is_meant(&change.takes))
    }

    /// Whether `[kafka]` is another one.
    #[must_use]
    pub fn is_about_kafka(&self) -> bool {
        self.changes
            .iter()
            .any(|change| change.setting.starts_with("kafka."))
    }

    /// Whether the broker's own table is another one, or new.
    #[must_use]
    pub fn is_about_broker(&self, name: &str) -> bool {
        self.takes(|takes| matches!(takes, Takes::Broker(broker) if broker == name))
    }
}

/// One line: `route[1] changed (topic); lane alarms added`.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.changes.iter().filter(|change| !change.setting.is_empty());
        for (number, change) in told.enumerate() {
            let gap = if number == 0 { "" } else { "; " };
            write!(f, "{gap}{change}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.what)
    }
}

fn change(setting: impl Into<String>, what: impl Into<String>, takes: Takes) -> Change {
    Change {
        setting: setting.into(),
        what: what.into(),
        takes,
    }
}

/// Each of these settings of a table by itself.
fn settings(table: &str, changed: &[&'static str], takes: &Takes) -> Vec<Change> {
    let one = |name: &&'static str| change(format!("{table}.{name}"), "changed", takes.clone());
    changed.iter().map(one).collect()
}

fn of_gateway(old: &Gateway, new: &Gateway) -> Vec<Change> {
    let changed = changed!(old, new, Gateway { id => "id", data_dir => "data_dir" });
    let why = |name: &&'static str| match *name {
        "id" => "it is part of all message ids, client ids and transactional ids that are in use",
        _ => "the store is another one",
    };
    let one = |name| change(format!("gateway.{name}"), "changed", Takes::Restart(why(name)));
    changed.iter().map(one).collect()
}

fn of_http(old: &Http, new: &Http) -> Vec<Change> {
    let changed = changed!(old, new, Http { listen => "listen", token_file => "token_file" });
    let takes = Takes::Restart("the server of the page and the metrics is set up once");
    settings("http", &changed, &takes)
}

fn of_told(old: &Told, new: &Told) -> Vec<Change> {
    let changed = changed!(old, new, Told {
        kafka_topic => "kafka_topic",
        mqtt_topic => "mqtt_topic",
        interval => "interval",
    });
    settings("status", &changed, &Takes::Telling)
}

fn of_brokers(old: &[Broker], new: &[Broker]) -> Vec<Change> {
    let table = |broker: &Broker| format!("mqtt {}", broker.name);
    let takes = |broker: &Broker| Takes::Broker(broker.name.clone());
    let mut changes = Vec::new();
    for before in old {
        let Some(after) = new.iter().find(|broker| broker.name == before.name) else {
            changes.push(change(table(before), "removed", takes(before)));
            changes.extend(is_watched(before).then(|| told_anew(before)));
            continue;
        };
        let fields = of_broker(before, after);
        if !fields.is_empty() {
            let what = format!("changed ({})", fields.join(", "));
            changes.push(change(table(before), what, takes(before)));
        }
        let beside = beside_lanes(before, after);
        if !beside.is_empty() {
            let what = format!("changed ({})", beside.join(", "));
            changes.push(change(table(after), what, Takes::Status(after.name.clone())));
        } else if !fields.is_empty() && is_watched(after) {
            changes.push(told_anew(after));
        }
    }
    let is_new = |broker: &&Broker| old.iter().all(|before| before.name != broker.name);
    for after in new.iter().filter(is_new) {
        changes.push(change(table(after), "added", takes(after)));
        changes.extend(is_watched(after).then(|| told_anew(after)));
    }
    changes
}

/// What goes along with another table, and need not be said.
fn told_anew(broker: &Broker) -> Change {
    change("", "", Takes::Status(broker.name.clone()))
}

/// What the connection beside the lanes is for.
fn beside_lanes(old: &Broker, new: &Broker) -> Vec<&'static str> {
    let status = (old.status_topic != new.status_topic).then_some("status_topic");
    let watch = (old.watch_broker != new.watch_broker).then_some("watch_broker");
    status.into_iter().chain(watch).collect()
}

/// Whether there is a connection beside the lanes.
const fn is_watched(broker: &Broker) -> bool {
    broker.status_topic.is_some() || broker.watch_broker
}

/// Without what the connection beside the lanes is for.
fn of_broker(old: &Broker, new: &Broker) -> Vec<&'static str> {
    changed!(
        old,
        new,
        Broker {
            name => "name",
            endpoint => "url",
            tls => "ca_file, cert_file, key_file",
            version => "version",
            client_id => "client_id",
            username => "username",
            password_file => "password_file",
            session_expiry => "session_expiry",
            receive_maximum => "receive_maximum",
            max_packet_size => "max_packet_size",
            keep_alive => "keep_alive",
            shared_group => "shared_group",
        } apart from { status_topic, watch_broker }
    )
}

fn of_route(old: &Route, new: &Route) -> Vec<&'static str> {
    changed!(
        old,
        new,
        Route {
            from => "from",
            matches => "match",
            when => "when",
            retained => "retained",
            device => "device",
            topic => "topic",
            key => "key",
            partition_by => "partition_by",
            format => "format",
            headers => "headers",
            add_headers => "add_headers",
            max_payload => "max_payload",
            broker => "broker",
            lane => "lane",
            qos => "qos",
            unique_times => "unique_times",
        }
    )
}

/// `share` is no setting: a lane gets its part of the memory when it is opened.
fn of_queue(old: &Queue, new: &Queue) -> Vec<&'static str> {
    changed!(
        old,
        new,
        Queue {
            max_bytes => "max_bytes",
            min_free_bytes => "min_free_bytes",
            max_age => "max_age",
            on_full => "on_full",
            commit_interval => "commit_interval",
            commit_interval_max => "commit_interval_max",
            flash_budget => "flash_budget",
            compression => "compression",
            key_file => "key_file",
            old_key_files => "old_key_files",
        } apart from { share }
    )
}

/// Routes have no names: equal ones belong together first, then those with the same filter, then those at the same place.
fn of_routes(old: &[Route], new: &[Route]) -> Vec<Change> {
    let (mut gone, mut come) = unequal(old, new);
    let order = (stay(old, &gone) != stay(new, &come))
        .then(|| change("routes", "stand in another order", Takes::Order));
    let mut changes = Vec::new();
    let pairs: [IsPair; 2] = [
        |(_, before), (_, after)| before.mark().has_the_filter_of(&after.mark()),
        |(place, _), (other, _)| place == other,
    ];
    for is_pair in pairs {
        gone.retain(|before| {
            let at = come.iter().position(|after| is_pair(*before, *after));
            let pair = at.map(|at| come.remove(at));
            if let Some((place, after)) = pair {
                changes.push(edited(place, before.1, after));
            }
            pair.is_none()
        });
    }
    let boxed = |route: &Route| Some(Box::new(route.clone()));
    changes.extend(gone.iter().map(|(place, before)| {
        let (before, after) = (boxed(before), None);
        change(
            format!("route[{place}]"),
            "removed",
            Takes::Route { before, after },
        )
    }));
    changes.extend(come.iter().map(|(place, after)| {
        let (before, after) = (None, boxed(after));
        change(format!("route[{place}]"), "added", Takes::Route { before, after })
    }));
    changes.sort_by(|one, other| one.setting.cmp(&other.setting));
    changes.extend(order);
    changes
}

/// The routes that have their equals in the other file, in their order.
fn stay<'a>(routes: &'a [Route], unequal: &Placed<'_>) -> Vec<&'a Route> {
    let places = routes.iter().enumerate();
    let is_equal = |place: usize| unequal.iter().all(|(other, _)| *other != place);
    places
        .filter(|(place, _)| is_equal(*place))
        .map(|(_, route)| route)
        .collect()
}

fn edited(place: usize, before: &Route, after: &Route) -> Change {
    let fields = of_route(before, after).join(", ");
    let takes = Takes::Route {
        before: Some(Box::new(before.clone())),
        after: Some(Box::new(after.clone())),
    };
    change(format!("route[{place}]"), format!("changed ({fields})"), takes)
}

type Placed<'a> = Vec<(usize, &'a Route)>;
/// Whether a route of before and one of now, each with its place, are the same one, edited.
type IsPair = fn((usize, &Route), (usize, &Route)) -> bool;

/// What of each has no equal in the other.
fn unequal<'a>(old: &'a [Route], new: &'a [Route]) -> (Placed<'a>, Placed<'a>) {
    let mut come: Placed<'a> = new.iter().enumerate().collect();
    let mut gone: Placed<'a> = old.iter().enumerate().collect();
    gone.retain(|(_, before)| {
        let at = come.iter().position(|(_, after)| after == before);
        at.map(|at| come.remove(at)).is_none()
    });
    (gone, come)
}

fn of_lanes(old: &[Lane], new: &[Lane]) -> Vec<Change> {
    let table = |lane: &Lane| format!("lane {}", lane.name);
    let mut changes = Vec::new();
    for before in old {
        let Some(after) = new.iter().find(|lane| lane.name == before.name) else {
            changes.push(change(table(before), "removed", Takes::Plans));
            continue;
        };
        let mut fields = changed!(
            before,
            after,
            Lane {
                name => "name",
                weight => "weight",
                max_rate => "max_rate",
            } apart from { queue, has_table }
        );
        // What a lane without a table has is told as that of `[queue]`.
        if before.has_table || after.has_table {
            fields.extend(of_queue(&before.queue, &after.queue));
        }
        // A lane that leaves keeps its policies as long as it has a table, also one that says nothing else.
        if fields.is_empty() && before.has_table != after.has_table {
            fields.push(if after.has_table {
                "table added"
            } else {
                "table removed"
            });
        }
        if !fields.is_empty() {
            let what = format!("changed ({})", fields.join(", "));
            changes.push(change(table(before), what, Takes::Plans));
        }
    }
    let is_new = |lane: &&Lane| old.iter().all(|before| before.name != lane.name);
    let added = new.iter().filter(is_new);
    changes.extend(added.map(|lane| change(table(lane), "added", Takes::Plans)));
    changes
}

fn of_kafka(old: &Kafka, new: &Kafka) -> Vec<Change> {
    let changed = changed!(
        old,
        new,
        Kafka {
            bootstrap_servers => "bootstrap_servers",
            security => "tls and sasl",
            delivery => "delivery",
            preset => "preset",
            max_rate => "max_rate",
            cursor_topic => "cursor_topic",
            unknown_topic_after => "unknown_topic_after",
            on_partition_change => "on_partition_change",
            partitioner => "partitioner",
            record_timestamp => "record_timestamp",
            compression => "compression",
            properties => "properties",
        }
    );
    settings("kafka", &changed, &Takes::AllLanes)
}

fn of_letters(old: &Letters, new: &Letters) -> Vec<Change> {
    let changed = changed!(
        old,
        new,
        Letters {
            max_bytes => "max_bytes",
            on_full => "on_full",
            topic => "topic",
        }
    );
    let takes = |name: &str| match name {
        "topic" => Takes::Forwarding,
        _ => Takes::AllLanes,
    };
    let one = |name: &&'static str| change(format!("dead_letter.{name}"), "changed", takes(name));
    changed.iter().map(one).collect()
}

fn of_log(old: Log, new: Log) -> Vec<Change> {
    let changed = changed!(&old, new, Log { level => "level" });
    settings("log", &changed, &Takes::Log)
}

#[cfg(test)]
mod tests;
