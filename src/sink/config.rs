//! `[kafka]` and `[dead_letter]`

use std::collections::BTreeMap;
use std::path::PathBuf;

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
