//! `./dev bench queue`: how much the queue writes, how fast it commits, and what a long backlog costs.
//!
//! Each figure comes from a process of its own (this program again, with an argument), so that memory and bytes written are
//! of that case alone. They go through the library like the daemon does, with the daemon's settings for the allocator.
//!
//! **Written** is `write_bytes` of `/proc/self/io`, what the daemon shows too. **Device** is what the block device under the
//! folder took, with the file system's journal and with everybody else's writes: read it on an idle machine, or on a file
//! system of its own (`EDGEFERRY_BENCH_DIR`).
//!
//! Prints tables and writes `target/bench/queue.json`. `EDGEFERRY_BACKLOG` is the length of the backlog (20,000,000).

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints, and what it measures with fails by panicking"
)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "counts and bytes of one run are far below 2⁵²"
)]

mod backlog;
mod lane;
mod measure;
#[path = "../../tests/support/mod.rs"]
mod support;
mod wear;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// The case to measure, in a child.
const CASE: &str = "EDGEFERRY_BENCH_CASE";

fn main() {
    edgeferry::app::memory::settle();
    if let Ok(case) = std::env::var(CASE) {
        println!("{}", run(&serde_json::from_str(&case).expect("the case is JSON")));
        return;
    }
    let folder = folder();
    println!("in {}\n", folder.display());
    let result = json!({
        "wear": wear::table(&folder),
        "commits": wear::commits(&folder),
        "backlog": backlog::table(&folder),
    });
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    let path = target().join("bench").join("queue.json");
    let text = serde_json::to_string_pretty(&result).expect("plain data");
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("the target folder is writable");
    std::fs::write(&path, text + "\n").expect("the target folder is writable");
    println!("written to {}", path.display());
}

fn run(case: &Value) -> Value {
    let what = case["what"].as_str().expect("says what");
    if what == "wear" {
        wear::measure(case)
    } else {
        backlog::measure(case)
    }
}

/// Measures a case in a process of its own.
fn child(case: &Value) -> Value {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program)
        .env(CASE, case.to_string())
        .output()
        .expect("this program runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case}: {errors}");
    serde_json::from_slice(&output.stdout).expect("the child prints JSON")
}

/// Where the queues go: on a disk, because memory does not wear.
fn folder() -> PathBuf {
    let base = std::env::var_os("EDGEFERRY_BENCH_DIR").map_or_else(|| target().join("bench"), PathBuf::from);
    let folder = base.join("queue-bench");
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

fn target() -> PathBuf {
    // Cargo's folder for temporary files lies in the target folder, wherever that is.
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("it has a parent").to_owned()
}
