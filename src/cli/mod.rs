//! Arguments and verbs, thin.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::app;
use crate::exit::Exit;
use version::VERSION;

mod check;
mod pages;
mod queue;
mod reload;
mod report;
mod status;
mod text;
mod try_route;
mod verify;
mod version;

#[cfg(test)]
mod tests;

/// Carries MQTT messages from the edge into Apache Kafka without losing or reordering them.
#[derive(Debug, Parser)]
#[command(
    name = "edgeferry",
    version = VERSION,
    about,
    disable_version_flag = true,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  edgeferry check --config /etc/edgeferry/edgeferry.toml
  edgeferry --version --verbose"
)]
struct Cli {
    /// Print the version
    #[arg(long, short = 'V')]
    version: bool,
    /// With --version: also what the program was built of and for, and the store format
    #[arg(long, short, requires = "version")]
    verbose: bool,
    /// With --version --verbose: as JSON
    #[arg(long, requires = "verbose")]
    json: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon
    #[command(after_help = "Example:\n  edgeferry run --config /etc/edgeferry/edgeferry.toml")]
    Run(ConfigFile),
    /// Have the running daemon read its configuration and secrets again; says what changed, or what is wrong
    #[command(after_help = "Example:\n  edgeferry reload --config /etc/edgeferry/edgeferry.toml")]
    Reload(ConfigFile),
    /// Check a configuration file and report all problems; with --live also the topics in Kafka
    #[command(after_help = "\
Examples:
  edgeferry check --config ./edgeferry.toml
  edgeferry check --live --create-topics --partitions 12 --replicas 3")]
    Check {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        live: check::Live,
    },
    /// Show whether the data is safe and what to do: the path from brokers to Kafka, backlog, ledger; exit code 0 when it runs and
    /// is ready
    #[command(after_help = "Examples:\n  edgeferry status\n  edgeferry status --watch 5")]
    Status(status::Arguments),
    /// Write one file for support: configuration without secrets, versions, state, store
    #[command(after_help = "Example:\n  edgeferry report --output report.txt")]
    Report(report::Arguments),
    /// Show what the routes make of one message: the exact Kafka records, or why there is none; touches neither broker nor
    /// Kafka
    #[command(after_help = "\
Example:
  edgeferry try --topic plant/press-7/telemetry --payload '{\"temperature\": 21.5}'")]
    Try {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        message: Box<try_route::Arguments>,
    },
    /// Look into the queue, carry messages out and in, remove them; on a stopped store or a running daemon
    #[command(after_help = "Example:\n  edgeferry queue ls --config /etc/edgeferry/edgeferry.toml")]
    Queue(Box<queue::Arguments>),
    /// Look at messages that could not be delivered, put them back, carry them out, remove them; on a stopped store or a
    /// running daemon
    #[command(after_help = "Example:\n  edgeferry dead-letter ls --config /etc/edgeferry/edgeferry.toml")]
    DeadLetter(Box<queue::letters::Arguments>),
    /// Read the Kafka topics back, and say which messages are missing, there twice or out of order, and why
    #[command(after_help = "Example:\n  edgeferry verify --config /etc/edgeferry/edgeferry.toml --since 2h")]
    Verify(Box<verify::Arguments>),
    /// Try this configuration against Kafka outages, broker errors, a full disk and kill -9, in a scratch directory: nothing of
    /// the real brokers, Kafka and store is touched
    #[command(after_help = "Example:\n  edgeferry drill --config /etc/edgeferry/edgeferry.toml")]
    Drill(crate::drill::Arguments),
    /// Try edgeferry with an MQTT broker and a mock Kafka cluster in this process
    #[cfg(feature = "demo")]
    #[command(after_help = "Example:\n  edgeferry demo --keep")]
    Demo {
        /// Stay and keep showing what happens until interrupted
        #[arg(long)]
        keep: bool,
    },
    /// Print what a shell needs to complete verbs and options
    #[command(after_help = "\
Example, for bash:
  edgeferry completions bash > /usr/share/bash-completion/completions/edgeferry")]
    Completions {
        /// The shell
        shell: pages::Shell,
    },
    /// Print the manual page, or write it and one for each verb into a folder
    #[command(after_help = "\
Examples:
  edgeferry man | man --local-file -
  edgeferry man /usr/share/man/man1")]
    Man {
        /// Folder that is there; one file for each verb is written, replacing older ones
        folder: Option<PathBuf>,
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
        Ok(Cli { verb: Some(verb), .. }) => dispatch(&verb),
        Ok(cli) if cli.version => version::print(cli.verbose, cli.json),
        Ok(_) => explain(&Cli::command().error(
            ErrorKind::MissingSubcommand,
            "a verb is missing; edgeferry --help lists them",
        )),
        Err(error) => explain(&error),
    }
}

fn dispatch(verb: &Verb) -> Exit {
    match verb {
        Verb::Run(file) => app::run_from_file(&file.config),
        Verb::Reload(file) => reload::run(&file.config),
        Verb::Check { file, live } => check::check(&file.config, live),
        Verb::Try { file, message } => try_route::run(&file.config, message),
        Verb::Status(arguments) => status::run(arguments),
        Verb::Report(arguments) => report::run(arguments),
        Verb::Queue(arguments) => queue::run(arguments),
        Verb::DeadLetter(arguments) => queue::letters::run(arguments),
        Verb::Verify(arguments) => verify::run(arguments),
        Verb::Drill(arguments) => crate::drill::run(arguments),
        #[cfg(feature = "demo")]
        Verb::Demo { keep } => crate::demo::run(*keep),
        Verb::Completions { shell } => pages::completions(Cli::command(), *shell),
        Verb::Man { folder } => pages::manual(Cli::command(), folder.as_deref()),
    }
}

/// `--help` arrives as an error too, but it is what was asked for.
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
