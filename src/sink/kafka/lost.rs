//! Whether a client that reaches nobody has lost the cluster for good.
//!
//! Brokers that have just come back from a pause may answer that there are topics, and no broker at all: the controller took their session for ended, and has
//! not let them in again. librdkafka then forgets every broker it knew, the bootstrap servers among them, and has nobody left to ask
//! (confluentinc/librdkafka#5301, seen with 2.12.1; not mended in November 2026). From outside that looks like an outage that never ends.
//!
//! So in an outage another client, which knows nothing yet, looks for Kafka now and then: on a thread of its own, because looking up a name
//! may take longer than a lane may be silent. Where it is answered twice, and this one reached nobody in between, this one is lost. One
//! answer is not enough: Kafka may have come back a moment ago, and a client that is made anew sends what was under way a second time. The second answer comes from a
//! broker that the first one named: that the bootstrap servers can be reached is not enough either.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer as _};

use super::{Ear, Reasons};
use crate::clock;
use crate::sink::Config;

/// Outages that are shorter are left to the client alone.
const SUSPECT_AFTER: Duration = Duration::from_secs(30);
/// From one look for Kafka to the next, and from one question of a look to the other at least.
const PAUSE: Duration = Duration::from_mins(1);
/// The longest pause of a client between two attempts, and the longest that one may take; with librdkafka's defaults, milliseconds.
const ATTEMPT: [(&str, u64); 2] = [
    ("reconnect.backoff.max.ms", 10_000),
    ("socket.connection.setup.timeout.ms", 30_000),
];
/// Patience with an answer: a satellite takes ten round trips of a second for names, TLS and a login.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a look goes on after nobody wants to know any more.
const STEP: Duration = Duration::from_secs(1);
/// What a look for a token takes.
const GLANCE: Duration = Duration::from_millis(50);
/// Asked for: a name that no cluster has. All topics of a large one would be a long answer.
pub(super) const NO_TOPIC: &str = "__edgeferry_lost";

/// A look for Kafka.
pub(super) trait Look {
    /// Whether it is there, once that is known.
    fn found(&mut self) -> Option<bool>;

    /// Nobody wants to know any more.
    fn abandon(&mut self);
}

/// Whom a client reaches.
#[derive(Debug)]
pub(super) struct Reach<L> {
    /// The first question without an answer, since when nothing was answered.
    nobody_since: Option<Instant>,
    /// The one that goes on.
    look: Option<L>,
    /// When the last one ended.
    looked: Option<Instant>,
}

impl<L> Default for Reach<L> {
    fn default() -> Self {
        Self {
            nobody_since: None,
            look: None,
            looked: None,
        }
    }
}

impl<L: Look> Reach<L> {
    /// Somebody answered this client, or stored a record of it.
    pub(super) fn reached(&mut self) {
        if self.nobody_since.take().is_some() {
            self.looked = None;
            self.abandon();
        }
    }

    /// Nobody wants to know any more.
    pub(super) fn abandon(&mut self) {
        if let Some(look) = &mut self.look {
            look.abandon();
        }
    }

    /// Nobody answered this client. Whether it has lost the cluster, as far as a look says that was begun at an earlier call; `begin` begins one. Never waits.
    pub(super) fn is_lost(&mut self, now: Instant, begin: impl FnOnce() -> Option<L>) -> bool {
        let since = *self.nobody_since.get_or_insert(now);
        let Some(look) = &mut self.look else {
            let due = self.looked.map_or(since + SUSPECT_AFTER, |looked| looked + PAUSE);
            if now >= due {
                self.look = begin();
            }
            return false;
        };
        let Some(is_there) = look.found() else {
            return false;
        };
        self.look = None;
        self.looked = Some(now);
        is_there
    }
}

/// A [`Look`] of another client. Dropped, it waits for its end: for a question of a second, and for the client, which may be waiting for a name that the system
/// looks up.
#[derive(Debug)]
pub(super) struct Search {
    /// Gone when nobody wants to know any more.
    wanted: Option<SyncSender<()>>,
    thread: Option<JoinHandle<bool>>,
}

impl Look for Search {
    fn found(&mut self) -> Option<bool> {
        let thread = self.thread.take_if(|thread| thread.is_finished())?;
        let is_there = thread.join().unwrap_or(false);
        Some(is_there && self.wanted.is_some())
    }

