//! Where a message goes, as one number: two messages with the same one are values of the same device for the same
//! readers, so the newer supersedes the older.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::Xxh3;

use super::Router;
use crate::clock::Told;
use crate::message::Stored;

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To Kafka: a hash of the topics and keys.
    Records(u128),
    /// Nowhere, because it is filtered: a hash of its MQTT topic.
    Filtered(u128),
}

impl Router {
    /// XXH3 of the Kafka topics and keys that the message goes to. `None` when any route refuses it: it becomes a dead letter,
    /// which nothing supersedes. One that is filtered goes nowhere; the newest of its MQTT topic stands for the others, in
    /// case the filter is corrected.
    #[must_use]
    pub fn destination(&self, stored: &Stored) -> Option<Destination> {
        let outcome = self.route(stored, &Told::as_it_stood(&stored.arrival.stamp));
        if !outcome.refusals.is_empty() {
            return None;
        }
        if outcome.is_filtered() {
            // A single text, where those of records are pairs.
            return Some(Destination::Filtered(hash([stored.arrival.topic.as_str()])));
        }
        let places: BTreeSet<_> = outcome
            .records
            .iter()
            .map(|record| (record.topic.as_str(), record.key.as_str()))
            .collect();
        let texts = places.into_iter().flat_map(|(topic, key)| [topic, key]);
        Some(Destination::Records(hash(texts)))
    }
}

fn hash<'a>(texts: impl IntoIterator<Item = &'a str>) -> u128 {
    let mut hash = Xxh3::new();
    for text in texts {
        // The length first: no two lists of texts look the same.
        hash.update(&(text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hash.digest128()
}
