//! A board dies with a backlog; another one takes its place, and nothing is lost. docs/fleet.md has the commands.

use std::path::Path;

use crate::support::config::{Config, GATEWAY};
use crate::support::daemon::Daemon;
use crate::support::devices::sent::Sent;
use crate::support::kafka::{Kafka, shared, unused_topic};
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::payload::{USUAL_BYTES, payload};
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::scratch::{Scratch, copy_folder};
use crate::support::wait;

const BACKLOG: u64 = 2_000;
/// What comes when the board is dead, and when another is there.
const MORE: u64 = 400;
const DEVICES: u64 = 20;

/// A gateway that took messages while Kafka was away, and lost its power. What is left is its card.
struct Dead {
    mosquitto: Mosquitto,
    topic: String,
    config: Config,
    card: Scratch,
    sent: Sent,
}

fn die_with_a_backlog() -> Dead {
    let (away, mosquitto) = (Kafka::absent(), Mosquitto::start());
    let topic = unused_topic("replaced");
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&Config::usual("5", &mosquitto, &away, &topic));
    mosquitto.until_subscribed(FILTER, mark);
    let mut sent = Sent::new();
    publish(&mosquitto, &mut sent, 1..=BACKLOG);
    wait::until("all of it is stored", ACK_LIMIT, || {
        (daemon.lane()["received"] == BACKLOG).then_some(())
    });
    daemon.kill();
    // Nobody listens there any more, and a socket cannot be copied as a file.
    std::fs::remove_file(daemon.store().join("control.sock")).expect("it was made");
    let card = Scratch::new("card");
    copy_folder(&daemon.store(), card.path());
    let kafka = shared();
    kafka.create_topic(&topic, 4, &[]);
    let config = Config::usual("5", &mosquitto, kafka, &topic);
    Dead {
        mosquitto,
        topic,
        config,
        card,
        sent,
    }
}

/// A few devices, one after the other; each goes on numbering where it was.
fn publish(mosquitto: &Mosquitto, sent: &mut Sent, numbers: std::ops::RangeInclusive<u64>) {
    let mut link = Link::connect(mosquitto.port(), "device", true).expect("it accepts");
    for number in numbers {
        let (device, seq) = (format!("d{}", number % DEVICES), number.div_ceil(DEVICES));
        link.publish(&sent.topic_of(&device, seq), &payload(&device, seq, USUAL_BYTES));
        sent.note(&device, seq);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test folders have plain names")
}

#[test]
fn a_new_board_with_the_identity_and_the_store_of_the_dead_one_delivers_its_backlog_and_goes_on_in_order() {
    let mut dead = die_with_a_backlog();
    // Other hardware, as the test of cloned cards makes it.
    let path = dead.card.join("identity.json");
    let identity = std::fs::read_to_string(&path).expect("it has an identity");
    let mut identity: serde_json::Value = serde_json::from_str(&identity).expect("JSON");
    identity["hardware"] = "0000000000000000".into();
    std::fs::write(&path, identity.to_string()).expect("writes");
    // The devices go on while the board is exchanged: their broker keeps it.
    publish(&dead.mosquitto, &mut dead.sent, BACKLOG + 1..=BACKLOG + MORE);
    let mut daemon = Daemon::start(&dead.config.clone().data_dir(dead.card.path()));
    publish(
        &dead.mosquitto,
        &mut dead.sent,
        BACKLOG + MORE + 1..=BACKLOG + 2 * MORE,
    );
    let mut oracle = Oracle::new(shared(), &dead.topic);
    oracle.until_all_there(&dead.sent, PATIENCE);
    daemon.terminate();
    assert!(
        daemon.log().contains("made on other hardware"),
        "{}",
        daemon.log()
    );
    oracle.verdict(&dead.sent).assert_clean_without_duplicates();
}

#[test]
fn a_board_with_an_identity_of_its_own_imports_the_backlog_of_the_dead_one_from_its_card() {
    let mut dead = die_with_a_backlog();
    let second = dead.config.clone().gateway("gw-second");
    // Its session begins where the other's ends: what devices send in between is kept for the dead one.
    let mut daemon = Daemon::start(&second);
    let file = daemon.beside("backlog.jsonl");
    let at_card = daemon.beside("card.toml");
    std::fs::write(&at_card, dead.config.text(dead.card.path())).expect("writes");
    let output = std::process::Command::new(crate::support::daemon::binary())
        .args([
            "queue",
            "export",
            "--output",
            text(&file),
            "--config",
            text(&at_card),
        ])
        .output();
    let output = output.expect("the binary runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (code, said, complaint) = daemon.try_queue(&["import", text(&file)]);
    assert_eq!(code, Some(0), "{complaint}");
    assert_eq!(said, format!("{BACKLOG} messages taken, 0 were here already\n"));
    // The same devices, now through the new board: behind what was imported.
    publish(&dead.mosquitto, &mut dead.sent, BACKLOG + 1..=BACKLOG + MORE);
    let mut oracle = Oracle::new(shared(), &dead.topic);
    oracle.until_all_there(&dead.sent, PATIENCE);
    daemon.terminate();
    let mut verdict = oracle.verdict(&dead.sent);
    // The oracle knows the gateway of the backlog; the rest is of the one that took over.
    assert_eq!(verdict.bad_headers.len() as u64, MORE, "{verdict}");
    let gateways = |name: &str| {
        let records = oracle.records().iter();
        records
            .filter(|record| record.header("edgeferry-gateway") == Some(name))
            .count() as u64
    };
    assert_eq!((gateways(GATEWAY), gateways("gw-second")), (BACKLOG, MORE));
    verdict.bad_headers.clear();
    verdict.assert_clean_without_duplicates();
}

#[test]
fn a_card_whose_store_no_longer_opens_is_salvaged_into_another_gateway() {
    let dead = die_with_a_backlog();
    // Without its identity no gateway takes it for its own.
    for name in ["identity.json", "lock"] {
        drop(std::fs::remove_file(dead.card.join(name)));
    }
    let mut daemon = Daemon::start(&dead.config.clone().gateway("gw-third"));
    let file = daemon.beside("salvaged.jsonl");
    let output = std::process::Command::new(crate::support::daemon::binary())
        .args([
            "queue",
            "salvage",
            text(dead.card.path()),
            "--output",
            text(&file),
        ])
        .args(["--gateway", "gw-test", "--lane", "default"])
        .output();
    let output = output.expect("the binary runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = daemon.queue(&["import", text(&file)]);
    assert_eq!(said, format!("{BACKLOG} messages taken, 0 were here already\n"));
    let mut oracle = Oracle::new(shared(), &dead.topic);
    oracle.until_all_there(&dead.sent, PATIENCE);
    daemon.terminate();
    oracle.verdict(&dead.sent).assert_clean_without_duplicates();
}
