//! What only several looks at a lane tell: rates over the last seconds, and what happened in the last hour. Pure.
//!
//! Whoever looks adds to it. The service manager's status line does so every two seconds, so it is never far behind.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ops::state::{Lane, LastHour};
use crate::queue::Reason;

/// Rates are over so much time: long enough for group commits and transactions of seconds, short enough to see a stop.
const RECENT: Duration = Duration::from_secs(10);
/// Looks that are closer than this are one.
const RECENT_STEP: Duration = Duration::from_secs(1);
/// A rate over less says nothing.
const RECENT_LEAST: Duration = Duration::from_millis(500);
const HOUR: Duration = Duration::from_hours(1);
const HOUR_STEP: Duration = Duration::from_mins(1);

/// The counters of one look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    at: Instant,
    received: u64,
    delivered: u64,
    queued: u64,
    dead_lettered: u64,
    dropped: u64,
    lost: u64,
}

impl Sample {
    pub(super) fn of(lane: &Lane, at: Instant) -> Self {
        let removed = |reason: Reason| lane.ledger.removed.get(reason.name()).copied().unwrap_or(0);
        let dropped = [Reason::DroppedOldest, Reason::DroppedNewest, Reason::Expired];
        Self {
            at,
            received: lane.ledger.received,
            delivered: lane.ledger.delivered,
            queued: lane.ledger.queued,
            dead_lettered: lane.ledger.dead_lettered,
            dropped: dropped.into_iter().map(removed).sum::<u64>() + lane.letters.dropped,
            lost: removed(Reason::Damaged) + lane.letters.lost,
        }
    }
}

/// The last looks at one lane.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Over [`RECENT`] and one before it, oldest first: 12 of them.
    recent: VecDeque<Sample>,
    /// Over [`HOUR`] and one before it, oldest first: 62 of them.
    hour: VecDeque<Sample>,
    now: Option<Sample>,
}

impl History {
    /// Whether it still tells something of a lane that nobody saw since.
    pub(super) fn is_of_use(&self, now: Instant) -> bool {
        self.now.is_some_and(|last| now.duration_since(last.at) < HOUR)
    }

    pub(super) fn note(&mut self, sample: Sample) {
        keep(&mut self.recent, sample, RECENT, RECENT_STEP);
        keep(&mut self.hour, sample, HOUR, HOUR_STEP);
        self.now = Some(sample);
    }

    /// Says it of the lane that was noted last.
    pub(super) fn tell(&self, lane: &mut Lane) {
        let (Some(now), Some(recent), Some(hour)) = (self.now, self.recent.front(), self.hour.front()) else {
            return;
        };
        lane.last_hour = LastHour {
            dead_lettered: now.dead_lettered.saturating_sub(hour.dead_lettered),
            dropped: now.dropped.saturating_sub(hour.dropped),
            lost: now.lost.saturating_sub(hour.lost),
        };
        let time = now.at.duration_since(recent.at);
        if time < RECENT_LEAST {
            return;
        }
        let per_s = |now: u64, then: u64| as_f64(now.saturating_sub(then)) / time.as_secs_f64();
        lane.flow.in_per_s = per_s(now.received, recent.received);
        lane.flow.out_per_s = per_s(now.delivered, recent.delivered);
        let shrinks = per_s(recent.queued, now.queued);
        lane.flow.drained_in_s = (now.queued > 0 && shrinks > 0.0).then(|| as_f64(now.queued) / shrinks);
    }
}

/// Adds a sample unless the last one is younger than `step`, and keeps one that is as old as `time`.
fn keep(samples: &mut VecDeque<Sample>, sample: Sample, time: Duration, step: Duration) {
    let age = |known: &Sample| sample.at.duration_since(known.at);
    if samples.back().is_none_or(|last| age(last) >= step) {
        samples.push_back(sample);
    }
    while samples.get(1).is_some_and(|second| age(second) >= time) {
        samples.pop_front();
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::state::sample;

    /// A lane that has received, delivered, and lost so much.
    fn lane(received: u64, delivered: u64, lost: u64) -> Lane {
        let mut lane = sample::state().lanes.remove(0);
        lane.ledger.received = received;
        lane.ledger.delivered = delivered;
        lane.ledger.queued = received - delivered;
        lane.ledger.removed.insert("damaged".to_owned(), lost);
        lane.ledger.removed.insert("expired".to_owned(), 2 * lost);
        lane.ledger.dead_lettered = 3 * lost;
        lane
    }

    fn look(history: &mut History, lane: &mut Lane, at: Instant) {
        history.note(Sample::of(lane, at));
        history.tell(lane);
    }

    #[test]
    fn rates_are_those_of_the_last_seconds_and_say_when_the_backlog_is_gone() {
        let start = Instant::now();
        let mut history = History::default();
        let mut first = lane(10_000, 0, 0);
        first.flow = crate::ops::state::Flow::default();
        look(&mut history, &mut first, start);
        assert!(first.flow.in_per_s.abs() < 1e-9 && first.flow.drained_in_s.is_none());
        // 100 come and 600 go in a second, from the 60th on.
        for second in 1..=80_u64 {
            let gone = 600 * second.saturating_sub(60);
            let mut lane = lane(10_000 + 100 * second, gone, 0);
            look(&mut history, &mut lane, start + Duration::from_secs(second));
            let flow = &lane.flow;
            assert!((flow.in_per_s - 100.0).abs() < 1e-6, "{second}: {flow:?}");
            match second {
                ..=60 => assert_eq!(flow.drained_in_s, None, "{second}: it grows"),
                71.. => {
                    assert!((flow.out_per_s - 600.0).abs() < 1e-6, "{second}: {flow:?}");
                    let left = as_f64(lane.ledger.queued) / 500.0;
                    assert!((flow.drained_in_s.expect("it shrinks") - left).abs() < 1e-6);
                }
                _ => {}
            }
        }
        assert!(history.recent.len() <= 12 && history.hour.len() <= 62);
    }

    #[test]
    fn what_is_older_than_an_hour_is_not_of_the_last_hour() {
        let start = Instant::now();
        let mut history = History::default();
        look(&mut history, &mut lane(10, 10, 5), start);
        for minute in 1..=125_u64 {
            let lost = if minute < 30 { 5 } else { 12 };
            let mut lane = lane(10, 10, lost);
            look(&mut history, &mut lane, start + Duration::from_mins(minute));
            let expected = if (30..90).contains(&minute) { 7 } else { 0 };
            let told = lane.last_hour;
            assert_eq!(told.lost, expected, "minute {minute}");
            assert_eq!((told.dropped, told.dead_lettered), (2 * expected, 3 * expected));
        }
        assert!(history.hour.len() <= 62);
    }
}
