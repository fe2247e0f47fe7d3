//! Holds back a line that repeats without end. Pure but for its lock.
//!
//! A card with a journal of 50 MB must not lose what happened last month because one line came a thousand times a second
//! today.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A line about the same thing is said so often at most in a [`WINDOW`]: enough to see what is going on.
pub const BURST: u32 = 20;
/// The same message is said so often at most in a [`WINDOW`], whatever it is about: a thousand topics that do not exist are
/// one trouble.
pub const BURST_OF_ALL: u32 = 100;
/// See [`BURST`]: together 120 lines an hour of one trouble.
pub const WINDOW: Duration = Duration::from_mins(10);
/// Messages and subjects that are remembered, some 50 bytes each. With more, those whose window is over are forgotten, then all.
const SUBJECTS_MAX: usize = 2048;

/// What is to be done with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Say it, and how many like it were held back before.
    Say {
        /// Since the last one that was said.
        held_back: u64,
    },
    /// Do not.
    Hold,
}

/// What was said lately.
#[derive(Debug, Default)]
pub struct Flood(Mutex<BTreeMap<u64, Bucket>>);

#[derive(Debug)]
struct Bucket {
    begun: Instant,
    said: u32,
    held_back: u64,
}

impl Flood {
    /// Judges one line: `message` stands for its words, `subject` for those and what it is about.
    pub fn judge(&self, message: u64, subject: u64, now: Instant) -> Verdict {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut buckets, now);
        let own = bucket(&mut buckets, subject, now).judge(BURST);
        if own == Verdict::Hold || message == subject {
            return own;
        }
        match bucket(&mut buckets, message, now).judge(BURST_OF_ALL) {
            Verdict::Say { .. } => own,
            Verdict::Hold => {
                // It was not said after all.
                bucket(&mut buckets, subject, now).take_back(own);
                Verdict::Hold
            }
        }
    }
}

fn make_room(buckets: &mut BTreeMap<u64, Bucket>, now: Instant) {
    // One line adds two at most.
    if buckets.len() + 2 > SUBJECTS_MAX {
        buckets.retain(|_, bucket| now.duration_since(bucket.begun) < WINDOW);
        if buckets.len() + 2 > SUBJECTS_MAX {
            buckets.clear();
        }
    }
}

fn bucket(buckets: &mut BTreeMap<u64, Bucket>, key: u64, now: Instant) -> &mut Bucket {
    let bucket = buckets.entry(key).or_insert(Bucket {
        begun: now,
        said: 0,
        held_back: 0,
    });
    if now.duration_since(bucket.begun) >= WINDOW {
        bucket.begun = now;
        bucket.said = 0;
    }
    bucket
}

impl Bucket {
    fn judge(&mut self, burst: u32) -> Verdict {
        if self.said >= burst {
            self.held_back = self.held_back.saturating_add(1);
            return Verdict::Hold;
        }
        self.said += 1;
        Verdict::Say {
            held_back: std::mem::take(&mut self.held_back),
        }
    }

    fn take_back(&mut self, said: Verdict) {
        if let Verdict::Say { held_back } = said {
            self.said = self.said.saturating_sub(1);
            self.held_back = held_back.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that are said of one line every `step` for `time`.
    fn said(step: Duration, time: Duration) -> (u32, u64) {
        let (flood, start) = (Flood::default(), Instant::now());
        let (mut lines, mut held) = (0, 0);
        let mut at = Duration::ZERO;
        while at < time {
            if let Verdict::Say { held_back } = flood.judge(9, 1, start + at) {
                lines += 1;
                held += held_back;
            }
            at += step;
        }
        (lines, held)
    }

    #[test]
    fn a_line_that_comes_all_the_time_for_an_hour_is_a_hundred_lines_and_none_is_forgotten() {
        let hour = Duration::from_hours(1);
        let (lines, held) = said(Duration::from_millis(10), hour);
        assert_eq!(lines, BURST * 6);
        // The last window's are told with the next line after it.
        assert_eq!(held, 5 * (60_000 - u64::from(BURST)));
    }

    #[test]
    fn what_comes_now_and_then_is_said_each_time() {
        let (lines, held) = said(Duration::from_secs(31), Duration::from_hours(1));
        assert_eq!((lines, held), (117, 0));
    }

    #[test]
    fn one_trouble_does_not_hush_up_another() {
        let (flood, now) = (Flood::default(), Instant::now());
        for _ in 0..100 {
            flood.judge(9, 1, now);
        }
        assert_eq!(flood.judge(9, 1, now), Verdict::Hold);
        assert_eq!(flood.judge(9, 2, now), Verdict::Say { held_back: 0 });
    }

    #[test]
    fn a_message_about_thousands_of_things_is_held_back_too() {
        let (flood, now) = (Flood::default(), Instant::now());
        let about = (0..1000).filter(|topic| flood.judge(9, 1_000 + topic, now) != Verdict::Hold);
        assert_eq!(about.count(), BURST_OF_ALL as usize);
        assert_eq!(
            flood.judge(8, 1, now),
            Verdict::Say { held_back: 0 },
            "others go on"
        );
        let later = now + WINDOW;
        assert_eq!(flood.judge(9, 1_999, later), Verdict::Say { held_back: 1 });
    }

    #[test]
    fn it_remembers_so_many_subjects_and_no_more() {
        let (flood, now) = (Flood::default(), Instant::now());
        for subject in 0..10 * SUBJECTS_MAX as u64 {
            flood.judge(9, subject, now);
        }
        let known = flood.0.lock().expect("nobody panicked").len();
        assert!(known <= SUBJECTS_MAX, "{known}");
    }
}
