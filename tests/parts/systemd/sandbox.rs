//! The unit as it is shipped: the daemon does its whole work inside, and what is outside stays as it is.

use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use super::files::{EXPOSURE_MAX, exposure};
use super::unit::Unit;
use crate::support::config::Config;
use crate::support::container::{Container, shared};
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::Brokers;
use crate::support::kafka::secure::{self, Door, PASSWORD, USER};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER};

/// Reads what the daemon reads of the system, and tries what it must not be able to do.
const LOOK: &str = "
cat /proc/self/io /proc/sys/kernel/random/boot_id /etc/machine-id /dev/null
ls /sys/class
for place in /etc /usr /run /home /root /var/lib /proc/sys/kernel; do
    if touch $place/escaped 2>/dev/null; then echo escaped to $place; rm $place/escaped; fi
done
if unshare --mount true 2>/dev/null; then echo escaped to a namespace; fi
if ls /proc | grep -qx 1; then echo saw the processes of others; fi
";
const LOOK_FILE: &str = "/usr/share/look";

#[test]
fn the_unit_as_shipped_delivers_over_tls_to_a_name_with_a_password_from_a_credential() {
    let Some(machine) = shared() else { return };
    let secure = secure::shared();
    let mosquitto = Mosquitto::start();
    let topic = secure.fresh_topic("systemd");
    let unit = Unit::only(machine);
    // Where Debian keeps the authorities of the system.
    let authority = std::fs::read_to_string(secure.authority().ca()).expect("it is there");
    machine.write("/etc/ssl/certs/ca-certificates.crt", &authority);
    open(machine, "/etc/ssl/certs/ca-certificates.crt");
    machine.write("/etc/edgeferry/kafka.password", PASSWORD);
    machine.run(&["chmod", "0600", "/etc/edgeferry/kafka.password"]);
    machine.write(LOOK_FILE, LOOK);
    open(machine, LOOK_FILE);
    // In the same sandbox as the daemon, when that is ready.
    unit.drop_in(&format!(
        "LoadCredential=kafka-password:/etc/edgeferry/kafka.password\n\
         ExecStartPost=/bin/sh -c 'sh {LOOK_FILE} >%S/edgeferry/look'"
    ));
    let config = Config::new(secure)
        .broker_at(
            "local",
            "5",
            &format!("mqtt://broker.test:{}", mosquitto.port()),
            "",
        )
        .route("devices/{device}/telemetry", &topic)
        .bootstrap(&secure.door(Door::Sasl).replace("127.0.0.1", "localhost"))
        .kafka("tls = true")
        .kafka("sasl = \"scram-sha-512\"")
        .kafka(&format!("username = \"{USER}\""))
        .kafka("password_file = \"$CREDENTIALS_DIRECTORY/kafka-password\"");
    unit.configure(&config);
    let mark = mosquitto.mark();
    unit.start();
    mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(&mosquitto, &Plan::default());
    devices.until_acked(500, ACK_LIMIT);
    unit.until("StatusText", |status| {
        status.contains("mqtt local: up; kafka: up; delivered ") && !status.contains("delivered 0")
    });
    is_shut_in(&unit);
    serves_its_owner_and_root_alone(&unit);
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(secure, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    speaks_in_fields(&unit);
    unit.stop();
    assert_eq!(
        (unit.main_status().as_str(), unit.property("Result").as_str()),
        ("0", "success")
    );
    oracle.verdict(&sent).assert_clean_without_duplicates();
    // Root looks into the stopped store, and its owner can use it as before.
    let looked = unit.cli("root", &["queue", "ls"]);
    assert!(looked.status.success(), "{looked:?}");
    belongs_to_its_user(&unit);
    unit.start();
}

/// What everybody may read.
fn open(machine: &Container, path: &str) {
    machine.run(&["chmod", "0644", path]);
}

fn is_shut_in(unit: &Unit<'_>) {
    let machine = unit.machine;
    let status = machine.run(&["cat", &format!("/proc/{}/status", unit.property("MainPID"))]);
    let user = machine.id("passwd");
    for line in [
        &format!("Uid:\t{user}\t{user}\t{user}\t{user}"),
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let look = std::fs::read_to_string(machine.path(&format!("{}/look", unit.store))).expect("it was made");
    // systemd-nspawn gives its system a boot id of its own; a new /proc, as ProtectProc= makes one, has the kernel's.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux has it");
    assert!(look.contains("write_bytes") && look.contains(&boot), "{look}");
    assert!(!look.contains("escaped") && !look.contains("saw"), "{look}");
    // Who is not shut in gets out: the look can see it.
    let outside = machine.run(&["sh", LOOK_FILE]);
    for way in [
        "escaped to /etc",
        "escaped to /run",
        "escaped to a namespace",
        "saw the",
    ] {
        assert!(outside.contains(way), "{way}: {outside}");
    }
    let said = machine.run(&["systemd-analyze", "security", "--no-pager", &unit.name]);
    assert!(exposure(&said) <= EXPOSURE_MAX, "{said}");
    for (property, value) in [
        ("MemoryMax", "134217728"),
        ("MemorySwapMax", "0"),
        ("LimitCORE", "0"),
        ("OOMScoreAdjust", "-500"),
        ("WatchdogUSec", "1min"),
        ("Restart", "always"),
        ("StartLimitIntervalUSec", "0"),
        ("User", "edgeferry"),
        ("TimeoutStopUSec", "1min 30s"),
    ] {
        assert_eq!(unit.property(property), value, "{property}");
    }
    belongs_to_its_user(unit);
}

fn belongs_to_its_user(unit: &Unit<'_>) {
    let folder = unit.machine.path(&unit.store);
    let user = unit.machine.id("passwd");
    let found = std::fs::metadata(&folder).expect("it is there");
    assert_eq!((found.uid(), found.mode() & 0o777), (user, 0o700));
    for entry in walk(&folder) {
        let found = std::fs::symlink_metadata(&entry).expect("it is there");
        assert_eq!(found.uid(), user, "{}", entry.display());
        assert_eq!(found.mode() & 0o077, 0, "{}", entry.display());
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).expect("ours").flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
            all.push(entry.path());
        }
    }
    all
}

