//! The oracle: reads Kafka with a client of its own and says what became of what the devices sent.
//!
//! It shares nothing with edgeferry but the contract: keys, headers and the partitioner. Its own tests
//! (`instrument.rs`) put faults into Kafka on purpose and check that each is found.

mod judge;
pub mod murmur2;
pub mod reader;
pub mod verdict;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::devices::sent::Sent;
use crate::support::kafka::Brokers;
pub use reader::{Reader, Record};
pub use verdict::Verdict;

use super::payload;

/// How long the topic may stand still while something is missing. A daemon that has just lost Kafka or
/// been killed needs some seconds; this is far more.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// How long one look for a record takes.
const GLANCE: Duration = Duration::from_millis(200);

/// A reader of one topic that remembers what it read.
pub struct Oracle {
    reader: Reader,
    records: Vec<Record>,
}

impl Oracle {
    /// Looks at `topic` from its beginning.
    pub fn new(kafka: &impl Brokers, topic: &str) -> Self {
        Self {
            reader: Reader::new(&kafka.bootstrap(), topic),
            records: Vec::new(),
        }
    }

    /// Reads until every acknowledged message is there, or until the topic has stood still for `patience`.
    /// A message that is missing then is for [`Oracle::verdict`] to report.
    pub fn until_all_there(&mut self, sent: &Sent, patience: Duration) {
        let mut missing: HashSet<(String, u64)> = sent
            .acked()
            .map(|(device, seq)| (device.to_owned(), seq))
            .collect();
        for origin in self
            .records
            .iter()
            .filter_map(|record| payload::origin(&record.value))
        {
            missing.remove(&origin);
        }
        let mut progress = Instant::now();
        while !missing.is_empty() && progress.elapsed() < patience {
            if let Some(record) = self.reader.next(GLANCE) {
                if let Some(origin) = payload::origin(&record.value) {
                    missing.remove(&origin);
                }
                self.records.push(record);
                progress = Instant::now();
            }
        }
    }

    /// Reads along until `is_over`, so that [`Record::seen`] is when a record came.
    pub fn follow(&mut self, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            self.records.extend(self.reader.next(GLANCE));
        }
    }

    /// Reads until `count` records are there, and gives them.
    ///
    /// # Panics
    ///
    /// When they are not there within [`PATIENCE`].
    pub fn first(&mut self, count: usize) -> &[Record] {
        let deadline = Instant::now() + PATIENCE;
        while self.records.len() < count {
            assert!(
                Instant::now() < deadline,
                "{} of {count} records are there",
                self.records.len()
            );
            self.records.extend(self.reader.next(GLANCE));
        }
        &self.records
    }

    /// Reads what else is in the topic, and judges all of it. Ask when nothing is written any more, so that
    /// duplicates cannot come later.
    pub fn verdict(&mut self, sent: &Sent) -> Verdict {
        let partitions = self.reader.partitions();
        self.verdict_over(sent, &[partitions])
    }

    /// The same for a topic that has had so many partitions, one count after the other. A key may be in the partition that
    /// each of them gives, and what is in a later one is younger.
    pub fn verdict_over(&mut self, sent: &Sent, layouts: &[i32]) -> Verdict {
        self.records.extend(self.reader.rest(PATIENCE));
        judge::judge(&self.records, sent, layouts)
    }

    /// Reads what else is in the topic now; all that was read so far.
    pub fn rest(&mut self) -> &[Record] {
        self.records.extend(self.reader.rest(PATIENCE));
        &self.records
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        self.reader.topic()
    }

    /// What was read so far.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Records in the topic now, read or not.
    pub fn available(&self) -> i64 {
        self.reader.available()
    }
}
