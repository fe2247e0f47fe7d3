//! The Kafka side.
mod config;
mod forbidden;
mod properties;
pub use config::{Config, DeadLetterConfig};
pub(crate) use config::{Raw, RawDeadLetter, resolve, resolve_dead_letter};
