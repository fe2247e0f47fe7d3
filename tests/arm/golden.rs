//! Makes `tests/fixtures/store-v2-ARCH.tar.gz`, which `tests/fixture` opens on the processor that CI has, and beside it a list
//! of what was published: not of what was read back. Never again for a released format.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::fleet::until_lane;
use crate::machine::Machine;
use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::kafka::shared;
use crate::support::mosquitto::{Mark, Mosquitto};
use crate::support::mqtt::Link;
use crate::support::ports;
use crate::support::scene::FILTER;
use crate::support::seed::Seed;

/// What its route makes of it is no name for a Kafka topic.
const BAD: &str = "named/no topic/x";
const BAD_FILTER: &str = "named/+/x";
/// Made with the store and of no use in it: who wrote it, and what is only there while a daemon runs or to be given up.
const LEFT_OUT: [&str; 4] = ["./identity.json", "./lock", "./ballast", "./control.sock"];

/// Small ones that share a block, an empty one, one that is no text, and one of several chunks.
fn messages() -> Vec<(String, Vec<u8>)> {
    let small = (1..=20).map(|number| {
        (
            format!("devices/d{}/telemetry", number % 3),
            format!("{{\"number\":{number}}}").into_bytes(),
        )
    });
    let mut seed = Seed::new(32);
    let large = std::iter::repeat_with(|| seed.next().to_le_bytes());
    let odd = [
        ("devices/empty/telemetry".to_owned(), Vec::new()),
        ("devices/bytes/telemetry".to_owned(), vec![0, 255, 128]),
        (
            "devices/größe/telemetry".to_owned(),
            large.flatten().take(30_000).collect(),
        ),
    ];
    small.chain(odd).collect()
}

fn described(messages: &[(String, Vec<u8>)]) -> Value {
    let message = |(topic, payload): &(String, Vec<u8>)| {
        json!({
            "topic": topic,
            "bytes": payload.len(),
            "xxh3": xxhash_rust::xxh3::xxh3_64(payload),
        })
    };
    messages.iter().map(message).collect()
}

fn publish(mosquitto: &Mosquitto, messages: &[(String, Vec<u8>)]) {
    let mut link = Link::connect(mosquitto.port(), "golden", true).expect("the broker is there");
    for (topic, payload) in messages {
        link.publish(topic, payload);
    }
}

#[test]
#[ignore = "makes a fixture anew: packaging/emulation.sh --fixture aarch64"]
fn make_the_fixture_of_aarch64() {
    make_the_fixture(Machine::Aarch64);
}

#[test]
#[ignore = "makes a fixture anew: packaging/emulation.sh --fixture armv7"]
fn make_the_fixture_of_armv7() {
    make_the_fixture(Machine::Armv7);
}

fn make_the_fixture(machine: Machine) {
    let (kafka, mosquitto) = (shared(), Mosquitto::start());
    let topic = kafka.fresh_topic("golden");
    let config = Config::usual("5", &mosquitto, kafka, &topic).route_with(
        "named/{name}/x",
        "named-{name}",
        "key = \"{name}\"",
    );
    let letters: Vec<_> = (1..=3)
        .map(|number| (BAD.to_owned(), format!("letter {number}").into_bytes()))
        .collect();
    let waiting = messages();

    let mut daemon = Daemon::start_by(&machine.program(), &config);
    mosquitto.until_subscribed(FILTER, Mark::default());
    mosquitto.until_subscribed(BAD_FILTER, Mark::default());
    publish(&mosquitto, &letters);
    until_lane(&daemon, "dead_lettered", letters.len() as u64);
    daemon.terminate();
    daemon.reconfigure(&config.bootstrap(&format!("127.0.0.1:{}", ports::free())));
    daemon.restart();
    publish(&mosquitto, &waiting);
    until_lane(&daemon, "queued", waiting.len() as u64);
    daemon.kill();

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut tar = Command::new("tar");
    tar.arg("-C")
        .arg(daemon.store())
        .arg("-czf")
        .arg(folder.join(format!("store-v2-{machine}.tar.gz")));
    tar.args(["--owner=0", "--group=0", "--numeric-owner", "--sort=name"]);
    tar.args(LEFT_OUT.map(|name| format!("--exclude={name}")))
        .arg(".");
    assert!(tar.status().expect("tar runs").success());
    let listed = json!({ "waiting": described(&waiting), "dead_letters": described(&letters) });
    fs::write(
        folder.join(format!("store-v2-{machine}.json")),
        format!("{listed:#}\n"),
    )
    .expect("the folder is writable");
}
