//! Reads topics back, for people: `edgeferry verify`.
//!
//! A consumer with the settings of `[kafka]`, assigned by hand: it joins no group and commits nothing, and needs the right Read on the topics alone.
//! librdkafka wants a group's name all the same and looks for its coordinator; that a user may not see that group does no harm.
//! Topics are read one after the other, each up to where it ended when its turn came. Only committed records are seen.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use crate::sink::Config;
use crate::sink::kafka::{Ear, PRODUCER_ONLY, Reasons, SecretError, settings_beside};

/// Patience with the cluster until it answers the first time: a slow link and a handshake, and short enough for a person.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);
/// Patience with each question after that.
const PATIENCE: Duration = Duration::from_secs(10);
/// Patience with a topic that gives nothing: leaders may move meanwhile.
const SILENCE: Duration = Duration::from_mins(1);
/// The caller is asked this often whether to go on, and told how far it is.
const GLANCE: Duration = Duration::from_millis(200);
/// Records that wait in memory, KiB: enough for a fast link.
const BUFFER_KBYTES: &str = "16384";
/// Name of the group that is never joined.
const GROUP: &str = "edgeferry-verify";

/// Why topics cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The client cannot be made, or does not do what it is told.
    #[error("the Kafka client: {0}")]
    Client(KafkaError),
    /// The cluster did not answer.
    #[error("{servers} did not answer within {} s{}", CONNECT_PATIENCE.as_secs(), listed(.reasons))]
    Unreachable {
        /// `bootstrap_servers`
        servers: String,
        /// What the client says.
        reasons: Vec<String>,
    },
    /// It answered with an error.
    #[error("topic {topic:?}: Kafka says: {code}{}", advice(*.code))]
    Refused {
        /// The topic.
        topic: String,
        /// What it says.
        code: Code,
    },
    /// Nothing came for long.
    #[error("topic {topic:?}: Kafka gave nothing for {} s{}", SILENCE.as_secs(), listed(.reasons))]
    Silent {
        /// The topic.
        topic: String,
        /// What the client says.
        reasons: Vec<String>,
    },
}

fn listed(reasons: &[String]) -> String {
    let reasons = reasons.iter().flat_map(|reason| ["; ", reason]);
    reasons.collect()
}

fn advice(code: Code) -> &'static str {
    match code {
        Code::TopicAuthorizationFailed => "; this needs the rights Describe and Read on the topic",
        _ => "",
    }
}

/// A part of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Partition.
    pub partition: i32,
    /// Offset of the first record that Kafka still has.
    pub log_start: i64,
    /// First offset to read.
    pub start: i64,
    /// Behind the last offset to read.
    pub end: i64,
}

/// Whether to go on.
pub type Flow<B> = std::ops::ControlFlow<B>;

/// A connection to one cluster for reading.
pub struct Reader {
    consumer: BaseConsumer<Ear>,
    reasons: Reasons,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl Reader {
    /// Connects as the pipeline does, and waits until the cluster answers.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn connect(config: &Config, client_id: &str) -> Result<Self, ReadError> {
        let mut settings = settings_beside(config, client_id)?;
        for name in PRODUCER_ONLY {
            settings.remove(name);
        }
        settings
            .set("group.id", GROUP)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Where retention takes the beginning away meanwhile.
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", BUFFER_KBYTES);
        let reasons = Reasons::default();
        let consumer = settings
            .create_with_context(Ear::new(config, reasons.clone()))
            .map_err(ReadError::Client)?;
        let reader = Self { consumer, reasons };
        reader.wait_for_cluster(config)?;
        Ok(reader)
    }

    fn wait_for_cluster(&self, config: &Config) -> Result<(), ReadError> {
        let deadline = Instant::now() + CONNECT_PATIENCE;
        loop {
            // Also what gives it a token.
            drop(self.consumer.poll(Duration::ZERO));
            match self
                .consumer
                .fetch_metadata(Some("__edgeferry_verify"), GLANCE * 10)
            {
                Ok(metadata) if !metadata.brokers().is_empty() => return Ok(()),
                _ if Instant::now() < deadline => {}
                _ => {
                    return Err(ReadError::Unreachable {
                        servers: config.bootstrap_servers.join(", "),
                        reasons: self.reasons.so_far(),
                    });
                }
            }
        }
    }

    /// The names of all topics that this user may see, without Kafka's own.
    ///
    /// # Errors
    /// [`ReadError::Refused`]
    pub fn topics(&self) -> Result<Vec<String>, ReadError> {
        let metadata = self
            .consumer
            .fetch_metadata(None, PATIENCE)
            .map_err(|error| refused("", &error))?;
        let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
        Ok(names.filter(|name| !name.starts_with("__")).collect())
    }

