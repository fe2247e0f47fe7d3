//! `delivery = "exactly-once"`: a `read_committed` reader sees every message once, whatever dies.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{Kafka, shared};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE, Verdict};
use crate::support::scene::{ACK_LIMIT, FILTER, Scene};
use crate::support::seed::Seed;
use crate::support::wait;

/// Kafka's default for `transaction.timeout.ms`, which edgeferry keeps, and how long the coordinator may take to notice.
const TRANSACTION_LIMIT: Duration = Duration::from_secs(75);
/// How long a daemon that was replaced may take to find out.
const FENCED_LIMIT: Duration = Duration::from_mins(1);

/// Messages may come twice from MQTT, marked; edgeferry itself repeats none.
fn assert_once(verdict: &Verdict) {
    verdict.assert_clean();
    assert_eq!(
        verdict.duplicates.same_id, 0,
        "sent twice by edgeferry:\n{verdict}"
    );
}

fn scene(kafka: &Kafka) -> Scene {
    Scene::start("5", kafka, Mosquitto::start(), Config::exactly_once)
}

fn load(rate: u32) -> Plan {
    Plan {
        rate: Some(rate),
        ..Plan::default()
    }
}

#[test]
fn everything_is_there_once_and_the_cursor_survives_an_orderly_stop() {
    let kafka = shared();
    let mut scene = scene(kafka);
    let devices = scene.devices(&load(2_000));
    devices.until_acked(3_000, ACK_LIMIT);
    scene.daemon.terminate();
    scene.daemon.restart();
    let verdict = scene.conclude(kafka, devices);
    assert_once(&verdict);
}

#[test]
fn the_daemon_killed_again_and_again_under_load_delivers_each_message_once() {
    let mut seed =
        Seed::of_this_run("the_daemon_killed_again_and_again_under_load_delivers_each_message_once");
    let kafka = shared();
    let mut scene = scene(kafka);
    let devices = scene.devices(&load(1_000));
    for _ in 0..12 {
        devices.until_acked(seed.between(50, 1_200), ACK_LIMIT);
        scene.daemon.kill();
        scene.daemon.restart();
    }
    assert_once(&scene.conclude(kafka, devices));
}

#[test]
fn the_daemon_killed_at_every_step_of_a_transaction_delivers_each_message_once() {
    let mut seed =
        Seed::of_this_run("the_daemon_killed_at_every_step_of_a_transaction_delivers_each_message_once");
    let kafka = shared();
    let mut scene = scene(kafka);
    let devices = scene.devices(&load(1_000));
    for point in [
        "transaction.taken",
        "transaction.opened",
        "transaction.begun",
        "transaction.cursor",
        "transaction.committed",
        "transaction.advanced",
    ] {
        scene.daemon.kill();
        let pass = match point {
            "transaction.taken" => 1,
            _ => seed.between(1, 6),
        };
        scene.daemon.kill_at(point, pass);
        scene.daemon.launch();
        let status = scene.daemon.until_ended(ACK_LIMIT);
        assert!(status.code().is_none(), "{point}: it ended by itself: {status}");
        scene.daemon.restart();
    }
    assert_once(&scene.conclude(kafka, devices));
}

#[test]
fn a_daemon_that_slept_for_longer_than_a_transaction_may_goes_on() {
    let kafka = shared();
    let mut scene = scene(kafka);
    let devices = scene.devices(&load(500));
    devices.until_acked(1_000, ACK_LIMIT);
    scene.daemon.signal(Signal::STOP);
    wait::let_pass("the transaction's time limit", TRANSACTION_LIMIT);
    scene.daemon.signal(Signal::CONT);
    devices.until_acked(500, ACK_LIMIT);
    assert_once(&scene.conclude(kafka, devices));
}

#[test]
fn a_second_daemon_with_the_same_identity_makes_one_of_them_end_with_75() {
    let kafka = shared();
    let (mine, theirs) = (Mosquitto::start(), Mosquitto::start());
    let topic = kafka.fresh_topic("telemetry");
    let config = Config::usual("5", &mine, kafka, &topic).exactly_once();
    let mark = mine.mark();
    let mut first = Daemon::start(&config);
    mine.until_subscribed(FILTER, mark);
    let devices = Devices::start(&mine, &load(200));
    devices.until_acked(500, ACK_LIMIT);
    // A copy of the store on the same machine, as of a container that was started twice.
    let copy = first.beside("copy");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(first.store())
        .arg(&copy)
        .status();
    assert!(copied.expect("cp runs").success());
    let mark = theirs.mark();
    let config = Config::usual("5", &theirs, kafka, &topic)
        .exactly_once()
        .data_dir(&copy);
    let mut second = Daemon::start(&config);
    theirs.until_subscribed(FILTER, mark);
    let others = Devices::start(&theirs, &load(200));
    let ended = wait::until("one of the two ends", FENCED_LIMIT, || {
        first
            .ended()
            .map(|status| (status, first.log()))
            .or_else(|| second.ended().map(|status| (status, second.log())))
    });
    let (status, log) = ended;
    assert_eq!(status.code(), Some(75), "{log}");
    assert!(log.contains("same identity"), "{log}");
    drop((devices, others));
}

#[test]
fn kafka_killed_and_restarted_under_load_delivers_each_message_once() {
    let mut seed = Seed::of_this_run("kafka_killed_and_restarted_under_load_delivers_each_message_once");
    let mut kafka = Kafka::start();
    let mut scene = Scene::start("5", &kafka, Mosquitto::start(), |config| {
        config.impatient().exactly_once()
    });
    let devices = scene.devices(&load(1_000));
    for round in 0..3 {
        devices.until_acked(seed.between(300, 1_500), ACK_LIMIT);
        kafka.kill();
        if round == 1 {
            scene.daemon.kill();
            scene.daemon.restart();
        }
        devices.until_acked(500, ACK_LIMIT);
        kafka.restart();
    }
    assert_once(&scene.conclude(&kafka, devices));
}

#[test]
fn a_deleted_cursor_topic_holds_the_lane_until_it_is_there_again() {
    let kafka = shared();
    let cursors = kafka.fresh_topic_with("cursors", 1, &[]);
    let mut scene = Scene::start("5", kafka, Mosquitto::start(), |config| {
        config
            .exactly_once()
            .kafka(&format!("cursor_topic = \"{cursors}\""))
    });
    let devices = scene.devices(&load(500));
    devices.until_acked(1_000, ACK_LIMIT);
    kafka.delete_topic(&cursors);
    wait::until("the lane is held", ACK_LIMIT, || {
        scene.daemon.log().contains("holding everything").then_some(())
    });
    // A kill while there is no cursor in Kafka: the one on disk counts.
    scene.daemon.kill();
    scene.daemon.restart();
    kafka.create_topic(&cursors, 1, &[]);
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &scene.topic);
    oracle.until_all_there(&sent, PATIENCE);
    scene.daemon.terminate();
    let verdict = oracle.verdict(&sent);
    eprintln!("{verdict}");
    verdict.assert_clean();
}
