//! Questions about topics, for people: which are there and how they are set; and making those that are missing.
//!
//! A client beside the pipeline's, with the same settings, and only while `edgeferry check --live` runs.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::producer::{BaseProducer, Producer as _};

use crate::sink::kafka::{Beside, Ear, Reasons, SecretError, settings_beside};
use crate::sink::{Config, Sasl};

/// Patience with the cluster until it answers the first time: a slow link and a handshake, and short enough for a person.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);
/// Patience with each question after that.
const PATIENCE: Duration = Duration::from_secs(10);
/// The client is asked for its own news this often while it connects.
const GLANCE: Duration = Duration::from_millis(100);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The client cannot be made.
    #[error("the Kafka client cannot be made: {0}")]
    Client(KafkaError),
    /// No runtime to wait in.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// The cluster did not answer.
    #[error("{servers} did not answer within {} s{}", CONNECT_PATIENCE.as_secs(), listed(.reasons))]
    Unreachable {
        /// `bootstrap_servers`
        servers: String,
        /// What the client says.
        reasons: Vec<String>,
    },
    /// It answered with an error.
    #[error("Kafka says: {0}")]
    Refused(Code),
    /// Questions about settings cannot log in with tokens: the client library gives them to producers and consumers alone.
    #[error("not possible with OAUTHBEARER in this version")]
    Tokens,
}

fn listed(reasons: &[String]) -> String {
    let reasons = reasons.iter().flat_map(|reason| ["; ", reason]);
    reasons.collect()
}

/// One topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// How many partitions it has.
    pub partitions: usize,
    /// Partitions without a leader: nothing can be written to them now.
    pub leaderless: usize,
    /// Replicas of the partition that has the fewest.
    pub replicas: usize,
    /// Replicas in sync of the partition that has the fewest.
    pub in_sync: usize,
    /// Its settings, by Kafka's names; or why they are not known.
    pub settings: Result<BTreeMap<String, String>, Code>,
}

/// A connection to one cluster for questions.
pub struct Admin {
    probe: BaseProducer<Ear>,
    reasons: Reasons,
    client: Option<AdminClient<Beside>>,
    runtime: tokio::runtime::Runtime,
    servers: String,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// Connects as the pipeline does, and waits until the cluster answers. Gives its number of brokers too.
    ///
    /// # Errors
    /// [`AdminError`]
    pub fn connect(config: &Config, client_id: &str) -> Result<(Self, usize), AdminError> {
        let settings = settings_beside(config, client_id)?;
        let reasons = Reasons::default();
        let probe = settings
            .create_with_context(Ear::new(config, reasons.clone()))
            .map_err(AdminError::Client)?;
        let admin = Self {
            probe,
            reasons,
            client: admin_client(config, &settings)?,
            runtime: tokio::runtime::Builder::new_current_thread().build()?,
            servers: config.bootstrap_servers.join(", "),
        };
        let brokers = admin.wait_for_cluster()?;
        Ok((admin, brokers))
    }

    fn wait_for_cluster(&self) -> Result<usize, AdminError> {
        let deadline = Instant::now() + CONNECT_PATIENCE;
        loop {
            self.probe.poll(GLANCE);
            // A name that no cluster has: all topics of a large one would be a long answer.
            match self
                .probe
                .client()
                .fetch_metadata(Some("__edgeferry_check"), GLANCE * 20)
            {
                Ok(metadata) if !metadata.brokers().is_empty() => return Ok(metadata.brokers().len()),
                _ if Instant::now() < deadline => {}
                _ => return Err(self.unreachable()),
            }
        }
    }

    fn unreachable(&self) -> AdminError {
        AdminError::Unreachable {
            servers: self.servers.clone(),
            reasons: self.reasons.so_far(),
        }
    }

