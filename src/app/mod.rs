//! Builds the stages, connects them, supervises them, shuts them down.
//!
//! Only this module knows all stages. Each lane is a whole pipeline (`lane`); all run side by side (`stages`). Sources are
//! tasks of one thread's runtime; a lane's writer and its sink are OS threads, because they block. A stage that ends on its
//! own ends the daemon: there is no half-alive one.
//!
//! A lane that no route uses any more (`plan`) runs until its sessions and its queue are empty, and is put away
//! (`retired`).

mod cursor_topic;
mod data_dir;
mod format;
mod forward;
mod hand;
mod keys;
mod lane;
mod lane_marks;
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
mod threads;
mod view;
mod watch;

use std::path::Path;
use std::sync::Arc;

pub use data_dir::{DataDir, DataDirError};
pub use format::FormatError;
pub use hand::Stopped;

use crate::config::Config;
use crate::exit::Exit;
use crate::identity::{self, IdentityError, Machine};
use crate::ops::hand::KnownError;
use crate::ops::{Look, logging, systemd};
use crate::sink::dead_letter::KeepError;
use crate::slots::SlotError;
use crate::{clock, config, queue, source};
use stages::Stages;
pub use view::{LaneView, View};

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
            | Self::Identity(IdentityError::Io { .. }) => Exit::Storage,
            Self::Identity(_) | Self::LaneMark { .. } => Exit::Usage,
            Self::Source { source, .. } => match source.is_storage() {
                true => Exit::Storage,
                false => Exit::Usage,
            },
            Self::Fenced { .. } => Exit::Fenced,
            Self::Clock(_) | Self::Start(_) | Self::StageEnded(_) => Exit::Failure,
        }
    }
}

/// `edgeferry run`: from the file to the exit code.
#[must_use]
pub fn run_from_file(path: &Path) -> Exit {
    logging::init();
    memory::settle();
    crate::drill::end_with_drill();
    let (config, warnings) = match config::load(path) {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!("{error}");
            return Exit::Usage;
        }
    };
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    match run_until_signal(&config) {
        Ok(()) => Exit::Stopped,
        Err(error) => {
            tracing::error!(%error, "stopped");
            error.exit()
        }
    }
}

fn run_until_signal(config: &Config) -> Result<(), AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (stop, hangup) = (stop_signal()?, reload::hangup()?);
        outlive_file_limit()?;
        let daemon = Daemon::start(config)?;
        let view = daemon.view();
        tokio::select! {
            ended = daemon.run(stop) => ended,
            never = reload::over(hangup, view, config) => match never {},
        }
    })
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
        let stages = Stages::start(config, &data_dir, &identity)?;
        let version = env!("CARGO_PKG_VERSION");
        let partitioner = config.kafka.partitioner.name();
        tracing::info!(version, gateway = identity.gateway, epoch = %identity.epoch, partitioner, "running");
        systemd::ready();
        Ok(Self {
            stages,
            _data_dir: data_dir,
        })
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
        let ended = tokio::select! {
            () = stop => None,
            error = self.stages.ended() => Some(error),
            never = watch::over(view, look) => match never {},
        };
        systemd::stopping();
        tracing::info!("stopping");
        self.stages.stop().await;
        match ended {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }
}
