//! The link to Kafka: bytes of a message in both directions, and of a gateway that has nothing to say, by `headers` and `compression`.
//!
//! The kernel counts what each connection sent and received (`ss`); for each segment the 52 bytes of an IPv4 and a TCP header with time
//! stamps are added, so it is what a modem carries, without the frames below. What a message takes when groups are full, by its size, is
//! measured by `./dev bench capacity`.

use std::process::Command;

use serde_json::{Value, json};

use super::run::{self, Ends};
use crate::bridges::{Bridge, Kind, Place, Settings, start_subscribed};
use crate::options::Options;
use crate::report::table::Table;
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::process::program;
use crate::support::wait;

const HEADERS: [&str; 2] = ["full", "minimal"];
/// Presets and codecs; the last has its own default.
const CLIENTS: [(&str, &str); 4] = [
    ("none", "compression = \"none\""),
    ("lz4 (shipped)", ""),
    ("zstd", "compression = \"zstd\""),
    ("zstd, preset throughput", "preset = \"throughput\""),
];
const RATE: u32 = 1_000;
/// Headers of IPv4 and of TCP with time stamps.
const SEGMENT_BYTES: u64 = 52;
const SECONDS_A_DAY: f64 = 86_400.0;

/// What its connections to a port carried so far.
#[derive(Debug, Clone, Copy, Default)]
struct Carried {
    bytes: u64,
    segments: u64,
}

impl Carried {
    fn of(pid: u32, port: u16) -> Self {
        let output = Command::new(program("ss"))
            .args(["-tinpHO", &format!("dport = :{port}")])
            .output()
            .expect("ss runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let ours = format!("pid={pid},");
        let mut sum = Self::default();
        for line in text.lines().filter(|line| line.contains(&ours)) {
            sum.bytes += number(line, "bytes_sent:") + number(line, "bytes_received:");
            sum.segments += number(line, "segs_out:") + number(line, "segs_in:");
        }
        assert!(
            sum.segments > 0,
            "ss knows no connection of {pid} to {port}: {text}"
        );
        sum
    }

    fn since(self, earlier: Self) -> f64 {
        let bytes = self.bytes.saturating_sub(earlier.bytes);
        let segments = self.segments.saturating_sub(earlier.segments);
        (bytes + segments * SEGMENT_BYTES) as f64
    }
}

/// What is not there has not happened.
fn number(line: &str, label: &str) -> u64 {
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(label));
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// A gateway that stays connected.
struct Gateway {
    headers: &'static str,
    client: &'static str,
    bridge: Box<dyn Bridge>,
    _mosquitto: Mosquitto,
    per_message: f64,
}

impl Gateway {
    fn measure(
        kafka: &Kafka,
        headers: &'static str,
        (client, line): (&'static str, &str),
        messages: u64,
    ) -> Self {
        let mosquitto = Mosquitto::start();
        let topic = run::topic(kafka);
        let place = Place {
            kafka,
            mosquitto: &mosquitto,
            topic: &topic,
        };
        let settings = Settings {
            route: format!("headers = \"{headers}\""),
            ..Settings::default().kafka(line)
        };
        let mut bridge = Kind::edgeferry("edgeferry", settings).at(place);
        start_subscribed(bridge.as_mut(), &mosquitto);
        let ends = Ends::of(kafka, &topic);
        let warm_up = run::sent_count(&run::publish(&mosquitto, "w", 200, Some(RATE)));
        ends.until(warm_up);
        let before = Carried::of(bridge.id(), kafka.port());
        drop(run::publish(&mosquitto, "d", messages, Some(RATE)));
        ends.until(warm_up + messages);
        let carried = Carried::of(bridge.id(), kafka.port()).since(before);
        Self {
            headers,
            client,
            bridge,
            _mosquitto: mosquitto,
            per_message: carried / messages as f64,
        }
    }
}

pub fn measure(kafka: &Kafka, options: &Options) -> Value {
    let messages = u64::from(RATE) * options.link_seconds;
    let mut gateways: Vec<Gateway> = Vec::new();
    for headers in HEADERS {
        for client in CLIENTS {
            gateways.push(Gateway::measure(kafka, headers, client, messages));
        }
    }
    // Until the last answers are there, and nobody has anything to say.
    wait::let_pass("links come to rest", options.rest);
    let port = kafka.port();
    let before: Vec<Carried> = gateways
        .iter()
        .map(|gateway| Carried::of(gateway.bridge.id(), port))
        .collect();
    wait::let_pass("nobody publishes", options.idle_link);
    let mut table = Table::new(
        format!(
            "the link to Kafka, both directions: {RATE} messages of 200 bytes a second; then nothing for {:?}",
            options.idle_link
        ),
        &["headers", "compression", "bytes a message", "MiB a day idle"],
    );
    let mut rows = Vec::new();
    for (mut gateway, before) in gateways.into_iter().zip(before) {
        let idle = Carried::of(gateway.bridge.id(), port).since(before);
        let a_day = idle * SECONDS_A_DAY / options.idle_link.as_secs_f64() / f64::from(1 << 20);
        gateway.bridge.stop();
        table.row([
            gateway.headers.into(),
            gateway.client.into(),
            format!("{:.0}", gateway.per_message),
            format!("{a_day:.2}"),
        ]);
        rows.push(json!({
            "headers": gateway.headers, "client": gateway.client, "bytes_per_message": gateway.per_message,
            "idle_mib_per_day": a_day,
        }));
    }
    table.print();
    rows.into()
}
