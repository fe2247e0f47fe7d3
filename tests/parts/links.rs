//! The way to Kafka: brokers that move or advertise a dead address, limits that are kept, codecs and presets.

use std::time::{Duration, Instant};

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{Kafka, shared};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, Record};
use crate::support::scene::{ACK_LIMIT, FILTER, Scene};
use crate::support::{ports, wait};

/// A broker that cannot be reached is noticed after 10 s; what else a busy machine takes.
const NOTICED: Duration = Duration::from_mins(1);

#[test]
fn a_broker_that_advertises_a_dead_address_holds_with_a_reason_and_goes_on_when_it_is_put_right() {
    let mut kafka = Kafka::start();
    let mut scene = Scene::start("5", &kafka, Mosquitto::start(), Config::impatient);
    kafka.stop();
    let dead = ports::free();
    let devices = scene.devices(&Plan::default());
    devices.until_acked(200, ACK_LIMIT);
    kafka.launch_advertising(dead);
    wait::until("the log names the dead address", NOTICED, || {
        let log = scene.daemon.log();
        log.contains(&format!("127.0.0.1:{dead}")).then_some(())
    });
    scene
        .daemon
        .notify()
        .until_status("the link is down", NOTICED, |status| {
            status.contains("kafka: down (")
        });
    // Whoever comes anew finds a server that answers, and no way to what it names.
    let downs = |daemon: &Daemon| daemon.log().matches("Kafka: down").count();
    let before = downs(&scene.daemon);
    scene.daemon.kill();
    scene.daemon.restart();
    wait::until("the link is down again", NOTICED, || {
        (downs(&scene.daemon) > before).then_some(())
    });
    kafka.stop();
    kafka.advertise_itself();
    kafka.restart();
    scene.conclude(&kafka, devices).assert_clean();
}

#[test]
fn a_broker_that_moves_to_another_address_is_found_through_the_second_server() {
    let mut kafka = Kafka::start();
    let other = ports::free();
    let scene = Scene::start("5", &kafka, Mosquitto::start(), |config| {
        let servers = format!("{},127.0.0.1:{other}", kafka.bootstrap());
        config.impatient().bootstrap(&servers)
    });
    let devices = scene.devices(&Plan::default());
    devices.until_acked(500, ACK_LIMIT);
    kafka.stop();
    devices.until_acked(200, ACK_LIMIT);
    kafka.move_to(other);
    kafka.restart();
    devices.until_acked(500, ACK_LIMIT);
    scene.conclude(&kafka, devices).assert_clean();
}

/// What `max_rate` lets through beside the rate itself: the burst, and one record of each lane.
const BESIDE: f64 = 0.25;

/// Bytes of a record as `max_rate` counts them.
fn counted_bytes(record: &Record) -> usize {
    let headers = record.headers.iter();
    let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
    record.key.as_ref().map_or(0, Vec::len) + record.value.len() + headers
}

/// A backlog in each of some lanes, under limits: what of it is in Kafka after a while, and how long that was.
fn trickle(lanes: &[&str], limits: impl FnOnce(Config) -> Config) -> (Vec<Vec<Record>>, f64) {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topics: Vec<String> = lanes.iter().map(|lane| kafka.fresh_topic(lane)).collect();
    let config = Config::new(kafka).broker("local", "5", &mosquitto);
    let config = lanes.iter().zip(&topics).fold(config, |config, (lane, topic)| {
        config.route_with(
            &format!("{lane}/{{device}}"),
            topic,
            &format!("lane = \"{lane}\""),
        )
    });
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&limits(config));
    for lane in lanes {
        mosquitto.until_subscribed(&format!("{lane}/+"), mark);
    }
    let begin = Instant::now();
    let fleets: Vec<Devices> = lanes
        .iter()
        .map(|lane| {
            let topic = if *lane == "a" { "a/{device}" } else { "b/{device}" };
            Devices::start(
                &mosquitto,
                &Plan {
                    rate: Some(1_500),
                    topic,
                    ..Plan::default()
                },
            )
        })
        .collect();
    wait::let_pass("a backlog trickles", Duration::from_secs(8));
    daemon.kill();
    let seconds = begin.elapsed().as_secs_f64();
    drop(fleets);
    let found = topics.iter().map(|topic| {
        let mut oracle = Oracle::new(kafka, topic);
        let count = usize::try_from(oracle.available()).expect("it counts from 0");
        oracle.first(count).to_vec()
    });
    (found.collect(), seconds)
}

