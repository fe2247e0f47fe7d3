//! Messages that the routes of a configuration take: topics from their patterns, payloads that their formats read, with what
//! templates and `when` look at.
//!
//! Nothing is decided by looking at the configuration alone. Candidates are made for each level, each JSON pointer and the
//! payload, and the routes themselves say which of them they make a record of; what no candidate satisfies is said, and not
//! hidden. The same routes say beforehand what a message must become in each lane.

mod sample;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::broker::Message;
use super::judge::Expected;
use super::mark;
use crate::clock::Told;
use crate::config::Config;
use crate::message::{Arrival, Epoch, Properties, Seq, Stamp, Stored};
use crate::route::condition::{Condition, Scalar, Test};
use crate::route::template::Template;
use crate::route::value::Value;
use crate::route::{self, Outcome, Router, Verdict};
use crate::source::Version;

/// Devices for each route.
const DEVICES: usize = 5;
/// Combinations of candidates that a route is asked about.
const TRIES_MAX: usize = 20_000;
/// What stands in a text for the mark, and for what makes a payload long.
const MARK: &str = "@MARK@";
const PAD: &str = "@PAD@";
/// No payload is longer without what makes it long.
const PAYLOAD_MAX: usize = 800;
/// A message that is only asked about.
const TRIAL: u64 = 0;
/// 2026-01-01: what routes make of a message does not depend on when it comes.
const TRIAL_UNIX_MS: i64 = 1_767_225_600_000;

/// A kind of message: all but its mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// Number of the route that it was made for.
    pub(super) route: usize,
    /// Number of the `[[mqtt]]` table that brings it.
    pub(super) broker: usize,
    topic: String,
    payload: String,
    user: Vec<(String, String)>,
    content_type: Option<String>,
    response_topic: Option<String>,
    /// What may stand in the place that makes it long, bytes.
    pub(super) most_pad: usize,
    /// What it must become, by lane; lanes that do not get it are not in it.
    pub(super) becomes: BTreeMap<String, Expected>,
}

/// All messages that a configuration can be tried with.
#[derive(Debug, Default)]
pub(super) struct Fit {
    /// For each route that can be tried, devices and brokers in turn.
    pub(super) shapes: Vec<Shape>,
    /// Messages that some route refuses.
    pub(super) bad: Vec<Shape>,
    /// Routes without a message: number and reason.
    pub(super) without: Vec<(usize, String)>,
}

impl Shape {
    /// A message of this kind; `pad` bytes make it long.
    pub(super) fn message(&self, number: u64, pad: &str) -> Message {
        let fill = |text: &String| text.replace(MARK, &mark::of(number)).replace(PAD, pad);
        Message {
            number,
            topic: self.topic.clone(),
            payload: Bytes::from(fill(&self.payload)),
            user: self
                .user
                .iter()
                .map(|(name, value)| (name.clone(), fill(value)))
                .collect(),
            content_type: self.content_type.clone(),
            response_topic: self.response_topic.clone(),
        }
    }

    /// Kafka topics of its records.
    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        let topics = self.becomes.values().flat_map(|expected| &expected.topics);
        topics.map(String::as_str)
    }
}

/// Makes messages for every route.
pub(super) fn of(config: &Config, gateway: &str) -> Fit {
    let routers = Routers::new(config, gateway);
    let mut fit = Fit::default();
    for (number, route) in config.routes.iter().enumerate() {
        let brokers = config.brokers.iter().enumerate();
        let brokers = brokers.filter(|(_, broker)| route.takes(&broker.name));
        let before = fit.shapes.len();
        for (broker, table) in brokers {
            let maker = Maker {
                routers: &routers,
                number,
                route,
                broker,
                has_properties: table.version == Version::V5,
                max: longest(config, table.max_packet_size),
            };
            let shapes = maker.shapes();
            fit.bad.extend(shapes.first().and_then(|shape| maker.bad(shape)));
            fit.shapes.extend(shapes);
        }
        if fit.shapes.len() == before {
            fit.without.push((number, why(route)));
        }
    }
    fit
}

