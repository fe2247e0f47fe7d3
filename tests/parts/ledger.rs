//! The ledger, recounted: the daemon is killed at random moments under load, and after each death and each start its account is
//! held against the one before, against what Kafka holds, and at the end against all that was published.

use std::collections::BTreeSet;
use std::time::Duration;

use edgeferry::ops::State;
use edgeferry::ops::state::{Lane, Ledger};
use rumqttc::{Publish, QoS};
use serde_json::Value;

use crate::support::config::{CLIENT_ID, Config};
use crate::support::daemon::Daemon;
use crate::support::devices::Plan;
use crate::support::kafka::shared;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::Oracle;
use crate::support::scene::{ACK_LIMIT, FILTER, Scene};
use crate::support::seed::Seed;
use crate::support::wait;

/// Kills in an ordinary test run; `./dev ledger --kills N` sets the variable for more.
const KILLS: u64 = 5;
const KILLS_VARIABLE: &str = "EDGEFERRY_LEDGER_KILLS";
/// `max_payload` of the route: what is larger becomes a dead letter.
const LIMIT_BYTES: usize = 1024;
/// A daemon that has all of it delivers in seconds.
const PATIENCE: Duration = Duration::from_mins(2);

fn kills() -> u64 {
    std::env::var(KILLS_VARIABLE).map_or(KILLS, |text| text.parse().expect("a number of kills"))
}

/// What a daemon, or the store that it left, says of the only lane.
fn ledger(daemon: &Daemon) -> Ledger {
    let (code, out, err) = daemon.ask("status", &["--json"]);
    let mut said: Value =
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {code:?} {out}{err}"));
    serde_json::from_value(said["lanes"][0]["ledger"].take()).expect("an account")
}

/// The same of a daemon that runs, with what waits counted on its own, by the log: it is what is left over, or the account is wrong.
pub fn counted(daemon: &Daemon) -> Ledger {
    let ledger = wait::until("a look between two moves of the cursor", PATIENCE, || {
        Some(ledger(daemon)).filter(|ledger| ledger.unaccounted.is_some())
    });
    assert_eq!(ledger.unaccounted, Some(0), "{ledger:?}");
    ledger
}

/// The account adds up, and nothing in it is less than it was.
#[track_caller]
fn recount(moment: &str, before: &Ledger, now: &Ledger) {
    let removed: u64 = now.removed.values().sum();
    assert_eq!(
        now.received,
        now.delivered + now.queued + now.dead_lettered + removed,
        "{moment}: {now:?}"
    );
    for (what, before, now) in [
        ("received", before.received, now.received),
        ("delivered", before.delivered, now.delivered),
        ("dead letters", before.dead_lettered, now.dead_lettered),
        ("with QoS 0", before.unprotected, now.unprotected),
    ] {
        assert!(before <= now, "{moment}: {what} went back from {before} to {now}");
    }
    for (reason, count) in &before.removed {
        assert!(
            now.removed.get(reason) >= Some(count),
            "{moment}: {reason} went back: {now:?}"
        );
    }
}

/// The different message ids in the topic, now.
fn ids(oracle: &mut Oracle) -> BTreeSet<String> {
    let records = oracle.rest().iter();
    records
        .map(|record| {
            record
                .header("edgeferry-id")
                .expect("each record has an id")
                .to_owned()
        })
        .collect()
}

/// Kills and starts the daemon so often, and recounts each time. Returns the account after the last start.
fn die_often(scene: &mut Scene, oracle: &mut Oracle, seed: &mut Seed, kills: u64) -> Ledger {
    let mut known = Ledger::default();
    for kill in 1..=kills {
        wait::let_pass(
            &format!("life {kill} of {kills}"),
            Duration::from_millis(seed.between(20, 1_200)),
        );
        scene.daemon.kill();
        let dead = ledger(&scene.daemon);
        recount(&format!("death {kill}"), &known, &dead);
        // The cursor may lag behind Kafka, and never leads; nothing was sent that is not in the account.
        let there = ids(oracle).len() as u64;
        assert!(
            dead.delivered <= there,
            "death {kill}: {there} in Kafka, {dead:?}"
        );
        assert!(there <= dead.received, "death {kill}: {there} in Kafka, {dead:?}");
        scene.daemon.restart();
        let alive = counted(&scene.daemon);
        recount(&format!("start {kill}"), &dead, &alive);
        known = alive;
    }
    known
}

