//! Arguments and verbs, thin.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::app;
use crate::exit::Exit;

mod check;
mod queue;
mod report;
mod status;
mod text;
mod try_route;

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
    /// Check a configuration file and report all problems; with --live also the topics in Kafka
    Check {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        live: check::Live,
    },
    /// Show whether the data is safe and what to do: the path from brokers to Kafka, backlog, ledger; exit code 0 when it runs and
    /// is ready
    Status(status::Arguments),
    /// Write one file for support: configuration without secrets, versions, state, store
    Report(report::Arguments),
    /// Show what the routes make of one message: the exact Kafka records, or why there is none; touches neither broker nor
    /// Kafka
    Try {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        message: Box<try_route::Arguments>,
    },
    /// Look into the queue, carry messages out and in, remove them; on a stopped store or a running daemon
    Queue(Box<queue::Arguments>),
    /// Look at messages that could not be delivered, put them back, carry them out, remove them; on a stopped store or a
    /// running daemon
    DeadLetter(Box<queue::letters::Arguments>),
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
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "/etc/edgeferry/edgeferry.toml"
    )]
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
        Verb::Check { file, live } => check::check(&file.config, live),
        Verb::Try { file, message } => try_route::run(&file.config, message),
        Verb::Status(arguments) => status::run(arguments),
        Verb::Report(arguments) => report::run(arguments),
        Verb::Queue(arguments) => queue::run(arguments),
        Verb::DeadLetter(arguments) => queue::letters::run(arguments),
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
