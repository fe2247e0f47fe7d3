//! A broker that has kept more messages than there are packet ids while the gateway was away.

use crate::support::config::CLIENT_ID;
use crate::support::devices::Plan;
use crate::support::kafka::shared;
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{ACK_LIMIT, Scene};

/// Three times the packet ids. Before reading could be held, the release program took 100,000 in one connection, and 400,000 in seven, with
/// 558,496 received: "more unacknowledged messages than packet ids". `./dev bench e2e --only pull` is that one again; the rule itself is tested
/// in `source::tests::acknowledging`.
const MESSAGES: u64 = 200_000;

fn is_taken_in_one_connection(version: &str) {
    let kafka = shared();
    let mut scene = Scene::start(version, kafka, Mosquitto::start(), |config| config);
    scene.daemon.terminate();
    let plan = Plan {
        messages: Some(MESSAGES),
        rate: None,
        ..Plan::default()
    };
    let sent = scene.devices(&plan).finish(ACK_LIMIT);
    let mark = scene.mosquitto.mark();
    scene.daemon.restart();
    let verdict = scene.judge(kafka, &sent);
    assert_eq!(scene.mosquitto.connections(CLIENT_ID, mark), 1, "{verdict}");
    assert_eq!(
        verdict.records, verdict.expected,
        "nothing comes twice: {verdict}"
    );
    verdict.assert_clean();
}

#[test]
fn a_long_queue_of_the_broker_is_taken_in_one_connection_with_mqtt_5() {
    is_taken_in_one_connection("5");
}

#[test]
fn a_long_queue_of_the_broker_is_taken_in_one_connection_with_mqtt_3_1_1() {
    is_taken_in_one_connection("3.1.1");
}
