//! What a broker says it dropped itself, by its `$SYS` topics.
//!
//! A broker acknowledges a device's message and then drops it when the queue that it keeps for a client is full: of all that
//! this project promises, nothing reaches so far. But some brokers count what they drop, and a count that grows is the one
//! sign there is. It is for all clients of the broker together; whose messages went, no broker says.
//!
//! | broker | topic | counts |
//! | --- | --- | --- |
//! | Mosquitto | `$SYS/broker/publish/messages/dropped` | over its limits for a client (`max_queued_messages`, `max_queued_bytes`) |
//! | EMQX | `$SYS/brokers/NODE/metrics/delivery/dropped/queue_full` | the same (`mqtt.max_mqueue_len`), for each node |
//!
//! A broker says its number when it changes, so silence on a connection that is there means nothing. Without a connection the last
//! number is believed for [`STALE`] and then forgotten.
//!
//! EMQX lets only clients of its own machine read `$SYS` unless told otherwise. Other brokers have no such topic that could be
//! relied on.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::warn;

use super::client::{Announce as _, Announcer, Event, Events as _};

use crate::outages::{Repeated, Say};

/// What is subscribed.
pub const FILTERS: [&str; 2] = [
    "$SYS/broker/publish/messages/dropped",
    "$SYS/brokers/+/metrics/delivery/dropped/queue_full",
];

/// Nodes of a cluster that are counted: more than any has.
const TOPICS_MAX: usize = 64;

/// How long a number is shown when the connection that heard it is gone: longer than a restart of the broker and the pause
/// before the next attempt take.
const STALE: Duration = Duration::from_mins(5);

/// What one broker said. Written by the connection that listens, read by whoever looks.
#[derive(Debug, Default)]
pub struct Dropped(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    by_topic: BTreeMap<String, u64>,
    /// Since when nobody listens.
    gone: Option<Instant>,
    /// Dropped since the log told it last.
    untold: u64,
    told: Repeated,
}

impl Dropped {
    /// What it dropped since it started, for any client; `None` when it does not say, or nobody has listened for some minutes.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.total_at(Instant::now())
    }

    fn total_at(&self, now: Instant) -> Option<u64> {
        let counts = self.lock();
        let is_stale = counts
            .gone
            .is_some_and(|since| now.duration_since(since) >= STALE);
        let all = counts.by_topic.values();
        (!counts.by_topic.is_empty() && !is_stale)
            .then(|| all.fold(0_u64, |sum, count| sum.saturating_add(*count)))
    }

    /// A message of the broker's own. The first number is where counting begins: what was before, nobody here saw.
    pub(super) fn heard(&self, topic: &str, payload: &[u8]) {
        let number = std::str::from_utf8(payload).ok();
        let Some(number) = number.and_then(|text| text.trim().parse::<u64>().ok()) else {
            return;
        };
        let mut counts = self.lock();
        let before = counts.by_topic.get(topic).copied();
        if before.is_none() && counts.by_topic.len() >= TOPICS_MAX {
            return;
        }
        counts.gone = None;
        counts.by_topic.insert(topic.to_owned(), number);
        let grown = match before {
            None => 0,
            // It was started again, and counts from nothing.
            Some(before) if number < before => number,
            Some(before) => number - before,
        };
        counts.untold = counts.untold.saturating_add(grown);
    }

    /// The connection that listens is over.
    pub(super) fn gone(&self, now: Instant) {
        self.lock().gone.get_or_insert(now);
    }

    /// Tells what was dropped and not told, now and then.
    pub(super) fn tell(&self, broker: &str, now: Instant) {
        let mut counts = self.lock();
        if counts.untold == 0 {
            return;
        }
        if let Say::Loudly { .. } = counts.told.again(now) {
            let messages = std::mem::take(&mut counts.untold);
            warn!(
                broker,
                messages, "the broker has dropped messages: what it keeps for one of its clients is full"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a broker may take to say it: retained messages come with the subscription.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks once, on a connection of its own.
pub(super) async fn ask<A: Announcer>(announcer: &A) -> Option<u64> {
    let dropped = Dropped::default();
    let (client, mut events) = announcer.announce(None);
    let listen = async {
        while dropped.total().is_none() {
            match events.next().await.ok()? {
                Event::Connected { .. } => client.listen(&FILTERS).await.ok()?,
                Event::Published(said) => dropped.heard(&said.topic, &said.payload),
                _ => {}
            }
        }
        dropped.total()
    };
    timeout(PATIENCE, listen).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::events::heard;

    const TOPIC: &str = "$SYS/broker/publish/messages/dropped";

    #[test]
    fn a_broker_that_does_not_say_has_no_number() {
        let dropped = Dropped::default();
        assert_eq!(dropped.total(), None);
        for nonsense in [&b""[..], b"NaN", b"-1", b"\xff", b"99999999999999999999999"] {
            dropped.heard(TOPIC, nonsense);
        }
        assert_eq!(dropped.total(), None);
        dropped.heard(TOPIC, b" 7\n");
        assert_eq!(dropped.total(), Some(7));
    }

    #[test]
    fn a_number_is_forgotten_some_minutes_after_nobody_listens_any_more_and_not_while_the_broker_is_silent() {
        let (dropped, start) = (Dropped::default(), Instant::now());
        dropped.heard(TOPIC, b"7");
        assert_eq!(
            dropped.total_at(start + 100 * STALE),
            Some(7),
            "it says it when it changes"
        );
        dropped.gone(start);
        dropped.gone(start + STALE / 2);
        assert_eq!(dropped.total_at(start + STALE / 2), Some(7));
        assert_eq!(dropped.total_at(start + STALE), None);
        dropped.heard(TOPIC, b"7");
        assert_eq!(dropped.total_at(start + 2 * STALE), Some(7));
    }

    #[test]
    fn the_nodes_of_a_cluster_are_added_up_and_no_more_than_there_can_be() {
        let dropped = Dropped::default();
        for node in 0..1000 {
            dropped.heard(
                &format!("$SYS/brokers/n{node}/metrics/delivery/dropped/queue_full"),
                b"2",
            );
        }
        assert_eq!(dropped.total(), Some(2 * TOPICS_MAX as u64));
    }

    #[test]
    fn growth_is_told_at_once_and_then_now_and_then_and_what_was_before_is_not() {
        let (dropped, start) = (Dropped::default(), Instant::now());
        let lines = |number: &str, after: u64| {
            dropped.heard(TOPIC, number.as_bytes());
            heard(|| dropped.tell("local", start + Duration::from_secs(after)))
        };
        assert_eq!(lines("1000", 0), 0, "from before");
        assert_eq!(lines("1010", 10), 1);
        assert_eq!(lines("1020", 20), 0);
        assert_eq!(lines("1020", 400), 1, "also when nothing more was dropped since");
        assert_eq!(lines("1020", 900), 0);
        assert_eq!(
            lines("3", 1300),
            1,
            "the broker was started again, and dropped three"
        );
    }
}
