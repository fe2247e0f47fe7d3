//! What a person sees while it runs, and the table in the end: plain lines, the same on a terminal and in a pipe.

use std::io::{self, Write};
use std::time::Duration;

use super::judge::{Finding, NAMED_MAX, Row};
use super::report::Report;

/// Where the messages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Numbers {
    pub(super) published: usize,
    /// Over all lanes.
    pub(super) acknowledged: usize,
    /// Different ones in Kafka, over all lanes.
    pub(super) delivered: usize,
}

/// Writes lines; a reader that has gone is an error.
#[derive(Debug)]
pub(super) struct Screen<W: Write> {
    out: W,
    is_told: bool,
}

impl<W: Write> Screen<W> {
    /// Writes to `out`; without `is_told` it stays silent until the end.
    pub(super) const fn new(out: W, is_told: bool) -> Self {
        Self { out, is_told }
    }

    /// A paragraph.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        if self.is_told {
            writeln!(self.out, "{text}")?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// A phase begins.
    pub(super) fn phase(&mut self, time: Duration, what: &str, numbers: &Numbers) -> io::Result<()> {
        self.numbers(time, numbers)?;
        self.say(&format!("{:>4} s  {what}", time.as_secs()))
    }

    /// Where the messages are.
    pub(super) fn numbers(&mut self, time: Duration, numbers: &Numbers) -> io::Result<()> {
        if numbers.published == 0 {
            return Ok(());
        }
        self.say(&format!(
            "{:>4} s    published {}, acknowledged {}, in Kafka {}",
            time.as_secs(),
            numbers.published,
            numbers.acknowledged,
            numbers.delivered
        ))
    }

    /// The result in JSON.
    pub(super) fn json(&mut self, report: &Report) -> io::Result<()> {
        let text = serde_json::to_string_pretty(report)?;
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// The result for people.
    pub(super) fn report(&mut self, report: &Report) -> io::Result<()> {
        self.table(&report.lanes)?;
        for note in &report.notes {
            writeln!(self.out, "note: {note}")?;
        }
        writeln!(self.out)?;
        for finding in &report.findings {
            self.finding(finding)?;
        }
        let text = match report.passed {
            true => "PASSED: every acknowledged message is accounted for.",
            false => "FAILED: a promise was not kept.",
        };
        writeln!(self.out, "{text}")?;
        if let Some(scratch) = &report.scratch {
            writeln!(
                self.out,
                "The store, the configuration and the daemon's log are kept in {scratch}"
            )?;
        }
        writeln!(self.out, "{}", report.claims)?;
        self.out.flush()
    }

    fn table(&mut self, rows: &[Row]) -> io::Result<()> {
        writeln!(
            self.out,
            "\n{:<12} {:>12} = {:>9} + {:>11} + {:>7} + {:>6} + {:>4}   {:>10} {:>11}",
            "lane",
            "acknowledged",
            "delivered",
            "dead letter",
            "dropped",
            "queued",
            "lost",
            "duplicates",
            "unexplained"
        )?;
        for row in rows {
            let dropped = row.acknowledged - row.delivered - row.dead_lettered - row.queued - row.lost;
            writeln!(
                self.out,
                "{:<12} {:>12} = {:>9} + {:>11} + {dropped:>7} + {:>6} + {:>4}   {:>10} {:>11}",
                row.lane,
                row.acknowledged,
                row.delivered,
                row.dead_lettered,
                row.queued,
                row.lost,
                row.duplicates,
                row.unexplained
            )?;
        }
        for row in rows {
            for (reason, count) in &row.dropped {
                writeln!(
                    self.out,
                    "{:<12} {count} {reason}, by the daemon's ledger",
                    row.lane
                )?;
            }
            if row.unprotected > 0 {
                writeln!(
                    self.out,
                    "{:<12} {} published with QoS 0, which nobody acknowledges; {} of them are in Kafka",
                    row.lane, row.unprotected, row.unprotected_delivered
                )?;
            }
        }
        writeln!(self.out)
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        let lane = match finding.lane.as_str() {
            "" => String::new(),
            lane => format!(" lane {lane}:"),
        };
        writeln!(self.out, "BROKEN: {}", finding.promise.words())?;
        writeln!(self.out, "       {lane} {}", finding.what)?;
        if !finding.ids.is_empty() {
            writeln!(
                self.out,
                "        the first {NAMED_MAX} at most: {}",
                finding.ids.join(", ")
            )?;
        }
        writeln!(self.out)
    }
}
