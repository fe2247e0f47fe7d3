//! Towards Kafka: takes messages from the queue, shapes them, hands their records to the client in order.

use std::time::Instant;

use rdkafka::types::RDKafkaErrorCode as Code;

use super::{Drain, StepError};
use crate::link::Link;
use crate::route::{KafkaRecord, Refusal};
use crate::sink::dead_letter::reason;
use crate::sink::producer::{Connector, Producer, SubmitError, Ticket};

/// Messages under way at most.
const WINDOW_MESSAGES: usize = crate::sink::kafka::WINDOW_RECORDS;
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
        if !self.may_submit(now)? {
            return Ok(Fed::Tried);
        }
        let limit = if self.alone_until.is_some() {
            1
        } else {
            WINDOW_MESSAGES
        };
        let fed = self.fill(limit, now)?;
        let committed = fed == Fed::Tried && self.commit_if_settled(now)?;
        Ok(if committed { Fed::Interrupted } else { fed })
    }

    /// Takes and submits until the window has `limit` messages, or something is in the way.
    fn fill(&mut self, limit: usize, now: Instant) -> Result<Fed, StepError> {
        loop {
            if let Some((ticket, record)) = self.unsent.pop_front() {
                if self.asked && !self.topics.contains(&record.topic) {
                    self.unsent.push_front((ticket, record));
                    return Ok(Fed::Interrupted);
                }
                if !self.submit(ticket, record, now) {
                    return Ok(Fed::Tried);
                }
            } else if self.window.len() >= limit || self.is_commit_due(now) {
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
        // Kept before a crash, or in a transaction that was taken back.
        let decided = self.dead_letters.decided(&stored).unwrap_or_default();
        let rejected = self.rejected.get(&stored.seq).map_or(&[][..], Vec::as_slice);
        let is_rejected = |record: &KafkaRecord| {
            let names = |refusal: &Refusal| matches!(refusal, Refusal::Rejected { topic, .. } if *topic == record.topic);
            rejected.iter().any(names)
        };
        let mut confirmed = self.ahead.get(&stored.seq).cloned().unwrap_or_default();
        confirmed.resize(outcome.records.len(), self.is_delivered(stored.seq));
        let records = outcome.records.into_iter().zip(&confirmed).enumerate();
        let wanted: Vec<_> = records
            .filter(|(_, (record, confirmed))| {
                !**confirmed && !is_rejected(record) && !reason::refuses(&decided, record)
            })
            .map(|(number, (record, _))| (number, record))
            .collect();
        outcome.refusals.extend(rejected.iter().cloned());
        outcome.refusals.extend(decided);
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
        let is_ready =
            self.topic_is_there(&record.topic, now) && self.others_are_there(now) && self.begin(now);
        let submitted = is_ready.then(|| match &mut self.producer {
            Some(producer) => producer.submit(&record, None, ticket),
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
