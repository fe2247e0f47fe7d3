//! The TOML file: composed of the parts that each stage owns.

use std::path::PathBuf;

/// Everything the file says, checked and complete with defaults.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[gateway]`
    pub gateway: Gateway,
    /// `[[mqtt]]`, at least one, names unique.
    pub brokers: Vec<crate::source::Config>,
    /// `[[route]]`, at least one, in file order.
    pub routes: Vec<crate::route::Config>,
    /// `[queue]`
    pub queue: crate::queue::Config,
    /// `[kafka]`
    pub kafka: crate::sink::Config,
    /// `[dead_letter]`
    pub dead_letter: crate::sink::DeadLetterConfig,
}

/// `[gateway]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Gateway id with `{hostname}`, `{machine_id}` and `{serial}` still in place; `None` means the default.
    pub id: Option<String>,
    /// Folder of the store; created when missing.
    pub data_dir: PathBuf,
}
