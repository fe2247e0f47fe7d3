//! `edgeferry verify`: reads Kafka, asks the store, prints what the judge says (docs/verify.md).

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use clap::Args;
use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Headers as _};
use xxhash_rust::xxh3::Xxh3;

use super::ConfigFile;
use super::queue::access::{self, Failure};
use super::queue::bounds;
use crate::clock;
use crate::config::Config;
use crate::exit::Exit;
use crate::message::{MessageId, Seq};
use crate::ops::hand::{Answer, Verb};
use crate::route::headers;
use crate::sink::admin::Admin;
use crate::sink::reader::{ReadError, Reader, Span};
use crate::sink::{DeadLetterConfig, Delivery};
use crate::verify::{
    Begin, Judge, Place, Report, Role, Settings, Sighting, StoreAccount, TooMuch, Topic, Verdict, Window,
    identify,
};
use progress::Progress;

mod print;
mod progress;

/// What Kafka sees of who asks.
const CLIENT_ID: &str = "edgeferry-verify";
/// Records are read from so much before --since, and up to so much behind --until: a lane's messages go to several partitions, and times
/// do not ascend everywhere.
const MARGIN: Duration = Duration::from_mins(10);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  edgeferry verify\n  edgeferry verify --since 2h\n  edgeferry verify --all-gateways --json --topic telemetry-archive"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Read this topic too, for example one that routes had before; may be given several times
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// Messages whose records have this time or a later one: "2026-05-01T12:00:00Z", "2h"
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "through"])]
    since: Option<String>,
    /// Messages whose records have an earlier time than this
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "through"])]
    until: Option<String>,
    /// From this sequence or message id on
    #[arg(long, value_name = "SEQ|ID")]
    from: Option<String>,
    /// Up to and with this sequence or message id
    #[arg(long, value_name = "SEQ|ID")]
    through: Option<String>,
    /// Judge the messages of all gateways in the topics, and do not ask this machine's store why something is missing
    #[arg(long)]
    all_gateways: bool,
    /// Exit code 2 when nothing wrong was found, but not everything could be judged
    #[arg(long)]
    strict: bool,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Failure(#[from] Failure),
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    #[error("none of the topics is in Kafka, or this user may not see them: {0}")]
    NoTopics(String),
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
}

impl Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Failure(failure) => failure.exit(),
            Self::Read(_) | Self::TooMuch(_) | Self::NoTopics(_) | Self::Output(_) => Exit::Failure,
        }
    }
}

/// Does what the command line says.
pub(super) fn run(arguments: &Arguments) -> Exit {
    crate::ops::logging::init_quiet();
    let answered = verify(arguments).and_then(|(report, took)| {
        print::report(&report, took, arguments.json)?;
        Ok(report.verdict)
    });
    match answered {
        Ok(Verdict::Wrong) => Exit::Failure,
        Ok(Verdict::Uncertain) if arguments.strict => Exit::NoRecord,
        Ok(_) => Exit::Stopped,
        Err(error) => {
            print::error(&error.to_string());
            error.exit()
        }
    }
}

fn verify(arguments: &Arguments) -> Result<(Report, Duration), Error> {
    let window = arguments.window(clock::unix_ms())?;
    let config = access::load(&arguments.file.config)?;
    let mut notes = Vec::new();
    // First: what its cursor has passed by now is in what is read afterwards.
    let account = match arguments.all_gateways {
        true => None,
        false => account(&config, &mut notes)?,
    };
    let reader = Reader::connect(&config.kafka, CLIENT_ID)?;
    let found = find_topics(&config, &reader, &arguments.topic, &window, &mut notes)?;
    let began = Instant::now();
    let judge = read(&config, &reader, found, &window, account.as_ref())?;
    let settings = Settings {
        is_exactly_once: config.kafka.delivery == Delivery::ExactlyOnce,
    };
    let mut report = judge.finish(account.as_ref(), settings);
    report.notes = notes;
    Ok((report, began.elapsed()))
}

