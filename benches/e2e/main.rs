//! `./dev bench e2e`: Mosquitto to Kafka through the release binary, everything on this machine, beside the limits of what is around it
//! and a bridge without a store.
//!
//! * **throughput**: as fast as it goes, MQTT 5, MQTT 3.1.1 with a window of 20, exactly-once; and the limits.
//! * **pull**: what the broker has kept while the bridge was away.
//! * **drain**: what has gathered in an outage of Kafka, with live traffic going on.
//! * **latency**: 1,000 messages a second, from PUBLISH to Kafka's append. **idle**: ten a second.
//! * **load**: from 100 messages a second to more than it can carry; the pictures.
//! * **stages**: CPU, system calls and allocations of a message, by stage.
//! * **growth**: more routes, devices, bytes, brokers.
//! * **card**: a medium whose sync takes 1 to 100 ms.
//! * **link**: bytes on the way to Kafka. **far**: Kafka 100 ms away.
//!
//! [`bridges`] are what is compared, each a process of its own, whose CPU, memory and bytes are the kernel's account of it;
//! [`references`] are the limits; [`measures`] has a file for each part; [`report`] is what comes out. Everything is in the same run and
//! takes turns, because the machine is not the same from minute to minute: read ratios. Devices, Mosquitto, Kafka and the oracle share
//! the cores with the bridge.
//!
//! Prints tables, draws pictures and writes `target/bench/e2e.json`. Messages that edgeferry lost or reordered end it with an error.

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
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts, rates and bytes of one run are far below 2⁵², and above 0"
)]

mod account;
mod bridges;
mod child;
mod measures;
mod options;
mod references;
mod report;
mod rounds;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;

use measures::{card, drain, far, growth, latency, link, load, pull, stages, throughput};
use options::{Options, Part};
use report::goals::Goals;
use support::kafka::Kafka;
use support::telemetry::{USUAL_BYTES, reading};

/// So many records make Kafka's compiler settle.
const WARM_UP_RECORDS: u64 = 100_000;

fn main() {
    if child::was_one() {
        return;
    }
    let options = Options::from_arguments(std::env::args().skip(1)).unwrap_or_else(|complaint| {
        eprintln!("e2e: {complaint}\n{}", options::USAGE);
        std::process::exit(64);
    });
    let began = Instant::now();
    let mut kafka = Kafka::start_for_benchmark();
    warm_up(&kafka);
    let mut goals = Goals::default();
    let mut result = json!({});
    if options.has(Part::Throughput) {
        result["throughput"] = throughput::measure(&kafka, &options, &mut goals);
    }
    if options.has(Part::Pull) {
        result["pull"] = pull::measure(&kafka, &options, &mut goals);
    }
    if options.has(Part::Latency) {
        result["latency"] = latency::measure(&kafka, &options, &mut goals);
    }
    if options.has(Part::Idle) {
        result["idle"] = latency::idle(&kafka, &options, &mut goals);
    }
    if options.has(Part::Load) {
        result["load"] = load::measure(&kafka, &options);
    }
    if options.has(Part::Stages) {
        result["stages"] = stages::measure(&kafka, &options);
    }
    if options.has(Part::Growth) {
        result["growth"] = growth::measure(&kafka, &options, &mut goals);
    }
    if options.has(Part::Card) {
        result["card"] = card::measure(&kafka, &options, &mut goals);
    }
    if options.has(Part::Link) {
        result["link"] = link::measure(&kafka, &options);
    }
    if options.has(Part::Far) {
        result["far"] = far::measure(&kafka, &options);
    }
    // The last one: it takes Kafka away.
    if options.has(Part::Drain) {
        result["drain"] = drain::measure(&mut kafka, &options, &mut goals);
    }
    result["goals"] = goals.print();
    let path = report::write(&result);
    println!("\nwritten to {}; {:.0?} in all", path.display(), began.elapsed());
}

fn warm_up(kafka: &Kafka) {
    let topic = kafka.fresh_topic("warm-up");
    let producer: BaseProducer = kafka
        .client()
        .set("enable.idempotence", "true")
        .create()
        .expect("a plain producer");
    for seq in 0..WARM_UP_RECORDS {
        let value = reading("warm", seq, USUAL_BYTES);
        let mut record = BaseRecord::<[u8], [u8]>::to(&topic).key(b"warm").payload(&value);
        // The producer's queue holds as many records as this loop makes; it is emptied on the way.
        while let Err((_, back)) = producer.send(record) {
            producer.poll(Duration::from_millis(10));
            record = back;
        }
    }
    producer.flush(Duration::from_mins(1)).expect("kafka takes them");
}
