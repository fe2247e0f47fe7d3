//! What is to be said of a topic: whether it can hold what this configuration sends to it. Pure.

use std::time::Duration;

use super::wanted::{Use, Wanted};
use crate::config::Config;
use crate::route::Format;
use crate::sink::admin::Topic;
use crate::sink::{RecordTimestamp, size};

/// Key, headers and framing of a record beside its payload, generously.
const RECORD_OVERHEAD: u64 = 1024;
/// Less than a clock may drift in the time that a network is away.
const AHEAD_MIN: Duration = Duration::from_mins(10);

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Level {
    /// It works; somebody should think about it.
    Warning,
    /// Messages cannot be delivered as it is.
    Error,
}

/// One thing to say.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Remark {
    pub level: Level,
    pub text: String,
}

fn warning(text: impl Into<String>) -> Remark {
    Remark {
        level: Level::Warning,
        text: text.into(),
    }
}

fn error(text: impl Into<String>) -> Remark {
    Remark {
        level: Level::Error,
        text: text.into(),
    }
}

/// What is to be said of a topic that is there.
pub(super) fn judge(config: &Config, wanted: &Wanted, topic: &Topic) -> Vec<Remark> {
    let mut remarks = replication(topic);
    if topic.leaderless > 0 {
        remarks.push(error(format!(
            "{} of {} partitions have no leader: what belongs there waits",
            topic.leaderless, topic.partitions
        )));
    }
    let carries_records = wanted
        .uses
        .iter()
        .any(|needed| matches!(needed, Use::Route(_) | Use::DeadLetter));
    match &topic.settings {
        Err(code) => remarks.push(warning(format!(
            "its settings cannot be read ({code}): that needs the right DescribeConfigs on it"
        ))),
        Ok(_) if carries_records => {
            remarks.extend(retention(config, wanted, topic));
            remarks.extend(size(config, wanted, topic));
            remarks.extend(times(wanted, topic));
            remarks.extend(compaction(topic));
        }
        Ok(_) => {}
    }
    remarks
}

/// What is to be said of the configuration as a whole: routes whose records may be more than the client takes.
pub(super) fn overall(config: &Config) -> Vec<Remark> {
    let routes = config.routes.iter().enumerate();
    let remarks = routes.filter_map(|(number, route)| Some(warning(too_large(config, number, route)?)));
    remarks.collect()
}

fn too_large(config: &Config, number: usize, route: &crate::route::Config) -> Option<String> {
    let (payload, client) = (largest_payload_of(config, route), client_max(config));
    let record = route.format.largest(payload).saturating_add(RECORD_OVERHEAD);
    if record <= client {
        return None;
    }
    let growth = match route.format.largest(payload) > payload {
        true => format!(
            "format = {:?} makes them up to {record} bytes",
            route.format.name()
        ),
        false => format!("with headers they are up to {record} bytes"),
    };
    let fits = largest_that_fits(&route.format, client);
    Some(format!(
        "route[{number}] takes payloads of up to {payload} bytes, {growth}, and the Kafka client sends records of {client} at \
         most: larger ones become dead letters when they are sent. Payloads of up to {fits} bytes fit in any case: write \
         max_payload = {fits} in the route and a longer one is a dead letter at once; or set message.max.bytes in \
         [kafka.properties] to {record}, and max.message.bytes of the topics"
    ))
}

/// The longest payload whose record the client takes whatever is in it, bytes.
fn largest_that_fits(format: &Format, client: u64) -> u64 {
    let is_fitting = |payload: u64| format.largest(payload).saturating_add(RECORD_OVERHEAD) <= client;
    let (mut fits, mut over) = (0, client.saturating_add(1));
    while over - fits > 1 {
        let middle = fits + (over - fits) / 2;
        match is_fitting(middle) {
            true => fits = middle,
            false => over = middle,
        }
    }
    fits
}

fn setting<'a>(topic: &'a Topic, name: &str) -> Option<&'a str> {
    topic.settings.as_ref().ok()?.get(name).map(String::as_str)
}

fn number(topic: &Topic, name: &str) -> Option<i64> {
    setting(topic, name)?.parse().ok()
}

fn replication(topic: &Topic) -> Vec<Remark> {
    let Some(least) = number(topic, "min.insync.replicas").and_then(|least| usize::try_from(least).ok())
    else {
        return Vec::new();
    };
    let (replicas, in_sync) = (topic.replicas, topic.in_sync);
    let mut remarks = Vec::new();
    if least > replicas {
        remarks.push(error(format!(
            "min.insync.replicas is {least}, but it has {replicas} replicas: Kafka takes nothing"
        )));
    } else if least > in_sync {
        remarks.push(error(format!(
            "min.insync.replicas is {least}, and only {in_sync} are in sync now: Kafka takes nothing until they are"
        )));
    } else if least == 1 && replicas > 1 {
        remarks.push(warning(format!(
            "min.insync.replicas is 1 with {replicas} replicas: what one broker alone has confirmed is lost with it; 2 is safe"
        )));
    }
    if replicas > 1 && least == replicas {
        remarks.push(warning(format!(
            "min.insync.replicas is {least} of {replicas} replicas: Kafka takes nothing while any of their brokers is away"
        )));
    }
    remarks
}

