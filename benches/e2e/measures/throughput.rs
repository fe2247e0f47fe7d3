//! As fast as the broker takes it: messages a second from the first PUBLISH to the last append, what that costs, and the limits of
//! everything around a bridge in the same run.

use std::time::Instant;

use serde_json::{Value, json};

use super::run::{self, Load, Losses};
use crate::account::mb;
use crate::bridges::{Kind, Settings};
use crate::options::Options;
use crate::references::{append, producer, subscriber, subscriber::Subscriber};
use crate::report::goals::Goals;
use crate::report::table::Table;
use crate::rounds::Figures;
use crate::support::devices::Devices;
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::payload::payload;
use crate::support::scene::ACK_LIMIT;

/// Of messages: a bridge that takes so few in a second would need minutes for all.
const OF_A_SLOW_PEER: u64 = 4;
/// The broker's queue and record of a rate that never waits for the bridge.
const WINDOW_OF_OLD_MQTT: &str = "max_inflight_messages 20";

/// Several rounds of one bridge.
struct Row {
    kind: Kind,
    load: Load,
    per_second: Figures,
    cpu: Figures,
    rss: Figures,
    written: Figures,
    losses: Vec<Losses>,
}

impl Row {
    fn new(kind: Kind, messages: u64) -> Self {
        Self {
            kind,
            load: Load::of(messages, None),
            per_second: Figures::default(),
            cpu: Figures::default(),
            rss: Figures::default(),
            written: Figures::default(),
            losses: Vec::new(),
        }
    }

    fn measure(&mut self, kafka: &Kafka) {
        let run = run::run(kafka, &self.kind, WINDOW_OF_OLD_MQTT, self.load);
        self.per_second.add(run.per_second);
        self.cpu.add(run.cpu_per_100k());
        self.rss.add(mb(run.used.peak_rss));
        self.written.add(run.written_per_message());
        self.losses.push(run.losses);
    }

    fn sum(&self, of: fn(&Losses) -> usize) -> usize {
        self.losses.iter().map(of).sum()
    }

    fn words(&self, direct: f64) -> [String; 7] {
        [
            self.kind.name.clone(),
            self.per_second.to_string(),
            format!("{:.2}", self.per_second.median() / direct),
            self.cpu.to_string(),
            format!("{:.1}", self.rss),
            format!("{:.0}", self.written),
            Losses {
                lost: self.sum(|losses| losses.lost),
                reordered: self.sum(|losses| losses.reordered),
                duplicates: self.sum(|losses| losses.duplicates),
            }
            .to_string(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "bridge": self.kind.name,
            "messages": self.load.messages,
            "per_second": self.per_second.json(),
            "cpu_s_per_100k": self.cpu.json(),
            "peak_rss_mb": self.rss.json(),
            "written_per_message": self.written.json(),
            "losses": self.losses.iter().map(Losses::json).collect::<Vec<_>>(),
        })
    }
}

/// The bridges in the order of the rows.
fn rows(options: &Options) -> Vec<Row> {
    let messages = options.messages;
    let mut rows = vec![
        Row::new(
            Kind::edgeferry("edgeferry, MQTT 5", Settings::default()),
            messages,
        ),
        Row::new(
            Kind::direct("direct, no store, MQTT 5", Settings::default()),
            messages,
        ),
        Row::new(
            Kind::edgeferry("edgeferry, MQTT 3.1.1, window 20", Settings::default().old_mqtt()),
            messages,
        ),
        Row::new(
            Kind::edgeferry(
                "edgeferry, exactly once",
                Settings::default().kafka("delivery = \"exactly-once\""),
            ),
            messages,
        ),
        // What hardly compresses takes the more of the card.
        Row {
            load: Load {
                contents: payload,
                ..Load::of(messages, None)
            },
            ..Row::new(
                Kind::edgeferry("edgeferry, MQTT 5, hexadecimal noise", Settings::default()),
                messages,
            )
        },
    ];
    if let Some(telegraf) = &options.telegraf {
        rows.push(Row::new(
            Kind::telegraf(telegraf),
            messages / OF_A_SLOW_PEER / 4 * 4,
        ));
    }
    rows
}

