//! The MQTT side.
mod config;
pub use config::{Config, Version};
pub(crate) use config::{Raw, resolve};
