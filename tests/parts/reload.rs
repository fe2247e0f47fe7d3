//! The configuration changes while the daemon works: what is not about the change goes on, nothing is lost, and what is wrong
//! changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use edgeferry::ops::State;
use rustix::process::Signal;

use crate::support::config::{CLIENT_ID, Config};
use crate::support::daemon::{self, Daemon};
use crate::support::devices::sent::Sent;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::secure::{self, Authority};
use crate::support::kafka::{Brokers, Kafka, shared};
use crate::support::mosquitto::Mosquitto;
use crate::support::mosquitto::guarded::{Door, Guarded, PASSWORD, USER};
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::payload::origin;
use crate::support::proc_stats::{anonymous, connections_to, open_files, threads};
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::scratch::Scratch;
use crate::support::wait;

const TELEMETRY: &str = "devices/{device}/telemetry";
const ALARMS: &str = "devices/{device}/alarm";
const ALARM_FILTER: &str = "devices/+/alarm";
/// Far more than a reload takes; only failures wait this long.
const LIMIT: Duration = Duration::from_mins(1);
/// Emptying a session needs 10 s of silence and one answered ping after it; the rest is for a busy machine, where the silence may
/// begin anew. Only failures wait this long.
const REMOVAL_LIMIT: Duration = Duration::from_mins(3);

/// After a reload a refused link waits for nothing; what else a busy machine takes.
const AT_ONCE: Duration = Duration::from_secs(20);
/// The Kafka client, the tests' broker and idle threads of the runtime settle within some seconds: the last end after ten.
const QUIET: Duration = Duration::from_secs(12);
/// What an allocator does of its own accord in a minute; one lane that stayed would be some megabytes.
const MEMORY_SLACK: u64 = 1_500_000;

/// A broker and two Kafka topics.
struct Plant<'k> {
    kafka: &'k Kafka,
    mosquitto: Mosquitto,
    telemetry: String,
    alarms: String,
}

impl<'k> Plant<'k> {
    fn new(kafka: &'k Kafka) -> Self {
        Self {
            kafka,
            mosquitto: Mosquitto::start(),
            telemetry: kafka.fresh_topic("telemetry"),
            alarms: kafka.fresh_topic("alarms"),
        }
    }

    fn base(&self) -> Config {
        Config::new(self.kafka).broker_with("local", "5", &self.mosquitto, "keep_alive = \"5s\"")
    }

    /// Telemetry alone.
    fn config(&self) -> Config {
        self.base().route(TELEMETRY, &self.telemetry)
    }

    /// And alarms in a lane of their own.
    fn with_alarms(&self, lines: &str) -> Config {
        self.config()
            .lane("alarms", lines)
            .route_with(ALARMS, &self.alarms, "lane = \"alarms\"")
    }

    /// The same, with the route written above the other one, which becomes the second.
    fn with_alarms_above(&self) -> Config {
        self.base()
            .lane("alarms", "")
            .route_with(ALARMS, &self.alarms, "lane = \"alarms\"")
            .route(TELEMETRY, &self.telemetry)
    }

    fn start(&self, config: &Config, filters: &[&str]) -> Daemon {
        let mark = self.mosquitto.mark();
        let daemon = Daemon::start(config);
        for filter in filters {
            self.mosquitto.until_subscribed(filter, mark);
        }
        daemon
    }

    fn fleet(&self, prefix: &'static str, topic: &'static str) -> Devices {
        let plan = Plan {
            prefix,
            topic,
            ..Plan::default()
        };
        Devices::start(&self.mosquitto, &plan)
    }

    fn connections(&self, lane: &str, since: crate::support::mosquitto::Mark) -> usize {
        self.mosquitto.connections(&format!("{CLIENT_ID}-{lane}"), since)
    }

    /// For a topic that is not there.
    fn late(&self, topic: &str) -> Config {
        self.base().route(TELEMETRY, topic).impatient()
    }

    /// A daemon with 6,000 messages of so many bytes for a topic that is not there.
    fn waiting(&self, late: &str, bytes: usize) -> (Daemon, Sent) {
        let daemon = self.start(&self.late(late), &[FILTER]);
        let plan = Plan {
            messages: Some(6_000),
            rate: None,
            bytes,
            ..Plan::default()
        };
        let sent = Devices::start(&self.mosquitto, &plan).finish(ACK_LIMIT);
        daemon
            .notify()
            .until_status("all wait", ACK_LIMIT, |status| waits(status, 6_000));
        (daemon, sent)
    }
}

/// Whether so many messages wait in the one lane. A broker that was too slow for a ping may have sent some once more.
fn waits(status: &str, count: u64) -> bool {
    let backlog = status.split("backlog ").nth(1).unwrap_or_default();
    let digits = backlog.split(|letter: char| !letter.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse::<u64>().ok()) >= Some(count)
}