/// Above it: never. How far below it is a matter of the machine; that a rate is used is shown on scripted time.
fn assert_kept(found: usize, rate: f64, seconds: f64) {
    let limit = rate * (seconds + BESIDE) * 1.03;
    let found = f64::from(u32::try_from(found).expect("some seconds of it"));
    assert!(found < limit, "{found} in {seconds} s, and not {limit}");
    assert!(found > 0.0, "nothing in {seconds} s");
}

#[test]
fn max_rate_is_kept_in_messages_and_in_bytes() {
    let (found, seconds) = trickle(&["a"], |config| {
        config.lane("a", "").kafka("max_rate = \"100 msg/s\"")
    });
    assert_kept(found[0].len(), 100.0, seconds);
    let (found, seconds) = trickle(&["a"], |config| config.lane("a", "max_rate = \"64 KiB/s\""));
    let bytes = found[0].iter().map(counted_bytes).sum();
    assert_kept(bytes, 65_536.0, seconds);
}

#[test]
fn lanes_share_a_rate_by_weight_and_a_lane_keeps_its_own_besides() {
    let (found, seconds) = trickle(&["a", "b"], |config| {
        config
            .lane("a", "")
            .lane("b", "weight = 4")
            .kafka("max_rate = \"100 msg/s\"")
    });
    assert_kept(found[0].len() + found[1].len(), 100.0, seconds);
    assert!(
        found[1].len() > 2 * found[0].len(),
        "{} and {}",
        found[0].len(),
        found[1].len()
    );
    let (found, seconds) = trickle(&["a", "b"], |config| {
        config
            .lane("a", "")
            .lane("b", "weight = 4\nmax_rate = \"10 msg/s\"")
            .kafka("max_rate = \"100 msg/s\"")
    });
    assert_kept(found[1].len(), 10.0, seconds);
    assert_kept(found[0].len() + found[1].len(), 100.0, seconds);
    assert!(
        found[0].len() > 4 * found[1].len(),
        "what one may not use is for the other"
    );
}

#[test]
fn an_alarm_gets_through_while_another_lane_replays_at_its_limit() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let (replay, alarms) = (kafka.fresh_topic("replay"), kafka.fresh_topic("alarms"));
    let config = Config::usual("5", &mosquitto, kafka, &replay)
        .route_with("alarms/{device}", &alarms, "lane = \"alarms\"")
        .lane("alarms", "weight = 50")
        .kafka("max_rate = \"20 KiB/s\"");
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    mosquitto.until_subscribed("alarms/+", mark);
    let backlog = Devices::start(
        &mosquitto,
        &Plan {
            rate: Some(2_000),
            ..Plan::default()
        },
    );
    backlog.until_acked(5_000, ACK_LIMIT);
    let alarm = Devices::start(
        &mosquitto,
        &Plan {
            devices: 1,
            connections: 1,
            messages: Some(5),
            topic: "alarms/{device}",
            ..Plan::default()
        },
    );
    let sent = alarm.finish(ACK_LIMIT);
    let begin = Instant::now();
    Oracle::new(kafka, &alarms).until_all_there(&sent, NOTICED);
    // A megabyte waits in front of it in the other lane: 50 s.
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    daemon.kill();
}

#[test]
fn every_codec_and_both_presets_deliver() {
    let kafka = shared();
    let lines = [
        "compression = \"zstd\"",
        "compression = \"gzip\"",
        "compression = \"snappy\"",
        "compression = \"lz4\"",
        "compression = \"none\"",
        "preset = \"latency\"",
        "preset = \"throughput\"",
    ];
    for line in lines {
        let scene = Scene::start("5", kafka, Mosquitto::start(), |config| config.kafka(line));
        let devices = scene.devices(&Plan {
            messages: Some(500),
            rate: None,
            ..Plan::default()
        });
        let topic = scene.topic.clone();
        scene.conclude(kafka, devices).assert_clean_without_duplicates();
        let codec = line
            .strip_prefix("compression = ")
            .map(|codec| codec.trim_matches('"'));
        let codec = codec.unwrap_or(if line.contains("throughput") {
            "zstd"
        } else {
            "lz4"
        });
        assert_eq!(kafka.codecs(&topic), [codec], "{line}");
    }
}
