//! Arguments and verbs, thin.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app;

mod check;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked to, or was asked to stop.
    Stopped = 0,
    /// Something else went wrong; a restart may help.
    Failure = 1,
    /// The command line or the configuration is wrong.
    Usage = 64,
    /// The store cannot be used.
    Storage = 74,
    /// Another gateway with the same identity took over: a restart would take it back.
    Fenced = 75,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Carries MQTT messages from the edge into Apache Kafka without losing or reordering them.
#[derive(Debug, Parser)]
#[command(name = "edgeferry", version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon
    Run(ConfigFile),
    /// Check a configuration file and report all problems
    Check(ConfigFile),
    /// Try edgeferry with an MQTT broker and a mock Kafka cluster in this process
    #[cfg(feature = "demo")]
    Demo {
        /// Stay and keep showing what happens until interrupted
        #[arg(long)]
        keep: bool,
    },
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/edgeferry/edgeferry.toml")]
    config: PathBuf,
}

/// Does what the command line says. The first argument is the program's name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(&cli.verb),
        Err(error) => explain(&error),
    }
}

fn dispatch(verb: &Verb) -> Exit {
    match verb {
        Verb::Run(file) => app::run_from_file(&file.config),
        Verb::Check(file) => check::check(&file.config),
        #[cfg(feature = "demo")]
        Verb::Demo { keep } => crate::demo::run(*keep),
    }
}

/// `--help` and `--version` arrive as errors too, but they are what was asked for.
fn explain(error: &clap::Error) -> Exit {
    if error.print().is_err() {
        return Exit::Failure;
    }
    if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Stopped
    }
}