/// What the routes of a lane have delivered, in their order.
fn route_counts(daemon: &Daemon, lane: &str) -> Vec<u64> {
    let (_, said, complaint) = daemon.ask("status", &["--json"]);
    let state: serde_json::Value =
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{complaint}"));
    let lanes = state["lanes"].as_array().expect("a list").iter();
    let lane = lanes
        .clone()
        .find(|known| known["name"] == lane)
        .expect("it runs");
    let routes = lane["routes"].as_array().expect("a list").iter();
    routes
        .map(|route| route["delivered"].as_u64().unwrap_or_else(|| panic!("{route}")))
        .collect()
}

/// A reload that must be done. What it said.
fn reload(daemon: &mut Daemon, config: &Config) -> String {
    daemon.reconfigure(config);
    let (code, said, complaint) = daemon.reload();
    assert_eq!(code, Some(0), "{said}{complaint}{}", daemon.log());
    eprintln!("{said}");
    daemon.assert_alive();
    said
}

/// A reload that must be refused, with this exit code. What it complained of.
fn refused(daemon: &mut Daemon, config: &Config, wanted: i32) -> String {
    daemon.reconfigure(config);
    let (code, said, complaint) = daemon.reload();
    assert_eq!(code, Some(wanted), "{said}{complaint}");
    daemon.assert_alive();
    complaint
}

/// What two topics hold of what was sent, one after the other: nothing may miss, each device in order, and edgeferry sends nothing twice
/// where Kafka answers. What comes twice from the broker is marked; gives how many those are.
fn judge(oracles: &mut [Oracle], sent: &Sent) -> usize {
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen: BTreeSet<(String, u64)> = BTreeSet::new();
    let mut ids: BTreeMap<String, (String, u64)> = BTreeMap::new();
    let mut doubles = 0;
    for oracle in oracles {
        oracle.rest();
        let mut records: Vec<_> = oracle.records().iter().collect();
        records.sort_by_key(|record| (record.partition, record.offset));
        for record in records {
            let (device, seq) = origin(&record.value).expect("one of ours");
            let id = record.header("edgeferry-id").expect("it has an id").to_owned();
            if !seen.insert((device.clone(), seq)) {
                doubles += 1;
                let same = ids.get(&id) == Some(&(device.clone(), seq));
                assert!(!same, "{device}#{seq} was sent twice, as {id}");
                assert!(
                    record.header("edgeferry-dup").is_some(),
                    "{device}#{seq} twice, and nobody can tell"
                );
                continue;
            }
            ids.insert(id, (device.clone(), seq));
            let before = newest.insert(device.clone(), seq);
            assert!(before < Some(seq), "{device}#{seq} behind {before:?}");
        }
    }
    let missing: Vec<_> = sent
        .acked()
        .filter(|(device, seq)| !seen.contains(&((*device).to_owned(), *seq)))
        .collect();
    assert!(missing.is_empty(), "{} are missing: {missing:?}", missing.len());
    doubles
}

/// Waits until the topics have all of it together.
fn until_all_there(oracles: &mut [Oracle], sent: &Sent) {
    let wanted = sent.acked().count();
    wait::until("Kafka has everything", PATIENCE * 2, || {
        let mut found = BTreeSet::new();
        for oracle in &mut *oracles {
            oracle.rest();
            found.extend(oracle.records().iter().filter_map(|record| origin(&record.value)));
        }
        (found.len() >= wanted).then_some(())
    });
}

#[test]
fn a_routes_topic_and_key_change_under_load_and_each_message_goes_out_once_by_the_one_or_the_other() {
    let kafka = shared();
    let plant = Plant::new(kafka);
    let after = kafka.fresh_topic("after");
    let mut daemon = plant.start(&plant.with_alarms(""), &[FILTER, ALARM_FILTER]);
    let telemetry = plant.fleet("d", TELEMETRY);
    let alarms = plant.fleet("a", ALARMS);
    alarms.until_acked(200, ACK_LIMIT);
    telemetry.until_acked(200, ACK_LIMIT);
    let (mark, began) = (plant.mosquitto.mark(), Instant::now());
    let config = plant.config().lane("alarms", "").route_with(
        ALARMS,
        &after,
        "lane = \"alarms\"\nkey = \"other-{device}\"",
    );
    let said = reload(&mut daemon, &config);
    eprintln!("the command took {:?}", began.elapsed());
    assert!(said.contains("route[1] changed (topic, key)"), "{said}");
    assert!(said.contains("lane alarms started anew in"), "{said}");
    plant
        .mosquitto
        .until_connected(&format!("{CLIENT_ID}-alarms"), mark);
    alarms.until_acked(400, ACK_LIMIT);
    telemetry.until_acked(400, ACK_LIMIT);
    let (telemetry, alarms) = (telemetry.finish(ACK_LIMIT), alarms.finish(ACK_LIMIT));
    let mut both = [Oracle::new(kafka, &plant.alarms), Oracle::new(kafka, &after)];
    until_all_there(&mut both, &alarms);
    let mut undisturbed = Oracle::new(kafka, &plant.telemetry);
    undisturbed.until_all_there(&telemetry, PATIENCE);
    assert_eq!(
        plant.connections("default", mark),
        0,
        "the other lane was disturbed"
    );
    daemon.terminate();
    let doubles = judge(&mut both, &alarms);
    eprintln!(
        "alarms: {} acknowledged, {doubles} came twice",
        alarms.acked().count()
    );
    assert!(both.iter().all(|oracle| !oracle.records().is_empty()));
    let key = both[1].records()[0].key.clone().expect("has one");
    assert!(key.starts_with(b"other-"), "{key:?}");
    undisturbed.verdict(&telemetry).assert_clean_without_duplicates();
}

