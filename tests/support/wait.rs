//! Waiting: always for a condition, always with a deadline.

use std::time::{Duration, Instant, SystemTime};

/// How often a condition is looked at: short beside everything that is waited for, long beside the cost
/// of looking.
const POLL_EVERY: Duration = Duration::from_millis(20);

/// Polls `probe` until it gives a value.
///
/// # Panics
///
/// When it has given none for `limit`; the message says what was waited for.
pub fn until<T>(what: &str, limit: Duration, probe: impl FnMut() -> Option<T>) -> T {
    or_give_up(limit, probe).unwrap_or_else(|| panic!("waited {limit:?} in vain until {what}"))
}

/// Polls `probe` until it gives a value, or for at most `limit`.
pub fn or_give_up<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        pause(POLL_EVERY);
    }
}

/// Lets time pass because the scenario is about time ("Kafka is away for 90 s"), never because something
/// is hoped to have happened meanwhile.
pub fn let_pass(scenario: &str, duration: Duration) {
    eprintln!("{scenario}: {duration:?}");
    pause(duration);
}

#[expect(
    clippy::disallowed_methods,
    reason = "other processes cannot wake us; the deadline is the caller's"
)]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// What a device or a consumer reads off its own clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the parts around edgeferry do not share its clock"
)]
pub fn wall_clock() -> SystemTime {
    SystemTime::now()
}
