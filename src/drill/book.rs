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
    /// How often the broker sent a message again, of those that it did.
    pub(super) resent: BTreeMap<u64, u64>,
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
    /// Ids whose records say that they may be a second copy: a redelivery that could not be told from a new message.
    pub(super) marked: BTreeSet<String>,
}

/// A record as it is in Kafka.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) id: &'a str,
    pub(super) topic: &'a str,
    /// Of key and value.
    pub(super) hash: u64,
    /// It says that it may be a second copy.
    pub(super) is_marked: bool,
}

impl Seen {
    /// PUBLISH packets that the broker sent again.
    pub(super) fn resends(&self) -> u64 {
        self.resent.values().sum()
    }
}

impl Book {
    /// The lane, if anything was seen of it.
    pub(super) fn lane(&self, lane: &str) -> Seen {
        self.lanes.get(lane).cloned().unwrap_or_default()
    }

    /// How many messages a lane has acknowledged.
    pub(super) fn acknowledged_by(&self, lane: &str) -> usize {
        self.lanes.get(lane).map_or(0, |seen| seen.acknowledged.len())
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
            *seen.resent.entry(number).or_default() += 1;
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
    pub(super) fn delivered(&mut self, lane: &str, number: u64, record: Record<'_>) {
        let delivered = self.of(lane).delivered.entry(number).or_default();
        let records = delivered.ids.entry(record.id.to_owned()).or_default();
        if !records.insert((record.topic.to_owned(), record.hash)) {
            delivered.again += 1;
        }
        if record.is_marked {
            delivered.marked.insert(record.id.to_owned());
        }
    }

    /// Records that were in Kafka already, under the same id, over all lanes.
    pub(super) fn repeated(&self) -> u64 {
        let lanes = self.lanes.values();
        lanes
            .flat_map(|seen| seen.delivered.values())
            .map(|delivered| delivered.again)
            .sum()
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
