//! Messages under way, in sequence order: what turns scattered delivery reports into a contiguous prefix. Pure.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::faults;
use crate::message::{Seq, Stored};
use crate::queue::Waiting;
use crate::route::Refusal;
use crate::sink::producer::Ticket;

/// One message that has been taken from the queue and is not done.
#[derive(Debug)]
pub struct InFlight {
    /// The message; kept for the dead letter it may become.
    pub stored: Stored,
    /// Ticket of its first record; the others follow.
    first: Ticket,
    /// For each record whether Kafka has stored it.
    confirmed: Vec<bool>,
    /// Records that are neither confirmed nor refused.
    outstanding: usize,
    /// Records that failed, or came back unsent.
    failed: usize,
    /// Bytes of the records that were submitted.
    pub bytes: usize,
    /// Routes that refused it: it becomes a dead letter when its turn comes.
    pub refusals: Vec<Refusal>,
    /// What it takes in memory although nothing of it is sent, bytes; 0 for one with records to send.
    idle: usize,
}

/// What became of a message of which everything is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Kafka has all of its records.
    Delivered,
    /// Some route refused it.
    DeadLetter,
    /// No route wanted it, by a filter of the configuration: it has neither records nor refusals.
    Filtered,
}

impl InFlight {
    /// Whether nothing of it was to be sent when it was taken.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.idle > 0
    }

    /// Its place and its age.
    #[must_use]
    pub const fn waiting(&self) -> Waiting {
        Waiting {
            seq: self.stored.seq,
            stamp: self.stored.arrival.stamp,
        }
    }

    /// Whether Kafka has stored its record of this number.
    #[must_use]
    pub fn has(&self, number: usize) -> bool {
        self.confirmed.get(number).copied().unwrap_or(false)
    }

    /// See [`Fate`]; for messages that are done.
    #[must_use]
    pub const fn fate(&self) -> Fate {
        if !self.refusals.is_empty() {
            Fate::DeadLetter
        } else if self.confirmed.is_empty() {
            Fate::Filtered
        } else {
            Fate::Delivered
        }
    }
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Window {
    /// Ticket of the next record.
    next: Ticket,
    messages: VecDeque<InFlight>,
    /// What messages of which nothing is sent take in memory, bytes.
    idle: usize,
    /// It was empty when [`Window::rest`] was called last, and nothing came since.
    rests: bool,
}

/// Messages for which there is always room, 270 bytes each.
const ROOM_AT_REST: usize = 256;

impl Window {
    /// There is nothing to do. At the second time in a row gives back the room for messages that are done. True then.
    pub fn rest(&mut self) -> bool {
        let goes_on = std::mem::replace(&mut self.rests, self.messages.is_empty());
        let is_long = goes_on && self.rests && self.messages.capacity() > ROOM_AT_REST;
        if is_long {
            self.messages.shrink_to(ROOM_AT_REST);
        }
        is_long
    }

    /// What those take in memory that only wait for the messages before them, bytes: dead letters, and what is filtered.
    /// Records have their own bound, which is what the client holds.
    #[must_use]
    pub const fn idle_bytes(&self) -> usize {
        self.idle
    }

    /// Number of messages under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Takes a message in. One that is filtered leaves only its place: nobody asks for more of it. `confirmed` says for each of its records whether Kafka has stored it before;
    /// `outstanding` is how many will be sent. Returns the ticket of its first record; the others follow.
    pub fn push(
        &mut self,
        mut stored: Stored,
        confirmed: Vec<bool>,
        outstanding: usize,
        refusals: Vec<Refusal>,
    ) -> Ticket {
        let first = self.next;
        self.next = first.wrapping_add(confirmed.len());
        if confirmed.is_empty() && refusals.is_empty() {
            let arrival = &mut stored.arrival;
            arrival.topic = String::new();
            arrival.payload = Bytes::new();
            arrival.properties = None;
            arrival.origin = None;
        }
        let idle = if outstanding == 0 {
            stored.arrival.cost()
        } else {
            0
        };
        self.idle = self.idle.saturating_add(idle);
        self.rests = false;
        self.messages.push_back(InFlight {
            stored,
            first,
            confirmed,
            outstanding,
            failed: 0,
            bytes: 0,
            refusals,
            idle,
        });
        first
    }

    /// The message of a ticket, unless it is done or belongs to an earlier window.
    #[must_use]
    pub fn get(&self, ticket: Ticket) -> Option<&InFlight> {
        let (message, _) = self.find(ticket)?;
        self.messages.get(message)
    }

    /// Which record of its message a ticket is, from 0; `None` as in [`Window::get`].
    #[must_use]
    pub fn number(&self, ticket: Ticket) -> Option<usize> {
        self.find(ticket).map(|(_, record)| record)
    }

    /// Ticket of the oldest record that is not confirmed.
    #[must_use]
    pub fn oldest(&self) -> Option<Ticket> {
        let message = self.messages.front()?;
        let number = message.confirmed.iter().position(|confirmed| !confirmed)?;
        Some(message.first.wrapping_add(number))
    }

