//! What a person sees: plain lines, the same on a terminal and in a pipe.

use std::io::{self, Write};
use std::time::Duration;

use crate::demo::tally::{Guest, Totals};
use crate::link::Link;
use crate::ops::State;

/// Everything at one moment.
#[derive(Debug)]
pub(super) struct Line {
    /// Since the devices started.
    pub(super) time: Duration,
    /// Readings published by the devices.
    pub(super) published: u64,
    /// Readings that became durable in the queue, and so were acknowledged.
    pub(super) stored: u64,
    /// Different readings in Kafka.
    pub(super) in_kafka: u64,
    /// The daemon's own view.
    pub(super) state: State,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Table {
    /// Readings published by the devices.
    pub(super) published: u64,
    /// Readings that the MQTT broker acknowledged to the devices.
    pub(super) acknowledged: u64,
    /// What was read from Kafka.
    pub(super) kafka: Totals,
    /// Backlog when Kafka came back.
    pub(super) waited: u64,
    /// From Kafka's return until all that was published before it was there; `None` if it never was.
    pub(super) drained_in: Option<Duration>,
}

impl Table {
    /// Readings that are not in Kafka.
    pub(super) const fn missing(&self) -> u64 {
        self.published.saturating_sub(self.kafka.different)
    }
}

/// Writes lines and hides nothing; a reader that has gone is an error.
#[derive(Debug)]
pub(super) struct Screen<W: Write> {
    out: W,
}

impl<W: Write> Screen<W> {
    /// Writes to `out`.
    pub(super) const fn new(out: W) -> Self {
        Self { out }
    }

    /// One sentence or more, with an empty line before it.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "\n{text}")?;
        self.out.flush()
    }

    /// The names of the columns.
    pub(super) fn columns(&mut self) -> io::Result<()> {
        writeln!(
            self.out,
            "\n{:>6}  {:>9}  {:>8}  {:>8}  {:>8}  {:<12}Kafka",
            "time", "published", "stored", "backlog", "in Kafka", "MQTT"
        )
    }

    /// One line of numbers.
    pub(super) fn line(&mut self, line: &Line) -> io::Result<()> {
        let lanes = &line.state.lanes;
        // The demo has one lane with one broker.
        let only = lanes.first();
        let mqtt = only.and_then(|lane| lane.brokers.first());
        let mqtt = mqtt.map_or("none", |broker| word(&broker.link));
        let kafka = only.map_or("none", |lane| word(&lane.kafka));
        writeln!(
            self.out,
            "{:>4} s  {:>9}  {:>8}  {:>8}  {:>8}  {mqtt:<12}{kafka}",
            line.time.as_secs(),
            line.published,
            line.stored,
            lanes.iter().map(|lane| lane.ledger.queued).sum::<u64>(),
            line.in_kafka,
        )?;
        self.out.flush()
    }

    /// A record that somebody else sent.
    pub(super) fn guest(&mut self, guest: &Guest) -> io::Result<()> {
        writeln!(
            self.out,
            "        your message is in Kafka: key {}, payload {}",
            guest.key, guest.payload
        )
    }

    /// The result.
    pub(super) fn table(&mut self, table: &Table) -> io::Result<()> {
        let drained_in = table.drained_in.map_or_else(
            || "never".to_owned(),
            |time| format!("{:.1} s", time.as_secs_f64()),
        );
        writeln!(self.out)?;
        for (what, value) in [
            ("published by the devices", table.published.to_string()),
            ("acknowledged by the MQTT broker", table.acknowledged.to_string()),
            ("in Kafka, each counted once", table.kafka.different.to_string()),
            ("missing", table.missing().to_string()),
            ("duplicates", table.kafka.duplicates.to_string()),
            (
                "out of order within a device",
                table.kafka.out_of_order.to_string(),
            ),
            ("backlog when Kafka came back", table.waited.to_string()),
            ("time until it was drained", drained_in),
        ] {
            writeln!(self.out, "  {what:<34}{value:>8}")?;
        }
        self.out.flush()
    }
}

/// A link in a column.
const fn word(link: &Link) -> &'static str {
    match link {
        Link::Connecting => "connecting",
        Link::Up => "up",
        Link::Down(_) => "away",
        Link::PushedBack => "pushed back",
        Link::Refused(_) => "refused",
    }
}
