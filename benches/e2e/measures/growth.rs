//! What a message costs when there is more of everything: routes, devices, bytes, brokers. A load that is carried without effort, so that
//! only the cost differs; each curve changes one thing and leaves the others as in every measure.
//!
//! What a longer queue costs is in [`super::drain`] (memory), and by 20,000,000 messages in `./dev bench queue`.

use serde_json::{Value, json};

use super::run::{self, Ends, Load, Run};
use crate::account::{Account, mb};
use crate::bridges::{Kind, Place, Settings};
use crate::options::Options;
use crate::report::goals::Goals;
use crate::report::table::Table;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::telemetry::USUAL_BYTES;

/// Messages a second of every curve, where they are small enough.
const RATE: u32 = 4_000;
/// Bytes of payload a second at most: large ones come more slowly.
const BYTES_A_SECOND: u32 = 8 << 20;
/// A rate leaves each of the devices' connections something to do.
const RATE_LEAST: u32 = 40;
/// Names of the devices of each broker.
const PREFIXES: [&str; 8] = ["d", "e", "f", "g", "h", "i", "j", "k"];
const WARM_UP: u64 = 2_000;
/// Flat: the dearest point of a curve costs at most so many times the cheapest one. The machine makes a tenth or two of it.
const FLAT: f64 = 1.5;

/// One thing that grows.
struct Curve {
    name: &'static str,
    is_flat: bool,
    points: Vec<Point>,
}

/// One measurement of it.
#[derive(Clone)]
struct Point {
    name: String,
    /// Routes that want something else, ahead of the one that is used.
    other_routes: usize,
    devices: usize,
    bytes: usize,
    brokers: usize,
}

impl Default for Point {
    fn default() -> Self {
        Self {
            name: String::new(),
            other_routes: 0,
            devices: run::DEVICES,
            bytes: USUAL_BYTES,
            brokers: 1,
        }
    }
}

impl Point {
    fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    fn rate(&self) -> u32 {
        let size = u32::try_from(self.bytes.max(1)).unwrap_or(u32::MAX);
        (BYTES_A_SECOND / size).clamp(RATE_LEAST, RATE)
    }

    /// Every device has something to say.
    fn messages(&self, seconds: u64) -> u64 {
        let messages = u64::from(self.rate()) * seconds;
        let all = messages.max(self.devices as u64);
        let parts = 4 * self.brokers as u64;
        all.div_ceil(parts) * parts
    }
}

fn curves(options: &Options) -> [Curve; 4] {
    let routes = options.growth.routes.iter().map(|routes| Point {
        other_routes: routes - 1,
        ..Point::named(format!("{routes} routes"))
    });
    let devices = options.growth.devices.iter().map(|devices| Point {
        devices: *devices,
        ..Point::named(format!("{devices} devices"))
    });
    let bytes = options.growth.bytes.iter().map(|bytes| Point {
        bytes: *bytes,
        ..Point::named(format!("{bytes} bytes"))
    });
    let brokers = options.growth.brokers.iter().map(|brokers| Point {
        brokers: *brokers,
        ..Point::named(format!("{brokers} brokers"))
    });
    let curve = |name, is_flat, points: Vec<Point>| Curve {
        name,
        is_flat,
        points,
    };
    [
        curve("routes", true, routes.collect()),
        curve("devices", true, devices.collect()),
        // More bytes are more to do.
        curve("payload", false, bytes.collect()),
        curve("brokers", true, brokers.collect()),
    ]
}

fn carry(kafka: &Kafka, point: &Point, seconds: u64) -> Run {
    let brokers: Vec<Mosquitto> = (0..point.brokers).map(|_| Mosquitto::start()).collect();
    let topic = run::topic(kafka);
    let settings = Settings {
        other_routes: point.other_routes,
        other_brokers: brokers.iter().skip(1).map(Mosquitto::port).collect(),
        ..Settings::default()
    };
    let place = Place {
        kafka,
        mosquitto: &brokers[0],
        topic: &topic,
    };
    let kind = Kind::edgeferry(&point.name, settings);
    let mut bridge = kind.at(place);
    let marks: Vec<_> = brokers.iter().map(Mosquitto::mark).collect();
    bridge.start();
    for (broker, mark) in brokers.iter().zip(marks) {
        broker.until_subscribed(FILTER, mark);
    }
    let ends = Ends::of(kafka, &topic);
    let mut sent = run::publish(&brokers[0], run::WARM_UP_PREFIX, WARM_UP, Some(RATE));
    ends.until(WARM_UP);
    let before = Account::of(bridge.id());
    let load = Load::of(point.messages(seconds), Some(point.rate()));
    let fleets: Vec<Devices> = brokers
        .iter()
        .zip(PREFIXES)
        .map(|(broker, prefix)| Devices::start(broker, &part(point, load, prefix)))
        .collect();
    ends.until(WARM_UP + load.messages);
    let used = before.until(&Account::of(bridge.id()));
    for fleet in fleets {
        sent.merge(fleet.finish(ACK_LIMIT));
    }
    let (records, verdict) = run::judge(kafka, bridge.as_mut(), &topic, &sent, &kind);
    run::measured(&records, &sent, used, load, run::Losses::of(&verdict))
}

/// What one broker's devices publish.
fn part(point: &Point, load: Load, prefix: &'static str) -> Plan {
    let brokers = point.brokers as u64;
    Plan {
        devices: point.devices / point.brokers,
        bytes: point.bytes,
        ..run::plan(
            prefix,
            load.messages / brokers,
            load.rate.map(|rate| rate / point.brokers as u32),
        )
    }
}

pub fn measure(kafka: &Kafka, options: &Options, goals: &mut Goals) -> Value {
    let mut table = Table::new(
        "growth: what one message costs",
        &[
            "",
            "messages/s",
            "CPU s/100k",
            "of the first",
            "p50, ms",
            "p99, ms",
            "peak RSS, MB",
            "to disk, B/message",
        ],
    );
    let mut result = json!({});
    for curve in curves(options) {
        let runs: Vec<Run> = curve
            .points
            .iter()
            .map(|point| carry(kafka, point, options.growth.seconds))
            .collect();
        let first = runs[0].cpu_per_100k();
        for (point, run) in curve.points.iter().zip(&runs) {
            table.row(words(&point.name, run, first));
        }
        if curve.is_flat {
            note(curve.name, &runs, goals);
        }
        let points = curve.points.iter().zip(&runs);
        let json = points.map(|(point, run)| json!({ "point": point.name, "run": run.json() }));
        result[curve.name] = json.collect::<Vec<_>>().into();
    }
    table.print();
    result
}

fn words(name: &str, run: &Run, first: f64) -> [String; 8] {
    [
        name.to_owned(),
        format!("{:.0}", run.per_second),
        format!("{:.2}", run.cpu_per_100k()),
        format!("{:.2}", run.cpu_per_100k() / first),
        format!("{:.1}", run.millis(0.50)),
        format!("{:.1}", run.millis(0.99)),
        format!("{:.1}", mb(run.used.peak_rss)),
        format!("{:.0}", run.written_per_message()),
    ]
}

fn note(name: &str, runs: &[Run], goals: &mut Goals) {
    let costs = || runs.iter().map(Run::cpu_per_100k);
    let dearest = costs().fold(0.0, f64::max);
    let cheapest = costs().fold(f64::MAX, f64::min);
    goals.at_most(
        &format!("growth by {name}: CPU per message, dearest of cheapest"),
        dearest / cheapest,
        FLAT,
    );
}
