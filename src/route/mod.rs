//! From a stored message to Kafka records. Pure: no I/O, no state, so a routing mistake can be corrected and
//! the backlog still goes out right.

mod config;
mod conflict;
mod destination;
pub mod pattern;
mod raw;
mod scope;
pub mod template;

use std::sync::Arc;

use bytes::Bytes;

pub use config::{Config, Format};
pub(crate) use config::{Raw, resolve};
use scope::Scope;
pub use scope::{Former, Mark};

use crate::clock::Told;
use crate::message::{Arrival, MessageId, Stored};

/// Longest legal Kafka topic name (`org.apache.kafka.common.internals.Topic`).
const TOPIC_LEN_MAX: usize = 249;

/// What goes from the route to the sink: one record for Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaRecord {
    /// Number of the `[[route]]` that made it, from 0.
    pub route: usize,
    /// The topic came from names in the route's `topic`: it may be one that nobody made.
    pub is_templated: bool,
    /// Kafka topic; legal.
    pub topic: String,
    /// Key; never empty.
    pub key: String,
    /// Value.
    pub payload: Bytes,
    /// Headers in order.
    pub headers: Vec<(&'static str, String)>,
    /// Record time, milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl KafkaRecord {
    /// What it takes on the way, about: contents and headers before compression.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        self.key.len() + self.payload.len() + headers
    }
}

/// Why a route does not make a record of a message. It becomes a dead letter with this reason, never a drop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum Refusal {
    /// No route wants it (any more).
    #[error("no route matches the topic")]
    NoRoute,
    /// The key came out empty.
    #[error("route {route}: the key is empty")]
    EmptyKey {
        /// Number of the `[[route]]`, from 0.
        route: usize,
    },
    /// The Kafka topic came out illegal.
    #[error("route {route}: {topic:?} is not a legal Kafka topic name")]
    IllegalTopic {
        /// Number of the `[[route]]`, from 0.
        route: usize,
        /// What came out.
        topic: String,
    },
    /// The payload was over `max_packet_size` and has been cut.
    #[error("the payload of {bytes} bytes is over max_packet_size")]
    Oversize {
        /// Length of the whole payload.
        bytes: u64,
    },
    /// Kafka refused the record for what it is. Only in letters of before [`Refusal::Refused`].
    #[error("Kafka topic {topic:?} refused the record: {code}")]
    Rejected {
        /// Where it should have gone.
        topic: String,
        /// Kafka's reason.
        code: String,
    },
    // Letters are kept over versions: what is stored is the number of the variant, so new ones come last.
    /// Kafka refused the record for what it is.
    #[error("route {route}: Kafka topic {topic:?} refused the record: {code} (sent alone {attempts} times)")]
    Refused {
        /// Number of the `[[route]]`, from 0.
        route: usize,
        /// Where it should have gone.
        topic: String,
        /// Kafka's reason.
        code: String,
        /// Times that it was sent alone and refused; 0 when the client itself did not take it.
        attempts: u32,
    },
    /// The route's topic came out as one that nobody made, for longer than `kafka.unknown_topic_after`.
    #[error("route {route}: Kafka topic {topic:?} does not exist, and did not appear in {after_s} s")]
    UnknownTopic {
        /// Number of the `[[route]]`, from 0.
        route: usize,
        /// Where it should have gone.
        topic: String,
        /// How long it was waited for when it was given up, seconds.
        after_s: u64,
    },
}

/// What becomes of one message: done when every record is confirmed and every refusal is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Records, in route order.
    pub records: Vec<KafkaRecord>,
    /// Routes that refused it.
    pub refusals: Vec<Refusal>,
}

/// The routes of one lane, and those of the others for what this lane has of their messages.
#[derive(Debug, Clone)]
pub struct Router {
    /// All of the file, in its order.
    routes: Vec<(Config, Scope)>,
    gateway: String,
    lane: Arc<str>,
}

impl Router {
    /// A router that stamps `gateway` and `lane` into the records. `routes` are all of the file.
    #[must_use]
    pub fn new(routes: Vec<Config>, gateway: &str, lane: &str) -> Self {
        Self::after(routes, &[], gateway, lane)
    }

    /// The same for a lane that had other routes before.
    #[must_use]
    pub fn after(routes: Vec<Config>, former: &[Former], gateway: &str, lane: &str) -> Self {
        let with_scope = |route: Config| {
            let scope = scope::of(&route, lane, former);
            (route, scope)
        };
        Self {
            routes: routes.into_iter().map(with_scope).collect(),
            gateway: gateway.to_owned(),
            lane: Arc::from(lane),
        }
    }

