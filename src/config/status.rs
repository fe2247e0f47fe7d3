//! `[status]`: where the gateway tells its state by itself, for those who cannot reach it.

use std::time::Duration;

use serde::Deserialize;

use crate::route::is_legal_topic;
use crate::settings::{Period, Section};
use crate::source::status_topic;

/// One a minute is what a person or an alert needs, and 6 MB a day at most.
const DEFAULT_INTERVAL: Period = Period::secs(60);
const LEAST_INTERVAL: Period = Period::secs(1);

/// `[status]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// `kafka_topic`
    pub kafka_topic: Option<String>,
    /// `mqtt_topic`, `{gateway}` still in place; told at every broker.
    pub mqtt_topic: Option<String>,
    /// `interval`; default 1 min, 1 s at least.
    pub interval: Duration,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            kafka_topic: None,
            mqtt_topic: None,
            interval: DEFAULT_INTERVAL.0,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    kafka_topic: Option<String>,
    mqtt_topic: Option<String>,
    interval: Option<Period>,
}

pub(super) fn resolve(raw: Raw, section: &mut Section<'_, '_>) -> Status {
    if raw.interval.is_some() && raw.kafka_topic.is_none() && raw.mqtt_topic.is_none() {
        section.warn(
            "interval",
            "has no effect without a topic",
            "write kafka_topic = or mqtt_topic =, or remove it",
        );
    }
    Status {
        interval: section
            .at_least("interval", raw.interval, DEFAULT_INTERVAL, LEAST_INTERVAL)
            .0,
        mqtt_topic: status_topic::resolve_as("mqtt_topic", raw.mqtt_topic, section),
        kafka_topic: raw.kafka_topic.filter(|topic| is_usable(topic, section)),
    }
}

fn is_usable(topic: &str, section: &mut Section<'_, '_>) -> bool {
    let is_legal = is_legal_topic(topic);
    if !is_legal {
        section.error(
            "kafka_topic",
            format!("{topic:?} is no name of a Kafka topic"),
            "use 1 to 249 letters, digits, '.', '_' and '-', for example kafka_topic = \"edgeferry-status\"",
        );
    }
    is_legal
}
