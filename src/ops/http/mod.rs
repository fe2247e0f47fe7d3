//! The daemon on HTTP: a page for people, metrics for Prometheus, health for load balancers, the state as JSON.
//!
//! Read only, and beside the path: everything runs on a thread of its own, `http`, with a runtime of its own, so that whatever
//! comes in cannot keep a message waiting. What is shown is at most a second old and made once for all who ask ([`board`]).
//! Whoever asks has limits, here in [`limits`]; what goes beyond them ends that one connection. Who may ask: [`access`].
//!
//! Nothing of this ever stops the daemon. An address that cannot be had yet, because another program has it or the
//! network is not there, is tried again (`TRY_AGAIN`).
//!
//! docs/monitoring.md describes it for users; decision 0023 says why it is so.

pub mod access;
pub mod board;
mod config;
pub mod exposition;
pub mod limits;
pub mod metrics;
mod page;
mod places;
mod serve;
mod service;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime;
use tokio_util::sync::CancellationToken;

use crate::ops::Look;
use crate::ops::history::History;
use access::Access;
use board::Board;
pub(crate) use config::resolve;
pub use config::{Config, Raw};
use service::Site;

/// How long until an address is tried again that cannot be had.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// How long its end may take when it is dropped.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// The server, running. Ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Begins to answer with looks of `look`; `None` if the configuration wants no HTTP, or the system gives no thread for it,
    /// which is said.
    #[must_use]
    pub fn start(config: &Config, look: Look) -> Option<Self> {
        let address = config.listen?;
        let access = Access::new(config.token_file.clone());
        let started = Self::start_with(address, access, look, History::default());
        started
            .inspect_err(|error| tracing::error!(%error, "http: cannot start; messages go on without it"))
            .ok()
    }

    /// Begins to answer at an address, with what the history should begin with.
    ///
    /// # Errors
    /// There cannot be another thread, or no runtime on it.
    pub fn start_with(address: SocketAddr, access: Access, look: Look, history: History) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || {
                let site = Arc::new(Site::new(access, Board::new(look, history)));
                runtime.block_on(stopped.run_until_cancelled(serve_at(address, site)));
                // What is still under way is of no use to anybody.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        let Some(thread) = self.thread.take() else { return };
        // It ends with what it is just making, which may be a look at a medium that stalls: no stop waits for that.
        let began = Instant::now();
        while !thread.is_finished() {
            if began.elapsed() >= PATIENCE {
                tracing::warn!("http: the thread looks at something that does not answer; it is left behind");
                return;
            }
            std::thread::park_timeout(LOOK);
        }
        if thread.join().is_err() {
            tracing::error!("http: the thread ended in disorder");
        }
    }
}

/// Serves for ever, as soon as it has the address.
async fn serve_at(address: SocketAddr, site: Arc<Site>) {
    let keeping = Arc::clone(&site);
    // Of its own, so that nothing that may go wrong with it touches the answers.
    tokio::spawn(keep_history(keeping));
    let listener = bound(address).await;
    tracing::info!(%address, "http: page, metrics and health are here");
    serve::over(listener, site).await;
}

/// For ever: what ends with a fault begins again, and says so.
async fn keep_history(site: Arc<Site>) {
    loop {
        let keeping = Arc::clone(&site);
        let ended = tokio::spawn(async move { keeping.board.keep_history().await }).await;
        tracing::error!(error = ?ended, "http: the history of the page has a gap; it goes on");
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// The address, sooner or later.
async fn bound(address: SocketAddr) -> TcpListener {
    let mut is_first = true;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if is_first => {
                is_first = false;
                tracing::warn!(
                    %address, %error,
                    "http: the address cannot be had; messages go on, and it is tried again. If another program has it, write \
                     another listen = in [http], or \"off\""
                );
            }
            Err(error) => tracing::debug!(%address, %error, "http: the address cannot be had"),
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

#[cfg(test)]
mod tests;
