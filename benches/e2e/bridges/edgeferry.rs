//! The daemon itself, the release binary.

use std::ffi::OsString;
use std::time::Duration;

use super::{Bridge, Place, Settings};
use crate::support::daemon::Daemon;
use crate::support::process::program;
use crate::support::program::Program;

/// Far more than queueing takes; only failures wait so long.
const LIMIT: Duration = Duration::from_mins(3);

/// See the module documentation.
pub struct Edgeferry {
    daemon: Daemon,
}

impl Edgeferry {
    pub fn new(settings: &Settings, place: Place<'_>) -> Self {
        let mut daemon = Daemon::configured(&settings.config(place));
        if settings.sync_delay_ms > 0 {
            daemon.change_program(&Program::native().run_by(slow_card(settings.sync_delay_ms)));
        }
        Self { daemon }
    }
}

impl Bridge for Edgeferry {
    fn start(&mut self) {
        self.daemon.launch();
    }

    fn stop(&mut self) {
        self.daemon.terminate();
    }

    fn id(&self) -> u32 {
        self.daemon.id()
    }

    fn until_queued(&self, messages: u64) {
        self.daemon
            .notify()
            .until_status("the backlog is queued", LIMIT, |status| {
                backlog(status) >= messages
            });
    }
}

/// The number behind the word in what it tells the service manager.
fn backlog(status: &str) -> u64 {
    let behind = status.split_once("backlog ").map_or("", |(_, behind)| behind);
    let end = behind.find(|letter: char| !letter.is_ascii_digit());
    behind[..end.unwrap_or(behind.len())].parse().unwrap_or(0)
}

/// A card on which each sync takes so much longer: `strace` holds whoever returns from one, and nobody else. It stands beside the
/// process (`-D`), which so has its own id, and the kernel wakes it for these two calls alone (`--seccomp-bpf`): all others cost
/// what they cost without it. What is measured is the shipped binary.
fn slow_card(delay_ms: u64) -> Vec<OsString> {
    let inject = format!("inject=fdatasync,fsync:delay_exit={}", delay_ms * 1_000);
    let arguments = [
        "-D",
        "-f",
        "--seccomp-bpf",
        "--quiet=all",
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync,fsync",
        "-e",
        &inject,
        "--",
    ];
    let mut words = vec![program("strace").into_os_string()];
    words.extend(arguments.map(OsString::from));
    words
}
