//! One load through one bridge: what every measure is made of.
//!
//! The topic keeps the broker's own time of each append (`LogAppendTime`), so what is measured ends where the record is in Kafka's
//! log, whoever reads it and when. That time is in whole milliseconds, cut: half of one is added.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};

use crate::account::{Account, Used, mb};
use crate::bridges::{Bridge, Kind, Place, start_subscribed};
use crate::support::devices::sent::Sent;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{Kafka, PARTITIONS};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE, Record, Verdict};
use crate::support::payload::origin;
use crate::support::scene::ACK_LIMIT;
use crate::support::telemetry::{USUAL_BYTES, reading};
use crate::support::wait;

/// Devices of a load.
pub const DEVICES: usize = 100;
/// Part of the messages, and bounds, of those that go ahead and do not count: they make a bridge connect, learn about its topic, and
/// take the memory that it works with.
const WARM_UP_PART: u64 = 10;
const WARM_UP_LEAST: u64 = 200;
const WARM_UP_MOST: u64 = 4_000;
/// Messages a second of those.
const WARM_UP_RATE: u32 = 4_000;
/// Names of the devices that warm up.
pub const WARM_UP_PREFIX: &str = "w";
/// The slowest peer takes 200,000 messages in a minute. Only failures wait so long.
const LIMIT: Duration = Duration::from_mins(5);
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// `message.timestamp.type`
const APPEND_TIME: (&str, &str) = ("message.timestamp.type", "LogAppendTime");

/// How much is published, and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub messages: u64,
    /// Messages a second; `None` means as fast as the broker takes them.
    pub rate: Option<u32>,
    /// Makes a payload of its device, its number and its bytes.
    pub contents: fn(&str, u64, usize) -> Vec<u8>,
}

impl Load {
    /// Readings of sensors.
    pub fn of(messages: u64, rate: Option<u32>) -> Self {
        Self {
            messages,
            rate,
            contents: reading,
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Run {
    /// From the first PUBLISH to the last append.
    pub per_second: f64,
    /// From the first append to the last one.
    pub appended_per_second: f64,
    pub used: Used,
    pub messages: u64,
    pub losses: Losses,
    micros: Histogram<u64>,
}

/// What the oracle found, as far as every bridge can be judged by it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Losses {
    pub lost: usize,
    pub reordered: usize,
    pub duplicates: usize,
}

impl Run {
    /// PUBLISH to append, milliseconds.
    pub fn millis(&self, quantile: f64) -> f64 {
        self.micros.value_at_quantile(quantile) as f64 / 1000.0
    }

    pub fn written_per_message(&self) -> f64 {
        self.used.written / self.messages as f64
    }

    pub fn cpu_per_100k(&self) -> f64 {
        self.used.cpu_per_100k(self.messages)
    }

    pub fn json(&self) -> Value {
        json!({
            "messages": self.messages,
            "per_second": self.per_second,
            "appended_per_second": self.appended_per_second,
            "cpu_s_per_100k": self.cpu_per_100k(),
            "cpu_percent": self.used.cpu_percent(),
            "peak_rss_mb": mb(self.used.peak_rss),
            "written_per_message": self.written_per_message(),
            "p50_ms": self.millis(0.50),
            "p99_ms": self.millis(0.99),
            "max_ms": self.millis(1.0),
            "losses": self.losses.json(),
        })
    }
}

impl Losses {
    pub fn of(verdict: &Verdict) -> Self {
        Self {
            lost: verdict.lost.len(),
            reordered: verdict.reordered.len(),
            duplicates: (verdict.records + verdict.lost.len()).saturating_sub(verdict.expected),
        }
    }

    pub fn json(&self) -> Value {
        json!({ "lost": self.lost, "reordered": self.reordered, "duplicates": self.duplicates })
    }
}

impl std::fmt::Display for Losses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}, {}", self.lost, self.reordered, self.duplicates)
    }
}

/// A topic whose records have the broker's time.
pub fn topic(kafka: &Kafka) -> String {
    topic_of(kafka, PARTITIONS)
}

fn topic_of(kafka: &Kafka, partitions: i32) -> String {
    kafka.fresh_topic_with("bench", partitions, &[APPEND_TIME])
}

/// A load through a bridge on a broker of its own, which has `lines` in its configuration.
pub fn run(kafka: &Kafka, kind: &Kind, lines: &str, load: Load) -> Run {
    run_over(kafka, kind, lines, load, PARTITIONS)
}

/// [`run`] to a topic of so many partitions.
pub fn run_over(kafka: &Kafka, kind: &Kind, lines: &str, load: Load, partitions: i32) -> Run {
    let mosquitto = Mosquitto::start_with(lines);
    let topic = topic_of(kafka, partitions);
    let place = Place {
        kafka,
        mosquitto: &mosquitto,
        topic: &topic,
    };
    let mut bridge = kind.at(place);
    start_subscribed(bridge.as_mut(), &mosquitto);
    let ends = Ends::of_partitions(kafka, &topic, partitions);
    let warm_up = (load.messages / WARM_UP_PART / 4 * 4).clamp(WARM_UP_LEAST, WARM_UP_MOST);
    let mut sent = publish(&mosquitto, WARM_UP_PREFIX, warm_up, Some(WARM_UP_RATE));
    ends.until(sent_count(&sent));
    let before = Account::of(bridge.id());
    let plan = Plan {
        contents: load.contents,
        ..plan("d", load.messages, load.rate)
    };
    let devices = Devices::start(&mosquitto, &plan);
    ends.until(sent_count(&sent) + load.messages);
    let used = before.until(&Account::of(bridge.id()));
    sent.merge(devices.finish(ACK_LIMIT));
    let (records, verdict) = judge(kafka, bridge.as_mut(), &topic, &sent, kind);
    measured(&records, &sent, used, load, Losses::of(&verdict))
}

