//! What the value of a record looks like. Each format owns its part of `[[route]]`, and its own file here.

mod config;
mod raw;

use bytes::Bytes;

use crate::route::record::Header;
use crate::route::subject::Subject;
pub(super) use config::resolve;

/// `format` of a route, with the settings of that format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// `"raw"`: payload byte for byte.
    Raw,
}

/// What a format makes of a message; topic, key and the headers that every record has are the router's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shaped {
    /// Value of the record.
    pub payload: Bytes,
    /// Headers that belong to the format, behind those that every record has.
    pub headers: Vec<Header>,
}

/// Why a format cannot carry a message, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unshapable(pub String);

impl Format {
    /// As it is written in the configuration.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Raw => "raw",
        }
    }

    /// Whether facts about the message go into headers. Readers of a format that has none may stumble over them.
    #[must_use]
    pub const fn has_headers(&self) -> bool {
        match self {
            Self::Raw => true,
        }
    }

    /// Shapes one message; `key` is that of the record.
    ///
    /// # Errors
    /// [`Unshapable`]: the message becomes a dead letter.
    pub fn shape(&self, subject: &Subject<'_>, _key: &str) -> Result<Shaped, Unshapable> {
        match self {
            Self::Raw => Ok(raw::shape(subject)),
        }
    }
}
