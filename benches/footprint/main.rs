//! `./dev bench footprint`: what the daemon takes on a gateway. Real Mosquitto, real Kafka, the release binary without the demo:
//! what a package has in it. `EDGEFERRY_BIN` names another binary.
//!
//! * **start**: exec to READY=1 (`NOTIFY_SOCKET`), with an empty and with a long queue, the latter also after its files were
//!   taken out of the page cache.
//! * **memory**: at rest after the first hundred messages, the peak and the CPU at 5,000 messages a second, and at rest
//!   after that; each variant in turn.
//! * **backlog**: the same during an outage of Kafka, and while what has gathered is delivered.
//! * **idle**: all variants at the same time, each a process of its own: CPU and wake-ups.
//!
//! CPU and wake-ups are the kernel's account of the process (`/proc/PID/task/*/schedstat` and `status`), so they hold on a
//! machine that does something else as well; times to READY do not. Rates are of the whole machine.
//!
//! Prints tables and writes `target/bench/footprint.json`. `--quick` is a short form; see [`options`] for more.

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

mod fleet;
mod goals;
mod idle;
mod memory;
mod options;
mod sample;
mod start;
#[path = "../../tests/support/mod.rs"]
mod support;
mod variant;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use goals::Goals;
use options::{Options, Section};
use support::daemon::binary;
use variant::Parts;

fn main() {
    let options = Options::from_arguments(std::env::args().skip(1)).unwrap_or_else(|complaint| {
        eprintln!("footprint: {complaint}\n{}", options::USAGE);
        std::process::exit(64);
    });
    let mut goals = Goals::default();
    let mut result = json!({ "program": program(&mut goals) });
    if options.has(Section::Start) {
        result["start"] = start::table(&options, &mut goals);
    }
    if [Section::Memory, Section::Backlog, Section::Idle]
        .iter()
        .any(|section| options.has(*section))
    {
        let mut parts = Parts::start();
        if options.has(Section::Memory) {
            result["memory"] = memory::table(&parts, &options, &mut goals);
        }
        if options.has(Section::Idle) {
            result["idle"] = idle::table(&parts, &options, &mut goals);
        }
        if options.has(Section::Backlog) {
            result["backlog"] = memory::backlog(&mut parts, &options, &mut goals);
        }
    }
    result["goals"] = goals.print();
    let path = target().join("bench").join("footprint.json");
    let text = serde_json::to_string_pretty(&result).expect("plain data");
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("the target folder is writable");
    std::fs::write(&path, text + "\n").expect("the target folder is writable");
    println!("\nwritten to {}", path.display());
}

/// What is measured: its size, and what it says of itself.
fn program(goals: &mut Goals) -> Value {
    let path = binary();
    let bytes = path.metadata().expect("the binary is there").len();
    let output = Command::new(&path)
        .args(["--version", "--verbose", "--json"])
        .output()
        .expect("the binary runs");
    // Only a binary from before there was this option says nothing: to be compared with.
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let has_demo = facts["features"]
        .as_array()
        .is_some_and(|features| features.iter().any(|feature| feature == "demo"));
    println!("{}: {:.2} MB", path.display(), bytes as f64 / 1e6);
    println!("target {}, commit {}", facts["target"], facts["commit"]);
    if has_demo {
        println!("it has the demo in it, which no package has: cargo build --release --no-default-features");
    }
    println!();
    goals.note("program file, MB", bytes as f64 / 1e6, 10.0);
    json!({ "bytes": bytes, "facts": facts })
}

fn target() -> std::path::PathBuf {
    // Cargo's folder for temporary files lies in the target folder, wherever that is.
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("it has a parent").to_owned()
}
