//! Where a message costs what: CPU, waits, system calls and allocations of each stage, which are threads.
//!
//! CPU and waits are the kernel's account of each thread. System calls and allocations are counted by `perf`, beside the process; where the
//! kernel does not let it, they are left out with a word.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::run::{self, Ends};
use crate::bridges::{Kind, Place, Settings, start_subscribed};
use crate::options::Options;
use crate::references::counters::{Count, Counters};
use crate::report::table::Table;
use crate::support::devices::Devices;
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::ACK_LIMIT;
use crate::support::threads::{Spent, Work};

/// Messages a second; `None` is as fast as it goes.
const RATES: [Option<u32>; 3] = [Some(10), Some(1_000), None];
const WARM_UP: u64 = 4_000;
const WARM_UP_RATE: u32 = 4_000;
/// Stages, by how their threads' names begin, in the direction of the data.
const STAGES: [(&str, &str); 6] = [
    ("edgeferry", "MQTT, and all that only waits"),
    ("queue writer", "queue: packing, sealing, storing, syncing"),
    ("sled-io", "sled's threads"),
    ("sink", "reading, routing, handing over, cursor"),
    ("rdk:", "Kafka client: batches, compression, sockets"),
    ("kafka events", "delivery reports"),
];
const OTHERS: &str = "others";

/// What one stage did.
#[derive(Debug, Clone, Copy, Default)]
struct Stage {
    spent: Spent,
    count: Count,
}

struct Profile {
    messages: u64,
    stages: BTreeMap<&'static str, Stage>,
    is_counted: bool,
}

fn stage_of(thread: &str) -> &'static str {
    let found = STAGES.iter().find(|(begin, _)| thread.starts_with(begin));
    found.map_or(OTHERS, |(_, stage)| stage)
}

/// One load through a bridge; what is looked at while it passes.
fn watch<T>(
    kafka: &Kafka,
    rate: Option<u32>,
    messages: u64,
    begin: impl FnOnce(u32) -> T,
) -> (T, BTreeMap<String, Spent>) {
    let mosquitto = Mosquitto::start();
    let topic = run::topic(kafka);
    let place = Place {
        kafka,
        mosquitto: &mosquitto,
        topic: &topic,
    };
    let kind = Kind::edgeferry("edgeferry", Settings::default());
    let mut bridge = kind.at(place);
    start_subscribed(bridge.as_mut(), &mosquitto);
    let ends = Ends::of(kafka, &topic);
    let mut sent = run::publish(&mosquitto, run::WARM_UP_PREFIX, WARM_UP, Some(WARM_UP_RATE));
    ends.until(WARM_UP);
    let looked = begin(bridge.id());
    let before = Work::of(bridge.id());
    let devices = Devices::start(&mosquitto, &run::plan("d", messages, rate));
    ends.until(WARM_UP + messages);
    let work = Work::of(bridge.id()).since(&before);
    sent.merge(devices.finish(ACK_LIMIT));
    run::judge(kafka, bridge.as_mut(), &topic, &sent, &kind);
    (looked, work)
}

/// Twice the same: to count an allocation costs more than the allocation.
fn profile(kafka: &Kafka, rate: Option<u32>, messages: u64) -> Profile {
    let ((), work) = watch(kafka, rate, messages, |_| ());
    let (counters, _) = watch(kafka, rate, messages, Counters::start);
    let mut stages = BTreeMap::<&'static str, Stage>::new();
    for (thread, spent) in work {
        let stage = stages.entry(stage_of(&thread)).or_default();
        stage.spent.cpu += spent.cpu;
        stage.spent.wakeups += spent.wakeups;
    }
    let counts = counters.map(Counters::finish);
    let is_counted = counts.is_some();
    for (thread, count) in counts.unwrap_or_default() {
        stages.entry(stage_of(&thread)).or_default().count += count;
    }
    Profile {
        messages,
        stages,
        is_counted,
    }
}

pub fn measure(kafka: &Kafka, options: &Options) -> Value {
    let mut result = Vec::new();
    for rate in RATES {
        let messages = rate.map_or(options.messages, |rate| {
            u64::from(rate) * options.steady_seconds / 4 * 4
        });
        let profile = profile(kafka, rate, messages);
        let title = rate.map_or_else(
            || "stages, as fast as it goes".to_owned(),
            |rate| format!("stages, {rate} messages a second"),
        );
        profile.print(&title);
        result.push(json!({ "rate": rate, "messages": messages, "stages": profile.json() }));
    }
    result.into()
}

impl Profile {
    fn print(&self, title: &str) {
        let mut table = Table::new(
            format!("{title}: of one message"),
            &["", "CPU, µs", "waits", "system calls", "syncs", "allocations"],
        );
        let mut all = Stage::default();
        for name in STAGES.iter().map(|(_, stage)| *stage).chain([OTHERS]) {
            let stage = self.stages.get(name).copied().unwrap_or_default();
            all.spent.cpu += stage.spent.cpu;
            all.spent.wakeups += stage.spent.wakeups;
            all.count += stage.count;
            table.row(self.words(name, &stage));
        }
        table.row(self.words("all", &all));
        table.print();
    }

    fn words(&self, name: &str, stage: &Stage) -> [String; 6] {
        let each = |count: u64| count as f64 / self.messages as f64;
        let counted = |count: u64| match self.is_counted {
            true => format!("{:.3}", each(count)),
            false => "–".to_owned(),
        };
        [
            name.to_owned(),
            format!(
                "{:.2}",
                stage.spent.cpu.as_secs_f64() * 1e6 / self.messages as f64
            ),
            format!("{:.3}", each(stage.spent.wakeups)),
            counted(stage.count.calls),
            counted(stage.count.syncs),
            counted(stage.count.allocations),
        ]
    }

    fn json(&self) -> Value {
        let stages = self.stages.iter().map(|(name, stage)| {
            json!({
                "stage": name,
                "cpu_us": stage.spent.cpu.as_secs_f64() * 1e6,
                "waits": stage.spent.wakeups,
                "system_calls": self.is_counted.then_some(stage.count.calls),
                "syncs": self.is_counted.then_some(stage.count.syncs),
                "allocations": self.is_counted.then_some(stage.count.allocations),
            })
        });
        stages.collect::<Vec<_>>().into()
    }
}
