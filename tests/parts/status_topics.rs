//! `[status]`: the state in Kafka and at the brokers, told by the gateway itself.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::config::{CLIENT_ID, Config, GATEWAY};
use crate::support::daemon::Daemon;
use crate::support::kafka::{Kafka, PARTITIONS, shared, unused_topic};
use crate::support::mosquitto::{Mark, Mosquitto};
use crate::support::mqtt::Link;
use crate::support::oracle::{PATIENCE, Reader, Record};
use crate::support::scene::FILTER;
use crate::support::scratch::Scratch;
use crate::support::wait;

/// What `docs/status-topics.md` promises.
const MAX_BYTES: usize = 4096;
/// Pauses grow to some seconds in these tests.
const TOLD: Duration = Duration::from_mins(1);

fn state(value: &[u8]) -> Value {
    assert!(value.len() <= MAX_BYTES, "{} bytes", value.len());
    let state: Value = serde_json::from_slice(value).expect("it is JSON");
    assert_eq!(state["version"], 1, "{state}");
    assert_eq!(state["gateway"], GATEWAY, "{state}");
    assert_eq!(state["edgeferry"], env!("CARGO_PKG_VERSION"), "{state}");
    state
}

fn of_record(record: &Record) -> Value {
    assert_eq!(record.key.as_deref(), Some(GATEWAY.as_bytes()));
    assert_eq!(record.header("edgeferry-gateway"), Some(GATEWAY));
    state(&record.value)
}

/// The first state that is as wanted.
fn until_told(reader: &mut Reader, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, TOLD, || {
        let record = reader.next(Duration::from_secs(1))?;
        Some(of_record(&record)).filter(|state| is_it(state))
    })
}

#[test]
fn the_state_is_told_to_kafka_with_what_became_of_the_messages() {
    let kafka = shared();
    let (topic, told) = (
        kafka.fresh_topic("telemetry"),
        kafka.fresh_topic_with("status", 1, &[]),
    );
    let mosquitto = Mosquitto::start();
    let config = Config::usual("5", &mosquitto, kafka, &topic)
        .status(&format!("kafka_topic = \"{told}\""))
        .status("interval = \"1s\"");
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, Mark::default());
    let mut device = Link::connect(mosquitto.port(), "device", true).expect("it runs");
    for number in 0..5 {
        device.publish("devices/d1/telemetry", &[number]);
    }
    let mut reader = Reader::new(&kafka.bootstrap(), &told);
    let found = until_told(&mut reader, "five are delivered", |state| {
        state["lanes"][0]["delivered"] == 5
    });
    assert_eq!(found["state"], "online");
    let lane = &found["lanes"][0];
    assert_eq!(
        (&lane["name"], &lane["kafka"], &lane["mqtt"]["local"]),
        (&"default".into(), &"up".into(), &"up".into())
    );
    assert_eq!(
        (&lane["received"], &lane["queued"]),
        (&5.into(), &0.into()),
        "{found}"
    );
    daemon.terminate();
    until_told(&mut reader, "it was stopped", |state| state["state"] == "stopped");
    // What it tells of itself is no message of a device.
    assert_eq!(Reader::new(&kafka.bootstrap(), &topic).rest(PATIENCE).len(), 5);
}

/// The next retained or live state on the topic.
fn heard(link: &mut Link) -> Value {
    let message = link.next_message();
    if message.pkid > 0 {
        link.acknowledge(&message);
    }
    assert_eq!(message.topic, format!("edgeferry/{GATEWAY}/state"));
    state(&message.payload)
}

fn until_heard(link: &mut Link, wanted: &str) {
    wait::until(wanted, TOLD, || (heard(link)["state"] == wanted).then_some(()));
}

fn is_told_at_a_broker(version: &str) {
    let mosquitto = Mosquitto::start();
    let config = Config::usual(version, &mosquitto, &Kafka::absent(), "nowhere")
        .status("mqtt_topic = \"edgeferry/{gateway}/state\"")
        .status("interval = \"1s\"");
    let mut watcher = Link::connect(mosquitto.port(), "watcher", true).expect("it runs");
    watcher.subscribe("edgeferry/+/state");
    let mut daemon = Daemon::start(&config);
    until_heard(&mut watcher, "online");
    until_heard(&mut watcher, "online");
    // Kept for whoever comes later.
    let mut late = Link::connect(mosquitto.port(), "late", true).expect("it runs");
    late.subscribe("edgeferry/+/state");
    assert_eq!(heard(&mut late)["state"], "online");
    daemon.kill();
    until_heard(&mut watcher, "offline");
    daemon.restart();
    until_heard(&mut watcher, "online");
    daemon.terminate();
    until_heard(&mut watcher, "stopped");
    assert_eq!(
        mosquitto.connections(&format!("{CLIENT_ID}-state"), Mark::default()),
        2
    );
}

