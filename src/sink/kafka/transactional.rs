//! The client's side of exactly-once: the transactional id, and the cursor as the committed offset of a group.
//!
//! The group has no members: it is a named place for one number, kept by Kafka, written in the same transaction as the records
//! (KIP-98). The committed offset is the sequence that comes next, its metadata the tag of the producer that wrote it.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::{Beside, Context, TRANSACTION_TIMEOUT};
use crate::faults;
use crate::message::Seq;
use crate::sink::producer::{Committed, TransactionError};
use crate::sink::verdict::{Verdict, verdict};

/// The partition of the cursor topic that the cursor belongs to.
const PARTITION: i32 = 0;
/// Connections that carry nothing for this long are closed, and made again when they are needed.
///
/// librdkafka 2.12 waits for ever to send the cursor when the group's coordinator has just left the cluster: it looks for
/// another one only when the connection to some broker changes its state (confluentinc/librdkafka#5511 and #5456, seen with
/// three brokers). While it waits nothing else is sent, so this is such a change: well below what the watchdog allows a thread (45 s). Not shorter: a request that
/// a slow link takes that long to carry is cut as well.
const IDLE_LIMIT: Duration = Duration::from_secs(25);
const IDLE_PROPERTY: &str = "connections.max.idle.ms";
/// What a consumer is never given, where a preset or a property sets it: these belong to the producer.
pub(in crate::sink) const PRODUCER_ONLY: [&str; 4] = [
    "compression.level",
    "linger.ms",
    "batch.size",
    "batch.num.messages",
];

/// Events of a consumer that is asked one question and dropped: a coordinator that refuses is asked about ten times a second.
const EVENTS_MAX: usize = 100;

/// How a lane delivers exactly once.
#[derive(Debug, Clone)]
pub struct Transactional {
    id: String,
    /// Topics that the cursor is looked for in; it is written to the first.
    cursor_topics: Vec<String>,
    /// Names this connector among all that ever were.
    instance: String,
    /// Producers that it made.
    made: u64,
}

impl Transactional {
    /// For the lane with this transactional id, which is its group's name too. The cursor is kept on the first of
    /// `cursor_topics`, and looked for on all of them.
    #[must_use]
    pub fn new(id: String, cursor_topics: Vec<String>) -> Self {
        Self {
            id,
            cursor_topics,
            instance: format!("{:016x}", rand::random::<u64>()),
            made: 0,
        }
    }

    pub(super) fn configure(&self, client: &mut ClientConfig) {
        client.set("transactional.id", &self.id);
        client.set(
            "transaction.timeout.ms",
            TRANSACTION_TIMEOUT.as_millis().to_string(),
        );
        if client.get(IDLE_PROPERTY).is_none() {
            client.set(IDLE_PROPERTY, IDLE_LIMIT.as_millis().to_string());
        }
    }

    /// For a new producer; `client` and `context` are those of the consumer beside it.
    pub(super) fn session(&mut self, client: ClientConfig, context: Beside) -> Session {
        self.made += 1;
        Session {
            transactional: self.clone(),
            client,
            context,
            is_initialised: false,
            group: None,
            offsets_sent: None,
        }
    }

    fn tag(&self) -> String {
        format!("{}.{}", self.instance, self.made)
    }

    fn is_ours(&self, tag: &str) -> bool {
        tag.strip_prefix(&self.instance)
            .is_some_and(|rest| rest.starts_with('.'))
    }
}

/// The transactions of one producer.
pub(super) struct Session {
    transactional: Transactional,
    client: ClientConfig,
    context: Beside,
    is_initialised: bool,
    group: Option<ConsumerGroupMetadata>,
    /// The cursor that the open transaction has already.
    offsets_sent: Option<Seq>,
}

/// What the drain has to know of an error.
pub(super) fn failed(error: &KafkaError) -> TransactionError {
    let (code, is_retriable) = match error {
        KafkaError::Transaction(error) => (error.code(), error.is_retriable() && !error.is_fatal()),
        // The flush before a commit, and the question for the cursor.
        error => {
            let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
            (code, is_passing(code))
        }
    };
    TransactionError { code, is_retriable }
}

