//! What the process holds at one moment.

use std::time::Instant;

use crate::support::daemon::Daemon;
use crate::support::proc_stats;
use crate::support::scratch::disk_bytes;
use crate::support::trend::f64_of;

#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Since the beginning.
    pub seconds: f64,
    /// Bytes, with the parts of the program that were read.
    pub resident: f64,
    pub files: f64,
    pub threads: f64,
    /// Bytes of the whole store.
    pub disk: f64,
}

impl Look {
    pub fn at(daemon: &Daemon, began: Instant) -> Self {
        let pid = daemon.id();
        Self {
            seconds: began.elapsed().as_secs_f64(),
            resident: f64_of(proc_stats::resident(pid).expect("it runs")),
            files: f64_of(proc_stats::open_files(pid) as u64),
            threads: f64_of(proc_stats::threads(pid) as u64),
            disk: f64_of(disk_bytes(&daemon.store())),
        }
    }
}
