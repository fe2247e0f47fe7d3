//! Stops: of the daemon under load, and of the whole machine with a backlog.

use super::unit::Unit;
use crate::support::config::Config;
use crate::support::container::{Container, shared};
use crate::support::daemon::STOP_LIMIT;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{self, Kafka};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER};

#[test]
fn a_stop_under_load_ends_in_its_time_and_loses_nothing() {
    let Some(machine) = shared() else { return };
    let kafka = kafka::shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("stop");
    let unit = Unit::instance(machine, "stop");
    unit.configure(&Config::usual("5", &mosquitto, kafka, &topic));
    let mark = mosquitto.mark();
    unit.start();
    mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(
        &mosquitto,
        &Plan {
            rate: Some(2_000),
            ..Plan::default()
        },
    );
    for _ in 0..2 {
        devices.until_acked(2_000, ACK_LIMIT);
        let took = unit.stop();
        assert!(took < STOP_LIMIT, "{took:?}");
        assert_eq!(unit.property("Result"), "success");
        assert_eq!(unit.main_status(), "0");
        unit.start();
    }
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    unit.stop();
    oracle.verdict(&sent).assert_clean();
}

#[test]
fn a_machine_rebooted_with_a_backlog_starts_the_gateway_which_delivers_all_of_it() {
    let Some(machine) = Container::boot() else { return };
    let mut kafka = Kafka::start();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("reboot");
    let unit = Unit::only(&machine);
    unit.configure(&Config::usual("5", &mosquitto, &kafka, &topic).impatient());
    machine.run(&["systemctl", "enable", &unit.name]);
    let mark = mosquitto.mark();
    unit.start();
    mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(&mosquitto, &Plan::default());
    devices.until_acked(500, ACK_LIMIT);
    kafka.kill();
    devices.until_acked(1_000, ACK_LIMIT);
    machine.reboot();
    unit.until("SubState", |state| state == "running");
    let backlog = |status: &str| {
        let number = status.strip_prefix("backlog ")?.split(';').next()?;
        number.parse::<u64>().ok()
    };
    unit.until("StatusText", |status| {
        backlog(status).is_some_and(|backlog| backlog > 500)
    });
    kafka.restart();
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(&kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    unit.stop();
    oracle.verdict(&sent).assert_clean();
}
