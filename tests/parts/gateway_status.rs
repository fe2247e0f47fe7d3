//! The gateway's own retained word at a broker: there, gone, stopped; and never in the way of the data.

use std::time::Duration;

use serde_json::Value;

use crate::support::config::{CLIENT_ID, Config, GATEWAY};
use crate::support::daemon::Daemon;
use crate::support::kafka::{Kafka, shared};
use crate::support::mosquitto::guarded::{Door, Guarded, PASSWORD, USER};
use crate::support::mosquitto::{Mark, Mosquitto};
use crate::support::mqtt::Link;
use crate::support::oracle::Reader;
use crate::support::scene::FILTER;
use crate::support::scratch::Scratch;
use crate::support::wait;

const TOPIC: &str = "edgeferry/gw-test/status";
const LINE: &str = "status_topic = \"edgeferry/{gateway}/status\"";
/// Through the queue into Kafka.
const DELIVERED: Duration = Duration::from_mins(1);

/// The next word on the topic.
fn word(link: &mut Link) -> Value {
    let message = link.next_message();
    if message.pkid > 0 {
        link.acknowledge(&message);
    }
    assert_eq!(message.topic, TOPIC);
    serde_json::from_slice(&message.payload).expect("it is JSON")
}

fn assert_is(word: &Value, state: &str) {
    assert_eq!(word["state"], state, "{word}");
    assert_eq!(word["gateway"], GATEWAY, "{word}");
    assert_eq!(word["version"], env!("CARGO_PKG_VERSION"), "{word}");
    let since = word["since"].as_str().expect("a text");
    // 2026-11-21T16:00:00.000Z
    assert!(
        since.len() == 24 && since.ends_with('Z') && since.contains('.'),
        "{word}"
    );
    assert_eq!(word.as_object().map(serde_json::Map::len), Some(4), "{word}");
}

/// What somebody finds who comes now.
fn retained(mosquitto: &Mosquitto) -> Value {
    let mut late = Link::connect(mosquitto.port(), "late", true).expect("it runs");
    late.subscribe(TOPIC);
    let message = late.next_message();
    assert!(message.retain, "it is kept for whoever comes later");
    serde_json::from_slice(&message.payload).expect("it is JSON")
}

fn says_what_it_does(version: &str) {
    let mosquitto = Mosquitto::start();
    let config = Config::new(&Kafka::absent())
        .broker_with("local", version, &mosquitto, LINE)
        .route("devices/{device}/telemetry", "nowhere");
    let mut watcher = Link::connect(mosquitto.port(), "watcher", true).expect("it runs");
    watcher.subscribe(TOPIC);
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    assert_is(&word(&mut watcher), "online");
    assert_is(&retained(&mosquitto), "online");
    daemon.kill();
    assert_is(&word(&mut watcher), "offline");
    assert_is(&retained(&mosquitto), "offline");
    daemon.restart();
    assert_is(&word(&mut watcher), "online");
    mosquitto.until_subscribed(FILTER, mark);
    daemon.terminate();
    assert_is(&word(&mut watcher), "stopped");
    assert_is(&retained(&mosquitto), "stopped");
    // Two processes, each with one connection for the data and one for this.
    for lane in ["status", "default"] {
        assert_eq!(
            mosquitto.connections(&format!("{CLIENT_ID}-{lane}"), mark),
            2,
            "{lane}"
        );
    }
}

#[test]
fn online_offline_and_stopped_are_told_over_mqtt_5() {
    says_what_it_does("5");
}

#[test]
fn online_offline_and_stopped_are_told_over_mqtt_3_1_1() {
    says_what_it_does("3.1.1");
}

/// Over a pipe of ours, which only moves while the process goes on.
#[test]
fn the_last_word_is_told_over_a_websocket_too() {
    let guarded = Guarded::start();
    let config = Config::new(&Kafka::absent())
        .broker_at("local", "5", &guarded.url(Door::WebSocket), LINE)
        .route("devices/{device}/telemetry", "nowhere");
    let mut watcher = Link::connect(guarded.mosquitto.port(), "watcher", true).expect("it runs");
    watcher.subscribe(TOPIC);
    let mut daemon = Daemon::start(&config);
    assert_is(&word(&mut watcher), "online");
    daemon.terminate();
    assert_is(&word(&mut watcher), "stopped");
    assert_is(&retained(&guarded.mosquitto), "stopped");
}

#[test]
fn it_is_told_again_when_a_broker_comes_back_that_has_forgotten_it() {
    let mut mosquitto = Mosquitto::start();
    let config = Config::new(&Kafka::absent())
        .broker_with("local", "5", &mosquitto, LINE)
        .route("devices/{device}/telemetry", "nowhere");
    let mut daemon = Daemon::start(&config);
    mosquitto.until_connected(&format!("{CLIENT_ID}-status"), Mark::default());
    mosquitto.kill();
    mosquitto.wipe();
    mosquitto.restart();
    // It may come before or after the subscription.
    let mut watcher = Link::connect(mosquitto.port(), "watcher", true).expect("it runs");
    watcher.subscribe(TOPIC);
    assert_is(&word(&mut watcher), "online");
    assert_is(&retained(&mosquitto), "online");
    daemon.terminate();
}

#[test]
fn a_status_that_may_not_be_told_does_not_disturb_the_data() {
    let kafka = shared();
    let guarded = Guarded::start();
    let folder = Scratch::new("secrets");
    let password = folder.join("password");
    std::fs::write(&password, PASSWORD).expect("the folder is writable");
    let topic = kafka.fresh_topic("status");
    // The user may read the devices' topics and nothing else.
    let lines = format!(
        "username = \"{USER}\"\npassword_file = \"{}\"\n{LINE}\n",
        password.display()
    );
    let config = Config::new(kafka)
        .broker_at("local", "5", &guarded.url(Door::Password), &lines)
        .route("devices/{device}/telemetry", &topic);
    let mark = guarded.mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    guarded.mosquitto.until_subscribed(FILTER, mark);
    let mut device = Link::connect(guarded.mosquitto.port(), "device", true).expect("it runs");
    device.publish("devices/d1/telemetry", b"data");
    let record = Reader::new(&kafka.bootstrap(), &topic)
        .next(DELIVERED)
        .expect("it came");
    assert_eq!(record.value, b"data");
    wait::until("the broker has seen the status client", DELIVERED, || {
        guarded
            .mosquitto
            .log()
            .contains(&format!("{CLIENT_ID}-status"))
            .then_some(())
    });
    daemon
        .notify()
        .until_status("the link is up", DELIVERED, |status| {
            status.contains("mqtt local: up")
        });
    assert_eq!(
        guarded
            .mosquitto
            .connections(&format!("{CLIENT_ID}-default"), mark),
        1
    );
    daemon.terminate();
}
