//! With nothing in the way everything arrives once, in order, and byte for byte.

use std::time::Duration;

use rumqttc::{Publish, QoS};

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::shared;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER, Scene};

#[test]
fn mqtt_5_delivers_everything_once_and_in_order() {
    happy_path("5");
}

#[test]
fn mqtt_3_1_1_delivers_everything_once_and_in_order() {
    happy_path("3.1.1");
}

fn happy_path(version: &str) {
    let kafka = shared();
    let scene = Scene::start(version, kafka, Mosquitto::start(), |config| config);
    let devices = scene.devices(&Plan {
        messages: Some(4_000),
        rate: None,
        ..Plan::default()
    });
    scene.conclude(kafka, devices).assert_clean_without_duplicates();
}

#[test]
fn a_hundred_devices_stay_in_order_within_a_small_memory() {
    let kafka = shared();
    let mut scene = Scene::start("5", kafka, Mosquitto::start(), |config| config);
    let plan = Plan {
        devices: 100,
        messages: Some(30_000),
        rate: None,
        ..Plan::default()
    };
    let sent = scene.devices(&plan).finish(ACK_LIMIT);
    let verdict = scene.judge(kafka, &sent);
    verdict.assert_clean_without_duplicates();
    eprintln!("{}", scene.daemon.assert_small());
}

#[test]
fn payloads_arrive_byte_for_byte() {
    let kafka = shared();
    let scene = Scene::start("3.1.1", kafka, Mosquitto::start(), |config| config);
    let all_bytes: Vec<u8> = (0..=255).collect();
    let long = vec![b'x'; 70_000];
    let payloads: &[&[u8]] = &[
        b"",
        b"\0",
        &all_bytes,
        b"\xff\xfe\xc3\x28",
        "päckchen 📦".as_bytes(),
        &long,
    ];
    let mut link = Link::connect(scene.mosquitto.port(), "bytes", true).expect("it accepts");
    for payload in payloads {
        link.publish("devices/d1/telemetry", payload);
    }
    let mut oracle = Oracle::new(kafka, &scene.topic);
    let records = oracle.first(payloads.len());
    for (record, payload) in records.iter().zip(payloads) {
        assert_eq!(record.value, *payload);
        assert_eq!(record.key.as_deref(), Some(&b"d1"[..]));
        assert_eq!(record.header("mqtt-topic"), Some("devices/d1/telemetry"));
    }
}

#[test]
fn a_retained_message_is_marked() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let mut link = Link::connect(mosquitto.port(), "retainer", true).expect("it accepts");
    let mut publish = Publish::new("devices/d1/telemetry", QoS::AtLeastOnce, "old");
    publish.retain = true;
    link.publish_packet(publish);
    let scene = Scene::start("5", kafka, mosquitto, |config| config);
    link.publish("devices/d1/telemetry", b"new");
    let mut oracle = Oracle::new(kafka, &scene.topic);
    let records = oracle.first(2);
    let marks: Vec<_> = records
        .iter()
        .map(|record| (&record.value[..], record.header("edgeferry-retained")))
        .collect();
    assert_eq!(marks[0].0, b"old");
    assert!(marks[0].1.is_some(), "the retained one is marked");
    assert_eq!(marks[1], (&b"new"[..], None));
}

#[test]
fn qos_0_passes() {
    let kafka = shared();
    let scene = Scene::start("5", kafka, Mosquitto::start(), |config| config);
    let mut link = Link::connect(scene.mosquitto.port(), "careless", true).expect("it accepts");
    link.publish_packet(Publish::new(
        "devices/d1/telemetry",
        QoS::AtMostOnce,
        "at most once",
    ));
    let mut oracle = Oracle::new(kafka, &scene.topic);
    assert_eq!(oracle.first(1)[0].value, b"at most once");
}

#[test]
fn two_brokers_in_one_configuration() {
    let kafka = shared();
    let (left, right) = (Mosquitto::start(), Mosquitto::start());
    let topic = kafka.fresh_topic("telemetry");
    let config = Config::new(kafka)
        .broker("left", "5", &left)
        .broker("right", "3.1.1", &right)
        .route("devices/{device}/telemetry", &topic);
    let mut daemon = Daemon::start(&config);
    for broker in [&left, &right] {
        // Both logs are empty before the daemon starts.
        broker.until_subscribed(FILTER, crate::support::mosquitto::Mark::default());
    }
    let plan = |prefix| Plan {
        prefix,
        messages: Some(2_000),
        rate: None,
        ..Plan::default()
    };
    let fleets = [
        Devices::start(&left, &plan("left")),
        Devices::start(&right, &plan("right")),
    ];
    let [mut sent, others] = fleets.map(|fleet| fleet.finish(ACK_LIMIT));
    sent.merge(others);
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.terminate();
    oracle.verdict(&sent).assert_clean_without_duplicates();
}

#[test]
fn an_idle_link_stays_up_beyond_its_keep_alive() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("telemetry");
    let config = Config::new(kafka)
        .broker_with("local", "5", &mosquitto, "keep_alive = \"5s\"")
        .route("devices/{device}/telemetry", &topic);
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    crate::support::wait::let_pass("nobody publishes", Duration::from_secs(15));
    daemon.assert_alive();
    assert_eq!(
        mosquitto.connections(crate::support::config::CLIENT_ID, mark),
        1,
        "no reconnect"
    );
}
