//! What one route says of one message.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::message::Series;
use crate::route::config::{Config, Retained};
use crate::route::expression::Expression;
use crate::route::format::Timed;
use crate::route::headers;
use crate::route::is_legal_topic;
use crate::route::pattern::Captures;
use crate::route::record::KafkaRecord;
use crate::route::refusal::{Refusal, said};
use crate::route::subject::Subject;
use crate::route::template::Template;
use crate::route::value::{DEVICE, NoValue};

/// What one route says of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// `broker` of the route is another one.
    OtherBroker,
    /// `from` does not match the topic.
    OtherTopic,
    /// The filter matches, and the route does not want it.
    Skipped(Skip),
    /// It wants the message and cannot make a record of it.
    Refused(Refusal),
    /// Its record.
    Made(Arc<KafkaRecord>),
}

/// Why a route does not want a message that its filter matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skip {
    /// A level is not what `[route.match]` says: it is none of the route's messages, and a dead letter when it is nobody's.
    Mismatch {
        /// The name of the level.
        name: String,
        /// What it is.
        text: String,
    },
    /// A condition of `when` does not hold: the route's own filter.
    When {
        /// Number of the condition, from 0.
        condition: usize,
    },
    /// A condition of `when` cannot be judged: a dead letter when the message is nobody's.
    Unjudged {
        /// Number of the condition, from 0.
        condition: usize,
        /// Why.
        error: NoValue,
    },
    /// `retained = "skip"`
    Retained,
}

impl Skip {
    /// Whether the configuration said that such messages are not wanted. Otherwise the message is not what it should be.
    #[must_use]
    pub const fn is_filter(&self) -> bool {
        matches!(self, Self::When { .. } | Self::Retained)
    }

    /// The reason for a dead letter, if nobody takes the message.
    #[must_use]
    pub fn refusal(&self, route: usize) -> Option<Refusal> {
        match self {
            Self::Mismatch { name, text } => Some(Refusal::Mismatch {
                route,
                name: name.clone(),
                text: said(text),
            }),
            Self::Unjudged { condition, error } => Some(Refusal::NoValue {
                route,
                name: format!("when[{condition}]"),
                why: error.to_string(),
            }),
            Self::When { .. } | Self::Retained => None,
        }
    }
}

/// Why the route does not want a message that its filter matches.
pub(super) fn skip(route: &Config, subject: &Subject<'_>) -> Option<Skip> {
    if let Some(skip) = mismatch(route, subject.captures) {
        return Some(skip);
    }
    if route.retained == Retained::Skip && subject.arrival().delivery.retained {
        return Some(Skip::Retained);
    }
    failed_condition(route, subject)
}

/// One that fails for certain says that the message is not wanted, wherever it stands; what the others would say, where they can
/// say something, changes nothing.
fn failed_condition(route: &Config, subject: &Subject<'_>) -> Option<Skip> {
    let mut unjudged = None;
    for (condition, one) in route.when.iter().enumerate() {
        match one.holds(subject) {
            Ok(true) => {}
            Ok(false) => return Some(Skip::When { condition }),
            Err(error) => {
                unjudged.get_or_insert(Skip::Unjudged { condition, error });
            }
        }
    }
    unjudged
}

fn mismatch(route: &Config, captures: &Captures<'_>) -> Option<Skip> {
    let failed = |(name, expression): &&(String, Expression)| {
        !captures
            .get(name)
            .is_some_and(|text| expression.matches(text) == Ok(true))
    };
    let (name, _) = route.matches.iter().find(failed)?;
    Some(Skip::Mismatch {
        name: name.clone(),
        text: captures.get(name).unwrap_or_default().to_owned(),
    })
}

/// The record that the route makes of a message it wants.
pub(super) fn record(number: usize, route: &Config, subject: Subject<'_>) -> Result<KafkaRecord, Refusal> {
    made(number, route, subject).map(|(record, _)| record)
}

