//! Clocks that are wrong: ahead, in 1970, synchronised later. The daemon's clock is put wrong by `edgeferry::faults`, so
//! these tests need a debug build.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use edgeferry::faults::{BOOT_ID, CLOCK_FILE, CLOCK_SHIFT};
use serde_json::Value;

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::secure::{Door, Secure};
use crate::support::kafka::{Kafka, PARTITIONS, shared, unused_topic};
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::reader::Record;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER, Scene};
use crate::support::scratch::Scratch;
use crate::support::wait;

const HOUR_MS: i64 = 3_600_000;

fn now_ms() -> i64 {
    let since = wait::wall_clock().duration_since(UNIX_EPOCH).expect("it is late");
    i64::try_from(since.as_millis()).expect("it is not that late")
}

/// A daemon whose clock is off, between a broker of its own and one topic.
struct Gateway {
    daemon: Daemon,
    mosquitto: Mosquitto,
    shift_ms: i64,
    folder: Scratch,
}

impl Gateway {
    fn start(kafka: &Kafka, topic: &str, shift_ms: i64) -> Self {
        let mosquitto = Mosquitto::start();
        let folder = Scratch::new("clock");
        let config = Config::usual("5", &mosquitto, kafka, topic);
        let mark = mosquitto.mark();
        let environment = environment(shift_ms, &folder.join("synchronised"), "a");
        let daemon = Daemon::start_with(&config, &environment);
        mosquitto.until_subscribed(FILTER, mark);
        Self {
            daemon,
            mosquitto,
            shift_ms,
            folder,
        }
    }

    /// Publishes these numbers, and waits until the daemon has stored them.
    fn publish(&self, numbers: std::ops::Range<u64>) {
        let client = format!("publisher-{}", numbers.start);
        let mut link = Link::connect(self.mosquitto.port(), &client, true).expect("it accepts");
        for number in numbers.clone() {
            link.publish("devices/d1/telemetry", number.to_string().as_bytes());
        }
        wait::until("the daemon has stored all", ACK_LIMIT, || {
            (self.received()? >= numbers.end).then_some(())
        });
    }

    fn received(&self) -> Option<u64> {
        let said = self.daemon.queue(&["ls", "--json"]);
        let answer: Value = serde_json::from_str(&said).expect("one line of JSON");
        answer["lane"]["received"].as_u64()
    }

    /// From here on the clock is right, and the running daemon knows it.
    fn synchronise(&self) {
        self.set_clock_right();
        wait::until("the daemon knows that", PATIENCE, || {
            self.daemon
                .log()
                .contains("the clock is synchronised")
                .then_some(())
        });
    }

    fn set_clock_right(&self) {
        std::fs::write(self.folder.join("synchronised"), b"").expect("the folder is writable");
    }

    fn kill_and_start(&mut self) {
        self.daemon.kill();
        self.daemon.restart();
    }

    /// The board is switched off, and comes back with the clock that it had at first.
    fn reboot(&mut self, boot: &str) {
        self.daemon.kill();
        let environment = environment(self.shift_ms, &self.folder.join("synchronised"), boot);
        self.daemon.set_environment(&environment);
        self.daemon.restart();
    }
}

