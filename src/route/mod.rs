//! From a stored message to Kafka records: pure.
mod config;
mod conflict;
pub mod pattern;
pub mod template;
pub use config::{Config, Format};
pub(crate) use config::{Raw, resolve};
