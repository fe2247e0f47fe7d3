//! Damage, file by file: each file of a store truncated, zeroed block by block, bits flipped in it, and missing.
//!
//! After each: the queue opens, a new message is durable at once, everything outside the damaged place is delivered once and
//! in order, and what is missing is in the ledger as exact ranges. The damaged place is what the damage touched: the
//! blocks that have a chunk in it (a log mostly holds another copy, then nothing is lost).
//!
//! A sample runs with the other tests, and all of it with `./dev damage`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use proptest::test_runner::{RngAlgorithm, TestRng};
use rand::RngExt;
use tokio::runtime::Runtime;

use super::codec::{MAGIC, chunk_length};
use super::tests::{arrival, config, passed};
use super::*;
use crate::queue::codec::read_chunk;
use crate::queue::generations::{Generations, Waker};
use crate::queue::opening::assemble;
use std::path::Path;
use std::time::{Duration, Instant};

/// Generations of 128 KiB.
const BUDGET: u64 = 1024 * 1024;
/// Makes about five of them.
const MESSAGES: u64 = 1_600;
/// So many were delivered before: the cursor is in the second generation.
const DELIVERED: u64 = 500;
/// What a medium loses at once.
const SECTOR: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(30);
const SEED: u64 = 20_240_811;

/// In memory where there is a place for that: what is shown here does not depend on the medium.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("temp dir")
}

/// A queue that is driven step by step.
struct Driven {
    queue: Queue,
    intake: Intake,
    runtime: Runtime,
}

impl Driven {
    fn open(folder: &Path) -> Result<Self, OpenError> {
        let readable = Arc::<Signal>::default();
        let woken = Arc::clone(&readable);
        let opened = Generations::open(folder, BUDGET, Waker::new(move || woken.raise()))?;
        let config = Config {
            compression: Compression::None,
            ..config()
        };
        let queue = assemble(
            opened,
            readable,
            folder,
            Epoch(5),
            &config,
            &Keys::default(),
            &Outside::default(),
        )?;
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        Ok(Self {
            intake: queue.door.intake(),
            queue,
            runtime: runtime.expect("runtime"),
        })
    }

    /// Stores messages as one group. False when they are not durable at once.
    fn store(&mut self, positions: Range<u64>) -> bool {
        let last = positions.end - 1;
        for position in positions {
            let arrival = arrival(position, &payload(position));
            let room = self.runtime.block_on(self.intake.reserve(arrival.cost()));
            self.intake
                .offer(arrival, room.expect("open"), false)
                .expect("open");
        }
        let mut group = self.queue.writer.gather().expect("open");
        let stored = self.queue.writer.attempt(&mut group);
        stored.is_ok() && *self.intake.durable().borrow() == last
    }

    /// Reads everything there is, however long it has to be looked for, and marks it as delivered.
    fn deliver(&mut self) -> Vec<(Seq, u64)> {
        let deadline = Instant::now() + PATIENCE;
        let mut delivered = Vec::new();
        while Instant::now() < deadline {
            if let Some(stored) = self.queue.reader.read_next().expect("reads") {
                let position = stored.arrival.delivery.position;
                assert_eq!(stored.arrival.payload, payload(position), "contents changed");
                delivered.push((stored.seq, position));
            } else if self.queue.reader.has_passed(self.queue.reader.tail()) {
                break;
            } else {
                self.queue.reader.wait(Duration::from_millis(20));
            }
        }
        if let Some((last, _)) = delivered.last() {
            let count = passed(delivered.len() as u64);
            self.queue.reader.advance(*last, count).expect("advances");
        }
        delivered
    }

    fn balance(&self) -> Balance {
        self.queue.monitor.status().balance
    }

    /// Every sequence that counts as lost.
    fn lost(&self) -> BTreeSet<u64> {
        let holes = self.queue.monitor.0.ledger.holes();
        let damaged = holes.iter().filter(|hole| hole.reason == Reason::Damaged);
        damaged.flat_map(|hole| hole.first.0..=hole.last.0).collect()
    }
}

/// Contents that only this message has; a few take several chunks.
fn payload(position: u64) -> Vec<u8> {
    let bytes = if position.is_multiple_of(50) {
        15_000
    } else {
        40 + position % 150
    };
    let mut state = position;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    })
    .take(usize::try_from(bytes).expect("small"))
    .collect()
}

/// Where a chunk stands in a file, and the sequences of its block.
type Place = (Range<usize>, Range<u64>);

