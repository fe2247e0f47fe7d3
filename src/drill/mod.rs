//! `edgeferry drill`: this very binary, with this configuration, through everything that a gateway meets, in a scratch directory.
//!
//! ```text
//! script ──▶ broker (Unix socket) ──▶ edgeferry run (a process of its own) ──▶ mock cluster ──▶ reader
//!    │            │ what was acknowledged                 │ what the store says      what is there │
//!    └────────────┴───────────────▶ judge ◀───────────────┴───────────────────────────────────────┘
//! ```
//!
//! The two ends are stand-ins, and they keep the books: which message was acknowledged on which connection, and which record is
//! in Kafka. The daemon between them is what is installed; nothing in it knows of a drill. `docs/drill.md` says what that
//! shows and what it does not, `docs/decisions/0025-drill.md` why it is done like this.

mod account;
mod book;
mod broker;
mod child;
mod fit;
mod folder;
mod judge;
mod kafka;
mod mark;
mod report;
mod screen;
mod script;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;

use crate::app;
use crate::config::{self, Config, LoadError};
use crate::exit::Exit;
use crate::faults;
use crate::interrupt::{Interrupt, Interrupted};
use crate::mock::Cluster;
use crate::ops::logging;
use account::AccountError;
use book::Book;
use broker::Broker;
use child::Paths;
use fit::{Fit, Shape};
use folder::{Folder, FolderError};
use judge::{Case, Expected, Finding, Promise, Row};
use kafka::{LaneOf, Reader};
use report::Report;
use screen::Screen;
use script::{Course, Drill, Scene, Script};
use settings::{GATEWAY, Places};

/// Shorter, and no phase is long enough to mean anything.
const SECONDS_MIN: u64 = 5;
/// Longer, and what is kept of every message would be too much.
const SECONDS_MAX: u64 = 3600;

/// `edgeferry drill`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Configuration file: routes, formats, lanes, limits and policies are taken from it, and nothing else
    #[arg(long, value_name = "FILE", default_value = "/etc/edgeferry/edgeferry.toml")]
    config: PathBuf,
    /// How long messages are published; what follows takes a few seconds more
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(SECONDS_MIN..=SECONDS_MAX))]
    seconds: u64,
    /// Repeats what was left to chance in another drill
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Keep the scratch directory also when everything is well
    #[arg(long)]
    keep: bool,
    /// Where the scratch directory is made; not in memory, if it should show anything of the disk [default: /var/tmp]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Why a drill could not be held, or not to its end.
#[derive(Debug, thiserror::Error)]
enum DrillError {
    #[error(transparent)]
    Config(#[from] LoadError),
    #[error("this configuration cannot be put into a drill: {0}")]
    Derive(String),
    #[error("none of the routes can be tried:\n{0}")]
    NothingFits(String),
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A process, a thread, a socket or a file.
    #[error("the drill cannot go on: {0}")]
    Io(#[from] io::Error),
    #[error("mock Kafka cluster: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    #[error(transparent)]
    App(#[from] app::AppError),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl DrillError {
    const fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Derive(_) | Self::NothingFits(_) => Exit::Usage,
            Self::Folder(_) => Exit::Storage,
            Self::Io(_) | Self::Kafka(_) | Self::App(_) | Self::Interrupted(_) => Exit::Failure,
        }
    }
}

/// Does what the command line says.
#[must_use]
pub fn run(arguments: &Arguments) -> Exit {
    logging::init_quiet();
    // Neither is locked for good: other threads log.
    let held = match arguments.json {
        // Lines for people beside JSON only where a person is.
        true => hold(arguments, io::stderr(), io::stderr().is_terminal()),
        false => hold(arguments, io::stdout(), true),
    };
    match held {
        Ok(exit) => exit,
        Err(DrillError::Interrupted(_)) => {
            tracing::warn!("stopped: the drill shows nothing");
            Exit::Failure
        }
        Err(error) => {
            let exit = error.exit();
            tracing::error!("{error}");
            exit
        }
    }
}

/// What is made later goes earlier, also on an error: the folder goes last.
fn hold(arguments: &Arguments, out: impl Write, is_told: bool) -> Result<Exit, DrillError> {
    let text = read(&arguments.config)?;
    let (user, _) = config::parse(&arguments.config, &text)?;
    let interrupt = Arc::new(Interrupt::default());
    listen(&interrupt)?;
    let kept = user.lanes.iter().map(|lane| lane.queue.min_free_bytes).max();
    let mut folder = Folder::make(arguments.scratch.as_deref(), kept.unwrap_or(0))?;
    let mut screen = Screen::new(out, is_told);
    let seed = arguments.seed.unwrap_or_else(|| rand::random::<u64>() >> 32);
    let stage = Stage::set(&text, folder.path())?;
    introduce(&mut screen, arguments, &stage, &folder, seed)?;
    let whole = Duration::from_secs(arguments.seconds);
    let course = Drill::new(stage.scene(&interrupt), &mut screen, seed, whole).run()?;
    let report = stage.judge(arguments, course, seed, &mut folder);
    if arguments.json {
        Screen::new(io::stdout().lock(), true).json(&report)?;
    } else {
        screen.report(&report)?;
    }
    Ok(if report.passed {
        Exit::Stopped
    } else {
        Exit::Failure
    })
}

fn read(path: &Path) -> Result<String, LoadError> {
    config::read(path).map_err(|io| LoadError::Unreadable {
        path: path.to_owned(),
        io,
    })
}

/// Ctrl-C and SIGTERM end the drill in good order.
fn listen(interrupt: &Arc<Interrupt>) -> Result<(), DrillError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let asked = {
        let _inside = runtime.enter();
        app::stop_signal()?
    };
    let interrupt = Arc::clone(interrupt);
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || {
        runtime.block_on(asked);
        interrupt.raise();
    })?;
    Ok(())
}

