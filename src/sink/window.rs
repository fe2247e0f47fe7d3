//! Messages under way, in sequence order: what turns scattered delivery reports into a contiguous prefix. Pure.

use std::collections::{BTreeSet, VecDeque};

use crate::message::{Seq, Stored};
use crate::route::Refusal;
use crate::sink::producer::Ticket;

/// One message that has been taken from the queue and is not done.
#[derive(Debug)]
pub struct InFlight {
    /// The message; kept for the dead letter it may become.
    pub stored: Stored,
    /// Records without a good report.
    outstanding: usize,
    /// Records that failed, or came back unsent.
    failed: usize,
    /// Routes that refused it: it becomes a dead letter when its turn comes.
    pub refusals: Vec<Refusal>,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Window {
    base: Ticket,
    messages: VecDeque<InFlight>,
}

impl Window {
    /// Number of messages under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Takes a message with its number of records in; the ticket is for all of them.
    pub fn push(&mut self, stored: Stored, records: usize, refusals: Vec<Refusal>) -> Ticket {
        let ticket = self.base.wrapping_add(self.messages.len());
        self.messages.push_back(InFlight {
            stored,
            outstanding: records,
            failed: 0,
            refusals,
        });
        ticket
    }

    /// The message of a ticket, unless it is done or belongs to an earlier window.
    #[must_use]
    pub fn get(&self, ticket: Ticket) -> Option<&InFlight> {
        self.messages.get(ticket.wrapping_sub(self.base))
    }

    fn get_mut(&mut self, ticket: Ticket) -> Option<&mut InFlight> {
        self.messages.get_mut(ticket.wrapping_sub(self.base))
    }

    /// A record of the message is stored by Kafka.
    pub fn delivered(&mut self, ticket: Ticket) {
        if let Some(message) = self.get_mut(ticket) {
            message.outstanding = message.outstanding.saturating_sub(1);
        }
    }

    /// A record of the message is not.
    pub fn failed(&mut self, ticket: Ticket) {
        if let Some(message) = self.get_mut(ticket) {
            message.failed += 1;
        }
    }

    /// A record of the message will never be: it becomes a dead letter.
    pub fn refused(&mut self, ticket: Ticket, refusal: Refusal) {
        if let Some(message) = self.get_mut(ticket) {
            message.outstanding = message.outstanding.saturating_sub(1);
            message.refusals.push(refusal);
        }
    }

    /// Whether a report has come for everything that was submitted, `unsent` records aside.
    #[must_use]
    pub fn is_settled(&self, unsent: usize) -> bool {
        let waiting: usize = self
            .messages
            .iter()
            .map(|message| message.outstanding.saturating_sub(message.failed))
            .sum();
        waiting <= unsent
    }

    /// The oldest message, if all of it is decided.
    #[must_use]
    pub fn front_done(&self) -> Option<&InFlight> {
        self.messages.front().filter(|message| message.outstanding == 0)
    }

    /// Lets go of the oldest message.
    pub fn pop(&mut self) -> Option<InFlight> {
        let message = self.messages.pop_front();
        if message.is_some() {
            self.base = self.base.wrapping_add(1);
        }
        message
    }

    /// Gives up on everything under way. Returns the messages that are stored by Kafka although an older one
    /// is not, so that they are not sent again.
    pub fn abandon(&mut self) -> BTreeSet<Seq> {
        self.base = self.base.wrapping_add(self.messages.len());
        let delivered = |message: &InFlight| message.outstanding == 0 && message.refusals.is_empty();
        self.messages
            .drain(..)
            .filter(|message| delivered(message))
            .map(|message| message.stored.seq)
            .collect()
    }
}
