//! A disk that somebody else filled: nothing is acknowledged, the daemon lives, starts again after SIGKILL, reloads nothing that it
//! could not open again, delivers what it has, and goes on by itself once there is room.

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::disk::{Disk, Kind};
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::wait;

/// Room for the ballast and the backlog.
const DISK_MIB: u64 = 64;
const MESSAGES: u64 = 1_000;

#[test]
fn a_disk_filled_by_a_neighbour_stops_acknowledging_and_nothing_else() {
    let Some(disk) = Disk::mount(Kind::Ext4, DISK_MIB) else {
        return;
    };
    let mut kafka = Kafka::start();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("telemetry");
    let config = Config::usual("5", &mosquitto, &kafka, &topic)
        .queue("min_free_bytes = 0")
        .data_dir(&disk.path().join("store"))
        .impatient();
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    kafka.kill();
    let plan = |prefix| Plan {
        prefix,
        messages: Some(MESSAGES),
        rate: None,
        bytes: 4_000,
        ..Plan::default()
    };
    // A backlog on disk, then a backlog at the broker.
    let mut sent = Devices::start(&mosquitto, &plan("before")).finish(ACK_LIMIT);
    disk.eat();
    let waiting = Devices::start(&mosquitto, &plan("full")).finish(ACK_LIMIT);
    wait::until("edgeferry says that it cannot store", ACK_LIMIT, || {
        daemon.log().contains("cannot store").then_some(())
    });
    daemon.kill();
    daemon.restart();
    // The ballast is given away, and the neighbour takes that too: lanes that were closed now could not be opened again.
    if let Err(error) = std::fs::remove_file(disk.path().join("store/ballast")) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    }
    disk.eat();
    daemon.reconfigure(&config.clone().queue("max_age = \"99h\""));
    let (code, said, complaint) = daemon.reload();
    assert_eq!(code, Some(74), "{said}{complaint}");
    assert!(complaint.contains("the disk is full"), "{complaint}");
    assert!(complaint.contains("Nothing was stopped"), "{complaint}");
    daemon.assert_alive();
    kafka.restart();
    let mut oracle = Oracle::new(&kafka, &topic);
    // The neighbour is still there.
    oracle.until_all_there(&sent, PATIENCE);
    daemon.assert_alive();
    disk.leave();
    sent.merge(waiting);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.assert_alive();
    // The same reload, now that there is room.
    wait::until("there is room again", ACK_LIMIT, || {
        (daemon.reload().0 == Some(0)).then_some(())
    });
    daemon.terminate();
    let verdict = oracle.verdict(&sent);
    eprintln!("{verdict}");
    verdict.assert_clean();
}