fn introduce<W: Write>(
    screen: &mut Screen<W>,
    arguments: &Arguments,
    stage: &Stage,
    folder: &Folder,
    seed: u64,
) -> io::Result<()> {
    screen.say(&format!(
        "edgeferry drill: {} routes of {} in {} lanes, {} s, seed {seed}, in {}",
        stage.config.routes.len() - stage.fit_without.len(),
        arguments.config.display(),
        stage.lanes().len(),
        arguments.seconds,
        folder.path().display()
    ))?;
    screen.say("Nothing of the real brokers, Kafka and store is touched.")?;
    if folder.is_memory() {
        screen.say("The scratch directory is in memory: this shows nothing of the disk. Give another one with --scratch DIR.")?;
    }
    if let Some((name, what)) = std::env::var(faults::OMIT).ok().and_then(|name| broken(&name)) {
        screen.say(&format!(
            "This build breaks a promise on purpose ({name}): it {what}."
        ))?;
    }
    Ok(())
}

fn broken(name: &str) -> Option<(&'static str, &'static str)> {
    let known = faults::BROKEN.into_iter().find(|(known, _)| *known == name);
    known.filter(|_| faults::can_break())
}

/// Everything around the daemon, and what is known of the messages.
struct Stage {
    config: Config,
    shapes: Vec<Shape>,
    good: usize,
    fit_without: Vec<(usize, String)>,
    notes: Vec<String>,
    script: Script,
    book: Arc<Mutex<Book>>,
    brokers: Vec<Broker>,
    reader: Reader,
    cluster: Cluster,
    paths: Paths,
}

impl Stage {
    fn set(text: &str, folder: &Path) -> Result<Self, DrillError> {
        // The topics are known from the routes, and the routes from a configuration that has no cluster yet.
        let draft = Places {
            folder,
            bootstrap_servers: "127.0.0.1:1",
        };
        let (config, _) = derived(text, &draft)?;
        let Fit {
            mut shapes,
            bad,
            without,
        } = fit::of(&config, GATEWAY);
        if shapes.is_empty() {
            let reasons: Vec<String> = without.into_iter().map(|(_, why)| why).collect();
            return Err(DrillError::NothingFits(reasons.join("\n")));
        }
        let good = shapes.len();
        shapes.extend(bad);
        let mut topics: BTreeSet<String> = shapes
            .iter()
            .flat_map(Shape::topics)
            .map(ToOwned::to_owned)
            .collect();
        topics.extend(config.dead_letter.topic.clone());
        let cluster = Cluster::start(topics.iter().map(String::as_str), kafka::PARTITIONS)?;
        let bootstrap_servers = cluster.bootstrap_servers();
        let places = Places {
            folder,
            bootstrap_servers: &bootstrap_servers,
        };
        let (config, mut notes) = derived(text, &places)?;
        notes.extend(said(&config, &without));
        let paths = write(text, &places)?;
        let (script, book): (Script, Arc<Mutex<Book>>) = (Arc::default(), Arc::default());
        let brokers = config.brokers.iter().enumerate().map(|(number, table)| {
            Broker::start(
                &places.socket(number),
                table.version,
                table.receive_maximum,
                &book,
            )
        });
        let brokers = brokers.collect::<Result<Vec<_>, _>>()?;
        let topics: Vec<String> = topics.into_iter().collect();
        let lane_of = lane_of(&shapes, &script);
        let letters = config.dead_letter.topic.clone();
        let reader = Reader::start(&bootstrap_servers, &topics, letters, lane_of, &book)?;
        Ok(Self {
            config,
            shapes,
            good,
            fit_without: without,
            notes,
            script,
            book,
            brokers,
            reader,
            cluster,
            paths,
        })
    }

    fn scene<'a>(&'a self, interrupt: &'a Interrupt) -> Scene<'a> {
        Scene {
            config: &self.config,
            shapes: &self.shapes,
            good: self.good,
            script: Arc::clone(&self.script),
            brokers: &self.brokers,
            cluster: &self.cluster,
            reader: &self.reader,
            book: &self.book,
            interrupt,
            paths: &self.paths,
        }
    }

    /// Lanes that have routes.
    fn lanes(&self) -> Vec<&str> {
        let names = self.config.lanes.iter().map(|lane| lane.name.as_str());
        names
            .filter(|name| self.config.routes.iter().any(|route| route.lane == *name))
            .collect()
    }

