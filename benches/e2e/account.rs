//! What the kernel says of a process.

use std::time::{Duration, Instant};

use crate::support::proc_stats::{Stats, resident};
use crate::support::threads::Work;

/// The account of a process at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    at: Instant,
    cpu: Duration,
    written: u64,
    rss: u64,
    peak_rss: u64,
}

/// What it used between two moments.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    pub seconds: f64,
    pub cpu_seconds: f64,
    /// Bytes that it caused to be written to disks.
    pub written: f64,
    /// Resident size at the later moment, bytes.
    pub rss: f64,
    /// Largest resident size up to the later moment, bytes.
    pub peak_rss: f64,
}

impl Account {
    pub fn of(pid: u32) -> Self {
        let stats = Stats::of(pid).expect("it runs");
        Self {
            at: Instant::now(),
            cpu: Work::of(pid).cpu(),
            written: stats.written,
            rss: resident(pid).expect("it runs"),
            peak_rss: stats.peak_rss,
        }
    }

    /// What was used since.
    pub fn until(&self, later: &Self) -> Used {
        Used {
            seconds: (later.at - self.at).as_secs_f64(),
            cpu_seconds: later.cpu.saturating_sub(self.cpu).as_secs_f64(),
            written: later.written.saturating_sub(self.written) as f64,
            rss: later.rss as f64,
            peak_rss: later.peak_rss as f64,
        }
    }
}

impl Used {
    pub fn cpu_per_100k(&self, messages: u64) -> f64 {
        self.cpu_seconds * 1e5 / messages as f64
    }

    pub fn cpu_percent(&self) -> f64 {
        self.cpu_seconds * 100.0 / self.seconds
    }
}

/// From now on the peak is that of what follows (proc_pid_clear_refs(5): 5 resets it).
pub fn forget_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("our own child");
}

/// Megabytes.
pub fn mb(bytes: f64) -> f64 {
    bytes / 1e6
}
