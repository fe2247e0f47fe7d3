//! SIGKILL at every named point of the dead letters: none is kept twice, none is lost, what was removed stays removed,
//! and the count of what was dropped is right.
//!
//! A process goes through the messages of a lane, keeps every other one as a letter, moves its cursor, removes letters and
//! gives their space back. Its journal is as that of [`crate::load`]: `K SEQ` kept, `I SEQ` about to be removed, `G SEQ`
//! removed, `P POINT PASSES`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edgeferry::faults;
use edgeferry::message::{Seq, Stored};
use edgeferry::queue::seal::Keys;
use edgeferry::route::Refusal;
use edgeferry::sink::{DeadLetters, OnFull};
use edgeferry::slots::{PAGE_BYTES, SlotFile};
use serde::{Deserialize, Serialize};

use crate::child;
use crate::load::EPOCH;
use crate::message::arrival;
use crate::support::scratch::Scratch;
use crate::support::seed::Seed;
use crate::support::wait;

/// Every point in the sources of the dead letters.
pub const POINTS: &[&str] = &[
    "letter.encoded",
    "letter.kept",
    "letters.noted",
    "letters.removed",
    "letters.dropped",
    "letters.rewritten",
];

/// Messages of a life.
const MESSAGES: u64 = 160;
/// Letters begin to be dropped before half of a life.
const MAX_BYTES: u64 = 1536 * 1024;
const PAYLOAD_BYTES: usize = 12_000;
const LIFE_LIMIT: Duration = Duration::from_mins(1);

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Orders {
    /// Holds the letters in `letters`, and a cursor.
    pub folder: PathBuf,
    /// Outside of it.
    pub journal: PathBuf,
    /// For moments.
    pub seed: u64,
}

fn open(folder: &Path) -> DeadLetters {
    let letters = DeadLetters::open(&folder.join("letters"), EPOCH, MAX_BYTES, Keys::default());
    letters
        .expect("a crash never stops the start")
        .on_full(OnFull::DropOldest)
}

fn is_refused(seq: u64) -> bool {
    seq.is_multiple_of(2)
}

fn stored(seq: u64) -> Stored {
    let mut arrival = arrival(seq);
    let mut noise = Seed::new(seq);
    let words = std::iter::repeat_with(|| noise.next().to_be_bytes());
    arrival.payload = words.flatten().take(PAYLOAD_BYTES).collect::<Vec<u8>>().into();
    Stored {
        seq: Seq(seq),
        epoch: EPOCH,
        arrival,
    }
}

struct Life {
    journal: File,
    letters: DeadLetters,
    cursor: SlotFile,
    seed: Seed,
}

impl Life {
    fn note(&mut self, text: &str) {
        self.journal.write_all(text.as_bytes()).expect("writes");
    }

    fn pass(&mut self, seq: u64) {
        if !is_refused(seq) {
            return;
        }
        self.letters
            .keep(&stored(seq), vec![Refusal::NoRoute])
            .expect("keeps");
        self.note(&format!("K {seq};\n"));
    }

    /// Removes some of the letters that the cursor has passed.
    fn remove(&mut self, cursor: u64) {
        let mut walk = self.letters.walk(Seq(1));
        let (mut numbers, mut seqs) = (Vec::new(), Vec::new());
        while let Some(block) = walk.next_letters().expect("reads") {
            for kept in block {
                if kept.letter.seq.0 <= cursor && self.seed.between(0, 10) < 9 {
                    numbers.push(kept.number);
                    seqs.push(kept.letter.seq.0);
                }
            }
        }
        let lines = |mark: &str| {
            seqs.iter()
                .fold(String::new(), |all, seq| format!("{all}{mark} {seq};\n"))
        };
        self.note(&lines("I"));
        self.letters.remove(&numbers).expect("removes");
        self.note(&lines("G"));
        self.letters.tidy().expect("tidies");
    }
}

/// Works until killed or done.
pub fn run(orders: &Orders) {
    let journal = File::options().create(true).append(true).open(&orders.journal);
    let (cursor, found) = SlotFile::open::<u64>(&orders.folder.join("cursor"), PAGE_BYTES).expect("opens");
    let begin = found.unwrap_or(0);
    let letters = open(&orders.folder);
    letters.recall(Seq(begin), Seq(u64::MAX)).expect("reads");
    let mut life = Life {
        journal: journal.expect("the journal can be written"),
        letters,
        cursor,
        seed: Seed::new(orders.seed),
    };
    for seq in begin + 1..=begin + MESSAGES {
        life.pass(seq);
        if seq == begin + 4 {
            // The second life removes most of what the first one left, and fills up behind it.
            life.remove(begin);
        }
        if life.seed.between(0, 5) == 0 {
            life.cursor.write(&seq).expect("writes");
        }
    }
    life.cursor.write(&(begin + MESSAGES)).expect("writes");
    let mut passes = String::new();
    for (point, count) in faults::passes() {
        writeln!(passes, "P {point} {count};").expect("text can grow");
    }
    life.note(&passes);
}

