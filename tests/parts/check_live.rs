//! `edgeferry check --live` against a real Kafka.

use std::process::Command;

use serde_json::Value;

use crate::support::config::{CLIENT_ID, Config};
use crate::support::kafka::{Kafka, PARTITIONS, shared, unused_topic};
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::scratch::Scratch;

/// What the command said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    /// The JSON line of a topic.
    fn topic(&self, name: &str) -> Value {
        let lines = self.out.lines().map(|line| {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            line["topic"].clone()
        });
        let mut topics = lines.filter(|topic| topic["name"] == name);
        topics
            .next()
            .unwrap_or_else(|| panic!("{name} is in {}", self.out))
    }
}

/// The text of a topic's remarks.
fn remarks(topic: &Value) -> String {
    let remarks = topic["remarks"].as_array().expect("a list").iter();
    let texts = remarks.map(|remark| remark["text"].as_str().expect("a text").to_owned());
    texts.collect::<Vec<_>>().join("\n")
}

fn check(config: &Config, arguments: &[&str]) -> Said {
    let folder = Scratch::new("check");
    let file = folder.join("edgeferry.toml");
    std::fs::write(&file, config.text(&folder.join("store"))).expect("the folder is writable");
    let output = Command::new(env!("CARGO_BIN_EXE_edgeferry"))
        .arg("check")
        .args(arguments)
        .arg("--config")
        .arg(&file)
        .output()
        .expect("the binary runs");
    assert!(!folder.join("store").exists(), "a check touches no store");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

/// A configuration for these topics; nobody connects to its broker.
fn config(kafka: &Kafka, topics: &[&str]) -> Config {
    let broker = Mosquitto::absent();
    let config = Config::new(kafka).broker("local", "5", &broker);
    topics.iter().fold(config, |config, topic| {
        config.route("devices/{device}/telemetry", topic)
    })
}

#[test]
fn what_is_there_is_said_with_what_does_not_fit() {
    let kafka = shared();
    let settings = [
        ("retention.ms", "3600000"),
        ("max.message.bytes", "2000"),
        ("cleanup.policy", "compact,delete"),
        ("message.timestamp.after.max.ms", "1000"),
    ];
    let topic = kafka.fresh_topic_with("narrow", PARTITIONS, &settings);
    let config = config(kafka, &[&topic, "t-{device}"]);
    let said = check(&config, &["--live", "--json"]);
    assert_eq!(
        said.code,
        Some(0),
        "warnings are no error: {}{}",
        said.out,
        said.err
    );
    let found = said.topic(&topic);
    assert_eq!(found["state"], "present");
    assert_eq!(found["partitions"], PARTITIONS);
    assert_eq!(found["replicas"], 1);
    assert_eq!(found["settings"]["retention.ms"], "3600000");
    let remarks = remarks(&found);
    for words in [
        "retention is 1h",
        "max.message.bytes is 2000",
        "compact,delete",
        "after.max.ms is 1s",
    ] {
        assert!(remarks.contains(words), "{words}: {remarks}");
    }
    assert!(said.out.contains("known only when messages come"), "{}", said.out);
    let text = check(&config, &["--live"]);
    assert_eq!(text.code, Some(0));
    assert!(
        text.out.contains(&format!(
            "{topic} (route[0]): partitions {PARTITIONS}, replicas 1"
        )),
        "{}",
        text.out
    );
}

#[test]
fn a_missing_topic_is_an_error_and_is_made_only_when_that_is_said() {
    let kafka = shared();
    let (here, missing) = (kafka.fresh_topic("here"), unused_topic("missing"));
    let config = config(kafka, &[&here, &missing]);
    let said = check(&config, &["--live", "--json"]);
    assert_eq!(said.code, Some(1));
    assert_eq!(said.topic(&missing)["state"], "missing");
    assert_eq!(said.topic(&here)["state"], "present");
    assert_eq!(kafka.partitions(&missing), None, "looking makes nothing");
    let numbers = [
        "--live",
        "--json",
        "--create-topics",
        "--partitions",
        "3",
        "--replicas",
        "1",
    ];
    let said = check(&config, &numbers);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert_eq!(said.topic(&missing)["state"], "created");
    assert_eq!(kafka.partitions(&missing), Some(3));
    assert_eq!(
        kafka.partitions(&here),
        Some(PARTITIONS),
        "what is there stays as it is"
    );
    assert_eq!(check(&config, &numbers).topic(&missing)["state"], "present");
}

/// Kafka's own default is to make whatever a producer asks for.
#[test]
fn a_check_makes_no_topic_by_asking_for_it() {
    let kafka = Kafka::start_with("auto.create.topics.enable=true");
    let missing = unused_topic("missing");
    let said = check(&config(&kafka, &[&missing]), &["--live"]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert_eq!(kafka.topics(), Vec::<String>::new());
}

#[test]
fn a_missing_topic_of_letters_is_a_warning() {
    let kafka = shared();
    let (here, missing) = (kafka.fresh_topic("here"), unused_topic("letters"));
    let config = config(kafka, &[&here]).dead_letter(&format!("topic = \"{missing}\""));
    let said = check(&config, &["--live", "--json"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let found = said.topic(&missing);
    assert_eq!(found["state"], "missing");
    assert_eq!(found["uses"][0], "dead_letter");
    assert_eq!(found["remarks"][0]["level"], "warning");
    assert!(remarks(&found).contains("letters stay here"), "{found}");
}

#[test]
fn a_topic_that_cannot_be_made_is_said_with_kafkas_reason() {
    let kafka = shared();
    let missing = unused_topic("missing");
    let numbers = [
        "--live",
        "--create-topics",
        "--partitions",
        "3",
        "--replicas",
        "3",
    ];
    let said = check(&config(kafka, &[&missing]), &numbers);
    assert_eq!(said.code, Some(1));
    assert!(
        said.out
            .contains("it cannot be made: Kafka says: InvalidReplicationFactor"),
        "{}",
        said.out
    );
    assert_eq!(kafka.partitions(&missing), None);
}

#[test]
fn topics_are_made_with_both_numbers_or_not_at_all() {
    let config = config(shared(), &["never"]);
    for arguments in [
        &["--live", "--create-topics"][..],
        &["--live", "--create-topics", "--partitions", "3"],
        &[
            "--live",
            "--create-topics",
            "--partitions",
            "0",
            "--replicas",
            "1",
        ],
        &["--create-topics", "--partitions", "3", "--replicas", "1"],
        &["--live", "--partitions", "3", "--replicas", "1"],
    ] {
        let said = check(&config, arguments);
        assert_eq!(said.code, Some(64), "{arguments:?}: {}{}", said.out, said.err);
    }
}

#[test]
fn a_kafka_that_is_away_is_an_error_with_its_reason() {
    let said = check(&config(&Kafka::absent(), &["telemetry"]), &["--live"]);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("Kafka cannot be reached"), "{}", said.out);
    assert!(said.out.contains("Connection refused"), "{}", said.out);
}

/// The findings of a check, as JSON.
fn found(said: &Said) -> Vec<Value> {
    let lines = said.out.lines();
    let answers = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON lines alone"));
    answers
        .filter_map(|answer| answer.get("finding").cloned())
        .collect()
}

fn settings(findings: &[Value]) -> String {
    let settings = findings.iter().map(|finding| finding["setting"].to_string());
    settings.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_a_file_leaves_open_is_said_without_connecting_and_for_machines_too() {
    let config = config(&Kafka::absent(), &["telemetry"]).queue("on_full = \"drop-oldest\"");
    let said = check(&config, &["--json", "--rate", "0.5", "--size", "1kB"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let findings = found(&said);
    let policy = findings
        .iter()
        .find(|finding| finding["setting"] == "queue.on_full");
    let policy = policy.expect("it is chosen");
    assert_eq!(policy["kind"], "lose");
    assert_eq!(policy["standing"], "as-configured");
    assert_eq!(policy["promise"], 1);
    assert!(
        policy["right"]
            .as_str()
            .is_some_and(|right| right.contains("backpressure"))
    );
    // 1 GiB, 1170 bytes a message, one in two seconds.
    let holds = "{\"holds\":{\"lane\":\"default\",\"seconds\":1835";
    assert!(said.out.contains(holds), "{}", said.out);
    assert!(said.out.contains("{\"done\":{\"errors\":0"), "{}", said.out);
    let text = check(&config, &[]);
    assert_eq!(text.code, Some(0));
    assert!(text.out.contains(": ok\n"), "{}", text.out);
    assert!(text.out.contains("It can lose messages:"), "{}", text.out);
    assert!(
        text.out
            .contains("its oldest messages go, counted (as configured)"),
        "{}",
        text.out
    );
}

#[test]
fn what_is_asked_about_has_to_make_sense() {
    let config = config(&Kafka::absent(), &["telemetry"]);
    for arguments in [
        &["--rate", "1"][..],
        &["--size", "1kB"],
        &["--rate", "0", "--size", "1"],
        &["--rate", "inf", "--size", "1"],
        &["--rate", "many", "--size", "1"],
        &["--absence", "long"],
    ] {
        let said = check(&config, arguments);
        assert_eq!(said.code, Some(64), "{arguments:?}: {}{}", said.out, said.err);
    }
}

#[test]
fn strict_is_for_losses_that_nobody_chose() {
    let kafka = shared();
    let topic = kafka.fresh_topic_with("kept", PARTITIONS, &[("retention.ms", "-1")]);
    let mosquitto = Mosquitto::start_with("sys_interval 1");
    let config = Config::new(kafka)
        .broker("local", "5", &mosquitto)
        .route("devices/{device}/telemetry", &topic);
    let said = check(&config, &["--live", "--json"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let findings = found(&said);
    // One broker has one replica.
    let replicas = format!("min.insync.replicas (topic {topic})");
    let replicas = findings
        .iter()
        .find(|finding| finding["setting"] == replicas.as_str());
    assert_eq!(
        replicas.map(|finding| finding["standing"].clone()),
        Some("open".into()),
        "{}",
        settings(&findings)
    );
    assert!(
        !settings(&findings).contains("retention.ms"),
        "{}",
        settings(&findings)
    );
    let strict = check(&config, &["--live", "--json", "--strict"]);
    assert_eq!(strict.code, Some(1), "{}", strict.out);
    // What was asked with a session has left none.
    let log = mosquitto.log();
    assert!(log.contains("live-check"), "{log}");
    let id = format!("{CLIENT_ID}-live-check");
    let same = Link::connect(mosquitto.port(), &id, false).expect("it runs");
    assert!(!same.session_present());
}

#[test]
fn what_kafkas_brokers_forget_is_asked_for_exactly_once() {
    let kafka = shared();
    let topic = kafka.fresh_topic("offsets");
    let config = config(kafka, &[&topic]).exactly_once();
    let known = check(&config, &["--live", "--json", "--absence", "1h"]);
    assert!(
        !settings(&found(&known)).contains("offsets.retention"),
        "{}",
        known.out
    );
    let long = check(&config, &["--live", "--json", "--absence", "30days"]);
    let findings = found(&long);
    let offsets = findings.iter().find(|finding| {
        let setting = finding["setting"].as_str();
        setting.is_some_and(|setting| setting.starts_with("offsets.retention"))
    });
    assert_eq!(
        offsets.map(|finding| finding["standing"].clone()),
        Some("open".into()),
        "{}",
        long.out
    );
}