/// A closed store: its folders, its files, and what is in them.
struct Sample {
    files: BTreeMap<PathBuf, Vec<u8>>,
    folders: BTreeSet<PathBuf>,
    cursor: u64,
    /// Sequences of the blocks with a chunk at that place in a file.
    chunks: BTreeMap<PathBuf, Vec<Place>>,
}

impl Sample {
    fn new() -> Self {
        let dir = scratch();
        let mut driven = Driven::open(dir.path()).expect("opens");
        let mut next = 1;
        while next <= MESSAGES {
            let behind = (next + 1 + next % 17).min(MESSAGES + 1);
            assert!(driven.store(next..behind));
            next = behind;
        }
        let mut last = Seq::ZERO;
        while last < Seq(DELIVERED) {
            last = driven
                .queue
                .reader
                .read_next()
                .expect("reads")
                .expect("there")
                .seq;
            driven.queue.reader.advance(last, passed(1)).expect("advances");
        }
        driven.queue.reader.sync().expect("syncs");
        drop(driven);
        let mut sample = Self {
            files: BTreeMap::new(),
            folders: BTreeSet::new(),
            cursor: DELIVERED,
            chunks: BTreeMap::new(),
        };
        sample.take(dir.path(), dir.path());
        assert!(sample.chunks.len() >= 5, "{} generations", sample.chunks.len());
        sample
    }

    fn take(&mut self, root: &Path, folder: &Path) {
        for entry in fs::read_dir(folder).expect("lists") {
            let path = entry.expect("entry").path();
            let name = path.strip_prefix(root).expect("inside").to_owned();
            if path.is_dir() {
                self.folders.insert(name);
                self.take(root, &path);
                continue;
            }
            let bytes = fs::read(&path).expect("reads");
            if name.ends_with("db") {
                self.chunks.insert(name.clone(), chunks_in(&bytes));
            }
            self.files.insert(name, bytes);
        }
    }

    fn lay_out(&self, root: &Path) {
        for folder in &self.folders {
            fs::create_dir_all(root.join(folder)).expect("creates");
        }
        for (name, bytes) in &self.files {
            fs::write(root.join(name), bytes).expect("writes");
        }
    }

    /// Sequences of all blocks that have a chunk in these bytes of a file.
    fn touched(&self, name: &Path, bytes: &Range<usize>) -> BTreeSet<u64> {
        let chunks = self.chunks.get(name).map_or(&[][..], Vec::as_slice);
        let touched = chunks
            .iter()
            .filter(|(at, _)| at.start < bytes.end && bytes.start < at.end);
        touched.flat_map(|(_, block)| block.clone()).collect()
    }
}

/// Where chunks stand, all copies, and the sequences of their blocks.
fn chunks_in(bytes: &[u8]) -> Vec<Place> {
    let mut chunks = Vec::new();
    let mut at = 0;
    while at + MAGIC.len() <= bytes.len() {
        let length = bytes[at..]
            .starts_with(&MAGIC)
            .then(|| chunk_length(&bytes[at..]))
            .flatten();
        let chunk = length.and_then(|length| bytes.get(at..at + length));
        match chunk.and_then(|chunk| read_chunk(chunk).ok()) {
            Some((header, _)) => {
                let length = length.expect("read");
                chunks.push((at..at + length, header.first.0..header.last().0 + 1));
                at += length;
            }
            None => at += 1,
        }
    }
    chunks
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Damage {
    Truncated(usize),
    Zeroed(Range<usize>),
    Flipped(usize, u8),
    Filled(u8),
    Missing,
    FolderMissing,
}

impl Damage {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Truncated(_) => "truncated",
            Self::Zeroed(_) => "4 KiB zeroed",
            Self::Flipped(..) => "bits flipped",
            Self::Filled(_) => "garbage",
            Self::Missing => "file missing",
            Self::FolderMissing => "folder missing",
        }
    }

    /// What it may cost of a file.
    fn place(&self, length: usize) -> Range<usize> {
        match self {
            Self::Truncated(at) => *at..length,
            Self::Zeroed(range) => range.clone(),
            Self::Flipped(at, _) => *at..at + 1,
            Self::Filled(_) | Self::Missing | Self::FolderMissing => 0..length,
        }
    }

    fn apply(&self, path: &Path) {
        let mut bytes = fs::read(path).expect("reads");
        match self {
            Self::Truncated(at) => bytes.truncate(*at),
            Self::Zeroed(range) => bytes[range.clone()].fill(0),
            Self::Flipped(at, mask) => bytes[*at] ^= mask,
            Self::Filled(with) => bytes.fill(*with),
            Self::Missing => return fs::remove_file(path).expect("removes"),
            Self::FolderMissing => {
                return fs::remove_dir_all(path.parent().expect("inside")).expect("removes");
            }
        }
        fs::write(path, bytes).expect("writes");
    }
}