impl Arguments {
    fn window(&self, now_ms: i64) -> Result<Window, Failure> {
        let window = Window {
            since_ms: bounds::time("--since", self.since.as_deref(), now_ms)?,
            until_ms: bounds::time("--until", self.until.as_deref(), now_ms)?,
            from: place("--from", self.from.as_deref())?,
            through: place("--through", self.through.as_deref())?,
        };
        let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
        if let (Some(since), Some(until)) = (window.since_ms, window.until_ms)
            && since >= until
        {
            return usage("--since is not before --until: nothing lies between them");
        }
        if let (Some(from), Some(through)) = (&window.from, &window.through) {
            if from.seq > through.seq {
                return usage("--from is behind --through: nothing lies between them");
            }
            if from.log.is_some() && through.log.is_some() && from.log != through.log {
                return usage(
                    "--from and --through are ids of two different epochs or lanes: sequences count within one",
                );
            }
        }
        Ok(window)
    }
}

fn place(option: &str, text: Option<&str>) -> Result<Option<Place>, Failure> {
    let Some(text) = text else { return Ok(None) };
    if let Ok(seq) = text.parse() {
        let seq = Seq(seq);
        return Ok(Some(Place { seq, log: None }));
    }
    match MessageId::parse(text) {
        Some(id) => Ok(Some(Place {
            seq: id.seq,
            log: Some((id.epoch, id.lane.to_string())),
        })),
        None => Err(Failure::Usage(format!(
            "{option} {text:?} is neither a sequence such as 4711 nor a message id such as 0123456789abcdef-default-4711"
        ))),
    }
}

/// What the store says; `None` where there is none.
fn account(config: &Config, notes: &mut Vec<String>) -> Result<Option<StoreAccount>, Failure> {
    let mut found = None;
    let asked = access::ask(config, &Verb::Account, None, &mut |answer| {
        match answer {
            Answer::Account(account) => found = Some(account),
            Answer::Note(note) => notes.push(note),
            _ => {}
        }
        Ok(())
    });
    match asked {
        Ok(_) => {}
        Err(Failure::NoStore(path)) => {
            notes.push(format!(
                "there is no store in {}: all gateways in the topics are judged, and why something is missing is not known here",
                path.display()
            ));
            return Ok(None);
        }
        Err(failure) => return Err(failure),
    }
    Ok(found.map(|account| StoreAccount {
        gateway: account.gateway,
        epoch: Some(account.epoch),
        lanes: account.lanes,
        imported: account.imported,
    }))
}

/// A topic, and what is to be read of it.
struct Found {
    topic: Topic,
    spans: Vec<Span>,
}

/// The topics of all routes, that of the dead letters, and further ones.
fn find_topics(
    config: &Config,
    reader: &Reader,
    further: &[String],
    window: &Window,
    notes: &mut Vec<String>,
) -> Result<Vec<Found>, Error> {
    let mut names: BTreeSet<String> = further.iter().cloned().collect();
    let fixed = config.routes.iter().filter(|route| route.topic.is_static());
    names.extend(fixed.map(|route| route.topic.render_with(|_| String::new())));
    if config.routes.iter().any(|route| !route.topic.is_static()) {
        let all = reader.topics()?;
        let own_by_name = all.into_iter().filter(|name| senders(config, name) > 0);
        names.extend(own_by_name);
    }
    let DeadLetterConfig { topic: letters, .. } = &config.dead_letter;
    let is_letters = |name: &str| letters.as_deref() == Some(name);
    names.extend(letters.clone());
    let margin = i64::try_from(MARGIN.as_millis()).unwrap_or(i64::MAX);
    let since = window.since_ms.map(|since| since.saturating_sub(margin).max(0));
    let until = window.until_ms.map(|until| until.saturating_add(margin));
    let mut found = Vec::new();
    for name in &names {
        // Of letters all are wanted: they lie there at the time of their messages, whenever they came.
        let (since, until) = if is_letters(name) {
            (None, None)
        } else {
            (since, until)
        };
        match reader.spans(name, since, until)? {
            Some(spans) => found.push(Found {
                topic: Topic {
                    name: name.clone(),
                    role: if is_letters(name) {
                        Role::Letters
                    } else {
                        Role::Records
                    },
                    senders: senders(config, name),
                    is_compacted: None,
                    begins: spans.iter().map(begin).collect(),
                },
                spans,
            }),
            None => notes.push(format!("topic {name:?} is missing, or this user may not see it")),
        }
    }
    if found.is_empty() {
        let names: Vec<String> = names.into_iter().collect();
        return Err(Error::NoTopics(names.join(", ")));
    }
    look_for_compaction(config, &mut found, notes);
    Ok(found)
}