fn environment(shift_ms: i64, file: &std::path::Path, boot: &str) -> [(&'static str, String); 3] {
    let file = PathBuf::from(file).display().to_string();
    [
        (CLOCK_SHIFT, shift_ms.to_string()),
        (CLOCK_FILE, file),
        (BOOT_ID, boot.repeat(32)),
    ]
}

fn clock(record: &Record) -> Option<&str> {
    record.header("edgeferry-clock")
}

fn arrival_ms(record: &Record) -> i64 {
    let text = record.header("edgeferry-arrival").expect("it is always there");
    let time = humantime::parse_rfc3339(text).expect("RFC 3339");
    let since = time.duration_since(UNIX_EPOCH).expect("not before 1970");
    i64::try_from(since.as_millis()).expect("not that late")
}

fn payloads(records: &[Record]) -> Vec<String> {
    let text = |record: &Record| String::from_utf8_lossy(&record.value).into_owned();
    records.iter().map(text).collect()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn a_clock_two_hours_ahead_loses_nothing_and_keeps_the_order() {
    let kafka = shared();
    let topic = kafka.fresh_topic("telemetry");
    let mut gateway = Gateway::start(kafka, &topic, 2 * HOUR_MS);
    let plan = Plan {
        messages: Some(2_000),
        rate: None,
        ..Plan::default()
    };
    let sent = Devices::start(&gateway.mosquitto, &plan).finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    gateway.daemon.assert_alive();
    gateway.daemon.terminate();
    oracle.verdict(&sent).assert_clean();
    for record in oracle.records() {
        assert_eq!(clock(record), Some("unsynchronised; ahead"));
        assert!(arrival_ms(record) > now_ms() + HOUR_MS, "the gateway's own idea");
        assert!(record.time_ms.expect("it has one") < now_ms() + HOUR_MS);
    }
    assert!(
        gateway
            .daemon
            .log()
            .contains("Kafka refuses the time of a record")
    );
}

#[test]
fn a_log_append_time_topic_takes_a_clock_that_is_ahead_as_it_is() {
    let kafka = shared();
    let config = [("message.timestamp.type", "LogAppendTime")];
    let topic = kafka.fresh_topic_with("telemetry", PARTITIONS, &config);
    let gateway = Gateway::start(kafka, &topic, 2 * HOUR_MS);
    gateway.publish(0..5);
    let mut oracle = Oracle::new(kafka, &topic);
    for record in oracle.first(5) {
        assert_eq!(clock(record), Some("unsynchronised"));
    }
}

#[test]
fn what_arrived_in_1970_is_corrected_before_it_is_sent_also_after_sigkill() {
    let kafka = shared();
    let topic = unused_topic("late");
    let start_ms = now_ms();
    let mut gateway = Gateway::start(kafka, &topic, -start_ms);
    gateway.publish(0..3);
    gateway.kill_and_start();
    gateway.publish(3..6);
    gateway.synchronise();
    kafka.create_topic(&topic, PARTITIONS, &[]);
    let mut oracle = Oracle::new(kafka, &topic);
    let records = oracle.first(6);
    assert_eq!(payloads(records), numbers(0..6));
    for record in records {
        assert_eq!(clock(record), Some("corrected"));
        let arrival_ms = arrival_ms(record);
        assert!(
            (start_ms - 1_000..=now_ms()).contains(&arrival_ms),
            "{arrival_ms}"
        );
        assert_eq!(record.time_ms, Some(arrival_ms));
    }
    gateway.publish(6..7);
    let records = oracle.first(7);
    assert_eq!(clock(&records[6]), None, "the clock is right by now");
}

#[test]
fn what_kafka_may_have_seen_keeps_its_bytes_when_the_clock_is_synchronised() {
    let mut kafka = Kafka::start();
    let topic = kafka.fresh_topic("telemetry");
    let mut gateway = Gateway::start(&kafka, &topic, -now_ms());
    gateway.publish(0..1);
    let mut oracle = Oracle::new(&kafka, &topic);
    oracle.first(1);
    kafka.pause();
    gateway.publish(1..6);
    wait::let_pass(
        "the records are on their way to a Kafka that does not answer",
        Duration::from_secs(2),
    );
    gateway.daemon.kill();
    gateway.set_clock_right();
    gateway.daemon.restart();
    kafka.resume();
    gateway.publish(6..7);
    wait::until("the last one is there", PATIENCE, || {
        let count = oracle.records().len();
        oracle.first(count + 1);
        payloads(oracle.records()).contains(&"6".to_owned()).then_some(())
    });
    let mut copies: HashMap<String, Vec<&Record>> = HashMap::new();
    for record in oracle.records() {
        let id = record.header("edgeferry-id").expect("it is always there");
        copies.entry(id.to_owned()).or_default().push(record);
    }
    assert_eq!(copies.len(), 7);
    let doubled = copies.values().filter(|copies| copies.len() > 1).count();
    // How many had left the machine is a matter of timing; without any there would be nothing to compare.
    assert!(doubled >= 1, "Kafka had stored some of them");
    for copies in copies.values() {
        for copy in copies {
            assert_eq!(copy.headers, copies[0].headers);
            assert_eq!(copy.time_ms, copies[0].time_ms);
        }
    }
    let clocks: Vec<_> = oracle.records().iter().map(clock).collect();
    assert_eq!(clocks[..6], [Some("unsynchronised"); 6]);
    assert_eq!(clocks.last(), Some(&None));
}

#[test]
fn a_boot_that_never_knew_the_time_gets_bounds() {
    let kafka = shared();
    let topic = unused_topic("late");
    let mut gateway = Gateway::start(kafka, &topic, -now_ms());
    gateway.publish(0..3);
    gateway.reboot("b");
    gateway.publish(3..5);
    gateway.synchronise();
    kafka.create_topic(&topic, PARTITIONS, &[]);
    let mut oracle = Oracle::new(kafka, &topic);
    let records = oracle.first(5);
    assert_eq!(payloads(records), numbers(0..5));
    for record in &records[..3] {
        let before = clock(record)
            .and_then(|clock| clock.strip_prefix("unsynchronised; before="))
            .expect("it has a bound");
        let before = humantime::parse_rfc3339(before).expect("RFC 3339");
        let since = before.duration_since(UNIX_EPOCH).expect("not before 1970");
        // Retention judges by the record's time: not 1970.
        assert_eq!(record.time_ms, i64::try_from(since.as_millis()).ok());
        assert!(arrival_ms(record) < 24 * HOUR_MS, "the gateway's own idea");
    }
    for record in &records[3..] {
        assert_eq!(clock(record), Some("corrected"));
    }
}

#[test]
fn a_topic_that_takes_no_old_records_gets_them_with_the_time_of_sending() {
    let kafka = shared();
    let topic = unused_topic("late");
    let gateway = Gateway::start(kafka, &topic, -10 * HOUR_MS);
    gateway.publish(0..5);
    // Synchronised, and the right time is such that they are ten hours old for Kafka.
    std::fs::write(gateway.folder.join("synchronised"), (-10 * HOUR_MS).to_string()).expect("writable");
    let latest = HOUR_MS.to_string();
    kafka.create_topic(
        &topic,
        PARTITIONS,
        &[("message.timestamp.before.max.ms", &latest)],
    );
    wait::until("Kafka takes no such time", PATIENCE, || {
        gateway
            .daemon
            .log()
            .contains("Kafka refuses the time")
            .then_some(())
    });
    std::fs::write(gateway.folder.join("synchronised"), b"").expect("writable");
    let mut oracle = Oracle::new(kafka, &topic);
    let records = oracle.first(5);
    assert_eq!(payloads(records), numbers(0..5));
    for record in records {
        assert!(record.time_ms.expect("it has one") > now_ms() - HOUR_MS);
    }
}

#[test]
fn a_certificate_that_is_not_valid_yet_by_our_clock_holds_and_delivery_goes_on_by_itself() {
    let mut secure = Secure::start();
    let early = secure.authority().early("broker");
    secure.show(&early);
    let scene = Scene::start("5", &secure, Mosquitto::start(), |config| {
        let ca = secure.authority().ca();
        config
            .bootstrap(&secure.door(Door::Tls))
            .kafka(&format!("ca_file = \"{}\"", ca.display()))
            .impatient()
    });
    let devices = scene.devices(&Plan {
        messages: Some(200),
        rate: None,
        ..Plan::default()
    });
    scene
        .daemon
        .notify()
        .until_status("the link is refused", PATIENCE, |status| {
            status.contains("kafka: refused (")
        });
    let log = scene.daemon.log();
    assert!(
        log.contains("certificate is not yet valid") || log.contains("certificate verify failed"),
        "{log}"
    );
    // What a clock that is set right changes: the certificate's time has come.
    let good = secure.authority().certificate("broker");
    secure.show(&good);
    scene.conclude(&secure, devices).assert_clean();
}
