//! Keeps the service manager informed, and hungry when the pipeline hangs.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use crate::app::stages::View;
use crate::link::Link;
use crate::ops::{Overview, systemd};

/// The status line is refreshed this often.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);
/// A thread that has not gone round its loop for this long hangs. The longest legitimate round is a sync on a
/// bad card, or the sink's question for a topic (3 s) after dropping a producer.
const HANG: Duration = Duration::from_secs(30);
/// Kafka answers, messages wait, and none is confirmed for this long: the pipeline does not move.
const STANDSTILL: Duration = Duration::from_mins(5);

/// Reports for ever.
pub async fn over(view: View) -> Infallible {
    let interval = systemd::watchdog_interval().map_or(STATUS_INTERVAL, |limit| limit.min(STATUS_INTERVAL));
    let mut ticks = tokio::time::interval(interval);
    let mut progress = Progress::default();
    let mut said = None;
    loop {
        ticks.tick().await;
        let overview = view.overview();
        if view.writer_age() < HANG && view.sink_age() < HANG && progress.is_sound(&overview, Instant::now())
        {
            systemd::watchdog();
        } else {
            tracing::error!(%overview, "the pipeline does not move");
        }
        let line = overview.to_string();
        if said.as_ref() != Some(&line) {
            systemd::status(&overview);
            said = Some(line);
        }
    }
}

/// Notices a pipeline that should move and does not.
#[derive(Debug, Default)]
struct Progress {
    /// Records delivered and messages kept as dead letters.
    done: u64,
    since: Option<Instant>,
}

impl Progress {
    /// Whether something moved lately, or there is a good reason that nothing does: no backlog, a link that is away
    /// or refuses, a full dead-letter store.
    fn is_sound(&mut self, overview: &Overview, now: Instant) -> bool {
        let should_move =
            overview.queue.balance.queued > 0 && overview.kafka == Link::Up && overview.held.is_none();
        let done = overview
            .counts
            .delivered
            .wrapping_add(overview.counts.dead_letters);
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
    use crate::queue::{Balance, Status, Wear};
    use crate::sink::monitor::Counts;

    fn overview(backlog: u64, kafka: Link, delivered: u64) -> Overview {
        Overview {
            brokers: Vec::new(),
            kafka,
            queue: Status {
                balance: Balance {
                    queued: backlog,
                    ..Balance::default()
                },
                bytes: 0,
                wear: Wear::default(),
                full: false,
                failure: None,
            },
            held: None,
            counts: Counts {
                delivered,
                ..Counts::default()
            },
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
