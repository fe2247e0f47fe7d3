//! What the MQTT broker sends again: the link to it is cut under load, again and again.

use std::time::Duration;

use crate::support::config::{CLIENT_ID, Config};
use crate::support::daemon::Daemon;
use crate::support::devices::Plan;
use crate::support::kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::ports;
use crate::support::proxy::Proxy;
use crate::support::scene::{ACK_LIMIT, FILTER, Scene};
use crate::support::wait;

/// Times that the link is cut: one more short connection would be taken for somebody else with our client id.
const CUTS: usize = 2;
/// Longer than the waits between these connections.
const RECONNECT_LIMIT: Duration = Duration::from_mins(1);

/// A daemon under full load whose link to the broker is cut [`CUTS`] times, the first time when `before` messages have come.
fn cut_again_and_again(version: &str, before: u64) {
    let kafka = kafka::shared();
    let mosquitto = Mosquitto::start();
    let proxy = Proxy::start(ports::free(), mosquitto.port());
    let topic = kafka.fresh_topic("telemetry");
    let config = Config::new(kafka)
        .broker_at(
            "local",
            version,
            &format!("mqtt://127.0.0.1:{}", proxy.port()),
            "",
        )
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
        rate: Some(4_000),
        ..Plan::default()
    });
    devices.until_acked(before, ACK_LIMIT);
    for connections in 1..=CUTS {
        wait::until("edgeferry is connected", RECONNECT_LIMIT, || {
            (scene.mosquitto.connections(CLIENT_ID, mark) >= connections).then_some(())
        });
        devices.until_acked(500, ACK_LIMIT);
        proxy.cut();
    }
    let sent = devices.finish(ACK_LIMIT);
    let verdict = scene.judge(kafka, &sent);
    verdict.assert_clean();
    // What was under way comes again with each of them, and is in doubt once, not each time.
    assert!(verdict.duplicates.marked < verdict.expected / 2, "{verdict}");
}

#[test]
fn a_link_that_is_cut_under_load_costs_few_repetitions_with_mqtt_5() {
    cut_again_and_again("5", 20_000);
}

#[test]
fn a_link_that_is_cut_under_load_costs_few_repetitions_with_mqtt_3() {
    cut_again_and_again("3.1.1", 20_000);
}
