//! SIGTERM: take no more, commit, acknowledge, flush, exit with 0. The limit and the exit status are
//! checked by `Daemon::terminate` itself.

use std::time::Instant;

use crate::support::config::Config;
use crate::support::devices::Plan;
use crate::support::kafka::{Kafka, shared};
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{ACK_LIMIT, Scene};

#[test]
fn sigterm_under_load_exits_0_and_loses_nothing() {
    let kafka = shared();
    let mut scene = Scene::start("5", kafka, Mosquitto::start(), |config| config);
    let devices = scene.devices(&Plan {
        rate: Some(3_000),
        ..Plan::default()
    });
    for _ in 0..3 {
        devices.until_acked(3_000, ACK_LIMIT);
        scene.daemon.terminate();
        scene.daemon.restart();
    }
    assert_eq!(scene.daemon.notify().count("STOPPING=1"), 3, "systemd is told");
    scene.conclude(kafka, devices).assert_clean();
}

#[test]
fn sigterm_with_kafka_away_exits_0_within_the_limit_and_keeps_the_backlog() {
    let mut kafka = Kafka::start();
    let mut scene = Scene::start("5", &kafka, Mosquitto::start(), Config::impatient);
    let devices = scene.devices(&Plan::default());
    devices.until_acked(500, ACK_LIMIT);
    kafka.kill();
    devices.until_acked(1_000, ACK_LIMIT);
    let asked = Instant::now();
    scene.daemon.terminate();
    eprintln!("stopped after {:?}", asked.elapsed());
    scene.daemon.restart();
    kafka.restart();
    scene.conclude(&kafka, devices).assert_clean();
}
