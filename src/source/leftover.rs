//! Filters that the broker's session may hold and that the lane no longer wants. Pure.
//!
//! They are unsubscribed one per packet, because the client cannot send more, and only when nothing is lost by it (see
//! [`super::handover`]). What the broker refuses to unsubscribe is tried again on the next connection.

use std::collections::VecDeque;

/// UNSUBSCRIBE packets without an answer: with MQTT 5 the client counts packet ids from 1 to 16 and over again, so no id
/// is in use twice.
const UNANSWERED: usize = 8;

/// See the module documentation.
#[derive(Debug)]
pub struct Leftover {
    filters: Vec<Left>,
    /// On their way on this connection, oldest first.
    asked: VecDeque<Asked>,
    connected: bool,
}

#[derive(Debug)]
struct Left {
    filter: String,
    /// Tried on this connection.
    tried: bool,
}

#[derive(Debug)]
struct Asked {
    /// Known once the packet left.
    packet_id: Option<u16>,
    filter: String,
}

impl Leftover {
    pub fn new(filters: Vec<String>) -> Self {
        let left = |filter| Left { filter, tried: false };
        Self {
            filters: filters.into_iter().map(left).collect(),
            asked: VecDeque::new(),
            connected: false,
        }
    }

    /// What is left, to be remembered.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.filters.iter().map(|left| left.filter.as_str())
    }

    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// A connection is about to be made.
    pub fn connecting(&mut self) {
        self.connected = false;
        self.asked.clear();
        for left in &mut self.filters {
            left.tried = false;
        }
    }

    /// CONNACK. A new session holds no filters. Gives whether that changed what is left.
    pub fn connected(&mut self, session_present: bool) -> bool {
        self.connected = true;
        let lost = !session_present && !self.filters.is_empty();
        if lost {
            self.filters.clear();
        }
        lost
    }

    /// Filters to unsubscribe now, of those that can be spared.
    pub fn due(&mut self, can_spare: impl Fn(&str) -> bool) -> Vec<String> {
        let room = UNANSWERED.saturating_sub(self.asked.len());
        if !self.connected || room == 0 {
            return Vec::new();
        }
        let ready = self
            .filters
            .iter_mut()
            .filter(|left| !left.tried && can_spare(&left.filter));
        let mut due = Vec::new();
        for left in ready.take(room) {
            left.tried = true;
            due.push(left.filter.clone());
        }
        self.asked.extend(due.iter().map(|filter| Asked {
            packet_id: None,
            filter: filter.clone(),
        }));
        due
    }

    /// The next UNSUBSCRIBE left.
    pub fn sent(&mut self, packet_id: u16) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.packet_id.is_none()) {
            asked.packet_id = Some(packet_id);
        }
    }

    /// UNSUBACK. Gives the filter that it was about.
    pub fn answered(&mut self, packet_id: u16, is_gone: bool) -> Option<String> {
        let at = self
            .asked
            .iter()
            .position(|asked| asked.packet_id == Some(packet_id))?;
        let asked = self.asked.remove(at)?;
        if is_gone {
            self.filters.retain(|left| left.filter != asked.filter);
        }
        Some(asked.filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leftover(count: usize) -> Leftover {
        Leftover::new((0..count).map(|number| format!("f/{number}")).collect())
    }

    #[test]
    fn nothing_is_due_before_the_connection_is_there_nor_while_it_is_needed() {
        let mut leftover = leftover(2);
        assert!(leftover.due(|_| true).is_empty());
        leftover.connecting();
        leftover.connected(true);
        assert_eq!(leftover.due(|filter| filter == "f/1"), ["f/1"]);
        assert_eq!(leftover.due(|_| true), ["f/0"]);
        assert!(leftover.due(|_| true).is_empty(), "asked once per connection");
    }

    #[test]
    fn few_are_asked_at_a_time_and_answers_make_room() {
        let mut leftover = leftover(20);
        leftover.connected(true);
        assert_eq!(leftover.due(|_| true).len(), UNANSWERED);
        assert!(leftover.due(|_| true).is_empty());
        leftover.sent(5);
        assert_eq!(leftover.answered(5, true).as_deref(), Some("f/0"));
        assert_eq!(leftover.due(|_| true).len(), 1);
        assert_eq!(leftover.filters().count(), 19);
    }

    #[test]
    fn what_was_not_answered_or_was_refused_is_asked_again_on_the_next_connection() {
        let mut leftover = leftover(2);
        leftover.connected(true);
        leftover.due(|_| true);
        leftover.sent(1);
        assert_eq!(leftover.answered(1, false).as_deref(), Some("f/0"));
        assert!(leftover.due(|_| true).is_empty());
        leftover.connecting();
        leftover.connected(true);
        assert_eq!(leftover.due(|_| true), ["f/0", "f/1"]);
        assert_eq!(
            leftover.answered(1, true),
            None,
            "an answer of the connection before"
        );
    }

    #[test]
    fn a_lost_session_leaves_nothing() {
        let mut leftover = leftover(2);
        assert!(leftover.connected(false));
        assert!(leftover.is_empty());
        assert!(!leftover.connected(false));
    }
}
