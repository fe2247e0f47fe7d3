//! The wish that a show or a drill ends, seen by whoever waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::signal::Signal;

/// Ctrl-C, SIGTERM, or whatever else ends it early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Raised once. Only one thread may wait.
#[derive(Debug, Default)]
pub struct Interrupt {
    raised: AtomicBool,
    signal: Signal,
}

impl Interrupt {
    /// Ends every wait from now on.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.signal.raise();
    }

    /// Lets time pass until `deadline`.
    ///
    /// # Errors
    /// [`Interrupted`], at once.
    pub fn wait_until(&self, deadline: Instant) -> Result<(), Interrupted> {
        loop {
            if self.raised.load(Ordering::Acquire) {
                return Err(Interrupted);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return Ok(());
            }
            self.signal.wait(left);
        }
    }
}