fn senders(config: &Config, topic: &str) -> usize {
    let routes = config.routes.iter();
    routes.filter(|route| route.topic.may_render_to(topic)).count()
}

fn begin(span: &Span) -> Begin {
    Begin {
        is_late: span.start > 0,
        is_trimmed: span.log_start > 0 && span.start == span.log_start,
    }
}

/// Compacted topics lose records on purpose.
fn look_for_compaction(config: &Config, found: &mut [Found], notes: &mut Vec<String>) {
    let admin = match Admin::connect(&config.kafka, CLIENT_ID) {
        Ok((admin, _)) => admin,
        Err(error) => {
            notes.push(format!("whether topics are compacted is not known: {error}"));
            return;
        }
    };
    for Found { topic, .. } in found {
        let settings = admin
            .topic(&topic.name)
            .ok()
            .flatten()
            .map(|found| found.settings);
        match settings {
            Some(Ok(settings)) => {
                let policy = settings.get("cleanup.policy").map(String::as_str).unwrap_or_default();
                topic.is_compacted = Some(policy.contains("compact"));
            }
            Some(Err(code)) => notes.push(format!(
                "topic {:?}: its settings cannot be read ({code}); if it is compacted, what is missing may have been removed by that",
                topic.name
            )),
            None => {}
        }
    }
}

fn read(
    config: &Config,
    reader: &Reader,
    found: Vec<Found>,
    window: &Window,
    account: Option<&StoreAccount>,
) -> Result<Judge, Error> {
    let lanes = config.lanes.iter().map(|lane| lane.name.clone());
    let of_store = account
        .into_iter()
        .flat_map(|account| account.lanes.iter().map(|lane| lane.lane.clone()));
    let total = found
        .iter()
        .flat_map(|found| &found.spans)
        .map(|span| span.end.saturating_sub(span.start).max(0));
    let mut progress = Progress::new(u64::try_from(total.sum::<i64>()).unwrap_or(0));
    let (topics, spans): (Vec<Topic>, Vec<Vec<Span>>) =
        found.into_iter().map(|found| (found.topic, found.spans)).unzip();
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    let mut judge = Judge::new(window.clone(), topics, lanes.chain(of_store).collect());
    for (topic, (name, spans)) in names.iter().zip(&spans).enumerate() {
        // At once: the first records of a slow link take a while.
        progress.show();
        let (judge, progress) = (
            std::cell::RefCell::new(&mut judge),
            std::cell::RefCell::new(&mut progress),
        );
        let broken = reader.read(
            name,
            spans,
            |message| {
                progress.borrow_mut().add(1);
                match see(topic, message, &mut judge.borrow_mut()) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => ControlFlow::Break(error),
                }
            },
            || {
                progress.borrow_mut().show();
                ControlFlow::Continue(())
            },
        );
        progress.borrow_mut().clear();
        if let Some(error) = broken? {
            return Err(error.into());
        }
    }
    Ok(judge)
}

fn see(topic: usize, message: &BorrowedMessage<'_>, judge: &mut Judge) -> Result<(), TooMuch> {
    let value = message.payload().unwrap_or_default();
    let key = message.key().unwrap_or_default();
    let all = || {
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        headers.map(|header| (header.key, header.value.unwrap_or_default()))
    };
    let gateway = all().find(|(name, _)| *name == headers::GATEWAY);
    let mut hash = Xxh3::new();
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(value);
    judge.take(&Sighting {
        topic,
        partition: message.partition(),
        offset: message.offset(),
        time_ms: message.timestamp().to_millis(),
        key,
        name: identify(all(), value),
        gateway: gateway.and_then(|(_, text)| std::str::from_utf8(text).ok()),
        fingerprint: hash.digest(),
    })
}
