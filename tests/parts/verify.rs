//! `edgeferry verify` against a real Kafka: what is well is called so, and each fault that is put there is found.

use std::process::{Command, Stdio};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::Plan;
use crate::support::kafka::secure::{self, Door, PASSWORD, USER};
use crate::support::kafka::{self, Kafka, PARTITIONS, shared, unused_topic};
use crate::support::mosquitto::{Mark, Mosquitto};
use crate::support::mqtt::Link;
use crate::support::oracle::{PATIENCE, Reader, Record};
use crate::support::scene::{ACK_LIMIT, FILTER, Scene};
use crate::support::scratch::Scratch;
use crate::support::wait;

/// What the command said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    report: Value,
    err: String,
}

impl Said {
    fn lane(&self, name: &str) -> &Value {
        let lanes = self.report["lanes"].as_array().expect("a list");
        let found = lanes.iter().find(|lane| lane["lane"] == name);
        found.unwrap_or_else(|| panic!("lane {name} is in {self:?}"))
    }

    /// The only lane.
    fn only(&self) -> &Value {
        assert_eq!(self.report["lanes"].as_array().map(Vec::len), Some(1), "{self:?}");
        self.lane("default")
    }

    fn assert_well(&self) {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{self:?}");
        assert_eq!(self.report["verdict"], "well", "{self:?}");
    }
}

fn verify(daemon: &Daemon, arguments: &[&str]) -> Said {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    let (code, out, err) = daemon.verify(&arguments);
    let report = serde_json::from_str(&out).unwrap_or(Value::Null);
    Said { code, report, err }
}

fn until_delivered(daemon: &Daemon, count: u64) {
    wait::until("everything is delivered", PATIENCE, || {
        let lane = daemon.lane();
        (lane["received"].as_u64() >= Some(count) && lane["queued"] == 0).then_some(())
    });
}

/// A daemon with a publisher, subscribed.
fn start(config: &Config, mosquitto: &Mosquitto, filter: &str) -> (Daemon, Link) {
    let mark = mosquitto.mark();
    let daemon = Daemon::start(config);
    mosquitto.until_subscribed(filter, mark);
    let link = Link::connect(mosquitto.port(), "publisher", true).expect("it accepts");
    (daemon, link)
}

/// So many messages of three devices, in turn, in Kafka.
fn sixty(config: &Config, mosquitto: &Mosquitto) -> Daemon {
    let (daemon, mut link) = start(config, mosquitto, FILTER);
    for number in 1..=60 {
        let topic = format!("devices/d{}/telemetry", number % 3);
        link.publish(&topic, number.to_string().as_bytes());
    }
    until_delivered(&daemon, 60);
    daemon
}

/// The records of a topic, those of a partition in order.
fn records(kafka: &Kafka, topic: &str) -> Vec<Record> {
    Reader::new(&kafka.bootstrap(), topic).rest(PATIENCE)
}

/// The sequence in a record's id.
fn seq(record: &Record) -> u64 {
    let id = record.header("edgeferry-id").expect("it has an id");
    id.rsplit('-').next().expect("parts").parse().expect("a number")
}

/// Writes records to a new topic, each to the partition where it was.
fn forge(kafka: &Kafka, records: &[Record]) -> String {
    let topic = kafka.fresh_topic("forged");
    let producer: BaseProducer = kafka.client().create().expect("a plain producer");
    for record in records {
        let headers = record
            .all_headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                let value = Some(value.as_slice());
                headers.insert(Header { key, value })
            });
        let key = record.key.as_deref().expect("it has a key");
        let out = BaseRecord::to(&topic)
            .key(key)
            .payload(&record.value)
            .partition(record.partition)
            .timestamp(record.time_ms.expect("it has a time"))
            .headers(headers);
        producer.send(out).expect("there is room");
    }
    producer.flush(PATIENCE).expect("Kafka takes it");
    topic
}

