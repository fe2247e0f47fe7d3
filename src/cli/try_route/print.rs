//! The answer for people, and in JSON.

use std::io::{self, Write};

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use super::answer::{Answer, LaneAnswer};
use crate::message::rfc3339;
use crate::route::KafkaRecord;
use crate::sink::Partitioner;
use crate::sink::dead_letter::reason;

/// For people.
pub(super) fn text(answer: &Answer, partitions: &[usize], out: &mut impl Write) -> io::Result<()> {
    let arrival = &answer.arrival;
    let length = arrival.oversize.unwrap_or(arrival.payload.len() as u64);
    writeln!(
        out,
        "{}, {length} bytes, from broker {}",
        shown(&arrival.topic),
        arrival.broker
    )?;
    for (number, route) in answer.routes.iter().enumerate() {
        write!(out, "route[{number}] {}: {}", route.from, route.verdict)?;
        match &route.why {
            Some(why) => writeln!(out, " ({why})")?,
            None => writeln!(out)?,
        }
    }
    if answer.lanes.is_empty() {
        return writeln!(
            out,
            "\nno route matches the topic: it is not subscribed to, and does not arrive"
        );
    }
    answer
        .lanes
        .iter()
        .try_for_each(|lane| lane_text(answer, lane, partitions, out))
}

fn lane_text(
    answer: &Answer,
    lane: &LaneAnswer,
    partitions: &[usize],
    out: &mut impl Write,
) -> io::Result<()> {
    for record in &lane.outcome.records {
        record_text(answer, record, &lane.name, partitions, out)?;
    }
    for refusal in &lane.outcome.refusals {
        writeln!(
            out,
            "\ndead letter in lane {} ({}): {refusal}",
            lane.name,
            reason::name(refusal)
        )?;
    }
    if lane.outcome.is_filtered() {
        writeln!(out, "\nfiltered in lane {}: counted, and gone", lane.name)?;
    }
    Ok(())
}

fn record_text(
    answer: &Answer,
    record: &KafkaRecord,
    lane: &str,
    partitions: &[usize],
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "\nrecord of route[{}] in lane {lane}", record.route)?;
    writeln!(out, "  topic      {}", record.topic)?;
    writeln!(out, "  key        {}", shown(&record.key))?;
    if let Some(text) = &record.partition_by {
        writeln!(out, "  hashed     {}", shown(text))?;
    }
    let places: Vec<String> = places(answer.partitioner, record, partitions)
        .map(|(count, place)| format!("{place} of {count}"))
        .collect();
    writeln!(out, "  partition  {}", places.join(", "))?;
    writeln!(out, "  time       {}", rfc3339(record.timestamp_ms))?;
    for header in &record.headers {
        let value = printable(&header.value).map_or_else(|| hex(&header.value), shown);
        writeln!(out, "  header     {}: {value}", shown(&header.name))?;
    }
    let bytes = record.payload.len();
    match printable(&record.payload) {
        Some(text) => writeln!(out, "  value      {bytes} bytes\n{text}")?,
        None => writeln!(
            out,
            "  value      {bytes} bytes, in hex\n{}",
            hex(&record.payload)
        )?,
    }
    writeln!(out, "  size       {} bytes before compression", record.bytes())?;
    match answer.too_large(record) {
        Some(why) => writeln!(out, "dead letter when it is sent (rejected): {why}"),
        None => Ok(()),
    }
}

/// Partition counts, and the partition among them.
fn places<'a>(
    partitioner: Partitioner,
    record: &'a KafkaRecord,
    counts: &'a [usize],
) -> impl Iterator<Item = (usize, i32)> + 'a {
    counts
        .iter()
        .filter_map(move |count| Some((*count, partitioner.partition(record.hashed(), *count)?)))
}

/// The text, if a terminal shows it as it is.
fn printable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().all(is_plain).then_some(text)
}

/// On one line, with everything else escaped.
fn shown(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    match text.is_empty() || text.chars().any(char::is_control) {
        true => format!("{text:?}"),
        false => text.to_owned(),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// For programs: one object.
pub(super) fn json(answer: &Answer, partitions: &[usize], out: &mut impl Write) -> io::Result<()> {
    let arrival = &answer.arrival;
    let routes = answer.routes.iter().enumerate().map(|(number, route)| {
        json!({
            "route": number,
            "from": route.from,
            "lane": route.lane,
            "verdict": route.verdict,
            "why": route.why,
        })
    });
    let lanes = answer
        .lanes
        .iter()
        .map(|lane| lane_json(answer, lane, partitions));
    let object = json!({
        "topic": arrival.topic,
        "broker": &*arrival.broker,
        "bytes": arrival.oversize.unwrap_or(arrival.payload.len() as u64),
        "routes": routes.collect::<Vec<_>>(),
        "lanes": lanes.collect::<Vec<_>>(),
    });
    writeln!(out, "{object}")
}

fn lane_json(answer: &Answer, lane: &LaneAnswer, partitions: &[usize]) -> Value {
    let records = lane
        .outcome
        .records
        .iter()
        .map(|record| record_json(answer, record, partitions));
    let reasons = lane
        .outcome
        .refusals
        .iter()
        .map(|refusal| json!({ "reason": reason::name(refusal), "text": refusal.to_string() }));
    json!({
        "lane": lane.name,
        "filtered": lane.outcome.is_filtered(),
        "records": records.collect::<Vec<_>>(),
        "dead_letter": reasons.collect::<Vec<_>>(),
    })
}

fn record_json(answer: &Answer, record: &KafkaRecord, partitions: &[usize]) -> Value {
    let places = places(answer.partitioner, record, partitions)
        .map(|(count, place)| (count.to_string(), json!(place)));
    let headers = record.headers.iter().map(|header| {
        let mut object = bytes_json(&header.value);
        object.insert("name".to_owned(), json!(header.name));
        object
    });
    json!({
        "route": record.route,
        "topic": record.topic,
        "key": record.key,
        "hashed": record.hashed(),
        "partition": places.collect::<serde_json::Map<_, _>>(),
        "timestamp_ms": record.timestamp_ms,
        "headers": headers.collect::<Vec<_>>(),
        "value": bytes_json(&record.payload),
        "bytes": record.bytes(),
        "too_large": answer.too_large(record),
    })
}

/// `text` when it is text, `base64` otherwise.
fn bytes_json(bytes: &[u8]) -> serde_json::Map<String, Value> {
    let (name, value) = match std::str::from_utf8(bytes) {
        Ok(text) => ("text", text.to_owned()),
        Err(_) => ("base64", Base64::encode_string(bytes)),
    };
    serde_json::Map::from_iter([(name.to_owned(), json!(value))])
}
