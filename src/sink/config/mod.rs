//! `[kafka]`; `dead_letter` and `security` have parts of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use std::time::Duration;

use crate::route::is_legal_topic;
use crate::settings::{Address, Period, Rate, Section};
use crate::sink::partition::Partitioner;
use crate::sink::properties::{self, RawProperties};

mod dead_letter;
mod security;

pub use dead_letter::{DeadLetterConfig, OnFull};
pub(crate) use dead_letter::{RawDeadLetter, resolve as resolve_dead_letter};
use security::RawSecurity;
pub use security::{ClientCertificate, Mechanism, Sasl, Security, Tls};

/// A device may be announced before somebody made its topic; ten minutes are time for a person or a robot.
const DEFAULT_UNKNOWN_TOPIC_AFTER: Period = Period::secs(600);

/// What librdkafka can compress with.
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

impl Delivery {
    /// As the file says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "at-least-once",
            Self::ExactlyOnce => "exactly-once",
        }
    }
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

/// What the client is tuned for. Each is a set of defaults; `[kafka.properties]` and `compression` go over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Without `preset`: small batches within some milliseconds.
    Balanced,
    /// `"latency"`: nothing waits for company.
    Latency,
    /// `"throughput"`: large batches, well compressed, for slow and metered links.
    Throughput,
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
    /// `preset`
    pub preset: Preset,
    /// `max_rate`: what all lanes together may send; default no limit.
    pub max_rate: Option<Rate>,
    /// `cursor_topic`: whose partition 0 carries the cursor of `exactly-once`; default the lane's first fixed topic.
    pub cursor_topic: Option<String>,
    /// `unknown_topic_after`: how long a topic with names in it may be absent before its messages become dead letters; default
    /// 10 min.
    pub unknown_topic_after: Duration,
    /// `on_partition_change`
    pub on_partition_change: OnPartitionChange,
    /// `partitioner`
    pub partitioner: Partitioner,
    /// `record_timestamp`
    pub record_timestamp: RecordTimestamp,
    /// `compression` of produced batches: `lz4` (default; `zstd` with `preset = "throughput"`), `zstd`, `gzip`, `snappy` or
    /// `none`.
    pub compression: String,
    /// `[kafka.properties]`: librdkafka properties passed through; none of them breaks a promise.
    pub properties: BTreeMap<String, String>,
}

impl Config {
    /// Whoever was let in with one is let in with the other: the same place, and the same proof of who comes.
    pub(crate) fn is_same_way_in(&self, other: &Self) -> bool {
        self.bootstrap_servers == other.bootstrap_servers
            && self.security == other.security
            && self.properties == other.properties
    }
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
    partitioner: Option<String>,
    record_timestamp: Option<String>,
    preset: Option<String>,
    max_rate: Option<Rate>,
    compression: Option<String>,
    tls: Option<bool>,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    key_password_file: Option<PathBuf>,
    sasl: Option<String>,
    username: Option<String>,
    password_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    properties: RawProperties,
}

/// Checks `[kafka]`; where there is a problem, a default stands in.
pub(crate) fn resolve(raw: Raw, section: &mut Section<'_, '_>) -> Config {
    let properties = properties::resolve(raw.properties, section);
    let preset = resolve_preset(raw.preset.as_deref(), section);
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
        security: security::resolve(
            RawSecurity {
                tls: raw.tls,
                ca_file: raw.ca_file,
                cert_file: raw.cert_file,
                key_file: raw.key_file,
                key_password_file: raw.key_password_file,
                sasl: raw.sasl,
                username: raw.username,
                password_file: raw.password_file,
                token_file: raw.token_file,
            },
            &properties,
            section,
        ),
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
        partitioner: resolve_partitioner(raw.partitioner.as_deref(), section),
        record_timestamp: section.one_of(
            "record_timestamp",
            raw.record_timestamp.as_deref(),
            &times,
            &[],
            RecordTimestamp::Arrival,
        ),
        preset,
        max_rate: resolve_max_rate(raw.max_rate, section),
        compression: resolve_compression(raw.compression.as_deref(), preset, section),
        properties,
    }
}

fn resolve_partitioner(word: Option<&str>, section: &mut Section<'_, '_>) -> Partitioner {
    let known = [Partitioner::Murmur2, Partitioner::Crc32].map(|known| (known.name(), known));
    section.one_of("partitioner", word, &known, &[], Partitioner::default())
}

fn resolve_preset(word: Option<&str>, section: &mut Section<'_, '_>) -> Preset {
    let presets = [("latency", Preset::Latency), ("throughput", Preset::Throughput)];
    section.one_of("preset", word, &presets, &[], Preset::Balanced)
}

fn resolve_compression(word: Option<&str>, preset: Preset, section: &mut Section<'_, '_>) -> String {
    let default = match preset {
        Preset::Throughput => "zstd",
        Preset::Balanced | Preset::Latency => "lz4",
    };
    section
        .one_of("compression", word, &COMPRESSIONS, &[], default)
        .to_owned()
}

/// Checks a `max_rate`, of `[kafka]` or of a lane.
pub(crate) fn resolve_max_rate(rate: Option<Rate>, section: &mut Section<'_, '_>) -> Option<Rate> {
    let rate = rate?;
    Some(section.at_least("max_rate", Some(rate), rate, rate.least()))
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
            _ if server.contains(',') => {
                format!("{server:?} is several: write each between quotes of its own")
            }
            _ if server.contains("://") => {
                format!("{server:?} has a scheme: leave it out, and write tls or sasl for what is spoken")
            }
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
            preset: Preset::Balanced,
            max_rate: None,
            cursor_topic: None,
            unknown_topic_after: DEFAULT_UNKNOWN_TOPIC_AFTER.0,
            on_partition_change: OnPartitionChange::Warn,
            partitioner: Partitioner::default(),
            record_timestamp: RecordTimestamp::Arrival,
            compression: "lz4".to_owned(),
            properties: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_place_another_proof_and_other_properties_are_another_way_in() {
        let before = Config::for_test();
        let others = [
            Config {
                bootstrap_servers: vec!["other:9092".to_owned()],
                ..before.clone()
            },
            Config {
                security: Security {
                    password_file: Some("/run/other".into()),
                    ..Security::default()
                },
                ..before.clone()
            },
            Config {
                properties: BTreeMap::from([("client.rack".to_owned(), "b".to_owned())]),
                ..before.clone()
            },
        ];
        for other in &others {
            assert!(!before.is_same_way_in(other), "{other:?}");
        }
        let faster = Config {
            compression: "zstd".to_owned(),
            ..before.clone()
        };
        assert!(before.is_same_way_in(&faster));
    }
}
