//! What the kernel knows about a process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the memory of a process is looked at: a buffer that fills under load stays full for longer.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// A sample of `/proc/PID`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats {
    /// Largest resident size so far, bytes; with the parts of the program file that were read.
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

/// Watches the anonymous memory of a process from beginning to end. The kernel keeps no maximum of it.
#[derive(Debug)]
pub struct MemoryWatch {
    /// Dropped, it ends the thread.
    alive: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// Notes in `largest` whenever the process `pid` holds more, bytes.
    pub fn start(pid: u32, largest: Arc<AtomicU64>) -> Self {
        // Nothing is ever sent.
        let (alive, ended) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            while ended.recv_timeout(SAMPLE_EVERY) == Err(RecvTimeoutError::Timeout) {
                largest.fetch_max(anonymous(pid).unwrap_or(0), Ordering::Relaxed);
            }
        });
        Self {
            alive: Some(alive),
            thread: Some(thread),
        }
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.alive.take();
        self.thread.take().map(JoinHandle::join);
    }
}

/// Resident memory that is no part of a file: heap and stacks, bytes.
pub fn anonymous(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(number_after(&status, "RssAnon:")? * 1024)
}

/// Resident memory now, bytes; with the parts of the program file that were read.
pub fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(number_after(&status, "VmRSS:")? * 1024)
}

/// Threads of the process.
pub fn threads(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// What the process has open: files, sockets, and the like.
pub fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// The process's own ports of its TCP connections to `port` on this machine.
pub fn connections_to(pid: u32, port: u16) -> std::collections::BTreeSet<u16> {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let targets = folder
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let sockets: Vec<String> = targets
        .filter_map(|target| {
            Some(
                target
                    .to_str()?
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect();
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/{pid}/net/{table}")));
    let lines: Vec<String> = tables
        .into_iter()
        .flatten()
        .flat_map(|table| table.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let port_of = |address: &str| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok();
    // proc_net(5): local and remote address, state (01: established), and after some more the inode.
    let own = lines.iter().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_ours = sockets.iter().any(|inode| fields.get(9) == Some(&inode.as_str()));
        let is_there = *fields.get(3)? == "01" && port_of(fields.get(2)?)? == port;
        (is_ours && is_there).then(|| port_of(fields.get(1)?)).flatten()
    });
    own.collect()
}

fn number_after(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(label))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