/// What `edgeferry verify` writes to a terminal.
fn on_a_terminal(daemon: &Daemon) -> String {
    let files = Scratch::new("terminal");
    let config = daemon.beside("edgeferry.toml");
    let shell = format!(
        "{} verify --config {}",
        crate::support::daemon::binary().display(),
        config.display()
    );
    let mut command = Command::new("script");
    command.args(["--quiet", "--flush", "--return", "--command", &shell]);
    command.arg(files.join("typescript")).env("SHELL", "/bin/sh");
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(status.expect("script(1) is there").success());
    let seen = std::fs::read(files.join("typescript")).expect("it was written");
    String::from_utf8_lossy(&seen).into_owned()
}

#[test]
fn a_daemon_that_delivers_is_well_at_every_moment_and_is_not_disturbed() {
    let kafka = shared();
    let scene = Scene::start("5", kafka, Mosquitto::start(), |config| config);
    let devices = scene.devices(&Plan::default());
    for _ in 0..4 {
        devices.until_acked(100, ACK_LIMIT);
        verify(&scene.daemon, &[]).assert_well();
    }
    devices.until_acked(1_000, ACK_LIMIT);
    verify(&scene.daemon, &["--since", "1h"]).assert_well();
    let few = verify(&scene.daemon, &["--from", "5", "--through", "14"]);
    few.assert_well();
    assert_eq!(few.only()["present"], 10);
    let epoch = few.only()["epoch"].as_str().expect("a text").to_owned();
    let id = format!("{epoch}-default-14");
    assert_eq!(verify(&scene.daemon, &["--through", &id]).only()["present"], 14);
    // `assert_well` has seen that nothing is drawn where nobody looks.
    let seen = on_a_terminal(&scene.daemon);
    let bar = "\r\u{1b}[K[";
    assert!(seen.contains(bar) && seen.contains(" records, "), "{seen:?}");
    let (_, last) = seen.rsplit_once(bar).expect("it was drawn");
    assert!(
        last.contains("\r\u{1b}[K") && last.contains("well"),
        "it is taken away: {last:?}"
    );
    scene.conclude(kafka, devices).assert_clean_without_duplicates();
}

#[test]
fn a_hole_a_swap_and_repetitions_are_named() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("telemetry");
    let config = Config::usual("5", &mosquitto, kafka, &topic);
    let mut daemon = sixty(&config, &mosquitto);
    let at = |topic: &str| Config::usual("5", &mosquitto, kafka, topic);
    let all = records(kafka, &topic);

    let mut holed: Vec<Record> = all
        .iter()
        .filter(|record| ![10, 20, 21, 22].contains(&seq(record)))
        .cloned()
        .collect();
    daemon.reconfigure(&at(&forge(kafka, &holed)));
    let said = verify(&daemon, &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.only()["missing"], 4);
    let stretches = serde_json::json!([{"first": 10, "last": 10}, {"first": 20, "last": 22}]);
    assert_eq!(said.only()["stretches"], stretches);
    assert_eq!(said.only()["findings"], serde_json::json!(["missing"]));
    let (code, out, _) = daemon.verify(&[]);
    assert_eq!(code, Some(1));
    assert!(
        out.contains("MISSING: 4 messages") && out.contains("10, 20 to 22"),
        "{out}"
    );

    holed.clone_from(&all);
    let repeated: Vec<Record> = all.iter().take(7).cloned().collect();
    holed.extend(repeated);
    let doubled = forge(kafka, &holed);
    daemon.reconfigure(&at(&doubled));
    let said = verify(&daemon, &[]);
    said.assert_well();
    assert_eq!(said.only()["duplicates"]["same"], 7);
    daemon.reconfigure(&at(&doubled).exactly_once());
    let said = verify(&daemon, &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.only()["findings"], serde_json::json!(["duplicated"]));

    let mut swapped = all;
    let of_d1 = |record: &Record| record.key.as_deref() == Some(b"d1");
    let first = swapped.iter().position(of_d1).expect("there are 20");
    let second = swapped
        .iter()
        .skip(first + 1)
        .position(of_d1)
        .expect("there are 20")
        + first
        + 1;
    swapped.swap(first, second);
    daemon.reconfigure(&at(&forge(kafka, &swapped)));
    let said = verify(&daemon, &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.only()["misplaced"], 1);
    assert_eq!(said.only()["misplaced_examples"][0]["key"], "d1");
    assert_eq!(said.only()["misplaced_examples"][0]["behind"], 4);

    // A stopped store says the same.
    daemon.terminate();
    assert_eq!(verify(&daemon, &[]).only()["misplaced"], 1);
}

