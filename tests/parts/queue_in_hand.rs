//! `edgeferry queue` beside a daemon that receives and delivers.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::config::{Config, GATEWAY};
use crate::support::daemon::Daemon;
use crate::support::devices::sent::Sent;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{self, Kafka};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER, Scene};
use crate::support::wait;

/// How a lane stands, as `ls --json` says it.
fn lane(daemon: &Daemon) -> Value {
    let said = daemon.queue(&["ls", "--json"]);
    let answer: Value = serde_json::from_str(&said).expect("one line of JSON");
    answer["lane"].clone()
}

fn number(lane: &Value, name: &str) -> u64 {
    lane[name].as_u64().unwrap_or_else(|| panic!("{name} in {lane}"))
}

/// Waits until the daemon holds this many messages.
fn until_received(daemon: &Daemon, count: u64) {
    wait::until("the daemon has received all", ACK_LIMIT, || {
        (number(&lane(daemon), "received") >= count).then_some(())
    });
}

/// A fleet that has said all it has to say.
fn publish(mosquitto: &Mosquitto, messages: u64) -> Sent {
    let plan = Plan {
        messages: Some(messages),
        rate: None,
        ..Plan::default()
    };
    Devices::start(mosquitto, &plan).finish(ACK_LIMIT)
}

/// A daemon whose Kafka is away, with all of these messages in its queue.
fn cut_off(config: &Config, mosquitto: &Mosquitto, messages: u64) -> (Daemon, Sent) {
    let mark = mosquitto.mark();
    let daemon = Daemon::start(config);
    mosquitto.until_subscribed(FILTER, mark);
    let sent = publish(mosquitto, messages);
    until_received(&daemon, messages);
    (daemon, sent)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test folders have plain names")
}

#[test]
fn looking_into_the_queue_does_not_disturb_delivery() {
    let kafka = kafka::shared();
    let scene = Scene::start("5", kafka, Mosquitto::start(), |config| config);
    let devices = scene.devices(&Plan::default());
    for _ in 0..10 {
        devices.until_acked(50, ACK_LIMIT);
        let lane = lane(&scene.daemon);
        let removed = lane["removed"].as_object().expect("an object").len();
        assert_eq!(removed, 0, "{lane}");
        assert_eq!(
            number(&lane, "received"),
            number(&lane, "delivered") + number(&lane, "queued"),
            "{lane}"
        );
        scene.daemon.queue(&["peek", "--limit", "5", "--device", "d3"]);
        scene.daemon.queue(&["verify"]);
        scene.daemon.queue(&["export", "--topic", "devices/+/telemetry"]);
    }
    scene.conclude(kafka, devices).assert_clean_without_duplicates();
}

#[test]
fn what_one_gateway_exported_in_an_outage_another_delivers_with_its_ids() {
    let kafka = kafka::shared();
    let away = Kafka::absent();
    let topic = kafka.fresh_topic("telemetry");
    let (near, far) = (Mosquitto::start(), Mosquitto::start());
    let (first, sent) = cut_off(&Config::usual("5", &far, &away, &topic), &far, 3_000);
    let file = first.beside("export.jsonl");
    first.queue(&["export", "--output", text(&file)]);
    let ids: Vec<String> = first
        .queue(&["peek", "--json", "--limit", "5000"])
        .lines()
        .map(|line| {
            let answer: Value = serde_json::from_str(line).expect("JSON");
            answer["message"]["id"].as_str().expect("has one").to_owned()
        })
        .collect();
    assert_eq!(ids.len(), 3_000);

    let mut second = Daemon::start(&Config::usual("5", &near, kafka, &topic).gateway("gw-second"));
    let (code, out, err) = second.try_queue(&["import", text(&file)]);
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "3000 messages taken, 0 were here already\n")
    );
    assert!(
        err.contains(GATEWAY),
        "it says that the exporter may deliver them too: {err}"
    );
    let again = second.queue(&["import", text(&file)]);
    assert_eq!(again, "0 messages taken, 3000 were here already\n");

    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    second.terminate();
    second.restart();
    let again = second.queue(&["import", text(&file)]);
    assert_eq!(again, "0 messages taken, 3000 were here already\n");
    second.terminate();
    oracle.verdict(&sent).assert_clean_without_duplicates();
    for record in oracle.records() {
        assert_eq!(record.header("edgeferry-gateway"), Some(GATEWAY));
        let id = record.header("edgeferry-id").expect("has one");
        assert!(ids.iter().any(|known| known == id), "{id}");
    }
}

#[test]
fn a_device_is_purged_while_the_daemon_runs_and_the_rest_arrives_in_order() {
    const MESSAGES: u64 = 12_000;
    let mut kafka = Kafka::start();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("telemetry");
    kafka.kill();
    let config = Config::usual("5", &mosquitto, &kafka, &topic).impatient();
    let (mut daemon, sent) = cut_off(&config, &mosquitto, MESSAGES);
    let plan = daemon.queue(&["purge", "--device", "d3"]);
    assert!(plan.contains("600 messages would be removed"), "{plan}");
    let said = daemon.queue(&["purge", "--device", "d3", "--yes", "--json"]);
    let answer: Value = serde_json::from_str(&said).expect("JSON");
    let (removed, under_way) = (
        number(&answer["purged"], "messages"),
        number(&answer["purged"], "under_way"),
    );
    // What the sink has taken may be under way: some thousand messages of all devices.
    assert!(removed > 300 && removed + under_way == 600, "{said}");
    let stands = lane(&daemon);
    assert_eq!(number(&stands, "received"), MESSAGES);
    assert_eq!(number(&stands["removed"], "purged"), removed);
    assert_eq!(number(&stands, "queued"), MESSAGES - removed);

    kafka.restart();
    wait::until("the queue is empty", PATIENCE * 2, || {
        (number(&lane(&daemon), "queued") == 0).then_some(())
    });
    let stands = lane(&daemon);
    assert_eq!(number(&stands, "delivered"), MESSAGES - removed, "{stands}");
    daemon.terminate();
    let verdict = Oracle::new(&kafka, &topic).verdict(&sent);
    assert_eq!(verdict.lost.len() as u64, removed, "{verdict}");
    assert!(
        verdict.lost.iter().all(|lost| lost.starts_with("d3#")),
        "{verdict}"
    );
    assert!(
        verdict.reordered.is_empty() && verdict.altered.is_empty(),
        "{verdict}"
    );
    daemon.queue(&["verify"]);
}

#[test]
fn a_stop_does_not_wait_for_whoever_looks() {
    let kafka = kafka::shared();
    let mut scene = Scene::start("5", kafka, Mosquitto::start(), |config| config);
    let socket = scene.daemon.store().join("control.sock");
    let idle = std::os::unix::net::UnixStream::connect(&socket).expect("the daemon listens");
    let began = std::time::Instant::now();
    scene.daemon.terminate();
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    drop(idle);
    assert!(!socket.exists());
    scene.daemon.queue(&["ls"]);
}

#[test]
fn a_socket_that_a_killed_daemon_left_is_replaced() {
    let kafka = kafka::shared();
    let mut scene = Scene::start("5", kafka, Mosquitto::start(), |config| config);
    scene.daemon.kill();
    assert!(scene.daemon.store().join("control.sock").exists());
    scene.daemon.queue(&["ls"]);
    scene.daemon.restart();
    scene.daemon.queue(&["ls"]);
    scene.daemon.terminate();
}
