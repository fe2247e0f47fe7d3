//! The clocks behind a [`Stamp`]: wall clock, time since boot, which boot, and whether the wall clock is
//! right.
//!
//! The last is known from `systemd-timesyncd` only. The kernel's own word (`adjtimex`) would hold for every time service, but
//! no safe crate was found that asks for it (rustix 1.1 does not), and what chrony keeps on disk (its drift file) survives
//! reboots and so does not tell about this one. With chrony a right clock is therefore stamped as not known to be synchronised.
//! Where it cannot be known at all nobody is told to
//! see to it: see [`Clock::is_synchronised`].
//!
//! What can be said later of times that were wrong is in [`facts`].

pub mod facts;
mod notes;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::faults;
use crate::message::Stamp;
pub use facts::{Correction, Opened, Told, UNSYNCHRONISED};
pub use notes::Notes;

/// The kernel's id of this boot: a random UUID, made once per boot (`random(4)`).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// `systemd-timesyncd` makes this file at the first synchronisation after boot (systemd-timesyncd(8)); `/run`
/// is empty after boot, so it never tells of an earlier one.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
/// Its folder, which is there for as long as the service is: without it nobody says whether the clock is right.
const TIMESYNCD: &str = "/run/systemd/timesync";

/// How long "not synchronised" is believed before it is looked up again, milliseconds: often enough that a
/// correction is stamped promptly, rarely enough to cost nothing per message.
const RECHECK_MS: u64 = 1_000;

/// Why there is no clock.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not tell its boot id.
    #[error("cannot read {BOOT_ID}: {0}")]
    Unreadable(#[source] io::Error),
    /// What it tells does not begin with 16 hex digits.
    #[error("{BOOT_ID} holds `{0}`, which is no UUID")]
    NoUuid(String),
}

/// Makes stamps. Cheap to clone; clones share what they know.
#[derive(Debug, Clone)]
pub struct Clock {
    boot: u64,
    synchronised: Arc<Synchronised>,
}

/// Whether the wall clock was ever synchronised in this boot. Once true it stays: a synchronised clock drifts
/// by seconds per day, an unset one is wrong by years.
#[derive(Debug)]
struct Synchronised {
    known: AtomicBool,
    /// Milliseconds since boot at which to look again.
    look_at_ms: AtomicU64,
    /// When this boot began by the right clock; set once.
    began_ms: OnceLock<i64>,
    probe: fn() -> Option<bool>,
}

impl Clock {
    /// The clocks of this machine.
    ///
    /// # Errors
    /// When the kernel's boot id cannot be read: without it no two stamps could be compared.
    pub fn system() -> Result<Self, Error> {
        let text = match faults::boot_id() {
            Some(other) => other,
            None => fs::read_to_string(BOOT_ID).map_err(Error::Unreadable)?,
        };
        let boot = parse_boot_id(&text).ok_or(Error::NoUuid(text))?;
        Ok(Self::with_probe(boot, || {
            faults::clock_synchronised().or_else(by_timesyncd)
        }))
    }

    /// A clock of the boot `boot`; `probe` tells whether the wall clock is synchronised, `None` where nobody knows.
    #[doc(hidden)]
    #[must_use]
    pub fn with_probe(boot: u64, probe: fn() -> Option<bool>) -> Self {
        let synchronised = Synchronised {
            known: AtomicBool::new(false),
            look_at_ms: AtomicU64::new(0),
            began_ms: OnceLock::new(),
            probe,
        };
        Self {
            boot,
            synchronised: Arc::new(synchronised),
        }
    }

    /// First eight bytes of the kernel's boot id.
    #[must_use]
    pub const fn boot(&self) -> u64 {
        self.boot
    }

    /// Now, in every sense.
    #[must_use]
    pub fn now(&self) -> Stamp {
        // Asked first: a wall clock that is read after it was set is right.
        let synchronised = self.synchronised.at(since_boot_ms());
        let (boot_ms, unix_ms) = (since_boot_ms(), unix_ms());
        if synchronised {
            let since_boot = i64::try_from(boot_ms).unwrap_or(i64::MAX);
            self.synchronised
                .began_ms
                .get_or_init(|| unix_ms.saturating_sub(since_boot));
        }
        Stamp {
            unix_ms,
            boot_ms,
            boot: self.boot,
            synchronised,
        }
    }

