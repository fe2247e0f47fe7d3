//! Whether there is room for what has arrived: one decision, from the lane's own budget and from the file system.
//!
//! The two are not the same to the user. The lane's budget is the lane's own matter: `on_full` says what to do. A file
//! system that runs low may be somebody else's doing, and somebody else's file must never make us drop data: then
//! nothing is taken, whatever `on_full` says.

use std::fmt;
use std::io;
use std::path::Path;

/// What an append may take beside its contents: pages that sled writes anew, the start of a segment or of a generation
/// (28 KiB and up were seen), and the stretch of its file that a generation makes ready (256 KiB).
const APPEND_BYTES: u64 = 384 * 1024;
/// sled was seen to write up to 2.6 times the contents of small groups.
const AMPLIFICATION: u64 = 3;

/// Space that storing `contents` bytes may take, rounded up.
pub(super) const fn growth(contents: u64) -> u64 {
    contents
        .saturating_mul(AMPLIFICATION)
        .saturating_add(APPEND_BYTES)
}

/// What is known at one moment, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gauge {
    /// Space the lane's folder takes.
    pub(super) bytes: u64,
    /// Space it may take.
    pub(super) max_bytes: u64,
    /// What storing that which has arrived may take, see [`growth`].
    pub(super) incoming: u64,
    /// Something waits for delivery: waiting can give space back.
    pub(super) backlog: bool,
    /// Space that the file system has for us; `None` when it does not say.
    pub(super) free: Option<u64>,
    /// Space to be left on the file system.
    pub(super) min_free: u64,
    /// The ballast is where it should be, or none is kept.
    pub(super) ballast: bool,
    /// The disk was low when it was looked at last.
    pub(super) was_low: bool,
}

/// The decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Store it.
    Free,
    /// The lane's own budget is used up.
    Full,
    /// The file system is short of space, whoever uses it.
    Low(Low),
}

/// Why the disk counts as low; its text is what people read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Low {
    free: Option<u64>,
    min_free: u64,
    ballast: bool,
}

impl fmt::Display for Low {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes: u64| bytesize::ByteSize::b(bytes);
        f.write_str("the disk is low")?;
        if let Some(free) = self.free {
            write!(
                f,
                ": {} free, min_free_bytes keeps {}",
                size(free),
                size(self.min_free)
            )?;
        }
        if self.ballast {
            Ok(())
        } else {
            f.write_str("; no room for the ballast")
        }
    }
}

impl Gauge {
    /// Decides. The disk comes first: when both are short, dropping would not be ours to do.
    pub(super) fn room(&self) -> Room {
        if self.is_low() {
            return Room::Low(Low {
                free: self.free,
                min_free: self.min_free,
                ballast: self.ballast,
            });
        }
        // With nothing left to deliver, waiting would never end: then the store is about to begin a new unit and give
        // back the rest.
        if self.backlog && self.bytes.saturating_add(self.incoming) > self.max_bytes {
            Room::Full
        } else {
            Room::Free
        }
    }

    fn is_low(&self) -> bool {
        // An eighth more to end it, so that a disk that hovers at its limit is not said again and again.
        let margin = if self.was_low { self.min_free / 8 } else { 0 };
        let wanted = self.min_free.saturating_add(margin).saturating_add(self.incoming);
        !self.ballast || self.free.is_some_and(|free| free < wanted)
    }
}

/// Space on the file system of `path` that an ordinary user may fill, bytes.
///
/// # Errors
/// What statvfs(3) answers; [`io::ErrorKind::Unsupported`] where it has no figures, as with some network file systems and those in
/// user space.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    if stat.f_blocks == 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: Gauge = Gauge {
        bytes: 500,
        max_bytes: 1000,
        incoming: 100,
        backlog: true,
        free: Some(10_000),
        min_free: 800,
        ballast: true,
        was_low: false,
    };

    #[test]
    fn the_budget_is_never_passed_and_used_to_the_last_byte() {
        let at = |bytes| Gauge { bytes, ..PLENTY }.room();
        assert_eq!(at(900), Room::Free);
        assert_eq!(at(901), Room::Full);
        assert_eq!(at(u64::MAX), Room::Full);
    }

    #[test]
    fn a_budget_that_waiting_cannot_free_is_not_waited_for() {
        let gauge = Gauge {
            bytes: 2000,
            backlog: false,
            ..PLENTY
        };
        assert_eq!(gauge.room(), Room::Free);
    }

    #[test]
    fn what_min_free_bytes_keeps_is_not_touched() {
        let at = |free| Gauge { free, ..PLENTY }.room();
        assert_eq!(at(Some(900)), Room::Free);
        assert!(matches!(at(Some(899)), Room::Low(_)));
        assert_eq!(at(None), Room::Free);
    }

    #[test]
    fn a_low_disk_counts_before_a_full_budget_and_without_a_backlog() {
        for backlog in [true, false] {
            let gauge = Gauge {
                bytes: 5000,
                free: Some(0),
                backlog,
                ..PLENTY
            };
            assert!(matches!(gauge.room(), Room::Low(_)));
        }
    }

    #[test]
    fn a_disk_that_was_low_needs_an_eighth_more_to_be_well_again() {
        let at = |free| {
            let gauge = Gauge {
                free: Some(free),
                was_low: true,
                ..PLENTY
            };
            gauge.room()
        };
        assert!(matches!(at(999), Room::Low(_)));
        assert_eq!(at(1000), Room::Free);
    }

    #[test]
    fn without_the_ballast_nothing_is_stored() {
        let gauge = Gauge {
            ballast: false,
            ..PLENTY
        };
        let Room::Low(low) = gauge.room() else {
            panic!("{:?}", gauge.room());
        };
        assert!(low.to_string().contains("ballast"), "{low}");
    }

    #[test]
    fn the_file_system_says_what_is_free() {
        assert!(free_bytes(Path::new("/")).expect("there") > 0);
        free_bytes(Path::new("/nowhere")).expect_err("not there");
        let untold = free_bytes(Path::new("/proc")).expect_err("it has no blocks");
        assert_eq!(untold.kind(), io::ErrorKind::Unsupported);
    }
}
