//! What the MQTT broker sends again: the link to it is cut under load, again and again.

use crate::support::config::Config;
use crate::support::devices::Plan;
use crate::support::kafka::{self, Brokers};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::Verdict;
use crate::support::ports;
use crate::support::proxy::Proxy;
use crate::support::scene::{ACK_LIMIT, FILTER, Scene};
use crate::support::daemon::Daemon;

/// Times that the link is cut.
const CUTS: u64 = 12;

/// A daemon under load whose link to the broker is cut after every `between` messages, [`CUTS`] times.
fn cut_again_and_again(version: &str, before: u64, between: u64) -> Verdict {
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
    let mut scene = Scene { mosquitto, topic, daemon };
    let devices = scene.devices(&Plan {
        rate: None,
        ..Plan::default()
    });
    devices.until_acked(before, ACK_LIMIT);
    for _ in 0..CUTS {
        devices.until_acked(between, ACK_LIMIT);
        proxy.cut();
    }
    let sent = devices.finish(ACK_LIMIT);
    let verdict = scene.judge(kafka, &sent);
    eprintln!("{version}: {} marked of {}, {}", verdict.duplicates.marked, verdict.expected, scene.daemon.log().lines().filter(|l| l.contains("totals")).collect::<String>());
    verdict
}

#[test]
fn x_early_5() {
    cut_again_and_again("5", 500, 2_000).assert_clean();
}
#[test]
fn x_early_3() {
    cut_again_and_again("3.1.1", 500, 2_000).assert_clean();
}
#[test]
fn x_late_5() {
    cut_again_and_again("5", 15_000, 2_000).assert_clean();
}
