//! SIGKILL at named points: a process that dies there leaves a store that opens, with all that it confirmed.
//!
//! One case: a life that is killed in a commit; then one that is killed at the point; its store is opened and judged; then
//! one that ends by itself, and is judged again. So each point is passed by a start after a crash, too.
//!
//! `./dev crashpoints` kills at many passes of each point, `cargo test` at one that the seed chooses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use edgeferry::faults;

use crate::account::{Account, May};
use crate::drain::drain;
use crate::load::Full;
use crate::message::LARGE_FROM;
use crate::support::scratch::Scratch;
use crate::support::seed::Seed;
use crate::support::wait;
use crate::{child, letters, load};

/// What a store goes through before and while a point is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scenario {
    /// As [`Scenario::Load`], in a new store.
    Fresh,
    /// Store, deliver, rotate, trim.
    Load,
    /// An older generation that is not delivered cannot be opened.
    Damage,
    /// The file of an older generation that is not delivered was cut in half.
    Torn,
    /// Store with `on_full = "drop-oldest"`; nothing is delivered.
    Full,
    /// So with `"keep-latest"`.
    Latest,
}

/// Every point in the sources, and the scenarios that pass it. A point that none of them passes fails the test.
const POINTS: &[(&str, &[Scenario])] = {
    use Scenario::{Damage, Fresh, Full, Latest, Load, Torn};
    &[
        // One group commit, in this order.
        ("commit.encoded", &[Load]),
        ("reserve.written", &[Fresh]),
        ("reserve.synced", &[Fresh]),
        ("append.insert", &[Fresh, Load]),
        ("sync.inserted", &[Fresh, Load]),
        ("sync.flushed", &[Fresh, Load]),
        ("commit.durable", &[Load]),
        ("commit.noted", &[Load]),
        ("commit.confirmed", &[Load]),
        // A new generation.
        ("rotate.begun", &[Load]),
        ("create.opened", &[Fresh, Load]),
        ("create.synced", &[Fresh, Load]),
        ("rotate.created", &[Load]),
        // The cursor moves, delivered generations go.
        ("advance.noted", &[Load]),
        ("marks.written", &[Load]),
        ("advance.synced", &[Load]),
        ("discard.begun", &[Load]),
        ("discard.renamed", &[Load, Full]),
        ("discard.deleted", &[Load]),
        ("advance.trimmed", &[Load]),
        // Opening.
        ("open.placed", &[Load, Damage]),
        ("open.reset", &[Load, Damage]),
        // What a start finds behind the watermark is written anew.
        ("renew.written", &[Load]),
        ("renew.renamed", &[Load]),
        ("renew.placed", &[Load]),
        // A generation that cannot be read, and what is lost with it.
        ("set-aside.begun", &[Damage]),
        ("set-aside.renamed", &[Damage]),
        ("ledger.begun", &[Damage, Torn, Full]),
        ("ledger.written", &[Damage, Torn, Latest]),
        ("ledger.synced", &[Damage, Torn, Full, Latest]),
        ("keep.begun", &[Damage]),
        ("keep.renamed", &[Damage]),
        // Generations are replaced by a rewritten one.
        ("rewrite.begun", &[Latest]),
        ("rewrite.committed", &[Latest]),
        ("rewrite.discarded", &[Latest]),
        ("rewrite.renamed", &[Latest]),
    ]
};

/// Points that are shown elsewhere: `open.recorded`, which only a store passes that lost its newest messages, by the model;
/// `transaction.*`, which need a Kafka, by `tests/parts/exactly_once.rs`.
const ELSEWHERE: &[&str] = &[
    "open.recorded",
    "transaction.taken",
    "transaction.opened",
    "transaction.begun",
    "transaction.cursor",
    "transaction.committed",
    "transaction.advanced",
];

/// Passes of a point in the long form.
const PASSES_ENV: &str = "EDGEFERRY_CRASH_PASSES";
/// Messages of a life: six rotations.
const MESSAGES: u64 = 250;
/// Positions that are kept for one life: more than it can use.
const LIFE_POSITIONS: u64 = 1_000_000;
/// Large messages of a life that fills its lane.
const MESSAGES_TO_FILL: u64 = 420;
const LIFE_LIMIT: Duration = Duration::from_mins(1);
/// Cases at once: they wait for the disk more than they compute.
const WORKERS: usize = 3;

