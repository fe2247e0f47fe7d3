//! `edgeferry try`: the command, as somebody runs it who writes a configuration.
#![expect(clippy::expect_used, reason = "the helpers of a test may give up")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const HEAD: &str = "[gateway]\nid = \"gw-7\"\ndata_dir = \"/nonexistent/edgeferry\"\n[kafka]\nbootstrap_servers = \
                    [\"127.0.0.1:9\"]\n";
const ONE_BROKER: &str = "[[mqtt]]\nurl = \"mqtt://127.0.0.1:9\"\n";
const AT: &str = "2026-11-20T11:00:00Z";

/// A folder with a configuration.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(rest: &str) -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::write(dir.path().join("edgeferry.toml"), format!("{HEAD}{rest}")).expect("writes");
        Self { dir }
    }

    fn one_broker(routes: &str) -> Self {
        Self::new(&format!("{ONE_BROKER}{routes}"))
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("edgeferry.toml")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        command(&self.file(), arguments).output().expect("runs")
    }

    /// Exit code and standard output.
    fn text(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.run(arguments);
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("text"),
        )
    }

    /// Exit code and the answer.
    fn json(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let (code, text) = self.text(&[arguments, &["--json"]].concat());
        (code, serde_json::from_str(&text).expect("JSON"))
    }

    /// What is said about arguments that are wrong.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        String::from_utf8(output.stderr)
            .expect("text")
            .trim_end()
            .to_owned()
    }
}

fn command(file: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeferry"));
    command
        .arg("try")
        .arg("--config")
        .arg(file)
        .args(["--at", AT])
        .args(arguments);
    command
}

const TELEMETRY: &str = "[[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"telemetry\"\n";

#[test]
fn the_exact_record_is_shown_to_people() {
    let (code, text) =
        Bench::one_broker(TELEMETRY).text(&["--topic", "devices/sensor-1/telemetry", "--payload", "21.5"]);
    assert_eq!(
        text,
        "devices/sensor-1/telemetry, 4 bytes, from broker default\n\
         route[0] devices/{device}/telemetry: record\n\
         \n\
         record of route[0] in lane default\n\
         \x20 topic      telemetry\n\
         \x20 key        sensor-1\n\
         \x20 partition  1 of 12\n\
         \x20 time       2026-11-20T11:00:00.000Z\n\
         \x20 header     edgeferry-id: 0000000000000000-default-1\n\
         \x20 header     edgeferry-gateway: gw-7\n\
         \x20 header     edgeferry-arrival: 2026-11-20T11:00:00.000Z\n\
         \x20 header     mqtt-topic: devices/sensor-1/telemetry\n\
         \x20 value      4 bytes\n\
         21.5\n\
         \x20 size       148 bytes before compression\n"
    );
    assert_eq!(code, Some(0));
}

