//! The message that is tried, as the source would hand it to the queue.

use std::sync::Arc;

use bytes::Bytes;

use super::TryError;
use crate::config::Config;
use crate::message::{Arrival, Delivery, OVERSIZE_KEPT_BYTES, Properties, Stamp};
use crate::source::{self, Version};

/// Longest topic that MQTT can carry, bytes.
const TOPIC_MAX_BYTES: usize = 65_535;

/// What the command line says of it.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub topic: &'a str,
    pub payload: Vec<u8>,
    pub broker: Option<&'a str>,
    pub qos: u8,
    pub is_retained: bool,
    pub user: &'a [(String, String)],
    pub content_type: Option<&'a String>,
    pub response_topic: Option<&'a String>,
    pub correlation_data: Option<&'a String>,
    pub unix_ms: i64,
}

impl Question<'_> {
    pub(super) fn arrival(self, config: &Config) -> Result<Arrival, TryError> {
        check_topic(self.topic)?;
        let broker = self.broker(config)?;
        let properties = self.properties(broker)?;
        let whole = self.payload.len();
        let (payload, oversize) = match whole > broker.max_packet_size {
            true => {
                let kept = self.payload.get(..OVERSIZE_KEPT_BYTES).unwrap_or(&self.payload);
                (Bytes::copy_from_slice(kept), Some(whole as u64))
            }
            false => (Bytes::from(self.payload), None),
        };
        let trial = Arrival::trial(1, self.topic, payload);
        Ok(Arrival {
            broker: Arc::from(broker.name.as_str()),
            oversize,
            properties: properties.map(Box::new),
            delivery: Delivery {
                packet_id: u16::from(self.qos),
                qos: self.qos,
                retained: self.is_retained,
                ..trial.delivery
            },
            stamp: Stamp::right(self.unix_ms),
            ..trial
        })
    }

    fn broker<'c>(&self, config: &'c Config) -> Result<&'c source::Config, TryError> {
        let mut brokers = config.brokers.iter();
        let found = match self.broker {
            None => brokers.next(),
            Some(wanted) => brokers.find(|broker| broker.name == wanted),
        };
        let known: Vec<&str> = config.brokers.iter().map(|broker| broker.name.as_str()).collect();
        found.ok_or_else(|| TryError::NoBroker {
            wanted: self.broker.unwrap_or_default().to_owned(),
            known: known.join(", "),
        })
    }

    fn properties(&self, broker: &source::Config) -> Result<Option<Properties>, TryError> {
        let properties = Properties {
            content_type: self.content_type.cloned(),
            response_topic: self.response_topic.cloned(),
            correlation_data: self.correlation_data.cloned().map(Bytes::from),
            user: self.user.to_vec(),
            ..Properties::default()
        };
        if properties == Properties::default() {
            Ok(None)
        } else if broker.version == Version::V3_1_1 {
            Err(TryError::NoProperties(broker.name.clone()))
        } else {
            Ok(Some(properties))
        }
    }
}

/// What MQTT forbids never arrives.
fn check_topic(topic: &str) -> Result<(), TryError> {
    let why = if topic.is_empty() {
        "it is empty"
    } else if topic.len() > TOPIC_MAX_BYTES {
        "it is longer than 65,535 bytes"
    } else if topic.contains(['+', '#']) {
        "wildcards are for subscriptions"
    } else if topic.contains('\0') {
        "it has the character U+0000"
    } else {
        return Ok(());
    };
    let topic = topic.chars().take(100).collect();
    Err(TryError::Topic { topic, why })
}