    fn abandon(&mut self) {
        self.wanted = None;
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        self.abandon();
        // Had it panicked, the log would have said so.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// What another client is made with: it logs in as the first, and sends nothing.
#[derive(Debug, Clone)]
pub(super) struct Other {
    config: Config,
    settings: ClientConfig,
}

impl Other {
    /// `settings` are those of a client beside the producer.
    pub(super) fn new(config: Config, mut settings: ClientConfig) -> Self {
        // The bootstrap servers may give the first answer, and no other.
        settings.set("metadata.recovery.strategy", "none");
        Self { config, settings }
    }

    /// Begins to look. `None` when the system has no thread for it.
    pub(super) fn search(&self) -> Option<Search> {
        let (wanted, wants) = sync_channel(0);
        let other = self.clone();
        let thread = std::thread::Builder::new()
            .name("kafka search".into())
            .spawn(move || {
                let found = other.look(&wants);
                tracing::debug!(?found, "another client has looked for Kafka");
                matches!(found, Ok(true))
            });
        let thread = thread
            .inspect_err(|error| tracing::debug!(%error, "cannot look for Kafka"))
            .ok()?;
        Some(Search {
            wanted: Some(wanted),
            thread: Some(thread),
        })
    }

    fn look(&self, wants: &Receiver<()>) -> Result<bool, KafkaError> {
        let context = Ear::new(&self.config, Reasons::default());
        let client = self.settings.create_with_context(context)?;
        Ok(is_answered(&client, wants)
            && wants.recv_timeout(self.pause()) == Err(RecvTimeoutError::Timeout)
            && is_answered(&client, wants))
    }

    /// A client that is well has been answered by then: two addresses of a name may have to be tried.
    fn pause(&self) -> Duration {
        let attempt = ATTEMPT.map(|(name, default)| {
            let set = self.settings.get(name).and_then(|ms| ms.parse().ok());
            Duration::from_millis(set.unwrap_or(default))
        });
        PAUSE.max(2 * attempt.iter().sum::<Duration>())
    }
}

/// Whether the cluster answers, with brokers, before nobody wants to know any more.
fn is_answered(client: &BaseProducer<Ear>, wants: &Receiver<()>) -> bool {
    let deadline = clock::instant() + PATIENCE;
    while clock::instant() < deadline && wants.try_recv() == Err(TryRecvError::Empty) {
        // Also what gives it a token.
        client.poll(GLANCE);
        let answer = client.client().fetch_metadata(Some(NO_TOPIC), STEP);
        if answer.is_ok_and(|metadata| !metadata.brokers().is_empty()) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rdkafka::mocking::MockCluster;

    use super::*;

    /// A look that knows the answer at once.
    struct Known {
        is_there: bool,
        is_abandoned: bool,
    }

    impl Look for Known {
        fn found(&mut self) -> Option<bool> {
            Some(self.is_there && !self.is_abandoned)
        }

        fn abandon(&mut self) {
            self.is_abandoned = true;
        }
    }

    /// A client that asks every ten seconds, from the beginning on.
    struct Asking {
        reach: Reach<Known>,
        start: Instant,
        passed: Duration,
        looks: Cell<usize>,
    }

    impl Asking {
        fn new() -> Self {
            Self {
                reach: Reach::default(),
                start: Instant::now(),
                passed: Duration::ZERO,
                looks: Cell::new(0),
            }
        }

        /// Asks in vain for so long. When it was called lost, if it was.
        fn for_(&mut self, time: Duration, is_there: bool) -> Option<Duration> {
            let until = self.passed + time;
            while self.passed < until {
                self.passed += Duration::from_secs(10);
                let looks = &self.looks;
                let is_lost = self.reach.is_lost(self.start + self.passed, || {
                    looks.set(looks.get() + 1);
                    Some(Known {
                        is_there,
                        is_abandoned: false,
                    })
                });
                if is_lost {
                    return Some(self.passed);
                }
            }
            None
        }
    }

    #[test]
    fn a_client_is_lost_when_another_one_finds_kafka() {
        let mut asking = Asking::new();
        let lost = asking.for_(Duration::from_mins(10), true);
        // Asked first after ten seconds; the answer is looked at ten seconds later.
        assert_eq!(lost, Some(SUSPECT_AFTER + Duration::from_secs(20)));
    }

    #[test]
    fn a_client_is_kept_as_long_as_others_find_nobody_either() {
        let mut asking = Asking::new();
        assert_eq!(asking.for_(Duration::from_hours(24), false), None);
        let looks = asking.looks.get();
        assert!((1_200..=1_440).contains(&looks), "about one a minute: {looks}");
    }

    #[test]
    fn whoever_is_answered_in_between_is_not_lost() {
        let mut asking = Asking::new();
        for _ in 0..100 {
            assert_eq!(asking.for_(SUSPECT_AFTER + Duration::from_secs(10), true), None);
            asking.reach.reached();
        }
        assert!(asking.looks.get() > 10, "others were asked");
    }

    fn other(bootstrap: &str) -> Other {
        let config = Config::for_test();
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", bootstrap);
        Other::new(config, settings)
    }

    #[test]
    fn a_search_that_is_not_wanted_any_more_ends_within_moments_and_has_found_nothing() {
        let cluster = MockCluster::new(1).expect("a cluster");
        let mut search = other(&cluster.bootstrap_servers()).search().expect("a thread");
        let start = clock::instant();
        search.abandon();
        let found = loop {
            if let Some(found) = search.found() {
                break found;
            }
            assert!(start.elapsed() < PATIENCE, "it waits for its second question");
            std::thread::yield_now();
        };
        assert!(!found);
    }

    #[test]
    fn a_cluster_that_is_there_answers() {
        let cluster = MockCluster::new(1).expect("a cluster");
        let other = other(&cluster.bootstrap_servers());
        let context = Ear::new(&other.config, Reasons::default());
        let client = other.settings.create_with_context(context).expect("a client");
        let (wanted, wants) = sync_channel(0);
        assert!(is_answered(&client, &wants) && is_answered(&client, &wants));
        drop(wanted);
        assert!(!is_answered(&client, &wants), "nobody wants to know");
    }

    #[test]
    fn a_client_with_long_pauses_of_its_own_is_given_more_time() {
        let mut other = other("127.0.0.1:1");
        assert_eq!(other.pause(), Duration::from_secs(80));
        other.settings.set("reconnect.backoff.max.ms", "300000");
        assert_eq!(other.pause(), Duration::from_mins(11));
        for (name, _) in ATTEMPT {
            other.settings.set(name, "1000");
        }
        assert_eq!(other.pause(), PAUSE);
    }
}