/// What is done to one store.
#[derive(Debug, Clone)]
struct Case {
    file: PathBuf,
    damage: Damage,
    /// The marks are gone as well.
    without_marks: bool,
}

/// Every case, or about `part` of them.
fn cases(sample: &Sample, every: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[SEED.to_be_bytes(); 4].concat());
    for (file, bytes) in &sample.files {
        let mut thorough = vec![
            Damage::Missing,
            Damage::Filled(0xA5),
            Damage::Filled(0),
            Damage::Truncated(0),
        ];
        if file.ends_with("db") {
            thorough.push(Damage::FolderMissing);
        }
        for begin in (0..bytes.len()).step_by(SECTOR) {
            let end = bytes.len().min(begin + SECTOR);
            thorough.push(Damage::Zeroed(begin..end));
            thorough.push(Damage::Truncated(begin));
            thorough.push(Damage::Truncated(random.random_range(begin..end)));
            for _ in 0..3 {
                thorough.push(Damage::Flipped(
                    random.random_range(begin..end),
                    1 << random.random_range(0..8),
                ));
            }
        }
        let damages: Vec<_> = thorough
            .into_iter()
            .skip(random.random_range(0..every))
            .step_by(every)
            .collect();
        let plain = damages.iter().map(|damage| (damage.clone(), false));
        let bare = damages.iter().map(|damage| (damage.clone(), true));
        let both = plain.chain(bare.filter(|_| file.ends_with("db")));
        cases.extend(both.map(|(damage, without_marks)| Case {
            file: file.clone(),
            damage,
            without_marks,
        }));
    }
    cases
}

/// What a case came to.
#[derive(Debug, Default)]
struct Outcome {
    lost: u64,
    wrong: Vec<String>,
}

impl Outcome {
    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(what());
        }
    }
}

fn run(sample: &Sample, case: &Case) -> Outcome {
    let mut outcome = Outcome::default();
    let dir = scratch();
    sample.lay_out(dir.path());
    case.damage.apply(&dir.path().join(&case.file));
    let marks = Path::new("marks");
    if case.without_marks {
        fs::remove_file(dir.path().join(marks)).expect("removes");
    }
    let mut driven = match Driven::open(dir.path()) {
        Ok(driven) => driven,
        Err(error) => {
            outcome.wrong.push(format!("did not start: {error}"));
            return outcome;
        }
    };
    let again = case.without_marks || case.file == marks;
    let stored = driven.store(MESSAGES + 1..MESSAGES + 2);
    outcome.check(stored, || "a new message was not durable at once".to_owned());
    let delivered = driven.deliver();
    let place = case.damage.place(sample.files[&case.file].len());
    let expected = Expected {
        from: if again { 0 } else { sample.cursor },
        may_be_lost: sample.touched(&case.file, &place),
        again,
    };
    expected.judge(&driven, &delivered, &mut outcome);
    let balance = driven.balance();
    drop(driven);
    // The next start finds nothing new.
    let mut driven = Driven::open(dir.path()).expect("opens");
    outcome.check(driven.deliver().is_empty(), || {
        "delivered again after a restart".to_owned()
    });
    outcome.check(driven.balance() == balance, || {
        format!("{balance:?} became {:?}", driven.balance())
    });
    outcome
}

struct Expected {
    /// Everything behind it is delivered or lost.
    from: u64,
    may_be_lost: BTreeSet<u64>,
    /// What was delivered before may be delivered again, and what is missing at the end may be unknown.
    again: bool,
}

