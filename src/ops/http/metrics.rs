//! The metrics: one table, from which the text, the document and the tests come.
//!
//! Every counter begins at 0 with the process, as Prometheus expects it: it takes a value that falls for a restart and adds all of
//! it again. The totals of the ledger live in the store and may come back a little lower after a power cut, because the
//! cursor is older than what was delivered; as counters they would then be millions for one scrape. So the counters show what
//! was added since they were first seen and never fall ([`Baseline`]), and the totals themselves are gauges, `edgeferry_ledger_messages`,
//! which add up.
//!
//! Labels are lanes, brokers, routes, reasons and certificates: what the configuration names. Devices are no label, there may be
//! any number of them; `/api/status` has the busiest.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use crate::link::Link;
use crate::ops::State;
use crate::ops::http::exposition::{Exposition, Family, Form, Type, Value};
use crate::ops::state::{Broker, Lane, Level};

mod table;

pub use table::TABLE;

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name; that of a counter ends in `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: Type,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
    /// Where it comes from.
    read: for<'a> fn(&'a State, &mut Samples<'a>),
}

/// Takes the samples of one metric, in the order of its labels.
type Samples<'a> = Vec<(Vec<Cow<'a, str>>, Value)>;

/// What counters have come to since they were seen first. Bounded: those that are not there any more are forgotten.
#[derive(Debug, Default)]
pub struct Baseline(HashMap<(&'static str, Vec<String>), Seen>);

/// A counter: what it was, and what is printed.
#[derive(Debug, Clone, Copy)]
struct Seen {
    last: u64,
    shown: u64,
}

/// All metrics of a state, as text.
#[must_use]
pub fn text(state: &State, form: Form, baseline: &Baseline) -> String {
    let mut exposition = Exposition::new(form);
    for metric in TABLE {
        let mut samples = Samples::new();
        (metric.read)(state, &mut samples);
        if metric.kind == Type::Counter {
            baseline.apply(metric.name, &mut samples);
        }
        let family = Family {
            name: metric.name,
            kind: metric.kind,
            help: metric.help,
            labels: metric.labels,
        };
        exposition.add(&family, &samples);
    }
    exposition.finish()
}

impl Baseline {
    /// Notes every counter that is new, and forgets those that are gone. Has to see each state before [`text`] does.
    pub fn see(&mut self, state: &State) {
        let mut seen = HashMap::new();
        for metric in TABLE.iter().filter(|metric| metric.kind == Type::Counter) {
            let mut samples = Samples::new();
            (metric.read)(state, &mut samples);
            for (labels, value) in samples {
                let Value::Int(value) = value else { continue };
                let labels = labels.into_iter().map(Cow::into_owned).collect();
                let key = (metric.name, labels);
                // One that falls was corrected: what is printed stays, and goes on from there.
                let shown = self.0.get(&key).map_or(0, |before| {
                    before.shown.saturating_add(value.saturating_sub(before.last))
                });
                seen.insert(key, Seen { last: value, shown });
            }
        }
        self.0 = seen;
    }

    fn apply(&self, name: &'static str, samples: &mut Samples<'_>) {
        for (labels, value) in samples {
            let key = (name, labels.iter().map(ToString::to_string).collect());
            if let (Value::Int(value), Some(seen)) = (value, self.0.get(&key)) {
                *value = seen.shown;
            }
        }
    }
}

fn one(samples: &mut Samples<'_>, value: impl Into<Value>) {
    samples.push((Vec::new(), value.into()));
}

fn lanes<'a, V: Into<Value>>(state: &'a State, samples: &mut Samples<'a>, value: impl Fn(&Lane) -> V) {
    for lane in &state.lanes {
        samples.push((vec![lane.name.as_str().into()], value(lane).into()));
    }
}

fn brokers<'a, V: Into<Value>>(state: &'a State, samples: &mut Samples<'a>, value: impl Fn(&Broker) -> V) {
    for lane in &state.lanes {
        for broker in &lane.brokers {
            let labels = vec![lane.name.as_str().into(), broker.name.as_str().into()];
            samples.push((labels, value(broker).into()));
        }
    }
}

/// The number is the broker's own: lanes that share it have heard the same, one perhaps a moment later.
fn dropped_by_brokers<'a>(state: &'a State, samples: &mut Samples<'a>) {
    let mut dropped = BTreeMap::new();
    for broker in state.lanes.iter().flat_map(|lane| &lane.brokers) {
        if let Some(count) = broker.dropped_by_broker {
            let known = dropped.entry(broker.name.as_str()).or_insert(count);
            *known = count.max(*known);
        }
    }
    samples.extend(
        dropped
            .into_iter()
            .map(|(name, count)| (vec![name.into()], count.into())),
    );
}

/// Names of the states of a link, as in the JSON form.
const STATES: [&str; 5] = ["connecting", "up", "down", "pushed-back", "refused"];

const fn name_of(link: &Link) -> &'static str {
    match link {
        Link::Connecting => "connecting",
        Link::Up => "up",
        Link::Down(_) => "down",
        Link::PushedBack => "pushed-back",
        Link::Refused(_) => "refused",
    }
}

/// One sample for each state that a link can have.
fn states<'a>(samples: &mut Samples<'a>, labels: &[&'a str], link: &Link) {
    for state in STATES {
        let labels = labels.iter().copied().chain([state]).map(Cow::Borrowed);
        samples.push((labels.collect(), (name_of(link) == state).into()));
    }
}

fn advice(state: &State, level: Level) -> u64 {
    let advice = state.health.advice.iter();
    advice.filter(|advice| advice.level == level).count() as u64
}

#[expect(clippy::cast_precision_loss, reason = "exact for the next 285,000 years")]
fn seconds(unix_ms: i64) -> f64 {
    unix_ms as f64 / 1000.0
}

#[cfg(test)]
mod tests;
