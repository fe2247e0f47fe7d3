//! The Debian packages on a system that runs: installed, upgraded and downgraded in the middle of a Kafka outage, removed, purged.
//!
//! `./dev package-test` makes the packages, names them, and runs this in each release of Debian; `packaging/tests/` has what can be
//! seen without a running systemd.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::unit::Unit;
use super::walk::Walk;
use crate::support::config::Config;
use crate::support::container::{Container, is_possible};
use crate::support::daemon::binary;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{Kafka, shared};
use crate::support::manual::{page, section};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::scratch::Scratch;

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

/// Folders with package, archive and sums: of one version, and of a later one.
struct Packages {
    old: PathBuf,
    new: PathBuf,
    _home: Option<Scratch>,
}

impl Packages {
    /// Those that `./dev package-test` has made, otherwise packages of the binary under test, by the same scripts.
    fn find() -> Self {
        let named = |variable: &str| {
            let package = PathBuf::from(std::env::var_os(variable)?);
            package.parent().map(Path::to_owned)
        };
        if let (Some(old), Some(new)) = (named(OLD), named(NEW)) {
            return Self {
                old,
                new,
                _home: None,
            };
        }
        let home = Scratch::new("packages");
        let [old, new] = ["+one", "+two"].map(|version| {
            let folder = home.join(version);
            let mut build = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/build.sh"));
            build.args(["--trial", version, "--binary"]).arg(binary());
            let output = build.arg("--out").arg(&folder).arg("amd64").output();
            let output = output.expect("it is there");
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            folder
        });
        Self {
            old,
            new,
            _home: Some(home),
        }
    }

    /// Puts everything where somebody who follows the page is.
    fn put_into(&self, folder: &Path) {
        // The sums of the older version last: that is the one that is looked at.
        for from in [&self.new, &self.old] {
            for entry in std::fs::read_dir(from).expect("it was made") {
                let path = entry.expect("readable").path();
                let to = folder.join(path.file_name().expect("it has one"));
                std::fs::copy(&path, to).expect("there is room");
            }
        }
    }
}

/// The name of the one file in `folder` that ends so.
fn name_of(folder: &Path, ending: &str) -> String {
    let names = std::fs::read_dir(folder).expect("it was made");
    let names = names.map(|entry| {
        entry
            .expect("readable")
            .file_name()
            .to_string_lossy()
            .into_owned()
    });
    let mut found = names.filter(|name| name.ends_with(ending));
    let name = found.next().expect("there is one");
    assert_eq!(found.next(), None, "another {ending}");
    name
}

/// A bare system with the packages in the folder of whoever follows the page, where a person says yes.
fn begin(packages: &Packages) -> Option<Walk> {
    let archive = name_of(&packages.old, ".tar.gz");
    let here = [
        ("edgeferry_0.1.0_arm64.deb", &*name_of(&packages.old, ".deb")),
        ("edgeferry_0.2.0_arm64.deb", &name_of(&packages.new, ".deb")),
        ("edgeferry-0.1.0-linux-arm64", archive.trim_end_matches(".tar.gz")),
        ("apt install", "apt --yes install"),
        ("apt remove", "apt --yes remove"),
        ("apt purge", "apt --yes purge"),
    ];
    let walk = Walk::begin_without_package(&here)?;
    packages.put_into(&walk.machine.path("/root"));
    Some(walk)
}

#[test]
fn every_command_of_the_page_about_installing_works_in_its_order() {
    if std::env::consts::ARCH != "x86_64" || !is_possible() {
        return;
    }
    let packages = Packages::find();
    let (kafka, mosquitto) = (shared(), Mosquitto::start());
    let topic = kafka.fresh_topic("install");
    let config = Config::usual("5", &mosquitto, kafka, &topic);
    let whole = page("docs/install.md");
    let archive = section(&whole, "## The archive");
    let (before, after) = whole.split_once(archive).expect("it is a part of it");
    let mut walk = begin(&packages).expect("one can be booted");
    let written = |machine: &Container, commands: &str| {
        if commands.contains("check --live") {
            Unit::only(machine).configure(&config);
        }
    };
    walk.follow(before, written);
    let property = |walk: &Walk, name: &str| {
        let option = format!("--property={name}");
        walk.machine
            .run(&["systemctl", "show", "--value", &option, "edgeferry.service"])
    };
    assert_eq!(property(&walk, "UnitFileState").trim(), "enabled");
    let first = property(&walk, "MainPID");
    // The page goes on with what is newer, older, and gone.
    let (upgrade, removal) = after.split_once("\n## Remove\n").expect("it has that heading");
    walk.follow(upgrade, written);
    assert_ne!(property(&walk, "MainPID"), first, "it was started anew");
    assert_eq!(property(&walk, "ActiveState").trim(), "active");
    let version = walk.machine.run(&["dpkg-query", "--show", "edgeferry"]);
    let older = name_of(&packages.old, ".deb");
    let installed = version.trim().rsplit('\t').next().expect("it has a version");
    assert!(older.contains(&format!("_{installed}_")), "{older}, {version}");
    walk.follow(removal, written);
    assert!(!walk.machine.path("/usr/bin/edgeferry").exists());
    assert!(!walk.machine.path("/etc/edgeferry").exists());

    let mut other = begin(&packages).expect("one can be booted");
    other.follow(archive, written);
    let unit = Unit::only(&other.machine);
    unit.configure(&config);
    unit.start();
    assert!(walk.commands >= 8 && other.commands >= 3, "the page says more");
}
