//! What is known of topics: which are there and with how many partitions, which are not, and since when. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use crate::sink::producer::Ticket;
use crate::sink::{Config, OnPartitionChange, Partitioner};

/// Topics whose partition count is remembered: twice as many as records can be under way, so that one without such
/// records can always be let go. Beyond it an arbitrary one goes: letting the oldest go would make a fleet that visits
/// more topics than that in turns ask for each of them every time.
const KNOWN_MAX: usize = 2 * crate::sink::kafka::WINDOW_RECORDS;
/// Absent topics that are remembered. One that is forgotten is waited for anew, no longer than its message has been here.
const ABSENT_MAX: usize = 1_024;
/// The count of a topic is looked up again this often, as librdkafka and Java do it.
const LOOK_AGAIN: Duration = Duration::from_mins(5);
/// librdkafka's setting for the same; when it is shorter, we ask as often as it does.
const LOOK_AGAIN_PROPERTY: &str = "topic.metadata.refresh.interval.ms";
/// More often would be a load.
const LOOK_AGAIN_MIN: Duration = Duration::from_secs(1);
/// Time between two questions that are not needed to go on: each may take a round trip of a slow link.
const SPACING: Duration = Duration::from_secs(1);
/// A topic that was given up is asked for again when a message wants it: from here on if nothing else is to be asked...
const ABSENT_AGAIN: Duration = Duration::from_secs(30);
/// ...and from here on in any case: what is older is not known any more.
const ABSENT_STALE: Duration = Duration::from_mins(1);

/// What is set about topics.
#[derive(Debug, Clone, Copy)]
pub struct TopicRules {
    /// How long a topic with names in it may be absent before its messages become dead letters.
    pub unknown_after: Duration,
    /// What happens when a topic has more partitions than before.
    pub on_change: OnPartitionChange,
    /// How often the count of a topic is looked up again.
    pub look_again: Duration,
    /// What chooses a partition.
    pub partitioner: Partitioner,
}

impl From<&Config> for TopicRules {
    fn from(config: &Config) -> Self {
        let property = config.properties.get(LOOK_AGAIN_PROPERTY);
        let property = property.and_then(|ms| ms.parse().ok().map(Duration::from_millis));
        Self {
            unknown_after: config.unknown_topic_after,
            on_change: config.on_partition_change,
            partitioner: config.partitioner,
            look_again: property.map_or(LOOK_AGAIN, |own| own.clamp(LOOK_AGAIN_MIN, LOOK_AGAIN)),
        }
    }
}

/// A topic that is there.
#[derive(Debug)]
pub(super) struct Known {
    /// The partition count in use.
    partitions: usize,
    /// A new count that waits until what is under way is confirmed.
    coming: Option<usize>,
    /// When it was asked for.
    asked: Instant,
    /// Its count is no longer believed.
    doubted: bool,
    /// The newest record for it.
    newest: Option<Ticket>,
}

/// A topic that is not there.
#[derive(Debug)]
pub(super) struct Absent {
    /// The cluster's answer.
    pub(super) code: Code,
    /// First answer that said so.
    since: Instant,
    /// Last one.
    asked: Instant,
    /// The partitions it had when it was seen in this run.
    had: Option<usize>,
    /// It was given up, after so many seconds: messages for it become dead letters at once.
    pub(super) given_up_s: Option<u64>,
}

/// Whether to ask for a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// What is known is new enough.
    None,
    /// It would be well, but what is known will do.
    May,
    /// Nothing is known that will do.
    Must,
}

/// How many partitions to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// So many.
    Of(usize),
    /// What is under way has to be confirmed before there is a new one.
    Changing,
    /// The topic is not known to be there.
    Unknown,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Topics {
    rules: TopicRules,
    known: HashMap<String, Known>,
    absent: HashMap<String, Absent>,
    /// Since when the cluster has answered every question.
    answering_since: Option<Instant>,
    /// When a question was asked that was not needed to go on.
    last_extra: Option<Instant>,
}

impl Topics {
    pub(super) fn new(rules: TopicRules) -> Self {
        Self {
            rules,
            known: HashMap::new(),
            absent: HashMap::new(),
            answering_since: None,
            last_extra: None,
        }
    }

    pub(super) const fn partitioner(&self) -> Partitioner {
        self.rules.partitioner
    }

    /// Whether to ask for a topic before a record for it is sent.
    pub(super) fn need(&self, topic: &str, now: Instant) -> Need {
        let may = self
            .last_extra
            .is_none_or(|last| now.saturating_duration_since(last) >= SPACING);
        let by_age = |asked: Instant, age: Duration| match now.saturating_duration_since(asked) >= age {
            true if may => Need::May,
            _ => Need::None,
        };
        if let Some(known) = self.known.get(topic) {
            return match known.doubted {
                true => Need::Must,
                false => by_age(known.asked, self.rules.look_again),
            };
        }
        match self.absent.get(topic) {
            Some(absent) if self.is_given_up(absent, now) => by_age(absent.asked, ABSENT_AGAIN),
            _ => Need::Must,
        }
    }

    /// Whether it was given up, by an answer that still counts.
    fn is_given_up(&self, absent: &Absent, now: Instant) -> bool {
        absent.given_up_s.is_some()
            && self.answering_since.is_some()
            && now.saturating_duration_since(absent.asked) < ABSENT_STALE
    }

    /// A question is asked that was not needed to go on.
    pub(super) fn asking_extra(&mut self, now: Instant) {
        self.last_extra = Some(now);
    }