/// What the times of the record have to ascend with: its key, and what the format itself gives times.
pub(super) fn series(number: usize, route: &Config, subject: Subject<'_>) -> Result<Vec<Series>, Refusal> {
    let (record, timed) = made(number, route, subject)?;
    let series = |name: &str, times| Series {
        hash: xxh3_64(name.as_bytes()),
        times,
    };
    let of_format = timed.map(|timed| series(&timed.name, timed.times.max(1)));
    Ok([series(&record.key, 1)].into_iter().chain(of_format).collect())
}

fn made(
    number: usize,
    route: &Config,
    subject: Subject<'_>,
) -> Result<(KafkaRecord, Option<Timed>), Refusal> {
    let no_value = |NoValue { name, why }| Refusal::NoValue {
        route: number,
        name,
        why,
    };
    check_length(number, route, &subject)?;
    let subject = with_device(route, subject).map_err(no_value)?;
    let topic = route.topic.render(&subject).map_err(no_value)?;
    let key = route.key.render(&subject).map_err(no_value)?;
    if !is_legal_topic(&topic) {
        let topic = said(&topic);
        return Err(Refusal::IllegalTopic { route: number, topic });
    }
    if key.is_empty() {
        return Err(Refusal::EmptyKey { route: number });
    }
    route.key.check_filled(&subject).map_err(no_value)?;
    check_device(route, &subject).map_err(no_value)?;
    let partition_by = partition_by(route.partition_by.as_ref(), &subject).map_err(no_value)?;
    let shaped = route
        .format
        .shape(&subject, &key, route.retained)
        .map_err(|error| Refusal::Unshapable {
            route: number,
            format: route.format.name().to_owned(),
            why: said(&error.to_string()),
        })?;
    let headers = headers::of(route, &subject, shaped.headers).map_err(|error| error.refusal(number))?;
    let record = KafkaRecord {
        route: number,
        is_templated: !route.topic.is_static(),
        topic,
        key: shaped.key.unwrap_or(key),
        partition_by,
        payload: shaped.payload,
        headers,
        timestamp_ms: subject.told.record_ms,
    };
    Ok((record, shaped.timed))
}

fn check_length(number: usize, route: &Config, subject: &Subject<'_>) -> Result<(), Refusal> {
    let bytes = subject.arrival().payload.len() as u64;
    match route.max_payload {
        Some(limit) if bytes > limit => Err(Refusal::OverMaxPayload {
            route: number,
            bytes,
            limit,
        }),
        _ => Ok(()),
    }
}

/// The subject with the device id that `device` of the route says. An empty one is none, and so is one with a hole.
fn with_device<'a>(route: &Config, subject: Subject<'a>) -> Result<Subject<'a>, NoValue> {
    let Some(template) = &route.device else {
        return Ok(subject);
    };
    let device = rendered("device", template, &subject)?;
    template.check_filled(&subject)?;
    Ok(subject.with_device(device))
}

/// A level `{device}` that is empty names no device, also where it is only a part of the key or the topic.
fn check_device(route: &Config, subject: &Subject<'_>) -> Result<(), NoValue> {
    if subject.device() != Some("") {
        return Ok(());
    }
    let of_format = route.format.templates().into_iter().map(|(_, template)| template);
    let own = [&route.topic, &route.key].into_iter().chain(&route.partition_by);
    let mut values = own.chain(of_format).flat_map(Template::values);
    if values.any(|value| value.name() == Some(DEVICE)) {
        return Err(NoValue {
            name: DEVICE.to_owned(),
            why: "the level is empty".to_owned(),
        });
    }
    Ok(())
}

fn partition_by(template: Option<&Template>, subject: &Subject<'_>) -> Result<Option<String>, NoValue> {
    template
        .map(|template| rendered("partition_by", template, subject))
        .transpose()
}

/// The text of a template that must not come out empty.
fn rendered(field: &str, template: &Template, subject: &Subject<'_>) -> Result<String, NoValue> {
    let text = template.render(subject)?;
    if text.is_empty() {
        return Err(NoValue {
            name: field.to_owned(),
            why: format!("\"{template}\" is empty"),
        });
    }
    Ok(text)
}
