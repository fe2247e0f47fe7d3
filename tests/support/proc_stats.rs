//! What the kernel knows about a process.

use std::time::Duration;

/// A sample of `/proc/PID`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats {
    /// Largest resident size so far, bytes.
    pub peak_rss: u64,
    /// CPU time, user and system.
    pub cpu: Duration,
    /// Bytes that it caused to be written to disks.
    pub written: u64,
}

impl Stats {
    /// Reads the sample, if the process lives.
    pub fn of(pid: u32) -> Option<Self> {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        let peak_kib = number_after(&read("status")?, "VmHWM:")?;
        let written = number_after(&read("io")?, "write_bytes:")?;
        // The second field is the program's name in parentheses and may hold spaces; counting starts behind.
        let stat = read("stat")?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        let cpu = Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second());
        Some(Self {
            peak_rss: peak_kib * 1024,
            cpu,
            written,
        })
    }
}

fn number_after(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(label))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