#[test]
fn the_exact_record_is_there_for_programs() {
    let bench = Bench::one_broker(TELEMETRY);
    let (code, answer) = bench.json(&[
        "--topic",
        "devices/sensor-1/telemetry",
        "--payload",
        "21.5",
        "--partitions",
        "4,5,8,15",
        "--property",
        "traceparent=00-1",
        "--content-type",
        "text/plain",
        "--response-topic",
        "answers",
        "--correlation-data",
        "c",
        "--retained",
    ]);
    let record = &answer["lanes"][0]["records"][0];
    assert_eq!(record["partition"], json!({ "4": 1, "5": 1, "8": 5, "15": 1 }));
    let header = |name: &str| {
        let headers = record["headers"].as_array().expect("headers");
        let found = headers.iter().find(|header| header["name"] == name);
        found
            .and_then(|header| header["text"].as_str())
            .map(str::to_owned)
    };
    for (name, value) in [
        ("traceparent", "00-1"),
        ("mqtt-content-type", "text/plain"),
        ("mqtt-response-topic", "answers"),
        ("mqtt-correlation-data", "c"),
        ("edgeferry-retained", "true"),
    ] {
        assert_eq!(header(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(
        (&record["key"], &record["value"]),
        (&json!("sensor-1"), &json!({ "text": "21.5" }))
    );
    assert_eq!(record["timestamp_ms"], json!(1_795_172_400_000_i64));
    assert_eq!(code, Some(0));
}

#[test]
fn a_route_that_does_not_want_the_message_says_why() {
    let routes = "[[route]]\nfrom = \"a/{device}\"\ntopic = \"one\"\n[route.match]\ndevice = \"[0-9]+\"\n\
                  [[route]]\nfrom = \"a/{device}\"\ntopic = \"two\"\nwhen = [{ value = \"json:/c\", between = [1, 2] }]\n\
                  [[route]]\nfrom = \"a/{device}\"\ntopic = \"three\"\nretained = \"skip\"\n\
                  [[route]]\nfrom = \"b/{device}\"\ntopic = \"four\"\n\
                  [[route]]\nfrom = \"a/{device}\"\ntopic = \"five\"\nmax_payload = 1\n";
    let bench = Bench::one_broker(routes);
    let (code, answer) = bench.json(&["--topic", "a/x", "--payload", r#"{"c":3}"#, "--retained"]);
    let said: Vec<(&str, &str)> = answer["routes"]
        .as_array()
        .expect("routes")
        .iter()
        .map(|route| {
            (
                route["verdict"].as_str().expect("text"),
                route["why"].as_str().unwrap_or(""),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            ("mismatch", "device = \"x\" does not match \"[0-9]+\""),
            ("filtered", "when[0] does not hold: json:/c"),
            ("filtered", "retained = \"skip\""),
            ("other-topic", "`from` does not match the topic"),
            (
                "refused",
                "route 4: the payload of 7 bytes is over max_payload = 1"
            ),
        ]
    );
    assert_eq!(
        answer["lanes"][0]["dead_letter"][0]["reason"],
        json!("over-max-payload")
    );
    assert_eq!(code, Some(2));
}

#[test]
fn what_becomes_no_record_has_an_exit_code_of_its_own() {
    let filter = "when = [{ value = \"device\", equals = \"y\" }]\n";
    let bench = Bench::one_broker(&format!(
        "[[route]]\nfrom = \"a/{{device}}\"\ntopic = \"t\"\n{filter}"
    ));
    let (code, text) = bench.text(&["--topic", "a/x", "--payload", ""]);
    assert!(
        text.ends_with("\nfiltered in lane default: counted, and gone\n"),
        "{text}"
    );
    assert_eq!(code, Some(2));
    let (code, text) = bench.text(&["--topic", "b", "--payload", ""]);
    assert!(
        text.ends_with("\nno route matches the topic: it is not subscribed to, and does not arrive\n"),
        "{text}"
    );
    assert_eq!(code, Some(2));
    let (code, text) = Bench::one_broker(TELEMETRY).text(&["--topic", "devices//telemetry", "--payload", ""]);
    assert!(
        text.ends_with("\ndead letter in lane default (empty-key): route 0: the key is empty\n"),
        "{text}"
    );
    assert_eq!(code, Some(2));
}

#[test]
fn each_lane_that_gets_the_message_answers_for_itself() {
    let routes = "[[lane]]\nname = \"alarms\"\n[[route]]\nfrom = \"a/{device}/{kind}\"\ntopic = \"all\"\n\
                  [[route]]\nlane = \"alarms\"\nfrom = \"a/{device}/alarm\"\ntopic = \"alarms\"\n";
    let bench = Bench::one_broker(routes);
    let lanes = |topic: &str| {
        let (_, answer) = bench.json(&["--topic", topic, "--payload", "x"]);
        let lanes = answer["lanes"].as_array().expect("lanes").clone();
        let records = lanes.iter().map(|lane| {
            let records = lane["records"].as_array().expect("records");
            let topics: Vec<_> = records.iter().map(|record| record["topic"].clone()).collect();
            (lane["lane"].clone(), topics)
        });
        let mut all: Vec<_> = records.collect();
        all.sort_by_key(|(lane, _)| lane.to_string());
        all
    };
    let alarms = (json!("alarms"), vec![json!("alarms")]);
    let default = (json!("default"), vec![json!("all")]);
    assert_eq!(lanes("a/1/alarm"), [alarms, default.clone()]);
    assert_eq!(lanes("a/1/state"), [default]);
}

#[test]
fn a_payload_comes_from_a_file_or_standard_input_byte_for_byte() {
    let bench = Bench::one_broker(TELEMETRY);
    let file = bench.dir.path().join("payload");
    std::fs::write(&file, b"\0\xff").expect("writes");
    let (_, text) = bench.text(&[
        "--topic",
        "devices/d/telemetry",
        "--payload-file",
        file.to_str().expect("text"),
    ]);
    assert!(text.contains("\n  value      2 bytes, in hex\n00ff\n"), "{text}");
    let mut child = command(
        &bench.file(),
        &["--topic", "devices/d/telemetry", "--payload-file", "-", "--json"],
    )
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .spawn()
    .expect("starts");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(b"\0\xff")
        .expect("takes");
    let output = child.wait_with_output().expect("ends");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        answer["lanes"][0]["records"][0]["value"],
        json!({ "base64": "AP8=" })
    );
}

#[test]
fn a_payload_over_max_packet_size_is_the_dead_letter_that_it_would_be() {
    let bench = Bench::new(&format!("{ONE_BROKER}max_packet_size = 1024\n{TELEMETRY}"));
    let (code, answer) = bench.json(&["--topic", "devices/d/telemetry", "--payload", &"x".repeat(1025)]);
    let reason = &answer["lanes"][0]["dead_letter"][0];
    assert_eq!(
        reason["text"],
        json!("the payload of 1025 bytes is over max_packet_size")
    );
    assert_eq!(
        (code, &answer["routes"][0]["verdict"]),
        (Some(2), &json!("refused"))
    );
}

#[test]
fn a_payload_that_is_cut_is_not_blamed_on_a_route() {
    let route =
        "[[route]]\nfrom = \"a/{rest...}\"\ntopic = \"t\"\ndevice = \"{json:/id}\"\nmax_payload = 100\n";
    let other = "[[route]]\nfrom = \"b/{device}\"\ntopic = \"t\"\n";
    let bench = Bench::new(&format!("{ONE_BROKER}max_packet_size = 1024\n{route}{other}"));
    let payload = format!("{{\"id\":\"{}\"}}", "x".repeat(1100));
    let (_, answer) = bench.json(&["--topic", "a/b", "--payload", &payload]);
    assert_eq!(
        answer["routes"][0]["why"],
        json!("the payload is over max_packet_size")
    );
    assert_eq!(answer["routes"][1]["verdict"], json!("other-topic"));
}

#[test]
fn a_record_that_the_kafka_client_would_not_take_is_no_record() {
    let payload = "x".repeat(1_048_000);
    let limit = |value: &str| {
        let bench = Bench::one_broker(TELEMETRY);
        let text = std::fs::read_to_string(bench.file()).expect("reads");
        let kafka = format!("{HEAD}[kafka.properties]\nmessage.max.bytes = {value}\n");
        std::fs::write(bench.file(), text.replace(HEAD, &kafka)).expect("writes");
        std::fs::write(bench.dir.path().join("payload"), &payload).expect("writes");
        bench
    };
    let bench = limit("1_000_000");
    let file = bench.dir.path().join("payload");
    let message = [
        "--topic",
        "devices/d/telemetry",
        "--payload-file",
        file.to_str().expect("text"),
    ];
    let (code, answer) = bench.json(&message);
    let why = answer["lanes"][0]["records"][0]["too_large"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        why.starts_with("a record of 1048") && why.contains("takes 1000000 (message.max.bytes"),
        "{why}"
    );
    assert_eq!(code, Some(2));
    let (_, text) = bench.text(&message);
    assert!(
        text.ends_with(&format!("\ndead letter when it is sent (rejected): {why}\n")),
        "{why}"
    );
    let bench = limit("2_000_000");
    let file = bench.dir.path().join("payload");
    let (code, answer) = bench.json(&[
        "--topic",
        "devices/d/telemetry",
        "--payload-file",
        file.to_str().expect("text"),
    ]);
    assert_eq!(
        (code, &answer["lanes"][0]["records"][0]["too_large"]),
        (Some(0), &Value::Null)
    );
}

#[test]
fn the_partition_is_that_of_the_configured_hash() {
    let bench = Bench::one_broker(TELEMETRY);
    let text = std::fs::read_to_string(bench.file()).expect("reads");
    std::fs::write(
        bench.file(),
        text.replace(HEAD, &format!("{HEAD}partitioner = \"crc32\"\n")),
    )
    .expect("writes");
    let (_, answer) = bench.json(&[
        "--topic",
        "devices/sensor-1/telemetry",
        "--payload",
        "x",
        "--partitions",
        "4,5,8,15",
    ]);
    assert_eq!(
        answer["lanes"][0]["records"][0]["partition"],
        json!({ "4": 3, "5": 0, "8": 3, "15": 10 })
    );
}

#[test]
fn brokers_are_chosen_by_name() {
    let brokers = "[[mqtt]]\nname = \"new\"\nurl = \"mqtt://127.0.0.1:9\"\n[[mqtt]]\nname = \"old\"\nurl = \"mqtt://127.0.0.1:10\"\n\
                   version = \"3.1.1\"\n";
    let bench = Bench::new(&format!("{brokers}{TELEMETRY}broker = \"old\"\n"));
    let message = ["--topic", "devices/d/telemetry", "--payload", "x"];
    let (code, answer) = bench.json(&message);
    assert_eq!(answer["routes"][0]["verdict"], json!("other-broker"));
    assert_eq!(code, Some(2));
    assert_eq!(
        bench.json(&[&message[..], &["--broker", "old"]].concat()).0,
        Some(0)
    );
    assert_eq!(
        bench.refused(&[&message[..], &["--broker", "other"]].concat()),
        "there is no broker \"other\"; name one of the [[mqtt]] tables: new, old"
    );
    assert_eq!(
        bench.refused(&[&message[..], &["--broker", "old", "--property", "a=b"]].concat()),
        "broker \"old\" speaks MQTT 3.1.1, which has no properties; leave them out, or configure version = \"5\""
    );
}

#[test]
fn what_mqtt_cannot_publish_to_is_refused() {
    let bench = Bench::one_broker(TELEMETRY);
    let refused = |topic: &str| bench.refused(&["--topic", topic, "--payload", ""]);
    assert_eq!(
        refused(""),
        "\"\" is no topic that MQTT can publish to: it is empty"
    );
    assert_eq!(
        refused("a/+"),
        "\"a/+\" is no topic that MQTT can publish to: wildcards are for subscriptions"
    );
    assert!(refused(&"x".repeat(65_536)).ends_with("it is longer than 65,535 bytes"));
    assert!(bench.refused(&["--topic", "a"]).contains("--payload"));
    assert!(
        bench
            .refused(&["--topic", "a", "--payload", "", "--property", "a"])
            .contains("name=value")
    );
    let missing = bench.refused(&["--topic", "a", "--payload-file", "/nonexistent/payload"]);
    assert!(
        missing.starts_with("cannot read the payload from /nonexistent/payload: "),
        "{missing}"
    );
}

/// Topic, key and text that is hashed of the record that the example makes, or what else becomes of the message.
fn in_example(name: &str, topic: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config/examples")
        .join(name);
    let mut command = command(&file, &["--topic", topic, "--payload", "x", "--json"]);
    let answer: Value = serde_json::from_slice(&command.output().expect("runs").stdout).expect("JSON");
    if answer.pointer("/lanes/0/filtered") == Some(&json!(true)) {
        return "filtered".to_owned();
    }
    let records = answer.pointer("/lanes/0/records").and_then(Value::as_array);
    let records = records.into_iter().flatten().map(|record| {
        let fields = ["/topic", "/key", "/hashed"].map(|field| record.pointer(field).and_then(Value::as_str));
        fields.map(Option::unwrap_or_default).join(" ")
    });
    records.collect::<Vec<_>>().join("; ")
}

#[test]
fn sparkplug_is_keyed_by_group_node_and_device_and_its_commands_stay_here() {
    for (topic, becomes) in [
        ("spBv1.0/g/DBIRTH/n/d", "sparkplug g/n/d g/n"),
        ("spBv1.0/g/DDATA/n/d", "sparkplug g/n/d g/n"),
        ("spBv1.0/g/DDEATH/n/d", "sparkplug g/n/d g/n"),
        ("spBv1.0/g/NBIRTH/n", "sparkplug g/n g/n"),
        ("spBv1.0/g/NDATA/n", "sparkplug g/n g/n"),
        ("spBv1.0/g/NDEATH/n", "sparkplug g/n g/n"),
        ("spBv1.0/STATE/host", "sparkplug-hosts host host"),
        ("spBv1.0/g/NCMD/n", "filtered"),
        ("spBv1.0/g/DCMD/n/d", "filtered"),
        ("spBv1.0/g/DDATA/n", "filtered"),
        ("spBv1.0/g/DDATA/n/d/e", ""),
    ] {
        assert_eq!(in_example("sparkplug.toml", topic), becomes, "{topic}");
    }
}

#[test]
fn a_file_for_a_fleet_can_be_tried_on_a_machine_without_a_serial_number() {
    let bench = Bench::one_broker(TELEMETRY);
    let text = std::fs::read_to_string(bench.file()).expect("reads");
    std::fs::write(bench.file(), text.replace("gw-7", "pi-{serial}")).expect("writes");
    let (code, answer) = bench.json(&["--topic", "devices/d/telemetry", "--payload", "x"]);
    let gateway = answer["lanes"][0]["records"][0]["headers"][1]["text"]
        .as_str()
        .unwrap_or_default();
    assert!(gateway.starts_with("pi-"), "{answer}");
    assert_eq!(code, Some(0));
}

/// The fenced blocks of one language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let behind = text.split(fence.as_str()).skip(1);
    behind.filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn what_the_document_shows_is_what_comes_out() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/routes.md");
    let text = std::fs::read_to_string(document).expect("readable");
    let dir = tempfile::tempdir().expect("temp dir");
    let configurations = blocks(&text, "toml");
    assert_eq!(configurations.len(), 1);
    std::fs::write(dir.path().join("routes.toml"), configurations[0]).expect("writes");
    let folder = Path::new(env!("CARGO_BIN_EXE_edgeferry"))
        .parent()
        .expect("has one");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").expect("is set"));
    let consoles = blocks(&text, "console");
    let shown = consoles.iter().flat_map(|block| block.split("$ ").skip(1));
    let mut count = 0;
    for shown in shown {
        let (line, expected) = shown.split_once('\n').expect("has output");
        let output = Command::new("sh")
            .args(["-c", line])
            .current_dir(dir.path())
            .env("PATH", &path)
            .output()
            .expect("runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected,
            "{line}\n{errors}"
        );
        assert_eq!(errors, "", "{line}");
        count += 1;
    }
    assert_eq!(count, 5);
}

#[test]
fn a_file_with_mistakes_is_told_all_of_them() {
    let bench = Bench::one_broker("[[route]]\nfrom = \"a/{b\"\ntopic = \"t\"\n");
    let problems = bench.refused(&["--topic", "a", "--payload", ""]);
    assert!(problems.contains("route[0].from"), "{problems}");
}
