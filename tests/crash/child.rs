//! Processes of our own: this test binary again, told by its environment what to be.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::support::process::Process;
use crate::{drain, letters, load, rig};

/// What a process is told to do, as JSON.
const ORDERS: &str = "EDGEFERRY_CRASH_ORDERS";

/// What to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Orders {
    /// Work on a store until killed or done.
    Load(load::Orders),
    /// Open a store, read all of it, and write down what was found.
    Drain(drain::Orders),
    /// Keep, drop and remove dead letters until killed or done.
    Letters(letters::Orders),
    /// Cut the power, in a mount namespace of its own.
    Cut(rig::Orders),
}

/// What such a process runs. Without orders it is an empty test.
#[test]
fn a_process_of_its_own() {
    let Ok(orders) = std::env::var(ORDERS) else {
        return;
    };
    match serde_json::from_str(&orders).expect("our own orders") {
        Orders::Load(orders) => load::run(&orders),
        Orders::Drain(orders) => drain::run(&orders),
        Orders::Letters(orders) => letters::run(&orders),
        Orders::Cut(orders) => rig::run(&orders),
    }
}

/// Starts a process that does not outlive this one, with further variables in its environment.
pub fn start(name: &'static str, log: &Path, orders: &Orders, environment: &[(&str, String)]) -> Process {
    Process::spawn(name, &program(), log, |command| {
        command.args(ARGUMENTS).env(ORDERS, encoded(orders));
        command.envs(environment.iter().map(|(name, value)| (name, value)));
    })
}

/// Makes `command`, which runs what stands behind it, run a process with these orders.
pub fn append_to(command: &mut Command, orders: &Orders) {
    command
        .arg(program())
        .args(ARGUMENTS)
        .env(ORDERS, encoded(orders));
}

const ARGUMENTS: [&str; 3] = ["--exact", "child::a_process_of_its_own", "--nocapture"];

fn program() -> PathBuf {
    std::env::current_exe().expect("a running program has a name")
}

fn encoded(orders: &Orders) -> String {
    serde_json::to_string(orders).expect("plain data")
}
