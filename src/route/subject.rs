//! One message as one route sees it: what templates, conditions and formats may ask for.

use std::cell::OnceCell;

use crate::clock::Told;
use crate::message::{Arrival, MessageId, Properties, Stored};
use crate::route::json::{Json, JsonError};
use crate::route::pattern::Captures;
use crate::route::value::DEVICE;

/// One message as one route sees it.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The message.
    pub stored: &'a Stored,
    /// What is said of its time.
    pub told: &'a Told,
    /// Its name, the same for every copy.
    pub id: &'a MessageId,
    /// The gateway that received it first.
    pub gateway: &'a str,
    /// What the names of `from` stand for.
    pub captures: &'a Captures<'a>,
    device: Option<String>,
    json: OnceCell<Result<Json<'a>, JsonError>>,
}

impl<'a> Subject<'a> {
    /// A message that the route's pattern matches.
    #[must_use]
    pub const fn new(
        stored: &'a Stored,
        told: &'a Told,
        id: &'a MessageId,
        gateway: &'a str,
        captures: &'a Captures<'a>,
    ) -> Self {
        let json = OnceCell::new();
        Self {
            stored,
            told,
            id,
            gateway,
            captures,
            device: None,
            json,
        }
    }

    /// The same with a device id that is not the level `{device}`.
    #[must_use]
    pub fn with_device(self, device: String) -> Self {
        let device = Some(device);
        Self { device, ..self }
    }

    /// The device id: what `device` of the route says, else the level `{device}` of `from`.
    #[must_use]
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref().or_else(|| self.captures.get(DEVICE))
    }

    /// What arrived.
    #[must_use]
    pub const fn arrival(&self) -> &'a Arrival {
        &self.stored.arrival
    }

    /// MQTT 5 properties, if any came.
    #[must_use]
    pub fn properties(&self) -> Option<&'a Properties> {
        self.stored.arrival.properties.as_deref()
    }

    /// The payload as JSON; looked at once, whoever asks.
    ///
    /// # Errors
    /// [`JsonError`]: it is not.
    pub fn json(&self) -> Result<Json<'a>, &JsonError> {
        let look = || Json::parse(&self.stored.arrival.payload);
        self.json.get_or_init(look).as_ref().copied()
    }
}

/// Asks a message as a route with this `from` sees it.
#[cfg(test)]
pub(crate) fn ask_of<T>(from: &str, arrival: Arrival, ask: impl FnOnce(Subject<'_>) -> T) -> T {
    use crate::message::{Epoch, Seq};
    use crate::route::pattern::Pattern;

    let stored = Stored {
        seq: Seq(1),
        epoch: Epoch(1),
        arrival,
    };
    let told = Told::as_it_stood(&stored.arrival.stamp);
    let id = MessageId {
        epoch: stored.epoch,
        lane: std::sync::Arc::from("default"),
        seq: stored.seq,
    };
    let pattern = Pattern::parse(from).expect("a pattern");
    let captures = pattern.matches(&stored.arrival.topic).expect("matches");
    ask(Subject::new(&stored, &told, &id, "gw-7", &captures))
}
