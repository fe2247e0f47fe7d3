//! Times that turn out to be wrong: those of this gateway's past, and those that Kafka refuses.

use std::time::Instant;

use rdkafka::types::RDKafkaErrorCode as Code;

use super::failure::Failure;
use super::transaction::Transactions;
use super::{Drain, StepError};
use crate::link::Link;
use crate::message::Seq;
use crate::route::Refusal;
use crate::sink::producer::{Connector, Ticket};
use crate::sink::timing::Next;

impl<C: Connector> Drain<C> {
    /// Makes the fact about this boot once its clock is synchronised. What the window holds and Kafka never saw is taken
    /// anew after it; while a message is half submitted the fact waits.
    pub(super) fn correct(&mut self) -> Result<(), StepError> {
        if !self.times.is_correction_due() || !self.reader.is_proven() {
            return Ok(());
        }
        if !self.unsent.is_empty() {
            let has_pending = self.transactions.as_ref().is_some_and(Transactions::has_pending);
            if has_pending || self.failure.is_some() || !self.window.is_untouched(self.unsent.len()) {
                return Ok(());
            }
            self.put_back();
        }
        Ok(self.times.correct(self.reader.tail())?)
    }

    /// Goes back to the cursor; the producer stays, for it has nothing.
    fn put_back(&mut self) {
        self.unsent.clear();
        self.ahead.append(&mut self.window.abandon());
        self.reader.rewind();
    }

    /// A record is about to be submitted: what is said of its time stays.
    pub(super) fn note_submission(&mut self, ticket: Ticket) -> Result<(), StepError> {
        if let Some(message) = self.window.get(ticket) {
            self.times.submit(&message.stored)?;
        }
        Ok(())
    }

    /// Kafka refused the time of a record. Sent alone, it tells what times are taken; in a batch, any of them may be the
    /// one.
    pub(super) fn untimely(&mut self, failure: &Failure, seq: Seq, now: Instant) {
        let mut next = Next::Try;
        if self.window.len() == 1
            && let Some(message) = self.window.get(failure.ticket)
        {
            next = self.times.refused(&message.stored, now);
            // The others may be taken now. If not, they fail as a batch again.
            self.alone_until = Some(seq);
        }
        self.rewind(now);
        match next {
            // Nothing is wrong with the link: no reason to wait.
            Next::Try => self.feed_after = None,
            Next::GiveUp => {
                let refusal = Refusal::Rejected {
                    topic: failure.topic.clone(),
                    code: Code::InvalidTimestamp.to_string(),
                };
                self.rejected.entry(seq).or_default().push(refusal);
                self.feed_after = None;
            }
            Next::Wait => {
                let reason = "no time of this gateway's clock, which is not synchronised";
                self.monitor
                    .set_link(Link::Refused(format!("{}: {reason}", failure.topic)));
            }
        }
    }
}
