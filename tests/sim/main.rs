//! The whole pipeline in a simulated world: one seed decides workload and faults, and a failure goes the same way again.
//!
//! ```text
//!   devices ─▶ broker ─▶ client ─▶ Source ─▶ Writer ─▶ Reader ─▶ Router ─▶ Drain ─▶ producer ─▶ cluster
//!              └──── made up ───┘  └───────── the product's own code ──────────┘  └───── made up ─────┘
//!                                             disk, board: made up
//! ```
//!
//! All of it runs on one thread, in a paused tokio runtime. [`run`] takes the next event off the [`agenda`], lets the clock jump there, does
//! what the event says, and then calls each stage that is due for one step: what its thread does between two waits. Sources are tasks; they
//! run until they wait for an event. Nothing asks the machine for time or chance: what does is answered by [`machine`].
//!
//! | module | what it is |
//! | --- | --- |
//! | [`plan`], [`chaos`], [`dice`] | what the seed decides: configuration, devices, which faults and when |
//! | [`broker`], [`client`] | MQTT: sessions, window, DUP, packet ids that come round, connections cut with something under way in both directions |
//! | [`cluster`], [`producer`] | Kafka: sequence numbers for each producer and partition, leaders, replicas, transactions; batches, retries, what is lost and what is late |
//! | [`store`] | the disk under log and dead letters: page cache, syncs, torn appends |
//! | [`machine`] | the board: clocks, dice, small files, and the points at which the process dies |
//! | [`gateway`] | one process: puts the stages together and calls them |
//! | [`world`] | all that is outside of the process, and how faults change it |
//! | [`judge`] | promises 1, 2, 3 and 6 |
//! | [`coverage`] | which faults met which states |
//! | [`trace`] | every event; its hash is what two runs of a seed have in common |
//!
//! **What is checked.** At each PUBACK that leaves: its message would survive a power cut. At each start and each fault: the account adds up. Any end of
//! a stage, any panic. At the end, when faults are over and everything has arrived, within half an hour of simulated time: what was acknowledged is in Kafka, or a dead letter, or counted as
//! removed by a policy; first occurrences of a key are in order; one id is one message with the same bytes, once with exactly-once; the account is what
//! the log, Kafka and the dead letters hold. Then the process stops in order and starts once more, and all of that has to be so again.
//!
//! **What is not here**: see `docs/decisions/0038-simulation.md`. Below the store's contract (sled) and the producer's (librdkafka) are threads
//! that no seed decides; other tests are about those.
//!
//! `./dev sim --seeds N` runs N seeds, `./dev sim --seed S` one, with all its events.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::struct_excessive_bools,
    reason = "all of this is a test, also what stands outside of its #[test] functions: it fails by panicking, and \
              says on standard error what it does; trouble is a row of switches"
)]

mod agenda;
mod batch;
mod broker;
mod chaos;
mod client;
mod cluster;
mod coverage;
mod dice;
mod gateway;
mod judge;
mod machine;
mod message;
mod plan;
mod producer;
mod run;
#[path = "../support/seed.rs"]
#[expect(dead_code, reason = "shared with the other tests; this one uses a part")]
mod seed;
mod store;
mod trace;
mod world;

use std::time::{Duration, Instant};

use batch::Until;
use edgeferry::faults;
use run::simulate;

/// Number of seeds to run: `./dev sim --seeds N`.
const SEEDS: &str = "EDGEFERRY_SIM_SEEDS";
/// The one seed to run, with all its events: `./dev sim --seed S`.
const SEED: &str = "EDGEFERRY_SIM_SEED";
/// Fresh seeds are tried for so long in each run of the tests.
const FRESH: Duration = Duration::from_secs(20);
/// Failures that are told with their events.
const TOLD: usize = 3;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// In CI for some seconds; by `./dev sim` for as many seeds as are asked for.
#[test]
fn the_promises_hold_in_fresh_seeds() {
    if let Some(seed) = number(SEED) {
        return replay(seed);
    }
    let first: u64 = number("EDGEFERRY_SEED").unwrap_or_else(rand::random);
    eprintln!("EDGEFERRY_SEED={first}");
    let began = Instant::now();
    let until = number(SEEDS).map_or(Until::Time(began + FRESH), Until::Count);
    let sum = batch::run(first, until, None, false);
    eprintln!("{}", sum.coverage.table());
    eprintln!("{} in {:?}", sum.line(), began.elapsed());
    for (seed, what, last) in sum.failures.iter().take(TOLD) {
        eprintln!("--- seed {seed}, its last events:\n{last}\n--- seed {seed}: {what}");
    }
    for (seed, what, _) in &sum.failures {
        eprintln!("seed {seed}: {what}");
    }
    assert!(
        sum.failures.is_empty(),
        "replay: ./dev sim --seed {}",
        sum.failures[0].0
    );
}

/// Seeds that are run twice.
const REPLAYED: u64 = 30;

/// In one process tables of hashes have other orders in each run: what depended on them would show.
#[test]
fn a_seed_goes_the_same_way_again() {
    for seed in 0..REPLAYED {
        let (first, again) = (simulate(seed, None, true), simulate(seed, None, true));
        assert!(
            first.hash == again.hash,
            "seed {seed}:\n{}",
            difference(&first.last, &again.last)
        );
        assert_eq!(
            (first.events, first.took, first.processes),
            (again.events, again.took, again.processes)
        );
    }
}

/// Where two logs part.
fn difference(first: &str, again: &str) -> String {
    let lines = first.lines().zip(again.lines());
    let at = lines.take_while(|(one, other)| one == other).count();
    let from = at.saturating_sub(5);
    let part = |log: &str| log.lines().skip(from).take(8).collect::<Vec<_>>().join("\n");
    format!("from line {at} on\n{}\n--- and\n{}", part(first), part(again))
}

/// Seeds within which a broken promise has to be found: several times what it took.
const FOUND_WITHIN: u64 = 1_500;

/// Each step on which a promise stands is left out in turn: `faults::BROKEN`, and what only a simulation can see.
#[test]
fn every_broken_promise_is_found() {
    let mut unseen = Vec::new();
    for (step, what) in faults::BROKEN.into_iter().chain(faults::BROKEN_IN_SIMULATION) {
        let sum = batch::run(1, Until::Count(FOUND_WITHIN), Some(step), true);
        match sum.failures.first() {
            Some((seed, why, _)) => {
                eprintln!("{what}: found by seed {seed}, after {} seeds: {why}", sum.seeds);
            }
            None => unseen.push(what),
        }
    }
    assert!(
        unseen.is_empty(),
        "not found within {FOUND_WITHIN} seeds: {unseen:?}"
    );
}

fn replay(seed: u64) {
    let report = simulate(seed, None, true);
    eprintln!("{}", report.last);
    eprintln!(
        "seed {seed}: hash {:016x}, {} events, {} ms",
        report.hash, report.events, report.took
    );
    assert_eq!(report.verdict, None, "seed {seed}");
}
