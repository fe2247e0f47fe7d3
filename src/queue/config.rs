//! `[queue]`, and the same keys in each `[[lane]]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::settings::{PerDay, Period, Rate, Section, Size};

const DEFAULT_MAX_BYTES: Size = Size::mib(1024);
/// What the rest of a system needs to go on working; journald and apt stop well before.
const DEFAULT_MIN_FREE_BYTES: Size = Size::mib(64);
const DEFAULT_COMMIT_INTERVAL: Period = Period::millis(10);
const DEFAULT_COMMIT_INTERVAL_MAX: Period = Period::secs(1);

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
    /// `"drop-oldest"`: the oldest stretch of the log that nothing is under way of goes, counted.
    DropOldest,
    /// `"drop-newest"`: what arrives is acknowledged, counted and not stored.
    DropNewest,
    /// `"keep-latest"`: the newest value of each device stays, older ones go, counted.
    KeepLatest,
}

/// A lane's part of a budget that all lanes share: what a single lane may use, divided by their number. It keeps a further
/// lane at a few megabytes (`docs/benchmarks.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(usize);

impl Share {
    /// Parts are not made smaller than a quarter: half a megabyte holds 700 small messages, and less would cost rate.
    const PARTS_MAX: usize = 4;

    /// The part of one of `lanes`.
    #[must_use]
    pub fn of(lanes: usize) -> Self {
        Self(lanes.clamp(1, Self::PARTS_MAX))
    }

    /// The smallest there is.
    #[must_use]
    pub const fn smallest() -> Self {
        Self(Self::PARTS_MAX)
    }

    /// The part of `budget`.
    #[must_use]
    pub const fn part(self, budget: usize) -> usize {
        budget / self.0
    }

    /// The part of a number of bytes on disk.
    #[must_use]
    pub const fn part_of_bytes(self, bytes: u64) -> u64 {
        bytes / self.0 as u64
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::of(1)
    }
}

/// `[queue]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `max_bytes`: disk space of the store; default 1 GiB, at least 16 MiB.
    pub max_bytes: u64,
    /// `min_free_bytes`: left free on the file system; default 64 MiB.
    pub min_free_bytes: u64,
    /// `max_age`: older messages are not delivered; default no limit, at least a minute.
    pub max_age: Option<Duration>,
    /// `on_full`; default `"backpressure"`.
    pub on_full: OnFull,
    /// `commit_interval`: shortest time between two group commits; default 10 ms, 0 to 10 s.
    pub commit_interval: Duration,
    /// `commit_interval_max`: how far `flash_budget` may stretch it; default 1 s, up to 1 min.
    pub commit_interval_max: Duration,
    /// `flash_budget`: bytes to write per day; default no budget.
    pub flash_budget: Option<u64>,
    /// `compression`
    pub compression: Compression,
    /// `key_file`: seals what is stored; default none.
    pub key_file: Option<PathBuf>,
    /// `old_key_files`: open what was sealed before the key was changed.
    pub old_key_files: Vec<PathBuf>,
    /// Lanes that share the memory for messages on their way, this one included. Not in the file.
    pub share: Share,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_bytes: DEFAULT_MAX_BYTES.0,
            min_free_bytes: DEFAULT_MIN_FREE_BYTES.0,
            max_age: None,
            on_full: OnFull::Backpressure,
            commit_interval: DEFAULT_COMMIT_INTERVAL.0,
            commit_interval_max: DEFAULT_COMMIT_INTERVAL_MAX.0,
            flash_budget: None,
            compression: Compression::Zstd,
            key_file: None,
            old_key_files: Vec::new(),
            share: Share::default(),
        }
    }
}

/// `[queue]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Raw {
    max_bytes: Option<Size>,
    min_free_bytes: Option<Size>,
    max_age: Option<Period>,
    on_full: Option<String>,
    commit_interval: Option<Period>,
    commit_interval_max: Option<Period>,
    flash_budget: Option<PerDay>,
    compression: Option<String>,
    key_file: Option<PathBuf>,
    old_key_files: Option<Vec<PathBuf>>,
}

/// A `[[lane]]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLane {
    pub(crate) name: Option<String>,
    pub(crate) weight: Option<u32>,
    pub(crate) max_rate: Option<Rate>,
    max_bytes: Option<Size>,
    min_free_bytes: Option<Size>,
    max_age: Option<Period>,
    on_full: Option<String>,
    commit_interval: Option<Period>,
    commit_interval_max: Option<Period>,
    flash_budget: Option<PerDay>,
    compression: Option<String>,
    key_file: Option<PathBuf>,
    old_key_files: Option<Vec<PathBuf>>,
}

impl RawLane {
    /// Its queue, apart from what is the lane's own. (serde cannot both flatten and refuse unknown keys.)
    pub(crate) fn into_queue(self) -> Raw {
        Raw {
            max_bytes: self.max_bytes,
            min_free_bytes: self.min_free_bytes,
            max_age: self.max_age,
            on_full: self.on_full,
            commit_interval: self.commit_interval,
            commit_interval_max: self.commit_interval_max,
            flash_budget: self.flash_budget,
            compression: self.compression,
            key_file: self.key_file,
            old_key_files: self.old_key_files,
        }
    }
}

/// Checks the keys of a table; `base` stands in for what is missing or has a problem.
pub(crate) fn resolve(raw: Raw, base: &Config, section: &mut Section<'_, '_>) -> Config {
    section.absolute("key_file", raw.key_file.as_deref());
    for (index, path) in raw.old_key_files.iter().flatten().enumerate() {
        section.absolute(&format!("old_key_files[{index}]"), Some(path));
    }
    let size = |bytes: u64| Size(bytes);
    let max_bytes = section.at_least("max_bytes", raw.max_bytes, size(base.max_bytes), Size::mib(16));
    let min_free = raw.min_free_bytes.unwrap_or(size(base.min_free_bytes));
    let max_age = match raw.max_age {
        Some(age) => Some(section.at_least("max_age", Some(age), age, Period::secs(60)).0),
        None => base.max_age,
    };
    let interval = section.within(
        "commit_interval",
        raw.commit_interval,
        Period(base.commit_interval),
        Period::secs(0)..=Period::secs(10),
    );
    let least = Period(interval.0.min(base.commit_interval_max));
    let interval_max = section.within(
        "commit_interval_max",
        raw.commit_interval_max,
        Period(base.commit_interval_max.max(interval.0)),
        least..=Period::secs(60),
    );
    let on_full = [
        ("backpressure", OnFull::Backpressure),
        ("drop-oldest", OnFull::DropOldest),
        ("drop-newest", OnFull::DropNewest),
        ("keep-latest", OnFull::KeepLatest),
    ];
    let compression = [("zstd", Compression::Zstd), ("none", Compression::None)];
    Config {
        max_bytes: max_bytes.0,
        min_free_bytes: min_free.0,
        max_age,
        on_full: section.one_of("on_full", raw.on_full.as_deref(), &on_full, &[], base.on_full),
        commit_interval: interval.0,
        commit_interval_max: interval_max.0,
        flash_budget: raw
            .flash_budget
            .map_or(base.flash_budget, |budget| Some(budget.0.0)),
        compression: section.one_of(
            "compression",
            raw.compression.as_deref(),
            &compression,
            &[],
            base.compression,
        ),
        key_file: raw.key_file.or_else(|| base.key_file.clone()),
        old_key_files: raw.old_key_files.unwrap_or_else(|| base.old_key_files.clone()),
        share: base.share,
    }
}
