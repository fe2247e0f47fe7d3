//! The Kafka client: the only place of the pipeline that makes one. The rest of the sink knows its error codes at most.
//!
//! `settings` is what a client is told, `secrets` what it is told in confidence, `context` what it calls us for, `polled` who listens,
//! `transactional` what exactly-once adds, `lost` whether a client is still good for anything, `ear` what a client for a person remembers.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use crate::clock;
use crate::message::Seq;
use crate::queue::Share;
use crate::route::KafkaRecord;
use crate::sink::Config;
use crate::sink::batches::Batched;
use crate::sink::producer::{
    Committed, Connector, Producer, Report, SubmitError, Ticket, TopicState, TransactionError,
};
use crate::sink::verdict::{Verdict, verdict};
pub use context::Beside;
use context::{Tokens, Voice};
pub use ear::{Ear, Reasons};
use lost::{NO_TOPIC, Other, Reach, Search};
use polled::Polled;
pub use secrets::{SecretError, check as check_secrets, unreadable as unreadable_secrets};
pub use settings::beside as settings_beside;
pub(super) use settings::{WINDOW_BYTES, WINDOW_RECORDS};
pub(super) use transactional::PRODUCER_ONLY;
pub use transactional::Transactional;
use transactional::{Session, failed};

mod context;
mod ear;
mod lost;
mod polled;
mod secrets;
mod settings;
mod transactional;

/// How long a transaction may stay open (Kafka's default): the coordinator takes it back by then, and readers wait no longer.
pub(super) const TRANSACTION_TIMEOUT: Duration = Duration::from_mins(1);

/// Patience with a question whose answer is only whether there is one to ask.
const GLANCE: Duration = Duration::from_millis(500);

/// Makes [`KafkaProducer`]s.
pub struct KafkaConnector {
    config: Config,
    client_id: String,
    share: Share,
    /// One request at a time for each broker.
    is_patient: bool,
    voice: Arc<Voice>,
    transactional: Option<Transactional>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for KafkaConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaConnector")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl KafkaConnector {
    /// A connector for `config` that takes its share of memory; `wake` is called whenever there is something to take from a producer.
    #[must_use]
    pub fn new(
        config: &Config,
        client_id: &str,
        share: Share,
        transactional: Option<Transactional>,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            config: config.clone(),
            client_id: client_id.to_owned(),
            share,
            is_patient: false,
            voice: Arc::default(),
            transactional,
            wake,
        }
    }

    /// A connector for what goes to Kafka beside the lanes, with little memory and without haste: one request at a time, because nobody
    /// lets the first record of a partition go alone there (see `sink::drain::firsts`).
    #[must_use]
    pub fn beside(config: &Config, client_id: &str, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self {
            is_patient: true,
            ..Self::new(config, client_id, Share::smallest(), None, wake)
        }
    }

    /// Settings of a producer, with secrets as they are now.
    fn settings(&self) -> Result<ClientConfig, SecretError> {
        let mut client = settings::producer(
            &self.config,
            &self.client_id,
            self.share,
            self.transactional.as_ref(),
        )?;
        if self.is_patient {
            client.set("max.in.flight.requests.per.connection", "1");
        }
        secrets::apply(&self.config.security, &mut client)?;
        Ok(client)
    }

    /// A producer that is told so.
    fn make(&mut self, client: &ClientConfig) -> Result<KafkaProducer, String> {
        let beside = settings::beside(&self.config, &self.client_id).map_err(|error| error.to_string())?;
        let inbox = Arc::new(Inbox {
            events: Mutex::default(),
            wake: Arc::clone(&self.wake),
        });
        let context = Context {
            inbox: Arc::clone(&inbox),
            tokens: Tokens::new(&self.config.security),
            voice: Arc::clone(&self.voice),
        };
        let producer: BaseProducer<Context> = client
            .create_with_context(context)
            .map_err(|error| error.to_string())?;
        let producer = Polled::new(producer).map_err(|error| error.to_string())?;
        let transaction = self
            .transactional
            .as_mut()
            .map(|transactional| transactional.session(beside.clone(), Beside::new(&self.config)));
        Ok(KafkaProducer {
            producer,
            inbox,
            transaction,
            reach: Reach::default(),
            other: Other::new(self.config.clone(), beside),
        })
    }
}

impl Connector for KafkaConnector {
    type Producer = KafkaProducer;

    fn connect(&mut self) -> Result<KafkaProducer, String> {
        let client = self.settings().map_err(|error| error.to_string())?;
        self.make(&client)
    }
}

/// Makes the producers of a lane: [`KafkaProducer`]s that get batches.
#[derive(Debug)]
pub struct LaneConnector(KafkaConnector);

impl LaneConnector {
    /// What `connector` makes gets batches.
    #[must_use]
    pub const fn new(connector: KafkaConnector) -> Self {
        Self(connector)
    }
}

impl Connector for LaneConnector {
    type Producer = Batched<KafkaProducer>;

