//! The sample consumer, `examples/consumer`, as its users run it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use proptest::prelude::*;

use crate::support::again::repeat_the_end;
use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{Kafka, shared};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE, Record};
use crate::support::process::Process;
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::scratch::Scratch;
use crate::support::seed::Seed;
use crate::support::wait;

#[path = "../../examples/consumer/seen.rs"]
mod seen;

use seen::{LANES, LATECOMERS, Seen, WINDOW};

const LIMIT: Duration = Duration::from_mins(1);
/// What the sample commits at once at most, as it says.
const COMMIT_RECORDS: usize = 500;
/// With a fixed place in its group a new consumer follows a killed one at once.
const KILLS: usize = 5;

/// The sample as a program, built as it is now: a test run of its own does not build examples.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--example", "consumer"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.expect("cargo runs").success(), "the sample builds");
        let binary = Path::new(env!("CARGO_BIN_EXE_edgeferry"));
        binary.with_file_name("examples").join("consumer")
    })
}

/// A consumer that runs, and what it and those before it printed.
struct Sample {
    process: Process,
    log: PathBuf,
}

impl Sample {
    fn start(topic: &str, log: PathBuf, properties: &[&str]) -> Self {
        let process = Process::spawn("consumer", program(), &log, |command| {
            command
                .args(["--bootstrap-servers", &shared().bootstrap()])
                .args(["--topic", topic, "--group", &format!("of {topic}")])
                .args(properties.iter().flat_map(|property| ["-X", property]));
        });
        Self { process, log }
    }

    /// Ctrl-C or `systemctl stop`
    fn stop(self) {
        let status = self.process.terminate(LIMIT);
        assert_eq!(status.code(), Some(0), "asked to stop, it ends well");
    }

    fn until_processed(&self, records: usize) {
        let what = format!("{records} messages are processed");
        wait::until(&what, LIMIT, || {
            (processed(&self.log).len() >= records).then_some(())
        });
    }
}

/// Ids in the order in which they were processed. A line that is cut off was not processed.
fn processed(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .map(|line| line["id"].as_str().expect("every message has an id").to_owned())
        .collect()
}

fn ids(records: &[Record]) -> BTreeSet<String> {
    let ids = records.iter().map(|record| record.header("edgeferry-id"));
    ids.map(|id| id.expect("every record has one").to_owned())
        .collect()
}

/// A daemon between a broker and a topic of its own.
struct Scene {
    kafka: &'static Kafka,
    mosquitto: Mosquitto,
    topic: String,
    daemon: Daemon,
    oracle: Oracle,
    folder: Scratch,
}

impl Scene {
    fn start() -> Self {
        let kafka = shared();
        let mosquitto = Mosquitto::start();
        let topic = kafka.fresh_topic("consumed");
        let mark = mosquitto.mark();
        let daemon = Daemon::start(&Config::usual("5", &mosquitto, kafka, &topic));
        mosquitto.until_subscribed(FILTER, mark);
        Self {
            kafka,
            mosquitto,
            oracle: Oracle::new(kafka, &topic),
            folder: Scratch::new("consumer"),
            topic,
            daemon,
        }
    }

    /// So many messages of devices with this prefix are in Kafka; the daemon is killed meanwhile.
    fn deliver(&mut self, prefix: &'static str, messages: u64) {
        let devices = Devices::start(
            &self.mosquitto,
            &Plan {
                prefix,
                messages: Some(messages),
                rate: Some(1_000),
                ..Plan::default()
            },
        );
        devices.until_acked(messages / 2, ACK_LIMIT);
        self.daemon.kill();
        self.daemon.restart();
        let sent = devices.finish(ACK_LIMIT);
        self.oracle.until_all_there(&sent, PATIENCE);
    }

    /// The last records of each partition come a second time.
    fn repeat(&mut self, count: usize) {
        let records = self.oracle.rest().to_vec();
        let written = repeat_the_end(self.kafka, &self.topic, &records, count);
        eprintln!("{written} duplicates");
    }

