//! Which routes a lane's messages take after routes moved between lanes.
//!
//! A lane carries the messages of its own routes. A route that moved to another lane left messages behind: what the lane
//! had stored by then goes out as before. The other lane has no copy of it.

use serde::{Deserialize, Serialize};

use crate::message::Seq;
use crate::route::Config;

/// What makes a route the same one after a restart: where its messages come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// `from` as a topic filter.
    pub filter: String,
    /// `broker`
    pub broker: Option<String>,
}

/// A route that the lane had once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// Which one.
    pub mark: Mark,
    /// It was the lane's own up to this sequence.
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
    let former = former.iter().find(|former| former.mark == mark);
    former.map_or(Scope::Foreign, |former| Scope::Former(former.through))
}
