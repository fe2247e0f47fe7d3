//! Kafka takes a fifth of what comes in, for minutes: the memory stays flat, the disk grows as predicted, and when Kafka
//! is quick again everything drains and the account is exact.
//!
//! Kafka throttles itself, by a quota on its producers. `./dev mismatch` takes ten minutes of it with the release binary,
//! `cargo test` twenty seconds.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use edgeferry::message::Epoch;
use edgeferry::queue::{self, Balance};

use crate::support::devices::Plan;
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::proc_stats::anonymous;
use crate::support::scene::{ACK_LIMIT, Scene};
use crate::support::scratch::disk_bytes;
use crate::support::trend::{Trend, f64_of};
use crate::support::wait;

/// `./dev mismatch` sets it.
const MINUTES_ENV: &str = "EDGEFERRY_MISMATCH_MINUTES";
const SHORT: Duration = Duration::from_secs(20);

/// Messages per second.
const RATE: u32 = 1_500;
const MESSAGE_BYTES: usize = 800;
/// What Kafka may take of it, percent.
const SHARE: u64 = 20;
/// Messages before the throttle, to learn how many bytes Kafka needs for one.
const LEARN: u64 = 3_000;
/// How often everything is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What the memory may grow by over minutes, bytes: noise of the allocator.
const MEMORY_SLACK: f64 = 4e6;
/// In twenty seconds the generations that are written and read are still on their way to their full size of 4 MiB.
const MEMORY_SLACK_SHORT: f64 = 12e6;
/// A delivered generation goes as a whole, and a new one may take its space at once; two of 4 MiB.
const DISK_SLACK: f64 = 2.0 * 4.0 * 1024.0 * 1024.0;

#[derive(Debug, Clone, Copy)]
struct Look {
    seconds: f64,
    memory: f64,
    disk: f64,
    backlog: f64,
}

#[test]
fn kafka_at_a_fifth_of_the_input_costs_disk_and_nothing_else() {
    let asked = std::env::var(MINUTES_ENV).ok();
    let time = asked.map_or(SHORT, |minutes| {
        Duration::from_mins(minutes.parse().expect("a number of minutes"))
    });
    let kafka = Kafka::start();
    let mut scene = Scene::start("5", &kafka, Mosquitto::start(), |config| {
        config.queue("max_bytes = \"4GiB\"")
    });
    let devices = scene.devices(&Plan {
        rate: Some(RATE),
        bytes: MESSAGE_BYTES,
        ..Plan::default()
    });
    let mut oracle = Oracle::new(&kafka, &scene.topic);
    let learn = i64::try_from(LEARN).expect("small");
    wait::until("kafka has the first messages", ACK_LIMIT, || {
        (oracle.available() >= learn).then_some(())
    });
    let each = kafka.topic_bytes(&scene.topic) / u64::try_from(oracle.available()).expect("positive");
    kafka.throttle(Some(each * u64::from(RATE) * SHARE / 100));

    let (before, started) = (oracle.available(), Instant::now());
    let mut looks = Vec::new();
    while started.elapsed() < time {
        wait::let_pass("kafka is throttled", LOOK);
        let backlog = f64_of(devices.acked()) - f64_of(u64::try_from(oracle.available()).expect("positive"));
        looks.push(Look {
            seconds: started.elapsed().as_secs_f64(),
            memory: f64_of(anonymous(scene.daemon.id()).expect("it runs")),
            disk: f64_of(disk_bytes(&scene.daemon.store().join("lanes"))),
            backlog,
        });
    }
    let taken = oracle.available() - before;
    let share =
        f64_of(u64::try_from(taken).expect("positive")) / (f64::from(RATE) * started.elapsed().as_secs_f64());
    judge(
        &looks,
        share,
        if time > SHORT {
            MEMORY_SLACK
        } else {
            MEMORY_SLACK_SHORT
        },
    );

    kafka.throttle(None);
    let sent = devices.finish(ACK_LIMIT);
    oracle.until_all_there(&sent, PATIENCE);
    scene.daemon.assert_alive();
    scene.daemon.terminate();
    let verdict = oracle.verdict(&sent);
    eprintln!(
        "{verdict}peak anonymous memory: {} bytes",
        scene.daemon.peak_anonymous()
    );
    verdict.assert_clean();
    let ids = oracle
        .records()
        .iter()
        .filter_map(|record| record.header("edgeferry-id"));
    let delivered = ids.collect::<BTreeSet<_>>().len() as u64;
    let balance = balance(&scene.daemon.store());
    eprintln!("{balance:?}");
    let exact = Balance {
        received: delivered,
        delivered,
        ..Balance::default()
    };
    assert_eq!(balance, exact);
}

fn judge(looks: &[Look], share: f64, memory_slack: f64) {
    // The first part fills the buffers.
    let settled = &looks[looks.len() / 4..];
    let memory = Trend::through(settled.iter().map(|look| (look.seconds, look.memory)));
    let seconds = settled.last().expect("looked").seconds - settled[0].seconds;
    let grown = memory.slope * seconds;
    // What the first half says about a message predicts the end.
    let half = &looks[looks.len() / 4..looks.len() * 5 / 8];
    let disk = Trend::through(half.iter().map(|look| (look.backlog, look.disk)));
    let last = looks.last().expect("looked");
    let predicted = disk.at(last.backlog);
    eprintln!(
        "kafka took {:.0} % of the input; in the end: backlog {:.0}, disk {:.1} MB, predicted {:.1} MB ({:.0} bytes a \
         message of {MESSAGE_BYTES}); memory {:.1} MB, {:+.3} MB over {seconds:.0} s",
        share * 100.0,
        last.backlog,
        last.disk / 1e6,
        predicted / 1e6,
        disk.slope,
        last.memory / 1e6,
        grown / 1e6
    );
    assert!(
        (0.1..0.35).contains(&share),
        "kafka was not throttled as asked: {share}"
    );
    assert!(grown < memory_slack, "the memory grows by {grown} bytes");
    assert!(
        (last.disk - predicted).abs() < DISK_SLACK + predicted / 10.0,
        "{} bytes on disk, {predicted} predicted",
        last.disk
    );
}

/// The account that a stopped daemon left.
fn balance(store: &Path) -> Balance {
    let lane = store.join("lanes/default");
    let queue = queue::open(&lane, Epoch(0), &queue::Config::default()).expect("it opens");
    queue.monitor.status().balance
}