#[test]
fn a_lane_comes_and_goes_under_load_and_the_connections_of_the_other_stay() {
    let kafka = shared();
    let plant = Plant::new(kafka);
    let mut daemon = plant.start(&plant.config(), &[FILTER]);
    let telemetry = plant.fleet("d", TELEMETRY);
    telemetry.until_acked(200, ACK_LIMIT);
    Oracle::new(kafka, &plant.telemetry).first(100);
    let mark = plant.mosquitto.mark();
    let producer = connections_to(daemon.id(), kafka.port());
    assert!(!producer.is_empty());
    let said = reload(&mut daemon, &plant.with_alarms_above());
    assert!(said.contains("route[0] added; lane alarms added"), "{said}");
    plant.mosquitto.until_subscribed(ALARM_FILTER, mark);
    let alarms = plant.fleet("a", ALARMS);
    alarms.until_acked(300, ACK_LIMIT);
    // These are in the lane, or at the broker for it; what comes while it goes is nobody's as soon as its filter is let go of.
    let others = plant.fleet("c", ALARMS);
    let mut all = alarms.finish(ACK_LIMIT);
    others.until_acked(100, ACK_LIMIT);
    assert!(connections_to(daemon.id(), kafka.port()).is_superset(&producer));
    // The broker may still have something for the lane that goes.
    let said = reload(&mut daemon, &plant.config());
    assert!(said.contains("route[0] removed; lane alarms removed"), "{said}");
    others.finish(ACK_LIMIT);
    let folder = daemon.store().join("lanes/alarms");
    wait::until("the lane is emptied and put away", REMOVAL_LIMIT, || {
        (!folder.exists()).then_some(())
    });
    telemetry.until_acked(100, ACK_LIMIT);
    assert!(
        connections_to(daemon.id(), kafka.port()).is_superset(&producer),
        "the producer was made anew"
    );
    assert_eq!(
        plant.connections("default", mark),
        0,
        "the other lane was disturbed"
    );
    let telemetry = telemetry.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &plant.telemetry);
    oracle.until_all_there(&telemetry, PATIENCE);
    // And once more, behind the sequences that it used.
    let mark = plant.mosquitto.mark();
    reload(&mut daemon, &plant.with_alarms_above());
    plant.mosquitto.until_subscribed(ALARM_FILTER, mark);
    let again = plant.fleet("b", ALARMS);
    again.until_acked(100, ACK_LIMIT);
    let again = again.finish(ACK_LIMIT);
    let before = all.acked().count();
    all.merge(again);
    let mut alarm_oracle = Oracle::new(kafka, &plant.alarms);
    until_all_there(std::slice::from_mut(&mut alarm_oracle), &all);
    // The lane that stayed has one route, which was the first, the second, the first, and the second.
    let counted = route_counts(&daemon, "default");
    daemon.terminate();
    let records = oracle.rest().len() as u64;
    assert_eq!(counted, [records], "each record is counted for its route");
    let doubles = judge(std::slice::from_mut(&mut alarm_oracle), &all);
    eprintln!("{doubles} alarms came twice from the broker; {before} before the lane was removed");
    oracle.verdict(&telemetry).assert_clean_without_duplicates();
}

#[test]
fn a_route_that_moves_between_lanes_and_a_lane_that_is_renamed_under_load_lose_nothing() {
    let kafka = shared();
    let plant = Plant::new(kafka);
    let together = plant.config().route(ALARMS, &plant.alarms);
    let mut daemon = plant.start(&together, &[FILTER, ALARM_FILTER]);
    let alarms = plant.fleet("a", ALARMS);
    alarms.until_acked(300, ACK_LIMIT);
    let said = reload(&mut daemon, &plant.with_alarms(""));
    assert!(said.contains("route[1] changed (lane)"), "{said}");
    alarms.until_acked(300, ACK_LIMIT);
    // The lane that goes has the filter of the one that comes.
    let renamed = plant
        .config()
        .lane("urgent", "")
        .route_with(ALARMS, &plant.alarms, "lane = \"urgent\"");
    let said = reload(&mut daemon, &renamed);
    assert!(said.contains("lane alarms removed; lane urgent added"), "{said}");
    alarms.until_acked(300, ACK_LIMIT);
    let said = reload(&mut daemon, &together);
    assert!(said.contains("lane urgent removed"), "{said}");
    alarms.until_acked(300, ACK_LIMIT);
    let alarms = alarms.finish(ACK_LIMIT);
    let mut oracle = [Oracle::new(kafka, &plant.alarms)];
    until_all_there(&mut oracle, &alarms);
    daemon.terminate();
    // Order holds within a lane: between lanes there is none while a filter moves.
    let mut found = BTreeSet::new();
    let mut doubles = 0;
    for record in oracle[0].rest() {
        let name = origin(&record.value).expect("one of ours");
        doubles += usize::from(!found.insert(name));
    }
    let all = alarms
        .acked()
        .all(|(device, seq)| found.contains(&(device.to_owned(), seq)));
    assert!(all);
    eprintln!(
        "{} alarms, {doubles} came twice while the filter moved",
        found.len()
    );
}

