//! A board dies with a backlog; another one takes its place, and nothing is lost. docs/fleet.md has the commands.

use std::process::{Command, Output};

use crate::support::config::{Config, GATEWAY};
use crate::support::daemon::{Daemon, binary};
use crate::support::devices::sent::Sent;
use crate::support::kafka::{Kafka, shared, unused_topic};
use crate::support::manual::{commands, marked};
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

/// The page, and the tests that it leaves commands to.
const PAGE: &str = "docs/fleet.md";
const EXPORTED: &str = "tests/parts/replacement.rs::\
                        a_board_with_an_identity_of_its_own_imports_the_backlog_of_the_dead_one_from_its_card";
const SALVAGED: &str =
    "tests/parts/replacement.rs::a_card_whose_store_no_longer_opens_is_salvaged_into_another_gateway";
const NAMELESS: &str =
    "tests/parts/replacement.rs::a_card_without_its_identity_is_salvaged_when_it_is_said_whose_it_was";

/// A gateway that took messages while Kafka was away, and lost its power. What is left is its card.
struct Dead {
    mosquitto: Mosquitto,
    topic: String,
    config: Config,
    /// The root of its system.
    card: Scratch,
    sent: Sent,
}

impl Dead {
    /// Its `data_dir`.
    fn store(&self) -> std::path::PathBuf {
        self.card.join("var/lib/edgeferry")
    }

    /// Types a command of the page on the machine of `daemon`, with the card in its reader.
    fn type_in(&self, daemon: &Daemon, command: &str) -> Output {
        let program = binary().display().to_string();
        let line = command
            .replace("/mnt/", &format!("{}/", self.card.path().display()))
            .replace("--gateway gw-7 ", &format!("--gateway {GATEWAY} "))
            .replace("edgeferry queue", &format!("{program} queue"));
        // The gateway of the page has its configuration where the command looks by itself.
        let line = match line.contains("queue import") {
            true => format!("{line} --config {}", daemon.beside("edgeferry.toml").display()),
            false => line,
        };
        let typed = Command::new("sh")
            .args(["-e", "-c", &line])
            .current_dir(daemon.beside(""))
            .output();
        let output = typed.expect("there is a shell");
        eprintln!("{line}\n{output:?}");
        output
    }

    /// All commands of the page that it leaves to `test`; each must succeed. What the last one said.
    fn follow(&self, daemon: &Daemon, test: &str) -> String {
        let mut said = String::new();
        for command in commands(&marked(PAGE, test)) {
            let output = self.type_in(daemon, &command);
            assert!(
                output.status.success(),
                "{command}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            said = String::from_utf8_lossy(&output.stdout).into_owned();
        }
        said
    }
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
    let store = card.join("var/lib/edgeferry");
    std::fs::create_dir_all(&store).expect("the card is empty");
    copy_folder(&daemon.store(), &store);
    let kafka = shared();
    kafka.create_topic(&topic, 4, &[]);
    let config = Config::usual("5", &mosquitto, kafka, &topic);
    let file = card.join("etc/edgeferry/edgeferry.toml");
    std::fs::create_dir_all(file.parent().expect("it has one")).expect("the card is ours");
    std::fs::write(file, config.text("/var/lib/edgeferry".as_ref())).expect("the card is ours");
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

#[test]
fn a_new_board_with_the_identity_and_the_store_of_the_dead_one_delivers_its_backlog_and_goes_on_in_order() {
    let mut dead = die_with_a_backlog();
    // Other hardware, as the test of cloned cards makes it.
    let path = dead.store().join("identity.json");
    let identity = std::fs::read_to_string(&path).expect("it has an identity");
    let mut identity: serde_json::Value = serde_json::from_str(&identity).expect("JSON");
    identity["hardware"] = "0000000000000000".into();
    std::fs::write(&path, identity.to_string()).expect("writes");
    // The devices go on while the board is exchanged: their broker keeps it.
    publish(&dead.mosquitto, &mut dead.sent, BACKLOG + 1..=BACKLOG + MORE);
    let mut daemon = Daemon::start(&dead.config.clone().data_dir(&dead.store()));
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
    let said = dead.follow(&daemon, EXPORTED);
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
    let format = dead.store().join("format");
    assert!(format.is_file());
    // Nothing that this program knows, by damage or because the dead board had a later one.
    std::fs::write(&format, "edgeferry-store 99\n").expect("the card is ours");
    let mut daemon = Daemon::start(&dead.config.clone().gateway("gw-third"));
    let opened = commands(&marked(PAGE, EXPORTED));
    let codes: Vec<Option<i32>> = opened[..2]
        .iter()
        .map(|command| dead.type_in(&daemon, command).status.code())
        .collect();
    assert_eq!(codes, [Some(0), Some(74)], "the store no longer opens");
    let said = dead.follow(&daemon, SALVAGED);
    assert_eq!(said, format!("{BACKLOG} messages taken, 0 were here already\n"));
    let mut oracle = Oracle::new(shared(), &dead.topic);
    oracle.until_all_there(&dead.sent, PATIENCE);
    daemon.terminate();
    oracle.verdict(&dead.sent).assert_clean_without_duplicates();
}

#[test]
fn a_card_without_its_identity_is_salvaged_when_it_is_said_whose_it_was() {
    let dead = die_with_a_backlog();
    for name in ["identity.json", "lock"] {
        drop(std::fs::remove_file(dead.store().join(name)));
    }
    let mut daemon = Daemon::start(&dead.config.clone().gateway("gw-third"));
    let [salvage, import] = &commands(&marked(PAGE, SALVAGED))[..] else {
        panic!("one salvages and one imports")
    };
    let refused = dead.type_in(&daemon, salvage);
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(64), "{complaint}");
    assert!(complaint.contains("write --gateway ID"), "{complaint}");
    dead.follow(&daemon, NAMELESS);
    let taken = dead.type_in(&daemon, import);
    let said = String::from_utf8_lossy(&taken.stdout).into_owned();
    assert_eq!(said, format!("{BACKLOG} messages taken, 0 were here already\n"));
    let mut oracle = Oracle::new(shared(), &dead.topic);
    oracle.until_all_there(&dead.sent, PATIENCE);
    daemon.terminate();
    oracle.verdict(&dead.sent).assert_clean_without_duplicates();
}
