//! Every way to a broker carries messages: TCP, TLS, WebSocket, TLS below a WebSocket, Unix socket; with both versions.

use std::fmt::Write as _;
use std::time::Duration;

use rumqttc::{Publish, QoS};

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::kafka::shared;
use crate::support::mosquitto::guarded::{Door, Guarded};
use crate::support::mqtt::Link;
use crate::support::oracle::Reader;

/// Ten connections of a debug binary on a busy machine.
const CONNECTED: Duration = Duration::from_mins(1);
/// Through the queue into Kafka.
const DELIVERED: Duration = Duration::from_mins(1);
/// Messages for each way.
const EACH: usize = 20;
/// More than one read of a socket, one frame of TLS, or the first size of any buffer brings.
const LARGE_BYTES: usize = 300_000;

/// Every way in, with both versions: a name, the version, the url, further lines.
fn ways(guarded: &Guarded) -> Vec<(String, &'static str, String, String)> {
    let ca = format!("ca_file = \"{}\"\n", guarded.authority().ca().display());
    let doors = [
        (
            "tcp",
            format!("mqtt://127.0.0.1:{}", guarded.mosquitto.port()),
            "",
        ),
        ("tls", guarded.url(Door::Tls), ca.as_str()),
        ("ws", guarded.url(Door::WebSocket), ""),
        ("wss", guarded.url(Door::SecureWebSocket), ca.as_str()),
        ("unix", guarded.socket_url(), ""),
    ];
    let mut ways = Vec::new();
    for (version, number) in [("5", 5), ("3.1.1", 3)] {
        for (name, url, lines) in &doors {
            let name = format!("{name}{number}");
            // They are clients of one broker.
            let lines = format!("{lines}client_id = \"gw-{name}\"\n");
            ways.push((name, version, url.clone(), lines));
        }
    }
    ways
}

#[test]
fn every_scheme_delivers_with_both_versions_and_each_link_has_a_state_of_its_own() {
    let kafka = shared();
    let guarded = Guarded::start();
    let topic = kafka.fresh_topic("transports");
    let ways = ways(&guarded);
    let mut config = Config::new(kafka);
    for (name, version, url, lines) in &ways {
        config = config.broker_at(name, version, url, lines);
        let route = format!("broker = \"{name}\"");
        config = config.route_with(&format!("{name}/{{device}}"), &topic, &route);
    }
    let mark = guarded.mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    for (name, ..) in &ways {
        guarded.mosquitto.until_subscribed(&format!("{name}/+"), mark);
    }
    daemon
        .notify()
        .until_status("all links are up", CONNECTED, |status| {
            ways.iter()
                .all(|(name, ..)| status.contains(&format!("mqtt {name}: up")))
        });
    let mut expected = publish(&guarded, &ways);
    let mut reader = Reader::new(&kafka.bootstrap(), &topic);
    let mut found: Vec<Vec<u8>> = Vec::new();
    while found.len() < expected.len() {
        let record = reader.next(DELIVERED).expect("everything comes to Kafka");
        found.push(record.value);
    }
    daemon.terminate();
    found.extend(reader.rest(DELIVERED).into_iter().map(|record| record.value));
    found.sort();
    expected.sort();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(start(found), start(expected));
        assert_eq!(found, expected, "byte for byte");
    }
    assert_eq!(found.len(), expected.len(), "each once");
}

/// Small messages and a large one for each way; what they hold.
fn publish(guarded: &Guarded, ways: &[(String, &str, String, String)]) -> Vec<Vec<u8>> {
    let mut link = Link::connect(guarded.mosquitto.port(), "device", true).expect("it runs");
    let mut sent = Vec::new();
    for (name, ..) in ways {
        for number in 0..=EACH {
            let mut payload = format!("{name} {number} ");
            while number == EACH && payload.len() < LARGE_BYTES {
                write!(payload, "{}-", payload.len()).expect("text can grow");
            }
            let payload = payload.into_bytes();
            let topic = format!("{name}/d{number}");
            link.publish_packet(Publish::new(topic, QoS::AtLeastOnce, payload.clone()));
            sent.push(payload);
        }
    }
    sent
}

/// Enough of a payload to know it by.
fn start(payload: &[u8]) -> String {
    String::from_utf8_lossy(&payload[..payload.len().min(40)]).into_owned()
}
