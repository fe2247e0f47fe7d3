//! From a stored message to Kafka records. Pure: no I/O, no state, so a routing mistake can be corrected and
//! the backlog still goes out right.

pub mod condition;
mod config;
mod conflict;
mod destination;
pub mod expression;
pub mod format;
pub mod headers;
mod index;
pub mod json;
mod marks;
pub mod number;
pub mod pattern;
mod record;
mod refusal;
mod scope;
pub mod subject;
pub mod template;
pub mod value;
mod verdict;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) use config::KEYS;
pub use config::{Config, Headers, Retained};
pub(crate) use config::{KAFNUS_ERRORS, Raw, WASP_TOPICS, resolve};
pub use destination::Destination;
pub use format::Format;
use index::Index;
pub use record::{Header, KafkaRecord};
pub use refusal::Refusal;
use scope::Scope;
pub use scope::{Former, Mark};
use subject::Subject;
pub use verdict::{Skip, Verdict};

use crate::clock::Told;
use crate::faults;
use crate::message::{Arrival, Epoch, MessageId, Seq, Series, Stored};

/// Longest legal Kafka topic name (`org.apache.kafka.common.internals.Topic`).
const TOPIC_LEN_MAX: usize = 249;

/// What becomes of one message: done when every record is confirmed and every refusal is kept. With neither it is
/// filtered: routes were there for it, and the configuration says that they do not want it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Records, in route order; each is handed from stage to stage as it is.
    pub records: Vec<Arc<KafkaRecord>>,
    /// Routes that refused it.
    pub refusals: Vec<Refusal>,
}

impl Outcome {
    /// Whether the configuration says that nobody wants it.
    #[must_use]
    pub const fn is_filtered(&self) -> bool {
        self.records.is_empty() && self.refusals.is_empty()
    }
}

/// The routes of one lane, and those of the others for what this lane has of their messages.
#[derive(Debug, Clone)]
pub struct Router {
    /// All of the file, in its order.
    routes: Vec<(Config, Scope)>,
    index: Index,
    /// Some route wants unique times, for which each arrival is looked at.
    has_series: bool,
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
            index: Index::of(routes.iter().map(|route| &route.from)),
            has_series: routes.iter().any(|route| route.unique_times),
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

    /// The lane's own routes, by their number in the file, with a name for people: `FROM -> TOPIC`. Two of one name have their
    /// numbers in it.
    #[must_use]
    pub fn names(&self) -> Vec<(usize, String)> {
        let name = |(route, _): &(Config, Scope)| format!("{} -> {}", route.from, route.topic);
        let mut routes_of = HashMap::<String, usize>::new();
        for route in &self.routes {
            *routes_of.entry(name(route)).or_default() += 1;
        }
        let own = self.routes.iter().enumerate();
        own.filter(|(_, (_, scope))| *scope == Scope::Own)
            .map(|(number, route)| match name(route) {
                name if routes_of.get(&name).is_some_and(|routes| *routes > 1) => {
                    (number, format!("{name} (route {number})"))
                }
                name => (number, name),
            })
            .collect()
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
            seq: faults::sequence(stored.seq),
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
        for (number, route, _) in self.concerned(&stored.arrival.topic) {
            if let Verdict::Made(record) = self.judge(number, route, stored, &told)
                && !keys.contains(&record.key)
            {
                keys.push(record.key.clone());
            }
        }
        keys
    }

    /// What the times of an arrival have to ascend with: each key that a route with `unique_times` makes of it, and what its
    /// format gives times. Each once, with the most milliseconds that one of them takes.
    #[must_use]
    pub fn series(&self, arrival: &Arrival) -> Vec<Series> {
        if !self.has_series {
            return Vec::new();
        }
        let unique = self
            .concerned(&arrival.topic)
            .filter(|(_, route, _)| route.unique_times);
        let mut unique = unique.peekable();
        if unique.peek().is_none() {
            return Vec::new();
        }
        // Its place in the log is not known yet, and no key is made of it.
        let stored = Stored {
            seq: Seq::ZERO,
            epoch: Epoch(0),
            arrival: arrival.clone(),
        };
        let told = Told::as_it_stood(&arrival.stamp);
        let of_route = |(number, route, _): (usize, &Config, Scope)| {
            let series = |subject: Subject<'_>| verdict::series(number, route, subject);
            self.wanted(route, &stored, &told, series).ok()?.ok()
        };
        let mut series: Vec<Series> = unique.filter_map(of_route).flatten().collect();
        series.sort_unstable_by_key(|series| (series.hash, Reverse(series.times)));
        series.dedup_by_key(|series| series.hash);
        series
    }

    /// What the headers of each of its records say, whatever route makes it.
    #[must_use]
    pub fn facts(&self, stored: &Stored) -> Vec<Header> {
        let arrival = &stored.arrival;
        let told = Told::as_it_stood(&arrival.stamp);
        headers::facts(self.gateway(arrival), &self.id(stored), arrival, &told)
    }

