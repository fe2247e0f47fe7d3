//! This program again, with a case: for everything whose CPU, memory and bytes have to be its own.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::bridges::direct;
use crate::references;
use crate::support::process::Process;

/// What a child is to be, in JSON.
const CASE: &str = "EDGEFERRY_BENCH_CASE";

/// Whether this process is a child; it has done its work when this returns.
pub fn was_one() -> bool {
    let Ok(case) = std::env::var(CASE) else {
        return false;
    };
    // As the daemon does: it is compared with it.
    edgeferry::app::memory::settle();
    // A thread that panics leaves a process that does nothing: better none.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::abort();
    }));
    let case: Value = serde_json::from_str(&case).expect("the case is JSON");
    let folder = || Path::new(case["folder"].as_str().expect("a folder"));
    match case["role"].as_str().expect("a role") {
        "direct" => direct::run(folder()),
        "subscriber" => references::subscriber::run(&case),
        "producer" => println!("{}", references::producer::run(folder(), &case)),
        "append" => println!("{}", references::append::run(folder(), &case)),
        other => panic!("there is no role {other}"),
    }
    true
}

/// Starts one that runs beside us.
pub fn spawn(name: &'static str, case: &Value, log: &Path) -> Process {
    let program = std::env::current_exe().expect("this program has a path");
    Process::spawn(name, &program, log, |command| {
        command.env(CASE, case.to_string());
    })
}

/// Runs one to its end; what it prints.
pub fn run(case: &Value) -> Value {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program)
        .env(CASE, case.to_string())
        .output()
        .expect("this program runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case}: {errors}");
    serde_json::from_slice(&output.stdout).expect("the child prints JSON")
}