/// Waits until everything is in Kafka, stops the bridge, and lets the oracle judge.
pub fn judge(
    kafka: &Kafka,
    bridge: &mut dyn Bridge,
    topic: &str,
    sent: &Sent,
    kind: &Kind,
) -> (Vec<Record>, Verdict) {
    let mut oracle = Oracle::new(kafka, topic);
    oracle.until_all_there(sent, PATIENCE);
    bridge.stop();
    let verdict = oracle.verdict(sent);
    if kind.is_edgeferry() {
        verdict.assert_clean();
    }
    (oracle.records().to_vec(), verdict)
}

/// What the records of a load say of it.
pub fn measured(records: &[Record], sent: &Sent, used: Used, load: Load, losses: Losses) -> Run {
    let mut micros = Histogram::new(3).expect("three digits are possible");
    let (mut first_sent, mut appends) = (u64::MAX, Span::default());
    for record in records {
        let Some((first, append)) = times(record, sent) else {
            continue;
        };
        first_sent = first_sent.min(first);
        appends.note(append);
        micros.record(append.saturating_sub(first)).expect("it resizes");
    }
    let messages = load.messages;
    let per_second = |from: u64| messages as f64 * 1e6 / (appends.last.saturating_sub(from).max(1)) as f64;
    Run {
        per_second: per_second(first_sent),
        appended_per_second: per_second(appends.first),
        used,
        messages,
        losses,
        micros,
    }
}

/// First and last of some times, microseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub first: u64,
    pub last: u64,
    pub count: u64,
}

impl Default for Span {
    fn default() -> Self {
        Self {
            first: u64::MAX,
            last: 0,
            count: 0,
        }
    }
}

impl Span {
    pub fn note(&mut self, at: u64) {
        self.first = self.first.min(at);
        self.last = self.last.max(at);
        self.count += 1;
    }

    pub fn per_second(&self) -> f64 {
        self.count as f64 * 1e6 / self.last.saturating_sub(self.first).max(1) as f64
    }
}

/// When its device first sent a message, and when Kafka appended its record, microseconds since 1970. `None` for what warmed up.
pub fn times(record: &Record, sent: &Sent) -> Option<(u64, u64)> {
    let (device, seq) = origin(&record.value)?;
    if device.starts_with(WARM_UP_PREFIX) {
        return None;
    }
    let first = sent.devices.get(&device)?.get(&seq)?.first;
    Some((micros_of(first), append_time(record)?))
}

/// When Kafka appended a record, microseconds since 1970.
pub fn append_time(record: &Record) -> Option<u64> {
    Some(u64::try_from(record.time_ms?).ok()? * 1_000 + 500)
}

fn micros_of(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(since.as_micros()).expect("it is not far after")
}

/// How the devices of a measure publish.
pub fn plan(prefix: &'static str, messages: u64, rate: Option<u32>) -> Plan {
    Plan {
        prefix,
        devices: DEVICES,
        messages: Some(messages),
        rate,
        bytes: USUAL_BYTES,
        contents: reading,
        ..Plan::default()
    }
}

/// Publishes, and waits until the broker has it all.
pub fn publish(mosquitto: &Mosquitto, prefix: &'static str, messages: u64, rate: Option<u32>) -> Sent {
    Devices::start(mosquitto, &plan(prefix, messages, rate)).finish(ACK_LIMIT)
}

pub fn sent_count(sent: &Sent) -> u64 {
    sent.acked().count() as u64
}

/// Where a topic ends. Reading it would take the cores from what is measured.
pub struct Ends {
    probe: BaseConsumer,
    topic: String,
    partitions: i32,
}

impl Ends {
    /// Of a topic with the usual partitions.
    pub fn of(kafka: &Kafka, topic: &str) -> Self {
        Self::of_partitions(kafka, topic, PARTITIONS)
    }

    pub fn of_partitions(kafka: &Kafka, topic: &str, partitions: i32) -> Self {
        Self {
            probe: kafka.client().create().expect("a plain client"),
            topic: topic.into(),
            partitions,
        }
    }

    /// Records in it; with transactions their markers count too.
    pub fn now(&self) -> u64 {
        let ends = (0..self.partitions).map(|partition| {
            let marks = self.probe.fetch_watermarks(&self.topic, partition, REQUEST_LIMIT);
            marks.map_or(0, |(_, high)| u64::try_from(high).unwrap_or(0))
        });
        ends.sum()
    }

    /// Waits until there are so many.
    pub fn until(&self, records: u64) {
        wait::until("all of it is in Kafka", LIMIT, || {
            (self.now() >= records).then_some(())
        });
    }
}