/// Longest payload that every route of the file takes.
fn longest(config: &Config, max_packet_size: usize) -> usize {
    let limits = config.routes.iter().filter_map(|route| route.max_payload);
    let limits = limits.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    limits.min().unwrap_or(usize::MAX).min(max_packet_size)
}

fn why(route: &route::Config) -> String {
    format!(
        "no message of {TRIES_MAX} that were tried becomes a record of from = \"{}\" with format = \"{}\" and its match and when",
        route.from,
        route.format.name()
    )
}

/// The routers of all lanes.
struct Routers<'c> {
    config: &'c Config,
    lanes: Vec<(String, Router)>,
}

impl<'c> Routers<'c> {
    fn new(config: &'c Config, gateway: &str) -> Self {
        let lanes = config.lanes.iter().map(|lane| {
            let router = Router::new(config.routes.clone(), gateway, &lane.name);
            (lane.name.clone(), router)
        });
        Self {
            config,
            lanes: lanes.collect(),
        }
    }

    fn stored(&self, shape: &Shape) -> Option<Stored> {
        let message = shape.message(TRIAL, "");
        let broker = self.config.brokers.get(shape.broker)?;
        let properties = Properties {
            content_type: message.content_type,
            response_topic: message.response_topic,
            user: message.user,
            ..Properties::default()
        };
        Some(Stored {
            seq: Seq(1),
            epoch: Epoch(0),
            arrival: Arrival {
                broker: Arc::from(broker.name.as_str()),
                properties: (properties != Properties::default()).then(|| Box::new(properties)),
                stamp: Stamp::right(TRIAL_UNIX_MS),
                ..Arrival::trial(1, message.topic, message.payload)
            },
        })
    }

    /// Whether this route makes a record of it in which the message can be recognised.
    fn is_made(&self, shape: &Shape) -> bool {
        let (Some(stored), Some((_, router))) = (self.stored(shape), self.lanes.first()) else {
            return false;
        };
        let told = Told::as_it_stood(&stored.arrival.stamp);
        let verdict = router.verdicts(&stored, &told).into_iter().nth(shape.route);
        matches!(verdict, Some(Verdict::Made(record)) if mark::find(&record.payload) == Some(TRIAL))
    }

    /// What it becomes in each lane that gets it. `None` when a record of it could not be recognised.
    fn becomes(&self, shape: &Shape) -> Option<BTreeMap<String, Expected>> {
        let stored = self.stored(shape)?;
        let told = Told::as_it_stood(&stored.arrival.stamp);
        let arrival = &stored.arrival;
        let mut becomes = BTreeMap::new();
        for (lane, router) in &self.lanes {
            let mut routes = self.config.routes.iter().filter(|route| route.lane == *lane);
            if !routes
                .any(|route| route.takes(&arrival.broker) && route.from.matches(&arrival.topic).is_some())
            {
                continue;
            }
            let Outcome { records, refusals } = router.route(&stored, &told);
            if records
                .iter()
                .any(|record| mark::find(&record.payload) != Some(TRIAL))
            {
                return None;
            }
            // Two routes may make the very same record: whoever reads cannot tell one from two.
            let mut different: Vec<(String, String, Bytes)> = Vec::new();
            for record in records {
                let record = (record.topic.clone(), record.key.clone(), record.payload.clone());
                if !different.contains(&record) {
                    different.push(record);
                }
            }
            let expected = Expected {
                topics: different.into_iter().map(|(topic, ..)| topic).collect(),
                is_letter: !refusals.is_empty(),
            };
            becomes.insert(lane.clone(), expected);
        }
        Some(becomes)
    }
}

/// Makes messages for one route on one broker.
struct Maker<'c> {
    routers: &'c Routers<'c>,
    number: usize,
    route: &'c route::Config,
    broker: usize,
    has_properties: bool,
    /// Longest payload, bytes.
    max: usize,
}

