//! Whether a record's topic is there, which partition it goes to, and what becomes of it when there is none.
//!
//! Only metadata is asked for, never by sending a record: a healthy route of the same message is not sent again while
//! another waits for its topic.

use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::Drain;
use super::known::{Count, Need};
use crate::link::Link;
use crate::message::Stamp;
use crate::route::{KafkaRecord, Refusal};
use crate::sink::producer::{Connector, Producer, Ticket, TopicState};
use crate::sink::verdict::is_absence;

/// Patience with a question for a topic. Bounds what a stop has to wait for.
const TOPIC_PATIENCE: Duration = Duration::from_secs(3);
/// Patience with one that is not needed to go on: the feeder stands still meanwhile. Behind a full link it goes unanswered;
/// then what is known has to do for another while.
const EXTRA_PATIENCE: Duration = Duration::from_secs(1);

/// Topics that are given up and remembered as long as a letter of theirs may not be kept; twice as many as the window has messages, so that
/// they are rarely looked through.
const UNKEPT_MAX: usize = 2 * crate::sink::kafka::WINDOW_RECORDS;

/// Where a record can go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To this partition.
    At(i32),
    /// Nowhere yet.
    Later,
    /// Nowhere at all.
    Never(Refusal),
}

impl<C: Connector> Drain<C> {
    /// Finds the place of a record that is about to be sent. Where it has to wait, says why and pauses.
    pub(super) fn place(&mut self, ticket: Ticket, record: &KafkaRecord, now: Instant) -> Place {
        if self.producer.is_none() && !self.connect(now) {
            return Place::Later;
        }
        match self.topics.need(&record.topic, now) {
            Need::None => {}
            Need::May if self.asked => {}
            Need::May => {
                self.topics.asking_extra(now);
                self.ask(&record.topic, EXTRA_PATIENCE, now);
            }
            Need::Must => {
                if !self.ask(&record.topic, TOPIC_PATIENCE, now) {
                    self.hold_feed(now);
                    return Place::Later;
                }
            }
        }
        // The record itself counts among those that are not sent.
        let unsent = self.unsent.len() + 1;
        let window = &self.window;
        let is_drained = || window.is_settled(unsent);
        match self.topics.count(&record.topic, is_drained) {
            Count::Of(_) if self.has_unkept_letter(ticket, &record.topic) => Place::Later,
            Count::Of(count) => {
                let place = self.topics.partitioner().partition(record.hashed(), count);
                place.map_or(Place::Later, Place::At)
            }
            // The reports that come in wake the loop.
            Count::Changing => Place::Later,
            Count::Unknown => self.place_of_absent(ticket, record, now),
        }
    }

    /// A record of a topic that is given up becomes a dead letter.
    pub(super) fn note_unkept(&mut self, ticket: Ticket, refusal: &Refusal) {
        if self.unkept.len() >= UNKEPT_MAX {
            let window = &self.window;
            self.unkept.retain(|_, unkept| window.get(*unkept).is_some());
        }
        if let Refusal::UnknownTopic { topic, .. } = refusal {
            self.unkept.insert(topic.clone(), ticket);
        }
    }

    /// Whether an earlier message of that topic, which was not there, is to be a dead letter and is not kept yet. Behind a failure or a crash
    /// it would go to the topic that is there now: nothing may be before it then. A message does not wait for itself, but for all before it.
    fn has_unkept_letter(&mut self, ticket: Ticket, topic: &str) -> bool {
        let seq = |ticket| self.window.get(ticket).map(|message| message.stored.seq);
        let Some(unkept) = self.unkept.get(topic).and_then(|unkept| seq(*unkept)) else {
            self.unkept.remove(topic);
            return false;
        };
        let front = self.window.front().map(|message| message.stored.seq);
        Some(unkept) != seq(ticket) || front != Some(unkept)
    }

    /// Asks the cluster for a topic and remembers the answer. False when there was none.
    fn ask(&mut self, topic: &str, patience: Duration, now: Instant) -> bool {
        let Some(producer) = &mut self.producer else {
            return false;
        };
        self.asked = true;
        match producer.topic_state(topic, patience) {
            TopicState::Present { partitions } | TopicState::Leaderless { partitions, .. } => {
                let window = &self.window;
                let is_under_way = |ticket| window.get(ticket).is_some();
                self.topics.found(topic, partitions, is_under_way, now);
                self.known_topic = Some(topic.to_owned());
                self.unseen.retain(|unseen| unseen != topic);
                self.answered();
                true
            }
            TopicState::Missing(code) => {
                self.topics.missed(topic, code, now);
                true
            }
            TopicState::Unreachable(code) => {
                self.topics.unanswered(topic, now);
                // A refused password looks like this too, and says so by itself.
                if self.refused_since.is_none() && patience == TOPIC_PATIENCE {
                    self.monitor.set_link(Link::Down(code.to_string()));
                }
                false
            }
            TopicState::ClientLost => {
                self.rewind(now);
                false
            }
        }
    }

