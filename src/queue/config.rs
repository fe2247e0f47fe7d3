//! `[queue]`

use std::time::Duration;

use serde::Deserialize;

use crate::settings::{Period, Section, Size};

const DEFAULT_MAX_BYTES: Size = Size::mib(1024);
const DEFAULT_COMMIT_INTERVAL: Period = Period::millis(10);

/// How stored blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// `"zstd"`, level 1 (default).
    Zstd,
    /// `"none"`
    None,
}

/// What happens when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// `"backpressure"`: stop taking; the broker keeps the data.
    Backpressure,
}

/// `[queue]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `max_bytes`: disk space of the store; default 1 GiB, at least 16 MiB.
    pub max_bytes: u64,
    /// `on_full`; default `"backpressure"`, the only one so far.
    pub on_full: OnFull,
    /// `commit_interval`: shortest time between two group commits; default 10 ms, 0 to 10 s.
    pub commit_interval: Duration,
    /// `compression`
    pub compression: Compression,
}

/// `[queue]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Raw {
    max_bytes: Option<Size>,
    on_full: Option<String>,
    commit_interval: Option<Period>,
    compression: Option<String>,
}

/// Checks `[queue]`; where there is a problem, the default stands in.
pub(crate) fn resolve(raw: &Raw, section: &mut Section<'_, '_>) -> Config {
    let max_bytes = section.at_least("max_bytes", raw.max_bytes, DEFAULT_MAX_BYTES, Size::mib(16));
    let interval = Period::secs(0)..=Period::secs(10);
    let interval = section.within(
        "commit_interval",
        raw.commit_interval,
        DEFAULT_COMMIT_INTERVAL,
        interval,
    );
    let on_full = [("backpressure", OnFull::Backpressure)];
    let planned = ["drop-oldest", "drop-newest"];
    let compression = [("zstd", Compression::Zstd), ("none", Compression::None)];
    Config {
        max_bytes: max_bytes.0,
        on_full: section.one_of(
            "on_full",
            raw.on_full.as_deref(),
            &on_full,
            &planned,
            OnFull::Backpressure,
        ),
        commit_interval: interval.0,
        compression: section.one_of(
            "compression",
            raw.compression.as_deref(),
            &compression,
            &[],
            Compression::Zstd,
        ),
    }
}