/// What the journal says.
#[derive(Debug, Default)]
struct Journal {
    kept: BTreeSet<u64>,
    intended: BTreeSet<u64>,
    gone: BTreeSet<u64>,
    passes: BTreeMap<String, u64>,
}

fn read(journal: &Path) -> Journal {
    let text = fs::read_to_string(journal).unwrap_or_default();
    let mut read = Journal::default();
    for line in text.lines().filter_map(|line| line.strip_suffix(';')) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let _new = match words[..] {
            ["K", seq] => read.kept.insert(number(seq)),
            ["I", seq] => read.intended.insert(number(seq)),
            ["G", seq] => read.gone.insert(number(seq)),
            ["P", point, count] => read.passes.insert(point.to_owned(), number(count)).is_none(),
            _ => panic!("{line}"),
        };
    }
    read
}

struct Store {
    scratch: Scratch,
}

impl Store {
    fn new() -> Self {
        let scratch = Scratch::new("letters");
        fs::create_dir(scratch.join("store")).expect("creates");
        Self { scratch }
    }

    /// Lets a process work on it. Whether it was killed.
    fn live(&self, seed: u64, kill: Option<(&str, u64)>) -> bool {
        let orders = Orders {
            folder: self.scratch.join("store"),
            journal: self.scratch.join("journal"),
            seed,
        };
        let order = kill.map(|(point, pass)| (faults::KILL_AT, format!("{point}:{pass}")));
        let orders = child::Orders::Letters(orders);
        let log = self.scratch.join("log");
        let mut process = child::start("letters", &log, &orders, order.as_slice());
        let status = wait::until("the life ends", LIFE_LIMIT, || process.ended());
        let killed = status.signal() == Some(9);
        assert!(killed || status.success(), "{status}: {}", process.log());
        assert!(kill.is_some() || !killed, "killed by somebody else");
        killed
    }

    /// Compares what is there with what the journal says; gives how often each point was passed.
    fn judge(&self, what: &str) -> BTreeMap<String, u64> {
        let journal = read(&self.scratch.join("journal"));
        let letters = open(&self.scratch.join("store"));
        let listed = letters.list().expect("lists");
        let seqs: Vec<u64> = listed.iter().map(|letter| letter.seq.0).collect();
        let there: BTreeSet<u64> = seqs.iter().copied().collect();
        let stand = letters.stand();
        assert_eq!(
            there.len(),
            seqs.len(),
            "{what}: a letter is there twice: {seqs:?}"
        );
        assert_eq!(stand.letters, seqs.len() as u64, "{what}: {stand:?}");
        assert_eq!(stand.lost, 0, "{what}");
        assert!(there.iter().all(|seq| is_refused(*seq)), "{what}: {seqs:?}");
        for letter in &listed {
            assert_eq!(letter.arrival, stored(letter.seq.0).arrival, "{what}");
        }
        let back: Vec<_> = journal.gone.intersection(&there).collect();
        assert!(back.is_empty(), "{what}: {back:?} came back");
        // Neither there nor meant to be removed: dropped. A kill may come before the journal knows of a letter.
        let known = journal.kept.union(&there).count() as u64;
        let removed = journal.intended.difference(&there).count() as u64;
        let accounted = seqs.len() as u64 + removed + stand.dropped;
        let unsure = (journal.intended.len() - journal.gone.len()) as u64;
        assert!(
            (known..=known + unsure.min(1)).contains(&accounted) || accounted == known,
            "{what}: {known} kept, {} there, {removed} removed, {stand:?}",
            seqs.len()
        );
        journal.passes
    }
}

/// Lives without a kill, until every point was passed.
const LIVES_MAX: usize = 8;

#[test]
fn dead_letters_survive_a_kill_at_every_named_point() {
    let mut seed = Seed::of_this_run("dead_letters_survive_a_kill_at_every_named_point");
    let store = Store::new();
    let is_complete = |passes: &BTreeMap<String, u64>| POINTS.iter().all(|point| passes.contains_key(*point));
    let mut passes = BTreeMap::new();
    // Mostly the second does: it removes what the first one left.
    for _ in 0..LIVES_MAX {
        store.live(seed.next(), None);
        passes = store.judge("without a kill");
        if is_complete(&passes) {
            break;
        }
    }
    for point in POINTS {
        let count = passes.get(*point).copied().unwrap_or(0);
        assert!(count > 0, "{point} is never passed: {passes:?}");
        let pass = seed.between(1, count / 2 + 2);
        let what = format!("killed at pass {pass} of {point}");
        let store = Store::new();
        // Behind a life that left letters.
        store.live(seed.next(), None);
        let killed = store.live(seed.next(), Some((point, pass)));
        eprintln!("{what}: {killed}");
        store.judge(&what);
        store.live(seed.next(), None);
        store.judge(&format!("{what}, and the life behind it"));
    }
}
