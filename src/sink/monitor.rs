//! What the sink shows of itself: the link, counters, the alarms in the log.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::link::Link;
use crate::message::{MessageId, Stored};
use crate::outages::{Outages, Say, Trouble};
use crate::pulse::Pulse;
use crate::route::{Refusal, Router};
use crate::sink::tally::Tallies;

/// Written by the sink's thread, read by whoever watches.
#[derive(Debug, Default)]
pub struct Monitor {
    /// The thread's sign of life.
    pub pulse: Pulse,
    link: watch::Sender<Link>,
    outages: Mutex<Outages>,
    delivered: AtomicU64,
    dead_letters: AtomicU64,
    rewinds: AtomicU64,
    held: Mutex<Held>,
    fenced: AtomicBool,
    limited: AtomicBool,
    reloads: AtomicU64,
    resent: AtomicU64,
    tallies: Mutex<Tallies>,
    /// Routes that the sink has not taken yet.
    router: Mutex<Option<Router>>,
}

/// Why delivery is held, and as the log tells it.
#[derive(Debug, Default)]
struct Held {
    reason: Option<String>,
    outages: Outages,
}

/// Counters since the start of the process: a lane that is opened anew by a reload goes on with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Records confirmed by Kafka.
    pub delivered: u64,
    /// Messages kept as dead letters.
    pub dead_letters: u64,
    /// Times that everything behind the cursor was sent again.
    pub rewinds: u64,
    /// Records of messages that had been handed to the Kafka client before.
    pub resent: u64,
}

impl Monitor {
    /// The link to Kafka.
    #[must_use]
    pub fn link(&self) -> Link {
        self.link.borrow().clone()
    }

    /// The counters.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            delivered: self.delivered.load(Ordering::Relaxed),
            dead_letters: self.dead_letters.load(Ordering::Relaxed),
            rewinds: self.rewinds.load(Ordering::Relaxed),
            resent: self.resent.load(Ordering::Relaxed),
        }
    }

    /// Notes the state of the link and says so when it is another kind of state than before.
    pub(super) fn set_link(&self, link: Link) {
        let said = std::mem::discriminant(&*self.link.borrow()) == std::mem::discriminant(&link);
        if !said {
            self.tell(&link);
        }
        self.link.send_if_modified(|known| {
            let changed = *known != link;
            *known = link;
            changed
        });
    }

    /// A link that comes and goes is told now and then.
    fn tell(&self, link: &Link) {
        let mut outages = self.outages.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match link {
            Link::Up => match outages.recovered(now) {
                None => tracing::info!("Kafka: up"),
                Some(end) if end.loud => tracing::info!(away = ?end.away, "Kafka: up again"),
                Some(end) => tracing::debug!(away = ?end.away, "Kafka: up again"),
            },
            Link::Refused(reason) => match outages.failed(Trouble::Wrong, now) {
                Say::Loudly { untold } => tracing::error!(
                    reason,
                    untold,
                    "Kafka refuses: holding everything until this is put right"
                ),
                Say::Quietly => tracing::debug!(reason, "Kafka refuses"),
            },
            Link::Down(reason) => match outages.failed(Trouble::Passing, now) {
                Say::Loudly { untold } => tracing::warn!(reason, untold, "Kafka: down; trying again"),
                Say::Quietly => tracing::debug!(reason, "Kafka: down; trying again"),
            },
            // It begins so, and is never pushed back.
            Link::Connecting | Link::PushedBack => {}
        }
    }

    pub(super) fn delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether another gateway with the same identity took over: this one must not go on.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Relaxed)
    }

    /// Whether messages wait because of `max_rate`.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.limited.load(Ordering::Relaxed)
    }

    pub(super) fn set_limited(&self, limited: bool) {
        self.limited.store(limited, Ordering::Relaxed);
    }

    /// The secrets may have changed: a link that is not well is made anew with them. The sink has to be woken.
    pub fn reload(&self) {
        self.reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was said.
    pub(super) fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// Has the sink go by these routes once nothing is under way. Only for routes that make the same of all that the lane's own
    /// routes want: what was sent may be sent again by them. The sink has to be woken.
    pub fn reroute(&self, router: Router) {
        *self.router.lock().unwrap_or_else(PoisonError::into_inner) = Some(router);
    }

    pub(super) fn has_new_routes(&self) -> bool {
        self.router
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    pub(super) fn take_routes(&self) -> Option<Router> {
        self.router.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// For a sink that goes on where another one of the same process stopped: its counters do too.
    #[must_use]
    pub fn after(counts: Counts) -> Self {
        Self {
            delivered: counts.delivered.into(),
            dead_letters: counts.dead_letters.into(),
            rewinds: counts.rewinds.into(),
            resent: counts.resent.into(),
            ..Self::default()
        }
    }

    pub(super) fn fence(&self) {
        self.fenced.store(true, Ordering::Relaxed);
    }

    pub(super) fn resent(&self) {
        self.resent.fetch_add(1, Ordering::Relaxed);
    }

    /// Who delivers, and who is in trouble. Held while it is looked at: the sink waits meanwhile.
    pub fn tallies(&self) -> MutexGuard<'_, Tallies> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rewound(&self) {
        self.rewinds.fetch_add(1, Ordering::Relaxed);
    }

    /// The first one is said loudly; a stream of them must not fill the log.
    pub(super) fn dead_lettered(&self, id: &MessageId, stored: &Stored, reasons: &[Refusal]) {
        let before = self.dead_letters.fetch_add(1, Ordering::Relaxed);
        for reason in reasons {
            if before < LOUD_DEAD_LETTERS {
                tracing::warn!(%id, topic = stored.arrival.topic, %reason, "kept as a dead letter");
            } else {
                tracing::debug!(%id, topic = stored.arrival.topic, %reason, "kept as a dead letter");
            }
        }
    }

    /// Why delivery is held by something on this machine: the store cannot be read, dead letters cannot be kept.
    #[must_use]
    pub fn held(&self) -> Option<String> {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .reason
            .clone()
    }

    pub(super) fn troubled(&self, error: &dyn Display) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.reason.is_none() {
            match held.outages.failed(Trouble::Passing, Instant::now()) {
                Say::Loudly { untold } => tracing::error!(%error, untold, "delivery is held"),
                Say::Quietly => tracing::debug!(%error, "delivery is held"),
            }
        }
        held.reason = Some(error.to_string());
    }

    pub(super) fn recovered(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.reason.take().is_some() {
            match held.outages.recovered(Instant::now()) {
                Some(end) if end.loud => tracing::info!(away = ?end.away, "delivery goes on"),
                _ => tracing::debug!("delivery goes on"),
            }
        }
    }
}

/// Dead letters named in the log at warning level since the start; the counter counts them all.
const LOUD_DEAD_LETTERS: u64 = 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ops::events::heard;

    #[tokio::test(start_paused = true)]
    async fn a_kafka_that_comes_and_goes_for_an_hour_leaves_dozens_of_lines() {
        let monitor = Monitor::default();
        let lines = heard(|| {
            for second in 0..3600 {
                let link = match second % 2 {
                    0 => Link::Down("all brokers are down".to_owned()),
                    _ => Link::Up,
                };
                monitor.set_link(link);
                // Only the clock of the test goes on, and nothing waits for it.
                futures_util::future::FutureExt::now_or_never(tokio::time::advance(Duration::from_secs(1)));
            }
        });
        assert!((12..=36).contains(&lines), "{lines}");
        assert_eq!(monitor.link(), Link::Up, "the state is what it is, told or not");
    }
}
