//! Second copies of a message that matches several subscriptions.
//!
//! Where filters overlap in part, a broker may send one copy of a message, or one for each subscription (MQTT 5, 3.3.4).
//! Whatever it sends, a message is to be stored once: the routes are found by its topic, not by the copy. With MQTT 5 such
//! filters have subscription identifiers, and a copy says which subscription it is for. Pure.
//!
//! Nothing is assumed about which copies come. A copy that is stored leaves a note for each other filter that matches:
//! a copy for that one would be the same message. Whoever finds such a note for its own identifier, with its own
//! fingerprint, takes it away. So of equal messages as many are left out as came for another subscription. Where the broker
//! sends one copy with all identifiers, no notes are written. They end with the connection: what is repeated on the next one
//! is stored in doubt, and marked.
//!
//! A broker with a full queue may drop the second copy of a message, and later the first one of an equal message: then
//! the second copy of that one finds the note of the other. So a copy is left out only when it came directly behind, with
//! nothing else between and the next packet id (a dropped copy uses one up in Mosquitto). Otherwise it is stored and marked.
//!
//! Members of a shared subscription get some of the copies, so there it cannot be used: notes would stay.

use std::collections::{HashMap, VecDeque};

use super::Subscription;
use crate::filter::covers;
use crate::queue::intake::Position;

/// Notes kept, some 50 bytes each. Brokers send the copies of a message one behind the other; what lies further apart is
/// stored twice.
const NOTES: usize = 1_024;

/// What is known of the first copy of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// It was stored at this position.
    Certain(Position),
    /// It may have been this message, or an equal one.
    Perhaps,
}

#[derive(Debug, Clone, Copy)]
struct Note {
    position: Position,
    /// [`Twins::row`] when it was left.
    row: u64,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Twins {
    /// Filters that overlap with another one.
    filters: Vec<(u32, String)>,
    /// The message that was stored, by fingerprint and identifier; several of equal ones.
    notes: HashMap<(u64, u32), VecDeque<Note>>,
    /// Keys of the notes, oldest first. Those that were taken away may still be in it.
    order: VecDeque<(u64, u32)>,
    /// Number of the current row: equal messages directly one behind the other.
    row: u64,
    /// Fingerprint and packet id of the newest message.
    newest: (u64, u16),
}

impl Twins {
    pub fn new(wanted: &[Subscription]) -> Self {
        let with_id = |wanted: &Subscription| Some((wanted.id?, wanted.filter.clone()));
        Self {
            filters: wanted.iter().filter_map(with_id).collect(),
            notes: HashMap::new(),
            order: VecDeque::new(),
            row: 0,
            newest: (0, 0),
        }
    }

    /// A message came, whatever becomes of it.
    pub fn arrived(&mut self, fingerprint: u64, packet_id: u16) {
        let (before, last) = self.newest;
        // 65,535 is followed by 1. Messages with QoS 0 have no id.
        let next = if last == 0 {
            0
        } else {
            last.checked_add(1).unwrap_or(1)
        };
        self.row += u64::from(before != fingerprint || next != packet_id);
        self.newest = (fingerprint, packet_id);
    }

    /// A connection begins.
    pub fn clear(&mut self) {
        self.notes.clear();
        self.order.clear();
    }

    /// The message that this copy is the second one of.
    pub fn first_of(&mut self, ids: &[u32], fingerprint: u64) -> Option<First> {
        let [id] = ids else { return None };
        let key = (fingerprint, *id);
        let notes = self.notes.get_mut(&key)?;
        // Copies that never came would stay in front of all later ones.
        let is_of_this_row = |note: Option<&Note>| note.is_some_and(|note| note.row == self.row);
        if is_of_this_row(notes.back()) {
            notes.retain(|note| note.row == self.row);
        }
        let note = notes.pop_front();
        if notes.is_empty() {
            self.notes.remove(&key);
        }
        note.map(|note| {
            if note.row == self.row {
                First::Certain(note.position)
            } else {
                First::Perhaps
            }
        })
    }

    /// A copy for these subscriptions is stored at `position`.
    pub fn stored(&mut self, topic: &str, ids: &[u32], fingerprint: u64, position: Position) {
        let [own] = ids else { return };
        let others = self.filters.iter().filter(|(id, _)| id != own);
        let row = self.row;
        let matching: Vec<u32> = others
            .filter(|(_, filter)| covers(filter, topic))
            .map(|(id, _)| *id)
            .collect();
        for id in matching {
            let key = (fingerprint, id);
            self.notes
                .entry(key)
                .or_default()
                .push_back(Note { position, row });
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

    /// A copy for one subscription came; whether it was stored.
    fn comes(
        twins: &mut Twins,
        packet_id: u16,
        id: u32,
        fingerprint: u64,
        position: Position,
    ) -> Option<First> {
        twins.arrived(fingerprint, packet_id);
        let first = twins.first_of(&[id], fingerprint);
        if !matches!(first, Some(First::Certain(_))) {
            twins.stored("a/b", &[id], fingerprint, position);
        }
        first
    }

    #[test]
    fn a_copy_that_the_broker_dropped_does_not_take_an_equal_message_with_it() {
        let mut twins = twins();
        // The second copy of the first message (id 2) and the first one of the next message (id 3) were dropped.
        assert_eq!(comes(&mut twins, 1, 1, 7, 1), None);
        assert_eq!(comes(&mut twins, 4, 2, 7, 2), Some(First::Perhaps));
        // With another message between, whose ids are as they should be.
        let mut twins = self::twins();
        assert_eq!(comes(&mut twins, 1, 1, 7, 1), None);
        assert_eq!(comes(&mut twins, 2, 1, 8, 2), None);
        assert_eq!(comes(&mut twins, 3, 2, 7, 3), Some(First::Perhaps));
    }

    #[test]
    fn a_copy_that_never_came_does_not_stand_in_front_of_later_ones() {
        let mut twins = twins();
        assert_eq!(comes(&mut twins, 1, 1, 7, 1), None);
        assert_eq!(comes(&mut twins, 3, 1, 7, 2), None);
        assert_eq!(comes(&mut twins, 4, 2, 7, 3), Some(First::Certain(2)));
        assert!(twins.notes.is_empty());
    }

    #[test]
    fn ids_go_on_behind_the_last_one_with_1() {
        let mut twins = twins();
        assert_eq!(comes(&mut twins, u16::MAX, 1, 7, 1), None);
        assert_eq!(comes(&mut twins, 1, 2, 7, 2), Some(First::Certain(1)));
    }

    #[test]
    fn one_copy_for_each_subscription_is_one_message_in_whatever_order_they_come() {
        let mut twins = twins();
        for (first, second) in [(1, 2), (2, 1)] {
            assert_eq!(twins.first_of(&[first], 7), None);
            twins.stored("a/b", &[first], 7, 10);
            assert_eq!(twins.first_of(&[second], 7), Some(First::Certain(10)));
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
            Some(First::Certain(5 * NOTES as u64 - 1))
        );
        twins.clear();
        assert_eq!(twins.first_of(&[2], 5 * NOTES as u64 - 2), None);
    }
}