#[test]
fn a_file_that_is_wrong_changes_nothing_and_the_log_has_every_line_of_it() {
    let kafka = shared();
    let plant = Plant::new(kafka);
    let mut daemon = plant.start(&plant.config(), &[FILTER]);
    let telemetry = plant.fleet("d", TELEMETRY);
    telemetry.until_acked(100, ACK_LIMIT);
    let mark = plant.mosquitto.mark();
    let wrong = plant
        .config()
        .queue("max_bytes = \"1 parsec\"")
        .route("x/{device}", "no topic!");
    let complaint = refused(&mut daemon, &wrong, 64);
    for words in [
        "queue.max_bytes",
        "route[1].topic",
        "edgeferry.toml:",
        "is not applied",
    ] {
        assert!(complaint.contains(words), "{words}: {complaint}");
        assert!(daemon.log().contains(words), "{words}: {}", daemon.log());
    }
    daemon
        .notify()
        .until_status("the state says so", LIMIT, |status| {
            status.contains("is not applied")
        });
    // No TOML at all, but the daemon hears of it.
    std::fs::write(
        daemon.beside("edgeferry.toml"),
        format!("[gateway\ndata_dir = \"{}\"\n", daemon.store().display()),
    )
    .expect("writes");
    let (code, _, complaint) = daemon.reload();
    assert_eq!(code, Some(64), "{complaint}");
    let heard = |what: &str| daemon.notify().count(what);
    wait::until("each reload ends, also one that is refused", LIMIT, || {
        (heard("RELOADING=1") == 2 && heard("READY=1") == 3).then_some(())
    });
    telemetry.until_acked(100, ACK_LIMIT);
    assert_eq!(plant.connections("default", mark), 0);
    let said = reload(&mut daemon, &plant.config());
    assert!(said.contains("nothing is different"), "{said}");
    let telemetry = telemetry.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &plant.telemetry);
    oracle.until_all_there(&telemetry, PATIENCE);
    daemon.terminate();
    oracle.verdict(&telemetry).assert_clean_without_duplicates();
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_of_the_file_is_not_applied_either() {
    let kafka = shared();
    let plant = Plant::new(kafka);
    let mut daemon = plant.start(&plant.config(), &[FILTER]);
    let mark = plant.mosquitto.mark();
    let complaint = refused(&mut daemon, &plant.with_alarms("").gateway("another"), 64);
    assert!(
        complaint.contains("gateway.id is another one, which needs a restart"),
        "{complaint}"
    );
    assert!(!daemon.store().join("lanes/alarms").exists());
    assert_eq!(plant.connections("", mark), 0);
    let missing = plant
        .config()
        .lane("alarms", "key_file = \"/no/such/key\"")
        .route_with(ALARMS, &plant.alarms, "lane = \"alarms\"");
    let complaint = refused(&mut daemon, &missing, 74);
    assert!(complaint.contains("/no/such/key"), "{complaint}");
    let unreadable = plant.config().kafka("ca_file = \"/no/such/ca.pem\"");
    let complaint = refused(&mut daemon, &unreadable, 1);
    assert!(complaint.contains("kafka.ca_file"), "{complaint}");
    assert_eq!(plant.connections("", mark), 0, "nothing was disturbed");
    daemon.terminate();
}

#[test]
fn a_store_that_cannot_be_opened_brings_the_old_configuration_back_as_a_whole() {
    let kafka = shared();
    let plant = Plant::new(kafka);
    let mut daemon = plant.start(&plant.config(), &[FILTER]);
    let telemetry = plant.fleet("d", TELEMETRY);
    telemetry.until_acked(200, ACK_LIMIT);
    // Something is where the folder of the new lane has to be.
    std::fs::write(daemon.store().join("lanes/alarms"), b"no folder").expect("writes");
    let other = kafka.fresh_topic("other");
    let config = plant
        .base()
        .route(TELEMETRY, &other)
        .lane("alarms", "")
        .route_with(ALARMS, &plant.alarms, "lane = \"alarms\"");
    let complaint = refused(&mut daemon, &config, 74);
    assert!(complaint.contains("is not applied"), "{complaint}");
    telemetry.until_acked(300, ACK_LIMIT);
    std::fs::remove_file(daemon.store().join("lanes/alarms")).expect("removes");
    let said = reload(&mut daemon, &config);
    assert!(said.contains("lane alarms added"), "{said}");
    telemetry.until_acked(200, ACK_LIMIT);
    let telemetry = telemetry.finish(ACK_LIMIT);
    let mut both = [Oracle::new(kafka, &plant.telemetry), Oracle::new(kafka, &other)];
    until_all_there(&mut both, &telemetry);
    daemon.terminate();
    let doubles = judge(&mut both, &telemetry);
    eprintln!("{doubles} came twice");
}

