//! Mosquitto goes away under load and comes back.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::config::{CLIENT_ID, Config};
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::shared;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER, Scene};
use crate::support::takeover::Takeover;
use crate::support::wait;

/// A dead link is noticed after one to two of these.
const KEEP_ALIVE: &str = "keep_alive = \"5s\"";

#[test]
fn mosquitto_stopped_and_restarted_under_load_loses_nothing_with_mqtt_5() {
    stopped_and_restarted("5");
}

#[test]
fn mosquitto_stopped_and_restarted_under_load_loses_nothing_with_mqtt_3_1_1() {
    stopped_and_restarted("3.1.1");
}

fn stopped_and_restarted(version: &str) {
    let kafka = shared();
    let mut scene = Scene::start(version, kafka, Mosquitto::start(), |config| config);
    let devices = scene.devices(&Plan {
        rate: Some(2_000),
        ..Plan::default()
    });
    for _ in 0..3 {
        devices.until_acked(2_000, ACK_LIMIT);
        let mark = scene.mosquitto.mark();
        scene.mosquitto.stop();
        scene.mosquitto.restart();
        scene.mosquitto.until_connected(CLIENT_ID, mark);
    }
    devices.until_acked(1_000, ACK_LIMIT);
    scene.conclude(kafka, devices).assert_clean();
}

#[test]
fn mosquitto_paused_for_longer_than_the_keep_alive_loses_nothing() {
    let kafka = shared();
    let mut mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("telemetry");
    let config = Config::new(kafka)
        .broker_with("local", "5", &mosquitto, KEEP_ALIVE)
        .route("devices/{device}/telemetry", &topic);
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(
        &mosquitto,
        &Plan {
            rate: Some(1_000),
            ..Plan::default()
        },
    );
    devices.until_acked(1_000, ACK_LIMIT);
    let mark = mosquitto.mark();
    mosquitto.pause();
    wait::let_pass("mosquitto is paused", Duration::from_secs(15));
    mosquitto.resume();
    mosquitto.until_connected(CLIENT_ID, mark);
    devices.until_acked(1_000, ACK_LIMIT);
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.terminate();
    oracle.verdict(&sent).assert_clean();
}

/// A killed broker loses what it had acknowledged to devices and not saved: nobody can hold edgeferry to that. What edgeferry
/// acknowledged must be in Kafka; the rest may be.
///
/// The store is not saved between start and kill, so a restarted broker has no session and cannot
/// deliver again what it has forgotten that it delivered: duplicates stay judged as everywhere.
#[test]
fn mosquitto_killed_under_load_loses_nothing_that_edgeferry_acknowledged() {
    let kafka = shared();
    let mut mosquitto = Mosquitto::start_with("autosave_interval 0");
    let takeover = Takeover::start(&mosquitto);
    let topic = kafka.fresh_topic("telemetry");
    let config = Config::new(kafka)
        .broker_at("local", "5", &takeover.url(), "")
        .route("devices/{device}/telemetry", &topic);
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    let plan = Plan {
        rate: Some(1_000),
        ..Plan::default()
    };
    let devices = Devices::start(&mosquitto, &plan);
    for _ in 0..3 {
        devices.until_acked(1_500, ACK_LIMIT);
        let mark = mosquitto.mark();
        mosquitto.kill();
        mosquitto.restart();
        mosquitto.until_subscribed(FILTER, mark);
    }
    devices.until_acked(1_000, ACK_LIMIT);
    let mut sent = devices.finish(ACK_LIMIT);
    let last = sent.devices["d0"].keys().next_back().expect("d0 has published");
    wait::until("edgeferry has acknowledged the last message", ACK_LIMIT, || {
        takeover.messages().has("d0", *last).then_some(())
    });
    let taken = takeover.messages();
    assert!(
        taken.count() > 4_000,
        "it was seen what edgeferry acknowledged: {}",
        taken.count()
    );
    sent.require_only(|device, seq| taken.has(device, seq));
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.terminate();
    let verdict = oracle.verdict(&sent);
    eprintln!("{verdict}");
    verdict.assert_clean();
}

#[test]
fn a_broker_with_a_new_empty_session_is_subscribed_again() {
    let kafka = shared();
    let mut scene = Scene::start("5", kafka, Mosquitto::start(), |config| config);
    let first = scene
        .devices(&Plan {
            messages: Some(1_000),
            ..Plan::default()
        })
        .finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &scene.topic);
    oracle.until_all_there(&first, PATIENCE);
    scene.mosquitto.stop();
    scene.mosquitto.wipe();
    let mark = scene.mosquitto.mark();
    scene.mosquitto.restart();
    scene.mosquitto.until_subscribed(FILTER, mark);
    let plan = Plan {
        prefix: "later",
        messages: Some(1_000),
        ..Plan::default()
    };
    let mut sent = scene.devices(&plan).finish(ACK_LIMIT);
    sent.merge(first);
    scene.judge(kafka, &sent).assert_clean_without_duplicates();
}

/// Two clients with one id throw each other out for ever if both come back at once. The rival here always does, as a
/// second gateway would; the daemon must not, and must say what is wrong. This Mosquitto tells nobody that a session
/// was taken over, so the daemon has to conclude it.
#[test]
fn a_client_id_taken_over_is_no_endless_fight() {
    let kafka = shared();
    let mut scene = Scene::start("5", kafka, Mosquitto::start(), |config| config);
    let mark = scene.mosquitto.mark();
    // The id that the daemon really uses, as the broker saw it.
    let client_id = scene.mosquitto.client_id(CLIENT_ID);
    let rival_lives = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while rival_lives.load(Ordering::Relaxed) {
                drop(hold_on(scene.mosquitto.port(), &client_id, &rival_lives));
            }
        });
        wait::let_pass("a rival uses the same client id", Duration::from_secs(15));
        rival_lives.store(false, Ordering::Relaxed);
    });
    // Each that the daemon makes makes the rival come back: half of them are its own.
    let connections = scene.mosquitto.connections(&client_id, mark);
    assert!(connections <= 12, "{connections} connections in 15 s");
    let complaint = format!("another client uses client id {client_id}");
    let log = scene.daemon.log();
    assert_eq!(log.matches(&complaint).count(), 1, "told once:\n{log}");
    scene.daemon.assert_alive();

    let sent = scene
        .devices(&Plan {
            messages: Some(500),
            ..Plan::default()
        })
        .finish(ACK_LIMIT);
    scene.judge(kafka, &sent).assert_clean();
}

/// Stays connected as `client_id` until it is thrown out. The session is kept: it is the daemon's.
fn hold_on(port: u16, client_id: &str, alive: &AtomicBool) -> io::Result<()> {
    let mut link = Link::connect(port, client_id, false)?;
    let started = Instant::now();
    while alive.load(Ordering::Relaxed) && started.elapsed() < Duration::from_mins(1) {
        link.receive(Duration::from_millis(100))?;
    }
    Ok(())
}
