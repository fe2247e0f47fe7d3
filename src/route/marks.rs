//! What is to be known about a message only when it is true: in headers, or in the value where there are none.

use std::ops::Not;

use serde::Serialize;

use crate::clock::Told;
use crate::message::Arrival;
use crate::route::config::Retained;

/// What is to be known about a message; none of it is the usual case. Serialised, only what is true is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Marks<'a> {
    /// The broker had kept it, and sent it because of a subscription: it is not from now. Never with `retained = "forward"`.
    #[serde(skip_serializing_if = "Not::not")]
    pub retained: bool,
    /// The broker marked it as a redelivery: it may be a second copy of another message.
    #[serde(skip_serializing_if = "Not::not")]
    pub duplicate: bool,
    /// What is to be known about its times (see [`crate::clock::facts`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<&'a str>,
}

impl<'a> Marks<'a> {
    /// The marks of a message on a route with this `retained`.
    pub fn of(arrival: &Arrival, told: &'a Told, retained: Retained) -> Self {
        Self {
            retained: arrival.delivery.retained && retained == Retained::Mark,
            duplicate: arrival.delivery.dup,
            clock: told.clock.as_deref(),
        }
    }
}
