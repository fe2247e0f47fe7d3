//! The portable file, `edgeferry-export` version 1: JSON lines. `docs/export-format.md` is its description.
//!
//! The first line says where it comes from, each further one is a message, the last one how many there were and what the
//! bytes before it add up to; without a last line the file is torn.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::message::{Arrival, Delivery, Epoch, Origin, Properties, Seq, SessionTag, Stamp};
use crate::route::Refusal;
use crate::sink::dead_letter::reason;

/// Name of the format.
pub const FORMAT: &str = "edgeferry-export";
/// Version that this build writes and reads.
pub const VERSION: u32 = 1;
/// Longest line that is read: the largest payload that MQTT can carry (256 MiB), in base64, and its neighbours.
const LINE_BYTES_MAX: u64 = 400 * 1024 * 1024;
/// A last line is no longer than this.
const TRAILER_BYTES_MAX: usize = 200;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`]
    pub format: String,
    /// [`VERSION`]
    pub version: u32,
    /// Id of the gateway that wrote it.
    pub gateway: String,
    /// Epoch of its store.
    pub epoch: String,
    /// When it was written, RFC 3339.
    pub exported_at: String,
    /// The messages were in a queue that may still deliver them.
    pub still_queued: bool,
    /// The lanes they come from.
    pub lanes: Vec<HeaderLane>,
}

/// A lane as it stood when the file was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderLane {
    /// Its name.
    pub lane: String,
    /// Everything up to here was done.
    pub cursor: Seq,
    /// The last message.
    pub last: Seq,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trailer {
    end: End,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    messages: u64,
    /// CRC32 (IEEE) of all bytes before this line, 8 hex digits.
    crc32: String,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    gateway: String,
    epoch: String,
    lane: String,
    seq: Seq,
    arrival: String,
    boot: String,
    boot_ms: u64,
    synchronised: bool,
    broker: String,
    topic: String,
    qos: u8,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    dup: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    retained: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    properties: Option<RecordProperties>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oversize: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<RecordReason>,
}

/// Why a message is a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RecordReason {
    /// Its name.
    reason: String,
    /// In words.
    detail: String,
    /// How often Kafka was asked, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[derive(Default)]
struct RecordProperties {
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_format: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_data_base64: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscription_ids: Vec<u32>,
}

/// Why bytes are not what the format says.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The first line is something else.
    #[error("it does not begin with the first line of an export")]
    Foreign,
    /// Written by another version.
    #[error("it has version {0} of the format, this build reads version {VERSION}")]
    Version(u32),
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Splits a payload into what JSON can say and what it cannot.
pub(super) fn payload_fields(payload: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(payload) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(Base64::encode_string(payload))),
    }
}

impl Record {
    /// The message as it was stored first at `origin`.
    #[must_use]
    pub fn new(origin: &Origin, arrival: &Arrival) -> Self {
        let (payload, payload_base64) = payload_fields(&arrival.payload);
        Self {
            gateway: origin.gateway.clone(),
            epoch: origin.epoch.to_string(),
            lane: origin.lane.clone(),
            seq: origin.seq,
            arrival: arrival.stamp.rfc3339(),
            boot: format!("{:016x}", arrival.stamp.boot),
            boot_ms: arrival.stamp.boot_ms,
            synchronised: arrival.stamp.synchronised,
            broker: arrival.broker.to_string(),
            topic: arrival.topic.clone(),
            qos: arrival.delivery.qos,
            dup: arrival.delivery.dup,
            retained: arrival.delivery.retained,
            properties: arrival.properties.as_deref().map(RecordProperties::new),
            oversize: arrival.oversize,
            payload,
            payload_base64,
            reasons: Vec::new(),
        }
    }

    /// The same, of a dead letter.
    #[must_use]
    pub fn with_reasons(mut self, reasons: &[Refusal]) -> Self {
        let reasons = reasons.iter().map(|refusal| RecordReason {
            reason: reason::name(refusal).to_owned(),
            detail: refusal.to_string(),
            attempts: reason::attempts(refusal),
        });
        self.reasons = reasons.collect();
        self
    }

    /// The message that the line stands for. How it was delivered is its first gateway's affair and not kept.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub fn into_arrival(self) -> Result<Arrival, &'static str> {
        let hex = |text: &str| u64::from_str_radix(text, 16);
        let payload = match (self.payload, self.payload_base64) {
            (Some(text), None) => Bytes::from(text),
            (None, Some(text)) => {
                Bytes::from(Base64::decode_vec(&text).map_err(|_| "payload_base64 is no base64")?)
            }
            _ => return Err("it needs either payload or payload_base64"),
        };
        let arrival = humantime::parse_rfc3339(&self.arrival).map_err(|_| "arrival is no RFC 3339 time")?;
        let since = arrival
            .duration_since(std::time::UNIX_EPOCH)
            .map_err(|_| "arrival is before 1970")?;
        let properties = self.properties.map(RecordProperties::into_properties);
        Ok(Arrival {
            broker: Arc::from(self.broker),
            topic: self.topic,
            payload,
            oversize: self.oversize,
            properties: properties.transpose()?.map(Box::new),
            delivery: Delivery {
                qos: self.qos,
                dup: self.dup,
                retained: self.retained,
                ..nobodys()
            },
            stamp: Stamp {
                unix_ms: i64::try_from(since.as_millis()).map_err(|_| "arrival is too far ahead")?,
                boot_ms: self.boot_ms,
                boot: hex(&self.boot).map_err(|_| "boot is no hexadecimal number")?,
                synchronised: self.synchronised,
            },
            origin: Some(Box::new(Origin {
                gateway: self.gateway,
                epoch: Epoch(hex(&self.epoch).map_err(|_| "epoch is no hexadecimal number")?),
                lane: self.lane,
                seq: self.seq,
            })),
        })
    }
}

/// Of a message that no broker's session brought: it is never taken for a redelivery.
pub(super) const fn nobodys() -> Delivery {
    Delivery {
        session: SessionTag(0),
        position: 0,
        packet_id: 0,
        qos: 1,
        dup: false,
        retained: false,
        fingerprint: 0,
    }
}

impl RecordProperties {
    fn new(properties: &Properties) -> Self {
        Self {
            payload_format: properties.payload_format,
            expiry_s: properties.expiry_s,
            content_type: properties.content_type.clone(),
            response_topic: properties.response_topic.clone(),
            correlation_data_base64: properties
                .correlation_data
                .as_ref()
                .map(|data| Base64::encode_string(data)),
            user: properties.user.clone(),
            subscription_ids: properties.subscription_ids.clone(),
        }
    }

    fn into_properties(self) -> Result<Properties, &'static str> {
        let data = self.correlation_data_base64.map(|text| Base64::decode_vec(&text));
        Ok(Properties {
            payload_format: self.payload_format,
            expiry_s: self.expiry_s,
            content_type: self.content_type,
            response_topic: self.response_topic,
            correlation_data: data
                .transpose()
                .map_err(|_| "correlation_data_base64 is no base64")?
                .map(Bytes::from),
            user: self.user,
            subscription_ids: self.subscription_ids,
        })
    }
}

/// Makes the lines of a file.
#[derive(Debug, Default)]
pub struct Lines {
    crc: crc32fast::Hasher,
    messages: u64,
}

impl Lines {
    /// The first line.
    ///
    /// # Errors
    /// The serializer's.
    pub fn header(&mut self, header: &Header) -> serde_json::Result<Box<RawValue>> {
        self.line(header)
    }

    /// The line of a message.
    ///
    /// # Errors
    /// The serializer's.
    pub fn record(&mut self, record: &Record) -> serde_json::Result<Box<RawValue>> {
        self.messages += 1;
        self.line(record)
    }

    /// The last line.
    ///
    /// # Errors
    /// The serializer's.
    pub fn end(self) -> serde_json::Result<Box<RawValue>> {
        let end = End {
            messages: self.messages,
            crc32: format!("{:08x}", self.crc.finalize()),
        };
        to_raw_value(&Trailer { end })
    }

    fn line(&mut self, value: &impl Serialize) -> serde_json::Result<Box<RawValue>> {
        let line = to_raw_value(value)?;
        self.crc.update(line.get().as_bytes());
        self.crc.update(b"\n");
        Ok(line)
    }
}

/// One line behind the first.
#[derive(Debug)]
pub enum Line {
    /// A message.
    Message(Box<Arrival>),
    /// No message, and why.
    Bad(String),
}

/// How a file ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// As it was written.
    Whole,
    /// In the middle: what comes before is there.
    Torn,
    /// It is not what was written.
    Altered(String),
}

/// Reads a file line by line.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    crc: crc32fast::Hasher,
    number: u64,
    messages: u64,
    ending: Option<Ending>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// [`FormatError`]
    pub fn open(mut input: R) -> Result<Self, FormatError> {
        let line = read_line(&mut input)?;
        let header: serde_json::Value = serde_json::from_slice(&line).map_err(|_| FormatError::Foreign)?;
        if header.get("format").and_then(|format| format.as_str()) != Some(FORMAT) {
            return Err(FormatError::Foreign);
        }
        let version = header.get("version").and_then(serde_json::Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            let version = version.and_then(|version| u32::try_from(version).ok());
            return Err(FormatError::Version(version.unwrap_or_default()));
        }
        let header = serde_json::from_value(header).map_err(|_| FormatError::Foreign)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&line);
        Ok(Self {
            input,
            header,
            crc,
            number: 1,
            messages: 0,
            ending: None,
        })
    }

    /// The first line.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// How it ended; `None` before it did.
    #[must_use]
    pub const fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// [`FormatError::Io`]
    pub fn next_line(&mut self) -> Result<Option<Line>, FormatError> {
        if self.ending.is_some() {
            return Ok(None);
        }
        let line = read_line(&mut self.input)?;
        if line.is_empty() {
            self.ending = Some(Ending::Torn);
            return Ok(None);
        }
        if let Some(end) = trailer(&line) {
            self.ending = Some(self.judge(&end)?);
            return Ok(None);
        }
        self.number += 1;
        self.crc.update(&line);
        let whole = line.ends_with(b"\n");
        let record = serde_json::from_slice::<Record>(&line).map_err(|error| error.to_string());
        match record.and_then(|record| record.into_arrival().map_err(ToOwned::to_owned)) {
            Ok(arrival) => {
                self.messages += 1;
                Ok(Some(Line::Message(Box::new(arrival))))
            }
            Err(_) if !whole => {
                self.ending = Some(Ending::Torn);
                Ok(None)
            }
            Err(why) => Ok(Some(Line::Bad(format!(
                "line {} is no message: {why}",
                self.number
            )))),
        }
    }

    fn judge(&mut self, end: &End) -> Result<Ending, FormatError> {
        let crc = format!("{:08x}", self.crc.clone().finalize());
        let altered = |what: String| Ok(Ending::Altered(what));
        if !read_line(&mut self.input)?.is_empty() {
            return altered("there is more behind its last line".to_owned());
        }
        if end.crc32 != crc {
            return altered(format!("its checksum is {crc}, its last line says {}", end.crc32));
        }
        if end.messages != self.messages {
            let (found, said) = (self.messages, end.messages);
            return altered(format!("it has {found} messages, its last line says {said}"));
        }
        Ok(Ending::Whole)
    }
}

fn trailer(line: &[u8]) -> Option<End> {
    if line.len() > TRAILER_BYTES_MAX {
        return None;
    }
    serde_json::from_slice::<Trailer>(line)
        .ok()
        .map(|trailer| trailer.end)
}

fn read_line(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    Ok(line)
}
