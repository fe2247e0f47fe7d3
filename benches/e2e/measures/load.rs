//! From little to more than it can carry: throughput, latency and bytes to flash against the load, as pictures.

use serde_json::{Value, json};

use super::latency::quick;
use super::run::{self, Load, Run};
use crate::bridges::{Kind, Settings};
use crate::options::Options;
use crate::report::table::Table;
use crate::support::kafka::Kafka;
use crate::support::plots::{self, Line, Picture, Scale};

/// The least that is published at a rate: percentiles of fewer say little.
const LEAST: u64 = 400;

struct Row {
    kind: Kind,
    /// By rate.
    runs: Vec<(u32, Run)>,
}

pub fn measure(kafka: &Kafka, options: &Options) -> Value {
    let kinds = [
        Kind::edgeferry("edgeferry, latency, 0ms", quick()),
        Kind::edgeferry("edgeferry, as shipped", Settings::default()),
        Kind::edgeferry(
            "edgeferry, 100ms",
            Settings::default().queue("commit_interval = \"100ms\""),
        ),
        Kind::direct("direct, no store", Settings::default()),
    ];
    let mut rows = kinds.map(|kind| Row {
        kind,
        runs: Vec::new(),
    });
    for rate in options.rates {
        for row in &mut rows {
            let messages = (u64::from(*rate) * options.load_seconds).max(LEAST) / 4 * 4;
            let load = Load::of(messages, Some(*rate));
            row.runs.push((*rate, run::run(kafka, &row.kind, "", load)));
        }
    }
    print(&rows);
    draw(&rows);
    let json = rows.iter().map(|row| {
        let runs = row
            .runs
            .iter()
            .map(|(rate, run)| json!({ "rate": rate, "run": run.json() }));
        json!({ "bridge": row.kind.name, "runs": runs.collect::<Vec<_>>() })
    });
    json.collect::<Vec<_>>().into()
}

fn print(rows: &[Row]) {
    let mut table = Table::new(
        "by load",
        &[
            "bridge",
            "offered, messages/s",
            "carried, messages/s",
            "p50, ms",
            "p99, ms",
            "to disk, B/message",
            "CPU, %",
        ],
    );
    for row in rows {
        for (rate, run) in &row.runs {
            table.row([
                row.kind.name.clone(),
                rate.to_string(),
                format!("{:.0}", run.per_second),
                format!("{:.1}", run.millis(0.50)),
                format!("{:.1}", run.millis(0.99)),
                format!("{:.0}", run.written_per_message()),
                format!("{:.1}", run.used.cpu_percent()),
            ]);
        }
    }
    table.print();
}

fn draw(rows: &[Row]) {
    let lines = |suffix: &str, of: fn(&Run) -> f64| -> Vec<Line> {
        let line = |row: &Row| Line {
            name: format!("{}{suffix}", row.kind.name),
            points: row
                .runs
                .iter()
                .map(|(rate, run)| (f64::from(*rate), of(run)))
                .collect(),
        };
        rows.iter().map(line).collect()
    };
    let picture = |file, title, y| Picture {
        file,
        title,
        x: "messages published a second",
        y,
        scale: Scale::Log,
    };
    plots::draw(
        &picture(
            "throughput-against-load",
            "Carried against offered",
            "messages in Kafka a second",
        ),
        &lines("", |run| run.per_second),
    );
    plots::draw(
        &picture("latency-against-load", "PUBLISH to Kafka's append, median", "ms"),
        &lines("", |run| run.millis(0.50).max(0.1)),
    );
    plots::draw(
        &picture(
            "latency99-against-load",
            "PUBLISH to Kafka's append, 99th percentile",
            "ms",
        ),
        &lines("", |run| run.millis(0.99).max(0.1)),
    );
    let stored: Vec<Line> = lines("", Run::written_per_message)
        .into_iter()
        .filter(|line| !line.name.starts_with("direct"))
        .collect();
    plots::draw(
        &picture(
            "flash-against-rate",
            "Bytes to flash, 200-byte messages",
            "bytes a message",
        ),
        &stored,
    );
}
