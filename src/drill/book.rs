//! What was seen from outside, lane by lane: at the MQTT end and at the Kafka end. Nothing of it is the daemon's word.

use std::collections::{BTreeMap, BTreeSet};

/// Everything of all lanes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Book {
    lanes: BTreeMap<String, Seen>,
    /// Records without the mark of a message of the drill.
    pub(super) foreign: u64,
}

/// What was seen of one lane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// Messages that were published for it with QoS 1 and 0.
    pub(super) offered: BTreeSet<u64>,
    pub(super) unprotected: BTreeSet<u64>,
    /// QoS 1 messages that were acknowledged.
    pub(super) acknowledged: BTreeSet<u64>,
    /// Messages that the broker sent more than once.
    pub(super) resent: BTreeSet<u64>,
    /// Times that the broker sent a message again.
    pub(super) resends: u64,
    /// Messages that the daemon refused with a PUBACK that is an error: the broker forgets those.
    pub(super) refused: BTreeSet<u64>,
    /// PUBACKs of what was not sent on their connection.
    pub(super) strange: u64,
    /// Sessions that the daemon gave up, with what waited in them.
    pub(super) sessions_ended: u64,
    /// Messages in Kafka.
    pub(super) delivered: BTreeMap<u64, Delivered>,
}

/// What is in Kafka of one message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Delivered {
    /// Ids under which it came, each with its different records: topic, and hash of key and value.
    pub(super) ids: BTreeMap<String, BTreeSet<(String, u64)>>,
    /// Records that were there already, under the same id.
    pub(super) again: u64,
}

impl Book {
    /// The lane, if anything was seen of it.
    pub(super) fn lane(&self, lane: &str) -> Seen {
        self.lanes.get(lane).cloned().unwrap_or_default()
    }

    fn of(&mut self, lane: &str) -> &mut Seen {
        if !self.lanes.contains_key(lane) {
            self.lanes.insert(lane.to_owned(), Seen::default());
        }
        self.lanes.entry(lane.to_owned()).or_default()
    }

    /// The broker has a message for a lane.
    pub(super) fn offered(&mut self, lane: &str, number: u64, qos: u8) {
        let seen = self.of(lane);
        let kind = match qos {
            0 => &mut seen.unprotected,
            _ => &mut seen.offered,
        };
        kind.insert(number);
    }

    /// The broker sends it.
    pub(super) fn sent(&mut self, lane: &str, number: u64, qos: u8, is_again: bool) {
        let seen = self.of(lane);
        if qos > 0 && is_again {
            seen.resent.insert(number);
            seen.resends += 1;
        }
    }

    /// The daemon acknowledges it.
    pub(super) fn acknowledged(&mut self, lane: &str, number: u64) {
        self.of(lane).acknowledged.insert(number);
    }

    /// The daemon refuses it.
    pub(super) fn refused(&mut self, lane: &str, number: u64) {
        self.of(lane).refused.insert(number);
    }

    /// The daemon acknowledges what was not sent to it.
    pub(super) fn strange(&mut self, lane: &str) {
        self.of(lane).strange += 1;
    }

    /// The daemon asks for a new session.
    pub(super) fn session_ended(&mut self, lane: &str) {
        self.of(lane).sessions_ended += 1;
    }

    /// A record is in Kafka.
    pub(super) fn delivered(&mut self, lane: &str, number: u64, id: &str, topic: &str, hash: u64) {
        let delivered = self.of(lane).delivered.entry(number).or_default();
        let records = delivered.ids.entry(id.to_owned()).or_default();
        if !records.insert((topic.to_owned(), hash)) {
            delivered.again += 1;
        }
    }

    /// Messages acknowledged, and messages in Kafka, over all lanes.
    pub(super) fn totals(&self) -> (usize, usize) {
        let lanes = self.lanes.values();
        lanes.fold((0, 0), |(acknowledged, delivered), seen| {
            (
                acknowledged + seen.acknowledged.len(),
                delivered + seen.delivered.len(),
            )
        })
    }
}