impl Maker<'_> {
    /// One shape for each device; fewer where devices cannot differ.
    fn shapes(&self) -> Vec<Shape> {
        let Some(found) = self.first() else {
            return Vec::new();
        };
        let mut shapes: Vec<Shape> = Vec::new();
        for device in 0..DEVICES {
            let Some(mut shape) = self.shape(&found, device) else {
                continue;
            };
            if shapes
                .iter()
                .any(|other| other.topic == shape.topic && other.payload == shape.payload)
                || !self.routers.is_made(&shape)
            {
                continue;
            }
            if let Some(becomes) = self.routers.becomes(&shape) {
                shape.becomes = becomes;
                shapes.push(shape);
            }
        }
        shapes
    }

    /// The same with a payload that some lane refuses, and none makes something of.
    fn bad(&self, good: &Shape) -> Option<Shape> {
        let payloads = [format!("{{\"{MARK}"), format!("{MARK} is nothing of that kind")];
        payloads.into_iter().find_map(|payload| {
            let mut shape = Shape {
                payload,
                ..good.clone()
            };
            shape.becomes = self.routers.becomes(&shape)?;
            let mut expected = shape.becomes.values();
            let is_bad = expected.all(|expected| expected.is_letter && expected.topics.is_empty());
            (is_bad && !shape.becomes.is_empty()).then_some(shape)
        })
    }

    /// The first choice of candidates that the route takes.
    fn first(&self) -> Option<Vec<usize>> {
        let sizes: Vec<usize> = self.candidates(0).iter().map(Vec::len).collect();
        let mut choice = vec![0; sizes.len()];
        for _ in 0..TRIES_MAX {
            let shape = self.shape(&choice, 0)?;
            if self.routers.is_made(&shape) {
                return Some(choice);
            }
            if !advance(&mut choice, &sizes) {
                return None;
            }
        }
        None
    }

    /// Texts for the payload, for what it holds at JSON pointers, and for each level with a name or a wildcard: all that can be
    /// chosen, in this order.
    fn candidates(&self, device: usize) -> Vec<Vec<String>> {
        let mut all = vec![payloads(device), self.variants()];
        for (_, name, is_rest) in self.open_levels() {
            let mut texts = Vec::new();
            if let Some(name) = name {
                texts.extend(self.wanted_texts(|value| value.name() == Some(name)));
                let matches = self.route.matches.iter().filter(|(known, _)| known == name);
                texts.extend(matches.filter_map(|(_, expression)| sample::of(expression)));
            }
            texts.extend(names(device));
            if is_rest {
                let more = names(device).into_iter().map(|name| format!("{name}/reading"));
                texts.extend(more.collect::<Vec<_>>());
            }
            all.push(texts);
        }
        all
    }

    /// Which of several values at pointers and properties are taken.
    fn variants(&self) -> Vec<String> {
        let most = self.asked().iter().map(|value| self.wanted(value).len()).max();
        (0..most.unwrap_or(0).clamp(1, 4))
            .map(|number| number.to_string())
            .collect()
    }

    /// Levels of the pattern that are not literal: place, name, and whether it takes the rest.
    fn open_levels(&self) -> Vec<(usize, Option<&str>, bool)> {
        let filter = self.route.from.filter();
        let levels: Vec<(usize, bool)> = filter
            .split('/')
            .enumerate()
            .filter(|(_, level)| matches!(*level, "+" | "#"))
            .map(|(place, level)| (place, level == "#"))
            .collect();
        let name_of = |place| {
            let mut names = self.route.from.names();
            names.find(|name| self.route.from.level_of(name) == Some(place))
        };
        levels
            .into_iter()
            .map(|(place, is_rest)| (place, name_of(place), is_rest))
            .collect()
    }

    /// The message of a choice of candidates.
    fn shape(&self, choice: &[usize], device: usize) -> Option<Shape> {
        let candidates = self.candidates(device);
        let mut chosen = candidates
            .iter()
            .zip(choice)
            .map(|(texts, number)| texts.get(*number).cloned());
        let payload = chosen.next()??;
        let variant: usize = chosen.next()??.parse().ok()?;
        let filter = self.route.from.filter();
        let mut levels: Vec<String> = filter.split('/').map(ToOwned::to_owned).collect();
        for ((place, _, _), text) in self.open_levels().into_iter().zip(chosen) {
            *levels.get_mut(place)? = text?;
        }
        let mut shape = Shape {
            route: self.number,
            broker: self.broker,
            topic: levels.join("/"),
            payload,
            user: Vec::new(),
            content_type: None,
            response_topic: None,
            most_pad: self.max.saturating_sub(PAYLOAD_MAX),
            becomes: BTreeMap::new(),
        };
        self.fill(&mut shape, variant, device);
        (shape.payload.len() <= self.max).then_some(shape)
    }

    /// Puts in what templates and conditions look at.
    fn fill(&self, shape: &mut Shape, variant: usize, device: usize) {
        let mut payload: Option<Json> = serde_json::from_str(&shape.payload).ok();
        let mut has_pointer = false;
        for value in self.asked() {
            let wanted = self.wanted(&value);
            let last = wanted.len().saturating_sub(1);
            let scalar = wanted.into_iter().nth(variant.min(last));
            let text = scalar.as_ref().map_or_else(|| format!("drill-{device}"), text_of);
            match value.as_str().split_once(':') {
                Some(("json", pointer)) => {
                    if let Some(payload) = &mut payload {
                        let scalar = scalar.unwrap_or_else(|| Json::from(text));
                        has_pointer |= put(payload, pointer, scalar);
                    }
                }
                Some(("property", name)) if self.has_properties => {
                    shape.user.push((name.to_owned(), text));
                }
                Some(("mqtt", "content_type")) if self.has_properties => shape.content_type = Some(text),
                Some(("mqtt", "response_topic")) if self.has_properties => {
                    shape.response_topic = Some(text);
                }
                _ => {}
            }
        }
        if let Some(payload) = payload.filter(|_| has_pointer) {
            shape.payload = payload.to_string();
        }
    }

    /// Everything that the route asks of a message, each once.
    fn asked(&self) -> Vec<Value> {
        let route = self.route;
        let own = [&route.topic, &route.key]
            .into_iter()
            .chain(&route.partition_by)
            .chain(&route.device);
        let of_format = route.format.templates().into_iter().map(|(_, template)| template);
        let headers = route.add_headers.iter().map(|(_, template)| template);
        let of_templates = own.chain(of_format).chain(headers).flat_map(Template::values);
        let mut asked: Vec<Value> = Vec::new();
        for value in of_templates.chain(route.when.iter().map(|condition| &condition.value)) {
            if !asked.contains(value) {
                asked.push(value.clone());
            }
        }
        asked
    }

    /// What conditions ask of a value.
    fn wanted(&self, value: &Value) -> Vec<Json> {
        let conditions = self.route.when.iter();
        conditions
            .filter(|condition| condition.value == *value)
            .flat_map(passing)
            .collect()
    }

    fn wanted_texts(&self, is_it: impl Fn(&Value) -> bool) -> Vec<String> {
        let conditions = self.route.when.iter();
        let wanted = conditions
            .filter(|condition| is_it(&condition.value))
            .flat_map(passing);
        wanted.map(|scalar| text_of(&scalar)).collect()
    }
}

