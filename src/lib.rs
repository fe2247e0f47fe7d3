//! edgeferry carries MQTT messages from the edge into Apache Kafka without losing or reordering them.
//!
//! A message walks down this list of modules and never turns back:
//!
//! ```text
//! MQTT broker ──PUBLISH──▶ source ──Arrival──▶ queue (sled) ──Stored──▶ route ──KafkaRecord──▶ sink ──▶ Kafka
//!       ◀──PUBACK── source ◀──receipt── queue                    queue ◀──cursor (contiguous prefix)── sink
//! ```
//!
//! Nothing is acknowledged to MQTT, and nothing is submitted to Kafka, before it is durable in the queue.
//! `ARCHITECTURE.md` says who may know whom; [`app`] is the only place that connects the stages.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod drill;
pub mod exit;
#[doc(hidden)]
pub mod faults;
mod files;
pub mod filter;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod identity;
pub mod interrupt;
pub mod link;
pub mod message;
pub mod mock;
pub mod ops;
mod outages;
pub mod pulse;
pub mod queue;
mod ranges;
pub mod route;
mod secret;
pub mod settings;
pub mod signal;
pub mod sink;
pub mod slots;
pub mod source;
pub mod verify;
