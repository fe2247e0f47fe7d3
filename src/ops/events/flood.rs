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
/// Subjects that are remembered, some 60 bytes each. With more, the one that was begun first is forgotten: what was held back of it
/// counts for its message.
const SUBJECTS_MAX: usize = 2048;
/// Messages that are remembered. This program has some 200; libraries may put values into theirs.
const MESSAGES_MAX: usize = 512;

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
pub struct Flood(Mutex<Lately>);

#[derive(Debug, Default)]
struct Lately {
    messages: BTreeMap<u64, Bucket>,
    subjects: BTreeMap<u64, Subject>,
}

#[derive(Debug)]
struct Subject {
    message: u64,
    bucket: Bucket,
}

#[derive(Debug)]
struct Bucket {
    begun: Instant,
    said: u32,
    held_back: u64,
}

impl Flood {
    /// Judges one line: `message` stands for its words, `subject` for those and what it is about.
    pub fn judge(&self, message: u64, subject: u64, now: Instant) -> Verdict {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .judge(message, subject, now)
    }
}

impl Lately {
    fn judge(&mut self, message: u64, subject: u64, now: Instant) -> Verdict {
        // First of all: while it holds, subjects that are seen for the first time take no place.
        if self.message(message, now).is_full(BURST_OF_ALL) {
            self.message(message, now).hold();
            return Verdict::Hold;
        }
        let own = self.subject(subject, message, now);
        if own.is_full(BURST) {
            own.hold();
            return Verdict::Hold;
        }
        let of_subject = own.say();
        let of_message = self.message(message, now).say();
        Verdict::Say {
            held_back: of_subject.saturating_add(of_message),
        }
    }

    fn message(&mut self, key: u64, now: Instant) -> &mut Bucket {
        if self.messages.len() >= MESSAGES_MAX && !self.messages.contains_key(&key) {
            // Of a message that nobody knows any more there is nothing left to tell.
            remove_first(&mut self.messages, |bucket| bucket.begun);
        }
        self.messages.entry(key).or_insert(Bucket::new(now)).at(now)
    }

    fn subject(&mut self, key: u64, message: u64, now: Instant) -> &mut Bucket {
        if self.subjects.len() >= SUBJECTS_MAX
            && !self.subjects.contains_key(&key)
            && let Some(old) = remove_first(&mut self.subjects, |subject| subject.bucket.begun)
            && let Some(message) = self.messages.get_mut(&old.message)
        {
            message.held_back = message.held_back.saturating_add(old.bucket.held_back);
        }
        let subject = self.subjects.entry(key).or_insert(Subject {
            message,
            bucket: Bucket::new(now),
        });
        subject.bucket.at(now)
    }
}

/// Takes out the one that was begun first.
fn remove_first<T>(all: &mut BTreeMap<u64, T>, begun: impl Fn(&T) -> Instant) -> Option<T> {
    let first = all.iter().min_by_key(|(_, one)| begun(one)).map(|(key, _)| *key);
    first.and_then(|key| all.remove(&key))
}

impl Bucket {
    const fn new(now: Instant) -> Self {
        Self {
            begun: now,
            said: 0,
            held_back: 0,
        }
    }

    /// With a new window, where the old one is over.
    fn at(&mut self, now: Instant) -> &mut Self {
        if now.duration_since(self.begun) >= WINDOW {
            self.begun = now;
            self.said = 0;
        }
        self
    }

    const fn is_full(&self, burst: u32) -> bool {
        self.said >= burst
    }

    const fn hold(&mut self) {
        self.held_back = self.held_back.saturating_add(1);
    }

    /// Returns how many were held back before.
    const fn say(&mut self) -> u64 {
        self.said = self.said.saturating_add(1);
        std::mem::replace(&mut self.held_back, 0)
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
        assert_eq!(flood.judge(9, 1_999, later), Verdict::Say { held_back: 900 });
    }

    #[test]
    fn a_message_about_more_things_than_are_remembered_is_held_back_and_none_is_forgotten() {
        let (flood, start) = (Flood::default(), Instant::now());
        let subjects = 10 * SUBJECTS_MAX as u64;
        let (mut lines, mut held) = (0_u64, 0);
        // Three windows, and the first line of a fourth.
        for round in 0..3 {
            for subject in 0..subjects {
                if let Verdict::Say { held_back } = flood.judge(9, 1_000 + subject, start + WINDOW * round) {
                    lines += 1;
                    held += held_back;
                }
            }
        }
        assert_eq!(lines, 3 * u64::from(BURST_OF_ALL));
        let last = flood.judge(9, 1, start + WINDOW * 3);
        assert!(matches!(last, Verdict::Say { .. }), "{last:?}");
        if let Verdict::Say { held_back } = last {
            held += held_back;
        }
        assert_eq!(held, 3 * subjects - lines);
    }

    #[test]
    fn what_was_held_back_of_a_forgotten_subject_is_told_with_its_message() {
        let (flood, now) = (Flood::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        for _ in 0..BURST + 5 {
            flood.judge(9, 1, now);
        }
        // Other messages, so many that the first subject is forgotten.
        for subject in 0..SUBJECTS_MAX as u64 {
            flood.judge(100 + subject / 50, 10 + subject, later);
        }
        assert_eq!(flood.judge(9, 2, later), Verdict::Say { held_back: 5 });
    }

    #[test]
    fn it_remembers_so_many_messages_and_subjects_and_no_more() {
        let (flood, now) = (Flood::default(), Instant::now());
        for number in 0..10 * SUBJECTS_MAX as u64 {
            flood.judge(number, 1_000_000 + number, now);
        }
        let lately = flood.0.lock().expect("nobody panicked");
        let known = (lately.messages.len(), lately.subjects.len());
        assert_eq!(known, (MESSAGES_MAX, SUBJECTS_MAX));
    }
}
