//! What the tests of this target share: loads that an emulated daemon can take, waits, and the line that each test ends with.

use std::time::Instant;

use serde_json::Value;

use crate::machine::Machine;
use crate::support::daemon::Daemon;
use crate::support::devices::sent::Sent;
use crate::support::devices::{Devices, Plan};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::Verdict;
use crate::support::scene::ACK_LIMIT;
use crate::support::wait;

/// Of fewer devices than usual, at a rate that leaves an emulated processor time for recovery.
pub fn load() -> Plan {
    Plan {
        devices: 10,
        connections: 2,
        rate: Some(200),
        ..Plan::default()
    }
}

/// A fleet whose names begin with `prefix` says so much, as fast as the broker takes it.
pub fn publish(mosquitto: &Mosquitto, prefix: &'static str, messages: u64) -> Sent {
    let plan = Plan {
        prefix,
        messages: Some(messages),
        rate: None,
        ..load()
    };
    Devices::start(mosquitto, &plan).finish(ACK_LIMIT)
}

/// A number of what a command said.
pub fn number(said: &Value, name: &str) -> u64 {
    said[name].as_u64().unwrap_or_else(|| panic!("{name} in {said}"))
}

/// Waits until the lane's account says that much, asking the daemon or the store.
pub fn until_lane(daemon: &Daemon, name: &str, count: u64) {
    wait::until(&format!("{name} is {count}"), ACK_LIMIT, || {
        (number(&daemon.lane(), name) >= count).then_some(())
    });
}

/// The dead letters of a store.
pub fn letters(daemon: &Daemon) -> u64 {
    let said = daemon.dead_letter(&["ls", "--json"]);
    let answer: Value = serde_json::from_str(&said).expect("one line of JSON");
    number(&answer["letters"], "letters")
}

/// The line for the table in `docs/reliability.md`.
pub fn report(machine: Machine, what: &str, began: Instant, verdict: &Verdict) {
    eprintln!(
        "figures: {machine}: {what}: {} messages, {} records, {} lost, {} reordered, duplicates {} with the same id and {} marked, {} s",
        verdict.expected,
        verdict.records,
        verdict.lost.len(),
        verdict.reordered.len(),
        verdict.duplicates.same_id,
        verdict.duplicates.marked,
        began.elapsed().as_secs(),
    );
}
