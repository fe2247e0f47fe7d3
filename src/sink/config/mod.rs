//! `[kafka]`; `dead_letter` and `security` have parts of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use std::time::Duration;

use crate::route::is_legal_topic;
use crate::settings::{Address, Period, Section};
use crate::sink::properties::{self, RawProperties};

mod dead_letter;
mod security;

pub use dead_letter::{DeadLetterConfig, OnFull};
pub(crate) use dead_letter::{RawDeadLetter, resolve as resolve_dead_letter};
pub use security::{Sasl, Security};

/// A device may be announced before somebody made its topic; ten minutes are time for a person or a robot.
const DEFAULT_UNKNOWN_TOPIC_AFTER: Period = Period::secs(600);

/// What librdkafka can compress with; the first is the default.
const COMPRESSIONS: [(&str, &str); 5] = [
    ("lz4", "lz4"),
    ("zstd", "zstd"),
    ("gzip", "gzip"),
    ("snappy", "snappy"),
    ("none", "none"),
];

/// What a reader of the topics can rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// `"at-least-once"` (default): nothing is lost, duplicates are recognisable.
    AtLeastOnce,
    /// `"exactly-once"`: records and the queue's cursor are one transaction; for `read_committed` readers.
    ExactlyOnce,
}

/// What happens when a topic has more partitions than before: keys move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPartitionChange {
    /// `"warn"` (default): the new count is used as soon as it is known, and said.
    Warn,
    /// `"drain"`: what is under way is finished by the old count before the new one is used.
    Drain,
}

/// Which time Kafka sees as a record's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordTimestamp {
    /// `"arrival"` (default)
    Arrival,
    /// `"send"`
    Send,
}

/// `[kafka]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `bootstrap_servers`, at least one `host:port`.
    pub bootstrap_servers: Vec<String>,
    /// TLS and SASL.
    pub security: Security,
    /// `delivery`
    pub delivery: Delivery,
    /// `cursor_topic`: whose partition 0 carries the cursor of `exactly-once`; default the lane's first static topic.
    pub cursor_topic: Option<String>,
    /// `unknown_topic_after`: how long a topic with names in it may be absent before its messages become dead letters; default
    /// 10 min.
    pub unknown_topic_after: Duration,
    /// `on_partition_change`
    pub on_partition_change: OnPartitionChange,
    /// `record_timestamp`
    pub record_timestamp: RecordTimestamp,
    /// `compression` of produced batches: `lz4` (default), `zstd`, `gzip`, `snappy` or `none`.
    pub compression: String,
    /// `[kafka.properties]`: librdkafka properties passed through; none of them breaks a promise.
    pub properties: BTreeMap<String, String>,
}

/// `[kafka]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Raw {
    bootstrap_servers: Option<Vec<String>>,
    delivery: Option<String>,
    cursor_topic: Option<String>,
    unknown_topic_after: Option<Period>,
    on_partition_change: Option<String>,
    record_timestamp: Option<String>,
    compression: Option<String>,
    password_file: Option<PathBuf>,
    properties: RawProperties,
}

/// Checks `[kafka]`; where there is a problem, a default stands in.
pub(crate) fn resolve(raw: Raw, section: &mut Section<'_, '_>) -> Config {
    let [(default, _), ..] = COMPRESSIONS;
    let compression = section.one_of(
        "compression",
        raw.compression.as_deref(),
        &COMPRESSIONS,
        &[],
        default,
    );
    let deliveries = [
        ("at-least-once", Delivery::AtLeastOnce),
        ("exactly-once", Delivery::ExactlyOnce),
    ];
    let changes = [
        ("warn", OnPartitionChange::Warn),
        ("drain", OnPartitionChange::Drain),
    ];
    let times = [
        ("arrival", RecordTimestamp::Arrival),
        ("send", RecordTimestamp::Send),
    ];
    Config {
        bootstrap_servers: resolve_servers(raw.bootstrap_servers, section),
        security: Security {
            password_file: raw.password_file,
        },
        delivery: section.one_of(
            "delivery",
            raw.delivery.as_deref(),
            &deliveries,
            &[],
            Delivery::AtLeastOnce,
        ),
        cursor_topic: resolve_cursor_topic(raw.cursor_topic, section),
        unknown_topic_after: section
            .at_least(
                "unknown_topic_after",
                raw.unknown_topic_after,
                DEFAULT_UNKNOWN_TOPIC_AFTER,
                Period::secs(1),
            )
            .0,
        on_partition_change: section.one_of(
            "on_partition_change",
            raw.on_partition_change.as_deref(),
            &changes,
            &[],
            OnPartitionChange::Warn,
        ),
        record_timestamp: section.one_of(
            "record_timestamp",
            raw.record_timestamp.as_deref(),
            &times,
            &[],
            RecordTimestamp::Arrival,
        ),
        compression: compression.to_owned(),
        properties: properties::resolve(raw.properties, section),
    }
}

fn resolve_cursor_topic(topic: Option<String>, section: &mut Section<'_, '_>) -> Option<String> {
    let right = "Kafka allows 1 to 249 letters, digits, '.', '_' and '-', but not \".\" or \"..\"";
    if let Some(topic) = topic.as_ref().filter(|topic| !is_legal_topic(topic)) {
        section.error("cursor_topic", format!("{topic:?} is no topic name"), right);
    }
    topic.filter(|topic| is_legal_topic(topic))
}

fn resolve_servers(servers: Option<Vec<String>>, section: &mut Section<'_, '_>) -> Vec<String> {
    let right = "write for example bootstrap_servers = [\"127.0.0.1:9092\"]";
    let servers = section
        .required("bootstrap_servers", servers, right)
        .unwrap_or_default();
    if servers.is_empty() {
        section.error("bootstrap_servers", "is empty", right);
    }
    for (index, server) in servers.iter().enumerate() {
        let wrong = match Address::parse(server) {
            Ok(Address { port: Some(_), .. }) => continue,
            Ok(_) => format!("{server:?} has no port"),
            Err(error) => format!("{server:?} {error}"),
        };
        section.error(&format!("bootstrap_servers[{index}]"), wrong, "write host:port");
    }
    servers
}

#[cfg(test)]
impl Config {
    /// All defaults, and no servers.
    pub(crate) fn for_test() -> Self {
        Self {
            bootstrap_servers: Vec::new(),
            security: Security::default(),
            delivery: Delivery::AtLeastOnce,
            cursor_topic: None,
            unknown_topic_after: DEFAULT_UNKNOWN_TOPIC_AFTER.0,
            on_partition_change: OnPartitionChange::Warn,
            record_timestamp: RecordTimestamp::Arrival,
            compression: "lz4".to_owned(),
            properties: BTreeMap::new(),
        }
    }
}
