//! Memory at rest, under load, in an outage and behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fleet::Gateway;
use crate::goals::Goals;
use crate::options::Options;
use crate::sample::{Memory, Rest, forget_peak};
use crate::support::proc_stats::MemoryWatch;
use crate::support::threads::Work;
use crate::support::wait;
use crate::variant::{Parts, VARIANTS, Variant};

/// What the goal is for.
const RATE: u32 = 5_000;
/// Until what a start or a load needed for a moment is given back.
const SETTLE: Duration = Duration::from_secs(5);
/// Until a lane that has nothing to do has given back what it holds open.
const AFTERWARDS: Duration = Duration::from_secs(15);
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

/// Kafka goes away, messages gather, it comes back: what is held while they come, while they wait, and while they drain.
pub fn backlog(parts: &mut Parts, options: &Options, goals: &mut Goals) -> Value {
    println!(
        "memory in an outage of Kafka, one lane without TLS, MB: at the end of each phase, and the most within it"
    );
    println!(
        "{:>32} {:>8} {:>8} {:>8} {:>10} {:>10} {:>10}",
        "", "RSS", "peak", "heap", "heap, peak", "messages/s", "CPU s/100k"
    );
    let mut gateway = Gateway::start(Variant::Plain, parts);
    let id = gateway.id();
    let before = Phase::begin(id);
    wait::let_pass("at rest", SETTLE);
    let mut rows = vec![before.end("before", 0)];
    parts.kafka.stop();
    let mut queued = 0;
    for length in options.backlogs {
        let taking = Phase::begin(id);
        gateway.publish(&parts.mqtt.mosquitto, length - queued, None);
        gateway.until_queued(length);
        let taken = taking.end(&format!("{length} messages taken"), length - queued);
        queued = length;
        let waiting = Phase::begin(id);
        wait::let_pass("Kafka stays away", SETTLE);
        let waited = waiting.end(&format!("{length} messages wait"), 0);
        goals.note(
            &format!("RSS, {length} messages coming, MB"),
            taken.peak_mb(),
            LOAD_GOAL_MB,
        );
        goals.note(
            &format!("RSS, {length} messages waiting, MB"),
            waited.peak_mb(),
            LOAD_GOAL_MB,
        );
        rows.extend([taken, waited]);
    }
    let draining = Phase::begin(id);
    parts.kafka.restart();
    gateway.until_delivered();
    let drained = draining.end(&format!("{queued} messages drained"), queued);
    goals.note(
        &format!("RSS, {queued} messages draining, MB"),
        drained.peak_mb(),
        LOAD_GOAL_MB,
    );
    let resting = Phase::begin(id);
    wait::let_pass("at rest", AFTERWARDS);
    rows.extend([drained, resting.end("after", 0)]);
    gateway.end();
    println!();
    rows.iter().map(Measured::json).collect::<Vec<_>>().into()
}

/// A stretch of time, and the memory that the daemon holds within it.
struct Phase {
    id: u32,
    began: Instant,
    cpu: Duration,
    /// The kernel keeps no maximum of what is no part of a file.
    heap_peak: Arc<AtomicU64>,
    watch: MemoryWatch,
}

impl Phase {
    fn begin(id: u32) -> Self {
        forget_peak(id);
        let heap_peak = Arc::default();
        Self {
            id,
            began: Instant::now(),
            cpu: Work::of(id).cpu(),
            watch: MemoryWatch::start(id, Arc::clone(&heap_peak)),
            heap_peak,
        }
    }

    /// Prints it as a row; `messages` is how many went through in it.
    fn end(self, what: &str, messages: u64) -> Measured {
        let memory = Memory::of(self.id);
        let cpu = Work::of(self.id).cpu().saturating_sub(self.cpu);
        let took = self.began.elapsed();
        drop(self.watch);
        let measured = Measured {
            what: what.to_owned(),
            memory,
            heap_peak: self.heap_peak.load(Ordering::Relaxed).max(memory.anonymous),
            per_second: (messages > 0).then(|| messages as f64 / took.as_secs_f64()),
            cpu_per_100k: (messages > 0).then(|| cpu.as_secs_f64() * 1e5 / messages as f64),
        };
        measured.print();
        measured
    }
}

struct Measured {
    what: String,
    /// At the end of the phase, but for the peak.
    memory: Memory,
    heap_peak: u64,
    per_second: Option<f64>,
    cpu_per_100k: Option<f64>,
}

impl Measured {
    fn peak_mb(&self) -> f64 {
        mb(self.memory.peak)
    }

    fn print(&self) {
        let word = |figure: Option<f64>, digits: usize| {
            figure.map_or_else(String::new, |figure| format!("{figure:.digits$}"))
        };
        println!(
            "{:>32} {:>8.1} {:>8.1} {:>8.1} {:>10.1} {:>10} {:>10}",
            self.what,
            mb(self.memory.rss),
            self.peak_mb(),
            mb(self.memory.anonymous),
            mb(self.heap_peak),
            word(self.per_second, 0),
            word(self.cpu_per_100k, 2),
        );
    }

    fn json(&self) -> Value {
        json!({
            "when": self.what,
            "memory": self.memory.json(),
            "peak_anonymous": self.heap_peak,
            "per_second": self.per_second,
            "cpu_s_per_100k": self.cpu_per_100k,
        })
    }
}

pub fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
