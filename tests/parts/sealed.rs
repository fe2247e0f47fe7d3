//! Encryption at rest, and stores of other versions: refused before anything is touched, and everything arrives later.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{PARTITIONS, shared, unused_topic};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::scratch::Scratch;

/// sysexits' EX_IOERR: the store.
const STORAGE: i32 = 74;

/// Every file of a store and what it holds, but for the lock, which a daemon that looks at the store takes, and the socket that
/// a killed one leaves.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("lists") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            all.insert(path.clone(), Vec::new());
            all.extend(contents(&path));
        } else if path.is_file() && !path.ends_with("lock") {
            let bytes = fs::read(&path).expect("reads");
            all.insert(path, bytes);
        }
    }
    all
}

#[test]
fn a_sealed_backlog_waits_through_wrong_keys_and_a_newer_version_and_is_delivered_with_the_right_key() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = unused_topic("sealed");
    let keys = Scratch::new("keys");
    for (name, digit) in [("first", "1f"), ("second", "2e"), ("third", "3d")] {
        fs::write(keys.join(name), format!("{}a5\n", digit.repeat(31))).expect("writes");
    }
    let usual = Config::usual("5", &mosquitto, kafka, &topic).impatient();
    let with = |current: &str, old: &[&str]| {
        let file = |name: &&str| format!("\"{}\"", keys.join(name).display());
        let old: Vec<_> = old.iter().map(file).collect();
        usual
            .clone()
            .queue(&format!("key_file = {}", file(&current)))
            .queue(&format!("old_key_files = [{}]", old.join(", ")))
    };

    // The topic is missing, so everything waits.
    let mark = mosquitto.mark();
    let mut first = Daemon::start(&with("first", &[]));
    mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(&mosquitto, &Plan::default());
    devices.until_acked(1_000, ACK_LIMIT);
    first.kill();
    let store = first.store();
    let mut second = Daemon::start(&with("second", &["first"]).data_dir(&store));
    devices.until_acked(1_000, ACK_LIMIT);
    second.kill();

    let before = contents(&store);
    for config in [
        usual.clone(),
        with("third", &[]),
        with("second", &[]),
        with("first", &[]),
        with("no such file", &["first", "second"]),
    ] {
        let (status, log) = Daemon::refused(&config.data_dir(&store));
        assert_eq!(status.code(), Some(STORAGE), "{log}");
        assert!(
            log.contains("sealed with key") || log.contains("no such file"),
            "{log}"
        );
        assert_eq!(contents(&store), before, "{log}");
    }
    let format = fs::read(store.join("format")).expect("is there");
    fs::write(store.join("format"), "edgeferry-store 3\n").expect("writes");
    let before = contents(&store);
    let (status, log) = Daemon::refused(&with("second", &["first"]).data_dir(&store));
    assert_eq!(status.code(), Some(STORAGE), "{log}");
    assert!(log.contains("newer edgeferry (format 3)"), "{log}");
    assert_eq!(contents(&store), before);
    fs::write(store.join("format"), format).expect("writes");

    let mut third = Daemon::start(&with("third", &["second", "first"]).data_dir(&store));
    devices.until_acked(1_000, ACK_LIMIT);
    kafka.create_topic(&topic, PARTITIONS, &[]);
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    third.terminate();
    oracle.verdict(&sent).assert_clean();

    // Delivered: the old keys are not needed any more.
    let mut last = Daemon::start(&with("third", &[]).data_dir(&store));
    last.terminate();
}
