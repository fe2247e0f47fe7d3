//! Whether a client that reaches nobody has lost the cluster for good.
//!
//! Brokers that have just come back from a pause may answer that there are topics, and no broker at all: the controller took their session for ended, and has
//! not let them in again. librdkafka then forgets every broker it knew, the bootstrap servers among them, and has nobody left to ask
//! (confluentinc/librdkafka#5301, seen with 2.12.1; not mended in November 2026). From outside that looks like an outage that never ends.
//!
//! So in an outage another client, which knows nothing yet, asks now and then. Where it is answered twice, and this one reached
//! nobody in between, this one is lost. One answer is not enough: Kafka may have come back a moment ago, and a client that is made anew sends what was under way
//! a second time.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer as _};

use super::{Ear, Reasons};
use crate::clock;
use crate::sink::Config;

/// Outages that are shorter are left to the client alone: asking holds up the drain for as long as its question waits.
const SUSPECT_AFTER: Duration = Duration::from_secs(30);
/// Another client asks this often. A client that is well has tried again by then: its longest pause between two attempts is 30 s, and half as much again for
/// the spread (preset `metered`, `reconnect.backoff.max.ms`).
const ASK_EVERY: Duration = Duration::from_mins(1);
/// Asked for a name that no cluster has: all topics of a large one would be a long answer.
const NO_TOPIC: &str = "__edgeferry_lost";
/// What a look for a token takes.
const GLANCE: Duration = Duration::from_millis(50);

/// Whom a client reaches.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// The first question without an answer, since when nothing was answered.
    nobody_since: Option<Instant>,
    /// When another client asked.
    asked: Option<Instant>,
    /// It was answered.
    is_there: bool,
}

impl Reach {
    /// Somebody answered this client, or stored a record of it.
    pub(super) const fn reached(&mut self) {
        self.nobody_since = None;
        self.asked = None;
        self.is_there = false;
    }

    /// Nobody answered this client. Whether it has lost the cluster; `is_there` asks with another one, which may take a while.
    pub(super) fn is_lost(&mut self, now: Instant, is_there: impl FnOnce() -> bool) -> bool {
        let since = *self.nobody_since.get_or_insert(now);
        let due = self
            .asked
            .map_or(since + SUSPECT_AFTER, |asked| asked + ASK_EVERY);
        if now < due {
            return false;
        }
        self.asked = Some(now);
        let was_there = std::mem::replace(&mut self.is_there, is_there());
        was_there && self.is_there
    }
}

/// Makes the other client: one that logs in as the first, and sends nothing.
#[derive(Debug)]
pub(super) struct Other {
    config: Config,
    settings: ClientConfig,
}

impl Other {
    /// `settings` are those of a client beside the producer.
    pub(super) const fn new(config: Config, settings: ClientConfig) -> Self {
        Self { config, settings }
    }

    /// Whether the cluster answers it within `patience`, with brokers.
    pub(super) fn is_answered(&self, patience: Duration) -> bool {
        let answered = self.ask(patience);
        if let Err(error) = &answered {
            tracing::debug!(%error, "another client reaches nobody either");
        }
        matches!(answered, Ok(brokers) if brokers > 0)
    }

    fn ask(&self, patience: Duration) -> Result<usize, KafkaError> {
        let context = Ear::new(&self.config, Reasons::default());
        let client: BaseProducer<Ear> = self.settings.create_with_context(context)?;
        let deadline = clock::instant() + patience;
        // Also what gives it a token.
        client.poll(GLANCE);
        let left = deadline.saturating_duration_since(clock::instant());
        let metadata = client.client().fetch_metadata(Some(NO_TOPIC), left)?;
        Ok(metadata.brokers().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often another client was asked, and when this one was called lost, in a question every ten seconds.
    fn ask_for(
        reach: &mut Reach,
        start: Instant,
        time: Duration,
        is_there: bool,
    ) -> (usize, Option<Duration>) {
        let mut asked = 0;
        for second in (0..time.as_secs()).step_by(10) {
            let passed = Duration::from_secs(second);
            let is_lost = reach.is_lost(start + passed, || {
                asked += 1;
                is_there
            });
            if is_lost {
                return (asked, Some(passed));
            }
        }
        (asked, None)
    }

    #[test]
    fn a_client_is_lost_when_another_is_answered_twice() {
        let lost = ask_for(
            &mut Reach::default(),
            Instant::now(),
            Duration::from_mins(10),
            true,
        );
        assert_eq!(lost, (2, Some(SUSPECT_AFTER + ASK_EVERY)));
    }

    #[test]
    fn a_client_is_kept_as_long_as_others_reach_nobody_either() {
        let (mut reach, start) = (Reach::default(), Instant::now());
        let (asked, lost) = ask_for(&mut reach, start, Duration::from_hours(24), false);
        assert_eq!((asked, lost), (24 * 60, None));
        let back = start + Duration::from_hours(24) + ASK_EVERY;
        assert!(
            !reach.is_lost(back, || true),
            "Kafka may have come back a moment ago"
        );
        assert!(reach.is_lost(back + ASK_EVERY, || true));
    }

    #[test]
    fn whoever_is_answered_in_between_is_not_lost() {
        let (mut reach, start) = (Reach::default(), Instant::now());
        let almost = SUSPECT_AFTER + ASK_EVERY;
        assert_eq!(ask_for(&mut reach, start, almost, true), (1, None));
        reach.reached();
        let later = start + almost;
        assert_eq!(ask_for(&mut reach, later, almost, true), (1, None));
    }
}
