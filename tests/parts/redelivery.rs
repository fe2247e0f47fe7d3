//! What the MQTT broker sends again: the link to it is cut under load, again and again.

use std::time::Duration;

use crate::support::config::{CLIENT_ID, Config};
use crate::support::daemon::Daemon;
use crate::support::devices::Plan;
use crate::support::kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::Verdict;
use crate::support::ports;
use crate::support::proxy::Proxy;
use crate::support::scene::{ACK_LIMIT, FILTER, Scene};
use crate::support::wait;

/// Times that the link is cut: one more short connection would be taken for somebody else with our client id.
const CUTS: usize = 3;
/// Longer than the waits between these connections.
const RECONNECT_LIMIT: Duration = Duration::from_mins(1);

/// A daemon under full load whose link to the broker is cut [`CUTS`] times, the first time when `before` messages have come.
fn cut_again_and_again(version: &str, before: u64) -> Verdict {
    let kafka = kafka::shared();
    let mosquitto = Mosquitto::start();
    let proxy = Proxy::start(ports::free(), mosquitto.port());
    let topic = kafka.fresh_topic("telemetry");
    let config = Config::new(kafka)
        .broker_at("local", version, proxy.port(), "")
        .route("devices/{device}/telemetry", &topic);
    let mark = mosquitto.mark();
    let daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    let mut scene = Scene {
        mosquitto,
        topic,
        daemon,
    };
    let devices = scene.devices(&Plan {
        rate: None,
        ..Plan::default()
    });
    devices.until_acked(before, ACK_LIMIT);
    for connections in 1..=CUTS {
        wait::until("edgeferry is connected", RECONNECT_LIMIT, || {
            (connected(&scene.mosquitto) >= connections).then_some(())
        });
        devices.until_acked(500, ACK_LIMIT);
        proxy.cut();
    }
    let sent = devices.finish(ACK_LIMIT);
    let verdict = scene.judge(kafka, &sent);
    for line in scene
        .daemon
        .log()
        .lines()
        .filter(|l| l.contains("totals") || l.contains("connect"))
    {
        eprintln!("{line}");
    }
    verdict
}

/// How often edgeferry connected.
fn connected(mosquitto: &Mosquitto) -> usize {
    let log = mosquitto.log();
    let lines = log
        .lines()
        .filter(|line| line.starts_with("New client connected"));
    lines.filter(|line| line.contains(CLIENT_ID)).count()
}

#[test]
fn x_early_5() {
    cut_again_and_again("5", 500).assert_clean();
}
#[test]
fn x_late_5() {
    cut_again_and_again("5", 20_000).assert_clean();
}
#[test]
fn x_late_3() {
    cut_again_and_again("3.1.1", 20_000).assert_clean();
}