#[test]
fn letters_filtered_and_purged_messages_are_explained_and_a_loss_beside_them_is_not() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("telemetry");
    let with = |topic: &str| {
        Config::new(kafka)
            .broker("local", "5", &mosquitto)
            .route_with(
                "devices/{device}/telemetry",
                topic,
                "when = [ { value = \"json:/test\", exists = false } ]",
            )
            .route_with("named/{name}/x", "named-{name}", "key = \"{name}\"")
    };
    let (mut daemon, mut link) = start(&with(&topic), &mosquitto, FILTER);
    mosquitto.until_subscribed("named/+/x", Mark::default());
    for number in 0..30 {
        match number % 10 {
            3 => link.publish("named/no topic/x", b"letter"),
            5 => link.publish("devices/d1/telemetry", b"{\"test\":1}"),
            _ => link.publish("devices/d1/telemetry", b"{}"),
        }
    }
    until_delivered(&daemon, 30);
    let said = verify(&daemon, &[]);
    said.assert_well();
    let letters = serde_json::json!({"why": "dead_letter", "count": 3, "is_by_sequence": true});
    let counted = serde_json::json!({"why": "not_delivered", "count": 3, "is_by_sequence": false});
    assert_eq!(said.only()["known"], serde_json::json!([letters, counted]));
    daemon.dead_letter(&["purge", "--reason", "illegal-topic", "--yes"]);
    let said = verify(&daemon, &[]);
    said.assert_well();
    let by_hand = serde_json::json!({"why": "by_hand", "count": 3, "is_by_sequence": false});
    assert_eq!(said.only()["known"], serde_json::json!([counted, by_hand]));
    // Of a part of the lane nobody can say that these are the ones that were counted.
    let part = verify(&daemon, &["--from", "2", "--strict"]);
    assert_eq!(
        (part.code, &part.report["verdict"]),
        (Some(2), &Value::from("uncertain")),
        "{part:?}"
    );
    let mut all = records(kafka, &topic);
    all.remove(5);
    daemon.reconfigure(&with(&forge(kafka, &all)));
    let said = verify(&daemon, &[]);
    assert_eq!(
        (said.code, &said.only()["missing"]),
        (Some(1), &Value::from(1)),
        "{said:?}"
    );
    daemon.terminate();
}

#[test]
fn what_waits_is_not_asked_for_and_what_was_put_back_by_hand_is_not_out_of_order() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic_with("narrow", 1, &[("max.message.bytes", "20000")]);
    let config = Config::usual("5", &mosquitto, kafka, &topic).kafka("compression = \"none\"");
    let (daemon, mut link) = start(&config, &mosquitto, FILTER);
    let large = vec![b'x'; 60_000];
    for payload in [&b"before"[..], &large, b"behind"] {
        link.publish("devices/d1/telemetry", payload);
    }
    until_delivered(&daemon, 3);
    assert_eq!(verify(&daemon, &[]).only()["known"][0]["why"], "dead_letter");
    kafka.configure_topic(&topic, &[("max.message.bytes", "1000000")]);
    daemon.dead_letter(&["redrive", "--all"]);
    until_delivered(&daemon, 4);
    let said = verify(&daemon, &[]);
    said.assert_well();
    assert_eq!(
        (&said.only()["present"], &said.only()["misplaced"]),
        (&Value::from(3), &Value::from(1))
    );
    assert_eq!(said.only()["known"][0]["why"], "by_hand");
}