    /// All ids in Kafka.
    fn ids(&mut self) -> BTreeSet<String> {
        ids(self.oracle.rest())
    }

    fn consumer(&self) -> Sample {
        self.consumer_with(&[])
    }

    fn consumer_with(&self, properties: &[&str]) -> Sample {
        Sample::start(&self.topic, self.log(), properties)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("processed")
    }
}

fn assert_each_once(processed: &[String], wanted: &BTreeSet<String>) {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for id in processed {
        *times.entry(id).or_default() += 1;
    }
    let repeated: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty(), "processed more than once: {repeated:?}");
    let missed: Vec<_> = wanted
        .iter()
        .filter(|id| !times.contains_key(id.as_str()))
        .collect();
    assert!(missed.is_empty(), "never processed: {missed:?}");
    assert_eq!(times.len(), wanted.len());
}

#[test]
fn each_id_is_processed_once_over_crashes_of_the_gateway_and_restarts_and_changes_of_the_group() {
    let mut scene = Scene::start();
    scene.deliver("a", 1_500);
    // It begins at the beginning, although the group is new.
    let first = scene.consumer();
    let all = scene.ids().len();
    first.until_processed(all);
    // Duplicates of what it has processed, while it runs.
    scene.repeat(100);
    scene.deliver("b", 500);
    let all = scene.ids().len();
    first.until_processed(all);
    // Duplicates of what a former life has processed.
    first.stop();
    scene.repeat(300);
    let second = scene.consumer();
    scene.deliver("c", 500);
    let all = scene.ids().len();
    second.until_processed(all);
    // Duplicates of what another consumer of the group has processed, who gives up some of its partitions.
    let third = scene.consumer();
    scene.repeat(300);
    scene.deliver("d", 500);
    let all = scene.ids().len();
    third.until_processed(all);
    second.stop();
    scene.repeat(300);
    scene.deliver("e", 500);
    scene.daemon.terminate();
    let all = scene.ids();
    third.until_processed(all.len());
    third.stop();
    let records = scene.oracle.records().len();
    eprintln!("{} ids in {records} records", all.len());
    assert!(records >= all.len() + 500, "there were duplicates");
    assert_each_once(&processed(&scene.log()), &all);
}

#[test]
fn a_consumer_that_is_killed_misses_nothing_and_repeats_only_what_it_had_not_committed() {
    let mut seed = Seed::of_this_run("a_consumer_that_is_killed");
    let mut scene = Scene::start();
    let devices = Devices::start(
        &scene.mosquitto,
        &Plan {
            rate: Some(1_000),
            ..Plan::default()
        },
    );
    let mut consumer = scene.consumer_with(&["group.instance.id=one"]);
    for _ in 0..KILLS {
        let so_far = processed(&scene.log()).len();
        consumer.until_processed(so_far + usize::try_from(seed.between(100, 900)).expect("small"));
        consumer.process.kill();
        consumer = scene.consumer_with(&["group.instance.id=one"]);
    }
    let sent = devices.finish(ACK_LIMIT);
    scene.oracle.until_all_there(&sent, PATIENCE);
    scene.daemon.terminate();
    scene.repeat(100);
    let all = scene.ids();
    wait::until("all is processed", LIMIT, || {
        let processed: BTreeSet<String> = processed(&scene.log()).into_iter().collect();
        all.is_subset(&processed).then_some(())
    });
    consumer.stop();
    let processed = processed(&scene.log());
    let once: BTreeSet<_> = processed.iter().collect();
    assert_eq!(
        once.len(),
        all.len(),
        "nothing is missed, and nothing is invented"
    );
    let repeated = processed.len() - all.len();
    eprintln!(
        "{} messages, {KILLS} kills: {repeated} were processed again",
        all.len()
    );
    assert!(
        repeated <= KILLS * COMMIT_RECORDS,
        "{repeated} were processed again"
    );
}