#[test]
fn a_full_queue_goes_on_when_its_limit_is_raised_while_kafka_is_away() {
    let mut kafka = Kafka::start();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("telemetry");
    let config = |limit: &str| {
        Config::new(&kafka)
            .broker_with("local", "5", &mosquitto, "keep_alive = \"5s\"")
            .route(TELEMETRY, &topic)
            .queue(&format!("max_bytes = \"{limit}\""))
            .impatient()
    };
    let (small, large) = (config("16MiB"), config("128MiB"));
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&small);
    mosquitto.until_subscribed(FILTER, mark);
    kafka.kill();
    let plan = Plan {
        messages: Some(4_000),
        rate: None,
        bytes: 8_000,
        ..Plan::default()
    };
    let sent = Devices::start(&mosquitto, &plan).finish(ACK_LIMIT);
    daemon
        .notify()
        .until_status("the queue is full", ACK_LIMIT, |status| {
            status.contains("pushed back")
        });
    let began = Instant::now();
    let said = reload(&mut daemon, &large);
    eprintln!("with Kafka away the command took {:?}", began.elapsed());
    assert!(said.contains("queue.max_bytes changed"), "{said}");
    daemon
        .notify()
        .until_status("everything is taken", ACK_LIMIT, |status| waits(status, 4_000));
    kafka.restart();
    let mut oracle = Oracle::new(&kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.terminate();
    let verdict = oracle.verdict(&sent);
    eprintln!("{verdict}");
    verdict.assert_clean();
}

#[test]
fn the_level_of_the_log_changes_at_a_reload_unless_the_environment_says_it() {
    let kafka = shared();
    let plant = Plant::new(kafka);
    let mut daemon = plant.start(&plant.config(), &[FILTER]);
    let mark = plant.mosquitto.mark();
    assert!(!daemon.log().contains(" DEBUG "));
    let said = reload(&mut daemon, &plant.config().log("level = \"debug\""));
    assert!(said.contains("log.level changed"), "{said}");
    assert!(!said.contains("EDGEFERRY_LOG"), "{said}");
    daemon.queue(&["ls"]);
    wait::until("the log says more", LIMIT, || {
        daemon.log().contains(" DEBUG ").then_some(())
    });
    assert_eq!(plant.connections("default", mark), 0);
    daemon.terminate();
    daemon.set_environment(&[("EDGEFERRY_LOG", "info".to_owned())]);
    daemon.reconfigure(&plant.config());
    daemon.restart();
    let said = reload(&mut daemon, &plant.config().log("level = \"trace\""));
    assert!(
        said.contains("EDGEFERRY_LOG is set, which goes over it"),
        "{said}"
    );
    daemon.terminate();
}

#[test]
fn fifty_reloads_under_load_lose_nothing_and_leave_no_thread_and_no_file_behind() {
    let kafka = shared();
    let plant = Plant::new(kafka);
    let mut daemon = plant.start(&plant.with_alarms(""), &[FILTER, ALARM_FILTER]);
    let telemetry = plant.fleet("d", TELEMETRY);
    let alarms = plant.fleet("a", ALARMS);
    let mut took = Vec::new();
    let mut counted = Vec::new();
    let mark = plant.mosquitto.mark();
    for round in 0..50 {
        let age = format!("max_age = \"{}h\"", 10 + round);
        let began = Instant::now();
        reload(&mut daemon, &plant.with_alarms(&age));
        took.push(began.elapsed());
        if round % 5 == 4 {
            let (before, id) = (alarms.acked(), daemon.id());
            alarms.until_acked(50, ACK_LIMIT);
            assert!(alarms.acked() > before);
            counted.push((threads(id), open_files(id), anonymous(id).expect("it runs")));
        }
    }
    eprintln!("threads, open files, anonymous bytes every 5 reloads: {counted:?}");
    took.sort();
    eprintln!(
        "the command took {:?} (median), {:?} (longest)",
        took[25], took[49]
    );
    assert_eq!(
        plant.connections("default", mark),
        0,
        "the other lane was disturbed"
    );
    let (first, last) = (counted[1], counted[9]);
    assert!(last.0 <= first.0 + 3, "threads");
    assert!(last.1 <= first.1 + 8, "open files");
    // What is remembered of messages grows with them; each lane that stayed would be some megabytes more.
    assert!(last.2 <= first.2 + 8_000_000, "memory");
    let (telemetry, alarms) = (telemetry.finish(ACK_LIMIT), alarms.finish(ACK_LIMIT));
    let mut oracle = [Oracle::new(kafka, &plant.alarms)];
    until_all_there(&mut oracle, &alarms);
    let mut undisturbed = Oracle::new(kafka, &plant.telemetry);
    undisturbed.until_all_there(&telemetry, PATIENCE);
    daemon.terminate();
    let doubles = judge(&mut oracle, &alarms);
    eprintln!(
        "{} alarms, {doubles} came twice over 50 reloads",
        alarms.acked().count()
    );
    undisturbed.verdict(&telemetry).assert_clean_without_duplicates();
}

