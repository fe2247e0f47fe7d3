//! A wake-up between threads that cannot be missed.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Raised by anybody, waited for by one thread. A signal raised while nobody waits ends the next wait.
#[derive(Debug, Default)]
pub struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Ends the current wait, or the next one.
    pub fn raise(&self) {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        if !*raised {
            *raised = true;
            self.changed.notify_one();
        }
    }

    /// Lowers the signal. Whether it was raised.
    pub fn take(&self) -> bool {
        std::mem::take(&mut *self.raised.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the signal is raised, `timeout` at most, and lowers it.
    pub fn wait(&self, timeout: Duration) {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut raised, _) = self
            .changed
            .wait_timeout_while(raised, timeout, |raised| !*raised)
            .unwrap_or_else(PoisonError::into_inner);
        *raised = false;
    }
}
