//! Whose messages these are: a store that was cloned to another board, and one that is used under another name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::config::{CLIENT_ID, Config};
use crate::support::daemon::Daemon;
use crate::support::devices::sent::Sent;
use crate::support::kafka::{Kafka, PARTITIONS, unused_topic};
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::{Oracle, PATIENCE, Record};
use crate::support::payload::{USUAL_BYTES, origin, payload};
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::scratch::{Scratch, copy_folder};

/// Exit code for usage and configuration (`EX_USAGE`).
const USAGE: i32 = 64;
/// Messages of each of the three groups.
const EACH: u64 = 200;

/// A card is imaged with a backlog on it. The copy runs on another board: what it inherited keeps its ids, so a consumer
/// sees duplicates and knows them; what it receives itself never has an id that the original gives, too.
#[test]
fn a_cloned_store_keeps_the_ids_of_its_backlog_and_gives_new_ones_of_a_new_epoch() {
    let mut kafka = Kafka::absent();
    let mosquitto = Mosquitto::start();
    let topic = unused_topic("telemetry");
    let config = Config::usual("5", &mosquitto, &kafka, &topic).impatient();
    let mut sent = Sent::new();
    let mut link = Link::connect(mosquitto.port(), "device", true).expect("it accepts");

    // The backlog, while Kafka is away.
    let mark = mosquitto.mark();
    let mut original = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    publish(&mut link, &mut sent, "inherited");
    until_backlog(&original, EACH);
    original.terminate();
    let card = Scratch::new("card");
    copy_folder(&original.store(), card.path());
    move_to_another_board(card.path());

    // The original goes on, then the copy: both take more, both deliver everything.
    kafka.restart();
    kafka.create_topic(&topic, PARTITIONS, &[]);
    original.restart();
    publish(&mut link, &mut sent, "original");
    let mut oracle = Oracle::new(&kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    original.terminate();
    let mark = mosquitto.mark();
    let mut copy = Daemon::start(&config.data_dir(card.path()));
    mosquitto.until_connected(CLIENT_ID, mark);
    publish(&mut link, &mut sent, "copy");
    oracle.until_all_there(&sent, PATIENCE);
    let expected = usize::try_from(4 * EACH).expect("small");
    let ids = ids_by_device(oracle.first(expected));
    copy.terminate();
    let log = copy.log();
    assert!(log.contains("made on other hardware"), "it is said:\n{log}");

    let epochs = |device: &str| -> BTreeSet<&str> { ids[device].keys().map(|id| epoch_of(id)).collect() };
    assert_eq!(epochs("inherited").len(), 1);
    assert_eq!(epochs("inherited"), epochs("original"));
    assert_eq!(epochs("copy").len(), 1);
    assert!(epochs("copy").is_disjoint(&epochs("original")));
    for (device, copies) in [("inherited", 2), ("original", 1), ("copy", 1)] {
        assert_eq!(ids[device].len() as u64, EACH, "{device}: ids are given once");
        let counts: BTreeSet<_> = ids[device].values().copied().collect();
        assert_eq!(counts, BTreeSet::from([copies]), "{device}: records of one id");
    }
    oracle.verdict(&sent).assert_clean();
}

#[test]
fn a_store_under_another_gateway_id_is_refused_untouched_and_goes_on_under_its_own() {
    let mut kafka = Kafka::absent();
    let mosquitto = Mosquitto::start();
    let topic = unused_topic("telemetry");
    let config = Config::usual("5", &mosquitto, &kafka, &topic).impatient();
    let mut sent = Sent::new();
    let mut link = Link::connect(mosquitto.port(), "device", true).expect("it accepts");
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    publish(&mut link, &mut sent, "backlog");
    until_backlog(&daemon, EACH);
    daemon.terminate();

    let before = contents(&daemon.store());
    assert!(before.len() > 3, "{:?}", before.keys());
    let (status, log) = Daemon::refused(&config.data_dir(&daemon.store()).gateway("gw-other"));
    assert_eq!(status.code(), Some(USAGE), "{log}");
    for said in ["gw-other", "gw-test", "belongs to gateway", "set gateway.id back"] {
        assert!(log.contains(said), "{said:?} is missing:\n{log}");
    }
    assert!(contents(&daemon.store()) == before, "the store was touched");

    kafka.restart();
    kafka.create_topic(&topic, PARTITIONS, &[]);
    daemon.restart();
    let mut oracle = Oracle::new(&kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.terminate();
    oracle.verdict(&sent).assert_clean_without_duplicates();
}

fn publish(link: &mut Link, sent: &mut Sent, device: &str) {
    for seq in 1..=EACH {
        link.publish(&sent.topic_of(device, seq), &payload(device, seq, USUAL_BYTES));
        sent.note(device, seq);
    }
}

fn until_backlog(daemon: &Daemon, count: u64) {
    let said = format!("backlog {count};");
    daemon
        .notify()
        .until_status("all of it is stored", ACK_LIMIT, |status| status.contains(&said));
}

/// As if the card had been made on other hardware than it is in now.
fn move_to_another_board(store: &Path) {
    let path = store.join("identity.json");
    let text = fs::read_to_string(&path).expect("it has an identity");
    let mut identity: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(identity["hardware"].is_string(), "{identity}");
    identity["hardware"] = "0000000000000000".into();
    fs::write(&path, identity.to_string()).expect("writes");
}

/// By device: how many records carry each id.
fn ids_by_device(records: &[Record]) -> BTreeMap<String, BTreeMap<String, usize>> {
    let mut ids: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for record in records {
        let (device, _) = origin(&record.value).expect("ours");
        let id = record.header("edgeferry-id").expect("every record has one");
        *ids.entry(device).or_default().entry(id.to_owned()).or_default() += 1;
    }
    ids
}

fn epoch_of(id: &str) -> &str {
    id.split('-').next().expect("there is a first part")
}

/// Every file below a folder but the lock, which says who tried last.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else if path.file_name().is_some_and(|name| name != "lock") {
            let bytes = fs::read(&path).expect("reads");
            all.insert(path, bytes);
        }
    }
    all
}