#[test]
fn fifty_reloads_without_load_leave_no_memory_no_thread_and_no_file_behind() {
    let kafka = shared();
    let plant = Plant::new(kafka);
    let mut daemon = plant.start(&plant.with_alarms(""), &[FILTER, ALARM_FILTER]);
    let mut sizes = Vec::new();
    let mut first = (0, 0);
    for round in 0..50 {
        reload(
            &mut daemon,
            &plant.with_alarms(&format!("max_age = \"{}h\"", 10 + round)),
        );
        sizes.push(anonymous(daemon.id()).expect("it runs"));
        if round == 9 {
            first = settled(daemon.id());
        }
    }
    let last = settled(daemon.id());
    eprintln!("threads and open files after 10 reloads: {first:?}, after 50: {last:?}");
    // A thread for file work lives on for 10 s behind its work, and a client has one connection more or less. One that stays behind
    // at every tenth reload makes four.
    assert!(last.0 < first.0 + 4, "threads");
    assert!(last.1 < first.1 + 4, "files");
    let (first, last) = (sizes[9], sizes[49]);
    eprintln!("anonymous memory after 10 reloads: {first}, after 50: {last} bytes");
    assert!(last <= first + MEMORY_SLACK, "{sizes:?}");
}

/// Threads and open files of a process, once they have not changed for [`QUIET`]: clients connect behind a reload.
fn settled(id: u32) -> (usize, usize) {
    let look = || (threads(id), open_files(id));
    let mut seen = (look(), Instant::now());
    wait::until("nothing is opened or closed any more", LIMIT, || {
        let now = look();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        (seen.1.elapsed() >= QUIET).then_some(now)
    })
}

#[test]
fn a_refused_broker_is_tried_at_once_with_the_password_and_the_certificate_that_a_reload_finds() {
    let guarded = Guarded::start();
    let files = Scratch::new("secrets");
    let put = |name: &str, contents: &str| {
        let (path, unfinished) = (files.join(name), files.join("unfinished"));
        std::fs::write(&unfinished, contents).expect("the folder is writable");
        std::fs::rename(&unfinished, &path).expect("the folder is writable");
        path
    };
    let copy = |name: &str, from: &Path| put(name, &std::fs::read_to_string(from).expect("it was made"));
    let stranger = Authority::new("Stranger CA");
    let (good, strange) = (guarded.authority().certificate("gw"), stranger.certificate("gw"));
    let password = put("password", "wrong horse");
    let cert = copy("cert.pem", &strange.cert);
    let key = copy("key.pem", &strange.key);
    let line = |key: &str, path: &Path| format!("{key} = \"{}\"\n", path.display());
    let login = format!("username = \"{USER}\"\n{}", line("password_file", &password));
    let mutual =
        line("ca_file", &guarded.authority().ca()) + &line("cert_file", &cert) + &line("key_file", &key);
    let config = Config::new(&Kafka::absent())
        .broker_at("password", "5", &guarded.url(Door::Password), &login)
        .broker_at(
            "mutual",
            "5",
            &guarded.url(Door::MutualTls),
            &(mutual + "client_id = \"other\"\n"),
        )
        .route(TELEMETRY, "nowhere");
    let mut daemon = Daemon::start(&config);
    daemon.notify().until_status("both are refused", LIMIT, |status| {
        status.matches(": refused (").count() >= 2
    });
    put("password", PASSWORD);
    copy("cert.pem", &good.cert);
    copy("key.pem", &good.key);
    let said = reload(&mut daemon, &config);
    assert!(said.contains("secrets and certificates are read again"), "{said}");
    let began = Instant::now();
    daemon.notify().until_status("both are up", LIMIT, |status| {
        status.contains("mqtt password: up") && status.contains("mqtt mutual: up")
    });
    eprintln!("up after {:?}", began.elapsed());
    assert!(
        began.elapsed() < AT_ONCE,
        "by itself it takes three quarters of a minute"
    );
    daemon.terminate();
}

#[test]
fn another_way_into_kafka_and_another_password_under_load_lose_nothing() {
    let secure = secure::shared();
    let files = Scratch::new("secrets");
    let password = files.join("password");
    std::fs::write(&password, PASSWORD).expect("the folder is writable");
    let mosquitto = Mosquitto::start();
    let topic = secure.fresh_topic("telemetry");
    let config = |mechanism: &str| {
        Config::usual("5", &mosquitto, secure, &topic)
            .bootstrap(&secure.door(secure::Door::Sasl))
            .kafka(&format!("ca_file = \"{}\"", secure.authority().ca().display()))
            .kafka(&format!("sasl = \"{mechanism}\""))
            .kafka(&format!("username = \"{}\"", secure::USER))
            .kafka(&format!("password_file = \"{}\"", password.display()))
    };
    let (plain, scram) = (config("plain"), config("scram-sha-512"));
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&plain);
    mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(&mosquitto, &Plan::default());
    devices.until_acked(300, ACK_LIMIT);
    let said = reload(&mut daemon, &scram);
    assert!(said.contains("kafka.tls and sasl changed"), "{said}");
    devices.until_acked(300, ACK_LIMIT);
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(secure, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.terminate();
    oracle.verdict(&sent).assert_clean();
}

