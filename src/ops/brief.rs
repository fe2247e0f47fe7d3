//! The state in a few lines of JSON, for the topics of `[status]`: what somebody needs who looks at a thousand gateways.
//!
//! | member | meaning |
//! | --- | --- |
//! | `version`, `state` | version of this form; `online`, `stopped`, or, said by the MQTT broker alone, `offline` |
//! | `gateway`, `epoch`, `edgeferry`, `time` | who says it, its version, when (RFC 3339, UTC) |
//! | `clock`, `uptime_s`, `ready`, `buffering`, `summary` | as in the whole state |
//! | `lanes` | of each: links, the ledger, the age of the oldest message, rates |
//! | `disk_free_bytes`, `written_last_day_bytes`, `certificate_ends` | of those that the configuration names the first |
//! | `advice` | what a person should do, the most urgent first |
//! | `left_out` | what did not fit into [`MAX_BYTES`] |
//!
//! Devices, routes, events and files are not in it: they have no bound that a metered link could bear.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::message::rfc3339;
use crate::ops::state::{Advice, Lane, State};

/// Version of this form.
const VERSION: u32 = 1;
/// The longest that is sent, bytes: 6 MB a day at one a minute, and one page of flash at whoever stores it.
pub const MAX_BYTES: usize = 4096;
/// Pieces of advice.
const ADVICE_MAX: usize = 3;
/// Characters of a text that comes from elsewhere.
const TEXT_MAX: usize = 200;

/// What is said of the gateway as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It runs.
    Online,
    /// It was stopped in order.
    Stopped,
    /// It is gone without a word.
    Offline,
}

#[derive(Debug, Serialize)]
struct Brief<'a> {
    version: u32,
    state: Standing,
    gateway: String,
    epoch: &'a str,
    edgeferry: &'a str,
    time: String,
    clock: Option<bool>,
    uptime_s: u64,
    ready: bool,
    buffering: bool,
    summary: String,
    lanes: Vec<BriefLane>,
    disk_free_bytes: Option<u64>,
    written_last_day_bytes: u64,
    certificate_ends: Option<String>,
    advice: Vec<BriefAdvice>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct BriefLane {
    name: String,
    kafka: &'static str,
    mqtt: BTreeMap<String, &'static str>,
    received: u64,
    delivered: u64,
    queued: u64,
    dead_lettered: u64,
    removed: u64,
    age_s: Option<f64>,
    bytes: u64,
    full: bool,
    in_per_s: f64,
    out_per_s: f64,
    drained_in_s: Option<f64>,
}

#[derive(Debug, Serialize)]
struct BriefAdvice {
    what: String,
    todo: String,
}

