//! Where a message goes, as one number: two messages with the same one are values of the same device for the same
//! readers, so the newer supersedes the older.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::Xxh3;

use super::Router;
use crate::clock::Told;
use crate::message::Stored;

impl Router {
    /// XXH3 of the Kafka topics and keys that the message goes to. `None` when any route refuses it, or none wants it: it
    /// becomes a dead letter, which nothing supersedes.
    #[must_use]
    pub fn destination(&self, stored: &Stored) -> Option<u128> {
        let outcome = self.route(stored, &Told::as_it_stood(&stored.arrival.stamp));
        if outcome.records.is_empty() || !outcome.refusals.is_empty() {
            return None;
        }
        let places: BTreeSet<_> = outcome
            .records
            .iter()
            .map(|record| (record.topic.as_str(), record.key.as_str()))
            .collect();
        let mut hash = Xxh3::new();
        for text in places.into_iter().flat_map(|(topic, key)| [topic, key]) {
            // The length first: no two lists of texts look the same.
            hash.update(&(text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        Some(hash.digest128())
    }
}