    /// The Kafka topics of the lane's own routes that no name of a message is part of, in file order, each once.
    #[must_use]
    pub fn fixed_topics(&self) -> Vec<String> {
        let mut topics = Vec::new();
        for (route, scope) in &self.routes {
            let topic = route.topic.to_string();
            if *scope == Scope::Own && route.topic.is_static() && !topics.contains(&topic) {
                topics.push(topic);
            }
        }
        topics
    }

    /// The name every copy of this message has. One that was imported keeps the name that its first gateway gave it.
    #[must_use]
    pub fn id(&self, stored: &Stored) -> MessageId {
        if let Some(origin) = stored.arrival.origin.as_deref() {
            return MessageId {
                epoch: origin.epoch,
                lane: Arc::from(origin.lane.as_str()),
                seq: origin.seq,
            };
        }
        MessageId {
            epoch: stored.epoch,
            lane: Arc::clone(&self.lane),
            seq: stored.seq,
        }
    }

    /// The gateway that received it first.
    #[must_use]
    pub fn gateway<'a>(&'a self, arrival: &'a Arrival) -> &'a str {
        let origin = arrival.origin.as_deref();
        origin.map_or(self.gateway.as_str(), |origin| origin.gateway.as_str())
    }

    /// The keys that its records get, in route order, each once. Empty when no route makes a record of it.
    #[must_use]
    pub fn keys(&self, stored: &Stored) -> Vec<String> {
        let told = Told::as_it_stood(&stored.arrival.stamp);
        let mut keys = Vec::new();
        for (number, (route, _)) in self.routes.iter().enumerate() {
            if let Some(Ok(record)) = self.shape(number, route, stored, &told)
                && !keys.contains(&record.key)
            {
                keys.push(record.key);
            }
        }
        keys
    }

    /// What the headers of each of its records say, whatever route makes it.
    #[must_use]
    pub fn facts(&self, stored: &Stored) -> Vec<(&'static str, String)> {
        let arrival = &stored.arrival;
        let told = Told::as_it_stood(&arrival.stamp);
        raw::facts(self.gateway(arrival), &self.id(stored), arrival, &told)
    }

    /// Shapes one message with the routes whose messages this lane carried when it was stored. One that none of them wants
    /// came for a route that is another lane's now, or has changed: then that lane's routes make something of it.
    ///
    /// `told` is what is said of its time, by what is known of the clocks.
    #[must_use]
    pub fn route(&self, stored: &Stored, told: &Told) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some(bytes) = stored.arrival.oversize {
            outcome.refusals.push(Refusal::Oversize { bytes });
            return outcome;
        }
        let rounds: [&dyn Fn(Scope) -> bool; 3] = [
            &|scope| scope.holds_at(stored.seq),
            &|scope| scope != Scope::Foreign,
            &|_| true,
        ];
        for is_asked in rounds {
            self.ask(is_asked, stored, told, &mut outcome);
            if !outcome.records.is_empty() || !outcome.refusals.is_empty() {
                return outcome;
            }
        }
        outcome.refusals.push(Refusal::NoRoute);
        outcome
    }

    /// What the routes of a scope make of it.
    fn ask(&self, is_asked: impl Fn(Scope) -> bool, stored: &Stored, told: &Told, outcome: &mut Outcome) {
        for (number, (route, scope)) in self.routes.iter().enumerate() {
            if !is_asked(*scope) {
                continue;
            }
            match self.shape(number, route, stored, told) {
                Some(Ok(record)) => outcome.records.push(record),
                Some(Err(refusal)) => outcome.refusals.push(refusal),
                None => {}
            }
        }
    }

    /// What one route makes of it; `None` when it does not match.
    fn shape(
        &self,
        number: usize,
        route: &Config,
        stored: &Stored,
        told: &Told,
    ) -> Option<Result<KafkaRecord, Refusal>> {
        let arrival = &stored.arrival;
        if route
            .broker
            .as_deref()
            .is_some_and(|broker| broker != &*arrival.broker)
        {
            return None;
        }
        let captures = route.from.matches(&arrival.topic)?;
        let topic = route.topic.render(&captures);
        let key = route.key.render(&captures);
        Some(if !is_legal_topic(&topic) {
            Err(Refusal::IllegalTopic { route: number, topic })
        } else if key.is_empty() {
            Err(Refusal::EmptyKey { route: number })
        } else {
            Ok(match route.format {
                Format::Raw => KafkaRecord {
                    route: number,
                    is_templated: !route.topic.is_static(),
                    ..raw::shape(self.gateway(arrival), &self.id(stored), arrival, topic, key, told)
                },
            })
        })
    }
}

/// Whether Kafka accepts the name (`[a-zA-Z0-9._-]`, 1 to 249 characters, not `.` or `..`).
#[must_use]
pub fn is_legal_topic(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=TOPIC_LEN_MAX).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(legal)
}

#[cfg(test)]
mod tests;
