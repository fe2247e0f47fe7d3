//! Which routes a lane's messages take after routes moved between lanes, and when one lane's messages are another's too.
//!
//! **One rule.** A message is for the routes whose messages its lane brought when it was stored: its own, and *former* ones.
//! When they make a record or a dead letter of it, that is all. When all of them skip it, the other routes of the file are asked
//! only if it may have come for them: nothing else has a copy that is certain. Otherwise their lanes have their own copy.
//!
//! * A route is former up to what the lane had stored when the route came to another lane: moved there, or new there, while
//!   this lane brought messages of its filter (`app::routing` remembers that). The other lane has no copy of those.
//! * It may have come for them if none of the lane's own routes has a filter for it, if it is marked as a possible second copy
//!   (as all are while a filter is handed over), or if a person brought it: an import or a redrive from another lane.
//!
//! In doubt it is delivered: a duplicate costs less than a loss.

use serde::{Deserialize, Serialize};

use crate::filter::overlaps;
use crate::message::Seq;
use crate::route::Config;

/// What makes a route the same one after a restart: where its messages come from, and which of them it wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// `from` as a topic filter.
    pub filter: String,
    /// `broker`
    pub broker: Option<String>,
    /// A hash of what tells it from others with the same filter: `when`, `match`, `retained`, topic and key. `None`: noted before
    /// that was remembered, and may be any of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<String>,
}

impl Mark {
    /// Whether messages come to both from the same place.
    #[must_use]
    pub fn has_the_filter_of(&self, other: &Self) -> bool {
        self.filter == other.filter && self.broker == other.broker
    }

    /// Whether some messages may come to both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let same_broker = self.broker.is_none() || other.broker.is_none() || self.broker == other.broker;
        same_broker && overlaps(&self.filter, &other.filter)
    }

    /// Whether it stands for that route.
    #[must_use]
    pub fn is(&self, route: &Self) -> bool {
        self.has_the_filter_of(route) && (self.rest.is_none() || self.rest == route.rest)
    }
}

/// A route that the lane brought messages of, and does no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// Which one.
    pub mark: Mark,
    /// It did up to this sequence.
    pub through: Seq,
}

/// How a route stands to a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Own,
    /// Up to this sequence.
    Former(Seq),
    Foreign,
}

impl Scope {
    /// Whether the lane carried the route's messages when it stored this one.
    pub(super) fn holds_at(self, seq: Seq) -> bool {
        match self {
            Self::Own => true,
            Self::Former(through) => seq <= through,
            Self::Foreign => false,
        }
    }
}

pub(super) fn of(route: &Config, lane: &str, former: &[Former]) -> Scope {
    if route.lane == lane {
        return Scope::Own;
    }
    let mark = route.mark();
    let former = former.iter().find(|former| former.mark.is(&mark));
    former.map_or(Scope::Foreign, |former| Scope::Former(former.through))
}
