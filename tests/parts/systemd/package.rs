//! The Debian packages on a system that runs: installed, upgraded and downgraded in the middle of a Kafka outage, removed, purged.
//!
//! `./dev package-test` makes the packages, names them, and runs this in each release of Debian; `packaging/tests/` has what can be
//! seen without a running systemd.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

use super::unit::Unit;
use crate::support::config::Config;
use crate::support::container::Container;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER};

/// The packages: of one version, and of a later one.
const OLD: &str = "EDGEFERRY_PACKAGE_OLD";
const NEW: &str = "EDGEFERRY_PACKAGE_NEW";

/// Copies the package that a variable names into the system; its path there.
fn put(machine: &Container, variable: &str) -> String {
    let package =
        PathBuf::from(std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} names no package")));
    let inside = format!("/root/{variable}.deb");
    std::fs::copy(&package, machine.path(&inside))
        .unwrap_or_else(|error| panic!("{}: {error}", package.display()));
    inside
}

fn dpkg(machine: &Container, arguments: &[&str]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let output: Output = machine.try_run(&[&["dpkg"], arguments].concat());
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(
        output.status.success(),
        "{arguments:?}: {}\n{said}",
        output.status
    );
    said
}

#[test]
#[ignore = "installs packages of two versions: ./dev package-test makes them and runs it"]
fn upgrade_and_downgrade_in_a_kafka_outage_lose_nothing_and_a_purge_takes_only_what_was_delivered() {
    let Some(machine) = Container::boot_bare() else {
        return;
    };
    let (old, new) = (put(&machine, OLD), put(&machine, NEW));
    let unit = Unit::only(&machine);
    let east = Unit::instance(&machine, "east");
    assert!(dpkg(&machine, &["--install", &old]).contains("not enabled and not started"));
    assert_eq!(unit.property("ActiveState"), "inactive");
    assert_eq!(unit.property("UnitFileState"), "disabled");

    let mut kafka = Kafka::start();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("upgrade");
    unit.configure(&Config::usual("5", &mosquitto, &kafka, &topic).impatient());
    // One that has nobody to talk to, as on a machine where one plant is shut.
    east.configure(&Config::usual(
        "5",
        &Mosquitto::absent(),
        &Kafka::absent(),
        "telemetry",
    ));
    let mark = mosquitto.mark();
    machine.run(&["systemctl", "enable", "--now", &unit.name, &east.name]);
    mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(&mosquitto, &Plan::default());
    devices.until_acked(300, ACK_LIMIT);
    kafka.kill();
    for package in [&new, &old, &new] {
        devices.until_acked(300, ACK_LIMIT);
        let before = [&unit, &east].map(|unit| unit.property("MainPID"));
        let said = dpkg(&machine, &["--install", package]);
        assert!(
            said.contains("edgeferry.service runs with the new program"),
            "{said}"
        );
        for (unit, before) in [&unit, &east].into_iter().zip(before) {
            assert_eq!(unit.property("ActiveState"), "active");
            assert_ne!(
                unit.property("MainPID"),
                before,
                "{} runs the old program",
                unit.name
            );
        }
    }
    devices.until_acked(300, ACK_LIMIT);
    kafka.restart();
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(&kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    oracle.verdict(&sent).assert_clean();
    a_program_that_would_refuse_the_file_is_not_started(&unit, &old, &new);
    a_removal_that_is_given_up_starts_again(&unit, &east);
    delivered_and_removed(&machine, &unit);
    oracle.verdict(&sent).assert_clean();
}

/// The old program goes on with the file that it has read, until somebody mends it.
fn a_program_that_would_refuse_the_file_is_not_started(unit: &Unit<'_>, old: &str, new: &str) {
    let machine = unit.machine;
    let file = machine.path(&unit.config);
    let good = std::fs::read_to_string(&file).expect("it is there");
    let before = unit.property("MainPID");
    machine.write(&unit.config, &format!("of_a_former_version = 1\n{good}"));
    let said = dpkg(machine, &["--install", old]);
    assert!(said.contains("edgeferry.service was not restarted"), "{said}");
    assert!(said.contains("of_a_former_version"), "{said}");
    assert_eq!(unit.property("MainPID"), before);
    // What a newer version wrote.
    machine.write(&unit.config, &good);
    let format = machine.path(&unit.store).join("format");
    let present = std::fs::read_to_string(&format).expect("it is there");
    std::fs::write(&format, "edgeferry-store 99\n").expect("the root is ours");
    let said = dpkg(machine, &["--install", new]);
    assert!(
        said.contains("written by a newer edgeferry (format 99)"),
        "{said}"
    );
    assert_eq!(unit.property("MainPID"), before);
    std::fs::write(&format, present).expect("the root is ours");
    // Whoever maintains the machine wants no restarts now.
    let policy = machine.path("/usr/sbin/policy-rc.d");
    std::fs::write(&policy, "#!/bin/sh\nexit 101\n").expect("the root is ours");
    std::fs::set_permissions(&policy, PermissionsExt::from_mode(0o755)).expect("the root is ours");
    let said = dpkg(machine, &["--install", new]);
    assert!(said.contains("policy-rc.d forbids a restart"), "{said}");
    assert_eq!(unit.property("MainPID"), before);
    std::fs::remove_file(&policy).expect("the root is ours");
    let said = dpkg(machine, &["--install", new]);
    assert!(
        said.contains("edgeferry.service runs with the new program"),
        "{said}"
    );
    assert_ne!(unit.property("MainPID"), before);
}

/// Something else in the removal fails: the package stays, and so do the gateways.
fn a_removal_that_is_given_up_starts_again(unit: &Unit<'_>, east: &Unit<'_>) {
    let machine = unit.machine;
    let script = "/var/lib/dpkg/info/edgeferry.prerm";
    let whole = std::fs::read_to_string(machine.path(script)).expect("it is installed");
    std::fs::write(machine.path(script), format!("{whole}\nexit 1\n")).expect("the root is ours");
    let output = machine.try_run(&["dpkg", "--remove", "edgeferry"]);
    assert!(!output.status.success(), "{output:?}");
    std::fs::write(machine.path(script), whole).expect("the root is ours");
    for unit in [unit, east] {
        assert_eq!(
            unit.property("ActiveState"),
            "active",
            "{}: {output:?}",
            unit.name
        );
        assert_eq!(unit.property("UnitFileState"), "enabled", "{}", unit.name);
    }
}

/// The service runs when the package is removed, and everything was delivered.
fn delivered_and_removed(machine: &Container, unit: &Unit<'_>) {
    unit.until("StatusText", |status| status.contains("backlog 0"));
    let said = dpkg(machine, &["--remove", "edgeferry"]);
    assert!(said.contains("stopping edgeferry.service"), "{said}");
    assert!(said.contains("stopping edgeferry@east.service"), "{said}");
    assert_eq!(unit.property("ActiveState"), "inactive");
    assert_eq!(unit.property("LoadState"), "not-found");
    assert!(
        !machine
            .path("/etc/systemd/system/multi-user.target.wants/edgeferry.service")
            .is_symlink()
    );
    assert!(
        machine.path(&unit.store).join("identity.json").is_file(),
        "a removal keeps the store"
    );
    assert!(
        machine.path(&unit.config).is_file(),
        "a removal keeps the configuration"
    );
    let said = dpkg(machine, &["--purge", "edgeferry"]);
    for store in [&*unit.store, "/var/lib/edgeferry-east"] {
        assert!(
            said.contains(&format!("deleted {store}: nothing in it waited for delivery")),
            "{said}"
        );
        assert!(!machine.path(store).exists());
    }
    assert!(!machine.path(&unit.config).exists());
    assert!(
        said.contains("kept in /etc/edgeferry, because no package put it there: east.toml"),
        "{said}"
    );
}