    /// Where each partition begins and ends now, and where the records from `since_ms` on begin. `None` when there is no such topic.
    ///
    /// # Errors
    /// [`ReadError::Refused`]
    pub fn spans(
        &self,
        topic: &str,
        since_ms: Option<i64>,
        until_ms: Option<i64>,
    ) -> Result<Option<Vec<Span>>, ReadError> {
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), PATIENCE)
            .map_err(|error| refused(topic, &error))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(None);
        };
        match found.error().map(Code::from) {
            None | Some(Code::LeaderNotAvailable) => {}
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => return Ok(None),
            Some(code) => {
                let topic = topic.to_owned();
                return Err(ReadError::Refused { topic, code });
            }
        }
        let mut spans = Vec::new();
        for partition in found.partitions() {
            let marks = self.consumer.fetch_watermarks(topic, partition.id(), PATIENCE);
            let (log_start, end) = marks.map_err(|error| refused(topic, &error))?;
            spans.push(Span {
                partition: partition.id(),
                log_start,
                start: log_start,
                end,
            });
        }
        spans.sort_by_key(|span| span.partition);
        if spans.is_empty() {
            return Ok(None);
        }
        if let Some(since) = since_ms {
            self.at_time(topic, since, &mut spans, |span, offset| {
                span.start = offset.max(span.log_start);
            })?;
        }
        if let Some(until) = until_ms {
            self.at_time(topic, until, &mut spans, |span, offset| {
                span.end = offset.min(span.end);
            })?;
        }
        Ok(Some(spans))
    }

    /// Asks for the first offset with this time or a later one; the end where there is none.
    fn at_time(
        &self,
        topic: &str,
        time_ms: i64,
        spans: &mut [Span],
        mut set: impl FnMut(&mut Span, i64),
    ) -> Result<(), ReadError> {
        let mut wanted = TopicPartitionList::new();
        for span in spans.iter() {
            wanted
                .add_partition_offset(topic, span.partition, Offset::Offset(time_ms))
                .map_err(ReadError::Client)?;
        }
        let found = self.consumer.offsets_for_times(wanted, PATIENCE);
        let found = found.map_err(|error| refused(topic, &error))?;
        for span in spans.iter_mut() {
            match found
                .find_partition(topic, span.partition)
                .map(|found| found.offset())
            {
                Some(Offset::Offset(offset)) => set(span, offset),
                _ => set(span, span.end),
            }
        }
        Ok(())
    }

    /// Gives the records of `spans`, those of a partition in order, until `take` breaks off. `tick` is called now and then.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn read<B>(
        &self,
        topic: &str,
        spans: &[Span],
        mut take: impl FnMut(&BorrowedMessage<'_>) -> Flow<B>,
        mut tick: impl FnMut() -> Flow<B>,
    ) -> Result<Option<B>, ReadError> {
        let mut open: HashSet<i32> = HashSet::new();
        let mut list = TopicPartitionList::new();
        for span in spans.iter().filter(|span| span.start < span.end) {
            list.add_partition_offset(topic, span.partition, Offset::Offset(span.start))
                .map_err(ReadError::Client)?;
            open.insert(span.partition);
        }
        if open.is_empty() {
            return Ok(None);
        }
        self.consumer.assign(&list).map_err(ReadError::Client)?;
        let outcome = self.drain(topic, spans, &mut open, &mut take, &mut tick);
        self.consumer.unassign().map_err(ReadError::Client)?;
        outcome
    }

    fn drain<B>(
        &self,
        topic: &str,
        spans: &[Span],
        open: &mut HashSet<i32>,
        take: &mut impl FnMut(&BorrowedMessage<'_>) -> Flow<B>,
        tick: &mut impl FnMut() -> Flow<B>,
    ) -> Result<Option<B>, ReadError> {
        let (mut heard, mut ticked) = (Instant::now(), Instant::now());
        while !open.is_empty() {
            if ticked.elapsed() >= GLANCE {
                ticked = Instant::now();
                if let Flow::Break(broken) = tick() {
                    return Ok(Some(broken));
                }
            }
            match self.consumer.poll(GLANCE) {
                Some(Ok(message)) if message.topic() == topic => {
                    heard = Instant::now();
                    let (partition, offset) = (message.partition(), message.offset());
                    let end = spans
                        .iter()
                        .find(|span| span.partition == partition)
                        .map_or(0, |span| span.end);
                    if offset < end
                        && open.contains(&partition)
                        && let Flow::Break(broken) = take(&message)
                    {
                        return Ok(Some(broken));
                    }
                    if offset + 1 >= end {
                        self.close(topic, partition, open)?;
                    }
                }
                // Everything up to now was read, so everything up to the end that was noted before.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard = Instant::now();
                    self.close(topic, partition, open)?;
                }
                Some(Err(error)) => Self::look_at(topic, &error)?,
                Some(Ok(_)) | None => {}
            }
            if heard.elapsed() >= SILENCE {
                let (topic, reasons) = (topic.to_owned(), self.reasons.so_far());
                return Err(ReadError::Silent { topic, reasons });
            }
        }
        Ok(None)
    }

    /// An error that a person has to put right ends it; everything else passes, or ends as silence.
    fn look_at(topic: &str, error: &KafkaError) -> Result<(), ReadError> {
        let code = error.rdkafka_error_code();
        if let Some(code @ (Code::TopicAuthorizationFailed | Code::UnknownTopicOrPartition)) = code {
            let topic = topic.to_owned();
            return Err(ReadError::Refused { topic, code });
        }
        tracing::debug!(%error, topic, "reading goes on");
        Ok(())
    }

    /// Nothing more of a partition: what comes behind would only be thrown away.
    fn close(&self, topic: &str, partition: i32, open: &mut HashSet<i32>) -> Result<(), ReadError> {
        if open.remove(&partition) && !open.is_empty() {
            let mut list = TopicPartitionList::new();
            list.add_partition(topic, partition);
            self.consumer.pause(&list).map_err(ReadError::Client)?;
        }
        Ok(())
    }
}

fn refused(topic: &str, error: &KafkaError) -> ReadError {
    ReadError::Refused {
        topic: topic.to_owned(),
        code: error.rdkafka_error_code().unwrap_or(Code::Unknown),
    }
}