    /// The cluster answers, and nothing is known that it refuses.
    fn answered(&mut self) {
        if !self.write_refused && !self.stall.is_on() {
            self.refused_since = None;
            self.link_is_up();
        }
    }

    /// A topic that somebody named in the configuration is waited for, for as long as it takes. One that came out of a message
    /// may be anybody's invention.
    fn place_of_absent(&mut self, ticket: Ticket, record: &KafkaRecord, now: Instant) -> Place {
        let Some(absent) = self.topics.absent(&record.topic) else {
            self.hold_feed(now);
            return Place::Later;
        };
        let (topic, code) = (record.topic.clone(), absent.code);
        if !record.is_templated || !is_absence(code) && code != Code::InvalidTopic {
            self.monitor
                .set_link(Link::Refused(format!("topic {topic:?}: {code}")));
            self.hold_feed(now);
            return Place::Later;
        }
        let route = record.route;
        if code == Code::InvalidTopic {
            self.answered();
            return Place::Never(Refusal::IllegalTopic { route, topic });
        }
        if let Some(after_s) = absent.given_up_s {
            self.answered();
            return Place::Never(Refusal::UnknownTopic {
                route,
                topic,
                after_s,
            });
        }
        let arrived = self.arrived(ticket, now);
        match self.topics.deadline(absent, arrived) {
            Some(deadline) if now >= deadline => self.give_up(record, deadline, now),
            deadline => {
                self.wait_for_topic(&topic, deadline, now);
                Place::Later
            }
        }
    }

    fn wait_for_topic(&mut self, topic: &str, deadline: Option<Instant>, now: Instant) {
        let patience = humantime::format_duration(self.topics.patience());
        self.monitor.set_link(Link::Refused(format!(
            "topic {topic:?} does not exist: unless it is made, its messages become dead letters after {patience}"
        )));
        self.hold_feed(now);
        let hold = self.feed_after.into_iter().chain(deadline).min();
        self.feed_after = hold;
    }

    fn give_up(&mut self, record: &KafkaRecord, deadline: Instant, now: Instant) -> Place {
        let (route, topic) = (record.route, record.topic.clone());
        let after_s = self.topics.give_up(&topic, deadline, now);
        tracing::warn!(
            topic,
            after_s,
            "a topic that does not exist is given up: its messages become dead letters"
        );
        self.answered();
        Place::Never(Refusal::UnknownTopic {
            route,
            topic,
            after_s,
        })
    }

    /// When a record's message arrived, on the clock of this process. One from another boot was there before the start.
    pub(super) fn arrived(&self, ticket: Ticket, now: Instant) -> Instant {
        let stamp: Option<&Stamp> = self
            .window
            .get(ticket)
            .map(|message| &message.stored.arrival.stamp);
        let same_boot = stamp.filter(|stamp| stamp.boot == self.times.clock().boot());
        let age = same_boot.map(|stamp| self.times.clock().now().boot_ms.saturating_sub(stamp.boot_ms));
        age.and_then(|age| now.checked_sub(Duration::from_millis(age)))
            .unwrap_or(self.started)
    }

    /// With nothing to send, nothing shows what is wrong with the link, or that it is back, and the first message would have to
    /// wait for a connection: asks for the lane's topics instead, each once, and for one that was there while the link is away.
    pub(super) fn try_idle_link(&mut self, now: Instant) {
        if self.asked || !self.window.is_empty() {
            return;
        }
        let is_up = matches!(self.monitor.link(), Link::Up);
        let known = self.known_topic.clone().filter(|_| !is_up);
        let Some(topic) = self.unseen.front().cloned().or(known) else {
            return;
        };
        if self.producer.is_none() && !self.connect(now) {
            return;
        }
        let answered = self.ask(&topic, TOPIC_PATIENCE, now);
        if answered && let Some(absent) = self.topics.absent(&topic) {
            let code = absent.code;
            self.monitor
                .set_link(Link::Refused(format!("topic {topic:?}: {code}")));
        }
        if !matches!(self.monitor.link(), Link::Up) {
            self.hold_feed(now);
        }
    }

    /// Asks what is wrong with the topic of a record that is not confirmed.
    pub(super) fn examine(&mut self, topic: &str, now: Instant) -> Option<TopicState> {
        let producer = self.producer.as_mut()?;
        self.asked = true;
        let state = producer.topic_state(topic, TOPIC_PATIENCE);
        if let TopicState::Unreachable(_) | TopicState::ClientLost = state {
            self.topics.unanswered(topic, now);
        }
        Some(state)
    }
}