/// Leaves something out; whether it was empty before.
type Cut = fn(&mut Brief<'_>) -> bool;

/// The state as JSON of [`MAX_BYTES`] at most.
#[must_use]
pub fn brief(state: &State, standing: Standing) -> Vec<u8> {
    let mut brief = Brief::of(state, standing);
    let steps: [(&'static str, Cut); 4] = [
        ("advice", |brief| std::mem::take(&mut brief.advice).is_empty()),
        ("mqtt", |brief| brief.cut_links()),
        ("summary", |brief| std::mem::take(&mut brief.summary).is_empty()),
        ("lanes", |brief| std::mem::take(&mut brief.lanes).is_empty()),
    ];
    for (name, cut) in steps {
        let text = brief.text();
        if text.len() <= MAX_BYTES {
            return text;
        }
        if !cut(&mut brief) {
            brief.left_out.push(name);
        }
    }
    brief.text()
}

impl<'a> Brief<'a> {
    fn of(state: &'a State, standing: Standing) -> Self {
        let ends = state
            .certificates
            .iter()
            .filter_map(|certificate| certificate.not_after_unix_ms);
        Self {
            version: VERSION,
            state: standing,
            gateway: cut(&state.gateway),
            epoch: &state.epoch,
            edgeferry: &state.edgeferry,
            time: rfc3339(state.unix_ms),
            clock: state.is_clock_synchronised,
            uptime_s: state.uptime_s,
            ready: state.health.is_ready,
            buffering: state.health.is_buffering,
            summary: cut(&state.health.summary),
            lanes: state.lanes.iter().map(lane).collect(),
            disk_free_bytes: state.disk.free_bytes,
            written_last_day_bytes: state.disk.written_last_day_bytes,
            certificate_ends: ends.min().map(rfc3339),
            advice: state.health.advice.iter().take(ADVICE_MAX).map(advice).collect(),
            left_out: Vec::new(),
        }
    }

    fn cut_links(&mut self) -> bool {
        let were_empty = self.lanes.iter().all(|lane| lane.mqtt.is_empty());
        for lane in &mut self.lanes {
            lane.mqtt.clear();
        }
        were_empty
    }

    fn text(&self) -> Vec<u8> {
        // Texts and numbers become JSON without fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn lane(lane: &Lane) -> BriefLane {
    let links = lane
        .brokers
        .iter()
        .map(|broker| (cut(&broker.name), broker.link.word()));
    BriefLane {
        name: cut(&lane.name),
        kafka: lane.kafka.word(),
        mqtt: links.collect(),
        received: lane.ledger.received,
        delivered: lane.ledger.delivered,
        queued: lane.ledger.queued,
        dead_lettered: lane.ledger.dead_lettered,
        removed: lane.ledger.removed.values().sum(),
        age_s: lane.queue.age_s,
        bytes: lane.queue.bytes,
        full: lane.queue.is_full,
        in_per_s: lane.flow.in_per_s,
        out_per_s: lane.flow.out_per_s,
        drained_in_s: lane.flow.drained_in_s,
    }
}

fn advice(advice: &Advice) -> BriefAdvice {
    BriefAdvice {
        what: cut(&advice.what),
        todo: cut(&advice.todo),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::ops::state::sample;

    fn said(state: &State, standing: Standing) -> Value {
        let text = brief(state, standing);
        assert!(text.len() <= MAX_BYTES, "{} bytes", text.len());
        serde_json::from_slice(&text).expect("JSON")
    }

    #[test]
    fn it_says_of_each_lane_what_became_of_its_messages() {
        let state = sample::state();
        let said = said(&state, Standing::Online);
        assert_eq!(said["state"], "online");
        assert_eq!(said["gateway"], state.gateway.as_str());
        assert_eq!(said["lanes"][1]["name"], "alarms");
        assert_eq!(said["lanes"][1]["kafka"], "refused");
        assert_eq!(said["lanes"][1]["queued"], state.lanes[1].ledger.queued);
        assert_eq!(said["advice"][0]["todo"], state.health.advice[0].todo.as_str());
        assert!(said.get("left_out").is_none(), "two lanes fit");
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_said() {
        let mut state = sample::state();
        state.health.advice = vec![
            Advice {
                what: "\u{1f600}".repeat(1000),
                todo: "x".repeat(1000),
                ..state.health.advice[0].clone()
            };
            50
        ];
        let said_once = said(&state, Standing::Online);
        assert_eq!(
            said_once["advice"].as_array().map(Vec::len),
            Some(3),
            "cut, and three of them fit"
        );
        let eight = state.lanes[0].clone();
        state.lanes = vec![eight; 8];
        let without = said(&state, Standing::Online);
        assert_eq!(without["left_out"], serde_json::json!(["advice"]));
        assert_eq!(without["lanes"].as_array().map(Vec::len), Some(8));
        let lane = state.lanes[0].clone();
        state.lanes = vec![lane; 100];
        state.health.summary = "\u{1}".repeat(5000);
        let bare = said(&state, Standing::Stopped);
        assert_eq!(
            bare["left_out"],
            serde_json::json!(["advice", "mqtt", "summary", "lanes"])
        );
        assert_eq!(bare["ready"], false, "how it is stays");
    }

    #[test]
    fn eight_lanes_fit_with_their_links() {
        let mut state = sample::state();
        let lane = state.lanes[1].clone();
        state.lanes = vec![lane; 8];
        let said = said(&state, Standing::Online);
        assert_eq!(said["lanes"].as_array().map(Vec::len), Some(8));
        assert_eq!(said.get("left_out").unwrap_or(&Value::Null), &Value::Null);
    }
}