#[test]
fn another_way_of_delivery_and_another_topic_for_the_cursor_under_load_send_nothing_twice() {
    let kafka = shared();
    let plant = Plant::new(kafka);
    let cursors = kafka.fresh_topic("cursors");
    let at_least = plant.config();
    let once = plant.config().exactly_once();
    let elsewhere = once.clone().kafka(&format!("cursor_topic = \"{cursors}\""));
    let older = elsewhere.clone().queue("max_age = \"99h\"");
    let mut daemon = plant.start(&at_least, &[FILTER]);
    let devices = plant.fleet("d", TELEMETRY);
    let steps = [
        (&once, "kafka.delivery changed"),
        (&elsewhere, "kafka.cursor_topic changed"),
        (&older, "queue.max_age changed"),
        (&at_least, "kafka.delivery changed"),
        (&once, "kafka.delivery changed"),
    ];
    for (config, words) in steps {
        devices.until_acked(200, ACK_LIMIT);
        let said = reload(&mut daemon, config);
        assert!(said.contains(words), "{said}");
    }
    devices.until_acked(200, ACK_LIMIT);
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &plant.telemetry);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.terminate();
    let verdict = oracle.verdict(&sent);
    eprintln!("{verdict}");
    verdict.assert_clean();
    assert_eq!(verdict.duplicates.same_id, 0, "a record came twice under one id");
}

#[test]
fn sighup_twenty_times_in_a_second_and_during_a_stop_does_no_harm() {
    let kafka = shared();
    let plant = Plant::new(kafka);
    let config = plant.config();
    let mut daemon = plant.start(&config, &[FILTER]);
    let telemetry = plant.fleet("d", TELEMETRY);
    telemetry.until_acked(100, ACK_LIMIT);
    for round in 0..20 {
        daemon.reconfigure(&config.clone().queue(&format!("max_age = \"{}h\"", 10 + round)));
        daemon.signal(Signal::HUP);
        wait::let_pass("a twentieth of a second", Duration::from_millis(50));
    }
    wait::until("the last one is applied, and all have ended", LIMIT, || {
        let (begun, ended) = (
            daemon.notify().count("RELOADING=1"),
            daemon.notify().count("READY=1"),
        );
        let (code, said, complaint) = daemon.reload();
        assert_eq!(code, Some(0), "{complaint}");
        (begun > 0 && ended > begun && said.contains("nothing is different")).then_some(())
    });
    telemetry.until_acked(200, ACK_LIMIT);
    let telemetry = telemetry.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &plant.telemetry);
    oracle.until_all_there(&telemetry, PATIENCE);
    // In the middle of one that has work to do.
    daemon.reconfigure(&config.clone().queue("max_age = \"99h\""));
    daemon.signal(Signal::HUP);
    daemon.terminate();
    oracle.verdict(&telemetry).assert_clean();
    // And a reload while it starts.
    let begun = daemon.notify().count("RELOADING=1");
    daemon.launch();
    let id = daemon.id();
    wait::until("it takes the signal", LIMIT, || catches_hangup(id).then_some(()));
    daemon.signal(Signal::HUP);
    wait::until("it is followed once it runs", LIMIT, || {
        daemon.assert_alive();
        (daemon.notify().count("RELOADING=1") > begun).then_some(())
    });
    daemon.terminate();
}

/// Whether a process has a handler for SIGHUP, the first bit: without one it would end.
fn catches_hangup(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask & 1 == 1)
}

