//! The context of a client that works for a person who waits: what is wrong is remembered, and said with the answer.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext};

use super::Beside;
use crate::sink::Config;

/// Reasons that a person is shown when the cluster does not answer.
const REASONS_MAX: usize = 5;

/// What the client said is wrong, each once.
#[derive(Debug, Clone, Default)]
pub struct Reasons(Arc<Mutex<Vec<String>>>);

impl Reasons {
    /// What was said so far.
    #[must_use]
    pub fn so_far(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, reason: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < REASONS_MAX && !known.iter().any(|known| known == reason) {
            known.push(reason.to_owned());
        }
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct Ear {
    beside: Beside,
    reasons: Reasons,
}

impl Ear {
    /// For a client that logs in as `config` says; what is wrong comes to `reasons`.
    #[must_use]
    pub fn new(config: &Config, reasons: Reasons) -> Self {
        Self {
            beside: Beside::new(config),
            reasons,
        }
    }
}

impl ClientContext for Ear {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.beside.generate_oauth_token(config)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.beside.log(level, facility, message);
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        self.reasons.add(reason);
    }
}

impl ProducerContext for Ear {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, _opaque: ()) {}
}

impl ConsumerContext for Ear {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_told_each_reason_once_and_no_more_than_a_few() {
        let reasons = Reasons::default();
        for number in [0, 0, 1, 2, 3, 4, 5, 6] {
            reasons.add(&format!("broker {number} is away"));
        }
        let said = reasons.so_far();
        assert_eq!(said.len(), REASONS_MAX);
        assert_eq!(said[0], "broker 0 is away");
        assert_eq!(said[4], "broker 4 is away");
    }
}
