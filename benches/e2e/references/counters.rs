//! System calls and allocations of each thread of another process, counted by `perf`: the program runs as it is, and hardly slower.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::scratch::Scratch;
use crate::support::wait;

/// Every allocation of a program for glibc goes through one of these.
const ALLOCATORS: [&str; 3] = ["malloc", "calloc", "realloc"];
/// Our names for them, so that nobody else's are in the way.
const GROUP: &str = "edgeferry_bench";
const CALLS: &str = "raw_syscalls:sys_enter";
const SYNCS: [&str; 2] = ["syscalls:sys_enter_fdatasync", "syscalls:sys_enter_fsync"];
/// It writes a line for each thread and event when it is told to end.
const LIMIT: Duration = Duration::from_secs(20);

/// What one thread did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    pub calls: u64,
    pub syncs: u64,
    pub allocations: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.syncs += other.syncs;
        self.allocations += other.allocations;
    }
}

/// A count that goes on.
pub struct Counters {
    perf: Child,
    folder: Scratch,
}

impl Counters {
    /// Of the threads that `pid` has now, and will have. `None` where the kernel does not let us count, which is said then.
    pub fn start(pid: u32) -> Option<Self> {
        let library = library_of(pid)?;
        // Of a run that was killed.
        forget();
        for name in ALLOCATORS {
            let probe = format!("{GROUP}:{name}={name}");
            let made = perf(&["probe", "--quiet", "-x", &library, "--add", &probe]);
            if let Err(complaint) = made {
                println!("system calls and allocations are left out: {complaint}");
                forget();
                return None;
            }
        }
        let folder = Scratch::new("perf");
        let allocators = ALLOCATORS.map(|name| format!("{GROUP}:{name}"));
        let events = [
            &[CALLS],
            &SYNCS[..],
            &allocators.each_ref().map(String::as_str)[..],
        ]
        .concat();
        let child = Command::new("perf")
            .args(["stat", "--per-thread", "-x", ",", "-e", &events.join(",")])
            .args(["-p", &pid.to_string(), "-o"])
            .arg(folder.join("counts"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Some(Self {
            perf: child.expect("it has just run"),
            folder,
        })
    }

    /// What was done since, by thread.
    pub fn finish(mut self) -> BTreeMap<String, Count> {
        // It writes what it has counted when it is interrupted.
        kill_process(Pid::from_child(&self.perf), Signal::INT).expect("our own child");
        wait::until("perf writes its counts", LIMIT, || {
            self.perf.try_wait().expect("our own child")
        });
        forget();
        let text = std::fs::read_to_string(self.folder.join("counts")).unwrap_or_default();
        let mut counts = BTreeMap::<String, Count>::new();
        for line in text.lines() {
            note(line, &mut counts);
        }
        assert!(!counts.is_empty(), "perf has counted nothing: {text}");
        counts
    }
}

/// `NAME-TID,COUNT,,EVENT,…`; a thread that did nothing of a kind has `<not counted>`.
fn note(line: &str, counts: &mut BTreeMap<String, Count>) {
    let fields: Vec<&str> = line.split(',').collect();
    let [thread, count, _, event, ..] = fields[..] else {
        return;
    };
    let (Some((name, _)), Ok(count)) = (thread.rsplit_once('-'), count.parse::<u64>()) else {
        return;
    };
    let sum = counts.entry(name.to_owned()).or_default();
    match event {
        CALLS => sum.calls += count,
        event if SYNCS.contains(&event) => sum.syncs += count,
        event if event.starts_with(GROUP) => sum.allocations += count,
        _ => {}
    }
}

/// The C library that the process has loaded.
fn library_of(pid: u32) -> Option<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let paths = maps.lines().filter_map(|line| line.split_whitespace().last());
    let found = paths.into_iter().find(|path| path.ends_with("/libc.so.6"));
    if found.is_none() {
        println!("allocations are left out: process {pid} has no C library of its own");
    }
    found.map(str::to_owned)
}

fn forget() {
    let all = format!("{GROUP}:*");
    drop(perf(&["probe", "--quiet", "--del", &all]));
}

/// Runs it; its complaint when it fails.
fn perf(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("perf")
        .args(arguments)
        .output()
        .map_err(|error| format!("perf: {error}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "perf: {}",
            complaint.lines().next().unwrap_or("no reason given")
        )),
    }
}
