//! Which messages are looked at.

use crate::message::{Epoch, Seq};

/// Which messages are looked at; what is `None` says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Window {
    /// Whose record has this time or a later one, milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Whose record has an earlier time than this.
    pub until_ms: Option<i64>,
    /// From this one on.
    pub from: Option<Place>,
    /// Up to and with this one.
    pub through: Option<Place>,
}

/// A place in a lane's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Sequence.
    pub seq: Seq,
    /// Of this epoch and lane alone, when a whole message id was given.
    pub log: Option<(Epoch, String)>,
}

impl Window {
    /// Whether times bound it.
    #[must_use]
    pub const fn is_of_time(&self) -> bool {
        self.since_ms.is_some() || self.until_ms.is_some()
    }

    /// Whether it is all that there is.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a record of this time is in it. One without a time is.
    #[must_use]
    pub fn holds(&self, time_ms: Option<i64>) -> bool {
        let Some(time) = time_ms else { return true };
        self.since_ms.is_none_or(|since| time >= since) && self.until_ms.is_none_or(|until| time < until)
    }

    /// Whether messages of this log are asked for.
    #[must_use]
    pub fn names(&self, epoch: Epoch, lane: &str) -> bool {
        let is_it = |place: &Place| place.log.as_ref().is_none_or(|(e, l)| *e == epoch && l == lane);
        self.from.iter().chain(&self.through).all(is_it)
    }
}

/// Where the reading of a partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Begin {
    /// There were records before the first one that is read, whoever deleted or passed over them.
    pub is_late: bool,
    /// Those are gone from Kafka: by retention, or deleted.
    pub is_trimmed: bool,
}
