//! `edgeferry try`: what the routes of a file make of one message. Neither broker nor Kafka nor store is touched.
//!
//! It asks the same router that the daemon has ([`crate::route::Router`]), once for each lane whose subscriptions bring the
//! message. What only a store can tell is filled in: epoch 0, sequence 1.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::clock::unix_ms;
use crate::config::{self, Config};
use crate::exit::Exit;
use crate::identity::Machine;
use crate::message::Arrival;

mod answer;
mod message;
mod print;

use answer::Answer;
use message::Question;

/// Largest payload that is read, bytes: no MQTT packet of more is received.
const PAYLOAD_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// One message, as a broker would bring it.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// MQTT topic it is published to
    #[arg(long, value_name = "TOPIC")]
    topic: String,

    /// Payload, as text
    #[arg(long, value_name = "TEXT", required_unless_present = "payload_file")]
    payload: Option<String>,

    /// File with the payload; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "payload")]
    payload_file: Option<PathBuf>,

    /// `name` of the [[mqtt]] table that brings it; the first one of the file when left out
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,

    /// QoS with which it comes
    #[arg(long, value_name = "QOS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,

    /// The broker had kept it, and sends it because of the subscription
    #[arg(long)]
    retained: bool,

    /// MQTT 5 user property; may be given several times
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,

    /// MQTT 5 Content Type
    #[arg(long, value_name = "TEXT")]
    content_type: Option<String>,

    /// MQTT 5 Response Topic
    #[arg(long, value_name = "TOPIC")]
    response_topic: Option<String>,

    /// MQTT 5 Correlation Data, as text
    #[arg(long, value_name = "TEXT")]
    correlation_data: Option<String>,

    /// When it arrives, such as 2026-11-20T11:00:00Z; now when left out
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<i64>,

    /// Partitions that the Kafka topic is taken to have; several numbers with commas
    #[arg(long, value_name = "N", default_value = "12", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    partitions: Vec<u32>,

    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Why nothing can be tried.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error("there is no broker {wanted:?}; name one of the [[mqtt]] tables: {known}")]
    NoBroker { wanted: String, known: String },
    #[error(
        "broker {0:?} speaks MQTT 3.1.1, which has no properties; leave them out, or configure version = \"5\""
    )]
    NoProperties(String),
    #[error("{topic:?} is no topic that MQTT can publish to: {why}")]
    Topic { topic: String, why: &'static str },
    #[error("cannot read the payload from {}: {io}", path.display())]
    Payload { path: PathBuf, io: io::Error },
    #[error("the payload is over 16 MiB, no MQTT packet of more is received")]
    TooLong,
}

/// Says on stdout what comes out.
pub(super) fn run(file: &Path, arguments: &Arguments) -> Exit {
    let (config, warnings) = match config::load(file) {
        Ok(loaded) => loaded,
        Err(error) => return complain(&error),
    };
    let told = warnings
        .iter()
        .try_for_each(|warning| writeln!(io::stderr(), "warning: {warning}"));
    if told.is_err() {
        return Exit::Failure;
    }
    let Ok(gateway) = gateway(&config) else {
        return Exit::Failure;
    };
    let arrival = match arrival(&config, arguments) {
        Ok(arrival) => arrival,
        Err(error) => return complain(&error),
    };
    let answer = Answer::of(&config, &gateway, arrival);
    let partitions: Vec<usize> = arguments.partitions.iter().map(|count| *count as usize).collect();
    let mut out = io::stdout().lock();
    let printed = match arguments.json {
        true => print::json(&answer, &partitions, &mut out),
        false => print::text(&answer, &partitions, &mut out),
    };
    match printed {
        Err(_) => Exit::Failure,
        Ok(()) if answer.is_delivered() => Exit::Stopped,
        Ok(()) => Exit::NoRecord,
    }
}

/// The id that the gateway would have here. A file for a fleet may be tried on a machine that is none: then what was written.
fn gateway(config: &Config) -> io::Result<String> {
    let written = config.gateway.id.as_deref();
    match Machine::read().gateway_id(written) {
        Ok(gateway) => Ok(gateway),
        Err(error) => {
            writeln!(io::stderr(), "warning: no gateway id on this machine: {error}")?;
            Ok(written.unwrap_or("gateway").to_owned())
        }
    }
}

fn complain(error: &dyn std::fmt::Display) -> Exit {
    match writeln!(io::stderr(), "{error}") {
        Ok(()) => Exit::Usage,
        Err(_) => Exit::Failure,
    }
}

fn arrival(config: &Config, arguments: &Arguments) -> Result<Arrival, TryError> {
    let payload = match (&arguments.payload, &arguments.payload_file) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(path)) => read(path)?,
        (None, None) => Vec::new(),
    };
    let question = Question {
        topic: &arguments.topic,
        payload,
        broker: arguments.broker.as_deref(),
        qos: arguments.qos,
        is_retained: arguments.retained,
        user: &arguments.properties,
        content_type: arguments.content_type.as_ref(),
        response_topic: arguments.response_topic.as_ref(),
        correlation_data: arguments.correlation_data.as_ref(),
        unix_ms: arguments.at.unwrap_or_else(unix_ms),
    };
    question.arrival(config)
}

fn read(path: &Path) -> Result<Vec<u8>, TryError> {
    let mut payload = Vec::new();
    let mut take = |source: &mut dyn Read| source.take(PAYLOAD_MAX_BYTES + 1).read_to_end(&mut payload);
    let read = match path.as_os_str() == "-" {
        true => take(&mut io::stdin().lock()),
        false => std::fs::File::open(path).and_then(|mut file| take(&mut file)),
    };
    match read {
        Err(io) => Err(TryError::Payload {
            path: path.to_owned(),
            io,
        }),
        Ok(bytes) if bytes as u64 > PAYLOAD_MAX_BYTES => Err(TryError::TooLong),
        Ok(_) => Ok(payload),
    }
}

fn property(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=');
    let (name, value) = pair.ok_or("write name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn time(text: &str) -> Result<i64, String> {
    let time = humantime::parse_rfc3339_weak(text)
        .map_err(|error| format!("{error}: write it in UTC, with Z, such as 2026-11-20T11:00:00Z"))?;
    let since = time
        .duration_since(std::time::UNIX_EPOCH)
        .map_err(|_| "is before 1970")?;
    i64::try_from(since.as_millis()).map_err(|_| "is too far away".to_owned())
}
