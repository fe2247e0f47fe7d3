//! `edgeferry queue …`: arguments, and where the answers come from.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ConfigFile;
use crate::exit::Exit;
use crate::message::Seq;
use crate::ops::hand::{Salvage, Site, Verb};
use crate::queue::seal::Keys;

pub(in crate::cli) mod access;
pub(in crate::cli) mod bounds;
mod file;
pub(super) mod letters;
pub(in crate::cli) mod print;

use access::Failure;
use print::Printer;

/// Messages that `peek` shows without being asked for more: a screen.
const PEEK_LIMIT: u64 = 20;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Answer in JSON lines
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say how each lane stands: counts, ages, space, generations
    #[command(after_help = "Example:\n  edgeferry queue ls --json")]
    Ls {
        /// Only this lane
        #[arg(long)]
        lane: Option<String>,
    },
    /// Show queued messages
    #[command(after_help = "Example:\n  edgeferry queue peek --device press-7 --limit 5 --payload")]
    Peek {
        #[command(flatten)]
        filter: Filters,
        /// At most so many
        #[arg(long, value_name = "COUNT", default_value_t = PEEK_LIMIT)]
        limit: u64,
        /// Whole payloads instead of their first bytes
        #[arg(long)]
        payload: bool,
    },
    /// Write queued messages to a portable file (docs/export-format.md); they stay in the queue
    #[command(after_help = "Example:\n  edgeferry queue export --lane alarms --output alarms.jsonl")]
    Export {
        #[command(flatten)]
        filter: Filters,
        /// At most so many
        #[arg(long, value_name = "COUNT")]
        limit: Option<u64>,
        /// File to write, whole or not at all; standard output without it
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Take the messages of an exported file into the queue; they keep their ids, and importing twice adds nothing
    #[command(after_help = "Example:\n  edgeferry queue import alarms.jsonl --into default")]
    Import {
        /// An exported file
        file: PathBuf,
        /// The lane that takes them, instead of the one of the same name
        #[arg(long, value_name = "LANE")]
        into: Option<String>,
        /// Also take what this store imported or delivered before
        #[arg(long)]
        again: bool,
        /// Take what is legible of a file that was changed or damaged
        #[arg(long)]
        damaged: bool,
    },
    /// Read everything, and say what is wrong; exit code 74 when something is
    #[command(after_help = "Example:\n  edgeferry queue verify --lane default")]
    Verify {
        /// Only this lane
        #[arg(long)]
        lane: Option<String>,
    },
    /// Write the messages in raw bytes to a portable file: a copied store, a card in a reader, an image of one
    #[command(
        after_help = "Example:\n  edgeferry queue salvage /mnt/card/var/lib/edgeferry --output salvaged.jsonl"
    )]
    Salvage(Raw),
    /// Remove queued messages and count them as purged; without --yes only say which
    #[command(after_help = "\
Examples:
  edgeferry queue purge --topic 'plant/+/debug'
  edgeferry queue purge --topic 'plant/+/debug' --yes")]
    Purge {
        #[command(flatten)]
        filter: Filters,
        /// All queued messages, when no filter is given
        #[arg(long)]
        all: bool,
        /// Remove them
        #[arg(long)]
        yes: bool,
    },
}

/// Raw bytes, and what is wanted of them.
#[derive(Debug, Args)]
struct Raw {
    /// A store, the folder of a lane, or anything that has bytes of one; nothing is written there
    path: PathBuf,
    /// Name of the lane, where the path does not say it; it is part of the ids
    #[arg(long)]
    lane: Option<String>,
    /// Id of the gateway, where the path does not say it
    #[arg(long, value_name = "ID")]
    gateway: Option<String>,
    /// From this sequence on
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    from: u64,
    /// Up to and with this sequence
    #[arg(long, value_name = "SEQ", default_value_t = u64::MAX, hide_default_value = true)]
    to: u64,
    /// Also what the store knows as delivered
    #[arg(long)]
    delivered: bool,
    /// A key that opens what is sealed; may be given several times
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// File to write, whole or not at all; standard output without it
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Which messages: all that is given must hold.
#[derive(Debug, Args)]
struct Filters {
    /// Of this lane
    #[arg(long)]
    lane: Option<String>,
    /// Of this device: the Kafka key that the routes make
    #[arg(long, value_name = "KEY")]
    device: Option<String>,
    /// With an MQTT topic that matches this filter, with + and #
    #[arg(long, value_name = "FILTER")]
    topic: Option<String>,
    /// From this sequence or message id on
    #[arg(long, value_name = "SEQ|ID")]
    from: Option<String>,
    /// Up to and with this sequence or message id
    #[arg(long, value_name = "SEQ|ID")]
    to: Option<String>,
    /// That arrived at this time or later: "2026-05-01T12:00:00Z", "2h ago"
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// That arrived before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// Does what the command line says.
pub(super) fn run(arguments: &Arguments) -> Exit {
    access::told(|| try_run(arguments))
}

fn try_run(arguments: &Arguments) -> Result<Exit, Failure> {
    let mut printer = Printer::new(arguments.json);
    let verb = match &arguments.command {
        Command::Salvage(raw) => return salvage(raw, &mut printer),
        Command::Export {
            filter,
            limit,
            output,
        } => {
            let (filter, limit) = (filter.resolve()?, *limit);
            let config = access::load(&arguments.file.config)?;
            let verb = Verb::Export { filter, limit };
            return file::write(output.as_deref(), &mut printer, |answers| {
                access::ask(&config, &verb, None, answers)
            });
        }
        Command::Import {
            file,
            into,
            again,
            damaged,
        } => {
            let (into, again) = (into.clone(), *again);
            let config = access::load(&arguments.file.config)?;
            let mut input = file::checked(file, *damaged)?;
            let verb = Verb::Import { into, again };
            return access::ask(&config, &verb, Some(&mut input), &mut |answer| {
                printer.print(answer)
            });
        }
        Command::Ls { lane } => Verb::List { lane: lane.clone() },
        Command::Verify { lane } => Verb::Verify { lane: lane.clone() },
        Command::Peek {
            filter,
            limit,
            payload,
        } => Verb::Peek {
            filter: filter.resolve()?,
            limit: *limit,
            payload: *payload,
        },
        Command::Purge { filter, all, yes } => Verb::Purge {
            filter: filter.for_purge(*all)?,
            yes: *yes,
        },
    };
    let config = access::load(&arguments.file.config)?;
    access::ask(&config, &verb, None, &mut |answer| printer.print(answer))
}

/// Needs no configuration: what is salvaged may be of another machine.
fn salvage(raw: &Raw, printer: &mut Printer) -> Result<Exit, Failure> {
    let keys = Keys::load(None, &raw.key_file).map_err(|error| Failure::Usage(error.to_string()))?;
    let wanted = Salvage {
        from: Seq(raw.from),
        to: Seq(raw.to),
        delivered: raw.delivered,
        keys,
    };
    let sites = Site::find(&raw.path, raw.lane.as_deref(), raw.gateway.as_deref())?;
    file::write(raw.output.as_deref(), printer, |answers| {
        Ok(wanted.run(&sites, answers)?)
    })
}
