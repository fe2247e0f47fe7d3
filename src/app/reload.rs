//! SIGHUP: the secrets may have changed. The configuration file is not read again.

use std::convert::Infallible;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::View;
use crate::config::Config;
use crate::ops::systemd;
use crate::sink;

/// Takes SIGHUP from now on: without that it would end the process.
///
/// # Errors
/// The system's reason.
pub fn hangup() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Tells the sinks at each SIGHUP, for ever. Their clients read secrets when they are made; one whose link is well
/// goes on as it is.
pub async fn over(mut hangup: Signal, view: View, config: &Config) -> Infallible {
    while hangup.recv().await.is_some() {
        systemd::reloading();
        match sink::check_secrets(&config.kafka.security) {
            Ok(()) => tracing::info!("secrets are read again; the configuration file is not"),
            Err(error) => tracing::error!(%error, "a secret cannot be read"),
        }
        view.certificates().look_again();
        for lane in view.lanes() {
            lane.sink.reload();
            lane.queue.wake_reader();
        }
        systemd::ready();
    }
    // The runtime ends, and we with it.
    std::future::pending().await
}
