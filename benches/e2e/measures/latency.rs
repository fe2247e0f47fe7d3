//! A steady load: from a device's PUBLISH to the append in Kafka, and what the medium pays for it. And a load of next to nothing.

use serde_json::{Value, json};

use super::run::{self, Load, Run};
use crate::account::mb;
use crate::bridges::{Kind, Settings};
use crate::options::Options;
use crate::report::goals::Goals;
use crate::report::table::Table;
use crate::rounds::Figures;
use crate::support::kafka::Kafka;

const RATE: u32 = 1_000;
const IDLE_RATE: u32 = 10;
/// Mosquitto sends each message at once instead of waiting for the acknowledgement of the one before (Nagle's algorithm).
const NO_DELAY: &str = "set_tcp_nodelay true";

struct Row {
    kind: Kind,
    /// Lines of the broker's configuration.
    lines: &'static str,
    runs: Vec<Run>,
}

impl Row {
    fn new(kind: Kind, lines: &'static str) -> Self {
        Self {
            kind,
            lines,
            runs: Vec::new(),
        }
    }

    fn figures(&self, of: impl Fn(&Run) -> f64) -> Figures {
        self.runs.iter().map(of).collect()
    }

    fn json(&self) -> Value {
        json!({ "bridge": self.kind.name, "runs": self.runs.iter().map(Run::json).collect::<Vec<_>>() })
    }
}

/// With everything set for latency.
pub fn quick() -> Settings {
    Settings::default()
        .queue("commit_interval = \"0ms\"")
        .kafka("preset = \"latency\"")
}

fn rows(options: &Options) -> Vec<Row> {
    let spared = || Settings::default().queue("commit_interval = \"100ms\"");
    let mut rows = vec![
        Row::new(Kind::edgeferry("edgeferry, latency, 0ms", quick()), ""),
        Row::new(Kind::edgeferry("edgeferry, as shipped", Settings::default()), ""),
        Row::new(Kind::edgeferry("edgeferry, 100ms", spared()), ""),
        Row::new(
            Kind::direct(
                "direct, latency",
                Settings::default().kafka("preset = \"latency\""),
            ),
            "",
        ),
        Row::new(
            Kind::edgeferry("edgeferry, latency, 0ms; broker without Nagle", quick()),
            NO_DELAY,
        ),
    ];
    if let Some(telegraf) = &options.telegraf {
        rows.push(Row::new(Kind::telegraf(telegraf), ""));
    }
    rows
}

pub fn measure(kafka: &Kafka, options: &Options, goals: &mut Goals) -> Value {
    let mut rows = rows(options);
    let load = Load::of(u64::from(RATE) * options.steady_seconds, Some(RATE));
    for _ in 0..options.few() {
        for row in &mut rows {
            row.runs.push(run::run(kafka, &row.kind, row.lines, load));
        }
    }
    let mut table = Table::new(
        format!("{RATE} messages a second, from PUBLISH to Kafka's append"),
        &[
            "bridge",
            "p50, ms",
            "p99, ms",
            "most, ms",
            "to disk, B/message",
            "CPU, %",
            "lost, reordered, duplicates",
        ],
    );
    for row in &rows {
        let losses: Vec<String> = row.runs.iter().map(|run| run.losses.to_string()).collect();
        table.row([
            row.kind.name.clone(),
            format!("{:.1}", row.figures(|run| run.millis(0.50))),
            format!("{:.1}", row.figures(|run| run.millis(0.99))),
            format!("{:.0}", row.figures(|run| run.millis(1.0))),
            format!("{:.0}", row.figures(Run::written_per_message)),
            format!("{:.1}", row.figures(|run| run.used.cpu_percent())),
            losses.join("; "),
        ]);
    }
    table.print();
    let (quick, spared) = (&rows[0], &rows[2]);
    goals.at_most(
        "p50 at 1,000 a second, latency and 0ms",
        quick.figures(|run| run.millis(0.50)).median(),
        3.0,
    );
    goals.at_most(
        "p99 at 1,000 a second, latency and 0ms",
        quick.figures(|run| run.millis(0.99)).median(),
        8.0,
    );
    goals.at_most(
        "bytes to disk per message at 1,000 a second, 100ms",
        spared.figures(Run::written_per_message).median(),
        200.0,
    );
    rows.iter().map(Row::json).collect::<Vec<_>>().into()
}

/// Ten messages a second.
pub fn idle(kafka: &Kafka, options: &Options, goals: &mut Goals) -> Value {
    let mut kinds = vec![
        Kind::edgeferry("edgeferry", Settings::default()),
        Kind::direct("direct, no store", Settings::default()),
    ];
    kinds.extend(options.telegraf.as_deref().map(Kind::telegraf));
    let messages = u64::from(IDLE_RATE) * options.idle_seconds / 4 * 4;
    let load = Load::of(messages, Some(IDLE_RATE));
    let runs: Vec<Run> = kinds.iter().map(|kind| run::run(kafka, kind, "", load)).collect();
    let mut table = Table::new(
        format!("{IDLE_RATE} messages a second for {} s", options.idle_seconds),
        &[
            "bridge",
            "CPU, %",
            "RSS, MB",
            "to disk, B/message",
            "p50, ms",
            "p99, ms",
        ],
    );
    for (kind, run) in kinds.iter().zip(&runs) {
        table.row([
            kind.name.clone(),
            format!("{:.2}", run.used.cpu_percent()),
            format!("{:.1}", mb(run.used.rss)),
            format!("{:.0}", run.written_per_message()),
            format!("{:.1}", run.millis(0.50)),
            format!("{:.1}", run.millis(0.99)),
        ]);
    }
    table.print();
    goals.at_most("CPU at 10 a second, % of a core", runs[0].used.cpu_percent(), 0.3);
    goals.at_most("RSS at 10 a second, MB", mb(runs[0].used.rss), 12.0);
    let rows = kinds
        .iter()
        .zip(&runs)
        .map(|(kind, run)| json!({ "bridge": kind.name, "rss_mb": mb(run.used.rss), "run": run.json() }));
    rows.collect::<Vec<_>>().into()
}