impl Expected {
    fn judge(&self, driven: &Driven, delivered: &[(Seq, u64)], outcome: &mut Outcome) {
        let lost = driven.lost();
        outcome.lost = lost.iter().filter(|seq| **seq > self.from).count() as u64;
        let in_order = delivered.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1);
        outcome.check(in_order, || "out of order".to_owned());
        let newest = delivered.last().map(|(_, position)| *position);
        outcome.check(newest == Some(MESSAGES + 1), || format!("ends with {newest:?}"));
        let old = delivered.iter().filter(|(_, position)| *position <= MESSAGES);
        let got: BTreeSet<u64> = old.map(|(seq, _)| seq.0).collect();
        outcome.check(
            delivered
                .iter()
                .all(|(seq, position)| seq.0 == *position || *position > MESSAGES),
            || "a sequence has another message".to_owned(),
        );
        let wanted = if self.again { DELIVERED + 1 } else { self.from + 1 }..=MESSAGES;
        let missing: BTreeSet<u64> = wanted.filter(|seq| !got.contains(seq)).collect();
        let outside: Vec<_> = missing.difference(&self.may_be_lost).collect();
        outcome.check(outside.is_empty(), || {
            format!("lost outside the damaged place: {outside:?}")
        });
        if !self.again {
            let known: BTreeSet<_> = lost.iter().filter(|seq| **seq > self.from).copied().collect();
            outcome.check(known == missing, || {
                format!("missing {missing:?}, reported {known:?}")
            });
            let received = driven.balance().received;
            outcome.check(received == MESSAGES + 1, || format!("{received} received"));
        }
        let inner = got.first().zip(got.last()).map(|(first, last)| *first..=*last);
        let hidden: Vec<_> = inner
            .into_iter()
            .flatten()
            .filter(|seq| !got.contains(seq) && !lost.contains(seq))
            .collect();
        outcome.check(hidden.is_empty(), || {
            format!("missing and not reported: {hidden:?}")
        });
        let balance = driven.balance();
        let done = balance.delivered + balance.dead_lettered + balance.removed.removed();
        let unaccounted = driven.queue.monitor.status().unaccounted;
        outcome.check(unaccounted == Some(0), || format!("unaccounted: {unaccounted:?}"));
        outcome.check(balance.received == done && balance.queued == 0, || {
            format!("the account does not hold: {balance:?}")
        });
    }
}

#[derive(Default)]
struct Line {
    cases: u64,
    with_loss: u64,
    most_lost: u64,
    no_start: u64,
    wrong: u64,
}

