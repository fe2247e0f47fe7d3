//! Shared subscriptions: two gateways in one group share the work; the group comes and goes without a gap.

use std::collections::HashSet;

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{self, Brokers};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::payload;
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::wait;

const SHARED_FILTER: &str = "$share/plant/devices/+/telemetry";
const GROUP: &str = "shared_group = \"plant\"\nkeep_alive = \"5s\"";
const NO_GROUP: &str = "keep_alive = \"5s\"";

fn config(kafka: &impl Brokers, mosquitto: &Mosquitto, version: &str, lines: &str, topic: &str) -> Config {
    Config::new(kafka)
        .broker_with("local", version, mosquitto, lines)
        .route("devices/{device}/telemetry", topic)
}

#[test]
fn two_gateways_of_a_group_share_the_work_complete_and_disjoint() {
    for version in ["5", "3.1.1"] {
        let kafka = kafka::shared();
        let mosquitto = Mosquitto::start();
        let topics = [kafka.fresh_topic("left"), kafka.fresh_topic("right")];
        let starts = ["gw-left", "gw-right"]
            .into_iter()
            .zip(&topics)
            .map(|(gateway, topic)| {
                let mark = mosquitto.mark();
                let config = config(kafka, &mosquitto, version, GROUP, topic).gateway(gateway);
                let daemon = Daemon::start(&config);
                mosquitto.until_subscribed(SHARED_FILTER, mark);
                daemon
            });
        let _daemons: Vec<Daemon> = starts.collect();
        let plan = Plan {
            messages: Some(2_000),
            ..Plan::default()
        };
        let sent = Devices::start(&mosquitto, &plan).finish(ACK_LIMIT);
        let wanted: HashSet<(String, u64)> = sent
            .acked()
            .map(|(device, seq)| (device.to_owned(), seq))
            .collect();
        let mut oracles = topics.each_ref().map(|topic| Oracle::new(kafka, topic));
        let total = || oracles.iter().map(Oracle::available).sum::<i64>();
        wait::until("both have forwarded their part", PATIENCE, || {
            (usize::try_from(total()).is_ok_and(|total| total >= wanted.len())).then_some(())
        });
        let parts = oracles.each_mut().map(|oracle| {
            let count = usize::try_from(oracle.available()).expect("a count");
            let records = oracle.first(count).iter();
            records
                .filter_map(|record| payload::origin(&record.value))
                .collect::<Vec<_>>()
        });
        let [left, right] = parts;
        assert!(!left.is_empty() && !right.is_empty(), "each has a part");
        assert_eq!(left.len() + right.len(), wanted.len(), "disjoint");
        let all: HashSet<(String, u64)> = left.into_iter().chain(right).collect();
        assert_eq!(all, wanted, "complete");
    }
}

#[test]
fn a_group_that_comes_and_goes_leaves_no_gap_and_no_subscription() {
    let kafka = kafka::shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("telemetry");
    let with = |lines| config(kafka, &mosquitto, "5", lines, &topic);
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&with(NO_GROUP));
    mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(&mosquitto, &Plan::default());
    devices.until_acked(200, ACK_LIMIT);
    for (lines, wanted, left) in [(GROUP, SHARED_FILTER, FILTER), (NO_GROUP, FILTER, SHARED_FILTER)] {
        daemon.terminate();
        daemon.reconfigure(&with(lines));
        let mark = mosquitto.mark();
        daemon.restart();
        mosquitto.until_subscribed(wanted, mark);
        wait::until("the other form is unsubscribed", ACK_LIMIT, || {
            let log = daemon.log();
            let mut lines = log.lines().filter(|line| line.contains("unsubscribed"));
            lines
                .any(|line| line.contains(&format!("\"{left}\"")))
                .then_some(())
        });
        devices.until_acked(200, ACK_LIMIT);
    }
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.terminate();
    let verdict = oracle.verdict(&sent);
    eprintln!("{verdict}");
    assert!(verdict.lost.is_empty(), "{verdict}");
    assert!(verdict.unrecognisable.is_empty(), "{verdict}");
}
