//! What the kernel says of a process.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::threads::{Spent, Work};

/// Memory at one moment, bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Resident, with the parts of the program and its libraries that were read.
    pub rss: u64,
    /// The same, with what several processes share counted in parts.
    pub pss: u64,
    /// Heap and stacks.
    pub anonymous: u64,
    /// Largest resident size since [`forget_peak`].
    pub peak: u64,
    pub threads: u64,
}

impl Memory {
    pub fn of(pid: u32) -> Self {
        let status = read(pid, "status");
        let rollup = read(pid, "smaps_rollup");
        Self {
            rss: number(&status, "VmRSS:") * 1024,
            pss: number(&rollup, "Pss:") * 1024,
            anonymous: number(&status, "RssAnon:") * 1024,
            peak: number(&status, "VmHWM:") * 1024,
            threads: number(&status, "Threads:"),
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "rss": self.rss, "pss": self.pss, "anonymous": self.anonymous, "peak_rss": self.peak, "threads": self.threads,
        })
    }
}

/// From now on the peak is that of what follows (proc_pid_clear_refs(5): 5 resets it).
pub fn forget_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("our own child");
}

/// What happened between two looks.
#[derive(Debug)]
pub struct Rest {
    /// Share of one core, percent.
    pub cpu_percent: f64,
    /// In a second, all threads.
    pub wakeups: f64,
    /// In a second and percent of a core, by the name of the thread.
    pub threads: BTreeMap<String, (f64, f64)>,
}

impl Rest {
    pub fn between(before: &Work, after: &Work) -> Self {
        let seconds = after.time_since(before).as_secs_f64();
        let rates = |spent: Spent| {
            let cpu = spent.cpu.as_secs_f64() * 100.0 / seconds;
            (spent.wakeups as f64 / seconds, cpu)
        };
        let threads = after.since(before).into_iter();
        let threads: BTreeMap<_, _> = threads.map(|(name, spent)| (name, rates(spent))).collect();
        Self {
            cpu_percent: threads.values().map(|(_, cpu)| cpu).sum(),
            wakeups: threads.values().map(|(wakeups, _)| wakeups).sum(),
            threads,
        }
    }
}

fn read(pid: u32, file: &str) -> String {
    // A thread that has ended meanwhile counts as nothing.
    std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}")).join(file)).unwrap_or_default()
}

fn number(text: &str, label: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
