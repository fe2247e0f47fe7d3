//! A card whose sync takes long: throughput and latency against what arithmetic allows, a window of messages for each sync.
//!
//! Every `fdatasync` and `fsync` of the shipped binary ends so much later ([`Settings::sync_delay_ms`]). With MQTT 5 the window is what
//! edgeferry asks for; with 3.1.1 it is the broker's, and Mosquitto 2.0 does not hold it once acknowledgements come in groups
//! (eclipse-mosquitto/mosquitto#2301): more than the limit is its doing.

use serde_json::{Value, json};

use super::run::{self, Load, Run};
use crate::bridges::{Kind, Settings};
use crate::options::Options;
use crate::report::goals::Goals;
use crate::report::table::Table;
use crate::support::kafka::Kafka;

const WINDOWS: [u32; 2] = [20, 500];
/// Messages that a measure has at most: the fastest cells are bounded by the broker anyway.
const MOST: u64 = 60_000;
/// A load that leaves room: this part of the limit, and at most so many a second.
const PART_OF_LIMIT: f64 = 0.5;
const STEADY_MOST: f64 = 1_000.0;
const STEADY_SECONDS: f64 = 3.0;
/// What a limit must be below of what the broker can give, for a ratio to mean anything.
const MEANINGFUL: f64 = 30_000.0;

/// One card, version and window.
struct Cell {
    delay_ms: u64,
    is_old_mqtt: bool,
    window: u32,
}

impl Cell {
    /// Messages a second.
    fn limit(&self) -> f64 {
        f64::from(self.window) * 1_000.0 / self.delay_ms as f64
    }

    fn version(&self) -> &'static str {
        if self.is_old_mqtt { "3.1.1" } else { "5" }
    }

    fn kind(&self) -> Kind {
        let settings = Settings {
            is_old_mqtt: self.is_old_mqtt,
            mqtt: vec![format!("receive_maximum = {}", self.window)],
            sync_delay_ms: self.delay_ms,
            ..Settings::default()
        };
        Kind::edgeferry("edgeferry", settings)
    }

    fn run(&self, kafka: &Kafka, load: Load) -> Run {
        let lines = format!("max_inflight_messages {}", self.window);
        run::run(kafka, &self.kind(), &lines, load)
    }

    fn full(&self, kafka: &Kafka, seconds: u64) -> Run {
        let messages = (self.limit() as u64 * seconds).min(MOST) / 4 * 4;
        self.run(kafka, Load::of(messages, None))
    }

    fn steady(&self, kafka: &Kafka) -> Run {
        let rate = (self.limit() * PART_OF_LIMIT).min(STEADY_MOST);
        let load = Load::of((rate * STEADY_SECONDS) as u64 / 4 * 4, Some(rate as u32));
        self.run(kafka, load)
    }
}

fn cells(options: &Options) -> Vec<Cell> {
    let mut cells = Vec::new();
    for delay_ms in options.delays_ms {
        for is_old_mqtt in [false, true] {
            cells.extend(WINDOWS.map(|window| Cell {
                delay_ms: *delay_ms,
                is_old_mqtt,
                window,
            }));
        }
    }
    cells
}

pub fn measure(kafka: &Kafka, options: &Options, goals: &mut Goals) -> Value {
    let mut table = Table::new(
        "a slow card: as fast as it goes, and at half of the limit (1,000 a second at most)",
        &[
            "each sync later by",
            "MQTT",
            "window",
            "limit, messages/s",
            "messages/s",
            "of the limit",
            "to disk, B/message",
            "p50, ms",
            "p99, ms",
        ],
    );
    let mut rows = Vec::new();
    for cell in cells(options) {
        let (full, steady) = (cell.full(kafka, options.card_seconds), cell.steady(kafka));
        let of_limit = full.per_second / cell.limit();
        let is_meaningful = cell.limit() <= MEANINGFUL;
        table.row([
            format!("{} ms", cell.delay_ms),
            cell.version().into(),
            cell.window.to_string(),
            format!("{:.0}", cell.limit()),
            format!("{:.0}", full.per_second),
            if is_meaningful {
                format!("{of_limit:.2}")
            } else {
                "–".into()
            },
            format!("{:.0}", full.written_per_message()),
            format!("{:.0}", steady.millis(0.50)),
            format!("{:.0}", steady.millis(0.99)),
        ]);
        if (cell.delay_ms, cell.window, cell.is_old_mqtt) == (30, 500, false) {
            goals.at_least("30 ms a sync, MQTT 5, window 500: of the limit", of_limit, 0.9);
        }
        rows.push(json!({
            "delay_ms": cell.delay_ms, "mqtt": cell.version(), "window": cell.window, "limit_per_second": cell.limit(),
            "full": full.json(), "steady": steady.json(),
        }));
    }
    table.print();
    rows.into()
}
