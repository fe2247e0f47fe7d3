//! What only several looks at a lane tell: rates over the last seconds, and what happened in the last hour. Pure.
//!
//! Whoever looks adds to it. The service manager's status line does so every two seconds, so it is never far behind.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::link::Link;
use crate::ops::state::{Lane, LastHour, Ledger};
use crate::queue::Reason;

/// Rates are over so much time: long enough for group commits and transactions of seconds, short enough to see a stop.
const RECENT: Duration = Duration::from_secs(10);
/// Looks that are closer than this are one.
const RECENT_STEP: Duration = Duration::from_secs(1);
/// A rate over less says nothing.
const RECENT_LEAST: Duration = Duration::from_millis(500);
/// What waits behind a working link is a backlog once the oldest has waited for longer: group commits, transactions and the
/// patience of the Kafka client all take less.
const BACKLOG_AGE_S: f64 = 60.0;
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
    fn of(lane: &Lane, at: Instant) -> Self {
        Self::with(&lane.ledger, lane, at)
    }

    /// The account that the files held before the lane was opened: what its opening found came after that. Of dead letters only
    /// `lane` tells.
    pub(super) fn before(ledger: &Ledger, lane: &Lane, at: Instant) -> Self {
        Self::with(ledger, lane, at)
    }

    fn with(ledger: &Ledger, lane: &Lane, at: Instant) -> Self {
        let removed = |reason: Reason| ledger.removed.get(reason.name()).copied().unwrap_or(0);
        let dropped = [Reason::DroppedOldest, Reason::DroppedNewest, Reason::Expired];
        Self {
            at,
            received: ledger.received,
            delivered: ledger.delivered,
            queued: ledger.queued,
            dead_lettered: ledger.dead_lettered,
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
    /// Since when links have not been up, by the name of the broker; Kafka has none.
    away: BTreeMap<Option<String>, Instant>,
    /// What brokers say they dropped.
    dropped: BTreeMap<String, Growth>,
}

/// How a number that may begin anew has grown in the last hour.
#[derive(Debug, Default)]
struct Growth {
    last: u64,
    grown: u64,
    /// Over [`HOUR`] and one before it, oldest first.
    hour: VecDeque<(Instant, u64)>,
}

impl Growth {
    fn note(&mut self, value: u64, now: Instant) {
        // The first one is where counting begins. One that falls began anew, from nothing.
        let more = match self.hour.is_empty() {
            true => 0,
            false if value < self.last => value,
            false => value - self.last,
        };
        self.last = value;
        self.grown = self.grown.saturating_add(more);
        keep(&mut self.hour, (now, self.grown), HOUR, HOUR_STEP, |known| {
            known.0
        });
    }

    fn last_hour(&self) -> u64 {
        self.grown - self.hour.front().map_or(0, |first| first.1)
    }
}

impl From<Option<Sample>> for History {
    /// With what was known before the first look, if anything was.
    fn from(before: Option<Sample>) -> Self {
        Self {
            hour: before.into_iter().collect(),
            ..Self::default()
        }
    }
}

impl History {
    /// Whether it still tells something of a lane that nobody saw since.
    pub(super) fn is_of_use(&self, now: Instant) -> bool {
        self.now.is_some_and(|last| now.duration_since(last.at) < HOUR)
    }

    pub(super) fn note(&mut self, lane: &Lane, now: Instant) {
        let sample = Sample::of(lane, now);
        keep(&mut self.recent, sample, RECENT, RECENT_STEP, |known| known.at);
        keep(&mut self.hour, sample, HOUR, HOUR_STEP, |known| known.at);
        self.now = Some(sample);
        self.note_links(lane, now);
    }

    fn note_links(&mut self, lane: &Lane, now: Instant) {
        let brokers = lane
            .brokers
            .iter()
            .map(|broker| (Some(broker.name.clone()), &broker.link));
        let links: BTreeMap<Option<String>, &Link> = brokers.chain([(None, &lane.kafka)]).collect();
        self.away.retain(|name, _| links.contains_key(name));
        for (name, link) in links {
            if *link == Link::Up {
                self.away.remove(&name);
            } else {
                self.away.entry(name).or_insert(now);
            }
        }
        self.dropped
            .retain(|name, _| lane.brokers.iter().any(|broker| broker.name == *name));
        for broker in &lane.brokers {
            if let Some(dropped) = broker.dropped_by_broker {
                self.dropped
                    .entry(broker.name.clone())
                    .or_default()
                    .note(dropped, now);
            }
        }
    }

    fn tell_links(&self, lane: &mut Lane, now: Instant) {
        let away_s = |name: &Option<String>| {
            let since = self.away.get(name)?;
            Some(now.duration_since(*since).as_secs())
        };
        lane.kafka_away_s = away_s(&None);
        for broker in &mut lane.brokers {
            broker.away_s = away_s(&Some(broker.name.clone()));
            broker.dropped_last_hour = self.dropped.get(&broker.name).map_or(0, Growth::last_hour);
        }
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
            over_s: now.at.duration_since(hour.at).as_secs().min(HOUR.as_secs()),
        };
        self.tell_links(lane, now.at);
        // What is on its way is no backlog that would have to shrink.
        if is_on_its_way(lane) {
            lane.flow.drained_in_s = Some(0.0);
        }
        let time = now.at.duration_since(recent.at);
        if time < RECENT_LEAST {
            return;
        }
        let per_s = |now: u64, then: u64| as_f64(now.saturating_sub(then)) / time.as_secs_f64();
        lane.flow.in_per_s = per_s(now.received, recent.received);
        lane.flow.out_per_s = per_s(now.delivered, recent.delivered);
        if is_on_its_way(lane) {
            return;
        }
        let shrinks = per_s(recent.queued, now.queued);
        lane.flow.drained_in_s = (now.queued > 0 && shrinks > 0.0).then(|| as_f64(now.queued) / shrinks);
    }
}

