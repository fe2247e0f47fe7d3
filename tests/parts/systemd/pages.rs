//! The pages for operators, followed from top to bottom on one bare system: what they say to type and to write works, in that order.

use std::time::Duration;

use super::walk::Walk;
use crate::support::container::Container;
use crate::support::kafka::{shared, unused_topic};
use crate::support::manual::page;
use crate::support::oracle::Reader;
use crate::support::ports;
use crate::support::wait;

/// In this order: each may rely on what those before it did, and the last one ends what makes this gateway itself.
const PAGES: [&str; 9] = [
    "docs/gateway.md",
    "docs/mosquitto.md",
    "docs/storage.md",
    "docs/capacity.md",
    "docs/operations.md",
    "docs/links.md",
    "docs/queue.md",
    "docs/container.md",
    "docs/fleet.md",
];
/// A daemon that has just been started, on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

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
        // Debian's Mosquitto with the shipped file, on a port that nobody else of this machine has.
        (
            "/etc/mosquitto/conf.d/edgeferry.conf\n",
            &format!(
                "/etc/mosquitto/conf.d/edgeferry.conf\nsed -i 's/^listener 1883$/listener {mqtt} 127.0.0.1/' \
                 /etc/mosquitto/conf.d/edgeferry.conf\n"
            ),
        ),
        ("mosquitto_pub -u", &format!("mosquitto_pub -p {mqtt} -u")),
    ];
    let Some(mut walk) = Walk::begin(&here) else {
        return;
    };
    for name in PAGES {
        eprintln!("--- {name}");
        let machine = &walk.machine;
        // Whoever reads takes longer than the daemon to start and to connect.
        let settled = || {
            wait::or_give_up(LIMIT, || {
                let said = machine.attempt(&["edgeferry", "status", "--json"])?;
                said.status.success().then_some(())
            });
        };
        if name != PAGES[0] {
            settled();
        }
        walk.follow(&page(name), |machine, commands| {
            if commands.contains("mosquitto_pub") {
                until_connected(machine);
            }
        });
        if name == PAGES[0] {
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
        }
    }
    assert!(walk.commands > 40, "only {} commands", walk.commands);
}

/// Whoever types a command takes longer than the daemon to connect.
fn until_connected(machine: &Container) {
    wait::until("the daemon is connected", LIMIT, || {
        let said = machine.run(&["edgeferry", "status", "--json"]);
        let state: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        (state["lanes"][0]["brokers"][0]["link"]["state"] == "up").then_some(())
    });
}

/// `docs/operations.md` names every page that is followed here.
#[test]
fn every_page_for_operators_that_the_entry_names_is_followed() {
    let entry = page("docs/operations.md");
    let (_, way_in) = entry.split_once("## The way in\n").expect("it has one");
    let way_in = way_in.split("\n## ").next().expect("there is a first part");
    for name in PAGES {
        let link = format!("]({}", name.trim_start_matches("docs/"));
        assert!(
            name == "docs/operations.md" || way_in.contains(&link),
            "{name} is not in the way in"
        );
    }
}
