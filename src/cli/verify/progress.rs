//! How far a long reading is, on one line of a terminal; nothing anywhere else.
//!
//! The crate for this, `indicatif`, brings five more for what are thirty lines here.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Instant;

/// Takes the line away (ECMA-48: carriage return, erase in line).
const ERASE: &str = "\r\x1b[K";
/// Characters of the bar.
const WIDTH: u64 = 30;

pub(super) struct Progress {
    total: u64,
    done: u64,
    began: Instant,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new(total: u64) -> Self {
        Self {
            total,
            done: 0,
            began: Instant::now(),
            is_shown: io::stderr().is_terminal(),
        }
    }

    pub(super) const fn add(&mut self, records: u64) {
        self.done += records;
    }

    /// Draws it as it is now.
    pub(super) fn show(&self) {
        if self.is_shown {
            let line = line(self.done, self.total, self.began.elapsed().as_secs_f64());
            drop(write!(io::stderr(), "{ERASE}{line}").and_then(|()| io::stderr().flush()));
        }
    }

    /// Leaves the line to others.
    pub(super) fn clear(&self) {
        if self.is_shown {
            drop(write!(io::stderr(), "{ERASE}"));
        }
    }
}

/// Offsets are not all records (transactions have markers), so it may end before the end.
fn line(done: u64, total: u64, seconds: f64) -> String {
    let filled = done.min(total) * WIDTH / total.max(1);
    let bar = |count: u64, sign: &str| sign.repeat(usize::try_from(count).unwrap_or(0));
    let rate = format!("{:.0}", as_f64(done) / seconds.max(0.001));
    format!(
        "[{}{}] {done} of {total} records, {rate}/s",
        bar(filled, "#"),
        bar(WIDTH - filled, ".")
    )
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
pub(super) const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_stays_within_its_width() {
        assert_eq!(
            line(0, 0, 0.0),
            "[..............................] 0 of 0 records, 0/s"
        );
        assert_eq!(
            line(50, 100, 1.0),
            "[###############...............] 50 of 100 records, 50/s"
        );
        assert!(line(200, 100, 1.0).starts_with("[##############################] 200"));
    }
}