fn id(lane: &str, sequence: u64) -> String {
    format!("00000000000000ab-{lane}-{sequence}")
}

#[test]
fn what_comes_late_for_the_first_time_is_new_and_then_seen() {
    let mut seen = Seen::default();
    assert!(seen.is_new(&id("default", 1_000_000)));
    // A letter that was put back, older than the window; one that is in it; the first sequence of all.
    for late in [17, 1_000_000 - WINDOW / 2, 0] {
        assert!(seen.is_new(&id("default", late)), "{late} is new");
        assert!(!seen.is_new(&id("default", late)), "{late} is seen");
    }
    assert!(!seen.is_new(&id("default", 1_000_000)));
}

#[test]
fn lanes_and_gateways_do_not_share_sequences() {
    let mut seen = Seen::default();
    assert!(seen.is_new("00000000000000ab-default-7"));
    assert!(seen.is_new("00000000000000ab-alarms-7"));
    assert!(seen.is_new("00000000000000cd-default-7"));
    assert!(!seen.is_new("00000000000000ab-alarms-7"));
}

#[test]
fn the_memory_is_bounded_and_what_is_forgotten_is_taken_for_new() {
    let mut seen = Seen::default();
    assert!(seen.is_new(&id("silent", 7)) && seen.is_new(&id("busy", 7)));
    for lane in 2..LANES {
        assert!(seen.is_new(&id(&format!("lane_{lane}"), 7)));
    }
    assert!(!seen.is_new(&id("busy", 7)), "all have room");
    assert!(seen.is_new(&id("one_more", 7)));
    assert!(
        seen.is_new(&id("silent", 7)),
        "the one silent for longest is forgotten"
    );
    assert!(!seen.is_new(&id("busy", 7)));

    assert!(seen.is_new(&id("busy", 10 * WINDOW)));
    let latecomers = u64::try_from(LATECOMERS).expect("few");
    for late in 0..=latecomers {
        assert!(seen.is_new(&id("busy", 1_000 + late)));
    }
    assert!(!seen.is_new(&id("busy", 1_000 + latecomers)));
    assert!(
        seen.is_new(&id("busy", 1_000)),
        "the first latecomer is forgotten"
    );
}

#[test]
fn what_is_no_id_of_edgeferry_is_always_new() {
    let mut seen = Seen::default();
    for odd in [
        "",
        "-",
        "7",
        "ab-default-",
        "ab-default-x",
        "ab-default-99999999999999999999999",
    ] {
        assert!(seen.is_new(odd) && seen.is_new(odd), "{odd:?}");
    }
}

#[test]
fn the_end_of_the_numbers_is_no_trap() {
    let mut seen = Seen::default();
    assert!(seen.is_new(&id("default", u64::MAX)));
    assert!(!seen.is_new(&id("default", u64::MAX)));
    assert!(seen.is_new(&id("default", 3)), "it comes late, and is not lost");
}

proptest! {
    /// A partition as gateways fill it: some of the lanes' sequences, going on, going back over what was under way.
    #[test]
    fn the_window_knows_what_a_set_of_all_ids_knows(
        steps in prop::collection::vec((0..3_usize, 0..5_u64, 1..400_u64, any::<bool>()), 1..200),
    ) {
        let lanes = ["default", "alarms", "bulk"];
        let mut next = [0_u64; 3];
        let (mut seen, mut all) = (Seen::default(), HashSet::new());
        for (lane, gap, run, goes_back) in steps {
            let back = if goes_back { run * 10 } else { 0 };
            let from = next[lane].saturating_sub(back.min(WINDOW / 4));
            // Of a lane's sequences a partition has only some.
            for sequence in (from..next[lane] + run).step_by(1 + usize::try_from(gap).unwrap()) {
                let id = id(lanes[lane], sequence);
                prop_assert_eq!(seen.is_new(&id), all.insert(id.clone()), "{}", id);
            }
            next[lane] += run;
        }
    }
}
