//! Kafka goes away under load and comes back.
//!
//! Each of these owns its Kafka. Duplicates are allowed when they carry the same id and bytes: after an
//! unclear answer edgeferry sends again.

use std::time::Duration;

use crate::support::config::Config;
use crate::support::devices::Plan;
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{ACK_LIMIT, Scene};
use crate::support::seed::Seed;
use crate::support::wait;

#[test]
fn kafka_away_for_90_s_is_longer_than_every_timeout_and_loses_nothing() {
    let mut kafka = Kafka::start();
    let mut scene = Scene::start("5", &kafka, Mosquitto::start(), Config::impatient);
    let devices = scene.devices(&Plan::default());
    devices.until_acked(1_000, ACK_LIMIT);
    kafka.kill();
    let before = devices.acked();
    wait::let_pass("kafka is away", Duration::from_secs(90));
    scene.daemon.assert_alive();
    let meanwhile = devices.acked() - before;
    assert!(
        meanwhile > 20_000,
        "edgeferry goes on taking messages: {meanwhile}"
    );
    kafka.restart();
    devices.until_acked(1_000, ACK_LIMIT);
    scene.conclude(&kafka, devices).assert_clean();
}

#[test]
fn kafka_killed_and_restarted_under_load_loses_nothing() {
    let mut seed = Seed::of_this_run("kafka_killed_and_restarted_under_load_loses_nothing");
    let mut kafka = Kafka::start();
    let scene = Scene::start("5", &kafka, Mosquitto::start(), Config::impatient);
    let devices = scene.devices(&Plan::default());
    for _ in 0..3 {
        devices.until_acked(seed.between(300, 1_500), ACK_LIMIT);
        kafka.kill();
        devices.until_acked(seed.between(100, 800), ACK_LIMIT);
        kafka.restart();
    }
    devices.until_acked(500, ACK_LIMIT);
    scene.conclude(&kafka, devices).assert_clean();
}

#[test]
fn kafka_stopped_in_order_or_paused_under_load_loses_nothing() {
    let mut kafka = Kafka::start();
    let scene = Scene::start("3.1.1", &kafka, Mosquitto::start(), Config::impatient);
    let devices = scene.devices(&Plan::default());
    devices.until_acked(500, ACK_LIMIT);
    kafka.stop();
    devices.until_acked(500, ACK_LIMIT);
    kafka.restart();
    devices.until_acked(500, ACK_LIMIT);
    kafka.pause();
    // Requests in flight time out (5 s) on open connections: nobody knows what became of them.
    wait::let_pass("kafka is paused", Duration::from_secs(12));
    kafka.resume();
    devices.until_acked(500, ACK_LIMIT);
    scene.conclude(&kafka, devices).assert_clean();
}
