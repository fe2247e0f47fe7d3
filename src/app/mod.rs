//! Builds the stages, connects them, supervises them, shuts them down.
//!
//! Only this module knows all stages. Each lane is a whole pipeline (`lane`); all run side by side (`stages`). Sources are
//! tasks of one thread's runtime; a lane's writer and its sink are OS threads, because they block. A stage that ends on its
//! own ends the daemon: there is no half-alive one.
//!
//! A lane that no route uses any more (`plan`) runs until its sessions and its queue are empty, and is put away
//! (`retired`).

pub(crate) mod bound;
mod cursor_topic;
mod data_dir;
mod format;
mod forward;
mod hand;
mod keys;
mod lane;
mod lane_marks;
mod lane_view;
mod letters;
mod look;
pub mod memory;
mod plan;
mod reload;
mod retired;
mod routing;
mod stages;
mod status;
mod subscriptions;
mod telling;
mod threads;
mod undo;
mod view;
mod vigil;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

pub use data_dir::{DataDir, DataDirError};
pub use format::FormatError;
pub(crate) use format::VERSION as STORE_FORMAT;
pub use hand::Stopped;
pub(crate) use look::ledger;

use crate::config::Config;
use crate::exit::Exit;
use crate::identity::{self, IdentityError, Machine};
use crate::ops::hand::KnownError;
use crate::ops::{Look, http, logging, systemd};
use crate::sink::dead_letter::KeepError;
use crate::slots::SlotError;
use crate::{clock, config, queue, source};
pub use lane_view::LaneView;
use reload::Requests;
use stages::Stages;
pub use view::View;

/// Why the daemon could not run, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The folder of the store.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Who this gateway is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The queue cannot be opened.
    #[error("queue: {0}")]
    Queue(#[from] queue::OpenError),
    /// The dead letters cannot be opened.
    #[error("dead letters: {0}")]
    DeadLetters(#[from] KeepError),
    /// A source cannot be set up.
    #[error("mqtt {broker}: {source}")]
    Source {
        /// `[[mqtt]] name`
        broker: String,
        /// The reason.
        source: source::OpenError,
    },
    /// What was imported is not known.
    #[error("imports: {0}")]
    Known(#[from] KnownError),
    /// What is known of the clock cannot be read.
    #[error("clock: {0}")]
    ClockNotes(#[from] SlotError),
    /// There is no clock to stamp with.
    #[error(transparent)]
    Clock(#[from] clock::Error),
    /// The runtime or a thread cannot be started, or signals cannot be received.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
    /// Another gateway with the same identity took over.
    #[error(
        "lane {lane}: another edgeferry with the same identity took over; two must never run on copies of one store. Stop the \
         other one, or move its data_dir away so that it gets an identity of its own"
    )]
    Fenced {
        /// The lane that found out.
        lane: String,
    },
    /// Two lanes would give two messages one id.
    #[error(
        "lane {new:?} could not be told from the former lane {old:?} of this store in the payloadId of format = \"wasp\": give \
         it another name, for example with a digit more"
    )]
    LaneMark {
        /// The lane of the configuration.
        new: String,
        /// One that the store had before.
        old: String,
    },
    /// A stage ended although nobody asked it to.
    #[error("the {0} ended unexpectedly; the log says why")]
    StageEnded(String),
    /// A reload could not stop something, so that it cannot be started anew.
    #[error("{0} could not be stopped for a reload; a start of the process goes on with what is stored")]
    NotClosed(String),
    /// A reload would close lanes that could not be opened again.
    #[error(
        "the disk is full: {0}. Nothing was stopped, what is stored goes on to Kafka and makes room: reload again when there is some"
    )]
    DiskFull(#[from] queue::NoRoom),
    /// A reload waited for a command in vain.
    #[error(
        "an `edgeferry queue` or `edgeferry dead-letter` command is at work and does not make way: reload again when it is done"
    )]
    HandBusy,
}

impl AppError {
    /// The exit code that belongs to it.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::DataDir(_)
            | Self::Queue(_)
            | Self::DeadLetters(_)
            | Self::Known(_)
            | Self::ClockNotes(_)
            | Self::DiskFull(_)
            | Self::Identity(IdentityError::Io { .. }) => Exit::Storage,
            Self::Identity(_) | Self::LaneMark { .. } => Exit::Usage,
            Self::Source { source, .. } => match source.is_storage() {
                true => Exit::Storage,
                false => Exit::Usage,
            },
            Self::Fenced { .. } => Exit::Fenced,
            Self::Clock(_) | Self::Start(_) | Self::StageEnded(_) | Self::NotClosed(_) | Self::HandBusy => {
                Exit::Failure
            }
        }
    }
}

/// How long somebody who looks may still be at it when all has stopped.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);

/// `edgeferry run`: from the file to the exit code.
#[must_use]
pub fn run_from_file(path: &Path) -> Exit {
    logging::init();
    memory::settle();
    bound::end_with_parent();
    match run_until_signal(path) {
        Ok(exit) => exit,
        Err(error) => {
            tracing::error!(%error, "stopped");
            error.exit()
        }
    }
}

