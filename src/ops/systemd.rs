//! Word to the service manager: ready, status, watchdog, stopping (sd_notify(3)). Without one nothing happens.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sd_notify::NotifyState;

/// Tells the service manager that the store is open and the stages run.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// Tells it that a reload has ended, well or not, and what came of it.
pub fn reloaded(line: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(line)]);
}

/// Tells it that a reload has begun; [`reloaded`] ends it. `Type=notify-reload` needs the time with it.
///
/// Not by `NotifyState::monotonic_usec_now` (sd-notify 0.5.0): on 32 bits it multiplies within 32 bits, which panics from 36 minutes
/// after a boot on. `tests/arm/run.rs` found it.
pub fn reloading() {
    let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
    let now = i128::try_from(now.as_micros()).unwrap_or(i128::MAX);
    send(&[NotifyState::Reloading, NotifyState::MonotonicUsec(now)]);
}

/// Tells it that a stop has begun.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Shows the state as the unit's status line.
pub fn status(line: &str) {
    send(&[NotifyState::Status(line)]);
}

/// Tells the watchdog that all is well.
pub fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// How often the watchdog wants to hear from us: half its limit, as sd_watchdog_enabled(3) advises.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}
