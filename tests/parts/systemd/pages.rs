//! The pages for operators, followed from top to bottom on bare systems: what they say to type and to write works, in that order.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::Value;

use super::card::Card;
use super::unit::Unit;
use super::walk::Walk;
use crate::support::config::Config;
use crate::support::container::Container;
use crate::support::daemon::binary;
use crate::support::kafka::{Kafka, shared, unused_topic};
use crate::support::manual::{self, Step, page};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::Reader;
use crate::support::ports;
use crate::support::wait;

/// In this order: each may rely on what those before it did, and the last one ends what makes this gateway itself.
const PAGES: [&str; 13] = [
    "docs/gateway.md",
    "docs/mosquitto.md",
    "docs/storage.md",
    "docs/capacity.md",
    "docs/operations.md",
    "docs/links.md",
    "docs/queue.md",
    "docs/container.md",
    "docs/status.md",
    "docs/verify.md",
    "docs/guarantees.md",
    "docs/drill.md",
    "docs/fleet.md",
];
/// Pages with a system of their own, and the test that follows them.
const ELSEWHERE: [(&str, &str); 2] = [
    (
        "docs/systemd.md",
        "tests/parts/systemd/pages.rs::the_page_of_the_units_sets_up_a_gateway_without_a_package",
    ),
    (
        "docs/install.md",
        "tests/parts/systemd/package.rs::every_command_of_the_page_about_installing_works_in_its_order",
    ),
];
/// A daemon that has just been started, on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);
/// What the firmware of a board hands to its kernel.
const CMDLINE: &str = "/boot/firmware/cmdline.txt";

