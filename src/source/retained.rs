//! Retained messages that we already have.
//!
//! A broker sends the retained message of each topic when a filter is subscribed anew: with MQTT 3.1.1 at every SUBSCRIBE,
//! so at every start; with MQTT 5 when the session was lost. To a consumer that is old state that looks like new. So the
//! newest message of each topic is remembered, by hashes, and a retained message that is equal to it is acknowledged and
//! counted, but not stored. One that is different is always stored: it came while nobody was subscribed.
//!
//! # What is kept, and what is lost with it
//!
//! The newest [`TOPICS`] topics, in memory; in a file, written when a connection begins or ends, what of them is durable;
//! and at start what the store recalls besides. What is not known is stored, and marked as retained: once more, no harm.
//! A device that publishes the same value again while the session is lost is not seen to have done so.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use super::client::Publish;
use crate::files::replace;
use crate::queue::intake::Position;

/// Topics remembered per lane and broker: some 120 bytes each in memory, 1 MB when full, and 16 in the file.
pub const TOPICS: usize = 8_192;
/// Longest file that is read: more than all topics take.
const FILE_BYTES: u64 = 1024 * 1024;
/// Format of the file. Another one counts as missing.
const VERSION: u8 = 1;

/// The newest message of each topic.
#[derive(Debug)]
pub struct Retained {
    path: PathBuf,
    topics: HashMap<u64, Newest>,
    /// Topics by their last use, oldest first.
    used: BTreeMap<u64, u64>,
    uses: u64,
    /// Something changed since the file was written.
    changed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Newest {
    fingerprint: u64,
    position: Position,
    use_number: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    version: u8,
    /// Topic, fingerprint; oldest first.
    topics: Vec<(u64, u64)>,
    /// Of all above, so that half a file is not believed.
    check: u64,
}

/// What a topic is remembered by.
pub fn topic_hash(topic: &str) -> u64 {
    xxh3_64(topic.as_bytes())
}

impl Retained {
    /// Reads the file. A damaged one counts as missing.
    pub fn open(path: PathBuf) -> Self {
        let mut retained = Self {
            path,
            topics: HashMap::new(),
            used: BTreeMap::new(),
            uses: 0,
            changed: false,
        };
        for (topic, fingerprint) in retained.read().unwrap_or_default() {
            retained.note(topic, fingerprint, 0);
        }
        retained.changed = false;
        retained
    }

    fn read(&self) -> Option<Vec<(u64, u64)>> {
        let is_small = fs::metadata(&self.path).ok()?.len() <= FILE_BYTES;
        let bytes = is_small.then(|| fs::read(&self.path).ok())??;
        let written: Written = postcard::from_bytes(&bytes).ok()?;
        let is_sound = written.version == VERSION && written.check == check(&written.topics);
        is_sound.then_some(written.topics)
    }

    /// Whether this is a retained message that is the newest one that we have of its topic.
    pub fn knows(&self, publish: &Publish, fingerprint: u64) -> bool {
        let known = || self.topics.get(&topic_hash(&publish.topic));
        publish.retained && !publish.dup && known().is_some_and(|newest| newest.fingerprint == fingerprint)
    }

    /// The newest message of a topic is in the queue at `position`.
    pub fn note(&mut self, topic: u64, fingerprint: u64, position: Position) {
        self.uses += 1;
        let use_number = self.uses;
        let newest = Newest {
            fingerprint,
            position,
            use_number,
        };
        let before = self.topics.insert(topic, newest);
        if let Some(before) = before {
            self.used.remove(&before.use_number);
        }
        self.used.insert(use_number, topic);
        self.changed = true;
        if self.topics.len() > TOPICS
            && let Some((_, forgotten)) = self.used.pop_first()
        {
            self.topics.remove(&forgotten);
        }
    }

    /// Writes down what is durable. A failure is told; all that follows is that something may be forwarded once more.
    pub fn keep(&mut self, durable: Position) {
        if !self.changed {
            return;
        }
        let newest = |topic: &u64| Some((*topic, self.topics.get(topic)?));
        let topics: Vec<(u64, u64)> = self
            .used
            .values()
            .filter_map(newest)
            .filter(|(_, newest)| newest.position <= durable)
            .map(|(topic, newest)| (topic, newest.fingerprint))
            .collect();
        let written = Written {
            version: VERSION,
            check: check(&topics),
            topics,
        };
        let kept = postcard::to_stdvec(&written)
            .map_err(io::Error::other)
            .and_then(|bytes| replace(&self.path, &bytes));
        match kept {
            Ok(()) => self.changed = false,
            Err(error) => {
                warn!(path = %self.path.display(), %error, "cannot note which retained messages are known");
            }
        }
    }
}

fn check(topics: &[(u64, u64)]) -> u64 {
    let fold = |sum: u64, (topic, fingerprint): &(u64, u64)| {
        sum.rotate_left(7).wrapping_add(*topic) ^ fingerprint.rotate_left(23)
    };
    topics.iter().fold(topics.len() as u64, fold)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(topic: &str) -> Publish {
        Publish {
            retained: true,
            ..Publish::for_test(topic, b"x")
        }
    }

    #[test]
    fn only_a_retained_message_that_is_the_newest_of_its_topic_is_known() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut retained = Retained::open(dir.path().join("retained-b"));
        assert!(!retained.knows(&of("a"), 1), "never seen");
        retained.note(topic_hash("a"), 1, 1);
        assert!(retained.knows(&of("a"), 1));
        assert!(!retained.knows(&of("a"), 2), "another state");
        assert!(!retained.knows(&of("b"), 1));
        let (live, again) = (
            Publish {
                retained: false,
                ..of("a")
            },
            Publish { dup: true, ..of("a") },
        );
        assert!(!retained.knows(&live, 1) && !retained.knows(&again, 1));
        retained.note(topic_hash("a"), 2, 2);
        assert!(!retained.knows(&of("a"), 1), "an older state came back");
    }

    #[test]
    fn what_was_durable_is_known_to_the_next_process() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("retained-b");
        let mut retained = Retained::open(path.clone());
        retained.note(topic_hash("a"), 1, 1);
        retained.note(topic_hash("b"), 2, 2);
        retained.keep(1);
        let again = Retained::open(path.clone());
        assert!(again.knows(&of("a"), 1));
        assert!(!again.knows(&of("b"), 2), "it was not durable");
        let mut bytes = fs::read(&path).expect("reads");
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        fs::write(&path, bytes).expect("writes");
        assert!(!Retained::open(path).knows(&of("a"), 1), "damaged");
    }

    #[test]
    fn the_topic_that_was_silent_longest_is_forgotten_first() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("retained-b");
        let mut retained = Retained::open(path.clone());
        for number in 0..=TOPICS {
            retained.note(topic_hash(&number.to_string()), 1, 1);
        }
        assert_eq!((retained.topics.len(), retained.used.len()), (TOPICS, TOPICS));
        assert!(!retained.knows(&of("0"), 1) && retained.knows(&of("1"), 1));
        retained.keep(1);
        assert!(fs::metadata(&path).expect("is there").len() < FILE_BYTES / 4);
        assert_eq!(Retained::open(path).topics.len(), TOPICS);
    }
}
