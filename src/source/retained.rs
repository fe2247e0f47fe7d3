//! Retained messages that we already have.
//!
//! A broker sends the retained message of each topic when a filter is subscribed anew: with MQTT 3.1.1 at every SUBSCRIBE,
//! so at every start; with MQTT 5 when the session was lost. To a consumer that is old state that looks like new. So the
//! newest message of each topic is remembered, by hashes, and a retained message that is equal to it is acknowledged and
//! counted, but not stored. One that is different is always stored: it came while nobody was subscribed.
//!
//! # What is kept, and what is lost with it
//!
//! The newest [`TOPICS`] topics, in memory; in a file, written at an orderly stop, what of them is durable; and at start
//! what the store recalls besides. What is not known is stored, and marked as retained: once more, no harm.
//!
//! A file that is older than what was stored since would be believed wrongly: its state of a topic may have come back after
//! another one. So it is removed, durably, before the first message after it was written enters the queue. A process that is
//! killed leaves no file.
//! A device that publishes the same value again while the session is lost is not seen to have done so.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use super::client::Publish;
use crate::files::{replace, sync_folder_of};
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
    /// The file says what is in memory.
    is_kept: bool,
    /// A file may be there.
    has_file: bool,
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
            is_kept: true,
            has_file: true,
        };
        for (topic, fingerprint) in retained.read().unwrap_or_default() {
            retained.put(topic, fingerprint, 0);
        }
        retained
    }

    fn read(&self) -> Option<Vec<(u64, u64)>> {
        let is_small = fs::metadata(&self.path).ok()?.len() <= FILE_BYTES;
        let bytes = is_small.then(|| fs::read(&self.path).ok())??;
        let written: Written = postcard::from_bytes(&bytes).ok()?;
        let is_sound = written.version == VERSION && written.check == check(&written.topics);
        is_sound.then_some(written.topics)
    }

    /// Whether this is a retained message that is the newest one that we have of its topic. Of one that came as its beginning alone
    /// nobody can know that.
    pub fn knows(&self, publish: &Publish, fingerprint: u64) -> bool {
        let known = || self.topics.get(&topic_hash(&publish.topic));
        let can_be_known = publish.retained && !publish.dup && publish.whole.is_none();
        can_be_known && known().is_some_and(|newest| newest.fingerprint == fingerprint)
    }

    /// The newest message of a topic is in the store since before this process.
    pub fn recall(&mut self, topic: u64, fingerprint: u64) {
        self.put(topic, fingerprint, 0);
        self.is_kept = false;
    }

    /// The newest message of a topic is about to enter the queue at `position`.
    ///
    /// # Errors
    /// There is a file that does not say so, and it cannot be removed: the message must not be stored.
    pub fn note(&mut self, topic: u64, fingerprint: u64, position: Position) -> io::Result<()> {
        if self.has_file {
            self.remove().inspect_err(|error| {
                warn!(path = %self.path.display(), %error, "cannot remove the list of known retained messages");
            })?;
        }
        self.put(topic, fingerprint, position);
        self.is_kept = false;
        Ok(())
    }

    /// Waits for the medium, once after each orderly stop.
    fn remove(&mut self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => {
                removed?;
                sync_folder_of(&self.path)?;
            }
        }
        self.has_file = false;
        self.is_kept = false;
        Ok(())
    }

    fn put(&mut self, topic: u64, fingerprint: u64, position: Position) {
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
        if self.topics.len() > TOPICS
            && let Some((_, forgotten)) = self.used.pop_first()
        {
            self.topics.remove(&forgotten);
        }
    }

    /// Writes down what is durable, at an orderly stop. A failure is told; all that follows is that something may be forwarded once more.
    pub fn keep(&mut self, durable: Position) {
        if self.is_kept {
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
        self.has_file = true;
        let kept = postcard::to_stdvec(&written)
            .map_err(io::Error::other)
            .and_then(|bytes| replace(&self.path, &bytes));
        match kept {
            Ok(()) => self.is_kept = true,
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
        retained.note(topic_hash("a"), 1, 1).expect("there is no file");
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
        retained.note(topic_hash("a"), 2, 2).expect("there is no file");
        assert!(!retained.knows(&of("a"), 1), "an older state came back");
    }

    /// Two firmware images may begin alike.
    #[test]
    fn a_retained_message_of_which_only_the_beginning_came_is_never_known() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut retained = Retained::open(dir.path().join("retained-b"));
        retained.note(topic_hash("a"), 1, 1).expect("there is no file");
        let beginning = Publish {
            whole: Some(1 << 30),
            ..of("a")
        };
        assert!(!retained.knows(&beginning, 1));
    }

    #[test]
    fn what_was_durable_is_known_to_the_next_process() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("retained-b");
        let mut retained = Retained::open(path.clone());
        retained.note(topic_hash("a"), 1, 1).expect("there is no file");
        retained.note(topic_hash("b"), 2, 2).expect("there is no file");
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
    fn a_file_that_is_older_than_a_stored_message_is_never_believed() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("retained-b");
        let mut retained = Retained::open(path.clone());
        retained.note(topic_hash("a"), 1, 1).expect("there is no file");
        retained.keep(1);
        // The next process stores another state, and is killed.
        let mut next = Retained::open(path.clone());
        assert!(next.knows(&of("a"), 1));
        next.note(topic_hash("a"), 2, 2).expect("it is removed");
        drop(next);
        assert!(
            !Retained::open(path).knows(&of("a"), 1),
            "the state before came back"
        );
    }

    #[test]
    fn nothing_is_stored_while_an_old_file_cannot_be_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("retained-b");
        fs::create_dir(&path).expect("something that is no file");
        let mut retained = Retained::open(path.clone());
        retained
            .note(topic_hash("a"), 2, 2)
            .expect_err("it is still there");
        assert!(!retained.knows(&of("a"), 2));
        fs::remove_dir(&path).expect("it can be");
        retained.note(topic_hash("a"), 2, 2).expect("it is gone");
    }

    #[test]
    fn a_start_that_stores_nothing_leaves_the_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("retained-b");
        let mut retained = Retained::open(path.clone());
        retained.note(topic_hash("a"), 1, 1).expect("there is no file");
        retained.keep(1);
        Retained::open(path.clone()).recall(topic_hash("b"), 1);
        assert!(Retained::open(path).knows(&of("a"), 1));
    }

    #[test]
    fn the_topic_that_was_silent_longest_is_forgotten_first() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("retained-b");
        let mut retained = Retained::open(path.clone());
        for number in 0..=TOPICS {
            retained
                .note(topic_hash(&number.to_string()), 1, 1)
                .expect("there is no file");
        }
        assert_eq!((retained.topics.len(), retained.used.len()), (TOPICS, TOPICS));
        assert!(!retained.knows(&of("0"), 1) && retained.knows(&of("1"), 1));
        retained.keep(1);
        assert!(fs::metadata(&path).expect("is there").len() < FILE_BYTES / 4);
        assert_eq!(Retained::open(path).topics.len(), TOPICS);
    }
}
