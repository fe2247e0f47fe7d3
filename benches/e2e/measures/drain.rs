//! An outage of Kafka: what gathers, what it takes in memory, and how fast it leaves while devices go on publishing.
//!
//! Kafka comes back as a new process whose compiler has seen nothing yet. The bridge without a store, whose pull this is compared
//! with, begins with such a one as well.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::pull;
use super::run::{self, Ends, Losses, Span, append_time};
use crate::account::{Account, forget_peak, mb};
use crate::bridges::{Bridge, Kind, Place, Settings, start_subscribed};
use crate::options::Options;
use crate::report::goals::Goals;
use crate::report::table::Table;
use crate::rounds::Figures;
use crate::support::devices::sent::Sent;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::Record;
use crate::support::plots::{self, Line, Picture, Scale};
use crate::support::scene::ACK_LIMIT;

/// Messages a second that devices publish all the time.
const LIVE_RATE: u32 = 2_000;
const LIVE_PREFIX: &str = "live";
/// Where the memory is looked at, in sixteenths of the backlog; and the devices that publish up to there.
const STEPS: [(u64, &str); 5] = [(1, "ba"), (2, "bb"), (4, "bc"), (8, "bd"), (16, "be")];
const STEPS_IN_ALL: u64 = 16;
const WARM_UP: u64 = 4_000;
/// A live message that is stored later than this while the backlog drains has been starved, milliseconds.
const LATE_MS: u64 = 1_000;
/// A goal's word for "not starved": so many of the live messages are not late.
const IN_TIME: f64 = 0.99;

/// What one outage showed.
struct Drained {
    per_second: f64,
    cpu_per_100k: f64,
    /// Backlog and resident bytes.
    memory: Vec<(u64, f64)>,
    outage_rss: f64,
    drain_rss: f64,
    /// Part of the live messages of that time that were stored in time.
    live_in_time: f64,
    losses: Losses,
}

fn drain(kafka: &mut Kafka, kind: &Kind, messages: u64) -> Drained {
    let mosquitto = Mosquitto::start();
    let topic = run::topic(kafka);
    let place = Place {
        kafka,
        mosquitto: &mosquitto,
        topic: &topic,
    };
    let mut bridge = kind.at(place);
    start_subscribed(bridge.as_mut(), &mosquitto);
    let mut sent = run::publish(&mosquitto, "w", WARM_UP, Some(LIVE_RATE));
    Ends::of(kafka, &topic).until(WARM_UP);
    kafka.stop();
    forget_peak(bridge.id());
    let live = live(&mosquitto);
    let memory = gather(bridge.as_ref(), &mosquitto, messages, &mut sent);
    let outage = Account::of(bridge.id());
    forget_peak(bridge.id());
    kafka.restart();
    let waiting = run::sent_count(&sent) + live.acked();
    Ends::of(kafka, &topic).until(waiting);
    let draining = outage.until(&Account::of(bridge.id()));
    sent.merge(live.finish(ACK_LIMIT));
    let (records, verdict) = run::judge(kafka, bridge.as_mut(), &topic, &sent, kind);
    let appends = appends(&records);
    Drained {
        per_second: appends.per_second(),
        cpu_per_100k: draining.cpu_per_100k(waiting),
        memory,
        outage_rss: outage.until(&outage).peak_rss,
        drain_rss: draining.peak_rss,
        live_in_time: in_time(&records, &sent, appends),
        losses: Losses::of(&verdict),
    }
}

fn live(mosquitto: &Mosquitto) -> Devices {
    let plan = Plan {
        messages: None,
        ..run::plan(LIVE_PREFIX, 0, Some(LIVE_RATE))
    };
    Devices::start(mosquitto, &plan)
}

/// Lets the backlog grow step by step; how large it was, and the resident memory.
fn gather(bridge: &dyn Bridge, mosquitto: &Mosquitto, messages: u64, sent: &mut Sent) -> Vec<(u64, f64)> {
    let mut memory = Vec::new();
    let mut queued = 0;
    for (sixteenths, prefix) in STEPS {
        let goal = messages * sixteenths / STEPS_IN_ALL;
        sent.merge(run::publish(mosquitto, prefix, (goal - queued) / 4 * 4, None));
        queued = goal / 4 * 4;
        bridge.until_queued(queued);
        let now = Account::of(bridge.id());
        memory.push((queued, now.until(&now).rss));
    }
    memory
}

/// From the first append behind the outage to that of the backlog's last message, with the live ones in between.
fn appends(records: &[Record]) -> Span {
    let is_backlog = |record: &&Record| device(record).is_some_and(|device| device.starts_with('b'));
    let mut backlog = Span::default();
    for time in records.iter().filter(is_backlog).filter_map(append_time) {
        backlog.note(time);
    }
    let mut all = Span::default();
    for time in records.iter().filter_map(append_time) {
        if (backlog.first..=backlog.last).contains(&time) {
            all.note(time);
        }
    }
    all
}