    /// The cluster says that it is there. `is_under_way` tells whether a record is not confirmed yet.
    pub(super) fn found(
        &mut self,
        topic: &str,
        partitions: usize,
        is_under_way: impl Fn(Ticket) -> bool,
        now: Instant,
    ) {
        self.answering_since.get_or_insert(now);
        if let Some(had) = self.absent.remove(topic).and_then(|absent| absent.had) {
            self.insert(topic, had, is_under_way, now);
        } else if !self.known.contains_key(topic) {
            self.insert(topic, partitions, is_under_way, now);
        }
        let Some(known) = self.known.get_mut(topic) else {
            return;
        };
        known.asked = now;
        known.doubted = false;
        known.coming = None;
        if known.partitions == partitions {
            return;
        }
        let before = known.partitions;
        if partitions > before && self.rules.on_change == OnPartitionChange::Warn {
            known.partitions = partitions;
        } else {
            // Fewer means that the topic was made anew: what is under way may fail, and then has to be sent before what follows.
            known.coming = Some(partitions);
        }
        tracing::warn!(
            topic,
            before,
            now = partitions,
            "the topic has another number of partitions: keys move to others"
        );
    }

    fn insert(
        &mut self,
        topic: &str,
        partitions: usize,
        is_under_way: impl Fn(Ticket) -> bool,
        now: Instant,
    ) {
        if self.known.len() >= KNOWN_MAX {
            let idle = |known: &Known| !known.newest.is_some_and(&is_under_way);
            let gone = self.known.iter().find(|(_, known)| idle(known));
            if let Some(gone) = gone.map(|(topic, _)| topic.clone()) {
                self.known.remove(&gone);
            }
        }
        let known = Known {
            partitions,
            coming: None,
            asked: now,
            doubted: false,
            newest: None,
        };
        self.known.insert(topic.to_owned(), known);
    }

    /// The cluster says that it is not there, or not for us.
    pub(super) fn missed(&mut self, topic: &str, code: Code, now: Instant) {
        self.answering_since.get_or_insert(now);
        if self.absent.len() >= ABSENT_MAX && !self.absent.contains_key(topic) {
            let gone = self.absent.keys().next().cloned();
            gone.map(|gone| self.absent.remove(&gone));
        }
        let had = self.known.remove(topic).map(|known| known.partitions);
        let absent = self.absent.entry(topic.to_owned()).or_insert(Absent {
            code,
            since: now,
            asked: now,
            had,
            given_up_s: None,
        });
        absent.code = code;
        absent.asked = now;
    }

    /// The cluster did not answer.
    pub(super) fn unanswered(&mut self, topic: &str, now: Instant) {
        self.answering_since = None;
        // What was known of a topic that is there has to do for another while.
        if let Some(known) = self.known.get_mut(topic) {
            known.asked = now;
        }
    }

    /// The link is known to be away.
    pub(super) const fn away(&mut self) {
        self.answering_since = None;
    }

    /// What is known of it is wrong.
    pub(super) fn doubt(&mut self, topic: &str) {
        if let Some(known) = self.known.get_mut(topic) {
            known.doubted = true;
        }
    }

    /// All that is known is looked up again before it is used.
    pub(super) fn doubt_all(&mut self) {
        for known in self.known.values_mut() {
            known.doubted = true;
        }
    }

    /// The partition count for a record to this topic, by what is known; a new one is taken over when `is_drained`.
    pub(super) fn count(&mut self, topic: &str, is_drained: impl Fn() -> bool) -> Count {
        let Some(known) = self.known.get_mut(topic) else {
            return Count::Unknown;
        };
        if let Some(coming) = known.coming {
            if !is_drained() {
                return Count::Changing;
            }
            known.partitions = coming;
            known.coming = None;
            tracing::info!(
                topic,
                partitions = coming,
                "the new number of partitions is in use"
            );
        }
        Count::Of(known.partitions)
    }

    /// A record for it was handed over.
    pub(super) fn sent(&mut self, topic: &str, ticket: Ticket) {
        if let Some(known) = self.known.get_mut(topic) {
            known.newest = Some(ticket);
        }
    }

    /// What is known of one that is not there.
    pub(super) fn absent(&self, topic: &str) -> Option<&Absent> {
        self.absent.get(topic)
    }

    /// When a message that came at `arrived` stops waiting for an absent topic. A topic that was seen in this run is missed
    /// since it was gone, another one since somebody wanted it; and only time counts in which the cluster answered without
    /// a break. So many absent topics in a backlog cost this once together, not each.
    pub(super) fn deadline(&self, absent: &Absent, arrived: Instant) -> Option<Instant> {
        let wanted = match absent.had {
            Some(_) => absent.since,
            None => arrived,
        };
        Some(wanted.max(self.answering_since?) + self.rules.unknown_after)
    }

    /// It is waited for no longer. Returns for how long that was, seconds.
    pub(super) fn give_up(&mut self, topic: &str, deadline: Instant, now: Instant) -> u64 {
        let waited = now.saturating_duration_since(deadline) + self.rules.unknown_after;
        if let Some(absent) = self.absent.get_mut(topic) {
            absent.given_up_s = Some(waited.as_secs());
        }
        waited.as_secs()
    }

    /// How long a topic with names in it is waited for.
    pub(super) const fn patience(&self) -> Duration {
        self.rules.unknown_after
    }
}
