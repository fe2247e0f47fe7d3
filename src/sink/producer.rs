//! What the drain needs of Kafka: the smallest trait that lets a test script it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use crate::message::Seq;
use crate::route::KafkaRecord;

/// Names a record in delivery reports. Wraps around; only the distance to the window's first counts, because
/// on a 32-bit board the client carries no more than 32 bits.
pub type Ticket = usize;

/// Kafka's answer about one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// As submitted.
    pub ticket: Ticket,
    /// Kafka topic of the record.
    pub topic: String,
    /// Stored by all in-sync replicas, or why not.
    pub outcome: Result<(), Code>,
}

/// Why a record was not taken for sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmitError {
    /// The client's buffer is full: submit the same record again after a report.
    Full,
    /// Refused at once.
    Refused(Code),
}

/// Whether a topic is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicState {
    /// With at least one partition.
    Present {
        /// How many it has.
        partitions: usize,
    },
    /// There, but nobody takes records for some of its partitions now.
    Leaderless {
        /// How many it has.
        partitions: usize,
        /// The first one without a leader.
        first: i32,
    },
    /// The cluster does not know it, or does not show it to us.
    Missing(Code),
    /// The cluster could not be asked.
    Unreachable(Code),
    /// It could not, although it is there: this client will never reach it again, another one does.
    ClientLost,
}

/// What the cluster knows of a lane that delivers exactly once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// Every message up to here is delivered. `None` when the cluster knows of none, or has forgotten it.
    pub cursor: Option<Seq>,
    /// Who said so: a text of its own for each producer that ever took over.
    pub by: Option<String>,
    /// That was an earlier producer of the same connector.
    pub is_ours: bool,
}

/// Why a step of a transaction was not done, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionError {
    /// The client's reason.
    pub code: Code,
    /// The same step may be tried again with the same producer; otherwise it is of no use any more.
    pub is_retriable: bool,
}

/// A connection to one Kafka cluster. Its guarantees end with it: records without a report when it is dropped
/// may or may not be stored.
pub trait Producer {
    /// Hands a record over for sending, in order: to `partition`, or to the one that its key gives. Never waits.
    ///
    /// # Errors
    /// [`SubmitError`]; the record was not taken.
    fn submit(
        &mut self,
        record: &Arc<KafkaRecord>,
        partition: Option<i32>,
        ticket: Ticket,
    ) -> Result<(), SubmitError>;

    /// Takes the delivery reports that have come in, in order.
    fn reports(&mut self) -> Vec<Report>;

    /// When [`Producer::reports`] is to be called although none has come in: something waits for that moment.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Takes the last error of the connection as a whole since the last call.
    fn trouble(&mut self) -> Option<Code>;

    /// Exactly once: fences whoever used the lane's transactional id before, ends what that one left open, and asks how far
    /// it came. Waits, a few times `patience` at most.
    ///
    /// # Errors
    /// [`TransactionError`]: nothing may be submitted.
    fn take_over(&mut self, patience: Duration) -> Result<Committed, TransactionError>;

    /// Exactly once: what is submitted from here on is one transaction.
    ///
    /// # Errors
    /// [`TransactionError`]
    fn begin(&mut self) -> Result<(), TransactionError>;

    /// Exactly once: makes everything that was submitted since [`Producer::begin`] visible, and `cursor` the lane's cursor, as
    /// one step. Waits, a few times `patience` at most.
    ///
    /// # Errors
    /// [`TransactionError`]: whether it was done is known only to whoever takes over next.
    fn commit(&mut self, cursor: Seq, patience: Duration) -> Result<(), TransactionError>;

    /// Exactly once: takes back what was submitted since [`Producer::begin`], so that no reader waits for it. Waits,
    /// `patience` at most; whoever takes over next does the same.
    fn abort(&mut self, patience: Duration);

    /// Asks whether a topic is there. Waits for the answer, `patience` at most.
    fn topic_state(&mut self, topic: &str, patience: Duration) -> TopicState;
}

/// Makes producers.
pub trait Connector {
    /// What it makes.
    type Producer: Producer;

    /// A new producer. Does not wait for the cluster.
    ///
    /// # Errors
    /// The client's reason; settings were checked before, so files (certificates, passwords) are at fault.
    fn connect(&mut self) -> Result<Self::Producer, String>;
}