    fn connect(&mut self) -> Result<Batched<KafkaProducer>, String> {
        let mut client = self.0.settings().map_err(|error| error.to_string())?;
        let limits = settings::limits(&self.0.config, self.0.share, &mut client);
        let producer = self.0.make(&client)?;
        Ok(Batched::new(producer, limits))
    }
}

/// What the client's own thread leaves for us.
struct Inbox {
    events: Mutex<Events>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

#[derive(Debug, Default)]
struct Events {
    reports: Vec<Report>,
    trouble: Option<Code>,
}

impl Events {
    /// Keeps the newest trouble, but what a person has to put right over what follows from it.
    fn note(&mut self, code: Code) {
        if self.trouble.map(verdict) != Some(Verdict::Hold) {
            self.trouble = Some(code);
        }
    }
}

impl Inbox {
    fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Context {
    inbox: Arc<Inbox>,
    tokens: Tokens,
    voice: Arc<Voice>,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.tokens.token()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters arrives as an error or a report; these lines are for whoever looks closer.
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // That all are away is the state of the link; why each of them is, is said here.
        if error.rdkafka_error_code() != Some(Code::AllBrokersDown) {
            self.voice.say(reason);
        }
        if let Some(code) = error.rdkafka_error_code() {
            self.inbox.events().note(code);
            (self.inbox.wake)();
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Ticket;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Ticket) {
        let (outcome, message) = match result {
            Ok(message) => (Ok(()), message),
            Err((error, message)) => (Err(error.rdkafka_error_code().unwrap_or(Code::Unknown)), message),
        };
        // The topic is only needed to name a failure.
        let topic = if outcome.is_ok() {
            String::new()
        } else {
            message.topic().to_owned()
        };
        self.inbox.events().reports.push(Report {
            ticket,
            topic,
            outcome,
        });
        (self.inbox.wake)();
    }
}

/// A producer on librdkafka.
pub struct KafkaProducer {
    producer: Polled,
    inbox: Arc<Inbox>,
    transaction: Option<Session>,
    reach: Reach<Search>,
    other: Other,
}

impl std::fmt::Debug for KafkaProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KafkaProducer")
    }
}

impl Drop for KafkaProducer {
    /// Both clients end at the same time: each may have to wait for a name that is looked up.
    fn drop(&mut self) {
        self.reach.abandon();
    }
}

impl KafkaProducer {
    /// A question had no answer, for this reason. Whether that is the client's own fault.
    fn is_lost(&mut self, code: Option<Code>) -> bool {
        let Self { reach, other, .. } = self;
        match code {
            // No broker is up that could be asked (librdkafka, `rd_kafka_metadata`).
            Some(Code::BrokerTransportFailure) => {}
            // One is, and was slow.
            Some(Code::OperationTimedOut) => {
                reach.reached();
                return false;
            }
            _ => return false,
        }
        let is_lost = reach.is_lost(clock::instant(), || other.search());
        if is_lost {
            tracing::warn!("Kafka answers another client, and this one reaches nobody: it is made anew");
        }
        is_lost
    }

    /// A step of a transaction had no answer, which has many reasons. Whether it is that the client has lost the cluster.
    fn has_lost_transactions(&mut self) -> bool {
        let asked = self.producer.client().fetch_metadata(Some(NO_TOPIC), GLANCE);
        match asked {
            Ok(_) => {
                self.reach.reached();
                false
            }
            Err(error) => self.is_lost(error.rdkafka_error_code()),
        }
    }
}

impl Producer for KafkaProducer {
    fn submit(
        &mut self,
        record: &Arc<KafkaRecord>,
        partition: Option<i32>,
        ticket: Ticket,
    ) -> Result<(), SubmitError> {
        let headers = record.headers.iter().fold(
            OwnedHeaders::new_with_capacity(record.headers.len()),
            |headers, header| {
                headers.insert(Header {
                    key: &header.name,
                    value: Some(header.value.as_ref()),
                })
            },
        );
        let mut out = BaseRecord::with_opaque_to(&record.topic, ticket)
            .key(&record.key)
            .payload(record.payload.as_ref())
            .headers(headers)
            .timestamp(record.timestamp_ms);
        out.partition = partition;
        self.producer
            .send(out)
            .map_err(|(error, _)| match error.rdkafka_error_code() {
                Some(Code::QueueFull) => SubmitError::Full,
                code => SubmitError::Refused(code.unwrap_or(Code::Unknown)),
            })
    }

    fn reports(&mut self) -> Vec<Report> {
        let reports = std::mem::take(&mut self.inbox.events().reports);
        if reports.iter().any(|report| report.outcome.is_ok()) {
            self.reach.reached();
        }
        reports
    }

    fn trouble(&mut self) -> Option<Code> {
        let code = self.inbox.events().trouble.take()?;
        // A failure of the producer as a whole has its reason elsewhere.
        let reason = (code == Code::Fatal).then(|| self.producer.client().fatal_error());
        Some(reason.flatten().map_or(code, |(reason, _)| reason))
    }

