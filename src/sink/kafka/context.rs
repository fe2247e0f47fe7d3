//! What a client calls us for: a token, and what is wrong.

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

use super::secrets;
use crate::sink::config::{Config, Security};

/// Reasons that the log names in each minute: enough to tell one cause from another, too few to fill a disk when each
/// of many brokers is away for weeks.
const LOUD_LINES: usize = 5;
const MINUTE: Duration = Duration::from_mins(1);

/// Gives tokens to a client.
#[derive(Debug, Clone, Default)]
pub(super) struct Tokens(Option<PathBuf>);

impl Tokens {
    pub(super) fn new(security: &Security) -> Self {
        Self(secrets::token_file(security).map(PathBuf::from))
    }

    /// The token as it is now. An error goes to the client, which reports it as a failed login and asks again in 10 s.
    pub(super) fn token(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let path = self.0.as_deref().ok_or("kafka.token_file is not set")?;
        Ok(secrets::token(path)?)
    }
}

/// The context of a client that is no producer.
#[derive(Debug, Clone)]
pub struct Beside(Tokens);

impl Beside {
    /// For a client that logs in as `config` says.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self(Tokens::new(&config.security))
    }
}

impl ClientContext for Beside {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.0.token()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka client");
    }
}

impl ConsumerContext for Beside {}

/// Says why a client is in trouble, but not for ever. Outlives single clients.
#[derive(Debug, Default)]
pub(super) struct Voice(Mutex<Quota>);

#[derive(Debug, Default)]
struct Quota {
    begun: Option<Instant>,
    said: Vec<String>,
    held_back: u32,
}

impl Voice {
    /// The client reports each trouble twice, and the same one again and again.
    pub(super) fn say(&self, reason: &str) {
        let mut quota = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held_back) = quota.may_say(reason, Instant::now()) {
            tracing::warn!(reason, held_back, "Kafka client");
        } else {
            tracing::debug!(reason, "Kafka client");
        }
    }
}

impl Quota {
    /// How many were held back before, when this one may be said.
    fn may_say(&mut self, reason: &str, now: Instant) -> Option<u32> {
        if self.begun.is_none_or(|begun| now.duration_since(begun) >= MINUTE) {
            self.begun = Some(now);
            self.said.clear();
        }
        // What follows is how long it took and how often it happened.
        let cause = reason.split(" (after ").next().unwrap_or(reason);
        if self.said.len() >= LOUD_LINES || self.said.iter().any(|said| said == cause) {
            self.held_back += 1;
            return None;
        }
        self.said.push(cause.to_owned());
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_said_some_times_a_minute_and_counted_otherwise() {
        let mut quota = Quota::default();
        let start = Instant::now();
        assert_eq!(quota.may_say("away", start), Some(0));
        assert_eq!(
            quota.may_say("away (after 2ms in state CONNECT)", start),
            None,
            "again"
        );
        for number in 1..LOUD_LINES {
            let expected = u32::from(number == 1);
            assert_eq!(quota.may_say(&number.to_string(), start), Some(expected));
        }
        for number in 0..100 {
            assert_eq!(quota.may_say(&format!("again {number}"), start), None);
        }
        assert_eq!(quota.may_say("away", start + MINUTE), Some(100));
    }

    #[test]
    fn without_a_file_there_is_no_token() {
        assert!(Tokens::new(&Security::default()).token().is_err());
    }
}
