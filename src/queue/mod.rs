//! The durable log.
mod config;
pub mod intake;
pub use config::{Compression, Config, OnFull};
pub(crate) use config::{Raw, resolve};
pub use intake::{Closed, Intake, Room};

/// What the store remembers of an earlier delivery, newest last: lets a source recognise redeliveries
/// after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recalled {
    /// `[[mqtt]] name`
    pub broker: std::sync::Arc<str>,
    /// How it was delivered.
    pub delivery: crate::message::Delivery,
}