#[test]
fn a_process_killed_at_any_named_point_loses_nothing_that_it_confirmed() {
    let mut seed = Seed::of_this_run("a_process_killed_at_any_named_point_loses_nothing_that_it_confirmed");
    let passes = std::env::var(PASSES_ENV).map_or(1, |text| text.parse().expect("a number"));
    let counted: BTreeMap<Scenario, BTreeMap<String, u64>> = POINTS
        .iter()
        .flat_map(|(_, scenarios)| *scenarios)
        .copied()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|scenario| (scenario, count(scenario, seed.next())))
        .collect();
    let mut cases = Vec::new();
    for (point, scenarios) in POINTS {
        // The short form takes one scenario of each point.
        let one = usize::try_from(seed.between(0, scenarios.len() as u64)).expect("few");
        let tried = if passes == 1 {
            &scenarios[one..=one]
        } else {
            scenarios
        };
        for scenario in tried {
            let count = counted[scenario].get(*point).copied().unwrap_or(0);
            assert!(count > 0, "{point} is never passed in {scenario:?}: {counted:?}");
            for pass in choose(count, passes, &mut seed) {
                cases.push(Case {
                    point,
                    scenario: *scenario,
                    pass,
                    seed: seed.next(),
                });
            }
        }
    }
    let total = cases.len();
    let queue = Mutex::new(cases.into_iter());
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = { queue.lock().expect("nobody panics with it").next() } {
                    let killed = run_until_killed(&case);
                    let key = (case.point, case.scenario);
                    let mut results = results.lock().expect("nobody panics with it");
                    let (tried, reached) = results.entry(key).or_insert((0, 0));
                    *tried += 1;
                    *reached += u64::from(killed);
                }
            });
        }
    });
    eprintln!("{total} cases; point, scenario, cases, killed there:");
    for ((point, scenario), (tried, reached)) in results.into_inner().expect("nobody panics with it") {
        eprintln!("  {point:<20} {scenario:<8?} {tried:>4} {reached:>4}");
        assert!(reached > 0, "no case was killed at {point}");
    }
}

#[test]
fn every_point_in_the_sources_is_killed_at() {
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("lists") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).expect("text");
                let points = text.split("faults::point(\"").skip(1);
                found.extend(points.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
    }
    let listed = POINTS
        .iter()
        .map(|(point, _)| (*point).to_owned())
        .chain(ELSEWHERE.iter().map(|point| (*point).to_owned()))
        .chain(letters::POINTS.iter().map(|point| (*point).to_owned()))
        .collect::<BTreeSet<_>>();
    assert_eq!(found, listed, "sources on the left, POINTS on the right");
}

#[derive(Clone, Copy)]
struct Case {
    point: &'static str,
    scenario: Scenario,
    pass: u64,
    seed: u64,
}

/// Up to `passes` of the first half of `count` passes (a life in which groups fall together passes fewer): the first
/// ones, then any.
fn choose(count: u64, passes: u64, seed: &mut Seed) -> BTreeSet<u64> {
    let most = count.div_ceil(2);
    if passes == 1 {
        return BTreeSet::from([seed.between(1, most + 1)]);
    }
    let first = 1..=most.min(passes / 2);
    let any = (0..passes / 2).map(|_| seed.between(1, most + 1));
    first.chain(any).collect()
}

/// A store, and everything known of it.
struct Store {
    scratch: Scratch,
    scenario: Scenario,
    account: Account,
    /// How many have worked on it.
    lives: u64,
    /// From when it is damaged.
    may: May,
}

impl Store {
    fn new(scenario: Scenario) -> Self {
        let scratch = Scratch::new("points");
        let account = Account::new(&scratch.join("journal"));
        fs::create_dir(scratch.join("store")).expect("creates");
        Self {
            scratch,
            scenario,
            account,
            lives: 0,
            may: match scenario {
                Scenario::Full | Scenario::Latest => May::Drop,
                _ => May::LoseNothing,
            },
        }
    }

    /// Whether anything is delivered while a point is looked for: a lane that is to drop has to fill up.
    fn delivers(&self) -> bool {
        !matches!(self.scenario, Scenario::Full | Scenario::Latest)
    }

    fn max_bytes(&self) -> u64 {
        match self.scenario {
            // Generations of 128 KiB.
            Scenario::Fresh | Scenario::Load => 1024 * 1024,
            // The smallest that can be configured: generations of 2 MiB.
            Scenario::Full | Scenario::Latest => 16 * 1024 * 1024,
            // Of 512 KiB: it holds all that is not delivered.
            Scenario::Damage | Scenario::Torn => 4 * 1024 * 1024,
        }
    }

