//! `edgeferry check`: the file and those it names, and with `--live` what the MQTT brokers and Kafka say to it.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

use crate::config::{self, LoadError};
use crate::exit::Exit;
use crate::settings::Problem;
use files::Finding;
use guarantee::{Demand, Load};

mod brokers;
mod files;
mod guarantee;
mod judge;
mod live;
mod wanted;

/// Messages per second; more than any gateway stores.
const RATE_MAX: f64 = 1_000_000.0;

/// What is looked at beside the file.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, Args)]
pub(super) struct Live {
    /// Connect too: whether the MQTT brokers let edgeferry in, which topics Kafka has, and whether they can hold what is sent
    #[arg(long = "live", id = "live")]
    is_wanted: bool,

    /// Only whether the file itself can be used, for a package before it restarts a gateway: nothing that it names is looked at, so
    /// that an expired certificate does not matter
    #[arg(long, conflicts_with_all = ["live", "json", "strict", "rate"])]
    file_only: bool,

    /// Answer in JSON lines
    #[arg(long)]
    json: bool,

    /// Exit with 1 when messages can be lost in a way that nobody chose in the file
    #[arg(long)]
    strict: bool,

    /// The longest time that edgeferry, an MQTT broker or Kafka may be away
    #[arg(long, value_name = "TIME", default_value = "7days", value_parser = humantime::parse_duration)]
    absence: Duration,

    /// Messages per second that come: says how long the queue lasts
    #[arg(long, value_name = "N", requires = "size", value_parser = per_day)]
    rate: Option<u64>,

    /// Size of a payload, for --rate
    #[arg(long, value_name = "BYTES", requires = "rate")]
    size: Option<ByteSize>,

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

/// A rate in messages per second, as messages a day: whole numbers.
fn per_day(text: &str) -> Result<u64, String> {
    let wrong = || "write a number of messages per second, for example 100 or 0.2".to_owned();
    let rate: f64 = text.parse().map_err(|_| wrong())?;
    if !(rate > 0.0 && rate <= RATE_MAX) {
        return Err(wrong());
    }
    // Without a fraction it is a whole number, and small enough.
    format!("{:.0}", (rate * 86_400.0).ceil())
        .parse()
        .map_err(|_| wrong())
}

impl Live {
    fn demand(&self) -> Demand {
        Demand {
            absence: self.absence,
            load: self.rate.zip(self.size).map(|(messages_per_day, size)| Load {
                messages_per_day,
                payload_bytes: size.as_u64(),
            }),
        }
    }

    fn creation(&self) -> Option<Creation> {
        Some(Creation {
            partitions: self.partitions.filter(|_| self.create_topics)?,
            replicas: self.replicas?,
        })
    }
}

/// Prints what the file's problems are to stderr, or to stdout that it has none; warnings go to stderr. Then what brokers and
/// Kafka have for it, when that is asked for, and what it leaves open of the promises.
pub(super) fn check(file: &Path, live: &Live) -> Exit {
    let outcome = config::load(file);
    let files = match &outcome {
        Ok((config, _)) if !live.file_only => files::findings(config),
        _ => Vec::new(),
    };
    let is_usable = !files.iter().any(|finding| finding.is_error);
    if print(file, live, &outcome, &files).is_err() {
        return Exit::Failure;
    }
    match outcome {
        Ok(_) if live.file_only => Exit::Stopped,
        Ok((config, _)) if is_usable => live::check(file, &config, live),
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
