//! Record times that Kafka takes. Pure.
//!
//! A broker refuses a record whose time is too far ahead of its own clock (`message.timestamp.after.max.ms`, 1 h unless it
//! says otherwise) or too far behind (`message.timestamp.before.max.ms`, no limit), both with the same code, and the whole
//! batch with it. Neither says anything about the message, so it is sent again with another time:
//!
//! * One close to our own present was ahead: our clock is. Times are lowered by a **lag** that doubles from 1 h until they are
//!   taken.
//! * An older one was too old: times up to it, and a margin that doubles from 1 h, become the time of sending.
//!
//! A lowered time stays a function of the arrival and the lag (whole powers of two of an hour), so copies differ only where the lag
//! does. What was learned is forgotten when our clock is set, and after [`FORGET`].

use std::time::{Duration, Instant};

const HOUR_MS: i64 = 3_600_000;
/// How far a time may lie ahead of our own present: half of what brokers take. A clock that was set back a little is no
/// reason to change anything.
const AHEAD_MS: i64 = HOUR_MS / 2;
/// The lag ends at 2¹⁹ hours: 59 years, from an empty clock to today.
const LAGS: u32 = 20;
/// A lag is tried anew without, now and then: Kafka's clock may have been the wrong one.
const FORGET: Duration = Duration::from_hours(1);
/// A clock that moved by this much against the time since boot was set.
const SET_MS: i64 = AHEAD_MS;

/// A record time that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Milliseconds since 1970, at least 1.
    pub record_ms: i64,
    /// It lies before what it should be, because that is ahead.
    pub is_lowered: bool,
}

/// What a refused time leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Send it again with another time.
    Try,
    /// No time is taken, but ours is not known to be right yet: send it again later.
    Wait,
    /// No time is taken.
    GiveUp,
}

/// What is known of the times that Kafka takes. See the module documentation.
#[derive(Debug, Default)]
pub struct Timing {
    /// The lag is 2ⁿ⁻¹ hours; 0 is none.
    lag: u32,
    /// Times before this one are too old.
    oldest_ms: Option<i64>,
    /// Times that the margin was doubled.
    margin: u32,
    /// Since when, and how the wall clock stood against the time since boot.
    learned: Option<(Instant, i64)>,
    /// All was tried in vain, and nothing was taken since.
    is_spent: bool,
}

/// 2ⁿ hours, milliseconds.
const fn hours(power: u32) -> i64 {
    HOUR_MS << power
}

impl Timing {
    /// The time of a record that should have `time_ms`, now.
    #[must_use]
    pub fn fit(&self, time_ms: i64, now_ms: i64) -> Fit {
        let is_too_old = self.oldest_ms.is_some_and(|oldest| time_ms < oldest);
        let wanted = if is_too_old { now_ms } else { time_ms };
        let latest = match self.lag_ms() {
            0 => now_ms.saturating_add(AHEAD_MS),
            lag => now_ms.saturating_sub(lag),
        };
        let lowered = |power| wanted.saturating_sub(hours(power));
        let power = (0..LAGS).find(|power| lowered(*power) <= latest);
        let is_lowered = wanted > latest;
        let record_ms = match is_lowered {
            true => power.map_or(latest, lowered),
            false => wanted,
        };
        Fit {
            record_ms: record_ms.max(1),
            is_lowered,
        }
    }

    /// Kafka refused `record_ms`, for a record that should have `time_ms` and was sent alone.
    pub fn refused(&mut self, record_ms: i64, time_ms: i64, now_ms: i64, learned: (Instant, i64)) -> Next {
        if self.is_spent {
            return Next::GiveUp;
        }
        self.learned = Some(learned);
        let age = now_ms.saturating_sub(record_ms);
        if age <= HOUR_MS.max(self.lag_ms().saturating_mul(2)) {
            self.oldest_ms = None;
            self.lag += 1;
        } else {
            let margin = hours(self.margin.min(LAGS));
            self.oldest_ms = Some(time_ms.saturating_add(margin).min(now_ms));
            self.margin += 1;
        }
        if self.lag <= LAGS {
            return Next::Try;
        }
        *self = Self {
            is_spent: true,
            ..Self::default()
        };
        Next::GiveUp
    }

    /// Kafka took a record.
    pub const fn accepted(&mut self) {
        self.is_spent = false;
    }

    /// Forgets what was learned when that is long ago, or our clock was set since; `offset_ms` is how the wall clock stands
    /// against the time since boot. True when it forgot something.
    pub fn review(&mut self, now: Instant, offset_ms: i64) -> bool {
        let is_over = self.learned.is_some_and(|(since, offset)| {
            now.duration_since(since) > FORGET || offset_ms.abs_diff(offset) > SET_MS.unsigned_abs()
        });
        if is_over {
            *self = Self::default();
        }
        is_over
    }

