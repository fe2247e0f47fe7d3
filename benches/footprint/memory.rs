//! Memory at rest, under load, in an outage and behind it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fleet::Gateway;
use crate::goals::Goals;
use crate::options::Options;
use crate::sample::{Memory, Rest, Work, forget_peak};
use crate::support::wait;
use crate::variant::{Parts, VARIANTS, Variant};

/// What the goal is for.
const RATE: u32 = 5_000;
/// Until what a start or a load needed for a moment is given back.
const SETTLE: Duration = Duration::from_secs(5);
const IDLE_GOAL_MB: f64 = 12.0;
const LOAD_GOAL_MB: f64 = 32.0;

pub fn table(parts: &Parts, options: &Options, goals: &mut Goals) -> Value {
    println!(
        "memory, MB: at rest after 100 messages; {RATE} messages a second for {:?}; at rest after that",
        options.load
    );
    println!(
        "{:>22} {:>7} {:>7} {:>7} {:>8} {:>10} {:>10} {:>8} {:>9} {:>8} {:>7}",
        "",
        "rest",
        "PSS",
        "heap",
        "threads",
        "load, peak",
        "load, heap",
        "load CPU",
        "delivered",
        "rest",
        "heap"
    );
    let mut first = None;
    let rows = VARIANTS.iter().map(|variant| {
        let row = Row::measure(*variant, parts, options);
        row.print(first.as_ref());
        let json = row.json();
        if first.is_none() {
            goals.note("RSS at rest, MB", mb(row.rest.rss), IDLE_GOAL_MB);
            goals.note(
                "RSS at 5,000 messages a second, MB",
                mb(row.load.peak),
                LOAD_GOAL_MB,
            );
            first = Some(row);
        }
        json
    });
    let rows: Vec<Value> = rows.collect();
    println!();
    rows.into()
}

struct Row {
    variant: Variant,
    rest: Memory,
    load: Memory,
    load_cpu_percent: f64,
    per_second: f64,
    after: Memory,
}

impl Row {
    fn measure(variant: Variant, parts: &Parts, options: &Options) -> Self {
        let mosquitto = &parts.mqtt.mosquitto;
        let mut gateway = Gateway::start(variant, parts);
        let id = gateway.id();
        wait::let_pass("at rest", SETTLE);
        let rest = Memory::of(id);
        forget_peak(id);
        let (began, before) = (Instant::now(), Work::of(id));
        let messages = u64::from(RATE) * options.load.as_secs();
        gateway.publish(mosquitto, messages, Some(RATE));
        let load = Memory::of(id);
        gateway.until_delivered();
        let per_second = messages as f64 / began.elapsed().as_secs_f64();
        let load_cpu_percent = Rest::between(&before, &Work::of(id)).cpu_percent;
        wait::let_pass("at rest again", SETTLE);
        let after = Memory::of(id);
        gateway.end();
        Self {
            variant,
            rest,
            load,
            load_cpu_percent,
            per_second,
            after,
        }
    }

    /// The first row as it is, all others as what they add to it.
    fn print(&self, first: Option<&Self>) {
        let add = |own: u64, of: fn(&Self) -> u64| match first {
            Some(first) => format!("{:+.1}", mb(own) - mb(of(first))),
            None => format!("{:.1}", mb(own)),
        };
        println!(
            "{:>22} {:>7} {:>7} {:>7} {:>8} {:>10} {:>10} {:>7.1}% {:>7.0}/s {:>8} {:>7}",
            self.variant.name(),
            add(self.rest.rss, |row| row.rest.rss),
            add(self.rest.pss, |row| row.rest.pss),
            add(self.rest.anonymous, |row| row.rest.anonymous),
            self.rest.threads,
            add(self.load.peak, |row| row.load.peak),
            add(self.load.anonymous, |row| row.load.anonymous),
            self.load_cpu_percent,
            self.per_second,
            add(self.after.rss, |row| row.after.rss),
            add(self.after.anonymous, |row| row.after.anonymous),
        );
    }

    fn json(&self) -> Value {
        json!({
            "variant": self.variant.name(),
            "at_rest": self.rest.json(),
            "under_load": self.load.json(),
            "load_per_second": RATE,
            "delivered_per_second": self.per_second,
            "load_cpu_percent": self.load_cpu_percent,
            "at_rest_after_load": self.after.json(),
        })
    }
}

/// Kafka goes away, messages gather, it comes back.
pub fn backlog(parts: &mut Parts, options: &Options, goals: &mut Goals) -> Value {
    println!("memory in an outage of Kafka, one lane without TLS, MB");
    println!(
        "{:>32} {:>8} {:>8} {:>8} {:>10} {:>10}",
        "", "RSS", "peak", "heap", "messages/s", "CPU s/100k"
    );
    let mut gateway = Gateway::start(Variant::Plain, parts);
    let id = gateway.id();
    wait::let_pass("at rest", SETTLE);
    let mut rows = vec![row("before", &Memory::of(id), None)];
    parts.kafka.stop();
    let mut queued = 0;
    for length in options.backlogs {
        forget_peak(id);
        let (began, before) = (Instant::now(), Work::of(id).cpu());
        gateway.publish(&parts.mqtt.mosquitto, length - queued, None);
        gateway.until_queued(length);
        let took = Took::since(began, before, id, length - queued);
        queued = length;
        let memory = Memory::of(id);
        goals.note(
            &format!("RSS with {length} messages waiting, MB"),
            mb(memory.peak),
            LOAD_GOAL_MB,
        );
        rows.push(row(&format!("{length} messages taken"), &memory, Some(&took)));
        wait::let_pass("Kafka stays away", SETTLE);
        rows.push(row(&format!("{length} messages wait"), &Memory::of(id), None));
    }
    forget_peak(id);
    let before = Work::of(id).cpu();
    parts.kafka.restart();
    let began = Instant::now();
    gateway.until_delivered();
    let took = Took::since(began, before, id, queued);
    let memory = Memory::of(id);
    goals.note(
        &format!("RSS while {queued} messages drain, MB"),
        mb(memory.peak),
        LOAD_GOAL_MB,
    );
    rows.push(row(&format!("{queued} messages drained"), &memory, Some(&took)));
    wait::let_pass("at rest", SETTLE);
    rows.push(row("after", &Memory::of(id), None));
    gateway.end();
    println!();
    rows.into()
}

struct Took {
    per_second: f64,
    cpu_per_100k: f64,
}

impl Took {
    fn since(began: Instant, cpu: Duration, id: u32, messages: u64) -> Self {
        let used = Work::of(id).cpu().saturating_sub(cpu);
        Self {
            per_second: messages as f64 / began.elapsed().as_secs_f64(),
            cpu_per_100k: used.as_secs_f64() * 1e5 / messages as f64,
        }
    }
}

fn row(what: &str, memory: &Memory, took: Option<&Took>) -> Value {
    let word = |figure: Option<f64>, digits: usize| {
        figure.map_or_else(String::new, |figure| format!("{figure:.digits$}"))
    };
    println!(
        "{what:>32} {:>8.1} {:>8.1} {:>8.1} {:>10} {:>10}",
        mb(memory.rss),
        mb(memory.peak),
        mb(memory.anonymous),
        word(took.map(|took| took.per_second), 0),
        word(took.map(|took| took.cpu_per_100k), 2),
    );
    json!({
        "when": what,
        "memory": memory.json(),
        "per_second": took.map(|took| took.per_second),
        "cpu_s_per_100k": took.map(|took| took.cpu_per_100k),
    })
}

pub fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