#[test]
fn a_reload_beside_a_long_export_ends_the_export_with_a_clear_word_and_loses_nothing() {
    let kafka = shared();
    let plant = Plant::new(kafka);
    let late = crate::support::kafka::unused_topic("late");
    let (mut daemon, sent) = plant.waiting(&late, 8_000);
    // An export goes on only as far as it is read, and 48 MB fit into no pipe: it is at work when the reload begins.
    let mut exporting = Command::new(daemon::binary())
        .args(["queue", "export", "--config"])
        .arg(daemon.beside("edgeferry.toml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut exported = exporting.stdout.take().expect("piped");
    let mut piece = vec![0; 32 * 1024];
    let mut length = exported.read(&mut piece).expect("reads");
    assert!(length > 0, "it is at work");
    daemon.reconfigure(&plant.late(&late).queue("max_age = \"99h\""));
    let begun = daemon.notify().count("RELOADING=1");
    let (code, said, complaint) = std::thread::scope(|scope| {
        let reloading = scope.spawn(|| daemon.reload());
        wait::until("it is reloading", LIMIT, || {
            (daemon.notify().count("RELOADING=1") > begun).then_some(())
        });
        // Slowly: the export must not be through before the reload gets to it.
        wait::until("the reload ends", LIMIT, || {
            length += exported.read(&mut piece).expect("reads");
            reloading.is_finished().then_some(())
        });
        reloading.join().expect("runs")
    });
    assert_eq!(code, Some(0), "{said}{complaint}");
    let rest = std::io::copy(&mut exported, &mut std::io::sink()).expect("reads");
    eprintln!("it had come to {length} bytes, and {rest}");
    let ended = exporting.wait_with_output().expect("ends");
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("reloading its configuration"), "{complaint}");
    daemon.queue(&["verify"]);
    kafka.create_topic(&late, crate::support::kafka::PARTITIONS, &[]);
    let mut oracle = Oracle::new(kafka, &late);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.terminate();
    oracle.verdict(&sent).assert_clean();
}

/// Removes a device of a backlog and reloads meanwhile. Gives how many messages were removed.
fn purge_beside_a_reload(daemon: &mut Daemon) -> u64 {
    // 24 MB are read and written anew: the reload comes into it.
    let mut purging = Command::new(daemon::binary())
        .args(["queue", "purge", "--device", "d3", "--yes", "--config"])
        .arg(daemon.beside("edgeferry.toml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let purged = || daemon.lane()["removed"]["purged"].as_u64().unwrap_or(0);
    wait::until("it is at work", LIMIT, || {
        (purged() > 0 || purging.try_wait().expect("is ours").is_some()).then_some(())
    });
    let (code, said, complaint) = daemon.reload();
    assert_eq!(code, Some(0), "{said}{complaint}");
    let ended = purging.wait_with_output().expect("ends");
    let words = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    let is_done = ended.status.code() == Some(0) && words.contains("messages removed");
    let made_way = ended.status.code() == Some(1) && words.contains("reloading its configuration");
    assert!(is_done || made_way, "{:?}: {words}", ended.status);
    let stands = daemon.lane();
    let count = |name: &str| stands[name].as_u64().expect("a number");
    let removed = purged();
    eprintln!(
        "the purge {}: {removed} removed",
        if is_done { "was done" } else { "made way" }
    );
    assert_eq!(
        (count("received"), count("queued")),
        (6_000, 6_000 - removed),
        "{stands}"
    );
    removed
}

#[test]
fn a_reload_beside_a_purge_leaves_an_account_that_says_what_was_purged() {
    let kafka = shared();
    let plant = Plant::new(kafka);
    let late = crate::support::kafka::unused_topic("late");
    let (mut daemon, sent) = plant.waiting(&late, 4_000);
    daemon.reconfigure(&plant.late(&late).queue("max_age = \"99h\""));
    let removed = purge_beside_a_reload(&mut daemon);
    daemon.queue(&["verify"]);
    kafka.create_topic(&late, crate::support::kafka::PARTITIONS, &[]);
    wait::until("the queue is empty", PATIENCE, || {
        (daemon.lane()["queued"] == 0).then_some(())
    });
    let (_, out, _) = daemon.ask("status", &["--json"]);
    let state: State = serde_json::from_str(&out).expect("a state");
    let ledger = &state.lanes[0].ledger;
    assert_eq!(ledger.unaccounted, Some(0), "{ledger:?}");
    assert_eq!(
        (ledger.delivered, ledger.removed["purged"]),
        (6_000 - removed, removed),
        "{ledger:?}"
    );
    daemon.terminate();
    let verdict = Oracle::new(kafka, &late).verdict(&sent);
    assert_eq!(verdict.lost.len() as u64, removed, "{verdict}");
    assert!(
        verdict.lost.iter().all(|lost| lost.starts_with("d3#")),
        "{verdict}"
    );
}

#[test]
fn a_broker_comes_moves_and_goes_and_the_other_one_is_not_disturbed() {
    let kafka = shared();
    let plant = Plant::new(kafka);
    let (second, third) = (Mosquitto::start(), Mosquitto::start());
    let two = |other: &Mosquitto| {
        Config::new(kafka)
            .broker_with("local", "5", &plant.mosquitto, "keep_alive = \"5s\"")
            .broker("other", "5", other)
            .lane("alarms", "")
            .route_with(TELEMETRY, &plant.telemetry, "broker = \"local\"")
            .route_with(ALARMS, &plant.alarms, "broker = \"other\"\nlane = \"alarms\"")
    };
    let one = Config::new(kafka)
        .broker_with("local", "5", &plant.mosquitto, "keep_alive = \"5s\"")
        .route_with(TELEMETRY, &plant.telemetry, "broker = \"local\"");
    let mut daemon = plant.start(&one, &[FILTER]);
    let mark = plant.mosquitto.mark();
    let at = second.mark();
    let said = reload(&mut daemon, &two(&second));
    assert!(said.contains("mqtt other added"), "{said}");
    second.until_subscribed(ALARM_FILTER, at);
    let at = third.mark();
    let said = reload(&mut daemon, &two(&third));
    assert!(said.contains("mqtt other changed (url)"), "{said}");
    third.until_subscribed(ALARM_FILTER, at);
    let said = reload(&mut daemon, &one);
    assert!(said.contains("mqtt other removed"), "{said}");
    assert_eq!(plant.connections("default", mark), 0);
    daemon.terminate();
}
