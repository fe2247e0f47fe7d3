//! What a broker says it has dropped is heard beside the data, and a broker that does not let us hear it is left alone.

use std::time::Duration;

use edgeferry::ops::State;

use crate::planted::get;
use crate::support::config::{CLIENT_ID, Config};
use crate::support::daemon::Daemon;
use crate::support::kafka::{Kafka, shared};
use crate::support::mosquitto::Mosquitto;
use crate::support::mosquitto::guarded::{Door, Guarded, PASSWORD, USER};
use crate::support::mqtt::Link;
use crate::support::oracle::Reader;
use crate::support::ports;
use crate::support::scene::FILTER;
use crate::support::scratch::Scratch;
use crate::support::wait;

/// The broker says it every second, and counts every message.
const HEARD: Duration = Duration::from_mins(1);
const DELIVERED: Duration = Duration::from_mins(1);
const SAID: &str = "the broker has dropped messages";

/// A client that sleeps, for which the broker keeps three messages.
fn full_for_somebody(mosquitto: &Mosquitto) -> Link {
    let mut sleeper = Link::connect(mosquitto.port(), "sleeper", false).expect("it runs");
    sleeper.subscribe("sleepy/#");
    drop(sleeper);
    Link::connect(mosquitto.port(), "device", true).expect("it runs")
}

#[test]
fn messages_that_the_broker_drops_are_a_warning_in_both_versions() {
    for version in ["5", "3.1.1"] {
        let mosquitto = Mosquitto::start_with("sys_interval 1\nmax_queued_messages 3");
        let port = ports::free();
        let config = Config::new(&Kafka::absent())
            .broker("local", version, &mosquitto)
            .route("devices/{device}/telemetry", "nowhere")
            .http(&format!("listen = \"127.0.0.1:{port}\""));
        let mut device = full_for_somebody(&mosquitto);
        let mut daemon = Daemon::start(&config);
        // The first number that is heard is where counting begins, so it goes on until one is heard after that.
        wait::until("it is said", HEARD, || {
            device.publish("sleepy/x", b"one of many");
            daemon.log().contains(SAID).then_some(())
        });
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains(SAID)).expect("it is there");
        assert!(
            line.contains("broker=\"local\"") && line.contains("messages="),
            "{line}"
        );
        // The last hour begins with the first look that had a number.
        let broker = wait::until("the state has it", HEARD, || {
            device.publish("sleepy/x", b"one of many");
            let (_, out, err) = daemon.ask("status", &["--json"]);
            let state: State =
                serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
            let broker = state.lanes[0].brokers[0].clone();
            (broker.dropped_by_broker > Some(0) && broker.dropped_last_hour > 0).then_some(broker)
        });
        // What is printed may be a second old; as the last hour it begins with the first number.
        wait::until("it is a metric", HEARD, || {
            let metrics = get(port, "/metrics", "")?;
            let name = "edgeferry_broker_dropped_messages_total{broker=\"local\"} ";
            let printed = metrics.lines().find_map(|line| line.strip_prefix(name));
            let printed: u64 = printed?.parse().ok()?;
            (printed >= broker.dropped_last_hour).then_some(())
        });
        daemon.terminate();
    }
}

#[test]
fn a_broker_that_lets_nobody_hear_it_is_left_alone_and_brings_its_data() {
    let kafka = shared();
    let guarded = Guarded::start();
    let files = Scratch::new("secrets");
    let password = files.join("password");
    std::fs::write(&password, PASSWORD).expect("the folder is writable");
    let login = format!(
        "username = \"{USER}\"\npassword_file = \"{}\"\n",
        password.display()
    );
    let topic = kafka.fresh_topic("watched");
    let config = Config::new(kafka)
        .broker_at("local", "5", &guarded.url(Door::Password), &login)
        .route("devices/{device}/telemetry", &topic);
    let mark = guarded.mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    guarded.mosquitto.until_subscribed(FILTER, mark);
    wait::until("it asks", HEARD, || {
        let log = guarded.mosquitto.log();
        log.contains(" 0 $SYS/broker/publish/messages/dropped")
            .then_some(())
    });
    let mut device = Link::connect(guarded.mosquitto.port(), "device", true).expect("it runs");
    device.publish("devices/d1/telemetry", b"as ever");
    let record = Reader::new(&kafka.bootstrap(), &topic)
        .next(DELIVERED)
        .expect("it came");
    assert_eq!(record.value, b"as ever");
    let log = daemon.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    daemon.terminate();
}

#[test]
fn without_watching_there_is_no_connection_for_it() {
    let mosquitto = Mosquitto::start();
    let config = Config::new(&Kafka::absent())
        .broker_with("local", "5", &mosquitto, "watch_broker = false")
        .route("devices/{device}/telemetry", "nowhere");
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    daemon.terminate();
    let log = mosquitto.log();
    assert!(log.contains(&format!("{CLIENT_ID}-default")), "{log}");
    assert!(!log.contains("broker-watch") && !log.contains("$SYS"), "{log}");
}
