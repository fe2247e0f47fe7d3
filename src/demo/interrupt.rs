//! The wish that the demo ends, seen by whoever waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::demo::DemoError;
use crate::signal::Signal;

/// Raised once, by Ctrl-C, SIGTERM or the end of the pipeline. Only one thread may wait.
#[derive(Debug, Default)]
pub(super) struct Interrupt {
    raised: AtomicBool,
    signal: Signal,
}

impl Interrupt {
    /// Ends every wait from now on.
    pub(super) fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.signal.raise();
    }

    /// Lets time pass until `deadline`.
    ///
    /// # Errors
    /// [`DemoError::Interrupted`], at once.
    pub(super) fn wait_until(&self, deadline: Instant) -> Result<(), DemoError> {
        loop {
            if self.raised.load(Ordering::Acquire) {
                return Err(DemoError::Interrupted);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return Ok(());
            }
            self.signal.wait(left);
        }
    }
}