/// The lane, once so many small messages are delivered, so many large ones are dead letters, and nothing waits.
fn until_drained(scene: &Scene, small: u64, large: u64) -> Lane {
    wait::until("nothing is queued any more", PATIENCE, || {
        let (_, out, _) = scene.daemon.ask("status", &["--json"]);
        let mut state: State = serde_json::from_str(&out).ok()?;
        let lane: Lane = state.lanes.pop()?;
        let is_all_there = lane.ledger.delivered >= small && lane.ledger.dead_lettered >= large;
        (is_all_there && lane.ledger.queued == 0).then_some(lane)
    })
}

#[test]
fn the_ledger_is_exact_after_every_kill() {
    let mut seed = Seed::of_this_run("the_ledger_is_exact_after_every_kill");
    let kafka = shared();
    let topic = kafka.fresh_topic("telemetry");
    let mosquitto = Mosquitto::start();
    let config = Config::new(kafka).broker("local", "5", &mosquitto).route_with(
        "devices/{device}/telemetry",
        &topic,
        "max_payload = \"1 KiB\"",
    );
    let mark = mosquitto.mark();
    let daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    let mut scene = Scene {
        mosquitto,
        topic: topic.clone(),
        daemon,
    };
    let mut oracle = Oracle::new(kafka, &topic);
    let devices = scene.devices(&Plan {
        rate: Some(400),
        ..Plan::default()
    });
    let large = scene.devices(&Plan {
        prefix: "large",
        devices: 2,
        connections: 1,
        rate: Some(10),
        bytes: 4 * LIMIT_BYTES,
        ..Plan::default()
    });
    let kills = kills();
    let known = die_often(&mut scene, &mut oracle, &mut seed, kills);
    let (sent, large) = (devices.finish(ACK_LIMIT), large.finish(ACK_LIMIT));
    let (small, large) = (sent.acked().count() as u64, large.acked().count() as u64);
    let lane = until_drained(&scene, small, large);
    let end = &lane.ledger;
    recount("the end", &known, end);
    assert_eq!(end.unaccounted, Some(0), "{end:?}");
    oracle.until_all_there(&sent, PATIENCE);
    let there = ids(&mut oracle);
    assert_eq!(end.delivered, there.len() as u64, "{end:?}");
    assert_eq!(end.dead_lettered, lane.letters.count, "{lane:?}");
    assert_eq!(end.received, there.len() as u64 + lane.letters.count, "{end:?}");
    let removed: u64 = end.removed.values().sum();
    assert_eq!((removed, end.unprotected), (0, 0), "{end:?}");
    // A message for which the broker did not see the PUBACK of a killed daemon may be stored twice, with two ids; never less.
    assert!(end.delivered >= small && end.dead_lettered >= large, "{end:?}");
    scene.daemon.terminate();
    let stopped = ledger(&scene.daemon);
    recount("the stop", end, &stopped);
    assert_eq!(
        (stopped.received, stopped.delivered),
        (end.received, end.delivered)
    );
    eprintln!(
        "{kills} SIGKILLs: {} published; {} received = {} delivered + {} dead letters; {} ids and {} records in Kafka; {} stored \
         twice; never off, never back",
        small + large,
        end.received,
        end.delivered,
        end.dead_lettered,
        there.len(),
        oracle.records().len(),
        end.received - small - large,
    );
}

#[test]
fn messages_with_qos_0_are_counted_once_over_kills() {
    const MESSAGES: u64 = 40;
    let kafka = shared();
    let mut scene = Scene::start("5", kafka, Mosquitto::start(), |config| config);
    let mut link = Link::connect(scene.mosquitto.port(), "careless", true).expect("it accepts");
    for life in 1..=3 {
        for number in 0..MESSAGES {
            let payload = format!("{life}-{number}");
            link.publish_packet(Publish::new("devices/quiet/telemetry", QoS::AtMostOnce, payload));
        }
        // What the broker drops nobody counts; what is stored is.
        let stored = wait::until("all are stored", PATIENCE, || {
            let now = ledger(&scene.daemon);
            (now.received >= life * MESSAGES).then_some(now)
        });
        assert_eq!(stored.unprotected, life * MESSAGES, "{stored:?}");
        scene.daemon.kill();
        let mark = scene.mosquitto.mark();
        scene.daemon.restart();
        // Before that the broker has nobody to give them to.
        scene.mosquitto.until_connected(CLIENT_ID, mark);
        let again = ledger(&scene.daemon);
        assert_eq!(
            (again.received, again.unprotected),
            (stored.received, stored.unprotected)
        );
    }
}
