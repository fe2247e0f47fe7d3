//! Signs of life of the stages' threads, for the watchdog.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Beaten by one thread in every round of its loop; read by the watchdog.
#[derive(Debug)]
pub struct Pulse {
    born: Instant,
    beaten_ms: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            born: Instant::now(),
            beaten_ms: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    /// That has not been beaten for so long.
    #[cfg(test)]
    pub(crate) fn silent_for(time: Duration) -> Self {
        Self {
            born: Instant::now()
                .checked_sub(time)
                .expect("the machine has run for longer"),
            beaten_ms: AtomicU64::new(0),
        }
    }

    /// Shows that the loop goes round.
    pub fn beat(&self) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beaten_ms.store(now, Ordering::Relaxed);
    }

    /// Time since the last beat.
    #[must_use]
    pub fn age(&self) -> Duration {
        let beaten = Duration::from_millis(self.beaten_ms.load(Ordering::Relaxed));
        self.born.elapsed().saturating_sub(beaten)
    }
}