    /// Positions of the ticket's message in the window, and of its record in the message.
    fn find(&self, ticket: Ticket) -> Option<(usize, usize)> {
        let base = self.messages.front()?.first;
        let wanted = ticket.wrapping_sub(base);
        // Most messages have one record, and then the ticket counts messages: asked for several times a record, so the search shows.
        let likely = self.messages.get(wanted);
        if likely.is_some_and(|message| message.first == ticket && !message.confirmed.is_empty()) {
            return Some((wanted, 0));
        }
        let behind = self
            .messages
            .partition_point(|message| message.first.wrapping_sub(base) <= wanted);
        let position = behind.checked_sub(1)?;
        let message = self.messages.get(position)?;
        let record = ticket.wrapping_sub(message.first);
        (record < message.confirmed.len()).then_some((position, record))
    }

    /// A record of so many bytes was handed to the client.
    pub fn submitted(&mut self, ticket: Ticket, bytes: usize) {
        if let Some((position, _)) = self.find(ticket)
            && let Some(message) = self.messages.get_mut(position)
        {
            message.bytes += bytes;
        }
    }

    /// A record is stored by Kafka.
    pub fn delivered(&mut self, ticket: Ticket) {
        let Some((position, record)) = self.find(ticket) else {
            return;
        };
        if let Some(message) = self.messages.get_mut(position)
            && let Some(confirmed) = message.confirmed.get_mut(record)
        {
            *confirmed = true;
            message.outstanding = message.outstanding.saturating_sub(1);
        }
    }

    /// A record that was submitted is not.
    pub fn failed(&mut self, ticket: Ticket) {
        if let Some((position, _)) = self.find(ticket)
            && let Some(message) = self.messages.get_mut(position)
        {
            message.failed += 1;
        }
    }