/// A route for each format, in two lanes, and one more for the first of them.
fn of_all_formats(kafka: &Kafka, topics: &[String], mosquitto: &Mosquitto, gateway: &str) -> Config {
    let binary = "format = \"cloudevents\"\n[route.cloudevents]\nmode = \"binary\"";
    let ngsi = "format = \"ngsiv2\"\nlane = \"alarms\"\n[route.ngsiv2]\nservice = \"s\"";
    let structured = "format = \"cloudevents\"\nheaders = \"minimal\"";
    let wasp = "format = \"wasp\"\nlane = \"alarms\"";
    Config::new(kafka)
        .gateway(gateway)
        .broker("local", "5", mosquitto)
        .lane("alarms", "")
        .route_with("raw/{device}/x", &topics[0], "headers = \"minimal\"")
        .route_with("structured/{device}/x", &topics[1], structured)
        .route_with("binary/{device}/x", &topics[2], binary)
        .route_with("ngsi/{device}/x", &topics[3], ngsi)
        .route_with("wasp/{device}/x", &topics[4], wasp)
        // The same messages once more, elsewhere.
        .route_with("raw/{device}/{also}", &topics[1], "key = \"{device}\"")
}

/// Ten messages for each format, delivered.
fn fifty(config: &Config, mosquitto: &Mosquitto) -> Daemon {
    let (daemon, mut link) = start(config, mosquitto, "wasp/+/x");
    for filter in ["raw/+/+", "structured/+/x", "binary/+/x", "ngsi/+/x"] {
        mosquitto.until_subscribed(filter, Mark::default());
    }
    for number in 0..50 {
        let kind = ["raw", "structured", "binary", "ngsi", "wasp"][number % 5];
        // WASP's devices are UUIDs.
        let device = format!("574bd77c-4aba-4557-aa9e-066939f9380{}", number % 3);
        link.publish(&format!("{kind}/{device}/x"), b"{\"t\":21.5}");
    }
    wait::until("both lanes have delivered", PATIENCE, || {
        let said = daemon.queue(&["ls", "--json"]);
        let lanes = said
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["lane"].take());
        let delivered: u64 = lanes
            .map(|lane| lane["delivered"].as_u64().expect("a number"))
            .sum();
        (delivered == 50).then_some(())
    });
    daemon
}

#[test]
fn every_format_in_several_lanes_of_two_gateways_is_told_apart() {
    let kafka = shared();
    let names = ["raw", "structured", "binary", "ngsi", "raw-payloads"];
    let topics: Vec<String> = names.iter().map(|name| kafka.fresh_topic(name)).collect();
    let mosquittos = [Mosquitto::start(), Mosquitto::start()];
    let gateways = mosquittos.iter().zip(["gw-a", "gw-b"]);
    let daemons: Vec<Daemon> = gateways
        .map(|(mosquitto, gateway)| fifty(&of_all_formats(kafka, &topics, mosquitto, gateway), mosquitto))
        .collect();
    for daemon in &daemons {
        let said = verify(daemon, &[]);
        said.assert_well();
        let present = ["default", "alarms"].map(|lane| said.lane(lane)["present"].as_u64());
        assert_eq!(present, [Some(30), Some(20)]);
        // Ten messages have two records each.
        let counts = ["unnamed", "others"].map(|name| said.report[name].as_u64());
        assert_eq!(counts, [Some(0), Some(60)], "{said:?}");
    }
    // An office without a store sees both.
    let office = Scratch::new("office");
    let elsewhere =
        of_all_formats(kafka, &topics, &mosquittos[0], "office").data_dir(&office.join("no store"));
    daemons[0].reconfigure(&elsewhere);
    let said = verify(&daemons[0], &[]);
    said.assert_well();
    assert_eq!(said.report["lanes"].as_array().map(Vec::len), Some(4));
    assert!(
        said.report["notes"].to_string().contains("there is no store"),
        "{said:?}"
    );
    assert_eq!(said.report["gateway"], Value::Null);
    let all = verify(&daemons[1], &["--all-gateways"]);
    assert_eq!(all.report["lanes"], said.report["lanes"]);
}

