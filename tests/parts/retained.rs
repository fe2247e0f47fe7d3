//! Retained messages come once, also when edgeferry subscribes anew; and times that ascend strictly for each key.

use rumqttc::{Publish, QoS};

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::Oracle;
use crate::support::scene::{FILTER, Scene};

fn retain(mosquitto: &Mosquitto, device: &str, payload: &str) {
    let mut link = Link::connect(mosquitto.port(), "retainer", true).expect("it accepts");
    let mut publish = Publish::new(format!("devices/{device}/telemetry"), QoS::AtLeastOnce, payload);
    publish.retain = true;
    link.publish_packet(publish);
}

/// The first `count` payloads that came, in alphabetical order: devices may be in different partitions.
fn payloads(kafka: &kafka::Kafka, topic: &str, count: usize) -> Vec<String> {
    let mut oracle = Oracle::new(kafka, topic);
    let records = oracle.first(count).iter();
    let mut payloads: Vec<String> = records
        .map(|record| String::from_utf8(record.value.clone()).expect("text"))
        .collect();
    payloads.sort();
    payloads
}

#[test]
fn a_retained_message_is_not_new_again_after_a_restart_or_a_lost_session() {
    let kafka = kafka::shared();
    for version in ["5", "3.1.1"] {
        let mosquitto = Mosquitto::start();
        retain(&mosquitto, "d1", "old state of d1");
        retain(&mosquitto, "d2", "old state of d2");
        let mut scene = Scene::start(version, kafka, mosquitto, |config| config);
        assert_eq!(
            payloads(kafka, &scene.topic, 2).len(),
            2,
            "the first time they are news"
        );
        // A restart subscribes again: MQTT 3.1.1 brings them again.
        scene.daemon.terminate();
        let mark = scene.mosquitto.mark();
        scene.daemon.restart();
        scene.mosquitto.until_subscribed(FILTER, mark);
        retain(&scene.mosquitto, "d3", "news of d3");
        let mut all = vec!["news of d3", "old state of d1", "old state of d2"];
        assert_eq!(payloads(kafka, &scene.topic, 3), all, "MQTT {version}");
        // A session that is lost brings them with both; one of them has changed.
        scene.daemon.terminate();
        let id = scene.mosquitto.client_id("edgeferry");
        drop(Link::connect(scene.mosquitto.port(), &id, true).expect("it accepts"));
        retain(&scene.mosquitto, "d2", "new state of d2");
        let mark = scene.mosquitto.mark();
        scene.daemon.restart();
        scene.mosquitto.until_subscribed(FILTER, mark);
        all.insert(0, "new state of d2");
        assert_eq!(payloads(kafka, &scene.topic, 4), all, "MQTT {version}");
        // Behind this nothing of before can come any more.
        retain(&scene.mosquitto, "d1", "end");
        all.insert(0, "end");
        assert_eq!(payloads(kafka, &scene.topic, 5), all, "MQTT {version}");
    }
}

#[test]
fn a_burst_of_a_device_has_times_that_ascend_strictly() {
    const BURST: usize = 300;
    let kafka = kafka::shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("telemetry");
    let config = Config::new(kafka).broker("local", "5", &mosquitto).route_with(
        "devices/{device}/telemetry",
        &topic,
        "unique_times = true",
    );
    let mark = mosquitto.mark();
    let _daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    let mut link = Link::connect(mosquitto.port(), "device", true).expect("it accepts");
    for number in 0..BURST {
        let publish = Publish::new("devices/d1/telemetry", QoS::AtMostOnce, number.to_string());
        link.publish_packet(publish);
    }
    let mut oracle = Oracle::new(kafka, &topic);
    let times: Vec<i64> = oracle
        .first(BURST)
        .iter()
        .filter_map(|record| record.time_ms)
        .collect();
    assert_eq!(times.len(), BURST);
    assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
}
