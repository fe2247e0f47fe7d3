//! Keeps the service manager informed, and hungry when the pipeline hangs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use crate::app::view::{LaneView, View};
use crate::link::Link;
use crate::ops::{LaneOverview, systemd};
use crate::outages::{Repeated, Say};
use crate::queue::Reason;

/// The status line is refreshed this often.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);
/// A thread that has not gone round its loop for this long hangs. The longest legitimate round is a sync on a
/// bad card, a commit whose coordinator has left (25 s, `sink::kafka`), or the sink's question for a topic (3 s) after dropping a producer.
const HANG: Duration = Duration::from_secs(45);
/// Kafka answers, messages wait, and none is confirmed for this long: the pipeline does not move.
const STANDSTILL: Duration = Duration::from_mins(5);

/// Reports for ever.
pub async fn over(view: View) -> Infallible {
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
        let overview = view.overview();
        let line = overview.to_string();
        if said.as_ref() != Some(&line) {
            systemd::status(&overview);
            said = Some(line);
        }
    }
}

/// Whether the lane's threads go round, and what should move does.
fn is_sound(lane: &LaneView, progress: &mut BTreeMap<String, Progress>) -> bool {
    let overview = lane.overview();
    let progress = progress.entry(lane.name.clone()).or_default();
    let now = Instant::now();
    if lane.sink.is_limited() {
        // One large message may wait for longer than anything else.
        progress.rests(now);
    }
    let sound = progress.is_sound(&overview, now) && lane.silence() < HANG;
    if !sound {
        match progress.told.again(now.into()) {
            Say::Loudly { untold } => {
                tracing::error!(lane = lane.name, %overview, untold, "the pipeline does not move");
            }
            Say::Quietly => tracing::debug!(lane = lane.name, "the pipeline does not move"),
        }
    }
    sound
}

/// Notices a pipeline that should move and does not.
#[derive(Debug, Default)]
struct Progress {
    /// Records delivered, messages kept as dead letters, and messages that were filtered.
    done: u64,
    since: Option<Instant>,
    /// That it does not move, as the log tells it.
    told: Repeated,
}

impl Progress {
    /// There is a good reason that nothing moves, and it is not in the overview: `max_rate`.
    const fn rests(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// Whether something moved lately, or there is a good reason that nothing does: no backlog, a link that is away
    /// or refuses, a full dead-letter store.
    fn is_sound(&mut self, overview: &LaneOverview, now: Instant) -> bool {
        let should_move =
            overview.queue.balance.queued > 0 && overview.kafka == Link::Up && overview.held.is_none();
        let done = overview
            .counts
            .delivered
            .wrapping_add(overview.counts.dead_letters)
            .wrapping_add(overview.queue.balance.removed.of(Reason::Filtered));
        let moved = done != self.done;
        self.done = done;
        if moved || !should_move {
            self.since = None;
        }
        let since = *self.since.get_or_insert(now);
        now.duration_since(since) < STANDSTILL
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::monitor::Counts;

    fn overview(backlog: u64, kafka: Link, delivered: u64) -> LaneOverview {
        LaneOverview {
            kafka,
            counts: Counts {
                delivered,
                ..Counts::default()
            },
            ..LaneOverview::for_test("default", backlog)
        }
    }

    #[test]
    fn the_watchdog_starves_only_when_a_working_link_stands_still() {
        let start = Instant::now();
        let late = start + STANDSTILL + Duration::from_secs(1);
        let mut progress = Progress::default();
        assert!(progress.is_sound(&overview(5, Link::Up, 1), start));
        assert!(progress.is_sound(&overview(5, Link::Up, 1), start));
        assert!(!progress.is_sound(&overview(5, Link::Up, 1), late));
        assert!(progress.is_sound(&overview(5, Link::Up, 2), late), "it moved");
        assert!(progress.is_sound(&overview(5, Link::Down("away".to_owned()), 2), late + STANDSTILL));
        assert!(progress.is_sound(&overview(0, Link::Up, 2), late + 3 * STANDSTILL));
    }

    #[test]
    fn a_lane_that_waits_for_its_rate_is_sound() {
        let start = Instant::now();
        let mut progress = Progress::default();
        let overview = overview(5, Link::Up, 1);
        for round in 0..4 {
            let now = start + round * STANDSTILL;
            progress.rests(now);
            assert!(progress.is_sound(&overview, now));
        }
        assert!(!progress.is_sound(&overview, start + 5 * STANDSTILL));
    }

    #[test]
    fn filtered_messages_are_progress() {
        let start = Instant::now();
        let mut progress = Progress::default();
        let mut overview = overview(5, Link::Up, 1);
        for round in 0..3 {
            overview.queue.balance.removed = overview.queue.balance.removed.with(Reason::Filtered, 1);
            assert!(progress.is_sound(&overview, start + round * STANDSTILL));
        }
        assert!(!progress.is_sound(&overview, start + 3 * STANDSTILL));
    }

    #[test]
    fn dead_letters_are_progress() {
        let start = Instant::now();
        let mut progress = Progress::default();
        let mut overview = overview(5, Link::Up, 1);
        for round in 0..3 {
            overview.counts.dead_letters += 1;
            assert!(progress.is_sound(&overview, start + round * STANDSTILL));
        }
    }
}