    /// Lets a process work on it, to be killed at the `pass`th time it passes `point`. Whether it was.
    fn live(&mut self, seed: u64, delivers: bool, kill: Option<(&str, u64)>) -> bool {
        let orders = load::Orders {
            folder: self.scratch.join("store"),
            journal: self.scratch.join("journal"),
            seed,
            first: match self.delivers() {
                true => self.account.next_position(),
                // Also behind a life that was killed before it could note anything.
                false => self
                    .account
                    .next_position()
                    .max(LARGE_FROM + self.lives * LIFE_POSITIONS),
            },
            messages: Some(match self.delivers() {
                true => MESSAGES,
                false => MESSAGES_TO_FILL,
            }),
            max_bytes: self.max_bytes(),
            delivers,
            extras: false,
            on_full: match self.scenario {
                Scenario::Full => Full::DropOldest,
                Scenario::Latest => Full::KeepLatest,
                _ => Full::Backpressure,
            },
        };
        self.lives += 1;
        let order = kill.map(|(point, pass)| (faults::KILL_AT, format!("{point}:{pass}")));
        let log = self.scratch.join("load.log");
        let orders = child::Orders::Load(orders);
        let mut process = child::start("load", &log, &orders, order.as_slice());
        let status = wait::until("the load ends", LIFE_LIMIT, || process.ended());
        self.account.read();
        let killed = status.signal() == Some(9);
        assert!(
            killed || (status.success() && self.account.ended),
            "{status}: {}",
            process.log()
        );
        assert!(kill.is_some() || !killed, "killed by somebody else");
        killed
    }

    fn judge(&mut self, what: &str) {
        let drained = drain(&self.scratch.join("store"), self.max_bytes(), self.scratch.path());
        let drained = drained.unwrap_or_else(|error| panic!("{what}: does not open: {error}"));
        let verdict = self.account.judge(&drained, self.may);
        assert!(verdict.is_clean(), "{what}: {verdict}");
        self.account.adopt(&drained);
    }

    /// What comes before the life in question.
    fn prepare(&mut self, seed: &mut Seed) {
        match self.scenario {
            Scenario::Fresh => {}
            Scenario::Load | Scenario::Full | Scenario::Latest => {
                let delivers = self.delivers();
                self.live(seed.next(), delivers, Some(("commit.durable", 7)));
            }
            Scenario::Damage | Scenario::Torn => {
                self.live(seed.next(), false, None);
                self.live(seed.next(), false, None);
                damage_an_older_one(&load::lane(&self.scratch.join("store")), self.scenario);
                self.may = May::LoseDamaged;
            }
        }
    }
}

/// Damages the second of several generations.
fn damage_an_older_one(lane: &Path, how: Scenario) {
    let mut generations: Vec<_> = fs::read_dir(lane)
        .expect("lists")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("db").exists())
        .collect();
    generations.sort();
    assert!(generations.len() >= 3, "{generations:?}");
    let log = generations[1].join("db");
    if how == Scenario::Damage {
        fs::remove_file(&log).expect("removes");
        return fs::create_dir(&log).expect("creates");
    }
    let file = fs::File::options().write(true).open(&log).expect("opens");
    let length = file.metadata().expect("has them").len();
    file.set_len(length / 2).expect("cuts");
}

/// How often each point is passed by the life in question.
fn count(scenario: Scenario, seed: u64) -> BTreeMap<String, u64> {
    let mut seed = Seed::new(seed);
    let mut store = Store::new(scenario);
    store.prepare(&mut seed);
    store.live(seed.next(), store.delivers(), None);
    store.judge(&format!("{scenario:?} without a kill"));
    store.account.passes
}

/// Whether the process was killed at the point. How often a life passes one depends on which messages fall into one group,
/// and so on time: one that ended before its pass was judged like the others, and the case is tried again at the first
/// pass, which every life reaches.
fn run_until_killed(case: &Case) -> bool {
    run(case) || (case.pass > 1 && run(&Case { pass: 1, ..*case }))
}

/// Whether the process was killed at the pass.
fn run(case: &Case) -> bool {
    let Case {
        point,
        scenario,
        pass,
        ..
    } = case;
    let what = format!(
        "{scenario:?}, killed at pass {pass} of {point}, seed {}",
        case.seed
    );
    let mut seed = Seed::new(case.seed);
    let mut store = Store::new(*scenario);
    store.prepare(&mut seed);
    let killed = store.live(seed.next(), store.delivers(), Some((*point, *pass)));
    store.judge(&what);
    store.live(seed.next(), true, None);
    store.judge(&format!("{what}, and the life behind it"));
    killed
}
