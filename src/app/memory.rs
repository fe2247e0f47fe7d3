//! Keeps the C library's allocator from hoarding.
//!
//! The stages hand memory from thread to thread, and glibc gives each thread an arena of its own that keeps what other
//! threads free into it. One arena for all took 23 MB off; `docs/decisions/0004-memory.md` has the figures and what
//! was tried instead.
//!
//! glibc reads these settings only from the environment at the start of a process, so the daemon starts itself once
//! more with them. The process id stays, so the service manager does not notice.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Settings of glibc's allocator (mallopt(3)). Other C libraries ignore them. A trim threshold of 64 KiB instead of 4 MiB
/// saves one megabyte and costs a third of the throughput (measured).
const SETTINGS: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_TRIM_THRESHOLD_", "4194304"),
    ("MALLOC_TOP_PAD_", "1048576"),
];

/// Starts this program again with the settings, unless somebody has set them already. Returns only when there is
/// nothing to do or it cannot be done: then the daemon runs with more memory.
pub fn settle() {
    if SETTINGS.iter().any(|(name, _)| std::env::var_os(name).is_some()) {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut again = Command::new(program);
    again.args(std::env::args_os().skip(1)).envs(SETTINGS);
    if let Some(name) = std::env::args_os().next() {
        again.arg0(name);
    }
    let error = again.exec();
    tracing::warn!(%error, "cannot settle the allocator; the daemon takes more memory");
}
