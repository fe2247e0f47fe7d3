//! librdkafka's own rate: edgeferry's Kafka client with its own settings, given records that were made before.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeferry::clock::Told;
use edgeferry::config;
use edgeferry::message::{Arrival, Epoch, Seq, Stamp, Stored};
use edgeferry::queue::Share;
use edgeferry::route::{KafkaRecord, Router};
use edgeferry::signal::Signal;
use edgeferry::sink::KafkaConnector;
use edgeferry::sink::producer::{Connector as _, Producer as _, SubmitError};
use serde_json::{Value, json};

use crate::bridges::{Place, Settings};
use crate::child;
use crate::support::config::GATEWAY;
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::scratch::Scratch;
use crate::support::telemetry::{USUAL_BYTES, reading};

/// Made before, and sent again and again: their contents differ as those of devices do.
const RECORDS: u64 = 10_000;
const DEVICES: u64 = 100;
const WAIT: Duration = Duration::from_secs(1);

/// Records a second until Kafka has confirmed `messages` of them.
pub fn rate(kafka: &Kafka, messages: u64) -> f64 {
    let folder = Scratch::new("producer");
    let topic = kafka.fresh_topic("producer");
    // A configuration names a broker; nobody connects to this one.
    let mosquitto = Mosquitto::absent();
    let place = Place {
        kafka,
        mosquitto: &mosquitto,
        topic: &topic,
    };
    let text = Settings::default().config_text(place, &folder.join("store"));
    std::fs::write(folder.join("edgeferry.toml"), text).expect("the folder is writable");
    let case = json!({ "role": "producer", "folder": folder.path(), "messages": messages });
    child::run(&case)["per_second"].as_f64().expect("a number")
}

/// The process from inside.
pub fn run(folder: &Path, case: &Value) -> Value {
    let (config, _) = config::load(&folder.join("edgeferry.toml")).expect("we wrote it");
    let messages = case["messages"].as_u64().expect("a number");
    let records = records(&Router::new(config.routes.clone(), GATEWAY, "default"));
    let reported = Arc::<Signal>::default();
    let wake = Arc::clone(&reported);
    let wake = Arc::new(move || wake.raise());
    let connector = KafkaConnector::new(&config.kafka, "producer", Share::default(), None, wake);
    let mut producer = { connector }.connect().expect("plain settings");
    let mut confirmed = 0;
    let mut count = |producer: &mut edgeferry::sink::kafka::KafkaProducer| {
        for report in producer.reports() {
            assert_eq!(report.outcome, Ok(()), "Kafka did not take a record");
            confirmed += 1;
        }
        confirmed
    };
    // The client connects and learns about the topic with the first record.
    producer.submit(&records[0], None, 0).expect("there is room");
    while count(&mut producer) < 1 {
        reported.wait(WAIT);
    }
    let began = Instant::now();
    for (ticket, record) in (1..=messages).zip(records.iter().cycle()) {
        loop {
            let ticket = usize::try_from(ticket).expect("64 bits");
            match producer.submit(record, None, ticket) {
                Ok(()) => break,
                Err(SubmitError::Full) => reported.wait(WAIT),
                Err(refused) => panic!("Kafka's client does not take it: {refused:?}"),
            }
            count(&mut producer);
        }
    }
    while count(&mut producer) <= messages {
        reported.wait(WAIT);
    }
    json!({ "per_second": messages as f64 / began.elapsed().as_secs_f64() })
}

fn records(router: &Router) -> Vec<Arc<KafkaRecord>> {
    let stamp = Stamp::right(1_767_225_600_000);
    let record = |number: u64| {
        let device = format!("d{}", number % DEVICES);
        let bytes = reading(&device, number, USUAL_BYTES);
        let mut arrival = Arrival::trial(number, format!("devices/{device}/telemetry"), bytes);
        arrival.broker = Arc::from("local");
        arrival.stamp = stamp;
        let stored = Stored {
            seq: Seq(number),
            epoch: Epoch(1),
            arrival,
        };
        let mut outcome = router.route(&stored, &Told::as_it_stood(&stamp));
        outcome.records.pop().expect("the route takes it")
    };
    (1..=RECORDS).map(record).collect()
}