/// Errors of a question that may be answered next time.
const fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::TimedOutQueue
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::WaitingForCoordinator
            | Code::UnstableOffsetCommit
    )
}

/// What the client was refused while a question was asked, if it was.
fn refusal(consumer: &BaseConsumer<Beside>) -> Option<KafkaError> {
    let events = std::iter::from_fn(|| consumer.poll(Duration::ZERO));
    events
        .take(EVENTS_MAX)
        .filter_map(Result::err)
        .find(|error| error.rdkafka_error_code().map(verdict) == Some(Verdict::Hold))
}

impl Session {
    pub(super) fn take_over(
        &mut self,
        producer: &BaseProducer<Context>,
        patience: Duration,
    ) -> Result<Committed, TransactionError> {
        if !self.is_initialised {
            producer
                .init_transactions(patience)
                .map_err(|error| failed(&error))?;
            self.is_initialised = true;
        }
        self.ask(patience).map_err(|error| failed(&error))
    }

    /// Reads the cursor, and makes the handle that it is written with. The consumer that is needed for both lives no longer.
    fn ask(&mut self, patience: Duration) -> Result<Committed, KafkaError> {
        let consumer = self.consumer()?;
        let mut places = TopicPartitionList::new();
        for topic in &self.transactional.cursor_topics {
            places.add_partition(topic, PARTITION);
        }
        let asked = consumer.committed_offsets(places, patience);
        // Where the group's coordinator refuses us, the question itself only times out.
        let found = asked.map_err(|error| refusal(&consumer).unwrap_or(error))?;
        self.group = consumer.group_metadata();
        let mut newest = Committed::default();
        for place in found.elements() {
            place.error()?;
            let Offset::Offset(next) = place.offset() else {
                continue;
            };
            let cursor = Seq(u64::try_from(next).unwrap_or_default()).previous();
            if newest.cursor.is_none_or(|known| known < cursor) {
                let tag = place.metadata();
                newest = Committed {
                    cursor: Some(cursor),
                    by: Some(tag.to_owned()),
                    is_ours: self.transactional.is_ours(tag),
                };
            }
        }
        Ok(newest)
    }

    fn consumer(&self) -> Result<BaseConsumer<Beside>, KafkaError> {
        let mut config = self.client.clone();
        for name in PRODUCER_ONLY {
            config.remove(name);
        }
        config.set("group.id", &self.transactional.id);
        config.set("enable.auto.commit", "false");
        // The answer waits for a commit that is being written (KIP-447).
        config.set("isolation.level", "read_committed");
        let consumer: BaseConsumer<Beside> = config.create_with_context(self.context.clone())?;
        // A client that logs in with a token asks for it here. There is nothing else to come: it is subscribed to nothing.
        match consumer.poll(Duration::ZERO) {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(error),
        }?;
        Ok(consumer)
    }

    pub(super) fn commit(
        &mut self,
        producer: &BaseProducer<Context>,
        cursor: Seq,
        patience: Duration,
    ) -> Result<(), TransactionError> {
        if self.offsets_sent != Some(cursor) {
            self.send_cursor(producer, cursor, patience)
                .map_err(|error| failed(&error))?;
            self.offsets_sent = Some(cursor);
            faults::point("transaction.cursor");
        }
        producer
            .commit_transaction(patience)
            .map_err(|error| failed(&error))?;
        self.offsets_sent = None;
        Ok(())
    }

    fn send_cursor(
        &self,
        producer: &BaseProducer<Context>,
        cursor: Seq,
        patience: Duration,
    ) -> Result<(), KafkaError> {
        let (Some(group), Some(topic)) = (&self.group, self.transactional.cursor_topics.first()) else {
            return Err(KafkaError::Canceled);
        };
        let next = i64::try_from(cursor.next().0).unwrap_or(i64::MAX);
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(topic, PARTITION, Offset::Offset(next))?;
        if let Some(mut place) = place.find_partition(topic, PARTITION) {
            place.set_metadata(self.transactional.tag());
        }
        producer.send_offsets_to_transaction(&place, group, patience)
    }
}
