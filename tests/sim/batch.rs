//! Many seeds, on all cores.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::coverage::Coverage;
use crate::run::{Report, simulate};

/// How many seeds to run.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    Count(u64),
    Time(Instant),
}

/// What they came to.
#[derive(Debug, Default)]
pub struct Sum {
    pub seeds: u64,
    pub events: u64,
    pub acknowledged: u64,
    pub processes: u64,
    /// Simulated milliseconds.
    pub took: u64,
    /// The longest that it took until everything had arrived when faults were over, and of which seed.
    pub calm: (u64, u64),
    pub coverage: Coverage,
    /// Seed, what was wrong, and the last events, of the failures with the lowest seeds.
    pub failures: Vec<(u64, String, String)>,
}

impl Sum {
    fn add(&mut self, seed: u64, report: Report) {
        self.seeds += 1;
        self.events += report.events;
        self.acknowledged += report.acknowledged as u64;
        self.processes += report.processes;
        self.took += report.took;
        self.calm = self.calm.max((report.calm, seed));
        self.coverage.add(&report.coverage);
        if let Some(what) = report.verdict {
            self.failures.push((seed, what, report.last));
        }
    }

    /// For people.
    pub fn line(&self) -> String {
        format!(
            "{} seeds: {} messages acknowledged, {} processes, {} events, {} h of simulated time, at most {} s (seed {}) until all had arrived behind the last fault, {} failures",
            self.seeds,
            self.acknowledged,
            self.processes,
            self.events,
            self.took / 3_600_000,
            self.calm.0 / 1000,
            self.calm.1,
            self.failures.len()
        )
    }
}

/// Runs seeds from `first` on. Ends at the first failure when `stops`.
pub fn run(first: u64, until: Until, omitted: Option<&'static str>, stops: bool) -> Sum {
    let next = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let sum = Mutex::new(Sum::default());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let goes_on = match until {
                        Until::Count(count) => number < count,
                        Until::Time(end) => Instant::now() < end,
                    };
                    if !goes_on || is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let seed = first.wrapping_add(number);
                    let report = simulate(seed, omitted, false);
                    if stops && report.verdict.is_some() {
                        is_over.store(true, Ordering::Relaxed);
                    }
                    sum.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .add(seed, report);
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.failures.sort();
    sum
}
