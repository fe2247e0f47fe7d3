//! Which topics are there, and how many partitions they have.

use std::time::{Duration, Instant};

use super::Drain;
use crate::link::Link;
use crate::sink::producer::{Connector, Producer, TopicState};

/// Patience with a question for a topic. Bounds what a stop has to wait for.
const TOPIC_PATIENCE: Duration = Duration::from_secs(3);
/// Topics whose presence is remembered; beyond it all are asked for again.
const TOPICS_MAX: usize = 1000;

impl<C: Connector> Drain<C> {
    /// Makes sure there is a producer and the topic exists; otherwise says why and pauses.
    pub(super) fn topic_is_there(&mut self, topic: &str, now: Instant) -> bool {
        if self.producer.is_none() && !self.connect(now) {
            return false;
        }
        if self.topics.contains(topic) {
            return true;
        }
        let Some(producer) = &mut self.producer else {
            return false;
        };
        self.asked = true;
        match producer.topic_state(topic, TOPIC_PATIENCE) {
            TopicState::Present { .. } => {
                if self.topics.len() >= TOPICS_MAX {
                    self.topics.clear();
                }
                self.topics.insert(topic.to_owned());
                self.known_topic = Some(topic.to_owned());
                if !self.write_refused {
                    self.refused_since = None;
                    self.monitor.set_link(Link::Up);
                }
                return true;
            }
            TopicState::Missing(code) => {
                self.monitor
                    .set_link(Link::Refused(format!("topic {topic:?}: {code}")));
            }
            // A refused password looks like this too, and says so by itself.
            TopicState::Unreachable(_) if self.refused_since.is_some() => {}
            TopicState::Unreachable(code) => self.monitor.set_link(Link::Down(code.to_string())),
        }
        self.hold_feed(now);
        false
    }

    /// With nothing to send, nothing shows that a link is back: asks for a topic instead.
    pub(super) fn try_idle_link(&mut self, now: Instant) {
        let is_well = matches!(self.monitor.link(), Link::Up | Link::Connecting);
        if is_well || self.asked || !self.window.is_empty() {
            return;
        }
        if let Some(topic) = self.known_topic.clone() {
            self.topics.remove(&topic);
            self.topic_is_there(&topic, now);
        }
    }
}