    /// Whether the wall clock is right; `None` where nothing on this machine says so either way.
    #[must_use]
    pub fn is_synchronised(&self) -> Option<bool> {
        match self.synchronised.at(since_boot_ms()) {
            true => Some(true),
            false => (self.synchronised.probe)(),
        }
    }

    /// When this boot began by the right clock. The same at every call; `None` until the clock was seen to be synchronised.
    #[must_use]
    pub fn correction(&self) -> Option<Correction> {
        let began_ms = *self.synchronised.began_ms.get()?;
        Some(Correction {
            boot: self.boot,
            began_ms,
        })
    }
}

/// The wall clock, milliseconds since 1970, for whoever needs no more than that.
#[must_use]
pub fn unix_ms() -> i64 {
    if let Some((unix_ms, _)) = faults::clocks() {
        return unix_ms;
    }
    millis(clock_gettime(ClockId::Realtime)).saturating_add(faults::clock_shift_ms())
}

/// The monotonic clock. tokio's, which is the machine's unless a test drives the runtime's: then the queue and the sink go by
/// the same clock as the source.
#[must_use]
pub(crate) fn instant() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Milliseconds since boot.
fn since_boot_ms() -> u64 {
    if let Some((_, boot_ms)) = faults::clocks() {
        return boot_ms;
    }
    u64::try_from(millis(clock_gettime(ClockId::Boottime))).unwrap_or(0)
}

impl Synchronised {
    fn at(&self, boot_ms: u64) -> bool {
        if self.known.load(Ordering::Relaxed) {
            return true;
        }
        if boot_ms < self.look_at_ms.load(Ordering::Relaxed) {
            return false;
        }
        self.look_at_ms
            .store(boot_ms.saturating_add(RECHECK_MS), Ordering::Relaxed);
        let synchronised = (self.probe)() == Some(true);
        self.known.store(synchronised, Ordering::Relaxed);
        synchronised
    }
}

/// What `systemd-timesyncd` says; `None` where it does not run.
fn by_timesyncd() -> Option<bool> {
    match Path::new(SYNCHRONISED).exists() {
        true => Some(true),
        false => Path::new(TIMESYNCD).exists().then_some(false),
    }
}

/// Milliseconds, rounded down; 0 for a time before the clock's zero, which no working clock shows.
fn millis(time: Timespec) -> i64 {
    let since_zero = Duration::try_from(time).unwrap_or_default();
    i64::try_from(since_zero.as_millis()).unwrap_or(i64::MAX)
}

/// The first eight bytes of a UUID in text form.
fn parse_boot_id(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    if digits.len() < 16 {
        None
    } else {
        u64::from_str_radix(&digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_id_is_its_first_eight_bytes() {
        let text = "01234567-89ab-cdef-ffff-ffffffffffff\n";
        assert_eq!(parse_boot_id(text), Some(0x0123_4567_89ab_cdef));
        assert_eq!(parse_boot_id("01234567-89ab-cde"), None);
    }

    #[test]
    fn stamps_of_one_boot_ascend() {
        let clock = Clock::system().expect("Linux has a boot id");
        let (first, second) = (clock.now(), clock.now());
        assert_eq!(first.boot, second.boot);
        assert!(first.boot_ms <= second.boot_ms);
        assert!(first.unix_ms > 0);
    }

    #[test]
    fn unsynchronised_is_asked_again_and_synchronised_stays() {
        let clock = Clock::with_probe(1, || Some(true));
        assert!(clock.now().synchronised);
        assert_eq!(clock.is_synchronised(), Some(true));
        let clock = Clock::with_probe(1, || Some(false));
        assert_eq!(clock.is_synchronised(), Some(false));
        let clock = Clock::with_probe(1, || Some(false));
        assert!(!clock.synchronised.at(5_000));
        assert_eq!(clock.synchronised.look_at_ms.load(Ordering::Relaxed), 6_000);
        assert!(!clock.synchronised.at(5_999), "not asked again before its time");
    }

    #[test]
    fn where_nobody_says_whether_the_clock_is_right_it_is_stamped_as_not_known_to_be() {
        let clock = Clock::with_probe(1, || None);
        assert_eq!(clock.is_synchronised(), None);
        assert!(!clock.now().synchronised);
    }
}
