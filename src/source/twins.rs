//! Second copies of a message that matches several subscriptions.
//!
//! Where filters overlap in part, a broker may send one copy of a message, or one for each subscription (MQTT 5, 3.3.4).
//! Whatever it sends, a message is to be stored once: the routes are found by its topic, not by the copy. With MQTT 5 such
//! filters have subscription identifiers, and a copy says which subscription it is for. Pure.
//!
//! Nothing is assumed about which copies come. A copy that is stored leaves a note for each other filter that matches:
//! a copy for that one would be the same message. Whoever finds such a note for its own identifier, with its own
//! fingerprint, takes it away and is left out. So of equal messages as many are stored as came for one subscription. Where the broker
//! sends one copy with all identifiers, no notes are written. They end with the connection: what is repeated on the next one
//! is stored in doubt, and marked.
//!
//! Members of a shared subscription get some of the copies, so there it cannot be used: notes would stay.

use std::collections::{HashMap, VecDeque};

use super::Subscription;
use crate::filter::covers;
use crate::queue::intake::Position;

/// Notes kept, some 50 bytes each. Brokers send the copies of a message one behind the other; what lies further apart is
/// stored twice.
const NOTES: usize = 1_024;

/// See the module documentation.
#[derive(Debug)]
pub struct Twins {
    /// Filters that overlap with another one.
    filters: Vec<(u32, String)>,
    /// Position of the message that was stored, by fingerprint and identifier; several of equal ones.
    notes: HashMap<(u64, u32), VecDeque<Position>>,
    /// Keys of the notes, oldest first. Those that were taken away may still be in it.
    order: VecDeque<(u64, u32)>,
}

impl Twins {
    pub fn new(wanted: &[Subscription]) -> Self {
        let with_id = |wanted: &Subscription| Some((wanted.id?, wanted.filter.clone()));
        Self {
            filters: wanted.iter().filter_map(with_id).collect(),
            notes: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// A connection begins.
    pub fn clear(&mut self) {
        self.notes.clear();
        self.order.clear();
    }

    /// Position of the message that this copy is the second one of.
    pub fn first_of(&mut self, ids: &[u32], fingerprint: u64) -> Option<Position> {
        let [id] = ids else { return None };
        let key = (fingerprint, *id);
        let notes = self.notes.get_mut(&key)?;
        let position = notes.pop_front();
        if notes.is_empty() {
            self.notes.remove(&key);
        }
        position
    }

    /// A copy for these subscriptions is stored at `position`.
    pub fn stored(&mut self, topic: &str, ids: &[u32], fingerprint: u64, position: Position) {
        let [own] = ids else { return };
        let others = self.filters.iter().filter(|(id, _)| id != own);
        let matching: Vec<u32> = others
            .filter(|(_, filter)| covers(filter, topic))
            .map(|(id, _)| *id)
            .collect();
        for id in matching {
            let key = (fingerprint, id);
            self.notes.entry(key).or_default().push_back(position);
            self.order.push_back(key);
        }
        while self.order.len() > NOTES {
            let oldest = self.order.pop_front();
            if let Some(notes) = oldest.and_then(|key| self.notes.get_mut(&key)) {
                // As many as there are places for it in the order, at most: the oldest one goes.
                notes.pop_front();
            }
        }
        if self.order.len() == NOTES {
            self.notes.retain(|_, notes| !notes.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::script::wanted;

    fn twins() -> Twins {
        let filters = [("a/+", Some(1)), ("+/b", Some(2)), ("c", None)];
        let wanted = filters.map(|(filter, id)| Subscription { id, ..wanted(filter) });
        Twins::new(&wanted)
    }

    #[test]
    fn one_copy_for_each_subscription_is_one_message_in_whatever_order_they_come() {
        let mut twins = twins();
        for (first, second) in [(1, 2), (2, 1)] {
            assert_eq!(twins.first_of(&[first], 7), None);
            twins.stored("a/b", &[first], 7, 10);
            assert_eq!(twins.first_of(&[second], 7), Some(10));
            assert_eq!(
                twins.first_of(&[second], 7),
                None,
                "the next one is another message"
            );
        }
        assert!(twins.notes.is_empty());
    }

    #[test]
    fn equal_messages_are_as_many_as_came_for_one_subscription() {
        let mut twins = twins();
        let mut stored = 0;
        for id in [1, 1, 2, 1, 2, 2, 2] {
            if twins.first_of(&[id], 7).is_none() {
                stored += 1;
                twins.stored("a/b", &[id], 7, stored);
            }
        }
        assert_eq!(stored, 4, "three for the first, four for the second");
    }

    #[test]
    fn a_copy_with_all_identifiers_or_none_leaves_no_note() {
        let mut twins = twins();
        twins.stored("a/b", &[1, 2], 7, 1);
        twins.stored("a/b", &[], 7, 2);
        twins.stored("a/x", &[1], 7, 3);
        assert!(twins.notes.is_empty());
    }

    #[test]
    fn the_notes_are_bounded_and_end_with_the_connection() {
        let mut twins = twins();
        for number in 0..5 * NOTES as u64 {
            twins.stored("a/b", &[1], number, number);
        }
        assert_eq!(twins.order.len(), NOTES);
        assert!(twins.notes.len() <= NOTES);
        assert_eq!(twins.first_of(&[2], 0), None, "too long ago");
        assert_eq!(
            twins.first_of(&[2], 5 * NOTES as u64 - 1),
            Some(5 * NOTES as u64 - 1)
        );
        twins.clear();
        assert_eq!(twins.first_of(&[2], 5 * NOTES as u64 - 2), None);
    }
}