/// The next choice; the last candidate list turns fastest. False after the last.
fn advance(choice: &mut [usize], sizes: &[usize]) -> bool {
    for (number, size) in choice.iter_mut().zip(sizes).rev() {
        *number += 1;
        if *number < *size {
            return true;
        }
        *number = 0;
    }
    false
}

/// Values that may pass a condition.
fn passing(condition: &Condition) -> Vec<Json> {
    if condition.is_inverted {
        return Vec::new();
    }
    match &condition.test {
        Test::OneOf(scalars) => scalars.iter().map(of_scalar).collect(),
        Test::Exists(_) => Vec::new(),
        Test::Between(low, high) => [low, high].into_iter().map(of_number).collect(),
        Test::Matches(expression) => sample::of(expression).into_iter().map(Json::from).collect(),
    }
}

fn of_scalar(scalar: &Scalar) -> Json {
    match scalar {
        Scalar::Text(text) => Json::from(text.as_str()),
        Scalar::Number(number) => of_number(number),
        Scalar::Bool(value) => Json::from(*value),
    }
}

/// A number as JSON writes it.
fn of_number(number: &route::number::Number) -> Json {
    let text = number.to_string();
    serde_json::from_str(&text).unwrap_or(Json::from(text))
}

fn text_of(scalar: &Json) -> String {
    scalar
        .as_str()
        .map_or_else(|| scalar.to_string(), ToOwned::to_owned)
}

