//! `[kafka]` and `[dead_letter]`

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::settings::{Address, Section, Size};
use crate::sink::properties::{self, RawProperties};

const DEFAULT_DEAD_LETTER_MAX_BYTES: Size = Size::mib(64);

/// What librdkafka can compress with; the first is the default.
const COMPRESSIONS: [(&str, &str); 5] = [
    ("lz4", "lz4"),
    ("zstd", "zstd"),
    ("gzip", "gzip"),
    ("snappy", "snappy"),
    ("none", "none"),
];

/// `[kafka]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `bootstrap_servers`, at least one `host:port`.
    pub bootstrap_servers: Vec<String>,
    /// `compression` of produced batches: `lz4` (default), `zstd`, `gzip`, `snappy` or `none`.
    pub compression: String,
    /// `password_file`: becomes `sasl.password`.
    pub password_file: Option<PathBuf>,
    /// `[kafka.properties]`: librdkafka properties passed through; none of them breaks a promise.
    pub properties: BTreeMap<String, String>,
}

/// `[dead_letter]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterConfig {
    /// `max_bytes`: disk space for dead letters; default 64 MiB, at least 1 MiB.
    pub max_bytes: u64,
}

/// `[kafka]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Raw {
    bootstrap_servers: Option<Vec<String>>,
    delivery: Option<String>,
    compression: Option<String>,
    password_file: Option<PathBuf>,
    properties: RawProperties,
}

/// `[dead_letter]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawDeadLetter {
    max_bytes: Option<Size>,
}

/// Checks `[kafka]`; where there is a problem, a default stands in.
pub(crate) fn resolve(raw: Raw, section: &mut Section<'_, '_>) -> Config {
    let planned = ["exactly-once"];
    section.one_of(
        "delivery",
        raw.delivery.as_deref(),
        &[("at-least-once", ())],
        &planned,
        (),
    );
    let [(default, _), ..] = COMPRESSIONS;
    let compression = section.one_of(
        "compression",
        raw.compression.as_deref(),
        &COMPRESSIONS,
        &[],
        default,
    );
    Config {
        bootstrap_servers: resolve_servers(raw.bootstrap_servers, section),
        compression: compression.to_owned(),
        password_file: raw.password_file,
        properties: properties::resolve(raw.properties, section),
    }
}

/// Checks `[dead_letter]`; where there is a problem, the default stands in.
pub(crate) fn resolve_dead_letter(raw: &RawDeadLetter, section: &mut Section<'_, '_>) -> DeadLetterConfig {
    let default = DEFAULT_DEAD_LETTER_MAX_BYTES;
    DeadLetterConfig {
        max_bytes: section
            .at_least("max_bytes", raw.max_bytes, default, Size::mib(1))
            .0,
    }
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
