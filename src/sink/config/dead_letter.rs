//! `[dead_letter]`

use serde::Deserialize;

use crate::settings::{Section, Size};

const DEFAULT_MAX_BYTES: Size = Size::mib(64);

/// `[dead_letter]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterConfig {
    /// `max_bytes`: disk space for dead letters; default 64 MiB, at least 1 MiB.
    pub max_bytes: u64,
}

/// `[dead_letter]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawDeadLetter {
    max_bytes: Option<Size>,
}

/// Checks `[dead_letter]`; where there is a problem, the default stands in.
pub(crate) fn resolve(raw: &RawDeadLetter, section: &mut Section<'_, '_>) -> DeadLetterConfig {
    DeadLetterConfig {
        max_bytes: section
            .at_least("max_bytes", raw.max_bytes, DEFAULT_MAX_BYTES, Size::mib(1))
            .0,
    }
}
