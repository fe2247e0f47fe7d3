//! What the threads of a process do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// CPU and wake-ups of each thread since its beginning.
#[derive(Debug)]
pub struct Work {
    at: Instant,
    threads: BTreeMap<u32, Thread>,
}

#[derive(Debug, Clone)]
struct Thread {
    name: String,
    cpu: Duration,
    wakeups: u64,
}

impl Work {
    /// Of all threads that are there now.
    pub fn of(pid: u32) -> Self {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten();
        let ids = tasks
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self {
            at: Instant::now(),
            threads: ids.map(|id| (id, Thread::of(pid, id))).collect(),
        }
    }

    /// How many have a name that begins so.
    pub fn named(&self, beginning: &str) -> usize {
        let names = self.threads.values().map(|thread| &thread.name);
        names.filter(|name| name.starts_with(beginning)).count()
    }

    /// CPU of all of them. Exact to nanoseconds: ticks of 10 ms are too coarse for a process that has little to do.
    pub fn cpu(&self) -> Duration {
        self.threads.values().map(|thread| thread.cpu).sum()
    }

    /// What each did since `before`, by its name; threads of one name are one.
    pub fn since(&self, before: &Self) -> BTreeMap<String, Spent> {
        let mut spent = BTreeMap::<String, Spent>::new();
        for (id, thread) in &self.threads {
            let begin = before.threads.get(id);
            let sum = spent.entry(thread.name.clone()).or_default();
            sum.cpu += thread
                .cpu
                .saturating_sub(begin.map_or(Duration::ZERO, |begin| begin.cpu));
            sum.wakeups += thread.wakeups - begin.map_or(0, |begin| begin.wakeups);
        }
        spent
    }

    /// How much later this was.
    pub fn time_since(&self, before: &Self) -> Duration {
        self.at - before.at
    }
}

/// What a thread did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// On a processor.
    pub cpu: Duration,
    /// How often it waited for something.
    pub wakeups: u64,
}

impl Thread {
    fn of(pid: u32, id: u32) -> Self {
        let file = |name: &str| {
            // A thread that has ended meanwhile counts as nothing.
            std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/task/{id}")).join(name))
                .unwrap_or_default()
        };
        // Nanoseconds on a processor, of waiting, and time slices (Documentation/scheduler/sched-stats.rst).
        let schedstat = file("schedstat");
        let nanos = schedstat
            .split_whitespace()
            .next()
            .and_then(|text| text.parse().ok());
        let status = file("status");
        // A thread that begins to wait was awake before: as many as it was woken.
        let waits = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        Self {
            name: file("comm").trim().to_owned(),
            cpu: Duration::from_nanos(nanos.unwrap_or_default()),
            wakeups: waits.and_then(|waits| waits.trim().parse().ok()).unwrap_or(0),
        }
    }
}
