//! Several gateways on one machine, and one that an older unit began.

use std::os::unix::fs::MetadataExt;

use super::unit::Unit;
use crate::support::config::Config;
use crate::support::container::shared;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{self, Kafka, PARTITIONS, unused_topic};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER};

#[test]
fn two_instances_run_side_by_side_each_with_its_own_store() {
    let Some(machine) = shared() else { return };
    let kafka = kafka::shared();
    let parts = ["east", "west"].map(|name| {
        let mosquitto = Mosquitto::start();
        let topic = kafka.fresh_topic(name);
        let unit = Unit::instance(machine, name);
        let config = Config::usual("5", &mosquitto, kafka, &topic);
        unit.configure(&config);
        let mark = mosquitto.mark();
        unit.start();
        mosquitto.until_subscribed(FILTER, mark);
        let devices = Devices::start(&mosquitto, &Plan::default());
        (unit, mosquitto, topic, devices)
    });
    for (_, _, _, devices) in &parts {
        devices.until_acked(500, ACK_LIMIT);
    }
    for (unit, _mosquitto, topic, devices) in parts {
        let sent = devices.finish(ACK_LIMIT);
        let mut oracle = Oracle::new(kafka, &topic);
        oracle.until_all_there(&sent, PATIENCE);
        let owner = std::fs::metadata(machine.path(&unit.store)).expect("it has a store of its own");
        assert_eq!(owner.uid(), machine.id("passwd"));
        unit.stop();
        oracle.verdict(&sent).assert_clean_without_duplicates();
    }
}

#[test]
fn an_instance_that_names_a_store_which_is_not_its_own_says_so_and_goes_on_trying() {
    let Some(machine) = shared() else { return };
    let unit = Unit::instance(machine, "elsewhere");
    let kafka = Kafka::absent();
    let mosquitto = Mosquitto::absent();
    let config = Config::usual("5", &mosquitto, &kafka, "telemetry");
    machine.write(&unit.config, &config.text("/var/lib/edgeferry-nobodys".as_ref()));
    assert!(!unit.try_start().status.success());
    unit.until("ExecMainStatus", |status| status == "74");
    assert!(
        unit.log().contains("/var/lib/edgeferry-nobodys"),
        "{}",
        unit.log()
    );
    assert!(unit.log().contains("Read-only file system"), "{}", unit.log());
    // What docs/systemd.md advises; nobody has to start it.
    let owner = [
        "install",
        "-d",
        "-o",
        "edgeferry",
        "-g",
        "edgeferry",
        "-m",
        "0700",
    ];
    machine.run(&[&owner[..], &["/var/lib/edgeferry-nobodys"]].concat());
    unit.drop_in("ReadWritePaths=/var/lib/edgeferry-nobodys");
    unit.until("SubState", |state| state == "running");
    assert!(machine.path("/var/lib/edgeferry-nobodys/lock").is_file());
}

#[test]
fn a_backlog_of_a_unit_with_dynamic_user_is_delivered_by_the_one_with_a_user_of_its_own() {
    let Some(machine) = shared() else { return };
    let kafka = kafka::shared();
    let mosquitto = Mosquitto::start();
    // It is missing, so everything waits.
    let topic = unused_topic("upgrade");
    let unit = Unit::instance(machine, "upgrade");
    unit.drop_in("User=edgeferry-former\nGroup=\nDynamicUser=yes");
    unit.configure(&Config::usual("5", &mosquitto, kafka, &topic).impatient());
    machine.run(&["chmod", "0644", &unit.config]);
    let mark = mosquitto.mark();
    unit.start();
    mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(&mosquitto, &Plan::default());
    devices.until_acked(500, ACK_LIMIT);
    let owner = |path: &str| std::fs::metadata(machine.path(path)).expect("it is there").uid();
    assert_ne!(
        owner("/var/lib/private/edgeferry-upgrade/lock"),
        machine.id("passwd")
    );
    unit.stop();

    unit.drop_in("");
    unit.start();
    for path in ["", "/lock", "/lanes/default"] {
        let path = format!("{}{path}", unit.store);
        assert_eq!(owner(&path), machine.id("passwd"), "{path}");
    }
    kafka.create_topic(&topic, PARTITIONS, &[]);
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    unit.stop();
    oracle.verdict(&sent).assert_clean();
}
