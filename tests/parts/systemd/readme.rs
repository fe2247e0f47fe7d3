//! From the package to the first record in Kafka, as the README says it, word for word.

use std::time::Duration;

use super::walk::Walk;
use crate::planted::get;
use crate::support::kafka::{shared, unused_topic};
use crate::support::manual::{page, section};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::Reader;
use crate::support::ports;
use crate::support::scene::FILTER;
use crate::support::wait;

/// What a person may have to type, and to edit.
const COMMANDS_MAX: usize = 5;
const EDITED_MAX: usize = 6;
/// Through queue and Kafka.
const DELIVERED: Duration = Duration::from_mins(1);

#[test]
fn five_commands_and_six_edited_lines_lead_from_the_package_to_the_first_record_in_kafka() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = unused_topic("readme");
    let (port, http) = (mosquitto.port(), ports::free());
    let here = [
        ("mqtt://broker.example:1883", &*format!("mqtt://127.0.0.1:{port}")),
        ("-h broker.example", &format!("-h 127.0.0.1 -p {port}")),
        ("kafka.example:9092", &kafka.bootstrap()),
        ("topic = \"telemetry\"", &format!("topic = \"{topic}\"")),
        (
            "# listen = \"127.0.0.1:8484\"",
            &format!("listen = \"127.0.0.1:{http}\""),
        ),
    ];
    let Some(mut walk) = Walk::begin(&here) else {
        return;
    };
    let readme = page("README.md");
    let mark = mosquitto.mark();
    // A person takes longer than the daemon to connect.
    walk.follow(section(&readme, "## Install on a gateway"), |_, commands| {
        if commands.contains("mosquitto_pub") {
            mosquitto.until_subscribed(FILTER, mark);
        }
    });
    let mut reader = Reader::new(&kafka.bootstrap(), &topic);
    let record = reader.next(DELIVERED).expect("the first record comes to Kafka");
    assert_eq!(record.key.as_deref(), Some(&b"d1"[..]));
    assert_eq!(record.value, br#"{"temperature":21.5}"#);
    assert_eq!(reader.partitions(), 6);
    wait::until("the status says that it was delivered", DELIVERED, || {
        let said = walk.machine.run(&["edgeferry", "status", "--json"]);
        let state: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        (state["lanes"][0]["ledger"]["delivered"] == 1).then_some(())
    });
    // What the page of the first steps says to look at; the container shares our loopback.
    for (path, what) in [
        ("/", "</html>"),
        ("/health/ready", "\"summary\""),
        (
            "/metrics",
            "edgeferry_messages_delivered_total{lane=\"default\"} 1",
        ),
    ] {
        // What it answers may be a second old.
        wait::until(path, DELIVERED, || {
            let answer = get(http, path, "")?;
            (answer.contains(" 200 ") && answer.contains(what)).then_some(())
        });
    }
    let (commands, edited) = (walk.commands, walk.edited);
    eprintln!("{commands} commands, {edited} edited lines");
    assert!(commands <= COMMANDS_MAX, "{commands} commands");
    assert!(edited <= EDITED_MAX, "{edited} edited lines");
    assert!(commands >= 4 && edited >= 4, "the README says more than that");
}
