//! librdkafka's mock cluster: a Kafka in this process, for `edgeferry demo` and `edgeferry drill`.
//!
//! It keeps 5 MB per partition and forgets what is older, and it checks no sequence numbers: it shows that records arrive,
//! and proves neither their order nor exactly-once.

use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

/// All brokers of the cluster; there is one.
const ALL: i32 = -1;

/// The cluster. It listens on loopback, and ends when it is dropped.
pub struct Cluster(MockCluster<'static, DefaultProducerContext>);

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cluster").field(&self.bootstrap_servers()).finish()
    }
}

impl Cluster {
    /// One broker, and these topics.
    ///
    /// # Errors
    /// What librdkafka says.
    pub fn start<'t>(topics: impl IntoIterator<Item = &'t str>, partitions: i32) -> Result<Self, KafkaError> {
        let cluster = MockCluster::new(1)?;
        for topic in topics {
            cluster.create_topic(topic, partitions, 1)?;
        }
        Ok(Self(cluster))
    }

    /// Where clients find it.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        self.0.bootstrap_servers()
    }

    /// Cuts all connections and refuses new ones. What is stored stays.
    ///
    /// # Errors
    /// What librdkafka says.
    pub fn take_away(&self) -> Result<(), KafkaError> {
        self.0.broker_down(ALL)
    }

    /// Lets clients connect again.
    ///
    /// # Errors
    /// What librdkafka says.
    pub fn bring_back(&self) -> Result<(), KafkaError> {
        self.0.broker_up(ALL)
    }

    /// Answers the next requests to store records with these errors, one each.
    pub fn refuse(&self, errors: &[RDKafkaRespErr]) {
        self.0.request_errors(RDKafkaApiKey::Produce, errors);
    }

    /// Answers as usual again.
    pub fn refuse_no_more(&self) {
        self.0.clear_request_errors(RDKafkaApiKey::Produce);
    }

    /// Answers come this much later; what they confirm is stored at once.
    ///
    /// # Errors
    /// What librdkafka says.
    pub fn answer_after(&self, delay: Duration) -> Result<(), KafkaError> {
        self.0.broker_round_trip_time(ALL, delay)
    }
}
