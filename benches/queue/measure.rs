//! What a case cost.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use crate::support::proc_stats::{Stats, anonymous};

/// The account at one moment.
pub struct Start {
    at: Instant,
    stats: Stats,
    device: Option<u64>,
}

/// What was used since.
pub struct Used {
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub written: u64,
    /// `None` when the folder lies on no block device.
    pub device: Option<u64>,
}

fn stats() -> Stats {
    Stats::of(std::process::id()).expect("/proc is there")
}

impl Start {
    pub fn now(folder: &Path) -> Self {
        rustix::fs::sync();
        Self {
            at: Instant::now(),
            stats: stats(),
            device: device(folder),
        }
    }

    pub fn used(&self, folder: &Path) -> Used {
        let seconds = self.at.elapsed().as_secs_f64();
        rustix::fs::sync();
        let now = stats();
        Used {
            seconds,
            cpu_seconds: now.cpu.saturating_sub(self.stats.cpu).as_secs_f64(),
            written: now.written - self.stats.written,
            device: device(folder).zip(self.device).map(|(now, then)| now - then),
        }
    }
}

/// Largest resident memory of this process so far, bytes.
pub fn peak_rss() -> u64 {
    stats().peak_rss
}

/// Heap and stacks now, bytes.
pub fn heap() -> u64 {
    anonymous(std::process::id()).expect("/proc is there")
}

/// Bytes written to the block device under `folder`, by anybody.
fn device(folder: &Path) -> Option<u64> {
    let dev = std::fs::metadata(folder).ok()?.dev();
    let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
    let stat = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    // The seventh field counts sectors of 512 bytes (Documentation/block/stat.rst).
    let sectors: u64 = stat.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * 512)
}

/// Space that the files below `folder` take, bytes.
pub fn disk(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("reads the folder");
    entries
        .map(|entry| {
            let path = entry.expect("reads the folder").path();
            let metadata = path.symlink_metadata().expect("is there");
            let own = metadata.blocks() * 512;
            if metadata.is_dir() { own + disk(&path) } else { own }
        })
        .sum()
}
