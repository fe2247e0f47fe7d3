//! A filter, ready to be asked.

use std::ops::RangeInclusive;

use super::HandError;
use super::request::Filter;
use crate::message::{Epoch, Seq, Stored};
use crate::route::Router;
use crate::route::pattern::Pattern;

/// See [`Filter`].
#[derive(Debug)]
pub struct Matcher {
    device: Option<String>,
    topic: Option<Pattern>,
    from: Seq,
    to: Seq,
    epochs: Vec<Epoch>,
    since_ms: i64,
    until_ms: i64,
}

impl Matcher {
    /// # Errors
    /// [`HandError::Usage`] when the topic is no MQTT filter.
    pub fn new(filter: &Filter) -> Result<Self, HandError> {
        let topic = filter.topic.as_deref().map(Pattern::parse).transpose();
        let topic = topic.map_err(|error| {
            HandError::Usage(format!(
                "--topic {error}; write an MQTT filter such as \"devices/+/telemetry\" or \"devices/#\""
            ))
        })?;
        let (from, to) = (filter.from, filter.to);
        Ok(Self {
            device: filter.device.clone(),
            topic,
            from: from.map_or(Seq(1), |bound| bound.seq),
            to: to.map_or(Seq(u64::MAX), |bound| bound.seq),
            epochs: [from, to]
                .into_iter()
                .flatten()
                .filter_map(|bound| bound.epoch)
                .collect(),
            since_ms: filter.since_ms.unwrap_or(i64::MIN),
            until_ms: filter.until_ms.unwrap_or(i64::MAX),
        })
    }

    /// The sequences it can match.
    #[must_use]
    pub const fn range(&self) -> RangeInclusive<Seq> {
        self.from..=self.to
    }

    /// Whether the message is meant.
    #[must_use]
    pub fn matches(&self, stored: &Stored, router: &Router) -> bool {
        let arrival = &stored.arrival;
        let time = arrival.stamp.unix_ms;
        let in_epoch = |epoch: &Epoch| arrival.origin.is_none() && stored.epoch == *epoch;
        self.range().contains(&stored.seq)
            && (self.since_ms..self.until_ms).contains(&time)
            && self.epochs.iter().all(in_epoch)
            && self
                .topic
                .as_ref()
                .is_none_or(|topic| topic.matches(&arrival.topic).is_some())
            && self
                .device
                .as_ref()
                .is_none_or(|device| router.keys(stored).contains(device))
    }
}
