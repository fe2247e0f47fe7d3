//! How a daemon ends, and what systemd makes of it.

use std::time::Duration;

use edgeferry::faults;

use super::unit::Unit;
use crate::support::config::Config;
use crate::support::container::{Container, shared};
use crate::support::devices::{Devices, Plan};
use crate::support::kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::wait;

/// Two daemons with one identity take their lanes from each other once; one of them notices.
const FENCED_LIMIT: Duration = Duration::from_mins(2);
/// So short that a restart that should not be would be there at once.
const AT_ONCE: &str = "RestartSec=100ms";

#[test]
fn a_wrong_configuration_fails_with_64_says_all_problems_and_is_not_tried_again() {
    let Some(machine) = shared() else { return };
    let unit = Unit::instance(machine, "wrong");
    unit.drop_in(AT_ONCE);
    machine.write(&unit.config, "[gateway]\ndata_dir = \"store\"\nnonsense = 1\n");
    let output = unit.try_start();
    assert!(!output.status.success(), "systemctl start says that it failed");
    // Waiting for a restart would be activating.
    assert_eq!(unit.property("SubState"), "failed");
    assert_eq!(
        (unit.main_status().as_str(), unit.property("NRestarts").as_str()),
        ("64", "0")
    );
    assert!(
        unit.property("ExecStartPre").contains("status=64"),
        "the check fails too"
    );
    let log = unit.log();
    assert!(
        log.contains("gateway.nonsense") && log.contains("data_dir"),
        "{log}"
    );
}

#[test]
fn a_gateway_whose_identity_another_took_over_ends_with_75_and_is_not_started_again() {
    let Some(machine) = shared() else { return };
    let kafka = kafka::shared();
    let (mine, theirs) = (Mosquitto::start(), Mosquitto::start());
    let topic = kafka.fresh_topic("fenced");
    let config = |mosquitto| Config::usual("5", mosquitto, kafka, &topic).exactly_once();
    let (first, second) = (
        Unit::instance(machine, "first"),
        Unit::instance(machine, "second"),
    );
    for (unit, mosquitto) in [(&first, &mine), (&second, &theirs)] {
        unit.drop_in(AT_ONCE);
        unit.configure(&config(mosquitto));
    }
    let plan = Plan {
        rate: Some(200),
        ..Plan::default()
    };
    let mark = mine.mark();
    first.start();
    mine.until_subscribed(FILTER, mark);
    let devices = Devices::start(&mine, &plan);
    devices.until_acked(300, ACK_LIMIT);
    // A card that was copied, sort of.
    machine.run(&["cp", "-a", &first.store, &second.store]);
    let mark = theirs.mark();
    second.start();
    theirs.until_subscribed(FILTER, mark);
    let others = Devices::start(&theirs, &plan);
    let fenced = wait::until("one of the two has failed", FENCED_LIMIT, || {
        [&first, &second]
            .into_iter()
            .find(|unit| unit.property("SubState") == "failed")
    });
    assert_eq!(
        (
            fenced.main_status().as_str(),
            fenced.property("NRestarts").as_str()
        ),
        ("75", "0")
    );
    assert!(fenced.log().contains("same identity"), "{}", fenced.log());
    drop((devices, others));
}

#[test]
fn a_daemon_that_hangs_is_killed_by_the_watchdog_and_started_again_and_nothing_is_lost() {
    let Some(machine) = shared() else { return };
    let kafka = kafka::shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("hung");
    let unit = Unit::instance(machine, "hung");
    unit.drop_in("WatchdogSec=5\nRestartSec=100ms");
    unit.configure(&Config::usual("5", &mosquitto, kafka, &topic));
    let mark = mosquitto.mark();
    unit.start();
    mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(&mosquitto, &Plan::default());
    devices.until_acked(1_000, ACK_LIMIT);
    let stop = format!("kill -STOP {}", unit.property("MainPID"));
    machine.run(&["sh", "-c", &stop]);
    unit.until("NRestarts", |restarts| restarts != "0");
    unit.until("SubState", |state| state == "running");
    assert!(
        unit.log().contains("Watchdog timeout (limit 5s)"),
        "{}",
        unit.log()
    );
    devices.until_acked(500, ACK_LIMIT);
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    assert_eq!(
        unit.property("NRestarts"),
        "1",
        "a sound daemon feeds the watchdog"
    );
    unit.stop();
    oracle.verdict(&sent).assert_clean();
}

/// A thread of the pipeline hangs while the main thread goes on and serves everybody else.
struct Hung<'a> {
    unit: Unit<'a>,
    mosquitto: Mosquitto,
    topic: String,
    /// Which place, and the file that orders it.
    place: &'static str,
    order: String,
}

impl<'a> Hung<'a> {
    fn start(machine: &'a Container, place: &'static str) -> Self {
        let kafka = kafka::shared();
        let mosquitto = Mosquitto::start();
        let name = place.split('.').next().expect("a part").to_owned();
        let topic = kafka.fresh_topic(&name);
        let unit = Unit::instance(machine, &name);
        // Beside its configuration, which it may read.
        let order = format!("/etc/edgeferry/{name}.hang");
        unit.drop_in(&format!(
            "WatchdogSec=15\nRestartSec=100ms\nEnvironment={}={order} {}=10000",
            faults::HANG_FILE,
            faults::HANG_LIMIT
        ));
        unit.configure(&Config::usual("5", &mosquitto, kafka, &topic));
        let mark = mosquitto.mark();
        unit.start();
        mosquitto.until_subscribed(FILTER, mark);
        Self {
            unit,
            mosquitto,
            topic,
            place,
            order,
        }
    }

    /// Until systemd has ended it for that and started it again, and the thread goes round.
    fn hang(&self) {
        let Self { unit, order, .. } = self;
        let before = unit.property("NRestarts");
        unit.machine.write(order, self.place);
        unit.until("NRestarts", |restarts| restarts != before);
        unit.machine.run(&["rm", order]);
        unit.until("SubState", |state| state == "running");
        let log = unit.log();
        assert!(log.contains("Watchdog timeout (limit 15s)"), "{log}");
        // Said by the main thread, which would have fed the watchdog.
        assert!(log.contains("the pipeline does not move"), "{log}");
    }
}

#[test]
fn a_sink_or_a_writer_that_hangs_beside_a_living_main_thread_starves_the_watchdog_and_nothing_is_lost() {
    let Some(machine) = shared() else { return };
    let all = [faults::SINK_ROUND, faults::WRITER_ROUND].map(|place| Hung::start(machine, place));
    let devices = all
        .each_ref()
        .map(|hung| Devices::start(&hung.mosquitto, &Plan::default()));
    for devices in &devices {
        devices.until_acked(500, ACK_LIMIT);
    }
    std::thread::scope(|scope| {
        for hung in &all {
            scope.spawn(|| hung.hang());
        }
    });
    for (hung, devices) in all.iter().zip(devices) {
        devices.until_acked(500, ACK_LIMIT);
        let sent = devices.finish(ACK_LIMIT);
        let mut oracle = Oracle::new(kafka::shared(), &hung.topic);
        oracle.until_all_there(&sent, PATIENCE);
        hung.unit.stop();
        oracle.verdict(&sent).assert_clean();
    }
}