#[test]
fn an_office_calls_a_hole_a_gap_because_only_the_gateway_could_explain_it() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("telemetry");
    let daemon = sixty(&Config::usual("5", &mosquitto, kafka, &topic), &mosquitto);
    let holed: Vec<Record> = records(kafka, &topic)
        .into_iter()
        .filter(|record| seq(record) != 30)
        .collect();
    daemon.reconfigure(&Config::usual("5", &mosquitto, kafka, &forge(kafka, &holed)));
    let (code, out, _) = daemon.verify(&["--all-gateways"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("GAP: 1 messages") && out.contains("explained by their gateway's store alone"),
        "{out}"
    );
}

#[test]
fn exactly_once_is_read_committed_and_has_no_repetition_after_a_kill() {
    let kafka = shared();
    let mut scene = Scene::start("5", kafka, Mosquitto::start(), Config::exactly_once);
    let devices = scene.devices(&Plan::default());
    devices.until_acked(300, ACK_LIMIT);
    scene.daemon.kill();
    scene.daemon.kill_at("transaction.begun", 3);
    scene.daemon.launch();
    scene.daemon.until_ended(ACK_LIMIT);
    scene.daemon.restart();
    devices.until_acked(600, ACK_LIMIT);
    let said = verify(&scene.daemon, &[]);
    said.assert_well();
    assert_eq!(said.only()["duplicates"]["same"], 0);
    scene.conclude(kafka, devices).assert_clean();
}

/// `kafka-delete-records`
fn delete_before(kafka: &Kafka, topic: &str, offset: i64) {
    let admin: AdminClient<DefaultClientContext> = kafka.client().create().expect("a plain client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset))
        .expect("an offset");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let deleted = runtime.block_on(admin.delete_records(&list, &AdminOptions::new()));
    deleted.expect("Kafka deletes");
}

#[test]
fn what_retention_took_is_not_called_missing() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic_with("telemetry", 1, &[]);
    let daemon = sixty(&Config::usual("5", &mosquitto, kafka, &topic), &mosquitto);
    delete_before(kafka, &topic, 25);
    let said = verify(&daemon, &[]);
    assert_eq!(
        (said.code, &said.report["verdict"]),
        (Some(0), &Value::from("uncertain")),
        "{said:?}"
    );
    assert_eq!(
        (&said.only()["unknown"], &said.only()["missing"]),
        (&Value::from(25), &Value::from(0))
    );
    assert_eq!(said.report["topics"][0]["trimmed"], 1);
    assert_eq!(verify(&daemon, &["--strict"]).code, Some(2));
    // A part that is whole is judged as such.
    verify(&daemon, &["--from", "30", "--strict"]).assert_well();
}

#[test]
fn a_compacted_topic_is_said_to_tell_nothing() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic_with("telemetry", PARTITIONS, &[("cleanup.policy", "compact")]);
    let daemon = sixty(&Config::usual("5", &mosquitto, kafka, &topic), &mosquitto);
    let said = verify(&daemon, &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.report["topics"][0]["is_compacted"], true);
}

#[test]
fn foreign_records_and_templated_topics_are_read_and_counted() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let begin = unused_topic("templated");
    for device in ["d0", "d1", "d2"] {
        kafka.create_topic(&format!("{begin}-{device}"), 1, &[]);
    }
    let producer: BaseProducer = kafka.client().create().expect("a plain producer");
    let foreign = format!("{begin}-d0");
    producer
        .send(BaseRecord::to(&foreign).key("k").payload("v"))
        .expect("there is room");
    producer.flush(PATIENCE).expect("Kafka takes it");
    let config = Config::new(kafka)
        .broker("local", "5", &mosquitto)
        .route("devices/{device}/telemetry", &format!("{begin}-{{device}}"));
    let daemon = sixty(&config, &mosquitto);
    let said = verify(&daemon, &[]);
    said.assert_well();
    assert_eq!(
        (&said.only()["present"], &said.report["unnamed"]),
        (&Value::from(60), &Value::from(1))
    );
    assert_eq!(said.report["topics"].as_array().map(Vec::len), Some(3));
}

