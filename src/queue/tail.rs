//! The newest durable messages in memory, so that a healthy link never reads from disk.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::message::{Seq, Stored};
use crate::queue::Share;

/// Memory for durable messages that Kafka has not confirmed yet. Beyond it the oldest are read from disk
/// again. 2 MiB hold 2,700 small messages: more than a healthy link has under way.
/// Several lanes share it.
const TAIL_BYTES: usize = 2 * 1024 * 1024;

/// Messages for which there is always room, 180 bytes each.
const ROOM_AT_REST: usize = 256;

/// Consecutive messages that end at the durable tail.
#[derive(Debug)]
pub struct Tail(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    messages: VecDeque<Stored>,
    bytes: usize,
    limit: usize,
    last: Seq,
}

impl Tail {
    /// An empty window behind `last`.
    #[must_use]
    pub fn at(last: Seq, share: Share) -> Self {
        Self(Mutex::new(Inner {
            last,
            limit: share.part(TAIL_BYTES),
            ..Inner::default()
        }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last durable message.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.inner().last
    }

    /// Everything up to `last` is durable; it can be read from disk.
    pub fn reach(&self, last: Seq) {
        self.inner().last = last;
    }

    /// Publishes a group that is durable; the oldest messages give way.
    pub fn extend(&self, group: impl IntoIterator<Item = Stored>) {
        let mut inner = self.inner();
        for stored in group {
            inner.bytes += stored.arrival.cost();
            inner.last = stored.seq;
            inner.messages.push_back(stored);
            // One by one: room for a whole group beyond the limit would never be given back.
            while inner.bytes > inner.limit {
                inner.pop();
            }
        }
    }

    /// Nothing comes for a while: gives back the room for messages that are not there any more.
    pub fn rest(&self) {
        let messages = &mut self.inner().messages;
        // Not to what there is: the next message would double it.
        let room = (messages.len() * 2).next_power_of_two().max(ROOM_AT_REST);
        if messages.capacity() > 2 * room {
            messages.shrink_to(room);
        }
    }

    /// Up to `count` consecutive messages from `from` on; empty when `from` is not in memory.
    #[must_use]
    pub fn get(&self, from: Seq, count: usize) -> Vec<Stored> {
        let inner = self.inner();
        let Some(oldest) = inner.messages.front().map(|stored| stored.seq) else {
            return Vec::new();
        };
        let Some(skip) = from
            .0
            .checked_sub(oldest.0)
            .and_then(|skip| usize::try_from(skip).ok())
        else {
            return Vec::new();
        };
        inner.messages.iter().skip(skip).take(count).cloned().collect()
    }

    /// Forgets messages up to and including `through`.
    pub fn forget(&self, through: Seq) {
        let mut inner = self.inner();
        while inner.messages.front().is_some_and(|stored| stored.seq <= through) {
            inner.pop();
        }
    }
}

impl Inner {
    fn pop(&mut self) {
        if let Some(stored) = self.messages.pop_front() {
            self.bytes = self.bytes.saturating_sub(stored.arrival.cost());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Arrival, Epoch};

    fn group(sequences: std::ops::Range<u64>) -> impl Iterator<Item = Stored> {
        sequences.map(|seq| Stored {
            seq: Seq(seq),
            epoch: Epoch(1),
            arrival: Arrival::trial(seq, "t", ""),
        })
    }

    #[test]
    fn a_group_takes_no_room_beyond_the_limit_also_while_it_is_put_in() {
        let tail = Tail::at(Seq::ZERO, Share::default());
        tail.extend(group(1..20_000));
        let most = TAIL_BYTES / Arrival::OVERHEAD_BYTES;
        let inner = tail.inner();
        assert!(inner.messages.len() <= most && inner.messages.capacity() <= most);
    }

    #[test]
    fn at_rest_room_for_messages_that_are_gone_is_given_back() {
        let tail = Tail::at(Seq::ZERO, Share::default());
        tail.extend(group(1..2_000));
        tail.forget(Seq(1_990));
        tail.rest();
        assert_eq!(tail.get(Seq(1_991), 100).len(), 9);
        tail.forget(Seq(1_999));
        tail.rest();
        assert!(tail.inner().messages.capacity() <= ROOM_AT_REST);
        tail.extend(group(2_000..2_010));
        assert_eq!(tail.get(Seq(2_000), 100).len(), 10);
    }

    #[test]
    fn a_full_tail_does_not_grow_because_of_a_rest() {
        let tail = Tail::at(Seq::ZERO, Share::default());
        tail.extend(group(1..20_000));
        let room = tail.inner().messages.capacity();
        for seq in 20_000..20_010 {
            tail.rest();
            tail.extend(group(seq..seq + 1));
        }
        assert_eq!(tail.inner().messages.capacity(), room);
    }
}
