//! A broker that has kept messages while the bridge was away: how fast they are pulled, from the first append to the last one.

use std::time::Instant;

use serde_json::{Value, json};

use super::run::{self, Ends, Losses, Span, append_time};
use crate::account::{Account, mb};
use crate::bridges::{Kind, Place, Settings, start_subscribed};
use crate::options::Options;
use crate::references::subscriber::{self, Subscriber};
use crate::report::goals::Goals;
use crate::report::table::Table;
use crate::rounds::Figures;
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;

/// What one pull showed.
pub struct Pulled {
    pub per_second: f64,
    pub cpu_per_100k: f64,
    pub peak_rss: f64,
    pub losses: Losses,
}

/// Lets the broker gather `messages` for a bridge that is away, and the bridge take them.
pub fn pull(kafka: &Kafka, kind: &Kind, messages: u64) -> Pulled {
    let mosquitto = Mosquitto::start();
    let topic = run::topic(kafka);
    let place = Place {
        kafka,
        mosquitto: &mosquitto,
        topic: &topic,
    };
    let mut bridge = kind.at(place);
    start_subscribed(bridge.as_mut(), &mosquitto);
    bridge.stop();
    let sent = run::publish(&mosquitto, "d", messages, None);
    let ends = Ends::of(kafka, &topic);
    bridge.start();
    let before = Account::of(bridge.id());
    ends.until(messages);
    let used = before.until(&Account::of(bridge.id()));
    let (records, verdict) = run::judge(kafka, bridge.as_mut(), &topic, &sent, kind);
    let mut appends = Span::default();
    for time in records.iter().filter_map(append_time) {
        appends.note(time);
    }
    Pulled {
        per_second: appends.per_second(),
        cpu_per_100k: used.cpu_per_100k(messages),
        peak_rss: used.peak_rss,
        losses: Losses::of(&verdict),
    }
}

/// The same by a subscriber that only acknowledges: what the broker gives from its queue.
fn limit(messages: u64) -> f64 {
    let mosquitto = Mosquitto::start_with(subscriber::WINDOW);
    Subscriber::start(&mosquitto, 0).finish();
    drop(run::publish(&mosquitto, "d", messages, None));
    let began = Instant::now();
    Subscriber::resume(&mosquitto, messages).finish();
    messages as f64 / began.elapsed().as_secs_f64()
}

#[derive(Default)]
struct Row {
    per_second: Figures,
    cpu: Figures,
    rss: Figures,
    losses: Vec<Losses>,
}

impl Row {
    fn add(&mut self, pulled: &Pulled) {
        self.per_second.add(pulled.per_second);
        self.cpu.add(pulled.cpu_per_100k);
        self.rss.add(mb(pulled.peak_rss));
        self.losses.push(pulled.losses);
    }
}

pub fn measure(kafka: &Kafka, options: &Options, goals: &mut Goals) -> Value {
    let kinds = [
        Kind::edgeferry("edgeferry", Settings::default()),
        Kind::direct("direct, no store", Settings::default()),
    ];
    let mut rows = [Row::default(), Row::default()];
    let mut subscriber = Figures::default();
    for _ in 0..options.rounds {
        for (kind, row) in kinds.iter().zip(&mut rows) {
            row.add(&pull(kafka, kind, options.backlog));
        }
        subscriber.add(limit(options.backlog));
    }
    let mut table = Table::new(
        format!("pulling {} messages that the broker has kept", options.backlog),
        &[
            "",
            "messages/s",
            "CPU s/100k",
            "peak RSS, MB",
            "lost, reordered, duplicates",
        ],
    );
    for (kind, row) in kinds.iter().zip(&rows) {
        let losses: Vec<String> = row.losses.iter().map(Losses::to_string).collect();
        table.row([
            kind.name.clone(),
            row.per_second.to_string(),
            row.cpu.to_string(),
            format!("{:.1}", row.rss),
            losses.join("; "),
        ]);
    }
    table.row([
        "a subscriber that only acknowledges".into(),
        subscriber.to_string(),
    ]);
    table.print();
    let [edgeferry, direct] = &rows;
    goals.at_least(
        "pulling a broker's queue: of the direct bridge",
        edgeferry.per_second.median() / direct.per_second.median(),
        1.0,
    );
    let json = |row: &Row| {
        json!({
            "per_second": row.per_second.json(),
            "cpu_s_per_100k": row.cpu.json(),
            "peak_rss_mb": row.rss.json(),
            "losses": row.losses.iter().map(Losses::json).collect::<Vec<_>>(),
        })
    };
    json!({
        "messages": options.backlog, "edgeferry": json(edgeferry), "direct": json(direct),
        "subscriber_per_second": subscriber.json(),
    })
}
