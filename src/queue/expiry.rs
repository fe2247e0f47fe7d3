//! `max_age`: when a message is too old to be delivered.
//!
//! Only a time that was synchronised says so: a board without a clock battery wakes up in 1970 or in the year of its
//! image, and must not throw away its backlog by that.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::message::Stamp;

/// The clock, from outside.
pub type Now = Arc<dyn Fn() -> Stamp + Send + Sync>;

/// The limit and the clock it is judged by.
#[derive(Clone)]
pub(super) struct Expiry {
    pub(super) max_age: Duration,
    pub(super) now: Now,
}

impl fmt::Debug for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expiry").field(&self.max_age).finish()
    }
}

impl Expiry {
    /// Whether a message that arrived at `arrival` is too old now. Never, unless both times were synchronised.
    pub(super) fn is_over(&self, arrival: &Stamp) -> bool {
        arrival.synchronised && self.is_past(arrival.unix_ms)
    }

    /// The same for a synchronised time, milliseconds since 1970.
    pub(super) fn is_past(&self, unix_ms: i64) -> bool {
        let limit = i64::try_from(self.max_age.as_millis()).unwrap_or(i64::MAX);
        let now = (self.now)();
        now.synchronised && now.unix_ms.saturating_sub(unix_ms) > limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_mins(1);

    fn is_over(arrival: &Stamp, now: &Stamp, max_age: Duration) -> bool {
        let now = *now;
        let now = Arc::new(move || now);
        Expiry { max_age, now }.is_over(arrival)
    }

    fn at(unix_ms: i64, synchronised: bool) -> Stamp {
        Stamp {
            unix_ms,
            boot_ms: 0,
            boot: 0,
            synchronised,
        }
    }

    #[test]
    fn a_message_expires_behind_its_last_millisecond() {
        let over = |now| is_over(&at(1_000, true), &at(now, true), AGE);
        assert!(!over(61_000));
        assert!(over(61_001));
    }

    #[test]
    fn nothing_expires_by_a_time_that_was_not_synchronised() {
        let late = i64::MAX;
        assert!(is_over(&at(0, true), &at(late, true), AGE));
        assert!(!is_over(&at(0, false), &at(late, true), AGE));
        assert!(!is_over(&at(0, true), &at(late, false), AGE));
        assert!(!is_over(&at(0, false), &at(late, false), AGE));
    }

    #[test]
    fn a_message_from_the_future_is_not_old() {
        assert!(!is_over(&at(i64::MAX, true), &at(0, true), AGE));
        assert!(!is_over(&at(0, true), &at(i64::MIN, true), AGE));
    }
}
