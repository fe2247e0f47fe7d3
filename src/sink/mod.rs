//! The Kafka side: submits in order, takes delivery reports, moves the queue's cursor.
//!
//! ```text
//! Reader ──Stored──▶ Router ──KafkaRecord──▶ Drain ──▶ Batched ──▶ Producer (librdkafka) ──▶ Kafka
//!    ◀── cursor ── Window (contiguous prefix) ◀── delivery reports ──┘
//!                     └── refused for what it is ──▶ DeadLetters
//! ```
//!
//! * Only durable messages come from the reader, so nothing reaches Kafka that a crash could renumber.
//! * The producer's guarantees (idempotence, no gaps) end with it. Whatever goes wrong, it is dropped, and
//!   everything behind the cursor is sent again by a new one.
//! * Nothing is dropped: a record is confirmed, or kept as a dead letter, or held.
//!
//! One OS thread, because the client's calls may block.

pub mod admin;
pub mod batches;
mod config;
pub mod dead_letter;
pub mod drain;
mod forbidden;
pub mod kafka;
pub mod monitor;
mod pace;
mod partition;
pub mod producer;
mod properties;
pub mod rate;
pub mod reader;
pub(crate) mod size;
pub mod tally;
pub mod telling;
mod times;
mod timing;
pub mod verdict;
mod window;

pub use config::{
    ClientCertificate, Config, DeadLetterConfig, Delivery, Mechanism, OnFull, OnPartitionChange, Preset,
    RecordTimestamp, Sasl, Security, Tls,
};
pub(crate) use config::{Raw, RawDeadLetter, resolve, resolve_dead_letter, resolve_max_rate};
pub use dead_letter::{DeadLetters, KeepError};
pub use drain::Drain;
pub(crate) use forbidden::is_secret as is_secret_property;
pub use kafka::{KafkaConnector, LaneConnector, Transactional, check_secrets, unreadable_secrets};
pub use monitor::Monitor;
pub use partition::Partitioner;
pub use rate::{Allowance, Gate};
pub use times::Times;