    fn judge(&self, arguments: &Arguments, course: Course, seed: u64, folder: &mut Folder) -> Report {
        let mut findings = course.findings;
        let mut accounts = account::read(&self.config).unwrap_or_else(|error| {
            findings.push(unreadable(&error));
            BTreeMap::new()
        });
        for (number, lane) in self.reader.letters() {
            accounts.entry(lane).or_default().letters.insert(number);
        }
        let mut notes = self.notes.clone();
        let script = self.script.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if book.foreign > 0 {
            notes.push(format!(
                "{} records in Kafka could not be recognised",
                book.foreign
            ));
        }
        if course.is_cut_short {
            notes.push(
                "not everything was in Kafka when the drill ended; what waits is in the column queued"
                    .to_owned(),
            );
        }
        let mut rows: Vec<Row> = Vec::new();
        for lane in self.lanes() {
            let outside = book.lane(lane);
            let account = accounts.remove(lane).unwrap_or_default();
            let expected = |number: u64| self.expected(&script, number, lane);
            let (row, found) = judge::judge(&Case {
                lane,
                seen: &outside,
                account: &account,
                expected: &expected,
            });
            rows.push(row);
            findings.extend(found);
        }
        let passed = findings.is_empty();
        if !passed || arguments.keep {
            folder.keep();
        }
        Report {
            version: report::VERSION,
            edgeferry: env!("CARGO_PKG_VERSION").to_owned(),
            passed,
            seed,
            seconds: arguments.seconds,
            published: script.len() as u64,
            starts: course.starts,
            kills: course.kills,
            acknowledged_on_full_disk: course.acknowledged_on_full_disk as u64,
            published_on_full_disk: course.published_on_full_disk as u64,
            acknowledged_while_refused: course.acknowledged_while_refused as u64,
            stored_while_refused: course.stored_while_refused,
            repeated_after_late_answers: course.repeated_after_late_answers,
            lanes: rows,
            findings,
            notes,
            scratch: (!passed || arguments.keep).then(|| folder.path().display().to_string()),
            claims: report::CLAIMS,
        }
    }

    fn expected(&self, script: &[usize], number: u64, lane: &str) -> Expected {
        let kind = kind(script, number);
        let shape = kind.and_then(|kind| self.shapes.get(kind));
        shape
            .and_then(|shape| shape.becomes.get(lane).cloned())
            .unwrap_or_default()
    }
}

fn kind(script: &[usize], number: u64) -> Option<usize> {
    let place = usize::try_from(number).ok()?.checked_sub(1)?;
    script.get(place).copied()
}

/// By what was expected: the lane whose routes make a record for the topic.
fn lane_of(shapes: &[Shape], script: &Script) -> LaneOf {
    let lanes: Vec<BTreeMap<String, Expected>> = shapes.iter().map(|shape| shape.becomes.clone()).collect();
    let script = Arc::clone(script);
    Arc::new(move |number, topic| {
        let kind = kind(&script.lock().unwrap_or_else(PoisonError::into_inner), number)?;
        let mut becomes = lanes.get(kind)?.iter();
        let found = becomes.find(|(_, expected)| expected.topics.iter().any(|known| known == topic));
        found.map(|(lane, _)| lane.clone())
    })
}

fn derived(text: &str, places: &Places<'_>) -> Result<(Config, Vec<String>), DrillError> {
    let (text, notes) = settings::derive(text, places).map_err(DrillError::Derive)?;
    let (config, _) = config::parse(Path::new("drill.toml"), &text)
        .map_err(|error| DrillError::Derive(error.to_string()))?;
    Ok((config, notes))
}

/// What the daemon reads.
fn write(text: &str, places: &Places<'_>) -> Result<Paths, DrillError> {
    let (text, _) = settings::derive(text, places).map_err(DrillError::Derive)?;
    let mut key = std::fs::File::options();
    let mut key = key
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(places.key_file())?;
    key.write_all(&settings::key())?;
    let config = places.folder.join("edgeferry.toml");
    std::fs::write(&config, text)?;
    Ok(Paths {
        program: std::env::current_exe()?,
        config,
        log: places.folder.join("daemon.log"),
    })
}

/// What a person should know before a verdict.
fn said(config: &Config, without: &[(usize, String)]) -> Vec<String> {
    let routes = without
        .iter()
        .map(|(number, why)| format!("route[{number}] was not tried: {why}"));
    let lanes = config.lanes.iter().filter(|lane| {
        let is_used = config.routes.iter().any(|route| route.lane == lane.name);
        is_used && lane.queue.max_bytes > script::FILL_MAX
    });
    let names: Vec<&str> = lanes.map(|lane| lane.name.as_str()).collect();
    let full = (!names.is_empty()).then(|| {
        format!(
            "a full queue was not tried in lane {}: max_bytes is over {}",
            names.join(", "),
            settings::size(script::FILL_MAX)
        )
    });
    routes.chain(full).collect()
}

fn unreadable(error: &AccountError) -> Finding {
    let what = format!("the store cannot be read: {error}");
    judge::finding(Promise::NothingIsLost, "", what, &[])
}
