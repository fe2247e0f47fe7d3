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
use crate::support::threads::Work;
use crate::support::wait;

/// A thread of the client for a broker that is none: for its own work.
const ITS_OWN: usize = 1;
/// Some turns of being left out and let in again, each of 9 s.
const FORGOTTEN_LIMIT: Duration = Duration::from_mins(2);
/// Nothing is confirmed for a minute, then nobody is reached for half a minute, and for another minute while another client is answered.
const RENEWED_LIMIT: Duration = Duration::from_mins(6);

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

/// confluentinc/librdkafka#5301: a client that was told of topics and of no broker forgets all that it knows, and never asks again.
/// That is told by a Kafka whose only broker was silent for longer than its session, as after a pause of its machine.
#[test]
fn a_kafka_that_had_no_broker_for_a_moment_is_found_again() {
    let mut kafka = Kafka::start();
    let scene = Scene::start("5", &kafka, Mosquitto::start(), Config::impatient);
    let devices = scene.devices(&Plan::default());
    devices.until_acked(500, ACK_LIMIT);
    kafka.stop();
    kafka.beats_in_time(false);
    kafka.restart();
    wait::until("the client has forgotten every broker", FORGOTTEN_LIMIT, || {
        let threads = Work::of(scene.daemon.id());
        // Another client that looks for Kafka has threads of its own.
        let is_lone = threads.named("kafka search") == 0;
        (is_lone && threads.named("rdk:broker") == ITS_OWN).then_some(())
    });
    kafka.kill();
    kafka.beats_in_time(true);
    kafka.restart();
    wait::until("the client is made anew", RENEWED_LIMIT, || {
        scene
            .daemon
            .log()
            .contains("this one reaches nobody")
            .then_some(())
    });
    devices.until_acked(500, ACK_LIMIT);
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
