//! `./dev bench e2e`: Mosquitto to Kafka through the release binary, everything on this machine.
//!
//! Throughput: 200,000 QoS 1 messages of 200 bytes from 100 devices, as fast as the broker takes them.
//! Latency: 1,000 messages per second, from the device's `write` to the record in a consumer's hands.
//! Exactly once against at least once, in turn, with a `read_committed` consumer that takes everything.
//! Devices, Mosquitto, Kafka and the consumer share the cores with edgeferry: the rate is that of the
//! whole machine, the CPU seconds are edgeferry's own.
//!
//! Prints a table and writes `target/bench/e2e.json`. Lost or reordered messages end it with an error.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints, and what it measures with fails by panicking"
)]
#![expect(
    clippy::cast_precision_loss,
    reason = "counts and bytes of one run are far below 2⁵²"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use support::config::Config;
use support::devices::Plan;
use support::devices::sent::Sent;
use support::kafka::Kafka;
use support::mosquitto::Mosquitto;
use support::oracle::{Oracle, PATIENCE, Record, Verdict};
use support::payload::{USUAL_BYTES, origin, payload};
use support::proc_stats::Stats;
use support::scene::{ACK_LIMIT, Scene};
use support::wait;

const MESSAGES: u64 = 200_000;
const DEVICES: usize = 100;
/// So many records make Kafka's compiler settle.
const WARM_UP_RECORDS: u64 = 100_000;
/// Rounds of each delivery mode: the machine is not the same from minute to minute.
const ROUNDS: usize = 2;
const LATENCY_RATE: u32 = 1_000;
const LATENCY_MESSAGES: u64 = 20_000;
/// `queue.commit_interval` as shipped, and without any wait.
const COMMIT_INTERVALS: [&str; 2] = ["10ms", "0ms"];

fn main() {
    let kafka = Kafka::start_for_benchmark();
    warm_up(&kafka);
    let throughput = throughput(&kafka);
    let latencies = COMMIT_INTERVALS.map(|interval| latency(&kafka, interval));
    let deliveries = Deliveries::measure(&kafka);
    print(&throughput, &latencies);
    deliveries.print();
    let path = write_json(&throughput, &latencies, &deliveries);
    println!("\nwritten to {}", path.display());
    throughput.verdict.assert_clean();
    for latency in &latencies {
        latency.verdict.assert_clean();
    }
    deliveries.assert_clean();
}

/// At least once and exactly once, in turn.
struct Deliveries {
    at_least_once: Vec<Read>,
    exactly_once: Vec<Read>,
    /// At [`LATENCY_RATE`], exactly once.
    latency: Latency,
}

/// The whole load, until a consumer has it.
struct Read {
    took: Duration,
    verdict: Verdict,
}

impl Deliveries {
    fn measure(kafka: &Kafka) -> Self {
        let (mut at_least_once, mut exactly_once) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            at_least_once.push(read(kafka, |config| config));
            exactly_once.push(read(kafka, Config::exactly_once));
        }
        Self {
            at_least_once,
            exactly_once,
            latency: latency_of(kafka, COMMIT_INTERVALS[0], Config::exactly_once),
        }
    }

    fn rate(reads: &[Read]) -> f64 {
        let took: Duration = reads.iter().map(|read| read.took).sum();
        MESSAGES as f64 * reads.len() as f64 / took.as_secs_f64()
    }

    fn ratio(&self) -> f64 {
        Self::rate(&self.exactly_once) / Self::rate(&self.at_least_once)
    }

    fn print(&self) {
        println!("\nThe same load until a read_committed consumer has it, {ROUNDS} rounds in turn");
        println!(
            "  at least once, msg/s            {:>10.0}",
            Self::rate(&self.at_least_once)
        );
        println!(
            "  exactly once, msg/s             {:>10.0}",
            Self::rate(&self.exactly_once)
        );
        println!("  exactly once / at least once    {:>10.2}", self.ratio());
        println!("\n{LATENCY_RATE} messages per second, exactly once, from device to consumer");
        println!(
            "  p50, ms                         {:>10.1}",
            self.latency.millis(0.50)
        );
        println!(
            "  p99, ms                         {:>10.1}",
            self.latency.millis(0.99)
        );
        print!("{}", self.latency.verdict);
    }

    fn assert_clean(&self) {
        for read in self.at_least_once.iter().chain(&self.exactly_once) {
            read.verdict.assert_clean();
        }
        self.latency.verdict.assert_clean();
    }
}

