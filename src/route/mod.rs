//! From a stored message to Kafka records: pure.
mod config;
pub mod pattern;
pub mod template;
pub use config::{Config, Format};
