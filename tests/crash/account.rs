//! What was promised, against what is there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::drain::{Balance, Drained};
use crate::load;

/// Everything that a store's users know of it, from the journals of all its lives.
#[derive(Debug, Clone)]
pub struct Account {
    journal: PathBuf,
    /// How much of the journal was read.
    offset: u64,
    /// First position of the current life.
    first: u64,
    /// Confirmed.
    acked: BTreeSet<u64>,
    /// Delivered.
    delivered: BTreeSet<u64>,
    /// Position of each sequence that was seen.
    owners: HashMap<u64, u64>,
    /// Seen, whether confirmed or not.
    seen: BTreeSet<u64>,
    /// Delivered for the first time behind a later one.
    reordered: Vec<u64>,
    /// Sequences that stood for two messages.
    reused: Vec<u64>,
    /// The last value of the session file that was synced.
    session: u64,
    /// The last hole that was recorded.
    hole: Option<u64>,
    /// Passes of the crash points, once a life ended by itself.
    pub passes: BTreeMap<String, u64>,
    /// Whether the last life ended by itself.
    pub ended: bool,
}

/// What may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// Nothing.
    LoseNothing,
    /// The store was damaged on purpose: what is lost is counted as damaged, to the message.
    LoseDamaged,
    /// A full queue drops, and counts what it drops.
    Drop,
}

/// Messages that can be confirmed, dropped and not noted when the process dies: a few groups.
const UNSEEN_MOST: u64 = 4 * load::BURST_MOST;

/// What is wrong. Empty lists and `None` when nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Confirmed, neither delivered nor in the store.
    pub lost: Vec<u64>,
    /// First occurrences behind a later one.
    pub reordered: Vec<u64>,
    /// Sequences that stood for two messages.
    pub reused: Vec<u64>,
    /// Messages with another payload.
    pub altered: Vec<u64>,
    /// What in the balance does not fit.
    pub balance: Option<String>,
    /// What in the session file or the extra ledger was synced and is gone.
    pub extras: Option<String>,
}

impl Account {
    /// An account of a new store, and its empty journal.
    pub fn new(journal: &Path) -> Self {
        std::fs::write(journal, "").expect("the journal can be written");
        Self {
            journal: journal.to_owned(),
            offset: 0,
            first: 1,
            acked: BTreeSet::new(),
            delivered: BTreeSet::new(),
            owners: HashMap::new(),
            seen: BTreeSet::new(),
            reordered: Vec::new(),
            reused: Vec::new(),
            session: 0,
            hole: None,
            passes: BTreeMap::new(),
            ended: false,
        }
    }

    /// Reads what was noted since.
    pub fn read(&mut self) {
        let mut file = std::fs::File::open(&self.journal).expect("there is a journal");
        file.seek(SeekFrom::Start(self.offset)).expect("seeks");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("reads");
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.offset += whole as u64;
        for line in text[..whole].lines().filter_map(|line| line.strip_suffix(';')) {
            self.note(line);
        }
    }

    fn note(&mut self, line: &str) {
        let fields: Vec<_> = line.split(' ').collect();
        let number = |index: usize| fields[index].parse::<u64>().expect("our own words");
        match fields[0] {
            "O" => {
                self.first = number(1);
                self.ended = false;
                self.passes.clear();
            }
            "A" => {
                let known = self.acked.last().map_or(0, |last| last + 1);
                self.acked.extend(self.first.max(known)..=number(1));
            }
            "D" => self.deliver(number(1), number(2)),
            "S" => self.session = number(1),
            "L" => self.hole = Some(number(1)),
            "P" => drop(self.passes.insert(fields[1].to_owned(), number(2))),
            "Z" => self.ended = true,
            other => panic!("{other:?} in the journal"),
        }
    }

    fn deliver(&mut self, seq: u64, position: u64) {
        if *self.owners.entry(seq).or_insert(position) != position {
            self.reused.push(seq);
        }
        let newest = self.delivered.last().copied().unwrap_or_default();
        if self.delivered.insert(position) && position < newest {
            self.reordered.push(position);
        }
        self.seen.insert(position);
    }

    /// Messages confirmed so far.
    pub fn acked(&self) -> usize {
        self.acked.len()
    }

