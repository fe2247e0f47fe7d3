//! `[[route]]`

use crate::route::pattern::Pattern;
use crate::route::template::Template;

/// Shape of the Kafka record's value and headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `"raw"`: payload byte for byte, facts in headers.
    Raw,
}

/// `[[route]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `from`
    pub from: Pattern,
    /// `topic`, Kafka topic; may use the pattern's names.
    pub topic: Template,
    /// `key`; default `{device}`.
    pub key: Template,
    /// `format`; default `"raw"`.
    pub format: Format,
    /// `broker`: name of the `[[mqtt]]` table; `None` means every broker.
    pub broker: Option<String>,
    /// `qos` of the subscription: 0 or 1; default 1. A configured 2 is lowered to 1 with a warning.
    pub qos: u8,
}