    /// A record will never be: its message becomes a dead letter.
    pub fn refused(&mut self, ticket: Ticket, refusal: Refusal) {
        if let Some((position, _)) = self.find(ticket)
            && let Some(message) = self.messages.get_mut(position)
        {
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

    /// Whether no record of what is under way was submitted, `unsent` records aside.
    #[must_use]
    pub fn is_untouched(&self, unsent: usize) -> bool {
        let outstanding: usize = self.messages.iter().map(|message| message.outstanding).sum();
        outstanding == unsent
            && self
                .messages
                .iter()
                .all(|message| !message.confirmed.contains(&true))
    }

    /// The newest message under way.
    #[must_use]
    pub fn last(&self) -> Option<Seq> {
        self.messages.back().map(|message| message.stored.seq)
    }

    /// The newest message of which a record was handed to the client.
    #[must_use]
    pub fn last_sent(&self) -> Option<Seq> {
        let sent = self.messages.iter().rfind(|message| message.bytes > 0);
        sent.map(|message| message.stored.seq)
    }

    /// The oldest message, if all of it is decided.
    #[must_use]
    pub fn front_done(&self) -> Option<&InFlight> {
        let is_done = |message: &InFlight| message.outstanding == 0;
        let is_passed = || faults::omits(faults::CURSOR_STOPS) && self.messages.iter().any(is_done);
        self.messages
            .front()
            .filter(|message| is_done(message) || is_passed())
    }

    /// The oldest message.
    #[must_use]
    pub fn front(&self) -> Option<&InFlight> {
        self.messages.front()
    }

    /// Lets go of the oldest message.
    pub fn pop(&mut self) -> Option<InFlight> {
        let message = self.messages.pop_front()?;
        self.idle = self.idle.saturating_sub(message.idle);
        Some(message)
    }

    /// Gives up on everything under way. Returns which records of which messages Kafka has stored, so that
    /// they are not sent again.
    pub fn abandon(&mut self) -> BTreeMap<Seq, Vec<bool>> {
        self.idle = 0;
        self.messages
            .drain(..)
            .filter(|message| message.confirmed.contains(&true))
            .map(|message| (message.stored.seq, message.confirmed))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Arrival, Epoch};

    fn stored(seq: u64) -> Stored {
        Stored {
            seq: Seq(seq),
            epoch: Epoch(1),
            arrival: Arrival::trial(seq, "t", "1"),
        }
    }

    fn fill(window: &mut Window, count: u64) {
        for seq in 1..=count {
            window.push(stored(seq), vec![false], 1, Vec::new());
        }
    }

    /// Messages with so many records each, by their sequence; the tickets of their first records.
    fn window_of(records: &[usize]) -> (Window, Vec<Ticket>) {
        let mut window = Window::default();
        let counted = (1..).zip(records);
        let firsts = counted.map(|(seq, count)| {
            let refusals = if *count == 0 {
                vec![Refusal::NoRoute]
            } else {
                Vec::new()
            };
            window.push(stored(seq), vec![false; *count], *count, refusals)
        });
        let firsts = firsts.collect();
        (window, firsts)
    }

    #[test]
    fn a_ticket_names_its_message_and_its_record_also_when_tickets_wrap_around() {
        for next in [0, Ticket::MAX - 2] {
            let mut window = Window {
                next,
                ..Window::default()
            };
            let mut expected = Vec::new();
            for (seq, count) in (1..).zip([1, 3, 0, 2, 1]) {
                let first = window.push(stored(seq), vec![false; count], count, Vec::new());
                expected.extend((0..count).map(|number| (first.wrapping_add(number), Seq(seq), number)));
            }
            for (ticket, seq, number) in expected {
                assert_eq!(window.get(ticket).map(|message| message.stored.seq), Some(seq));
                assert_eq!(window.number(ticket), Some(number));
            }
            assert!(
                window.get(next.wrapping_sub(1)).is_none(),
                "it is of an earlier window"
            );
            assert!(window.get(window.next).is_none(), "nobody has it yet");
        }
    }

    #[test]
    fn a_message_is_done_when_each_of_its_records_is_stored_or_refused() {
        let (mut window, firsts) = window_of(&[2]);
        assert_eq!(window.oldest(), Some(firsts[0]));
        window.delivered(firsts[0]);
        assert!(window.front_done().is_none());
        assert_eq!(window.oldest(), Some(firsts[0].wrapping_add(1)));
        assert!(
            window
                .front()
                .is_some_and(|message| message.has(0) && !message.has(1))
        );
        window.refused(firsts[0].wrapping_add(1), Refusal::NoRoute);
        let done = window.front_done().expect("done");
        assert_eq!(
            (done.fate(), &done.refusals),
            (Fate::DeadLetter, &vec![Refusal::NoRoute])
        );
        assert!(!done.is_idle(), "something of it was sent");
    }

    #[test]
    fn fates_are_told_apart() {
        let (mut window, firsts) = window_of(&[1, 0]);
        window.push(stored(3), Vec::new(), 0, Vec::new());
        window.delivered(firsts[0]);
        let fates = std::iter::from_fn(|| window.pop().map(|message| (message.fate(), message.is_idle())));
        assert_eq!(
            fates.collect::<Vec<_>>(),
            [
                (Fate::Delivered, false),
                (Fate::DeadLetter, true),
                (Fate::Filtered, true)
            ]
        );
    }

    #[test]
    fn what_only_waits_is_counted_as_long_as_it_waits() {
        let (mut window, _) = window_of(&[1, 0, 0]);
        let letter = stored(2).arrival.cost();
        assert_eq!(window.idle_bytes(), 2 * letter);
        window.pop();
        assert_eq!(
            window.idle_bytes(),
            2 * letter,
            "records have a bound of their own"
        );
        window.pop();
        assert_eq!(window.idle_bytes(), letter);
        window.push(stored(4), Vec::new(), 0, Vec::new());
        assert!(
            window.idle_bytes() < 2 * letter,
            "what is filtered keeps no payload"
        );
        window.abandon();
        assert_eq!(window.idle_bytes(), 0);
    }

    #[test]
    fn a_window_is_settled_when_all_that_was_submitted_is_answered() {
        let (mut window, firsts) = window_of(&[1, 2]);
        let unsent = 1;
        assert!(!window.is_settled(unsent) && !window.is_untouched(unsent));
        assert!(
            window.is_settled(3) && window.is_untouched(3),
            "none was submitted"
        );
        window.delivered(firsts[0]);
        assert!(!window.is_settled(unsent));
        window.failed(firsts[1]);
        assert!(window.is_settled(unsent), "the third one is not sent yet");
        assert!(!window.is_untouched(2), "Kafka has one");
    }

    #[test]
    fn what_was_sent_last_is_what_bytes_were_noted_for() {
        let (mut window, firsts) = window_of(&[1, 1, 1]);
        assert_eq!(window.last_sent(), None);
        window.submitted(firsts[0], 10);
        window.submitted(firsts[1], 5);
        window.submitted(firsts[1], 6);
        assert_eq!((window.last_sent(), window.last()), (Some(Seq(2)), Some(Seq(3))));
        assert_eq!(window.get(firsts[1]).map(|message| message.bytes), Some(11));
    }

    #[test]
    fn of_what_is_given_up_the_records_that_kafka_has_are_remembered() {
        let (mut window, firsts) = window_of(&[1, 3, 1]);
        window.delivered(firsts[1].wrapping_add(1));
        let kept = window.abandon();
        assert_eq!(kept, BTreeMap::from([(Seq(2), vec![false, true, false])]));
        assert!(window.is_empty());
    }

    #[test]
    fn at_rest_room_for_messages_that_are_done_is_given_back_and_not_before() {
        let mut window = Window::default();
        fill(&mut window, 4_096);
        assert!(!window.rest() && !window.rest());
        while window.pop().is_some() {}
        assert!(!window.rest(), "the next ones may be on their way");
        assert!(window.messages.capacity() >= 4_096);
        assert!(window.rest());
        assert!(window.messages.capacity() <= ROOM_AT_REST);
        fill(&mut window, 10);
        while window.pop().is_some() {}
        assert!(!window.rest() && !window.rest(), "there is nothing to give back");
    }
}
