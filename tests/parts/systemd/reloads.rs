//! `systemctl reload`: over when it returns, and a wrong file changes nothing.

use super::unit::Unit;
use crate::support::config::Config;
use crate::support::container::shared;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER};

#[test]
fn a_reload_is_over_when_systemctl_returns_and_a_wrong_file_changes_nothing() {
    let Some(machine) = shared() else { return };
    let kafka = kafka::shared();
    let mosquitto = Mosquitto::start();
    let (topic, alarms) = (kafka.fresh_topic("reloaded"), kafka.fresh_topic("alarms"));
    let unit = Unit::instance(machine, "reloaded");
    let config = Config::usual("5", &mosquitto, kafka, &topic);
    unit.configure(&config);
    let mark = mosquitto.mark();
    unit.start();
    mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(&mosquitto, &Plan::default());
    devices.until_acked(300, ACK_LIMIT);
    let process = unit.property("MainPID");

    let lines = "lane = \"alarms\"";
    let changed = config
        .clone()
        .lane("alarms", "")
        .route_with("devices/{device}/alarm", &alarms, lines);
    unit.configure(&changed);
    unit.reload();
    // Nothing is waited for: what it says is there, and so is the lane.
    assert_eq!(unit.property("SubState"), "running");
    let log = unit.log();
    assert!(log.contains("lane alarms added"), "{log}");
    let listed = unit.cli("root", &["queue", "ls", "--lane", "alarms"]);
    assert!(listed.status.success(), "{listed:?}");

    let wrong = format!("{}\nnonsense = 1\n", changed.text(unit.store.as_ref()));
    machine.write(&unit.config, &wrong);
    let refused = machine.try_run(&["systemctl", "reload", &unit.name]);
    assert!(!refused.status.success(), "systemctl says that it was refused");
    assert!(unit.log().contains("nonsense"), "{}", unit.log());
    assert_eq!(unit.property("SubState"), "running");
    assert_eq!(unit.property("MainPID"), process, "nothing was restarted");
    devices.until_acked(300, ACK_LIMIT);
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    unit.stop();
    oracle.verdict(&sent).assert_clean_without_duplicates();
}
