//! A link of 256 kbit/s with 600 ms of round trip and 2 % loss, and a backlog behind it.

use std::time::{Duration, Instant};

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::sent::Sent;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::seed::Seed;
use crate::support::slow_link::{NEAR, Quality, SlowLink};
use crate::support::wait;

const LINK: Quality = Quality {
    rate: 256_000 / 8,
    delay: Duration::from_millis(300),
    lost_per_mille: 20,
};
/// A minute of the link.
const BACKLOG: u64 = 8_000;
/// What has passed when TCP and edgeferry know the link: some seconds.
const SETTLED_BYTES: u64 = 400_000;
/// What is measured over: half a minute of the link.
const MEASURED_BYTES: u64 = 1_000_000;
/// Of how many looks one may find that the link stands still because TCP has nothing to send. It was 1 to 16 % of them with the 128 KiB that
/// are under way at least, 29 % with 64 KiB; a packet that is lost twice makes the most of it. (How much of the link is used is a figure of
/// `docs/benchmarks.md`: it goes with that, 78 to 92 %.)
const STARVED_ONE_OF: u32 = 4;
/// How long an alarm may take from its device to a consumer.
const ALARM_LIMIT: Duration = Duration::from_secs(5);

/// Publishes all of a plan.
fn published(mosquitto: &Mosquitto, plan: &Plan) -> Sent {
    let devices = Devices::start(mosquitto, plan);
    devices.until_acked(plan.messages.expect("a plan with an end"), ACK_LIMIT);
    devices.finish(ACK_LIMIT)
}

#[test]
fn a_backlog_fills_a_bad_link_and_an_alarm_passes_it() {
    if let Some(obstacle) = SlowLink::obstacle() {
        eprintln!("skipped: {obstacle}");
        return;
    }
    let mut seed = Seed::of_this_run("a_backlog_fills_a_bad_link_and_an_alarm_passes_it");
    let mosquitto = Mosquitto::start();
    let link = SlowLink::up(LINK, mosquitto.port(), &mut seed);
    let kafka = Kafka::start_also_at(NEAR);
    let (topic, alarms) = (kafka.fresh_topic("telemetry"), kafka.fresh_topic("alarms"));
    let config = Config::usual("5", &mosquitto, &kafka, &topic)
        .bootstrap(&kafka.other_bootstrap())
        .kafka("compression = \"none\"")
        .lane("alarms", "")
        .route_with("devices/{device}/alarm", &alarms, "lane = \"alarms\"");
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start_in(link.namespace(), &config);
    mosquitto.until_subscribed(FILTER, mark);
    mosquitto.until_subscribed("devices/+/alarm", mark);
    let plan = Plan {
        messages: Some(BACKLOG),
        rate: None,
        ..Plan::default()
    };
    let sent = published(&mosquitto, &plan);
    wait::until("the link is known", PATIENCE, || {
        (link.sent() > SETTLED_BYTES).then_some(())
    });
    let (begun, before) = (Instant::now(), link.sent());
    let plan = Plan {
        prefix: "alarm",
        devices: 1,
        connections: 1,
        messages: Some(1),
        topic: "devices/{device}/alarm",
        ..Plan::default()
    };
    let alarm = published(&mosquitto, &plan);
    let mut watch = Oracle::new(&kafka, &alarms);
    watch.first(1);
    let took = begun.elapsed();
    let (mut looks, mut starved) = (0, 0);
    wait::until("enough has passed", PATIENCE, || {
        looks += 1;
        starved += u32::from(link.is_starved());
        (link.sent() > before + MEASURED_BYTES).then_some(())
    });
    let possible = begun.elapsed().as_millis() * u128::from(LINK.rate) / 1000;
    let used = u128::from(link.sent() - before) * 100 / possible;
    eprintln!(
        "{used} % of the link used, nothing to send at {starved} of {looks} looks, an alarm took {took:?}"
    );
    let mut oracle = Oracle::new(&kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.terminate();
    let log = daemon.log();
    let verdict = oracle.verdict(&sent);
    verdict.assert_clean_without_duplicates();
    watch.verdict(&alarm).assert_clean_without_duplicates();
    assert!(took < ALARM_LIMIT, "the alarm took {took:?}");
    assert!(
        starved * STARVED_ONE_OF < looks,
        "nothing to send at {starved} of {looks} looks"
    );
    for lane in ["alarms", "default"] {
        assert_eq!(first_time_out(&log, lane), None, "time-outs: {log}");
    }
}

/// Where the log says that something of the lane was late. Before it is connected for the first time nothing is under way that could be.
fn first_time_out<'a>(log: &'a str, lane: &str) -> Option<&'a str> {
    let name = format!("lane{{lane=\"{lane}\"}}");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(&name)).collect();
    let up = lines
        .iter()
        .position(|line| line.contains("Kafka: up"))
        .expect("it was up");
    let is_late = |line: &&str| line.contains("Kafka: down") || line.contains("did not take");
    lines[up..].iter().copied().find(is_late)
}
