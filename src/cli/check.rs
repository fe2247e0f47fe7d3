//! `edgeferry check`: the file and those it names, and with `--live` what the MQTT brokers and Kafka say to it.

use std::io::{self, Write};
use std::path::Path;

use clap::Args;

use crate::config::{self, LoadError};
use crate::exit::Exit;
use crate::settings::Problem;
use files::Finding;

mod brokers;
mod files;
mod judge;
mod live;
mod wanted;

/// What is looked at beside the file.
#[derive(Debug, Args)]
pub(super) struct Live {
    /// Connect too: whether the MQTT brokers let edgeferry in, which topics Kafka has, and whether they can hold what is sent
    #[arg(long = "live", id = "live")]
    is_wanted: bool,

    /// Answer in JSON lines
    #[arg(long, requires = "live")]
    json: bool,

    /// Make the topics that are missing, with exactly these partitions and replicas
    #[arg(long, requires_all = ["live", "partitions", "replicas"])]
    create_topics: bool,

    /// Partitions of each topic that is made; a later change of their number moves devices to other partitions
    #[arg(long, value_name = "N", requires = "create_topics", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,

    /// Replicas of each topic that is made
    #[arg(long, value_name = "M", requires = "create_topics", value_parser = clap::value_parser!(i32).range(1..=i64::from(i16::MAX)))]
    replicas: Option<i32>,
}

/// How topics are made.
#[derive(Debug, Clone, Copy)]
struct Creation {
    partitions: i32,
    replicas: i32,
}

impl Live {
    fn creation(&self) -> Option<Creation> {
        Some(Creation {
            partitions: self.partitions.filter(|_| self.create_topics)?,
            replicas: self.replicas?,
        })
    }
}

/// Prints what the file's problems are to stderr, or to stdout that it has none; warnings go to stderr. Then what Kafka has
/// for it, when that is asked for.
pub(super) fn check(file: &Path, live: &Live) -> Exit {
    let outcome = config::load(file);
    let files = match &outcome {
        Ok((config, _)) => files::findings(config),
        Err(_) => Vec::new(),
    };
    let is_usable = !files.iter().any(|finding| finding.is_error);
    if print(file, live, &outcome, &files).is_err() {
        return Exit::Failure;
    }
    match outcome {
        Ok((config, _)) if is_usable => match live.is_wanted {
            true => live::check(file, &config, live),
            false => Exit::Stopped,
        },
        _ => Exit::Usage,
    }
}

fn print(
    file: &Path,
    live: &Live,
    outcome: &Result<(config::Config, Vec<Problem>), LoadError>,
    files: &[Finding],
) -> io::Result<()> {
    match outcome {
        Ok((_, warnings)) => {
            for warning in warnings {
                writeln!(io::stderr(), "warning: {warning}")?;
            }
            for finding in files {
                let level = if finding.is_error { "" } else { "warning: " };
                writeln!(io::stderr(), "{level}{}", finding.line(file))?;
            }
            if live.json || files.iter().any(|finding| finding.is_error) {
                return Ok(());
            }
            writeln!(io::stdout(), "{}: ok", file.display())
        }
        Err(error) => writeln!(io::stderr(), "{error}"),
    }
}
