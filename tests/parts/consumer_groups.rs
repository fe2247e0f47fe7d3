//! Partitions × consumers × groups, on data that the daemon produced: what Kafka itself does with keys and groups, and what
//! edgeferry's keys and ids add to it.
//!
//! | partitions | consumers | groups | what is shown |
//! | --- | --- | --- | --- |
//! | 1 | 1 | 1 | one reads everything, in order |
//! | 1 | 3 | 1 | one of them reads everything, the others wait |
//! | 1 | 3 | 3 | each reads everything, in order |
//! | 4 | 1 | 1 | one reads everything, in order by device |
//! | 4 | 3 | 1 | they share: nothing missed, nothing taken twice, a device stays with one of them |
//! | 4 | 3 | 3 | each reads everything, in order by device |
//!
//! Devices are accounts: each message says by how much the balance changes and what it is afterwards. A reader that drops ids
//! it has seen must have the right balance at every step. The topics hold duplicates, as after a crash of the gateway.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::LazyLock;

use crate::support::again::repeat_the_end;
use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::group::{Group, Taken};
use crate::support::kafka::shared;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::Oracle;
use crate::support::scene::FILTER;
use crate::support::seed::Seed;

const ACCOUNTS: usize = 30;
const STEPS: usize = 20;
/// More than one and fewer than the partitions, so that shares differ.
const CONSUMERS: usize = 3;
/// Records of each partition that come a second time.
const REPEATED: usize = 25;

/// The same messages in a topic with one partition and in one with four, and how many records each has.
struct Data {
    one: (String, usize),
    four: (String, usize),
}

/// Made once; the tests only read.
static DATA: LazyLock<Data> = LazyLock::new(|| {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let one = kafka.fresh_topic_with("accounts", 1, &[]);
    let four = kafka.fresh_topic_with("accounts", 4, &[]);
    let config = Config::usual("5", &mosquitto, kafka, &one).route("devices/{device}/telemetry", &four);
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    // A life that is cut short.
    daemon = publish_and_kill(&mosquitto, daemon);
    let counted = [&one, &four].map(|topic| {
        let mut oracle = Oracle::new(kafka, topic);
        until_all_steps(&mut oracle);
        oracle
    });
    daemon.terminate();
    let [of_one, of_four] = counted.map(|mut oracle| {
        let topic = oracle.topic().to_owned();
        let records = oracle.rest();
        records.len() + repeat_the_end(kafka, &topic, records, REPEATED)
    });
    Data {
        one: (one, of_one),
        four: (four, of_four),
    }
});

fn publish_and_kill(mosquitto: &Mosquitto, mut daemon: Daemon) -> Daemon {
    let mut seed = Seed::of_this_run("consumer_groups");
    let mut link = Link::connect(mosquitto.port(), "bank", true).expect("it accepts");
    let mut balances = [0_i64; ACCOUNTS];
    for step in 0..STEPS {
        for (account, balance) in balances.iter_mut().enumerate() {
            let delta = i64::try_from(seed.between(0, 2_000)).expect("small") - 1_000;
            *balance += delta;
            let text = format!("{{\"step\":{step},\"delta\":{delta},\"balance\":{balance}}}");
            link.publish(&format!("devices/account-{account}/telemetry"), text.as_bytes());
        }
        if step == STEPS / 2 {
            daemon.kill();
            daemon.restart();
        }
    }
    daemon
}

fn until_all_steps(oracle: &mut Oracle) {
    let mut wanted = ACCOUNTS * STEPS;
    loop {
        let steps: HashSet<_> = oracle
            .first(wanted)
            .iter()
            .map(|record| (&record.key, &record.value))
            .collect();
        let missing = ACCOUNTS * STEPS - steps.len();
        if missing == 0 {
            return;
        }
        wanted += missing;
    }
}

/// Processes as a consumer should: what it has seen is dropped, and the balance must be right at each step.
#[derive(Default)]
struct Bank {
    seen: HashSet<String>,
    /// By account: the next step and the balance.
    accounts: BTreeMap<String, (u64, i64)>,
    dropped: usize,
}

impl Bank {
    fn process(&mut self, record: &Taken) {
        if !self.seen.insert(record.id.clone()) {
            self.dropped += 1;
            return;
        }
        let json: serde_json::Value = serde_json::from_slice(&record.value).expect("JSON");
        let (step, balance) = self.accounts.entry(record.key.clone()).or_default();
        // What MQTT brought again around the kill says so; only its contents tell whether it is a second copy.
        if record.in_doubt && json["step"].as_u64() < Some(*step) {
            return;
        }
        *balance += json["delta"].as_i64().expect("a number");
        assert_eq!(json["step"].as_u64(), Some(*step), "{}: the order", record.key);
        assert_eq!(
            json["balance"].as_i64(),
            Some(*balance),
            "{} at {step}",
            record.key
        );
        *step += 1;
    }