fn read(kafka: &Kafka, change: fn(Config) -> Config) -> Read {
    let mut scene = Scene::start("5", kafka, Mosquitto::start(), change);
    let mut oracle = Oracle::new(kafka, &scene.topic);
    let started = Instant::now();
    let plan = Plan {
        devices: DEVICES,
        messages: Some(MESSAGES),
        rate: None,
        ..Plan::default()
    };
    let devices = scene.devices(&plan);
    oracle.first(usize::try_from(MESSAGES).expect("a small number"));
    let took = started.elapsed();
    let sent = devices.finish(ACK_LIMIT);
    oracle.until_all_there(&sent, PATIENCE);
    scene.daemon.terminate();
    let verdict = oracle.verdict(&sent);
    Read { took, verdict }
}

/// What one run over the whole load showed.
struct Throughput {
    took: Duration,
    used: Stats,
    peak_rss: u64,
    verdict: Verdict,
}

impl Throughput {
    fn rate(&self) -> f64 {
        MESSAGES as f64 / self.took.as_secs_f64()
    }

    fn cpu_per_100k(&self) -> f64 {
        self.used.cpu.as_secs_f64() * 100_000.0 / MESSAGES as f64
    }

    fn written_per_payload_byte(&self) -> f64 {
        self.used.written as f64 / (MESSAGES as f64 * USUAL_BYTES as f64)
    }
}

/// What a steady load showed.
struct Latency {
    commit_interval: &'static str,
    micros: Histogram<u64>,
    verdict: Verdict,
}

impl Latency {
    fn millis(&self, quantile: f64) -> f64 {
        self.micros.value_at_quantile(quantile) as f64 / 1000.0
    }
}

fn throughput(kafka: &Kafka) -> Throughput {
    let mut scene = Scene::start("5", kafka, Mosquitto::start(), |config| config);
    let mut oracle = Oracle::new(kafka, &scene.topic);
    let before = scene.daemon.stats();
    let started = Instant::now();
    let plan = Plan {
        devices: DEVICES,
        messages: Some(MESSAGES),
        rate: None,
        ..Plan::default()
    };
    let devices = scene.devices(&plan);
    // Only the ends of the partitions are asked for: reading would take the cores from what is measured.
    let expected = i64::try_from(MESSAGES).expect("a small number");
    wait::until("all messages are in kafka", Duration::from_mins(5), || {
        (oracle.available() >= expected).then_some(())
    });
    let took = started.elapsed();
    let after = scene.daemon.stats();
    let peak_rss = scene.daemon.peak_rss();
    let sent = devices.finish(ACK_LIMIT);
    oracle.until_all_there(&sent, PATIENCE);
    scene.daemon.terminate();
    let used = Stats {
        cpu: after.cpu.saturating_sub(before.cpu),
        written: after.written.saturating_sub(before.written),
        ..after
    };
    Throughput {
        took,
        used,
        peak_rss,
        verdict: oracle.verdict(&sent),
    }
}

fn latency(kafka: &Kafka, commit_interval: &'static str) -> Latency {
    latency_of(kafka, commit_interval, |config| config)
}

fn latency_of(kafka: &Kafka, commit_interval: &'static str, change: fn(Config) -> Config) -> Latency {
    let mut scene = Scene::start("5", kafka, Mosquitto::start(), |config| {
        change(config).queue(&format!("commit_interval = \"{commit_interval}\""))
    });
    let mut oracle = Oracle::new(kafka, &scene.topic);
    let plan = Plan {
        devices: DEVICES,
        messages: Some(LATENCY_MESSAGES),
        rate: Some(LATENCY_RATE),
        ..Plan::default()
    };
    let devices = scene.devices(&plan);
    // The consumer has to be waiting when a record comes.
    oracle.first(usize::try_from(LATENCY_MESSAGES).expect("a small number"));
    let sent = devices.finish(ACK_LIMIT);
    oracle.until_all_there(&sent, PATIENCE);
    scene.daemon.terminate();
    let verdict = oracle.verdict(&sent);
    let mut micros = Histogram::new(3).expect("three digits are possible");
    for waited in oracle.records().iter().filter_map(|record| waited(record, &sent)) {
        micros
            .record(u64::try_from(waited.as_micros()).expect("less than years"))
            .expect("it resizes");
    }
    Latency {
        commit_interval,
        micros,
        verdict,
    }
}

