//! What happened, in order: its hash shows that a seed goes the same way again, its end is what a failure prints.

use std::collections::VecDeque;
use std::fmt::Write;

/// Lines that are kept for a failure, unless all are asked for.
const KEPT: usize = 120;

/// The log of one simulation.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    lines: u64,
    last: VecDeque<String>,
    is_whole: bool,
    line: String,
}

impl Trace {
    /// Keeps every line when `is_whole`.
    pub fn new(is_whole: bool) -> Self {
        Self {
            is_whole,
            ..Self::default()
        }
    }

    /// Notes an event at `now`, simulated milliseconds.
    pub fn say(&mut self, now: u64, what: std::fmt::Arguments<'_>) {
        self.line.clear();
        write!(self.line, "{now:>9} {what}").expect("writes to memory");
        self.hash = xxhash_rust::xxh3::xxh3_64_with_seed(self.line.as_bytes(), self.hash);
        self.lines += 1;
        let mut line = String::new();
        if !self.is_whole && self.last.len() >= KEPT {
            line = self.last.pop_front().unwrap_or_default();
            line.clear();
        }
        line.push_str(&self.line);
        self.last.push_back(line);
    }

    /// Of every line so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many there were.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The last ones.
    pub fn last(&self) -> String {
        let lines: Vec<&str> = self.last.iter().map(String::as_str).collect();
        lines.join("\n")
    }
}