/// Kafka deletes by the record's time, so what waited here for longer than the retention is gone as soon as it is there.
fn retention(config: &Config, wanted: &Wanted, topic: &Topic) -> Option<Remark> {
    let kept = number(topic, "retention.ms").and_then(|ms| u64::try_from(ms).ok())?;
    let deletes = setting(topic, "cleanup.policy").is_none_or(|policy| policy.contains("delete"));
    let by_broker = setting(topic, "message.timestamp.type") == Some("LogAppendTime");
    // The time of a letter is its arrival, whatever is configured.
    let letters = wanted.takes_letters();
    let by_arrival = letters || config.kafka.record_timestamp == RecordTimestamp::Arrival;
    if !deletes || by_broker || !by_arrival {
        return None;
    }
    let kept = Duration::from_millis(kept);
    if letters {
        return Some(warning(format!(
            "retention is {}, and letters may wait without end: Kafka deletes what waited longer soon after it arrives. Raise \
             retention.ms",
            humantime::format_duration(kept)
        )));
    }
    let age = backlog_age(config, wanted);
    if age.is_some_and(|age| age < kept) {
        return None;
    }
    let age = match age {
        Some(age) => format!("for max_age = {}", humantime::format_duration(age)),
        None => "for as long as the queue holds (no max_age)".to_owned(),
    };
    Some(warning(format!(
        "retention is {}, and messages may wait {age}: Kafka deletes what waited longer soon after it arrives. Raise \
         retention.ms, set max_age below it, or record_timestamp = \"send\"",
        humantime::format_duration(kept)
    )))
}

/// The routes that send to it.
fn routes<'a>(
    config: &'a Config,
    wanted: &'a Wanted,
) -> impl Iterator<Item = &'a crate::route::Config> + Clone {
    wanted.uses.iter().filter_map(|needed| match needed {
        Use::Route(number) => config.routes.get(*number),
        Use::Cursor | Use::DeadLetter | Use::Status => None,
    })
}

/// The longest that a message for this topic may wait; `None` when there is no limit.
pub(super) fn backlog_age(config: &Config, wanted: &Wanted) -> Option<Duration> {
    let ages = routes(config, wanted).map(|route| {
        let lane = config.lanes.iter().find(|lane| lane.name == route.lane);
        lane.map_or(config.queue.max_age, |lane| lane.queue.max_age)
    });
    ages.collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn largest_payload(config: &Config) -> u64 {
    let sizes = config.brokers.iter().map(|broker| broker.max_packet_size as u64);
    sizes.max().unwrap_or(0)
}

fn client_max(config: &Config) -> u64 {
    size::most(&config.kafka) as u64
}

/// The smallest link of the chain decides; the client's own is said once, for all topics.
fn size(config: &Config, wanted: &Wanted, topic: &Topic) -> Option<Remark> {
    let taken = number(topic, "max.message.bytes").and_then(|bytes| u64::try_from(bytes).ok())?;
    let (payload, larger) = if wanted.takes_letters() {
        (largest_payload(config), "stay here")
    } else {
        let values = routes(config, wanted).map(|route| largest_value(config, route));
        (values.max().unwrap_or(0), "become dead letters")
    };
    let sent = payload.saturating_add(RECORD_OVERHEAD).min(client_max(config));
    (taken < sent).then(|| {
        warning(format!(
            "max.message.bytes is {taken}, and records of up to {sent} bytes may come: larger ones {larger} unless \
             compression makes them fit. Raise it, or set max_payload in the route or max_packet_size"
        ))
    })
}

/// The largest value of a record of this route: the format may add to the payload.
fn largest_value(config: &Config, route: &crate::route::Config) -> u64 {
    route.format.largest(largest_payload_of(config, route))
}

/// The largest payload that the route takes.
fn largest_payload_of(config: &Config, route: &crate::route::Config) -> u64 {
    let brokers = config.brokers.iter().filter(|broker| route.takes(&broker.name));
    let payload = brokers
        .map(|broker| broker.max_packet_size as u64)
        .max()
        .unwrap_or(0);
    route.max_payload.map_or(payload, |limit| limit.min(payload))
}

/// A record gets another time when Kafka refuses its own; a letter does not.
fn times(wanted: &Wanted, topic: &Topic) -> Vec<Remark> {
    if setting(topic, "message.timestamp.type") == Some("LogAppendTime") {
        return Vec::new();
    }
    let limit = |name| {
        let ms = number(topic, name).and_then(|ms| u64::try_from(ms).ok())?;
        Some(Duration::from_millis(ms))
    };
    let (ahead_of, older) = if wanted.takes_letters() {
        (
            "letters of a clock that is further ahead stay here",
            "letters that are older stay here",
        )
    } else {
        (
            "records of a clock that is further ahead get an earlier time",
            "what waited longer gets the time of sending",
        )
    };
    let mut remarks = Vec::new();
    if let Some(ahead) = limit("message.timestamp.after.max.ms").filter(|ahead| *ahead < AHEAD_MIN) {
        remarks.push(warning(format!(
            "message.timestamp.after.max.ms is {}: {ahead_of}",
            humantime::format_duration(ahead)
        )));
    }
    let old = number(topic, "message.timestamp.before.max.ms").filter(|ms| *ms < i64::MAX);
    if let Some(old) = old.and_then(|ms| u64::try_from(ms).ok()) {
        remarks.push(warning(format!(
            "message.timestamp.before.max.ms is {}: {older}",
            humantime::format_duration(Duration::from_millis(old))
        )));
    }
    remarks
}

fn compaction(topic: &Topic) -> Option<Remark> {
    let policy = setting(topic, "cleanup.policy")?;
    policy.contains("compact").then(|| {
        warning(format!(
            "cleanup.policy is {policy}: Kafka keeps the newest value of each key (device), older ones go"
        ))
    })
}

/// What is to be said of routes whose topics have names in them.
pub(super) const TEMPLATED: &str =
    "which topics it needs is known only when messages come; make them before, edgeferry makes none";

#[cfg(test)]
mod tests;
