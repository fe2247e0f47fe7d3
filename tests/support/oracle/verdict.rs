//! What the oracle found.

use std::fmt;

/// Repeated messages, by what a consumer can know about them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// Same `edgeferry-id` and same bytes: edgeferry sent it again. A consumer drops it by the id.
    pub same_id: usize,
    /// Another id, and marked `edgeferry-dup`: MQTT may have delivered it twice.
    pub marked: usize,
    /// Another id because the device itself published it again: two messages for everybody behind it.
    pub resent: usize,
    /// None of these: a consumer would count it twice.
    pub unrecognisable: usize,
}

/// The findings about one topic. Lists name examples as `device#seq`; counts are the lengths of the lists.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Messages that must be there.
    pub expected: usize,
    /// Records that are there.
    pub records: usize,
    /// Messages that must be there and are not.
    pub lost: Vec<String>,
    /// First occurrences that lie behind a later one of the same device.
    pub reordered: Vec<String>,
    /// Repeated messages.
    pub duplicates: Duplicates,
    /// Examples for [`Duplicates::marked`].
    pub marked: Vec<String>,
    /// Examples for [`Duplicates::unrecognisable`].
    pub unrecognisable: Vec<String>,
    /// Records whose key is not their device.
    pub wrong_key: Vec<String>,
    /// Keys in more than one partition.
    pub split_keys: Vec<String>,
    /// Records that are not where murmur2 puts their key.
    pub wrong_partition: Vec<String>,
    /// Payloads that are not what the device sent.
    pub altered: Vec<String>,
    /// Records that no device sent.
    pub foreign: Vec<String>,
    /// Records whose headers are missing, malformed or do not fit.
    pub bad_headers: Vec<String>,
}

impl Verdict {
    /// The findings that break a promise.
    fn faults(&self) -> [(&'static str, &[String]); 9] {
        [
            ("lost", &self.lost),
            ("reordered", &self.reordered),
            ("unrecognisable duplicates", &self.unrecognisable),
            ("wrong key", &self.wrong_key),
            ("keys in several partitions", &self.split_keys),
            ("wrong partition", &self.wrong_partition),
            ("altered payloads", &self.altered),
            ("records nobody sent", &self.foreign),
            ("bad headers", &self.bad_headers),
        ]
    }

    /// Whether nothing was found that breaks a promise.
    pub fn is_clean(&self) -> bool {
        self.faults().iter().all(|(_, found)| found.is_empty())
    }

    /// Fails with the whole table unless nothing was found that breaks a promise.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "promises are broken:\n{self}");
    }

    /// As [`Verdict::assert_clean`], and no message is there twice.
    pub fn assert_clean_without_duplicates(&self) {
        self.assert_clean();
        assert_eq!(
            self.duplicates,
            Duplicates::default(),
            "nothing went wrong that explains them:\n{self}"
        );
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More would hide the numbers.
        const EXAMPLES: usize = 5;
        let mut line = |name: &str, count: usize, examples: &[String]| {
            let examples = &examples[..examples.len().min(EXAMPLES)];
            writeln!(
                f,
                "{}",
                format!("  {name:<30}{count:>9}  {}", examples.join(", ")).trim_end()
            )
        };
        line("messages expected", self.expected, &[])?;
        line("records in Kafka", self.records, &[])?;
        line("duplicates, same id and bytes", self.duplicates.same_id, &[])?;
        line("duplicates, marked", self.duplicates.marked, &self.marked)?;
        line("resent by the device", self.duplicates.resent, &[])?;
        for (name, found) in self.faults() {
            line(name, found.len(), found)?;
        }
        Ok(())
    }
}
