//! Records that are under way and are not confirmed, although the link seems up.
//!
//! A partition without a leader, and one with too few replicas in sync, look like nothing at all from here: the client
//! retries by itself and says nothing. So after a while the cluster is asked, and the link is shown as it is. That is also what
//! tells the watchdog of the process that there is a good reason: a new start of the daemon would find the same.

use std::time::{Duration, Instant};

use super::Drain;
use crate::link::Link;
use crate::sink::producer::{Connector, Ticket, TopicState};

/// Nothing confirmed for this long is looked into: well below the watchdog's five minutes, well above what a batch
/// takes on a slow link (128 KiB at 256 kbit/s: 4 s).
const QUIET: Duration = Duration::from_mins(1);
/// Looked into again this often.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// With a leader there, a client that has had nothing confirmed for this long may be at fault itself: it is made anew. Costs duplicates of
/// what is under way, so not often.
const RENEW: Duration = Duration::from_mins(10);

/// What is known about it.
#[derive(Debug, Default)]
pub(super) struct Stall {
    /// When something moved, or nothing was there that could.
    moved: Option<Instant>,
    /// When it was looked into.
    looked: Option<Instant>,
}

impl Stall {
    /// Whether a standstill has been seen that is not over.
    pub(super) const fn is_on(&self) -> bool {
        self.looked.is_some()
    }

    /// A record was confirmed, or everything begins anew.
    pub(super) const fn over(&mut self) {
        *self = Self {
            moved: None,
            looked: None,
        };
    }
}

fn elapsed(since: Option<Instant>, now: Instant) -> Option<Duration> {
    since.map(|since| now.saturating_duration_since(since))
}

impl<C: Connector> Drain<C> {
    /// Looks whether what is under way gets confirmed.
    pub(super) fn watch_flight(&mut self, now: Instant) {
        if self.window.is_empty() || self.producer.is_none() || self.waits_for_rate() {
            return self.stall.over();
        }
        let moved = *self.stall.moved.get_or_insert(now);
        let quiet = now.saturating_duration_since(moved);
        if quiet < QUIET || elapsed(self.stall.looked, now).is_some_and(|since| since < LOOK_AGAIN) {
            return;
        }
        // A window that waits for a topic has nothing under way.
        let oldest = self
            .window
            .oldest()
            .filter(|_| !self.window.is_settled(self.unsent.len()));
        match oldest {
            Some(oldest) => self.look_into(oldest, quiet, now),
            None => self.stall.over(),
        }
    }

    fn look_into(&mut self, oldest: Ticket, quiet: Duration, now: Instant) {
        let Some(record) = self.record_of(oldest) else {
            return;
        };
        let Some(state) = self.examine(&record.topic, now) else {
            return;
        };
        self.stall.looked = Some(now);
        let topic = &record.topic;
        let reason = match state {
            TopicState::Leaderless { first, .. } => {
                format!("partition {first} of topic {topic:?} has no leader")
            }
            TopicState::Present { .. } if quiet >= RENEW => {
                tracing::warn!(topic, "nothing is confirmed: the Kafka client is made anew");
                return self.rewind(now);
            }
            TopicState::ClientLost => return self.rewind(now),
            TopicState::Present { .. } => {
                format!("topic {topic:?}: the cluster answers and stores nothing: too few replicas in sync?")
            }
            TopicState::Missing(code) | TopicState::Unreachable(code) => format!("topic {topic:?}: {code}"),
        };
        if self.refused_since.is_none() && !self.write_refused {
            self.monitor.set_link(Link::Down(reason));
        }
    }
}