fn device(record: &Record) -> Option<&str> {
    std::str::from_utf8(record.key.as_deref()?).ok()
}

/// Of the live messages that were published while the backlog drained, the part that was stored in time: the header says when.
fn in_time(records: &[Record], sent: &Sent, drain: Span) -> f64 {
    let (mut all, mut late) = (0_u32, 0_u32);
    for record in records {
        if !device(record).is_some_and(|device| device.starts_with(LIVE_PREFIX)) {
            continue;
        }
        let (Some((first, _)), Some(stored)) = (run::times(record, sent), arrival(record)) else {
            continue;
        };
        if (drain.first..=drain.last).contains(&first) {
            all += 1;
            late += u32::from(stored.saturating_sub(first) > LATE_MS * 1_000);
        }
    }
    1.0 - f64::from(late) / f64::from(all.max(1))
}

/// When it came to edgeferry, microseconds since 1970.
fn arrival(record: &Record) -> Option<u64> {
    let time = humantime::parse_rfc3339(record.header("edgeferry-arrival")?).ok()?;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_micros()).ok()
}

pub fn measure(kafka: &mut Kafka, options: &Options, goals: &mut Goals) -> Value {
    let kind = Kind::edgeferry("edgeferry", Settings::default());
    let direct = Kind::direct("direct", Settings::default());
    let (mut drained, mut pulled) = (Vec::new(), Figures::default());
    for _ in 0..options.few() {
        drained.push(drain(kafka, &kind, options.backlog));
        kafka.stop();
        kafka.restart();
        pulled.add(pull::pull(kafka, &direct, options.backlog).per_second);
    }
    let figures = |of: fn(&Drained) -> f64| drained.iter().map(of).collect::<Figures>();
    let rate = figures(|drained| drained.per_second);
    let mut table = Table::new(
        format!(
            "an outage of Kafka: {} messages gather, then leave while {LIVE_RATE} a second come",
            options.backlog
        ),
        &["", ""],
    );
    let mut row = |what: &str, word: String| table.row([what.to_owned(), word]);
    row("drained, messages/s", rate.to_string());
    row("the direct bridge pulls as many, messages/s", pulled.to_string());
    row(
        "CPU s/100k while draining",
        figures(|drained| drained.cpu_per_100k).to_string(),
    );
    let (outage, draining) = (
        figures(|drained| mb(drained.outage_rss)),
        figures(|drained| mb(drained.drain_rss)),
    );
    row("peak RSS in the outage, MB", format!("{outage:.1}"));
    row("peak RSS while draining, MB", format!("{draining:.1}"));
    let live = figures(|drained| drained.live_in_time * 100.0);
    row(
        "live messages stored within a second meanwhile, %",
        live.to_string(),
    );
    let losses: Vec<String> = drained.iter().map(|drained| drained.losses.to_string()).collect();
    row("lost, reordered, duplicates", losses.join("; "));
    table.print();
    goals.at_least(
        "drain: of the direct bridge's pull",
        rate.median() / pulled.median(),
        0.6,
    );
    goals.at_least(
        "live messages stored within a second meanwhile",
        live.least() / 100.0,
        IN_TIME,
    );
    goals.at_most("peak RSS in the outage, MB", outage.most(), 32.0);
    goals.at_most("peak RSS while draining, MB", draining.most(), 32.0);
    draw(&drained);
    json!({
        "messages": options.backlog,
        "per_second": rate.json(),
        "direct_pull_per_second": pulled.json(),
        "outage_peak_rss_mb": outage.json(),
        "drain_peak_rss_mb": draining.json(),
        "live_in_time_percent": live.json(),
        "memory": drained.iter().map(|drained| &drained.memory).collect::<Vec<_>>(),
        "losses": drained.iter().map(|drained| drained.losses.json()).collect::<Vec<_>>(),
    })
}

fn draw(drained: &[Drained]) {
    let lines: Vec<Line> = drained
        .iter()
        .zip(1..)
        .map(|(drained, round)| Line {
            name: format!("round {round}"),
            points: drained
                .memory
                .iter()
                .map(|(backlog, rss)| (*backlog as f64, mb(*rss)))
                .collect(),
        })
        .collect();
    let picture = Picture {
        file: "memory-against-backlog",
        title: "Resident memory while messages gather",
        x: "messages waiting",
        y: "MB",
        scale: Scale::Log,
    };
    plots::draw(&picture, &lines);
}
