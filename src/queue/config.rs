//! `[queue]`

use std::time::Duration;

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