/// Texts for a level: what ids look like in the field, so that formats that want one of a kind find it.
fn names(device: usize) -> Vec<String> {
    vec![
        format!("drill-{device}"),
        format!("d0000000-0000-4000-8000-{device:012}"),
        format!("nrf-3504577900{device:05}"),
        format!("70b3d57ed00{device:05}"),
        format!("{device}"),
        "json".to_owned(),
        "telemetry".to_owned(),
    ]
}

/// Payloads that some format reads.
fn payloads(device: usize) -> Vec<String> {
    let eui = format!("70B3D57ED00{device:05}");
    let measured = json!({ "drill": MARK, "pad": PAD });
    [
        json!({ "drill": MARK, "pad": PAD, "device": format!("drill-{device}"), "temperature": 21.5 }),
        // The Nordic cloud.
        json!({ "appId": "TEMP", "messageType": "DATA", "data": MARK, "pad": PAD }),
        // The Things Network 2 and The Things Stack 3.
        json!({
            "app_id": "drill", "dev_id": "drill", "hardware_serial": eui, "port": 1, "counter": 1,
            // A mark and a letter more are base64.
            "payload_raw": format!("{MARK}A"),
            "payload_fields": measured,
            "metadata": { "time": "2026-01-01T00:00:00Z", "gateways": [] },
        }),
        json!({
            "end_device_ids": { "device_id": "drill", "dev_eui": eui, "application_ids": { "application_id": "drill" } },
            "received_at": "2026-01-01T00:00:00Z",
            "uplink_message": {
                "f_port": 1, "f_cnt": 1, "frm_payload": format!("{MARK}A"), "decoded_payload": measured, "rx_metadata": [],
            },
        }),
        json!(MARK),
    ]
    .into_iter()
    .map(|payload| payload.to_string())
    // Ultralight 2.0, and a bare value.
    .chain([format!("drill|{MARK}|pad|x{PAD}"), MARK.to_owned()])
    .collect()
}

/// Puts a value at a JSON pointer, with what has to be above it. False where something else is in the way.
fn put(root: &mut Json, pointer: &str, scalar: Json) -> bool {
    let Some(path) = pointer.strip_prefix('/') else {
        return false;
    };
    let mut at = root;
    for token in path.split('/') {
        let token = token.replace("~1", "/").replace("~0", "~");
        if at.is_null() {
            *at = if token == "0" { json!([]) } else { json!({}) };
        }
        at = match at {
            Json::Object(members) => members.entry(token).or_insert(Json::Null),
            Json::Array(elements) => {
                let Ok(index) = token.parse::<usize>() else {
                    return false;
                };
                if index == elements.len() {
                    elements.push(Json::Null);
                }
                match elements.get_mut(index) {
                    Some(element) => element,
                    None => return false,
                }
            }
            _ => return false,
        };
    }
    if !matches!(at, Json::Object(_) | Json::Array(_)) {
        *at = scalar;
    }
    true
}

#[cfg(test)]
mod tests;
