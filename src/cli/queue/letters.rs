//! `edgeferry dead-letter …`: arguments.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::access::{self, Failure};
use super::bounds::message_id;
use super::print::Printer;
use super::{Filters, file};
use crate::cli::ConfigFile;
use crate::exit::Exit;
use crate::ops::hand::{LetterFilter, Verb};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
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
    /// Say which dead letters each lane has: counts, ages, space, reasons, drops
    #[command(after_help = "Example:\n  edgeferry dead-letter ls")]
    Ls {
        /// Only of this lane
        #[arg(long)]
        lane: Option<String>,
    },
    /// Show everything of one dead letter
    #[command(after_help = "Example:\n  edgeferry dead-letter show 0123456789abcdef-default-4711")]
    Show {
        /// Message id, as `export` and the header edgeferry-id have it
        id: String,
    },
    /// Put dead letters back into their lane's queue; they keep their ids and come behind what is queued
    #[command(after_help = "Example:\n  edgeferry dead-letter redrive --reason oversize")]
    Redrive {
        #[command(flatten)]
        filter: LetterFilters,
        /// All dead letters, when no filter is given
        #[arg(long)]
        all: bool,
        /// The lane that takes them, instead of the one that they come from
        #[arg(long, value_name = "LANE")]
        into: Option<String>,
    },
    /// Write dead letters to a portable file (docs/export-format.md), with their reasons; they stay
    #[command(after_help = "Example:\n  edgeferry dead-letter export --output letters.jsonl")]
    Export {
        #[command(flatten)]
        filter: LetterFilters,
        /// At most so many
        #[arg(long, value_name = "COUNT")]
        limit: Option<u64>,
        /// File to write, whole or not at all; standard output without it
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Remove dead letters; without --yes only say which
    #[command(after_help = "Example:\n  edgeferry dead-letter purge --since '2h ago'")]
    Purge {
        #[command(flatten)]
        filter: LetterFilters,
        /// All dead letters, when no filter is given
        #[arg(long)]
        all: bool,
        /// Remove them
        #[arg(long)]
        yes: bool,
    },
}

/// Which dead letters: all that is given must hold.
#[derive(Debug, Args)]
struct LetterFilters {
    /// Of this lane
    #[arg(long)]
    lane: Option<String>,
    /// Of this device: the Kafka key that the routes make
    #[arg(long, value_name = "KEY")]
    device: Option<String>,
    /// With an MQTT topic that matches this filter, with + and #
    #[arg(long, value_name = "FILTER")]
    topic: Option<String>,
    /// With a reason of this name, as `ls` has it
    #[arg(long, value_name = "NAME")]
    reason: Option<String>,
    /// With this message id; may be given several times
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// That arrived at this time or later: "2026-05-01T12:00:00Z", "2h ago"
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// That arrived before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl LetterFilters {
    fn resolve(&self) -> Result<LetterFilter, Failure> {
        for id in &self.id {
            message_id("--id", id)?;
        }
        let message = Filters {
            lane: self.lane.clone(),
            device: self.device.clone(),
            topic: self.topic.clone(),
            from: None,
            to: None,
            since: self.since.clone(),
            until: self.until.clone(),
        };
        Ok(LetterFilter {
            message: message.resolve()?,
            reason: self.reason.clone(),
            ids: self.id.clone(),
        })
    }

    /// The same for `verb`, which means all letters only when that is said.
    fn resolve_or_all(&self, verb: &str, all: bool) -> Result<LetterFilter, Failure> {
        let filter = self.resolve()?;
        let mut rest = filter.clone();
        rest.message.lane = None;
        let everything = rest == LetterFilter::default();
        match (everything, all) {
            (true, false) => Err(Failure::Usage(format!(
                "{verb} without a filter would mean every dead letter; write a filter, or --all"
            ))),
            (false, true) => Err(Failure::Usage(
                "--all means every dead letter; leave it away to use the filter".to_owned(),
            )),
            _ => Ok(filter),
        }
    }
}

/// Does what the command line says.
pub(in crate::cli) fn run(arguments: &Arguments) -> Exit {
    access::told(|| try_run(arguments))
}

fn try_run(arguments: &Arguments) -> Result<Exit, Failure> {
    let mut printer = Printer::new(arguments.json);
    let mut to_file = None;
    let verb = match &arguments.command {
        Command::Ls { lane } => Verb::Letters { lane: lane.clone() },
        Command::Show { id } => {
            message_id("the id", id)?;
            Verb::ShowLetter { id: id.clone() }
        }
        Command::Redrive { filter, all, into } => Verb::Redrive {
            filter: filter.resolve_or_all("redrive", *all)?,
            into: into.clone(),
        },
        Command::Export {
            filter,
            limit,
            output,
        } => {
            to_file = Some(output.as_deref());
            Verb::ExportLetters {
                filter: filter.resolve()?,
                limit: *limit,
            }
        }
        Command::Purge { filter, all, yes } => Verb::PurgeLetters {
            filter: filter.resolve_or_all("purge", *all)?,
            yes: *yes,
        },
    };
    let config = access::load(&arguments.file.config)?;
    match to_file {
        Some(output) => file::write(output, &mut printer, |answers| {
            access::ask(&config, &verb, None, answers)
        }),
        None => access::ask(&config, &verb, None, &mut |answer| printer.print(answer)),
    }
}