    /// Shapes one message with the routes whose messages this lane brought when it was stored, and with the others if it may have
    /// come for them: see `route::scope` for the rule.
    ///
    /// `told` is what is said of its time, by what is known of the clocks.
    #[must_use]
    pub fn route(&self, stored: &Stored, told: &Told) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some(bytes) = stored.arrival.oversize {
            outcome.refusals.push(Refusal::Oversize { bytes });
            return outcome;
        }
        let arrived = self.arrived(stored);
        let seq = arrived.unwrap_or(stored.seq);
        let mut skips = Vec::new();
        self.ask(
            |scope| scope.holds_at(seq),
            stored,
            told,
            &mut outcome,
            &mut skips,
        );
        if !outcome.is_filtered() {
            return outcome;
        }
        let may_be_for_others = skips.is_empty() || arrived.is_none() || stored.arrival.delivery.dup;
        if !may_be_for_others {
            let unwanted = unwanted(&skips).filter(|_| !self.is_anothers(seq, stored, told));
            outcome.refusals.extend(unwanted);
            return outcome;
        }
        let wider: [fn(Scope) -> bool; 2] = [|scope| scope != Scope::Foreign, |_| true];
        for is_asked in wider {
            skips.clear();
            self.ask(is_asked, stored, told, &mut outcome, &mut skips);
            if !outcome.is_filtered() {
                return outcome;
            }
        }
        let reason = if skips.is_empty() {
            Some(Refusal::NoRoute)
        } else {
            unwanted(&skips)
        };
        outcome.refusals.extend(reason);
        outcome
    }

    /// Where in this lane's log the message came to be, also when a redrive brought it back. `None`: it came from elsewhere, by
    /// hand, and no other lane has a copy of it.
    fn arrived(&self, stored: &Stored) -> Option<Seq> {
        match stored.arrival.origin.as_deref() {
            None => Some(stored.seq),
            Some(origin) => {
                let is_ours = origin.gateway == self.gateway && origin.epoch == stored.epoch;
                (is_ours && *origin.lane == *self.lane).then_some(origin.seq)
            }
        }
    }

    /// Whether another lane, which has its own copy, does something with it: then it is none of this lane's mistakes.
    fn is_anothers(&self, seq: Seq, stored: &Stored, told: &Told) -> bool {
        self.concerned(&stored.arrival.topic)
            .filter(|(_, _, scope)| !scope.holds_at(seq))
            .any(|(number, route, _)| {
                let verdict = self.judge(number, route, stored, told);
                matches!(verdict, Verdict::Made(_) | Verdict::Refused(_))
            })
    }

    /// What each route of the file says of a message, whatever lane it belongs to, in file order.
    #[must_use]
    pub fn verdicts(&self, stored: &Stored, told: &Told) -> Vec<Verdict> {
        let routes = self.routes.iter().enumerate();
        routes
            .map(|(number, (route, _))| self.judge(number, route, stored, told))
            .collect()
    }

    /// The routes whose pattern matches the topic, in file order. Most files have few of them for one topic.
    fn concerned(&self, topic: &str) -> impl Iterator<Item = (usize, &Config, Scope)> {
        let numbers = self.index.matching(topic).into_iter();
        numbers.filter_map(|number| {
            let (route, scope) = self.routes.get(number)?;
            Some((number, route, *scope))
        })
    }

    /// What the routes of a scope make of it.
    fn ask(
        &self,
        is_asked: impl Fn(Scope) -> bool,
        stored: &Stored,
        told: &Told,
        outcome: &mut Outcome,
        skips: &mut Vec<(usize, Skip)>,
    ) {
        for (number, route, scope) in self.concerned(&stored.arrival.topic) {
            if !is_asked(scope) {
                continue;
            }
            match self.judge(number, route, stored, told) {
                Verdict::Made(record) => outcome.records.push(record),
                Verdict::Refused(refusal) => outcome.refusals.push(refusal),
                Verdict::Skipped(skip) => skips.push((number, skip)),
                Verdict::OtherBroker | Verdict::OtherTopic => {}
            }
        }
    }

    /// What one route says of it.
    fn judge(&self, number: usize, route: &Config, stored: &Stored, told: &Told) -> Verdict {
        let record = |subject: Subject<'_>| verdict::record(number, route, subject);
        match self.wanted(route, stored, told, record) {
            Ok(Ok(record)) => Verdict::Made(Arc::new(record)),
            Ok(Err(refusal)) => Verdict::Refused(refusal),
            Err(unwanted) => unwanted,
        }
    }

    /// What `make` makes of a message that the route wants; else why it does not want it.
    fn wanted<T>(
        &self,
        route: &Config,
        stored: &Stored,
        told: &Told,
        make: impl FnOnce(Subject<'_>) -> T,
    ) -> Result<T, Verdict> {
        let arrival = &stored.arrival;
        if !route.takes(&arrival.broker) {
            return Err(Verdict::OtherBroker);
        }
        let Some(captures) = route.from.matches(&arrival.topic) else {
            return Err(Verdict::OtherTopic);
        };
        let id = self.id(stored);
        let subject = Subject::new(stored, told, &id, self.gateway(arrival), &captures);
        match verdict::skip(route, &subject) {
            Some(skip) => Err(Verdict::Skipped(skip)),
            None => Ok(make(subject)),
        }
    }
}

/// Why a message that every route skipped is a dead letter. `None`: one of them judged it, and its filter says that it is not
/// wanted; that nobody could judge it comes before.
fn unwanted(skips: &[(usize, Skip)]) -> Option<Refusal> {
    let of = |which: &dyn Fn(&Skip) -> bool| skips.iter().find(|(_, skip)| which(skip));
    let unjudged = of(&|skip| matches!(skip, Skip::Unjudged { .. }));
    let filtered = of(&Skip::is_filter);
    let (route, skip) = unjudged.or(filtered).or(skips.first())?;
    skip.refusal(*route)
}

/// Whether Kafka accepts the name (`[a-zA-Z0-9._-]`, 1 to 249 characters, not `.` or `..`).
#[must_use]
pub fn is_legal_topic(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=TOPIC_LEN_MAX).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(legal)
}

#[cfg(test)]
mod tests;
