//! A slow look ahead through closed generations that nobody has read yet, so that damage is known before delivery comes to
//! it.
//!
//! One generation a minute, read by a thread of its own in steps of 256 KiB with pauses between them: 5 MiB/s at most, for
//! two seconds in a minute, so that a reader or a writer never waits for more than one such step. Nothing that is found is
//! kept in memory but the gaps. Each generation is looked at once a day.

use std::time::{Duration, Instant};

use super::Waker;
use super::row::{Access, Row};
use super::salvage::{Pace, Salvage, Threads};
use crate::message::Seq;
use crate::queue::store::Gap;

/// A generation is begun this often.
const INTERVAL: Duration = Duration::from_mins(1);
/// Between two steps.
const PAUSE: Duration = Duration::from_millis(50);
/// The next round begins this long after the one before.
const ROUND: Duration = Duration::from_hours(24);

/// How far the look got.
#[derive(Debug)]
pub(super) struct Scrub {
    due: Instant,
    round: Instant,
    /// Generations that begin here or before were looked at in this round.
    done: Seq,
    running: Option<(Seq, Salvage)>,
}

impl Scrub {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            due: now + INTERVAL,
            round: now,
            done: Seq::ZERO,
            running: None,
        }
    }

    /// Ends a look, or begins the next one when it is due. Returns what was not found.
    pub(super) fn go_on(
        &mut self,
        now: Instant,
        row: &mut Row,
        threads: &Threads,
        limit: Duration,
    ) -> Vec<Gap> {
        if let Some((first, salvage)) = self.running.take_if(|(_, salvage)| salvage.wait(Duration::ZERO)) {
            if !salvage.is_complete() {
                return Vec::new();
            }
            let found = salvage.finish().ok().zip(row.behind(first));
            return found.map_or_else(Vec::new, |(index, behind)| index.gaps(first, behind.previous()));
        }
        if self.running.is_none() && now >= self.due {
            self.due = now + INTERVAL;
            self.begin(now, row, threads, limit);
        }
        Vec::new()
    }

    fn begin(&mut self, now: Instant, row: &mut Row, threads: &Threads, limit: Duration) {
        if now.duration_since(self.round) >= ROUND {
            self.round = now;
            self.done = Seq::ZERO;
        }
        // The newest one is being written.
        let closed = row.entries.len().saturating_sub(1);
        let unread = row
            .entries
            .iter()
            .take(closed)
            .find(|entry| entry.first > self.done && entry.is_unread());
        let Some(first) = unread.map(|entry| entry.first) else {
            return;
        };
        self.done = first;
        let Some(Access::Unread(path)) = row.access(first) else {
            return;
        };
        let pace = Pace { limit, pause: PAUSE };
        match Salvage::start(&path, pace, threads, Waker::new(|| {})) {
            Ok(salvage) => self.running = Some((first, salvage)),
            Err(error) => tracing::debug!(%error, "cannot look ahead now"),
        }
    }

    /// The next look begins at once.
    #[cfg(test)]
    pub(super) fn hurry(&mut self) {
        self.due = Instant::now();
    }
}