    /// By how much times are lowered, milliseconds.
    #[must_use]
    pub const fn lag_ms(&self) -> i64 {
        match self.lag.checked_sub(1) {
            None => 0,
            Some(power) => hours(power),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026
    const NOW: i64 = 1_770_000_000_000;

    /// Sends a record to a broker that takes times in `window` (relative to `NOW`) until it is taken; its time then, and how
    /// often it was refused.
    fn send(timing: &mut Timing, time_ms: i64, window: (i64, i64)) -> (Option<i64>, u32) {
        let learned = (Instant::now(), 0);
        let mut refused = 0;
        loop {
            let sent = timing.fit(time_ms, NOW).record_ms;
            if (NOW + window.0..=NOW + window.1).contains(&sent) {
                timing.accepted();
                return (Some(sent), refused);
            }
            refused += 1;
            if timing.refused(sent, time_ms, NOW, learned) == Next::GiveUp {
                return (None, refused);
            }
        }
    }

    #[test]
    fn a_time_that_kafka_takes_is_not_changed() {
        for time in [1, NOW - 1, NOW, NOW + AHEAD_MS] {
            let fit = Timing::default().fit(time, NOW);
            assert_eq!((fit.record_ms, fit.is_lowered), (time, false));
        }
        assert_eq!(Timing::default().fit(-5, NOW).record_ms, 1);
    }

    #[test]
    fn a_time_ahead_of_our_own_clock_is_lowered_by_whole_hours() {
        let fit = Timing::default().fit(NOW + 2 * HOUR_MS, NOW);
        assert_eq!((fit.record_ms, fit.is_lowered), (NOW, true));
        let fit = Timing::default().fit(i64::MAX, NOW);
        assert!(fit.is_lowered && fit.record_ms <= NOW + AHEAD_MS);
    }

    #[test]
    fn a_clock_two_hours_ahead_is_taken_at_the_next_try() {
        let mut timing = Timing::default();
        let window = (i64::MIN / 2, -HOUR_MS);
        assert_eq!(send(&mut timing, NOW, window), (Some(NOW - HOUR_MS), 1));
        assert_eq!(send(&mut timing, NOW - 60_000, window).1, 0, "it is known by now");
        let old = NOW - 5 * HOUR_MS;
        assert_eq!(
            send(&mut timing, old, window),
            (Some(old), 0),
            "old messages keep theirs"
        );
    }

    #[test]
    fn what_is_too_old_is_sent_with_the_time_of_sending() {
        let mut timing = Timing::default();
        let day = 24 * HOUR_MS;
        let window = (-7 * day, HOUR_MS);
        assert_eq!(send(&mut timing, NOW - 10 * day, window), (Some(NOW), 1));
        let mut refused = 0;
        for hours_ago in (0..=240).rev() {
            let (sent, count) = send(&mut timing, NOW - hours_ago * HOUR_MS, window);
            assert!(sent.is_some());
            refused += count;
        }
        assert!(refused <= 8, "the margin doubles: {refused}");
        assert_eq!(
            send(&mut timing, NOW - 60_000, window).0,
            Some(NOW - 60_000),
            "the present keeps its time"
        );
    }

    #[test]
    fn when_no_time_is_taken_it_ends_and_the_next_one_ends_at_once() {
        let mut timing = Timing::default();
        let never = (1, 0);
        let (sent, refused) = send(&mut timing, NOW - 5 * HOUR_MS, never);
        assert!(sent.is_none() && refused <= 3 * LAGS, "{refused}");
        assert_eq!(send(&mut timing, NOW, never), (None, 1));
        assert_eq!(send(&mut timing, NOW, (-10, 10)), (Some(NOW), 0));
        assert!(
            send(&mut timing, NOW, never).1 > 1,
            "taken in between: all is tried again"
        );
    }

    #[test]
    fn what_was_learned_is_forgotten_when_the_clock_is_set_and_after_an_hour() {
        let start = Instant::now();
        let learned = || {
            let mut timing = Timing::default();
            timing.refused(NOW, NOW, NOW, (start, 1_000));
            timing
        };
        assert!(!learned().review(start, 1_000 + SET_MS));
        assert!(learned().review(start, 1_001 + SET_MS));
        assert!(!learned().review(start + FORGET, 1_000));
        assert!(learned().review(start + FORGET + Duration::from_secs(1), 1_000));
        assert!(!Timing::default().review(start, 0));
    }

    proptest! {
        #[test]
        fn no_clock_is_so_far_ahead_that_nothing_is_taken(
            ahead in 0..NOW,
            ages in prop::collection::vec(0_i64..40 * 24 * HOUR_MS, 1..8),
        ) {
            // The broker's present is `ahead` behind ours; it takes everything up to an hour ahead of its own.
            let mut timing = Timing::default();
            for age in ages {
                let (sent, refused) = send(&mut timing, NOW - age, (i64::MIN / 2, HOUR_MS - ahead));
                prop_assert!(sent.is_some() && refused <= 3 * LAGS);
            }
        }
    }
}