#[test]
fn damage_anywhere_costs_only_what_it_touched_and_never_a_start() {
    let full = std::env::var_os("EDGEFERRY_DAMAGE").is_some_and(|value| value == "full");
    let sample = Sample::new();
    let cases = cases(&sample, if full { 1 } else { 29 });
    println!("seed {SEED}, {} files, {} cases", sample.files.len(), cases.len());
    let mut table = BTreeMap::<_, Line>::new();
    let mut wrong = Vec::new();
    let half = cases.len().div_ceil(2);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let sample = &sample;
        let threads = cases
            .chunks(half)
            .map(|part| scope.spawn(move || part.iter().map(|case| run(sample, case)).collect::<Vec<_>>()));
        let threads: Vec<_> = threads.collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    for (case, outcome) in cases.iter().zip(outcomes) {
        let file = case
            .file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let marks = if case.without_marks { ", no marks" } else { "" };
        let line = table
            .entry((format!("{file}{marks}"), case.damage.kind()))
            .or_default();
        line.cases += 1;
        line.with_loss += u64::from(outcome.lost > 0);
        line.most_lost = line.most_lost.max(outcome.lost);
        line.no_start += u64::from(outcome.wrong.iter().any(|what| what.starts_with("did not start")));
        line.wrong += u64::from(!outcome.wrong.is_empty());
        if !outcome.wrong.is_empty() {
            wrong.push(format!("{case:?}: {:?}", outcome.wrong));
        }
    }
    println!(
        "{:<16} {:<15} {:>6} {:>10} {:>10} {:>9} {:>6}",
        "file", "damage", "cases", "with loss", "most lost", "no start", "wrong"
    );
    for ((file, kind), line) in &table {
        let Line {
            cases,
            with_loss,
            most_lost,
            no_start,
            wrong,
        } = line;
        println!("{file:<16} {kind:<15} {cases:>6} {with_loss:>10} {most_lost:>10} {no_start:>9} {wrong:>6}");
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

// --- Watermarks that lag, and media that hang ----------------------------------------------------------------------

/// A store of 120 messages whose watermark a power cut took back to the first 20 of them.
fn lagging(folder: &Path) {
    let mut driven = Driven::open(folder).expect("opens");
    let marks = folder.join("marks");
    assert!(driven.store(1..21));
    let synced = fs::read(&marks).expect("reads");
    for first in (21..121).step_by(20) {
        assert!(driven.store(first..first + 20));
    }
    drop(driven);
    fs::write(&marks, synced).expect("writes");
}

fn generations(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("lists");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("g-"))
        .collect();
    names.sort();
    names
}

#[test]
fn what_lies_behind_the_watermark_is_written_anew_before_anybody_hears_of_it() {
    let dir = scratch();
    lagging(dir.path());
    let before = generations(dir.path());
    let mut driven = Driven::open(dir.path()).expect("opens");
    let after = generations(dir.path());
    assert!(!before.contains(&"g-00000000000000000021".to_owned()));
    assert!(after.contains(&"g-00000000000000000021".to_owned()), "{after:?}");
    assert_eq!(driven.queue.monitor.0.marks.values().durable, Seq(120));
    assert_eq!(driven.queue.recalled.len(), 120);
    assert!(driven.store(121..122));
    let delivered: Vec<_> = driven
        .deliver()
        .iter()
        .map(|(seq, position)| (seq.0, *position))
        .collect();
    assert_eq!(delivered, (1..122).map(|seq| (seq, seq)).collect::<Vec<_>>());
    assert!(driven.lost().is_empty());
}

#[test]
fn messages_behind_a_gap_that_the_watermark_does_not_know_are_delivered_and_counted() {
    let dir = scratch();
    lagging(dir.path());
    let generation = dir.path().join(generations(dir.path()).pop().expect("there"));
    let db = generation.join("db");
    let mut bytes = fs::read(&db).expect("reads");
    let chunks = chunks_in(&bytes);
    let gap = chunks
        .iter()
        .find(|(_, block)| block.contains(&90))
        .expect("there")
        .1
        .clone();
    for (at, _) in chunks.iter().filter(|(_, block)| *block == gap) {
        bytes[at.clone()].fill(0);
    }
    fs::write(&db, bytes).expect("writes");
    let mut driven = Driven::open(dir.path()).expect("opens");
    let positions: Vec<_> = driven
        .deliver()
        .into_iter()
        .map(|(_, position)| position)
        .collect();
    assert_eq!(
        positions,
        (1..121)
            .filter(|position| !gap.contains(position))
            .collect::<Vec<_>>()
    );
    // Whether the missing ones were ever acknowledged cannot be seen: their sequences count as left out.
    let count = 120 - (gap.end - gap.start);
    let balance = driven.balance();
    assert_eq!(
        (balance.received, balance.delivered, balance.queued),
        (count, count, 0)
    );
    drop(driven);
    let mut driven = Driven::open(dir.path()).expect("opens");
    assert!(driven.deliver().is_empty());
    assert_eq!(driven.balance(), balance);
    // No sequence is used twice.
    assert!(driven.store(121..122));
    let stored = driven.deliver();
    assert!(stored.len() == 1 && stored[0].0 > Seq(120), "{stored:?}");
}

#[test]
fn delivery_waits_at_a_place_that_is_still_being_read_and_intake_does_not() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let sample = Sample::new();
    let dir = scratch();
    sample.lay_out(dir.path());
    // Whoever opens a pipe waits until somebody writes to it.
    let name = sample.chunks.keys().nth(2).expect("several");
    let pipe = dir.path().join(name);
    fs::remove_file(&pipe).expect("removes");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("makes a pipe");
    let mut driven = Driven::open(dir.path()).expect("opens");
    assert!(driven.store(MESSAGES + 1..MESSAGES + 2));
    let first: u64 = name
        .parent()
        .and_then(Path::to_str)
        .and_then(|name| name.strip_prefix("g-")?.parse().ok())
        .expect("a generation");
    let mut last = DELIVERED;
    while let Some(stored) = driven.queue.reader.read_next().expect("reads") {
        assert_eq!(stored.seq.0, last + 1);
        last = stored.seq.0;
    }
    assert_eq!(last + 1, first);
    assert!(driven.lost().is_empty());
    drop(fs::OpenOptions::new().write(true).open(&pipe).expect("opens"));
    let delivered = driven.deliver();
    assert!(delivered.is_sorted_by_key(|(seq, _)| *seq));
    assert_eq!(
        delivered.last().map(|(_, position)| *position),
        Some(MESSAGES + 1)
    );
    let gone = driven.lost();
    assert_eq!(gone.first().copied(), Some(first));
    assert_eq!(
        gone.len() + delivered.len(),
        usize::try_from(MESSAGES + 1 - last).expect("small")
    );
}