/// The limits around the bridges.
#[derive(Default)]
struct Limits {
    broker: Figures,
    client: Figures,
    appends: [Figures; append::BLOCKS.len()],
}

impl Limits {
    fn measure(&mut self, kafka: &Kafka, messages: u64) {
        self.broker.add(live(messages));
        self.client.add(producer::rate(kafka, 2 * messages));
        for (figures, block) in self.appends.iter_mut().zip(append::BLOCKS) {
            figures.add(append::rate(block));
        }
    }

    fn print(&self) {
        let mut table = Table::new(
            "limits of what is around a bridge, same rounds",
            &["", "a second"],
        );
        table.row([
            "Mosquitto to a subscriber that only acknowledges".into(),
            self.broker.to_string(),
        ]);
        table.row([
            "edgeferry's Kafka client alone, records".into(),
            self.client.to_string(),
        ]);
        for (figures, block) in self.appends.iter().zip(append::BLOCKS) {
            let what = format!("append of {} KiB and fdatasync", block / 1024);
            table.row([what, figures.to_string()]);
        }
        table.print();
    }

    fn json(&self) -> Value {
        json!({
            "subscriber_per_second": self.broker.json(),
            "kafka_client_per_second": self.client.json(),
            "appends_per_second": self.appends.iter().map(Figures::json).collect::<Vec<_>>(),
        })
    }
}

/// Messages a second that the broker takes from devices and gives to a subscriber at the same time.
fn live(messages: u64) -> f64 {
    let mosquitto = Mosquitto::start_with(subscriber::WINDOW);
    let subscriber = Subscriber::start(&mosquitto, messages);
    let began = Instant::now();
    let devices = Devices::start(&mosquitto, &run::plan("d", messages, None));
    subscriber.finish();
    let took = began.elapsed().as_secs_f64();
    drop(devices.finish(ACK_LIMIT));
    messages as f64 / took
}

pub fn measure(kafka: &Kafka, options: &Options, goals: &mut Goals) -> Value {
    let mut rows = rows(options);
    let mut limits = Limits::default();
    for _ in 0..options.rounds {
        for row in &mut rows {
            row.measure(kafka);
        }
        limits.measure(kafka, options.messages);
    }
    let direct = rows[1].per_second.median();
    let mut table = Table::new(
        format!(
            "as fast as it goes: {} messages of 200 bytes, QoS 1, from 100 devices; {} rounds in turn, median (least–most)",
            options.messages, options.rounds
        ),
        &[
            "bridge",
            "messages/s",
            "of direct",
            "CPU s/100k",
            "peak RSS, MB",
            "to disk, B/message",
            "lost, reordered, duplicates",
        ],
    );
    for row in &rows {
        table.row(row.words(direct));
    }
    table.print();
    limits.print();
    note(&rows, goals);
    json!({ "bridges": rows.iter().map(Row::json).collect::<Vec<_>>(), "limits": limits.json() })
}

fn note(rows: &[Row], goals: &mut Goals) {
    let [edgeferry, direct, old, exactly, _, rest @ ..] = rows else {
        return;
    };
    let ratio = |row: &Row, to: &Row| row.per_second.median() / to.per_second.median();
    goals.at_least(
        "end to end, MQTT 5: of the direct bridge",
        ratio(edgeferry, direct),
        0.8,
    );
    goals.at_least(
        "MQTT 3.1.1 with a window of 20: of MQTT 5",
        ratio(old, edgeferry),
        0.6,
    );
    goals.at_least("exactly once: of at least once", ratio(exactly, edgeferry), 0.7);
    goals.at_most(
        "CPU per message: of the direct bridge",
        edgeferry.cpu.median() / direct.cpu.median(),
        2.0,
    );
    goals.at_most("peak RSS at full rate, MB", edgeferry.rss.most(), 32.0);
    goals.at_most(
        "bytes to disk per message at full rate",
        edgeferry.written.median(),
        100.0,
    );
    for telegraf in rest {
        goals.at_least("end to end: of Telegraf", ratio(edgeferry, telegraf), 7.0);
    }
}