    fn take_over(&mut self, patience: Duration) -> Result<Committed, TransactionError> {
        let Some(session) = &mut self.transaction else {
            return Ok(Committed::default());
        };
        let taken = session.take_over(&self.producer, patience);
        match &taken {
            Err(error) if error.is_retriable && self.has_lost_transactions() => {
                return Err(TransactionError {
                    is_retriable: false,
                    ..*error
                });
            }
            _ => {}
        }
        taken
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        self.producer.begin_transaction().map_err(|error| failed(&error))
    }

    fn commit(&mut self, cursor: Seq, patience: Duration) -> Result<(), TransactionError> {
        match &mut self.transaction {
            Some(session) => session.commit(&self.producer, cursor, patience),
            None => Ok(()),
        }
    }

    fn abort(&mut self, patience: Duration) {
        if let Err(error) = self.producer.abort_transaction(patience) {
            tracing::debug!(%error, "the open transaction is left to whoever comes next");
        }
    }

    fn topic_state(&mut self, topic: &str, patience: Duration) -> TopicState {
        let metadata = match self.producer.client().fetch_metadata(Some(topic), patience) {
            Ok(metadata) => metadata,
            Err(error) => {
                let code = error.rdkafka_error_code();
                return match self.is_lost(code) {
                    true => TopicState::ClientLost,
                    false => TopicState::Unreachable(code.unwrap_or(Code::Unknown)),
                };
            }
        };
        self.reach.reached();
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return TopicState::Missing(Code::UnknownTopicOrPartition);
        };
        match found.error() {
            Some(error) => missing_or_away(Code::from(error)),
            None if found.partitions().is_empty() => TopicState::Missing(Code::UnknownTopicOrPartition),
            None => present(found),
        }
    }
}

/// A topic with partitions. A partition without a leader has the number -1 for it.
fn present(topic: &MetadataTopic) -> TopicState {
    let partitions = topic.partitions().len();
    let leaderless = topic.partitions().iter().find(|partition| partition.leader() < 0);
    leaderless.map_or(TopicState::Present { partitions }, |partition| {
        TopicState::Leaderless {
            partitions,
            first: partition.id(),
        }
    })
}

/// A topic in the middle of an election is there, only not yet.
fn missing_or_away(code: Code) -> TopicState {
    match code {
        Code::LeaderNotAvailable | Code::NotEnoughReplicas | Code::ReplicaNotAvailable => {
            TopicState::Unreachable(code)
        }
        code => TopicState::Missing(code),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rdkafka::Message as _;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::message::Headers as _;
    use rdkafka::mocking::MockCluster;

    use super::*;

    #[test]
    fn an_empty_payload_is_no_tombstone_and_nul_travels() {
        let cluster = MockCluster::new(1).expect("mock");
        cluster.create_topic("t", 1, 1).expect("topic");
        let config = Config {
            bootstrap_servers: vec![cluster.bootstrap_servers()],
            ..Config::for_test()
        };
        let mut producer = KafkaConnector::new(&config, "test", Share::default(), None, Arc::new(|| {}))
            .connect()
            .expect("connects");
        let record = KafkaRecord {
            route: 0,
            is_templated: false,
            topic: "t".to_owned(),
            key: "a\0b".to_owned(),
            payload: Bytes::new(),
            partition_by: None,
            headers: vec![crate::route::Header::text("h", "c\0d")],
            timestamp_ms: 1,
        };
        producer.submit(&Arc::new(record), None, 7).expect("taken");
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("group.id", "test")
            .set("auto.offset.reset", "earliest")
            .create()
            .expect("consumer");
        let mut all = rdkafka::TopicPartitionList::new();
        all.add_partition_offset("t", 0, rdkafka::Offset::Beginning)
            .expect("offset");
        consumer.assign(&all).expect("assigns");
        let message = consumer
            .poll(Duration::from_secs(20))
            .expect("comes")
            .expect("well");
        assert_eq!(message.payload(), Some(&b""[..]));
        assert_eq!(message.key(), Some(&b"a\0b"[..]));
        assert_eq!(message.timestamp().to_millis(), Some(1));
        let headers = message.headers().expect("headers");
        assert_eq!(headers.get(0).value, Some(&b"c\0d"[..]));
    }

    #[test]
    fn what_goes_beside_the_lanes_is_one_request_at_a_time() {
        let requests = |connector: &KafkaConnector| {
            let settings = connector.settings().expect("no secrets");
            let requests = settings.get("max.in.flight.requests.per.connection");
            requests.map(str::to_owned)
        };
        let config = Config::for_test();
        let lane = KafkaConnector::new(&config, "test", Share::default(), None, Arc::new(|| {}));
        assert_eq!(requests(&lane).as_deref(), Some("5"));
        let beside = KafkaConnector::beside(&config, "test", Arc::new(|| {}));
        assert_eq!(requests(&beside).as_deref(), Some("1"));
    }

    #[test]
    fn a_refused_password_is_not_overwritten_by_what_follows_from_it() {
        let mut events = Events::default();
        events.note(Code::BrokerTransportFailure);
        events.note(Code::Authentication);
        events.note(Code::AllBrokersDown);
        assert_eq!(events.trouble, Some(Code::Authentication));
    }
}
