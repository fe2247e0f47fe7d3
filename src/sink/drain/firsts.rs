//! The first record of a producer in a partition goes there alone.
//!
//! Kafka keeps for each partition what an idempotent producer wrote there last, and refuses what does not follow. Of a producer that it
//! does not know there it takes any number as the first. So where two batches are under way to such a partition, and the first fails for a
//! passing reason (a log that is being made, a leader that moves), Kafka may take the second one as the beginning. The client concludes
//! from that answer that the first was stored as well, and reports it as delivered: it is lost. Seen with Kafka 4.1.1 and librdkafka
//! 2.12.1 at a topic that was made while messages waited: two records of 9,213, the first batch of one of five partitions, whose log
//! begins with sequence number 2.
//!
//! When Kafka has confirmed one record it knows the producer, and a gap is refused.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::faults;
use crate::sink::producer::Ticket;

/// Kafka forgets a producer that wrote nothing to a partition for `producer.id.expiration.ms`, a day unless somebody changed it.
const FORGOTTEN: Duration = Duration::from_hours(1);
/// Partitions that are remembered, some 100 bytes each. With more of them, all are forgotten when nothing is under way.
const PARTITIONS_MAX: usize = 10_000;

/// Where Kafka knows the producer that is used now.
#[derive(Debug, Default)]
pub(super) struct Firsts {
    topics: HashMap<String, HashMap<i32, State>>,
    partitions: usize,
    /// Those under way: as many as partitions at most.
    tickets: HashMap<Ticket, (String, i32)>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The first record has no answer yet.
    UnderWay,
    /// Kafka has one; when the last one was sent.
    Known { sent: Instant },
}

impl Firsts {
    /// Whether another record may go to this partition now. `is_settled` says whether nothing at all is under way.
    pub(super) fn may_go(
        &mut self,
        topic: &str,
        partition: i32,
        now: Instant,
        is_settled: impl FnOnce() -> bool,
    ) -> bool {
        if faults::omits(faults::FIRST_GOES_ALONE) {
            return true;
        }
        match self.topics.get(topic).and_then(|known| known.get(&partition)) {
            Some(State::UnderWay) => false,
            Some(State::Known { sent }) => now.duration_since(*sent) < FORGOTTEN || is_settled(),
            None if self.partitions < PARTITIONS_MAX => true,
            None => {
                let is_settled = is_settled();
                if is_settled {
                    self.forget();
                }
                is_settled
            }
        }
    }

    /// The client took a record.
    pub(super) fn sent(&mut self, topic: &str, partition: i32, ticket: Ticket, now: Instant) {
        let known = self
            .topics
            .get_mut(topic)
            .and_then(|known| known.get_mut(&partition));
        if let Some(State::Known { sent }) = known
            && now.duration_since(*sent) < FORGOTTEN
        {
            *sent = now;
            return;
        }
        let partitions = self.topics.entry(topic.to_owned()).or_default();
        if partitions.insert(partition, State::UnderWay).is_none() {
            self.partitions += 1;
        }
        self.tickets.insert(ticket, (topic.to_owned(), partition));
    }

    /// Kafka has a record.
    pub(super) fn confirmed(&mut self, ticket: Ticket, now: Instant) {
        let Some((topic, partition)) = self.tickets.remove(&ticket) else {
            return;
        };
        let state = self
            .topics
            .get_mut(&topic)
            .and_then(|known| known.get_mut(&partition));
        if let Some(state) = state {
            *state = State::Known { sent: now };
        }
    }

    /// There will be another producer, or nothing is under way.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_takes_one_record_until_kafka_has_it_and_then_any() {
        let (mut firsts, now) = (Firsts::default(), Instant::now());
        assert!(firsts.may_go("t", 0, now, || false));
        firsts.sent("t", 0, 7, now);
        assert!(!firsts.may_go("t", 0, now, || false));
        assert!(firsts.may_go("t", 1, now, || false) && firsts.may_go("u", 0, now, || false));
        firsts.confirmed(6, now);
        assert!(!firsts.may_go("t", 0, now, || false), "that was another one");
        firsts.confirmed(7, now);
        for ticket in 8..100 {
            assert!(firsts.may_go("t", 0, now, || false));
            firsts.sent("t", 0, ticket, now);
        }
        assert!(firsts.tickets.is_empty());
        firsts.forget();
        firsts.sent("t", 0, 100, now);
        assert!(!firsts.may_go("t", 0, now, || false), "a new producer");
    }

    #[test]
    fn after_an_hour_without_a_record_the_next_one_is_a_first_one_again() {
        let (mut firsts, now) = (Firsts::default(), Instant::now());
        firsts.sent("t", 0, 1, now);
        firsts.confirmed(1, now);
        let later = now + FORGOTTEN;
        assert!(!firsts.may_go("t", 0, later, || false), "something is under way");
        assert!(firsts.may_go("t", 0, later, || true));
        firsts.sent("t", 0, 2, later);
        assert!(!firsts.may_go("t", 0, later, || false));
    }

    #[test]
    fn what_is_remembered_of_partitions_is_bounded() {
        let (mut firsts, now) = (Firsts::default(), Instant::now());
        for number in 0..PARTITIONS_MAX {
            firsts.sent(&number.to_string(), 0, number, now);
            firsts.confirmed(number, now);
        }
        assert!(!firsts.may_go("one more", 0, now, || false));
        assert!(firsts.may_go("one more", 0, now, || true));
        assert_eq!(firsts.partitions, 0);
    }
}