    /// The topic as it is; `None` when it is missing, or not shown to us.
    ///
    /// # Errors
    /// [`AdminError::Refused`]
    pub fn topic(&self, name: &str) -> Result<Option<Topic>, AdminError> {
        self.probe.poll(Duration::ZERO);
        let metadata = self
            .probe
            .client()
            .fetch_metadata(Some(name), PATIENCE)
            .map_err(|error| refused(&error))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == name) else {
            return Ok(None);
        };
        match found.error().map(Code::from) {
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
            // In the middle of an election; each partition says for itself whether it has a leader.
            Some(Code::LeaderNotAvailable) | None => Ok(Some(topic(found, self.settings(name)))),
            Some(code) => Err(AdminError::Refused(code)),
        }
    }

    fn settings(&self, name: &str) -> Result<BTreeMap<String, String>, Code> {
        let client = self.client.as_ref().ok_or(Code::UnsupportedFeature)?;
        let wanted = [ResourceSpecifier::Topic(name)];
        let asked = client.describe_configs(&wanted, &options());
        let answer = self.runtime.block_on(asked).map_err(|error| code(&error))?;
        let resource = answer.into_iter().next().ok_or(Code::Unknown)??;
        let known = resource.entries.into_iter();
        Ok(known
            .filter_map(|entry| Some((entry.name, entry.value?)))
            .collect())
    }

    /// A setting of one of Kafka's brokers; `None` when it is not said to us.
    #[must_use]
    pub fn broker_setting(&self, name: &str) -> Option<String> {
        let metadata = self
            .probe
            .client()
            .fetch_metadata(Some("__edgeferry_check"), PATIENCE);
        let id = metadata.ok()?.brokers().first()?.id();
        let wanted = [ResourceSpecifier::Broker(id)];
        let asked = self.client.as_ref()?.describe_configs(&wanted, &options());
        let answer = self.runtime.block_on(asked).ok()?;
        let resource = answer.into_iter().next()?.ok()?;
        let found = resource.entries.into_iter().find(|entry| entry.name == name);
        found?.value
    }

    /// Makes a topic with exactly these numbers, and waits until all its partitions have leaders.
    ///
    /// # Errors
    /// [`AdminError`]; it may have been made all the same when the cluster did not answer in time.
    pub fn create(&self, name: &str, partitions: i32, replicas: i32) -> Result<(), AdminError> {
        let client = self.client.as_ref().ok_or(AdminError::Tokens)?;
        let new = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        let created = self.runtime.block_on(client.create_topics([&new], &options()));
        match created.map_err(|error| refused(&error))?.into_iter().next() {
            Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => self.wait_for_leaders(name),
            Some(Err((_, code))) => Err(AdminError::Refused(code)),
            None => Err(AdminError::Refused(Code::Unknown)),
        }
    }

    fn wait_for_leaders(&self, name: &str) -> Result<(), AdminError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metadata = self
                .probe
                .client()
                .fetch_metadata(Some(name), PATIENCE)
                .map_err(|error| refused(&error))?;
            let found = metadata.topics().iter().find(|found| found.name() == name);
            let is_led = |topic: &MetadataTopic| {
                let partitions = topic.partitions();
                !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0)
            };
            // What is still missing then is said by the look at it that follows.
            if found.is_some_and(is_led) || Instant::now() >= deadline {
                return Ok(());
            }
            self.probe.poll(GLANCE);
        }
    }
}

/// The library polls this kind of client for answers alone, so it never asks for a token.
fn admin_client(config: &Config, settings: &ClientConfig) -> Result<Option<AdminClient<Beside>>, AdminError> {
    if matches!(config.security.sasl, Some(Sasl::Token { .. })) {
        return Ok(None);
    }
    let client = settings.create_with_context(Beside::new(config));
    client.map(Some).map_err(AdminError::Client)
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}

fn code(error: &KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::Unknown)
}

fn refused(error: &KafkaError) -> AdminError {
    AdminError::Refused(code(error))
}

fn topic(found: &MetadataTopic, settings: Result<BTreeMap<String, String>, Code>) -> Topic {
    let partitions = found.partitions();
    let fewest = |count: fn(&MetadataPartition) -> usize| partitions.iter().map(count).min().unwrap_or(0);
    Topic {
        partitions: partitions.len(),
        leaderless: partitions
            .iter()
            .filter(|partition| partition.leader() < 0)
            .count(),
        replicas: fewest(|partition| partition.replicas().len()),
        in_sync: fewest(|partition| partition.isr().len()),
        settings,
    }
}
