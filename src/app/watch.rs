//! Keeps the service manager informed, and hungry when the pipeline hangs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use crate::app::view::{LaneView, View};
use crate::link::Link;
use crate::ops::{Look, systemd};
use crate::outages::{Repeated, Say};
use crate::queue::{Balance, Reason};
use crate::sink::monitor::Counts;

/// The status line is refreshed this often.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);
/// A thread that has not gone round its loop for this long hangs. The longest legitimate round is a sync on a
/// bad card, a commit whose coordinator has left (25 s, `sink::kafka`), or the sink's question for a topic (3 s) after dropping a producer.
const HANG: Duration = Duration::from_secs(45);
/// Kafka answers, messages wait, and none is confirmed for this long: the pipeline does not move.
const STANDSTILL: Duration = Duration::from_mins(5);

/// Reports for ever.
pub async fn over(view: View, look: Look) -> Infallible {
    let interval = systemd::watchdog_interval().map_or(STATUS_INTERVAL, |limit| limit.min(STATUS_INTERVAL));
    let mut ticks = tokio::time::interval(interval);
    let mut progress = BTreeMap::new();
    let mut said = None;
    loop {
        ticks.tick().await;
        let lanes = view.lanes();
        // Every lane is looked at, also behind one that hangs.
        let sound = lanes.iter().filter(|lane| is_sound(lane, &mut progress)).count();
        if sound == lanes.len() {
            systemd::watchdog();
        }
        let line = look.take().to_string();
        if said.as_ref() != Some(&line) {
            systemd::status(&line);
            said = Some(line);
        }
    }
}

/// Whether the lane's threads go round, and what should move does.
fn is_sound(lane: &LaneView, progress: &mut BTreeMap<String, Progress>) -> bool {
    let progress = progress.entry(lane.name.clone()).or_default();
    let now = Instant::now();
    if lane.sink.is_limited() {
        // One large message may wait for longer than anything else.
        progress.rests(now);
    }
    let motion = Motion::of(lane);
    let sound = progress.is_sound(motion, now) && lane.silence() < HANG;
    if !sound {
        match progress.told.again(now.into()) {
            Say::Loudly { untold } => {
                tracing::error!(lane = lane.name, ?motion, untold, "the pipeline does not move");
            }
            Say::Quietly => tracing::debug!(lane = lane.name, "the pipeline does not move"),
        }
    }
    sound
}

/// What tells whether a lane moves.
#[derive(Debug, Clone, Copy)]
struct Motion {
    /// Messages wait, the link is up, and nothing on this machine holds the delivery.
    should_move: bool,
    /// Records delivered, messages kept as dead letters, and messages that were filtered.
    done: u64,
}

impl Motion {
    fn of(lane: &LaneView) -> Self {
        let (balance, sink) = (lane.queue.status().balance, &lane.sink);
        Self::from_parts(&balance, sink.counts(), &sink.link(), sink.held().is_some())
    }

    fn from_parts(balance: &Balance, counts: Counts, kafka: &Link, is_held: bool) -> Self {
        Self {
            should_move: balance.queued > 0 && *kafka == Link::Up && !is_held,
            done: counts
                .delivered
                .wrapping_add(counts.dead_letters)
                .wrapping_add(balance.removed.of(Reason::Filtered)),
        }
    }
}

/// Notices a pipeline that should move and does not.
#[derive(Debug, Default)]
struct Progress {
    /// See [`Motion`].
    done: u64,
    since: Option<Instant>,
    /// That it does not move, as the log tells it.
    told: Repeated,
}

impl Progress {
    /// There is a good reason that nothing moves: `max_rate`.
    const fn rests(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// Whether something moved lately, or there is a good reason that nothing does: no backlog, a link that is away
    /// or refuses, a full dead-letter store.
    fn is_sound(&mut self, motion: Motion, now: Instant) -> bool {
        let moved = motion.done != self.done;
        self.done = motion.done;
        if moved || !motion.should_move {
            self.since = None;
        }
        let since = *self.since.get_or_insert(now);
        now.duration_since(since) < STANDSTILL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lane that has done so much.
    const fn motion(should_move: bool, done: u64) -> Motion {
        Motion { should_move, done }
    }

    #[test]
    fn the_watchdog_starves_only_when_a_working_link_stands_still() {
        let start = Instant::now();
        let late = start + STANDSTILL + Duration::from_secs(1);
        let mut progress = Progress::default();
        assert!(progress.is_sound(motion(true, 1), start));
        assert!(progress.is_sound(motion(true, 1), start));
        assert!(!progress.is_sound(motion(true, 1), late));
        assert!(progress.is_sound(motion(true, 2), late), "it moved");
        assert!(progress.is_sound(motion(false, 2), late + STANDSTILL));
    }

    #[test]
    fn a_lane_that_waits_for_its_rate_is_sound() {
        let start = Instant::now();
        let mut progress = Progress::default();
        for round in 0..4 {
            let now = start + round * STANDSTILL;
            progress.rests(now);
            assert!(progress.is_sound(motion(true, 1), now));
        }
        assert!(!progress.is_sound(motion(true, 1), start + 5 * STANDSTILL));
    }

    #[test]
    fn records_dead_letters_and_filtered_messages_are_progress() {
        let of = |delivered, dead_letters, filtered| {
            let balance = Balance {
                queued: 5,
                removed: Balance::default().removed.with(Reason::Filtered, filtered),
                ..Balance::default()
            };
            let counts = Counts {
                delivered,
                dead_letters,
                ..Counts::default()
            };
            Motion::from_parts(&balance, counts, &Link::Up, false).done
        };
        assert_eq!((of(1, 0, 0), of(0, 1, 0), of(0, 0, 1)), (1, 1, 1));
    }

    #[test]
    fn without_a_backlog_or_a_link_and_while_delivery_is_held_nothing_has_to_move() {
        let of = |queued, kafka: &Link, is_held| {
            let balance = Balance {
                queued,
                ..Balance::default()
            };
            Motion::from_parts(&balance, Counts::default(), kafka, is_held).should_move
        };
        assert!(of(1, &Link::Up, false));
        assert!(!of(0, &Link::Up, false));
        assert!(!of(1, &Link::Down("away".to_owned()), false));
        assert!(!of(1, &Link::Up, true));
    }
}
