//! Times that turn out to be wrong: those of this gateway's past, and those that Kafka refuses.

use std::time::Instant;

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
        self.shares.clear();
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
        if self.lone == Some(failure.ticket)
            && let Some(message) = self.window.get(failure.ticket)
        {
            next = self.times.refused(&message.stored, now);
            // The others may be taken now. If not, they fail as a batch again.
            self.alone_until = Some(seq);
        }
        if next == Next::GiveUp {
            self.refuse_for_its_time(failure, seq);
        }
        self.rewind(now);
        if next == Next::Wait {
            let reason = "no time of this gateway's clock, which is not synchronised";
            self.monitor
                .set_link(Link::Refused(format!("{}: {reason}", failure.topic)));
        } else {
            // Nothing is wrong with the link: no reason to wait.
            self.feed_after = None;
        }
    }

    /// No time of the record is taken.
    fn refuse_for_its_time(&mut self, failure: &Failure, seq: Seq) {
        let (Some(number), Some(record)) =
            (self.window.number(failure.ticket), self.record_of(failure.ticket))
        else {
            return;
        };
        let refusal = Refusal::Refused {
            route: record.route,
            topic: record.topic.clone(),
            code: failure.code.to_string(),
            attempts: self.times.attempts(),
        };
        self.rejected.entry(seq).or_default().push((number, refusal));
    }
}