    fn assert_complete(&self) {
        assert_eq!(self.accounts.len(), ACCOUNTS);
        let complete = self.accounts.values().all(|(steps, _)| *steps == STEPS as u64);
        assert!(complete, "{:?}", self.accounts);
        assert!(self.dropped >= REPEATED, "there are duplicates to drop");
    }
}

/// One consumer's records through a bank of its own.
fn assert_has_everything(taken: &[Taken]) {
    let mut bank = Bank::default();
    for record in taken {
        bank.process(record);
    }
    bank.assert_complete();
}

fn one_group(partitions: i32, consumers: usize) -> Vec<Vec<Taken>> {
    let (topic, records) = topic(partitions);
    let id = format!("one group of {consumers} on {topic}");
    Group::join(&shared().bootstrap(), topic, partitions, &id, consumers).process(*records)
}

fn a_group_each(partitions: i32) {
    let (topic, records) = topic(partitions);
    let groups: Vec<Group> = (0..CONSUMERS)
        .map(|number| {
            let id = format!("group {number} on {topic}");
            Group::join(&shared().bootstrap(), topic, partitions, &id, 1)
        })
        .collect();
    for group in groups {
        assert_has_everything(&group.process(*records).concat());
    }
}

fn topic(partitions: i32) -> &'static (String, usize) {
    match partitions {
        1 => &DATA.one,
        _ => &DATA.four,
    }
}

#[test]
fn one_partition_and_one_consumer() {
    assert_has_everything(&one_group(1, 1).concat());
}

#[test]
fn one_partition_and_several_consumers_of_one_group() {
    let taken = one_group(1, CONSUMERS);
    let busy: Vec<_> = taken.into_iter().filter(|records| !records.is_empty()).collect();
    assert_eq!(busy.len(), 1, "a partition has one consumer of a group");
    assert_has_everything(&busy.concat());
}

#[test]
fn one_partition_and_several_consumers_of_a_group_each() {
    a_group_each(1);
}

#[test]
fn several_partitions_and_one_consumer() {
    assert_has_everything(&one_group(4, 1).concat());
}

#[test]
fn several_partitions_and_several_consumers_of_one_group() {
    let taken = one_group(4, CONSUMERS);
    let mut places = BTreeSet::new();
    let mut owners: BTreeMap<&str, usize> = BTreeMap::new();
    let mut whole = Bank::default();
    for (number, records) in taken.iter().enumerate() {
        assert!(!records.is_empty(), "consumer {number} has a share");
        for record in records {
            assert!(places.insert(record.place), "{:?} is taken twice", record.place);
            let owner = *owners.entry(&record.key).or_insert(number);
            assert_eq!(owner, number, "{} is with two consumers", record.key);
            whole.process(record);
        }
    }
    assert_eq!(places.len(), topic(4).1, "nothing is missed");
    whole.assert_complete();
}

#[test]
fn several_partitions_and_several_consumers_of_a_group_each() {
    a_group_each(4);
}

/// Without an even spread the consumers of a group have unequal work.
#[test]
fn a_thousand_devices_are_spread_evenly_over_eight_partitions() {
    const DEVICES: usize = 1_000;
    const PARTITIONS: i32 = 8;
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic_with("spread", PARTITIONS, &[]);
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&Config::usual("5", &mosquitto, kafka, &topic));
    mosquitto.until_subscribed(FILTER, mark);
    let mut link = Link::connect(mosquitto.port(), "fleet", true).expect("it accepts");
    for device in 0..DEVICES {
        link.publish(&format!("devices/meter-{device:05}/telemetry"), b"1");
    }
    let mut devices: BTreeMap<i32, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for record in Oracle::new(kafka, &topic).first(DEVICES) {
        let key = record.key.clone().expect("every record has one");
        devices.entry(record.partition).or_default().insert(key);
    }
    daemon.terminate();
    let counts: Vec<usize> = devices.values().map(BTreeSet::len).collect();
    eprintln!("{DEVICES} devices on {PARTITIONS} partitions: {counts:?}");
    assert_eq!(
        counts.iter().sum::<usize>(),
        DEVICES,
        "a device is in one partition"
    );
    let mean = DEVICES / 8;
    let bounds = mean * 7 / 10..=mean * 13 / 10;
    assert_eq!(counts.len(), 8);
    assert!(counts.iter().all(|count| bounds.contains(count)), "{counts:?}");
}