fn run_until_signal(path: &Path) -> Result<Exit, AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        // First: a SIGHUP that comes during the start is a reload after it.
        let (stop, hangup) = (stop_signal()?, reload::hangup()?);
        outlive_file_limit()?;
        let Some(config) = load(path) else {
            return Ok(Exit::Usage);
        };
        let mut daemon = Daemon::start(&config)?;
        daemon.reloads_from(path, hangup);
        daemon.run(stop).await?;
        Ok(Exit::Stopped)
    });
    // A look at a card that stalls does not keep the process from its end.
    runtime.shutdown_timeout(LOOK_PATIENCE);
    ended
}

/// The configuration of a start; what is wrong, and what should be known, is said.
fn load(path: &Path) -> Option<Config> {
    match config::load(path) {
        Ok((config, warnings)) => {
            let applied = logging::set_level(config.log.level);
            if applied == logging::Applied::Environment && config.log != config::Log::default() {
                tracing::info!("EDGEFERRY_LOG is set: it goes over [log] level");
            }
            for warning in &warnings {
                tracing::warn!(mistake = %warning.place(), %warning, "in the configuration");
            }
            Some(config)
        }
        Err(error) => {
            tracing::error!(%error, "the configuration cannot be used");
            None
        }
    }
}

/// Ends at SIGTERM or SIGINT.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>, AppError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// A write over the limit of `LimitFSIZE=` or `ulimit -f` is an error, which ends acknowledging as a full disk does. Without
/// somebody who listens the signal would end the process (setrlimit(2)).
fn outlive_file_limit() -> Result<(), AppError> {
    use tokio::signal::unix::{SignalKind, signal};
    let kind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // The handler stays for the life of the process.
    drop(signal(kind)?);
    Ok(())
}

/// All lanes, running.
#[derive(Debug)]
pub struct Daemon {
    stages: Stages,
    reloads: Requests,
    /// Answers until all lanes have stopped.
    _http: Option<http::Server>,
    /// Unlocked last, when nothing uses the store any more.
    _data_dir: Arc<DataDir>,
}

impl Daemon {
    /// Opens the store and starts the pipeline. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`AppError`]; nothing runs.
    pub fn start(config: &Config) -> Result<Self, AppError> {
        let data_dir = Arc::new(DataDir::take(&config.gateway.data_dir)?);
        keys::check(config, &data_dir)?;
        lane_marks::check(config, &data_dir)?;
        let machine = Machine::read();
        let gateway = machine.gateway_id(config.gateway.id.as_deref())?;
        let identity = identity::open(data_dir.path(), gateway, &machine, data_dir.has_log())?;
        let config = Arc::new(config.clone());
        let (asked, reloads) = Requests::channel();
        let stages = Stages::start(&config, &data_dir, &identity, asked)?;
        let certificates = stages.view().certificates();
        certificates.configure(&config);
        // Read at once: what ends soon is said at the start.
        certificates.look_again();
        let version = env!("CARGO_PKG_VERSION");
        let partitioner = config.kafka.partitioner.name();
        tracing::info!(version, gateway = identity.gateway, epoch = %identity.epoch, partitioner, "running");
        systemd::ready();
        let http = http::Server::start(&config.http, stages.look());
        Ok(Self {
            stages,
            reloads,
            _http: http,
            _data_dir: data_dir,
        })
    }

    /// Reads its configuration again from this file when it is asked to, also at each SIGHUP.
    pub fn reloads_from(&mut self, path: &Path, hangup: Signal) {
        self.reloads.of_file(path, hangup);
    }

    /// For onlookers.
    #[must_use]
    pub fn view(&self) -> View {
        self.stages.view()
    }

    /// Takes looks at the whole.
    #[must_use]
    pub fn look(&self) -> Look {
        self.stages.look()
    }

    /// Keeps the service manager informed until `stop` ends or a stage does, then stops the pipeline in the
    /// direction of the data.
    ///
    /// # Errors
    /// [`AppError::StageEnded`] when a stage ended by itself, [`AppError::Fenced`].
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), AppError> {
        let (view, look) = (self.view(), self.look());
        let certificates = view.certificates();
        let ended = tokio::select! {
            ended = supervise(&mut self.stages, &mut self.reloads, stop) => ended,
            never = watch::over(view, look) => match never {},
            never = certificates.watch() => match never {},
        };
        self.stages.view().vigil().stops();
        // Whoever waits for a reload is told that there is none any more.
        drop(self.reloads);
        systemd::stopping();
        tracing::info!("stopping");
        self.stages.stop().await;
        ended
    }
}

/// Reloads when that is asked for, until `stop` ends, or a stage does, or a reload cannot be done as a whole.
async fn supervise(
    stages: &mut Stages,
    reloads: &mut Requests,
    stop: impl Future<Output = ()>,
) -> Result<(), AppError> {
    let mut stop = std::pin::pin!(stop);
    loop {
        let waiting = tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            error = stages.ended() => return Err(error),
            waiting = reloads.next() => waiting,
        };
        let stopping = CancellationToken::new();
        let mut reload = std::pin::pin!(reloads.reload(stages, waiting, &stopping));
        tokio::select! {
            done = &mut reload => done?,
            () = &mut stop => {
                stopping.cancel();
                return reload.await;
            }
        }
    }
}
