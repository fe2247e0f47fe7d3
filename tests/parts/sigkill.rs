//! The daemon killed with SIGKILL at random moments: promises 1 to 3 hold.
//!
//! Duplicates are expected here. Each must be recognisable: the same id and bytes when edgeferry sent it
//! again, marked when MQTT delivered again what may have been stored already.

use std::time::Duration;

use crate::support::config::Config;
use crate::support::devices::Plan;
use crate::support::kafka::{Kafka, shared};
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{ACK_LIMIT, Scene};
use crate::support::seed::Seed;
use crate::support::wait;

/// Kills in an ordinary test run; `./dev kills N` sets the variable for more.
const KILLS: u64 = 15;

fn kills() -> u64 {
    std::env::var("EDGEFERRY_KILLS").map_or(KILLS, |text| text.parse().expect("EDGEFERRY_KILLS is a number"))
}

#[test]
fn the_daemon_killed_again_and_again_under_load_loses_nothing() {
    let mut seed = Seed::of_this_run("the_daemon_killed_again_and_again_under_load_loses_nothing");
    let kafka = shared();
    let mut scene = Scene::start("5", kafka, Mosquitto::start(), |config| config);
    let devices = scene.devices(&Plan {
        rate: Some(1_000),
        ..Plan::default()
    });
    let kills = kills();
    for kill in 1..=kills {
        // Every moment of a life: right after start, while it recovers, at full load.
        wait::let_pass(
            &format!("life {kill} of {kills}"),
            Duration::from_millis(seed.between(20, 1_200)),
        );
        scene.daemon.kill();
        if seed.between(0, 3) == 0 {
            scene.daemon.launch();
        } else {
            scene.daemon.restart();
        }
    }
    let sent = devices.finish(ACK_LIMIT);
    let verdict = scene.judge(kafka, &sent);
    eprintln!("{kills} SIGKILLs under load\n{verdict}");
    verdict.assert_clean();
    eprintln!("{}", scene.daemon.assert_small());
}

#[test]
fn the_daemon_killed_again_and_again_with_mqtt_3_1_1_loses_nothing() {
    let mut seed = Seed::of_this_run("the_daemon_killed_again_and_again_with_mqtt_3_1_1_loses_nothing");
    let kafka = shared();
    let mut scene = Scene::start("3.1.1", kafka, Mosquitto::start(), |config| config);
    let devices = scene.devices(&Plan {
        rate: Some(1_000),
        ..Plan::default()
    });
    for _ in 0..8 {
        devices.until_acked(seed.between(100, 1_000), ACK_LIMIT);
        scene.daemon.kill();
        scene.daemon.restart();
    }
    scene.conclude(kafka, devices).assert_clean();
}

#[test]
fn the_daemon_killed_while_kafka_is_away_loses_nothing() {
    let mut seed = Seed::of_this_run("the_daemon_killed_while_kafka_is_away_loses_nothing");
    let mut kafka = Kafka::start();
    let mut scene = Scene::start("5", &kafka, Mosquitto::start(), Config::impatient);
    let devices = scene.devices(&Plan {
        rate: Some(1_000),
        ..Plan::default()
    });
    devices.until_acked(1_000, ACK_LIMIT);
    kafka.kill();
    for _ in 0..6 {
        devices.until_acked(seed.between(200, 1_500), ACK_LIMIT);
        scene.daemon.kill();
        scene.daemon.restart();
    }
    kafka.restart();
    scene.daemon.kill();
    scene.daemon.restart();
    scene.conclude(&kafka, devices).assert_clean();
}
