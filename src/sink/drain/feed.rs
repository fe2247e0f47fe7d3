//! Towards Kafka: takes messages from the queue, shapes them, hands their records to the client in order.

use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::{Drain, StepError};
use crate::link::Link;
use crate::route::{KafkaRecord, Refusal};
use crate::sink::producer::{Connector, Producer, SubmitError, Ticket, TopicState};

/// Messages under way at most.
const WINDOW_MESSAGES: usize = crate::sink::kafka::WINDOW_RECORDS;
/// Patience with a question for a topic. Bounds what a stop has to wait for.
const TOPIC_PATIENCE: Duration = Duration::from_secs(3);
/// Topics whose presence is remembered; beyond it all are asked for again.
const TOPICS_MAX: usize = 1000;

/// How far feeding went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fed {
    /// Nothing was tried: a failure is being looked at, or a pause is on.
    Paused,
    /// All that could be done.
    Tried,
    /// There is more to do at once.
    Interrupted,
}

impl<C: Connector> Drain<C> {
    /// Submits what the window has room for.
    pub(super) fn feed(&mut self, now: Instant) -> Result<Fed, StepError> {
        if self.failure.is_some() || self.feed_after.is_some_and(|after| now < after) {
            return Ok(Fed::Paused);
        }
        self.feed_after = None;
        let limit = if self.alone_until.is_some() {
            1
        } else {
            WINDOW_MESSAGES
        };
        loop {
            if let Some((ticket, record)) = self.unsent.pop_front() {
                if self.asked && !self.topics.contains(&record.topic) {
                    self.unsent.push_front((ticket, record));
                    return Ok(Fed::Interrupted);
                }
                if !self.submit(ticket, record, now) {
                    return Ok(Fed::Tried);
                }
            } else if self.window.len() >= limit {
                return Ok(Fed::Tried);
            } else if !self.take()? {
                self.try_idle_link(now);
                return Ok(Fed::Tried);
            }
        }
    }

    /// Takes the next message from the queue into the window. False when there is none.
    pub(super) fn take(&mut self) -> Result<bool, StepError> {
        let Some(stored) = self.reader.read_next()? else {
            return Ok(false);
        };
        let mut outcome = self.router.route(&stored, self.clock.now().unix_ms);
        let rejected = self.rejected.get(&stored.seq).map_or(&[][..], Vec::as_slice);
        let is_rejected = |record: &KafkaRecord| {
            let names = |refusal: &Refusal| matches!(refusal, Refusal::Rejected { topic, .. } if *topic == record.topic);
            rejected.iter().any(names)
        };
        let mut confirmed = self.ahead.get(&stored.seq).cloned().unwrap_or_default();
        confirmed.resize(outcome.records.len(), false);
        let records = outcome.records.into_iter().zip(&confirmed).enumerate();
        let wanted: Vec<_> = records
            .filter(|(_, (record, confirmed))| !**confirmed && !is_rejected(record))
            .map(|(number, (record, _))| (number, record))
            .collect();
        outcome.refusals.extend(rejected.iter().cloned());
        let first = self
            .window
            .push(stored, confirmed, wanted.len(), outcome.refusals);
        self.unsent.extend(
            wanted
                .into_iter()
                .map(|(number, record)| (first.wrapping_add(number), record)),
        );
        if self.unsent.is_empty() {
            self.settle()?;
        }
        Ok(true)
    }

    /// Hands one record to the client. False when feeding has to wait; the record is kept then.
    pub(super) fn submit(&mut self, ticket: Ticket, record: KafkaRecord, now: Instant) -> bool {
        let submitted = self
            .topic_is_there(&record.topic, now)
            .then(|| match &mut self.producer {
                Some(producer) => producer.submit(&record, ticket),
                None => Err(SubmitError::Full),
            });
        match submitted {
            Some(Ok(())) => return true,
            Some(Err(SubmitError::Refused(Code::MessageSizeTooLarge))) => {
                // The client's own limit: it depends on this record alone.
                let code = Code::MessageSizeTooLarge.to_string();
                self.window.refused(
                    ticket,
                    Refusal::Rejected {
                        topic: record.topic,
                        code,
                    },
                );
                return true;
            }
            Some(Err(SubmitError::Refused(code))) => {
                self.note_failure(ticket, record.topic.clone(), code, now);
            }
            Some(Err(SubmitError::Full)) | None => {}
        }
        self.unsent.push_front((ticket, record));
        false
    }

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
            TopicState::Present => {
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

    pub(super) fn connect(&mut self, now: Instant) -> bool {
        match self.connector.connect() {
            Ok(producer) => {
                self.producer = Some(producer);
                true
            }
            Err(reason) => {
                self.monitor.set_link(Link::Refused(reason));
                self.hold_feed(now);
                false
            }
        }
    }
}