#[test]
fn without_the_rights_the_topic_and_the_right_are_named() {
    let secure = secure::shared();
    let topic = secure.open_topic("telemetry");
    let files = Scratch::new("secrets");
    let password = files.join("password");
    std::fs::write(&password, PASSWORD).expect("the folder is writable");
    let mosquitto = Mosquitto::absent();
    let config = Config::usual("5", &mosquitto, secure, &topic)
        .bootstrap(&secure.door(Door::ClearSasl))
        .kafka("sasl = \"plain\"")
        .kafka(&format!("username = \"{USER}\""))
        .kafka(&format!("password_file = \"{}\"", password.display()));
    let daemon = Daemon::start(&config);
    // Something must be there to be read.
    let producer: BaseProducer = kafka::client(&secure.kafka().bootstrap())
        .create()
        .expect("a plain producer");
    producer
        .send(BaseRecord::to(&topic).key("k").payload("v"))
        .expect("there is room");
    producer.flush(PATIENCE).expect("Kafka takes it");
    let (code, out, err) = daemon.verify(&[]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.contains(&topic) && err.contains("Describe and Read"), "{err}");
}

#[test]
fn a_kafka_that_is_away_and_wrong_arguments_are_said_in_time() {
    let mosquitto = Mosquitto::absent();
    let daemon = Daemon::start(&Config::usual("5", &mosquitto, &Kafka::absent(), "telemetry"));
    let (code, _, err) = daemon.verify(&[]);
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains("did not answer within 20 s") && err.contains("Connection refused"),
        "{err}"
    );
    for (arguments, words) in [
        (&["--since", "yesterday"][..], "is no time"),
        (
            &["--since", "1h", "--until", "2h"],
            "--since is not before --until",
        ),
        (&["--from", "x"], "neither a sequence"),
        (&["--from", "9", "--through", "3"], "--from is behind --through"),
        (
            &[
                "--from",
                "00000000000000ab-a-1",
                "--through",
                "00000000000000ab-b-9",
            ],
            "two different epochs or lanes",
        ),
        (&["--from", "3", "--since", "1h"], "cannot be used with"),
    ] {
        let (code, _, err) = daemon.verify(arguments);
        assert_eq!(code, Some(64), "{arguments:?}: {err}");
        assert!(err.contains(words), "{arguments:?}: {err}");
    }
}

#[test]
fn a_topic_that_is_missing_is_said() {
    let kafka = shared();
    let mosquitto = Mosquitto::absent();
    let daemon = Daemon::start(&Config::usual("5", &mosquitto, kafka, &unused_topic("nowhere")));
    let (code, _, err) = daemon.verify(&[]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("none of the topics is in Kafka"), "{err}");
}

/// A measurement: `cargo test --test parts -- --ignored --nocapture the_rate_of_a_reading`.
#[test]
#[ignore = "a measurement for docs/verify.md, not a test"]
fn the_rate_of_a_reading() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic("telemetry");
    let daemon = sixty(&Config::usual("5", &mosquitto, kafka, &topic), &mosquitto);
    let all = records(kafka, &topic);
    let producer: BaseProducer = kafka.client().create().expect("a plain producer");
    let (epoch, count) = ("00000000000000ab", 1_000_000_u64);
    let value = vec![b'v'; 200];
    for seq in 1..=count {
        let id = format!("{epoch}-default-{seq}");
        let headers = all[0]
            .all_headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                let value = if key == "edgeferry-id" {
                    id.as_bytes()
                } else {
                    value.as_slice()
                };
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            });
        let key = format!("d{}", seq % 1000);
        let mut out = BaseRecord::to(&topic).key(&key).payload(&value).headers(headers);
        while let Err((_, again)) = producer.send(out) {
            producer.poll(Duration::from_millis(100));
            out = again;
        }
    }
    producer.flush(ACK_LIMIT).expect("Kafka takes it");
    let (code, out, _) = daemon.verify(&["--all-gateways"]);
    eprintln!("{code:?}\n{out}");
    assert_eq!(code, Some(0));
}