#[test]
fn every_command_of_the_pages_for_operators_works_in_the_order_of_the_pages() {
    let kafka = shared();
    let topic = unused_topic("pages");
    let (mqtt, http) = (ports::free(), ports::free());
    let here = [
        ("kafka.example:9092", &*kafka.bootstrap()),
        ("topic = \"telemetry\"", &format!("topic = \"{topic}\"")),
        (
            "# listen = \"127.0.0.1:8484\"",
            &format!("listen = \"127.0.0.1:{http}\""),
        ),
        ("http://127.0.0.1:8484/", &format!("http://127.0.0.1:{http}/")),
        // Debian's Mosquitto with the shipped file, on a port that nobody else of this machine has.
        (
            "/etc/mosquitto/conf.d/edgeferry.conf\n",
            &format!(
                "/etc/mosquitto/conf.d/edgeferry.conf\nsed -i 's/^listener 1883$/listener {mqtt} 127.0.0.1/' \
                 /etc/mosquitto/conf.d/edgeferry.conf\n"
            ),
        ),
        ("mosquitto_pub -u", &format!("mosquitto_pub -p {mqtt} -u")),
        // A minute of it is for gateways.
        ("edgeferry drill", "edgeferry drill --seconds 5"),
        ("--config FILE", "--config /etc/edgeferry/edgeferry.toml"),
    ];
    let Some(mut walk) = Walk::begin(&here) else {
        return;
    };
    put_on_the_board(&walk.machine);
    let card = RefCell::new(Card::insert(&walk.machine));
    for name in PAGES {
        eprintln!("--- {name}");
        if name == "docs/storage.md" && card.borrow().is_none() {
            continue;
        }
        if name != PAGES[0] {
            until_it_answers(&walk.machine);
        }
        walk.follow(&page(name), |machine, commands| {
            before(machine, &card, commands);
        });
        match name {
            "docs/gateway.md" => {
                let record = Reader::new(&kafka.bootstrap(), &topic).next(LIMIT);
                let record = record.expect("the message of the page comes through the socket to Kafka");
                assert_eq!(record.key.as_deref(), Some(&b"press-4"[..]));
                assert_eq!(record.value, br#"{"pressure":7.25}"#);
                let said = walk.machine.run(&["edgeferry", "check"]);
                assert!(said.contains("can lose"), "{said}");
                assert!(
                    !said.contains("mosquitto.conf"),
                    "the shipped file leaves nothing to wish for: {said}"
                );
                let line = std::fs::read_to_string(walk.machine.path(CMDLINE)).expect("it is there");
                assert_eq!(line, "root=PARTUUID=1-02 rootwait cgroup_enable=memory\n");
            }
            "docs/storage.md" => {
                a_read_only_root_carries_messages(&walk.machine, mqtt);
                let line = std::fs::read_to_string(walk.machine.path(CMDLINE)).expect("it is there");
                assert!(line.starts_with("overlayroot=tmpfs:recurse=0 root="), "{line}");
                card.take();
            }
            _ => {}
        }
    }
    assert!(walk.commands > 70, "only {} commands", walk.commands);
}

/// What a board has and a container has not, and what somebody else gave the reader.
fn put_on_the_board(machine: &Container) {
    let put = |path: &str, text: &str| {
        let path = machine.path(path);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("the root is ours");
        std::fs::write(path, text).expect("the root is ours");
    };
    put(CMDLINE, "root=PARTUUID=1-02 rootwait\n");
    for file in ["kafka-cert.pem", "kafka-key.pem"] {
        put(&format!("/root/{file}"), "of this board\n");
    }
}

/// What has to be so when a reader comes to these commands.
fn before(machine: &Container, card: &RefCell<Option<Card>>, commands: &str) {
    if commands.contains("mosquitto_pub") {
        until_connected(machine);
    }
    if commands.contains("e2fsck") {
        // Taken out and put in again.
        card.borrow().as_ref().expect("it is in the reader").show(machine);
    }
    if commands.contains("overlayroot=tmpfs") {
        // As raspi-config leaves it.
        machine.run(&["sed", "-i", "1s/^/overlayroot=tmpfs /", CMDLINE]);
    }
    if commands.contains("findmnt") {
        let said = machine.run(&["findmnt", "-no", "FSTYPE", "--target", "/var/lib/edgeferry"]);
        assert_eq!(said.trim(), "ext4", "the store is where the page has put it");
    }
}

/// Whoever reads takes longer than the daemon to start.
fn until_it_answers(machine: &Container) {
    wait::until("the daemon answers", LIMIT, || {
        let said = machine.attempt(&["edgeferry", "status", "--json"])?;
        said.status.success().then_some(())
    });
}

fn state(machine: &Container) -> Value {
    let said = machine.run(&["edgeferry", "status", "--json"]);
    serde_json::from_str(&said).expect("JSON")
}

/// Whoever types a command takes longer than the daemon to connect.
fn until_connected(machine: &Container) {
    wait::until("the daemon is connected", LIMIT, || {
        (state(machine)["lanes"][0]["brokers"][0]["link"]["state"] == "up").then_some(())
    });
}

/// As the page has it: the store on a partition of its own, Mosquitto's database somewhere that lasts, logs in memory, and all else
/// read-only.
fn a_read_only_root_carries_messages(machine: &Container, mqtt: u16) {
    let script = "mount --bind /var/lib/mosquitto /var/lib/mosquitto\nmount -t tmpfs tmpfs /var/log\n\
                  install -d -o mosquitto /var/log/mosquitto\nsystemctl restart systemd-journald mosquitto\n\
                  mount -o remount,bind,ro /";
    machine.run(&["sh", "-e", "-c", script]);
    assert!(
        !machine
            .try_run(&["touch", "/etc/edgeferry/written"])
            .status
            .success(),
        "the root is read-only"
    );
    machine.run(&["systemctl", "restart", "edgeferry"]);
    until_it_answers(machine);
    until_connected(machine);
    let delivered = |state: &Value| state["lanes"][0]["ledger"]["delivered"].as_u64();
    let former = delivered(&state(machine));
    let publish = format!(
        "mosquitto_pub -p {mqtt} -u press-4 -P 'first device password' -q 1 -t devices/press-4/telemetry -m '{{}}'"
    );
    machine.run(&["sh", "-e", "-c", &publish]);
    wait::until("one more is delivered", LIMIT, || {
        (delivered(&state(machine)) > former).then_some(())
    });
    machine.run(&["mount", "-o", "remount,bind,rw", "/"]);
}

#[test]
fn the_page_of_the_units_sets_up_a_gateway_without_a_package() {
    let Some(mut walk) = Walk::begin_without_package(&[]) else {
        return;
    };
    let (kafka, mosquitto) = (Kafka::absent(), Mosquitto::absent());
    let config = |store: &str| Config::usual("5", &mosquitto, &kafka, "telemetry").text(store.as_ref());
    let home = walk.machine.path("/root");
    std::fs::create_dir(home.join("systemd")).expect("the root is ours");
    std::fs::copy(binary(), home.join("edgeferry")).expect("there is room");
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    for entry in std::fs::read_dir(source).expect("it is there") {
        let path = entry.expect("readable").path();
        let to = home.join("systemd").join(path.file_name().expect("it has one"));
        std::fs::copy(&path, to).expect("there is room");
    }
    std::fs::write(home.join("edgeferry.toml"), config("/var/lib/edgeferry")).expect("there is room");
    walk.follow(&page("docs/systemd.md"), |machine, commands| {
        if commands.contains("/data/edgeferry") {
            // The secrets that the drop-ins above it name.
            let script = "umask 077\nprintf one > /etc/edgeferry/mqtt-password\nprintf two > /etc/edgeferry/kafka-password\n\
                          openssl rand -hex 32 | systemd-creds encrypt --name=queue-key - /etc/edgeferry/queue-key.cred";
            machine.run(&["sh", "-e", "-c", script]);
        }
        if commands.contains("edgeferry@east") {
            for name in ["east", "west"] {
                let text = config(&format!("/var/lib/edgeferry-{name}"));
                machine.write(&format!("/etc/edgeferry/{name}.toml"), &text);
            }
        }
    });
    let machine = &walk.machine;
    // They are stopped when these go.
    let (only, east, west) = (
        Unit::only(machine),
        Unit::instance(machine, "east"),
        Unit::instance(machine, "west"),
    );
    for unit in [&only, &east, &west] {
        unit.until("ActiveState", |state| state == "active");
    }
    let said = machine.run(&["ls", "/run/credentials/edgeferry.service"]);
    assert_eq!(said, "kafka-password\nmqtt-password\nqueue-key\n");
    for store in [
        "/data/edgeferry",
        "/var/lib/edgeferry-east",
        "/var/lib/edgeferry-west",
    ] {
        assert!(
            machine.path(store).join("control.sock").exists(),
            "{store} is used"
        );
    }
    assert!(walk.commands >= 14, "only {} commands", walk.commands);
}

/// The pages that `docs/operations.md` sends a reader to.
fn named_by_the_entry() -> Vec<String> {
    let entry = page("docs/operations.md");
    let (_, way_in) = entry.split_once("## The way in\n").expect("it has one");
    let way_in = way_in.split("\n## ").next().expect("there is a first part");
    let links = way_in
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    links.map(|link| format!("docs/{link}")).collect()
}

#[test]
fn every_page_for_operators_that_the_entry_names_is_followed() {
    let named = named_by_the_entry();
    assert!(named.len() > 15, "{named:?}");
    for name in &named {
        let elsewhere = ELSEWHERE.iter().find(|(page, _)| page == name);
        if let Some((name, test)) = elsewhere {
            assert!(
                manual::is_test_of(name, test),
                "there is no test {test} that reads {name}"
            );
            continue;
        }
        let to_type = manual::steps(&page(name));
        let is_typed = |step: &&Step| matches!(step, Step::Commands(_) | Step::File(..));
        let first = to_type.iter().find(is_typed);
        assert!(
            PAGES.contains(&&**name) || first.is_none(),
            "{name} has something to do, and nobody follows it: {first:?}"
        );
    }
    for name in PAGES {
        let is_named = named.iter().any(|named| named == name) || name == "docs/operations.md";
        assert!(is_named, "the entry does not lead to {name}");
    }
}

#[test]
fn commands_that_a_page_leaves_to_a_test_are_taken_from_the_page_by_a_test_of_that_name() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut marks = 0;
    for entry in std::fs::read_dir(docs).expect("it is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|ending| ending != "md") {
            continue;
        }
        let name = format!("docs/{}", path.file_name().expect("it has one").to_string_lossy());
        for test in manual::left_to(&page(&name)) {
            assert!(
                manual::is_test_of(&name, test),
                "{name}: {test} is no test that reads it"
            );
            marks += 1;
        }
    }
    assert!(marks >= 3, "only {marks} marks");
}
