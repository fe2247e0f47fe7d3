//! Secrets: as credentials of systemd, and as files that a reload reads again.

use super::unit::Unit;
use crate::support::config::Config;
use crate::support::container::shared;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::secure::{self, Door, PASSWORD, USER};
use crate::support::kafka::{Brokers, Kafka};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER};

fn with_password(secure: &secure::Secure, mosquitto: &Mosquitto, topic: &str, file: &str) -> Config {
    Config::usual("5", mosquitto, secure, topic)
        .impatient()
        .bootstrap(&secure.door(Door::ClearSasl))
        .kafka("sasl = \"plain\"")
        .kafka(&format!("username = \"{USER}\""))
        .kafka(&format!("password_file = \"{file}\""))
}

#[test]
fn a_missing_secret_is_reported_by_the_check_keeps_no_gateway_from_starting_and_is_read_at_a_reload() {
    const FILE: &str = "/etc/edgeferry/missing.password";
    let Some(machine) = shared() else { return };
    let secure = secure::shared();
    let mosquitto = Mosquitto::start();
    let topic = secure.fresh_topic("reload");
    let unit = Unit::instance(machine, "missing");
    unit.configure(&with_password(secure, &mosquitto, &topic, FILE));
    let mark = mosquitto.mark();
    unit.start();
    // By the setting's name, as only the check says it.
    let complaint = format!(": kafka.password_file: {FILE}: No such file");
    assert!(unit.log().contains(&complaint), "{}", unit.log());
    mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(&mosquitto, &Plan::default());
    devices.until_acked(300, ACK_LIMIT);
    let first = unit.property("MainPID");

    machine.write(FILE, "wrong horse");
    unit.reload();
    unit.until("StatusText", |status| status.contains("kafka: refused"));
    // Readable for the group of the unit's user, and for nobody else.
    machine.write(FILE, PASSWORD);
    unit.reload();
    assert_eq!(unit.property("ActiveState"), "active");
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(secure, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    assert_eq!(unit.property("MainPID"), first, "nothing was restarted");
    unit.stop();
    oracle.verdict(&sent).assert_clean_without_duplicates();
}

#[test]
fn a_credential_without_a_source_is_waited_for() {
    const FILE: &str = "/etc/edgeferry/later.password";
    let Some(machine) = shared() else { return };
    let (kafka, mosquitto) = (Kafka::absent(), Mosquitto::absent());
    let unit = Unit::instance(machine, "later");
    unit.drop_in(&format!("LoadCredential=kafka-password:{FILE}\nRestartSec=1"));
    unit.configure(&Config::usual("5", &mosquitto, &kafka, "telemetry"));
    assert!(!unit.try_start().status.success());
    unit.until("NRestarts", |restarts| restarts != "0");
    // From the journal: the unit's property is that of the attempt of the moment, which has no exit code yet.
    let log = unit.log();
    assert!(
        log.contains("status=243/CREDENTIALS"),
        "systemd's own exit code for credentials: {log}"
    );
    machine.write(FILE, PASSWORD);
    unit.until("SubState", |state| state == "running");
}

#[test]
fn a_credential_is_what_it_was_at_the_start_until_a_restart() {
    const FILE: &str = "/etc/edgeferry/credential.password";
    let Some(machine) = shared() else { return };
    let secure = secure::shared();
    let mosquitto = Mosquitto::start();
    let topic = secure.fresh_topic("credential");
    let unit = Unit::instance(machine, "credential");
    machine.write(FILE, "wrong horse");
    unit.drop_in(&format!("LoadCredential=kafka-password:{FILE}"));
    let file = "$CREDENTIALS_DIRECTORY/kafka-password";
    unit.configure(&with_password(secure, &mosquitto, &topic, file));
    let mark = mosquitto.mark();
    unit.start();
    mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(&mosquitto, &Plan::default());
    devices.until_acked(300, ACK_LIMIT);
    unit.until("StatusText", |status| status.contains("kafka: refused"));

    machine.write(FILE, PASSWORD);
    unit.reload();
    let loaded = format!("/run/credentials/{}/kafka-password", unit.name);
    assert_eq!(
        machine.run(&["cat", &loaded]),
        "wrong horse",
        "docs/systemd.md says so"
    );
    machine.run(&["systemctl", "restart", &unit.name]);
    assert_eq!(machine.run(&["cat", &loaded]), PASSWORD);
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(secure, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    unit.stop();
    oracle.verdict(&sent).assert_clean();
}
