//! The daemon, on a thread of its own.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

use crate::app::{AppError, Daemon, View, stop_signal};
use crate::config::Config;
use crate::interrupt::Interrupt;
use crate::ops::Look;

/// The running daemon. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Pipeline {
    view: View,
    look: Look,
    stop: CancellationToken,
    thread: Option<JoinHandle<Result<(), AppError>>>,
}

impl Pipeline {
    /// Starts the daemon, and raises `interrupt` at SIGTERM, at SIGINT and when the daemon ends.
    pub(super) fn start(config: Config, interrupt: Arc<Interrupt>) -> Result<Self, AppError> {
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let (started, is_started) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("pipeline".to_owned())
            .spawn(move || run(&config, &started, stopping, &interrupt))?;
        match is_started.recv() {
            Ok((view, look)) => Ok(Self {
                view,
                look,
                stop,
                thread: Some(thread),
            }),
            // It ended without a view.
            Err(_) => match join(thread) {
                Ok(()) => Err(ended_early()),
                Err(error) => Err(error),
            },
        }
    }

    /// For onlookers.
    pub(super) const fn view(&self) -> &View {
        &self.view
    }

    /// Takes looks at the whole.
    pub(super) const fn look(&self) -> &Look {
        &self.look
    }

    /// Stops it as SIGTERM stops the daemon.
    ///
    /// # Errors
    /// Why it ended before.
    pub(super) fn stop(mut self) -> Result<(), AppError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), AppError> {
        self.stop.cancel();
        self.thread.take().map_or(Ok(()), join)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "stopped");
        }
    }
}

fn run(
    config: &Config,
    started: &SyncSender<(View, Look)>,
    stop: CancellationToken,
    interrupt: &Arc<Interrupt>,
) -> Result<(), AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let asked = stop_signal()?;
        let daemon = Daemon::start(config)?;
        if started.send((daemon.view(), daemon.look())).is_err() {
            return Ok(());
        }
        let interrupted = Arc::clone(interrupt);
        // Does not stop the daemon: the one who tells the story does, after putting things right.
        tokio::spawn(async move {
            asked.await;
            interrupted.raise();
        });
        daemon.run(stop.cancelled_owned()).await
    });
    interrupt.raise();
    ended
}

fn join(thread: JoinHandle<Result<(), AppError>>) -> Result<(), AppError> {
    thread.join().unwrap_or_else(|_| Err(ended_early()))
}

fn ended_early() -> AppError {
    AppError::Start(io::Error::other("the pipeline's thread panicked"))
}
