//! `edgeferry status`: the state of the daemon, or of the store that it left.
//!
//! `ask` finds out, `print` says it to people, `stopped` looks at a store on which nobody runs. Nothing is locked and nothing
//! is written, so it can be asked at any moment, also while a daemon starts.

pub(super) mod ask;
mod failure;
mod holder;
mod print;
mod stopped;
mod watch;

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;

use super::ConfigFile;
use crate::config;
use crate::exit::Exit;
use ask::Found;
use failure::AskError;

/// Between two looks of `--watch`, seconds, at most. More often than once a second nothing changes.
const WATCH_MAX_S: u64 = 3600;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Go on and show it anew every so many seconds, until interrupted
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=WATCH_MAX_S)
    )]
    watch: Option<u64>,
    /// Answer in JSON (docs/status.md); with --watch a line for each look
    #[arg(long)]
    json: bool,
}

/// Does what the command line says. 0: it runs and is ready.
pub(super) fn run(arguments: &Arguments) -> Exit {
    crate::ops::logging::init_quiet();
    let config = match config::load(&arguments.file.config) {
        Ok((config, _)) => config,
        Err(error) => {
            say(&error.to_string());
            return Exit::Usage;
        }
    };
    let outcome = match arguments.watch {
        Some(seconds) => watch::run(&config, Duration::from_secs(seconds), arguments.json),
        None => once(&config, arguments.json),
    };
    outcome.unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::BrokenPipe {
            say(&format!("cannot show the state: {error}"));
        }
        Exit::Failure
    })
}

fn once(config: &config::Config, json: bool) -> io::Result<Exit> {
    match ask::ask(&config.gateway.data_dir) {
        Ok(found) => {
            let mut text = rendered(&found, json)?;
            text.push('\n');
            let mut out = io::stdout().lock();
            out.write_all(text.trim_end_matches('\n').as_bytes())?;
            writeln!(out)?;
            out.flush()?;
            Ok(found.exit())
        }
        Err(error) => {
            say(&error.to_string());
            Ok(AskError::EXIT)
        }
    }
}

/// For people, or as one line of JSON.
fn rendered(found: &Found, json: bool) -> io::Result<String> {
    Ok(match (found, json) {
        (Found::Running(state), true) => serde_json::to_string(state)?,
        (Found::Stopped(store), true) => serde_json::to_string(store)?,
        (Found::Running(state), false) => print::running(state),
        (Found::Stopped(store), false) => print::stopped(store),
    })
}

/// Without a standard error there is nobody to tell.
pub(super) fn say(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}