/// Whether all that waits has come just now and goes: some is always between two confirmations.
fn is_on_its_way(lane: &Lane) -> bool {
    let is_young = lane.queue.age_s.is_some_and(|age| age < BACKLOG_AGE_S);
    lane.ledger.queued > 0 && is_young && lane.kafka == Link::Up && lane.held.is_none()
}

/// Adds a sample unless the last one is younger than `step`, and keeps one that is as old as `time`.
fn keep<T: Copy>(
    samples: &mut VecDeque<T>,
    sample: T,
    time: Duration,
    step: Duration,
    at: fn(&T) -> Instant,
) {
    let age = |known: &T| at(&sample).duration_since(at(known));
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
        history.note(lane, at);
        history.tell(lane);
    }

    #[test]
    fn what_is_merely_on_its_way_is_no_backlog() {
        let start = Instant::now();
        let mut history = History::default();
        let mut drained = Vec::new();
        for second in 0..30_u64 {
            let mut busy = lane(10_000 + 20 * second, 9_980 + 20 * second, 0);
            busy.kafka = Link::Up;
            busy.queue.age_s = Some(0.2);
            look(&mut history, &mut busy, start + Duration::from_secs(second));
            drained.push(busy.flow.drained_in_s);
        }
        assert!(drained.iter().all(|time| *time == Some(0.0)), "{drained:?}");
        for (age_s, kafka) in [
            (Some(61.0), Link::Up),
            (None, Link::Up),
            (Some(0.2), Link::Connecting),
        ] {
            let mut stuck = lane(10_580, 10_560, 0);
            stuck.flow.drained_in_s = None;
            (stuck.queue.age_s, stuck.kafka) = (age_s, kafka);
            look(&mut history, &mut stuck, start + Duration::from_mins(1));
            assert_eq!(stuck.flow.drained_in_s, None);
        }
    }

    #[test]
    fn what_a_start_found_is_of_the_last_hour() {
        let start = Instant::now();
        let before = lane(10, 10, 5);
        let mut found = lane(10, 10, 12);
        let first = Sample::before(&before.ledger, &found, start);
        let mut history = History::from(Some(first));
        look(&mut history, &mut found, start + Duration::from_secs(1));
        assert_eq!(found.last_hour.lost, 7);
        assert_eq!(found.last_hour.over_s, 1, "less than an hour is known");
        look(&mut history, &mut found, start + Duration::from_mins(125));
        look(&mut history, &mut found, start + Duration::from_mins(190));
        assert_eq!((found.last_hour.lost, found.last_hour.over_s), (0, 3600));
    }

    #[test]
    fn how_long_links_are_away_and_how_much_brokers_dropped_lately_is_told() {
        let start = Instant::now();
        let mut history = History::default();
        let mut away = lane(10, 10, 0);
        for minute in 0..=90_u64 {
            let broker = away.brokers.first_mut().expect("one");
            broker.link = if minute < 10 {
                Link::Up
            } else {
                Link::Down("no".to_owned())
            };
            // Of before the start 1,000; 40 more after 20 minutes; started again after 30, and 2 since.
            broker.dropped_by_broker = Some(match minute {
                0..20 => 1_000,
                20..30 => 1_040,
                _ => 2,
            });
            away.kafka = if minute < 80 { Link::Connecting } else { Link::Up };
            look(&mut history, &mut away, start + Duration::from_mins(minute));
            let broker = away.brokers.first().expect("one");
            let (expected, kafka) = (minute.checked_sub(10), (minute < 80).then_some(minute));
            assert_eq!(broker.away_s, expected.map(|minutes| minutes * 60), "{minute}");
            assert_eq!(away.kafka_away_s, kafka.map(|minutes| minutes * 60), "{minute}");
            let dropped = match minute {
                0..20 | 90.. => 0,
                20..30 => 40,
                30..80 => 42,
                80..90 => 2,
            };
            assert_eq!(broker.dropped_last_hour, dropped, "{minute}");
        }
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
