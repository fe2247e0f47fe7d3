//! The configuration file as its users meet it: what is wrong with it, what is doubtful, and what it means. One module for each part of
//! the file, one for its text, one for the files that are shipped, and one for the verb that looks at it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod command;
mod gateway;
mod kafka;
mod lanes;
mod mqtt;
mod routes;
mod shipped;
mod text;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use edgeferry::config::{self, Config, LoadError};

// Parts of a file without mistakes; tests put lines of their own between them.
const ROUTE: &str = "[[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"telemetry\"\n";
const REST: &str = "[gateway]\ndata_dir = \"/tmp/edgeferry\"\n[[mqtt]]\nurl = \"mqtt://localhost\"\n";
const KAFKA: &str = "[kafka]\nbootstrap_servers = [\"localhost:9092\"]\n";

/// All problems of a text that must not load.
fn refused(text: &str) -> String {
    match config::parse(Path::new("config.toml"), text) {
        Err(LoadError::Invalid(problems)) => {
            assert!(!problems.is_empty(), "refused without a reason");
            problems.iter().fold(String::new(), |mut lines, problem| {
                writeln!(lines, "{problem}").unwrap();
                lines
            })
        }
        other => panic!("expected problems, got {other:?}"),
    }
}

/// The configuration and all warnings of a text that must load.
fn accepted(text: &str) -> (Config, String) {
    match config::parse(Path::new("config.toml"), text) {
        Ok((config, warnings)) => {
            let lines: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            (config, lines.join("\n"))
        }
        Err(error) => panic!("expected no problems, got\n{error}"),
    }
}

/// The one problem of a file that is right except for these lines.
fn check(mqtt: &str, kafka: &str, route: &str) -> String {
    let text = refused(&format!("{REST}{mqtt}{KAFKA}{kafka}{ROUTE}{route}"));
    assert_eq!(text.lines().count(), 1, "{text}");
    let (_, problem) = text.trim_end().split_once(": ").unwrap();
    problem.to_owned()
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgeferry"))
        .args(arguments)
        .output()
        .unwrap()
}