    /// A position that nobody used.
    pub fn next_position(&self) -> u64 {
        let newest = [self.acked.last(), self.seen.last()];
        // What was offered and not confirmed is unknown; it is bounded by the memory of the intake.
        newest.into_iter().flatten().max().copied().unwrap_or_default() + 1_000_000
    }

    /// Leaves out what was noted since: of a life that the store does not remember.
    pub fn skip_to_the_end(&mut self) {
        self.offset = std::fs::metadata(&self.journal).map_or(0, |metadata| metadata.len());
    }

    /// Takes over that `drained` is how the store goes on.
    pub fn adopt(&mut self, drained: &Drained) {
        for (seq, position) in &drained.messages {
            self.owners.insert(*seq, *position);
            self.seen.insert(*position);
        }
    }

    /// Compares with what is there.
    pub fn judge(&self, drained: &Drained, may: May) -> Verdict {
        let mut verdict = Verdict {
            reordered: self.reordered.clone(),
            reused: self.reused.clone(),
            altered: drained.altered.clone(),
            ..Verdict::default()
        };
        let mut newest = self.delivered.last().copied().unwrap_or_default();
        let mut last = (0, 0);
        for (seq, position) in &drained.messages {
            if self.owners.get(seq).is_some_and(|owner| owner != position) {
                verdict.reused.push(*seq);
            }
            let first_time = !self.delivered.contains(position);
            if (first_time && *position < newest) || *seq <= last.0 || *position <= last.1 {
                verdict.reordered.push(*position);
            }
            newest = newest.max(*position);
            last = (*seq, *position);
        }
        let there: BTreeSet<u64> = drained.messages.iter().map(|(_, position)| *position).collect();
        let gone = |position: &&u64| !self.delivered.contains(*position) && !there.contains(*position);
        let missing: Vec<u64> = self.acked.iter().filter(gone).copied().collect();
        verdict.balance = self.judge_balance(drained, &there, missing.len() as u64, may);
        if may == May::LoseNothing {
            verdict.lost = missing;
        }
        verdict.extras = self.judge_extras(drained);
        verdict
    }

    fn judge_balance(&self, drained: &Drained, there: &BTreeSet<u64>, lost: u64, may: May) -> Option<String> {
        let Balance {
            received,
            delivered,
            dead_lettered,
            queued,
            removed,
            damaged,
            ..
        } = drained.balance;
        let known = self.acked.union(&self.seen).copied().collect::<BTreeSet<_>>();
        let known = known.union(there).count() as u64;
        // Stored, found after a crash, never confirmed, and removed since.
        let adopted = self.seen.difference(&self.acked);
        let adopted =
            adopted.filter(|position| !self.delivered.contains(*position) && !there.contains(*position));
        // Removed before its confirmation was noted.
        let unseen = removed.saturating_sub(lost + adopted.count() as u64);
        let fits = match may {
            May::LoseNothing => removed == 0,
            May::LoseDamaged => removed == lost && damaged == lost,
            May::Drop => removed >= lost && unseen <= UNSEEN_MOST && damaged == 0,
        };
        let right = fits
            && received == known + if may == May::Drop { unseen } else { 0 }
            && received == delivered + dead_lettered + removed + queued
            && queued == there.len() as u64
            && dead_lettered == 0;
        (!right).then(|| {
            format!(
                "{:?}, but {known} messages were stored, {} are there, {lost} confirmed ones are not",
                drained.balance,
                there.len()
            )
        })
    }

    fn judge_extras(&self, drained: &Drained) -> Option<String> {
        if self.session > 0 && drained.session.is_none_or(|value| value < self.session) {
            return Some(format!(
                "session {:?}, {} was synced",
                drained.session, self.session
            ));
        }
        let expected = self.hole.map_or(0, |number| number + 1);
        let holes = drained.holes.len() as u64;
        (holes < expected || drained.hole_total != holes).then(|| {
            format!(
                "{holes} holes and a total of {}, {expected} were recorded",
                drained.hole_total
            )
        })
    }
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, positions) in [
            ("lost", &self.lost),
            ("out of order", &self.reordered),
            ("sequences used twice", &self.reused),
            ("altered", &self.altered),
        ] {
            if let (Some(first), Some(last)) = (positions.first(), positions.last()) {
                write!(f, "{} {name} ({first} to {last}); ", positions.len())?;
            }
        }
        for problem in [&self.balance, &self.extras].into_iter().flatten() {
            write!(f, "{problem}; ")?;
        }
        Ok(())
    }
}
