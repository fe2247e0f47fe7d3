//! A Kafka that is far away: what comes back from it comes a tenth of a second later, through a proxy that holds every byte for half of
//! that in each direction. By how many partitions the load goes to: `sink::batches` says why that makes a difference.

use std::time::Duration;

use serde_json::{Value, json};

use super::run::{self, Load, Run};
use crate::account::mb;
use crate::bridges::{Kind, Settings};
use crate::options::Options;
use crate::report::table::Table;
use crate::support::kafka::Kafka;
use crate::support::proxy::Rules;

/// Each way.
const DELAY: Duration = Duration::from_millis(50);
const PARTITIONS: [i32; 3] = [1, 5, 12];
/// Messages a second; `None` is as fast as it goes.
const RATES: [Option<u32>; 2] = [Some(500), None];
/// Of those of a measure at full rate: the way is narrow.
const PART: u64 = 8;

pub fn measure(kafka: &Kafka, options: &Options) -> Value {
    let proxy = kafka.proxy();
    proxy.set(Rules {
        delay: DELAY,
        ..Rules::default()
    });
    let mut table = Table::new(
        "far: Kafka 100 ms away",
        &[
            "",
            "messages/s",
            "CPU s/100k",
            "CPU, %",
            "p50, ms",
            "p99, ms",
            "peak RSS, MB",
        ],
    );
    let mut rows = Vec::new();
    for rate in RATES {
        let messages = rate.map_or(options.messages / PART / 4 * 4, |rate| {
            u64::from(rate) * options.steady_seconds
        });
        let load = Load::of(messages, rate);
        for partitions in PARTITIONS {
            let name = name(partitions, rate);
            let settings = Settings {
                through: Some(proxy.port()),
                ..Settings::default()
            };
            let run = run::run_over(kafka, &Kind::edgeferry(&name, settings), "", load, partitions);
            table.row(words(&name, &run));
            rows.push(json!({ "partitions": partitions, "rate": rate, "run": run.json() }));
        }
    }
    table.print();
    rows.into()
}

fn name(partitions: i32, rate: Option<u32>) -> String {
    let rate = rate.map_or_else(
        || "as fast as it goes".to_owned(),
        |rate| format!("{rate} a second"),
    );
    match partitions {
        1 => format!("{rate}, 1 partition"),
        _ => format!("{rate}, {partitions} partitions"),
    }
}

fn words(name: &str, run: &Run) -> [String; 7] {
    [
        name.to_owned(),
        format!("{:.0}", run.per_second),
        format!("{:.2}", run.cpu_per_100k()),
        format!("{:.1}", run.used.cpu_percent()),
        format!("{:.0}", run.millis(0.50)),
        format!("{:.0}", run.millis(0.99)),
        format!("{:.1}", mb(run.used.peak_rss)),
    ]
}
