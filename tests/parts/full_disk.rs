//! A disk that somebody else filled: nothing is acknowledged, the daemon lives, starts again after SIGKILL, reloads nothing that it
//! could not open again, delivers what it has, and goes on by itself once there is room.

use crate::planted::get;
use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::disk::{Disk, Kind};
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::{ports, wait};

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
    let port = ports::free();
    let config = Config::usual("5", &mosquitto, &kafka, &topic)
        .queue("min_free_bytes = 0")
        .data_dir(&disk.path().join("store"))
        .http(&format!("listen = \"127.0.0.1:{port}\""))
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
    assert_is_told(&daemon, port);
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
    assert_no_half_report(&daemon, &disk);
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

/// On a full disk everybody who looks is told so, and nobody needs room for it.
fn assert_is_told(daemon: &Daemon, port: u16) {
    let state = wait::until("the state says it", ACK_LIMIT, || {
        let (code, out, err) = daemon.ask("status", &["--json"]);
        let state: serde_json::Value = serde_json::from_str(&out).expect("a state");
        let failure = state["lanes"][0]["queue"]["failure"].as_str()?;
        assert_eq!(code, Some(1), "nothing can be stored: not ready. {err}");
        assert!(!failure.is_empty());
        Some(state)
    });
    let ledger = &state["lanes"][0]["ledger"];
    // Nothing is delivered, so all that came waits; how much of it came before the disk was full is the machine's pace.
    assert_eq!(
        (&ledger["queued"], &ledger["unaccounted"]),
        (&ledger["received"], &0.into()),
        "{ledger}"
    );
    assert_ne!(ledger["received"], 0, "{ledger}");
    let (code, out, err) = daemon.ask("status", &[]);
    let words = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(code == Some(1) && err.is_empty(), "{out}{err}");
    // The reserve of the configuration was touched, or a write failed before anybody looked at the reserve.
    let reasons = ["min_free_bytes", "No space left on device"];
    assert!(
        words.contains("messages cannot be stored") && reasons.iter().any(|reason| words.contains(reason)),
        "{out}"
    );
    for (path, status, said) in [
        ("/api/status", " 200 ", "messages cannot be stored"),
        ("/metrics", " 200 ", "edgeferry_queue_failed{lane=\"default\"} 1"),
        ("/health/ready", " 503 ", "\"ready\":false"),
        // It does what it can, so nobody should restart it.
        ("/health/live", " 200 ", "true"),
        ("/", " 200 ", "</html>"),
    ] {
        // An answer is up to a second old.
        wait::until(&format!("{path} says it"), ACK_LIMIT, || {
            let answer = get(port, path, "")?;
            (answer.contains(status) && answer.contains(said)).then_some(())
        });
    }
    let (code, report, err) = daemon.ask("report", &[]);
    assert!(
        code == Some(0) && report.contains("messages cannot be stored"),
        "{report}{err}"
    );
}

/// A report that has no room is not left in half.
fn assert_no_half_report(daemon: &Daemon, disk: &Disk) {
    let file = disk.path().join("report.txt");
    let (code, _, err) = daemon.ask("report", &["--output", file.to_str().expect("text")]);
    assert!(code == Some(1) && err.contains("cannot write"), "{code:?} {err}");
    let there = std::fs::read_dir(disk.path()).expect("lists");
    let names = there.map(|entry| entry.expect("item").file_name().to_string_lossy().into_owned());
    assert!(
        !names.into_iter().any(|name| name.starts_with("report")),
        "nothing is left behind"
    );
}
