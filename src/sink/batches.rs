//! Holds records back that the client could not send now, and hands them over a batch at a time.
//!
//! librdkafka's idempotent producer sends no more of a partition while five records of it are unanswered. It does not wait for the answer,
//! though: once the `linger.ms` of what is queued is over, it asks its socket again and again without a pause (2.12.1,
//! `rd_kafka_toppar_producer_serve`: the time to wake up is set before it is known that nothing may be sent). Over a link of 100 ms that was
//! a whole core for as long as messages came (docs/decisions/0039-batches.md). So a partition of which five are unanswered gets no more
//! here, and what waits goes over as one batch when the answer is there: the client has nothing to spin for. Where more than five
//! partitions are busy nothing is held: it does not spin then.
//!
//! What is handed over together has to be sent together, so the client keeps `CLIENT_LINGER` of `linger.ms`; the rest of it is waited
//! here. With a `linger.ms` of 0 there is no together: nothing is held then, and the client goes round as it does.
//!
//! Order: records of a partition pass in the order in which they were submitted. When one fails, or is refused, nothing that waits follows
//! it: it is given back as [`Code::PurgeQueue`], as the client does with what it has not sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use crate::clock;
use crate::message::Seq;
use crate::route::KafkaRecord;
use crate::sink::producer::{Committed, Producer, Report, SubmitError, Ticket, TopicState, TransactionError};
use crate::sink::size;
use lines::{Lines, Number, Waiting};

mod lines;

/// What the client keeps of `linger.ms` at most, so that a full batch is handed over within it, also by a small board: a thousand records
/// at ten microseconds each, which is an estimate. What comes later waits in the client for the answer, and it spins.
pub(super) const CLIENT_LINGER: Duration = Duration::from_millis(10);

/// What a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Whether anything is held: not in front of a client that keeps nothing together.
    pub holds: bool,
    /// How long a record waits for company here.
    pub linger: Duration,
    /// What a batch may have of records, about, bytes.
    pub batch_bytes: usize,
    /// How many records may be in a batch.
    pub batch_records: usize,
    /// What a single record may count.
    pub record_bytes: usize,
    /// Records that may be held and under way, together.
    pub records: usize,
    /// What they may count, bytes.
    pub bytes: usize,
}

/// A producer that gets batches. See the module documentation.
#[derive(Debug)]
pub struct Batched<P> {
    producer: P,
    lines: Lines,
    /// Answers of our own: for what the client refused when its turn came, and for what is behind a failure.
    reports: Vec<Report>,
    /// Something failed: the guarantees of the client are over.
    has_failed: bool,
}

impl<P: Producer> Batched<P> {
    /// Hands over to `producer`.
    #[must_use]
    pub fn new(producer: P, limits: Limits) -> Self {
        Self {
            producer,
            lines: Lines::new(limits),
            reports: Vec::new(),
            has_failed: false,
        }
    }

    /// Hands over what is due.
    fn hand_over(&mut self, now: Instant) {
        for number in self.lines.ready(now) {
            while self.lines.is_ready(number, now) {
                if !self.hand_over_batch(number) {
                    return;
                }
            }
        }
    }

    /// Hands over a batch of one partition. False when nothing more can be handed over now.
    fn hand_over_batch(&mut self, number: Number) -> bool {
        let (partition, batch) = self.lines.take_batch(number);
        let mut batch = batch.into_iter();
        while let Some(next) = batch.next() {
            match self.producer.submit(&next.record, partition, next.ticket) {
                Ok(()) => self.lines.moved(number, &next),
                Err(error) => {
                    let rest: Vec<Waiting> = std::iter::once(next).chain(batch).collect();
                    self.lines.put_back(number, rest);
                    if let SubmitError::Refused(code) = error {
                        self.refused(number, code);
                    }
                    return false;
                }
            }
        }
        true
    }

    /// The client refused the first record that waits in a line. Others of it may be under way, so it is a failure like one that Kafka
    /// reports.
    fn refused(&mut self, number: Number, code: Code) {
        self.reports
            .extend(self.lines.take_first(number).map(|first| report(&first, code)));
        self.give_up();
    }

    /// Nothing that waits follows what failed.
    fn give_up(&mut self) {
        self.has_failed = true;
        let given_up = self.lines.give_up().into_iter();
        self.reports
            .extend(given_up.map(|waiting| report(&waiting, Code::PurgeQueue)));
    }
}

fn report(waiting: &Waiting, code: Code) -> Report {
    Report {
        ticket: waiting.ticket,
        topic: waiting.record.topic.clone(),
        outcome: Err(code),
    }
}

impl<P: Producer> Producer for Batched<P> {
    fn submit(
        &mut self,
        record: &Arc<KafkaRecord>,
        partition: Option<i32>,
        ticket: Ticket,
    ) -> Result<(), SubmitError> {
        let bytes = size::of(record);
        // As the client would at once: it says nothing about the records before.
        if self.lines.is_too_large(bytes) {
            return Err(SubmitError::Refused(Code::MessageSizeTooLarge));
        }
        if self.has_failed || !self.lines.has_room(bytes) {
            return Err(SubmitError::Full);
        }
        let number = self.lines.number(&record.topic, partition);
        if self.lines.is_open(number) {
            self.producer.submit(record, partition, ticket)?;
            self.lines.sent(number, ticket, bytes);
        } else {
            self.lines
                .wait(number, ticket, Arc::clone(record), bytes, clock::instant());
        }
        Ok(())
    }

    fn reports(&mut self) -> Vec<Report> {
        let mut reports = self.producer.reports();
        for report in &reports {
            self.lines.answered(report.ticket);
        }
        if reports.iter().any(|report| report.outcome.is_err()) {
            self.give_up();
        } else if !self.has_failed {
            self.hand_over(clock::instant());
        }
        reports.append(&mut self.reports);
        reports
    }

    fn due(&self) -> Option<Instant> {
        self.lines.due()
    }

    fn trouble(&mut self) -> Option<Code> {
        self.producer.trouble()
    }

    fn take_over(&mut self, patience: Duration) -> Result<Committed, TransactionError> {
        self.producer.take_over(patience)
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        self.producer.begin()
    }

    fn commit(&mut self, cursor: Seq, patience: Duration) -> Result<(), TransactionError> {
        self.producer.commit(cursor, patience)
    }

    fn abort(&mut self, patience: Duration) {
        self.give_up();
        self.producer.abort(patience);
    }

    fn topic_state(&mut self, topic: &str, patience: Duration) -> TopicState {
        self.producer.topic_state(topic, patience)
    }
}

#[cfg(test)]
mod tests;
