//! Whether a broker takes subscription identifiers.
//!
//! One that does not may say so in its CONNACK (MQTT 5, 3.2.2.3.12), or only when it gets one: by a SUBACK or a DISCONNECT
//! with 0xA1. Asked again in the same way it would answer the same for ever. Without identifiers second copies of a message
//! cannot be told apart, as with MQTT 3.1.1.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::info;

/// What is known of one broker; remembered over its connections.
#[derive(Debug, Clone, Default)]
pub struct Identifiers {
    refused: Arc<AtomicBool>,
}

impl Identifiers {
    /// The broker does not take them.
    pub fn refuse(&self, broker: &str) {
        if !self.refused.swap(true, Ordering::Relaxed) {
            info!(
                broker,
                "the broker takes no subscription identifiers: where filters overlap it may send a message twice"
            );
        }
    }

    /// The identifier to send.
    pub fn allowed(&self, id: Option<u32>) -> Option<usize> {
        let id = id.filter(|_| !self.refused.load(Ordering::Relaxed))?;
        usize::try_from(id).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_refused_identifiers_gets_none_any_more() {
        let identifiers = Identifiers::default();
        let of_the_next_connection = identifiers.clone();
        assert_eq!(identifiers.allowed(Some(7)), Some(7));
        assert_eq!(identifiers.allowed(None), None);
        identifiers.refuse("b");
        assert_eq!(of_the_next_connection.allowed(Some(7)), None);
    }
}
