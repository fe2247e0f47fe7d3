//! From a device's PUBLISH to a consumer of the topic, on one clock.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::support::devices::sent::Sent;
use crate::support::oracle::Record;
use crate::support::payload;
use crate::support::trend::f64_of;

/// Messages of one minute.
#[derive(Debug, Clone, Copy)]
pub struct Minute {
    /// Minutes since the first calm began.
    pub since_began: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// Of messages that were published while nothing was away and nothing waited, by the minute of their PUBLISH.
pub fn by_minute(sent: &Sent, records: &[Record], calms: &[(SystemTime, SystemTime)]) -> Vec<Minute> {
    let began = calms.first().expect("there was one").0;
    let mut minutes: BTreeMap<u64, Vec<Duration>> = BTreeMap::new();
    for record in records {
        let Some((device, seq)) = payload::origin(&record.value) else {
            continue;
        };
        let published = sent.devices[&device][&seq].first;
        let is_calm = calms
            .iter()
            .any(|(since, until)| *since <= published && published < *until);
        if let (true, Ok(took), Ok(since)) = (
            is_calm,
            record.seen.duration_since(published),
            published.duration_since(began),
        ) {
            minutes.entry(since.as_secs() / 60).or_default().push(took);
        }
    }
    minutes
        .into_iter()
        .map(|(minute, mut took)| {
            took.sort_unstable();
            let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e3;
            Minute {
                since_began: f64_of(minute),
                p50_ms: at(50),
                p99_ms: at(99),
            }
        })
        .collect()
}