fn serves_its_owner_and_root_alone(unit: &Unit<'_>) {
    for user in ["root", "edgeferry"] {
        let answer = unit.cli(user, &["queue", "ls", "--json"]);
        assert!(answer.status.success(), "{user}: {answer:?}");
    }
    // Whoever may read the configuration, but not the store.
    open(unit.machine, &unit.config);
    let answer = unit.cli("daemon", &["queue", "ls"]);
    let said = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(!answer.status.success(), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
}

fn speaks_in_fields(unit: &Unit<'_>) {
    let journal = unit.journal();
    let running = journal.iter().find(|entry| {
        entry["MESSAGE"]
            .as_str()
            .is_some_and(|text| text.starts_with("running "))
    });
    let running = running.expect("it says that it runs");
    // `journalctl -u edgeferry` says all of it, not only the first word.
    let text = running["MESSAGE"].as_str().unwrap_or_default();
    assert!(text.contains("gateway=gw-test"), "{text}");
    assert_eq!(running["SYSLOG_IDENTIFIER"], "edgeferry");
    assert_eq!(running["_SYSTEMD_UNIT"], unit.name.as_str());
    assert_eq!(running["F_GATEWAY"], "gw-test");
    assert_eq!(running["F_VERSION"], env!("CARGO_PKG_VERSION"));
    let checked = journal.iter().find(|entry| {
        entry["MESSAGE"]
            .as_str()
            .is_some_and(|text| text.ends_with(".toml: ok"))
    });
    assert_eq!(checked.expect("it was checked")["SYSLOG_IDENTIFIER"], "edgeferry");
    // 3 is an error (syslog(3)): whatever the sandbox forbids would be one.
    let is_error = |entry: &&Value| entry["PRIORITY"].as_str().is_some_and(|priority| priority <= "3");
    let errors: Vec<&Value> = journal.iter().filter(is_error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let all = serde_json::to_string(&journal).expect("JSON");
    assert!(!all.contains(PASSWORD), "the password is in the journal");
}
