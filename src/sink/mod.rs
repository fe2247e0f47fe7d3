//! The Kafka side.
mod config;
pub use config::{Config, DeadLetterConfig};