/// From the first time that the device sent it until the consumer had it.
fn waited(record: &Record, sent: &Sent) -> Option<Duration> {
    let (device, seq) = origin(&record.value)?;
    let first: SystemTime = sent.devices.get(&device)?.get(&seq)?.first;
    record.seen.duration_since(first).ok()
}

fn warm_up(kafka: &Kafka) {
    let topic = kafka.fresh_topic("warm-up");
    let producer: BaseProducer = kafka
        .client()
        .set("enable.idempotence", "true")
        .create()
        .expect("a plain producer");
    for seq in 0..WARM_UP_RECORDS {
        let value = payload("warm", seq, USUAL_BYTES);
        let mut record = BaseRecord::<[u8], [u8]>::to(&topic).key(b"warm").payload(&value);
        // The producer's queue holds as many records as this loop makes; it is emptied on the way.
        while let Err((_, back)) = producer.send(record) {
            producer.poll(Duration::from_millis(10));
            record = back;
        }
    }
    producer.flush(Duration::from_mins(1)).expect("kafka takes them");
}

fn print(throughput: &Throughput, latencies: &[Latency]) {
    let megabytes = throughput.peak_rss as f64 / 1e6;
    println!("{MESSAGES} QoS 1 messages of {USUAL_BYTES} bytes from {DEVICES} devices, Mosquitto to Kafka");
    println!("  messages per second, end to end {:>10.0}", throughput.rate());
    println!(
        "  CPU seconds per 100,000         {:>10.2}",
        throughput.cpu_per_100k()
    );
    println!("  peak RSS, MB                    {megabytes:>10.1}");
    println!(
        "  bytes written per payload byte  {:>10.2}",
        throughput.written_per_payload_byte()
    );
    print!("{}", throughput.verdict);
    for latency in latencies {
        let interval = latency.commit_interval;
        println!("\n{LATENCY_RATE} messages per second, from device to consumer, commit_interval {interval}");
        println!("  p50, ms                         {:>10.1}", latency.millis(0.50));
        println!("  p99, ms                         {:>10.1}", latency.millis(0.99));
        println!("  largest, ms                     {:>10.1}", latency.millis(1.0));
        print!("{}", latency.verdict);
    }
}

fn write_json(throughput: &Throughput, latencies: &[Latency], deliveries: &Deliveries) -> PathBuf {
    let verdict = |verdict: &Verdict| {
        serde_json::json!({
            "lost": verdict.lost.len(),
            "reordered": verdict.reordered.len(),
            "duplicates": verdict.records.saturating_sub(verdict.expected),
        })
    };
    let json = serde_json::json!({
        "messages": MESSAGES,
        "payload_bytes": USUAL_BYTES,
        "devices": DEVICES,
        "messages_per_second": throughput.rate(),
        "cpu_seconds_per_100k": throughput.cpu_per_100k(),
        "peak_rss_bytes": throughput.peak_rss,
        "written_per_payload_byte": throughput.written_per_payload_byte(),
        "throughput_verdict": verdict(&throughput.verdict),
        "at_least_once_read_per_second": Deliveries::rate(&deliveries.at_least_once),
        "exactly_once_read_per_second": Deliveries::rate(&deliveries.exactly_once),
        "exactly_once_ratio": deliveries.ratio(),
        "exactly_once_p50_ms": deliveries.latency.millis(0.50),
        "exactly_once_p99_ms": deliveries.latency.millis(0.99),
        "latency_rate": LATENCY_RATE,
        "latencies": latencies.iter().map(|latency| serde_json::json!({
            "commit_interval": latency.commit_interval,
            "p50_ms": latency.millis(0.50),
            "p99_ms": latency.millis(0.99),
            "verdict": verdict(&latency.verdict),
        })).collect::<Vec<_>>(),
    });
    // Cargo's folder for temporary files lies in the target folder, wherever that is.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("it has a parent");
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    let path = folder.join("e2e.json");
    let text = serde_json::to_string_pretty(&json).expect("plain data");
    std::fs::write(&path, text + "\n").expect("the target folder is writable");
    path
}
