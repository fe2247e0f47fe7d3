//! Towards Kafka: takes messages from the queue, shapes them, hands their records to the client in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::known::Need;
use super::topics::Place;
use super::{Drain, StepError};
use crate::clock;
use crate::faults;
use crate::link::Link;
use crate::route::{KafkaRecord, Refusal};
use crate::sink::dead_letter::reason;
use crate::sink::pace::Room;
use crate::sink::producer::{Connector, Producer, SubmitError, Ticket};
use crate::sink::tally::{Places, Share};
use crate::sink::window::InFlight;

/// Messages under way at most.
const WINDOW_MESSAGES: usize = crate::sink::kafka::WINDOW_RECORDS;
/// Bytes of messages in the window that need nothing of Kafka and wait for one that does: what the client may hold of records.
const IDLE_BYTES: usize = crate::sink::kafka::WINDOW_BYTES;
/// A round takes no more messages than this: a backlog that is all filtered has no other end.
const ROUND_MESSAGES: usize = 4 * WINDOW_MESSAGES;
/// Nor takes it longer, also from a slow disk: the watchdog wants to see rounds, and reports are collected between them.
const ROUND_TIME: Duration = Duration::from_secs(1);

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
        if self.pace.due(now).is_some() {
            return Ok(Fed::Paused);
        }
        if !self.may_submit(now)? {
            return Ok(Fed::Tried);
        }
        let limit = if self.alone_until.is_some() {
            1
        } else {
            WINDOW_MESSAGES
        };
        let fed = self.fill(limit, now)?;
        if fed == Fed::Tried && self.window.front_done().is_some() {
            // Nobody reports what was refused on the spot: without this it would wait for the next round.
            self.settle(now)?;
            return Ok(Fed::Interrupted);
        }
        let committed = fed == Fed::Tried && self.commit_if_settled(now)?;
        Ok(if committed { Fed::Interrupted } else { fed })
    }

    /// Takes routes that changed, once nothing is under way. False while something is.
    fn goes_by_new_routes(&mut self) -> bool {
        if !self.monitor.has_new_routes() {
            return true;
        }
        // Behind a failure: what Kafka has, or refuses, counts the records as the old routes made them. It is passed first.
        if !self.ahead.is_empty() || !self.rejected.is_empty() {
            return true;
        }
        if !self.window.is_empty() {
            return false;
        }
        if let Some(router) = self.monitor.take_routes() {
            self.places = Places::of(&router);
            self.router = router;
        }
        true
    }

    /// Takes and submits until the window has `limit` messages, or something is in the way.
    fn fill(&mut self, limit: usize, now: Instant) -> Result<Fed, StepError> {
        let begun = clock::instant();
        let mut taken = 0;
        loop {
            if !self.unsent.is_empty() && self.has_company() {
                return Ok(Fed::Tried);
            } else if let Some((ticket, record)) = self.unsent.pop_front() {
                if self.asked && self.topics.need(&record.topic, now) == Need::Must {
                    self.unsent.push_front((ticket, record));
                    return Ok(Fed::Interrupted);
                }
                if !self.has_room(now) {
                    self.unsent.push_front((ticket, record));
                    return Ok(Fed::Tried);
                }
                if !self.submit(ticket, record, now)? {
                    // Another topic is asked for in the next round.
                    let goes_on = self.asked && self.feed_after.is_none();
                    return Ok(if goes_on { Fed::Interrupted } else { Fed::Tried });
                }
            } else if self.is_commit_due(now) {
                return Ok(Fed::Tried);
            } else if self.window.len() >= limit || self.window.idle_bytes() >= IDLE_BYTES {
                // What nothing is sent of makes room by itself.
                if !self.window.front_done().is_some_and(InFlight::is_idle) {
                    self.pace.full(now);
                    return Ok(Fed::Tried);
                }
                let under_way = self.window.len();
                self.settle(now)?;
                if self.window.len() == under_way {
                    return Ok(Fed::Tried);
                }
            } else if taken >= ROUND_MESSAGES
                || clock::instant().saturating_duration_since(begun) >= ROUND_TIME
            {
                return Ok(Fed::Interrupted);
            } else if !self.goes_by_new_routes() {
                // What is in the window goes out first, as it was made.
                return Ok(Fed::Tried);
            } else if self.take()? {
                taken += 1;
            } else {
                self.try_idle_link(now);
                return Ok(Fed::Tried);
            }
        }
    }

    /// Whether the next record would not be alone although it has to be.
    fn has_company(&self) -> bool {
        self.alone_until.is_some() && !self.window.is_settled(self.unsent.len())
    }

    /// The record of a ticket, shaped again.
    pub(super) fn record_of(&self, ticket: Ticket) -> Option<Arc<KafkaRecord>> {
        let number = self.window.number(ticket)?;
        let message = self.window.get(ticket)?;
        let outcome = self
            .router
            .route(&message.stored, &self.times.tell(&message.stored));
        outcome.records.into_iter().nth(number)
    }

    /// Takes the next message from the queue into the window. False when there is none.
    pub(super) fn take(&mut self) -> Result<bool, StepError> {
        let Some(stored) = self.reader.read_next()? else {
            return Ok(false);
        };
        let mut outcome = self.router.route(&stored, &self.times.tell(&stored));
        // Kept before a crash, or in a transaction that was taken back.
        let decided = self.dead_letters.decided(&stored).unwrap_or_default();
        let rejected = self.rejected.get(&stored.seq).map_or(&[][..], Vec::as_slice);
        let is_rejected = |wanted: usize| rejected.iter().any(|(number, _)| *number == wanted);
        let mut confirmed = self.ahead.get(&stored.seq).cloned().unwrap_or_default();
        let is_delivered = self.is_delivered(stored.seq);
        let mut count = outcome.records.len();
        if is_delivered {
            // Kafka has what the routes made of it then: a letter of what they refuse by now would bring it there again.
            let refusals = std::mem::take(&mut outcome.refusals);
            // Something was made of it, and it counts as that.
            count = count.max(usize::from(!refusals.is_empty()));
        }
        confirmed.resize(count, is_delivered);
        let shares: Vec<Share> = outcome
            .records
            .iter()
            .map(|record| Share::new(self.places.get(record.route), &record.key))
            .collect();
        if !shares.is_empty() {
            self.shares.push_back((stored.seq, shares));
        }
        let records = outcome.records.into_iter().zip(&confirmed).enumerate();
        let wanted: Vec<_> = records
            .filter(|(number, (record, confirmed))| {
                !**confirmed && !is_rejected(*number) && !reason::refuses(&decided, record)
            })
            .map(|(number, (record, _))| (number, record))
            .collect();
        let reasons = rejected.iter().map(|(_, refusal)| refusal.clone());
        outcome.refusals.extend(reasons);
        outcome.refusals.extend(decided);
        let first = self
            .window
            .push(stored, confirmed, wanted.len(), outcome.refusals);
        self.unsent.extend(
            wanted
                .into_iter()
                .map(|(number, record)| (first.wrapping_add(number), record)),
        );
        Ok(true)
    }

    /// Whether the link has room for one more record; otherwise a report, or the time for the next portion, is waited for.
    fn has_room(&mut self, now: Instant) -> bool {
        match self.pace.room(now) {
            Room::Now => true,
            Room::WithNextPortion => false,
            // A message with several records must not wait for itself.
            Room::AfterReport => self.window.is_settled(self.unsent.len() + 1),
        }
    }

    /// Whether a record may go to this partition although others may be under way to it.
    fn may_follow(&mut self, topic: &str, partition: i32, now: Instant) -> bool {
        // The record itself counts among those that are not sent.
        let (window, unsent) = (&self.window, self.unsent.len() + 1);
        self.firsts
            .may_go(topic, partition, now, || window.is_settled(unsent))
    }

    /// Whether a record that has a place may go now.
    fn may_send(&mut self, now: Instant) -> bool {
        self.others_are_placed(now) && self.begin(now)
    }

    /// Hands one record to the client. False when feeding has to wait; the record is kept then.
    pub(super) fn submit(
        &mut self,
        ticket: Ticket,
        record: Arc<KafkaRecord>,
        now: Instant,
    ) -> Result<bool, StepError> {
        // A message that was begun is finished: the allowance goes into debt for it.
        let is_begun = self.window.get(ticket).is_some_and(|message| message.bytes > 0);
        if !is_begun && !self.gate.is_open(now) {
            self.unsent.push_front((ticket, record));
            return Ok(false);
        }
        let bytes = record.bytes();
        let place = match self.place(ticket, &record, now) {
            Place::At(partition) if !self.may_follow(&record.topic, partition, now) => Place::Later,
            Place::At(_) if !self.may_send(now) => Place::Later,
            place => place,
        };
        if matches!(place, Place::At(_))
            && let Err(error) = self.note_submission(ticket)
        {
            self.unsent.push_front((ticket, record));
            return Err(error);
        }
        let submitted = match (place, &mut self.producer) {
            (Place::At(partition), Some(producer)) => producer
                .submit(&record, Some(partition), ticket)
                .map(|()| partition),
            (Place::Never(refusal), _) => {
                self.note_unkept(ticket, &refusal);
                self.window.refused(ticket, refusal);
                return Ok(true);
            }
            (Place::Later | Place::At(_), _) => {
                self.unsent.push_front((ticket, record));
                return Ok(false);
            }
        };
        match submitted {
            Ok(partition) => {
                self.note_resent(ticket);
                self.lone = self.alone_until.map(|_| ticket);
                self.topics.sent(&record.topic, ticket);
                self.firsts.sent(&record.topic, partition, ticket, now);
                self.window.submitted(ticket, bytes);
                if faults::omits(faults::CURSOR_WAITS) {
                    self.window.delivered(ticket);
                }
                self.pace.submitted(bytes, now);
                self.gate.charge(&record);
                return Ok(true);
            }
            Err(SubmitError::Refused(code @ Code::MessageSizeTooLarge)) => {
                // The client's own limit: it depends on this record alone.
                let refusal = Refusal::Refused {
                    route: record.route,
                    topic: record.topic.clone(),
                    code: code.to_string(),
                    attempts: 0,
                };
                self.window.refused(ticket, refusal);
                return Ok(true);
            }
            Err(SubmitError::Refused(Code::UnknownPartition)) => {
                // The topic was made anew with fewer partitions.
                self.topics.doubt(&record.topic);
                self.hold_feed(now);
            }
            Err(SubmitError::Refused(code)) => {
                self.note_failure(ticket, record.topic.clone(), code, now);
            }
            Err(SubmitError::Full) => return self.wait_for_client(ticket, record, now),
        }
        self.unsent.push_front((ticket, record));
        Ok(false)
    }

    /// The client has no room for the record: nothing comes before it.
    fn wait_for_client(
        &mut self,
        ticket: Ticket,
        record: Arc<KafkaRecord>,
        now: Instant,
    ) -> Result<bool, StepError> {
        self.pace.full(now);
        if faults::omits(faults::FULL_KEEPS_ORDER) && self.take()? {
            self.unsent.push_back((ticket, record));
        } else {
            self.unsent.push_front((ticket, record));
        }
        Ok(false)
    }

    /// Counts a record of a message that the client had before the last rewind.
    fn note_resent(&self, ticket: Ticket) {
        let message = self.window.get(ticket);
        if message.is_some_and(|message| message.stored.seq <= self.sent_through) {
            self.monitor.resent();
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
