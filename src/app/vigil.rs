//! Judges whether all goes round: for the watchdog, and for whoever looks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::app::lane_view::LaneView;
use crate::link::Link;
use crate::outages::{Repeated, Say};
use crate::pulse::Pulse;
use crate::queue::{Balance, Reason};
use crate::sink::monitor::Counts;

/// A thread that has not gone round its loop for this long hangs. The longest legitimate round is a sync on a
/// bad card, a commit whose coordinator has left (25 s, `sink::kafka`), or the sink's question for a topic (3 s) after dropping a producer.
const HANG: Duration = Duration::from_secs(45);
/// Kafka answers, messages wait, and none is confirmed for this long: the pipeline does not move.
const STANDSTILL: Duration = Duration::from_mins(5);

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Vigil {
    /// Of the main thread, which serves all MQTT connections.
    main: Pulse,
    /// Somebody beats it: not before all is open.
    is_watched: AtomicBool,
    /// From then on threads end, as they should.
    is_stopping: AtomicBool,
    lanes: Mutex<BTreeMap<String, Progress>>,
}

impl Vigil {
    /// The main thread shows that it goes round.
    pub(super) fn beat(&self) {
        self.main.beat();
        self.is_watched.store(true, Ordering::Relaxed);
    }

    /// Lanes that are gone are forgotten: one of the same name may come.
    pub(super) fn forget_others(&self, lanes: &[LaneView]) {
        self.lanes()
            .retain(|name, _| lanes.iter().any(|lane| lane.name == *name));
    }

    /// The process is about to end: what falls silent now does not hang.
    pub fn stops(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// How long the main thread has been silent, if that is too long.
    #[must_use]
    pub fn main_stalled(&self) -> Option<Duration> {
        let silence = self.main.age();
        let is_judged = self.is_watched.load(Ordering::Relaxed) && !self.is_stopping.load(Ordering::Relaxed);
        (is_judged && silence >= HANG).then_some(silence)
    }

    /// How long a lane has hung: a thread of it is silent, or nothing moves that should. May be asked by anybody, at any time.
    #[must_use]
    pub fn stalled(&self, lane: &LaneView) -> Option<Duration> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return None;
        }
        let (motion, now) = (Motion::of(lane), Instant::now());
        let mut lanes = self.lanes();
        let progress = lanes.entry(lane.name.clone()).or_default();
        if lane.sink.is_limited() {
            // One large message may wait for longer than anything else.
            progress.rests(now);
        }
        stalled(lane.silence(), progress.stands(motion, now))
    }

    /// The same for the watchdog, which says so in the log.
    pub(super) fn is_sound(&self, lane: &LaneView) -> bool {
        if self.stalled(lane).is_none() {
            return true;
        }
        let motion = Motion::of(lane);
        let told = self
            .lanes()
            .get_mut(&lane.name)
            .map(|progress| progress.told.again(Instant::now().into()));
        if let Some(Say::Loudly { untold }) = told {
            tracing::error!(lane = lane.name, ?motion, untold, "the pipeline does not move");
        } else {
            tracing::debug!(lane = lane.name, ?motion, "the pipeline does not move");
        }
        false
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<String, Progress>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long it has hung, by the silence of its threads and the time that what should move has stood.
fn stalled(silence: Duration, standstill: Duration) -> Option<Duration> {
    let limits = [(silence, HANG), (standstill, STANDSTILL)];
    let over = limits.into_iter().filter(|(time, limit)| time >= limit);
    over.map(|(time, _)| time).max()
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
        let (balance, sink) = (lane.queue.balance(), &lane.sink);
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

    /// For how long nothing has moved that should. There may be a good reason that nothing does: no backlog, a link that is
    /// away or refuses, a full dead-letter store.
    fn stands(&mut self, motion: Motion, now: Instant) -> Duration {
        let moved = motion.done != self.done;
        self.done = motion.done;
        if moved || !motion.should_move {
            self.since = None;
        }
        let since = *self.since.get_or_insert(now);
        now.duration_since(since)
    }

    #[cfg(test)]
    fn is_sound(&mut self, motion: Motion, now: Instant) -> bool {
        stalled(Duration::ZERO, self.stands(motion, now)).is_none()
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
    fn a_main_thread_that_gives_no_sign_of_life_hangs_until_it_does() {
        let vigil = Vigil {
            main: Pulse::silent_for(HANG + Duration::from_secs(1)),
            is_watched: AtomicBool::new(true),
            ..Vigil::default()
        };
        assert!(vigil.main_stalled().is_some_and(|time| time >= HANG));
        vigil.beat();
        assert_eq!(vigil.main_stalled(), None);
        let vigil = Vigil {
            main: Pulse::silent_for(HANG + Duration::from_secs(1)),
            is_watched: AtomicBool::new(true),
            ..Vigil::default()
        };
        vigil.stops();
        assert_eq!(vigil.main_stalled(), None, "it ends");
    }

    #[test]
    fn silent_threads_and_a_standstill_are_a_hang() {
        let second = Duration::from_secs(1);
        assert_eq!(
            stalled(HANG.saturating_sub(second), STANDSTILL.saturating_sub(second)),
            None
        );
        assert_eq!(stalled(HANG, Duration::ZERO), Some(HANG));
        assert_eq!(stalled(HANG, STANDSTILL), Some(STANDSTILL));
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
