//! How long to wait before the next attempt.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Doubling from `first` to `cap`, each time spread by ±25 %, so that a fleet that lost its broker at one
/// moment does not come back at one moment.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
    random: StdRng,
}

/// The bounds make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a backoff needs 0 < first <= cap")]
pub struct Invalid;

impl Backoff {
    /// `seed` decides the spread.
    ///
    /// # Errors
    /// [`Invalid`] unless `0 < first <= cap`: a zero would retry without a pause for ever.
    pub fn new(first: Duration, cap: Duration, seed: u64) -> Result<Self, Invalid> {
        if first.is_zero() || first > cap {
            return Err(Invalid);
        }
        Ok(Self {
            first,
            cap,
            next: first,
            random: StdRng::seed_from_u64(seed),
        })
    }

    /// The next wait.
    pub fn next(&mut self) -> Duration {
        self.next_up_to(self.cap)
    }

    /// The next wait, doubling up to `cap` instead of the usual one.
    pub fn next_up_to(&mut self, cap: Duration) -> Duration {
        let wait = self.next.min(cap);
        self.next = wait.saturating_mul(2).min(cap);
        self.spread(wait)
    }

    /// The longest wait, at once: for what only a person can change.
    pub fn longest(&mut self) -> Duration {
        self.next = self.cap;
        self.spread(self.cap)
    }

    /// Something worked for long enough. Gives the wait before the first attempt that follows: 0 to `first`,
    /// at random.
    pub fn reset(&mut self) -> Duration {
        self.next = self.first;
        self.first.mul_f64(self.random.random_range(0.0..1.0))
    }

    fn spread(&mut self, wait: Duration) -> Duration {
        wait.mul_f64(self.random.random_range(0.75..=1.25))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn is_about(wait: Duration, seconds: u32) -> bool {
        let middle = SECOND * seconds;
        wait >= middle.mul_f64(0.74) && wait <= middle.mul_f64(1.26)
    }

    #[test]
    fn it_doubles_to_the_cap_and_stays() {
        for seed in 0..50 {
            let mut backoff = Backoff::new(SECOND, SECOND * 60, seed).expect("valid");
            for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
                assert!(is_about(backoff.next(), seconds));
            }
            assert!(backoff.reset() <= SECOND);
            assert!(is_about(backoff.next(), 1));
        }
    }

    #[test]
    fn a_longer_cap_goes_on_doubling() {
        let mut backoff = Backoff::new(SECOND, SECOND * 60, 1).expect("valid");
        assert!(is_about(backoff.longest(), 60));
        assert!(is_about(backoff.next_up_to(SECOND * 300), 60));
        assert!(is_about(backoff.next_up_to(SECOND * 300), 120));
        assert!(is_about(backoff.next(), 60), "back under the usual cap");
    }

    #[test]
    fn a_seed_decides_the_spread() {
        let waits = |seed| {
            let mut backoff = Backoff::new(SECOND, SECOND * 60, seed).expect("valid");
            [backoff.next(), backoff.next(), backoff.reset()]
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }

    #[test]
    fn senseless_bounds_are_refused() {
        assert_eq!(Backoff::new(Duration::ZERO, SECOND, 1).map(|_| ()), Err(Invalid));
        assert_eq!(Backoff::new(SECOND * 2, SECOND, 1).map(|_| ()), Err(Invalid));
        assert!(Backoff::new(SECOND, SECOND, 1).is_ok());
    }
}
