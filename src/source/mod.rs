//! The MQTT side.
mod config;
pub use config::{Config, Version};