#[test]
fn online_offline_and_stopped_are_told_with_the_state_over_mqtt_5() {
    is_told_at_a_broker("5");
}

#[test]
fn online_offline_and_stopped_are_told_with_the_state_over_mqtt_3_1_1() {
    is_told_at_a_broker("3.1.1");
}

#[test]
fn a_status_topic_that_is_missing_holds_no_data_and_nothing_is_told_later() {
    let kafka = shared();
    let (topic, told) = (kafka.fresh_topic("telemetry"), unused_topic("status"));
    let mosquitto = Mosquitto::start();
    let config = Config::usual("5", &mosquitto, kafka, &topic)
        .status(&format!("kafka_topic = \"{told}\""))
        .status("interval = \"1s\"");
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, Mark::default());
    let mut device = Link::connect(mosquitto.port(), "device", true).expect("it runs");
    wait::until("it says so", TOLD, || {
        daemon
            .log()
            .contains("the state is not told to Kafka")
            .then_some(())
    });
    device.publish("devices/d1/telemetry", b"data");
    assert_eq!(
        Reader::new(&kafka.bootstrap(), &topic)
            .next(TOLD)
            .expect("it came")
            .value,
        b"data"
    );
    kafka.create_topic(&told, 1, &[]);
    let mut reader = Reader::new(&kafka.bootstrap(), &told);
    let first = until_told(&mut reader, "the first is told", |_| true);
    assert_eq!(first["lanes"][0]["delivered"], 1, "it is of now: {first}");
    wait::until("it says that all is well", TOLD, || {
        daemon
            .log()
            .contains("the state is told to Kafka again")
            .then_some(())
    });
    let complaints = daemon.log().matches("the state is not told to Kafka").count();
    assert_eq!(complaints, 1, "{}", daemon.log());
    daemon.terminate();
}

#[test]
fn an_outage_of_kafka_leaves_no_states_of_then() {
    let mut kafka = Kafka::start();
    let (topic, told) = (
        kafka.fresh_topic("telemetry"),
        kafka.fresh_topic_with("status", 1, &[]),
    );
    let mosquitto = Mosquitto::start();
    let config = Config::usual("5", &mosquitto, &kafka, &topic)
        .impatient()
        .status(&format!("kafka_topic = \"{told}\""))
        .status("interval = \"1s\"");
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, Mark::default());
    let mut device = Link::connect(mosquitto.port(), "device", true).expect("it runs");
    let mut reader = Reader::new(&kafka.bootstrap(), &told);
    until_told(&mut reader, "it is told", |_| true);
    kafka.stop();
    for number in 0..20 {
        device.publish("devices/d1/telemetry", &[number]);
    }
    wait::let_pass("an outage of several intervals", Duration::from_secs(8));
    kafka.restart();
    until_told(&mut reader, "all is delivered", |state| {
        state["lanes"][0]["delivered"] == 20
    });
    // One may have been under way.
    let all = Reader::new(&kafka.bootstrap(), &told).rest(PATIENCE);
    let waiting = all.iter().filter(|record| {
        let queued = of_record(record)["lanes"][0]["queued"].as_u64();
        queued.is_some_and(|queued| queued > 0)
    });
    assert!(
        waiting.count() <= 3,
        "states of the outage were kept and sent later"
    );
    daemon.terminate();
}

#[test]
fn check_live_looks_at_the_topic_of_the_state_and_warns_when_it_is_missing() {
    let kafka = shared();
    let (topic, missing) = (kafka.fresh_topic("telemetry"), unused_topic("status"));
    let config = Config::usual("5", &Mosquitto::absent(), kafka, &topic)
        .status(&format!("kafka_topic = \"{missing}\""));
    let folder = Scratch::new("check");
    let file = folder.join("edgeferry.toml");
    std::fs::write(&file, config.text(&folder.join("store"))).expect("the folder is writable");
    let look = || {
        let output = Command::new(env!("CARGO_BIN_EXE_edgeferry"))
            .args(["check", "--live", "--config"])
            .arg(&file)
            .output()
            .expect("the binary runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = look();
    assert!(said.contains(&format!("{missing} (status): missing")), "{said}");
    assert!(
        said.contains("warning: it is missing, or this user may not see it: the state is not told there"),
        "{said}"
    );
    kafka.create_topic(&missing, PARTITIONS, &[]);
    assert!(look().contains(&format!("{missing} (status): partitions {PARTITIONS}")));
}
