//! The configuration file as its users meet it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use edgeferry::config::{self, Config, LoadError};
use edgeferry::message::Qos;
use edgeferry::sink::{OnPartitionChange, Partitioner, Preset, Sasl, Tls};
use edgeferry::source::Version;
use proptest::prelude::*;

// Parts of a file without mistakes; tests put lines of their own between them.
const ROUTE: &str = "[[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"telemetry\"\n";
const REST: &str = "[gateway]\ndata_dir = \"/tmp/edgeferry\"\n[[mqtt]]\nurl = \"mqtt://localhost\"\n";
const KAFKA: &str = "[kafka]\nbootstrap_servers = [\"localhost:9092\"]\n";

/// All problems of a text that must not load.
fn refused(text: &str) -> String {
    match config::parse(Path::new("config.toml"), text) {
        Err(LoadError::Invalid(problems)) => {
            assert!(!problems.is_empty(), "refused without a reason");
            problems.iter().fold(String::new(), |mut lines, problem| {
                writeln!(lines, "{problem}").unwrap();
                lines
            })
        }
        other => panic!("expected problems, got {other:?}"),
    }
}

/// The configuration and all warnings of a text that must load.
fn accepted(text: &str) -> (Config, String) {
    match config::parse(Path::new("config.toml"), text) {
        Ok((config, warnings)) => {
            let lines: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            (config, lines.join("\n"))
        }
        Err(error) => panic!("expected no problems, got\n{error}"),
    }
}

/// The one problem of a file that is right except for these lines.
fn check(mqtt: &str, kafka: &str, route: &str) -> String {
    let text = refused(&format!("{REST}{mqtt}{KAFKA}{kafka}{ROUTE}{route}"));
    assert_eq!(text.lines().count(), 1, "{text}");
    let (_, problem) = text.trim_end().split_once(": ").unwrap();
    problem.to_owned()
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgeferry"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn shipped_files_load_without_a_warning() {
    let examples = std::fs::read_dir(shipped("examples")).unwrap();
    let mut files: Vec<PathBuf> = examples.map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 19, "{files:?}");
    files.push(shipped("edgeferry.toml"));
    for file in files {
        let (_, warnings) = config::load(&file).unwrap();
        assert!(warnings.is_empty(), "{}: {warnings:?}", file.display());
    }
}

#[test]
fn the_user_of_wasps_broker_needs_the_right_to_read_things_messages_and_no_other() {
    let (config, _) = config::load(&shipped("examples/wasp.toml")).unwrap();
    let filters = |broker: &str| -> Vec<String> {
        let routes = config.routes.iter().filter(|route| route.takes(broker));
        routes.map(|route| route.from.filter()).collect()
    };
    assert_eq!(
        config.brokers[0].username.as_deref(),
        Some("internal_ingest_mqtt")
    );
    assert_eq!(filters(&config.brokers[0].name), ["things/+/messages"]);
    assert_eq!(filters("nordic"), ["prod/#"]);
    assert_eq!(filters("ttn"), ["+/devices/+/up"]);
}

#[test]
fn every_setting_that_the_shipped_file_lists_is_known() {
    let text = std::fs::read_to_string(shipped("edgeferry.toml")).unwrap();
    let (quiet, _) = accepted(&text);
    let uncommented: String = text.lines().flat_map(|line| [uncomment(line), "\n"]).collect();
    assert_ne!(text, uncommented);
    // Files for TLS are an error without it.
    let plain = "url = \"mqtt://127.0.0.1:1883\"";
    assert!(uncommented.contains(plain));
    let uncommented = uncommented.replace(plain, "url = \"mqtts://127.0.0.1:8883\"");
    let (loud, warnings) = accepted(&uncommented);
    // The example of a group warns of what groups cost, and nothing else does.
    assert!(
        warnings.contains("mqtt[0].shared_group: a device's messages"),
        "{warnings}"
    );
    assert_eq!(warnings.lines().count(), 1, "{warnings}");
    assert_eq!(loud.kafka.properties.len(), 2);

    // What the file calls a default is one; what it calls an example is none.
    let mut lane = loud.lanes[0].clone();
    (lane.queue.flash_budget, lane.queue.key_file) = (None, None);
    lane.queue.max_age = None;
    lane.max_rate = None;
    assert_eq!(quiet.lanes, [lane]);
    let mut dead_letter = loud.dead_letter.clone();
    dead_letter.topic = None;
    assert_eq!(quiet.dead_letter, dead_letter);
    let mut status = loud.status.clone();
    (status.kafka_topic, status.mqtt_topic) = (None, None);
    assert_eq!(quiet.status, status);
    let mut broker = loud.brokers[0].clone();
    (broker.client_id, broker.username, broker.password_file) = (None, None, None);
    let tls = broker.tls.take().unwrap();
    assert!(tls.ca_file.is_some() && tls.client.is_some());
    broker.endpoint = quiet.brokers[0].endpoint.clone();
    broker.status_topic = None;
    broker.shared_group = None;
    assert_eq!(quiet.brokers[0], broker);
    let mut route = loud.routes[0].clone();
    route.broker = None;
    (route.device, route.partition_by, route.max_payload) = (None, None, None);
    assert_eq!(
        (route.when.len(), route.matches.len(), route.add_headers.len()),
        (2, 1, 1)
    );
    (route.when, route.matches, route.add_headers) = (Vec::new(), Vec::new(), Vec::new());
    assert_eq!(quiet.routes[0], route);
}

/// `# key = value` and `# [route.table]` without their `# `; other lines as they are.
fn uncomment(line: &str) -> &str {
    let setting = line.strip_prefix("# ").filter(|rest| {
        let key = rest.split_once(" = ").map_or("", |(key, _)| key);
        rest.starts_with("[route.") || (!key.is_empty() && !key.contains(' '))
    });
    setting.unwrap_or(line)
}

#[test]
fn defaults_are_as_documented() {
    let (config, warnings) = accepted(&format!("{REST}{KAFKA}{ROUTE}"));
    assert_eq!(warnings, "");
    let broker = &config.brokers[0];
    assert_eq!(
        (broker.name.as_str(), broker.endpoint.to_string()),
        ("default", "mqtt://localhost:1883".to_owned())
    );
    assert_eq!(broker.version, Version::V5);
    assert_eq!(broker.session_expiry.as_secs(), 30 * 86_400);
    assert_eq!((broker.receive_maximum, broker.max_packet_size), (1000, 1 << 20));
    assert_eq!(broker.keep_alive.as_secs(), 30);
    assert_eq!(config.lanes[0].queue.max_bytes, 1 << 30);
    assert_eq!(config.lanes[0].queue.commit_interval.as_millis(), 10);
    assert_eq!(config.dead_letter.max_bytes, 64 << 20);
    assert_eq!(config.kafka.compression, "lz4");
    assert_eq!(config.kafka.unknown_topic_after.as_secs(), 600);
    assert_eq!(config.kafka.on_partition_change, OnPartitionChange::Warn);
    assert_eq!(
        (config.routes[0].qos, config.routes[0].key.to_string().as_str()),
        (Qos::AtLeastOnce, "{device}")
    );
}

#[test]
fn what_is_set_about_topics_is_checked() {
    let problem = check("", "unknown_topic_after = \"0s\"\n", "");
    assert!(
        problem.contains("kafka.unknown_topic_after") && problem.contains("1s"),
        "{problem}"
    );
    let problem = check("", "on_partition_change = \"wait\"\n", "");
    assert!(
        problem.contains("on_partition_change") && problem.contains("\"drain\""),
        "{problem}"
    );
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = r#"[gateway]
id = "raspberrypi"

[[mqtt]]
url = "mqtts://broker/path"
keep_alive = "10 parsecs"
receive_maximum = 0
password = "secret"

[queue]
max_byts = "1 GiB"
on_full = "drop"
commit_interval = 10

[kafka]
bootstrap_servers = ["kafka", "b:9092"]
[kafka.properties]
acks = 1
"linger.millis" = 5

[[route]]
from = "devices/dev-{device}/telemetry"
topic = "tele metry"

[[route]]
from = "plant/{line}/state"
topic = "state"
broker = "other"
"#;
    let expected = r#"config.toml:1: gateway.data_dir: is missing; write an absolute path, for example "/var/lib/edgeferry"
config.toml:2: gateway.id: "raspberrypi" does not tell gateways apart; write a name that no other gateway has, for example "pi-{serial}"
config.toml:5: mqtt[0].url: "mqtts://broker/path" has a path, which only a WebSocket has; write for example "mqtts://broker.example.com:8883"
config.toml:6: mqtt[0].keep_alive: "10 parsecs" is not a duration; write for example "30s"
config.toml:7: mqtt[0].receive_maximum: 0 is out of bounds; write 1 to 65535
config.toml:8: mqtt[0].password: is not a known setting; secrets come from files: write password_file
config.toml:11: queue.max_byts: is not a known setting; did you mean max_bytes?
config.toml:12: queue.on_full: "drop" is not known; write "backpressure" or "drop-oldest" or "drop-newest" or "keep-latest"
config.toml:13: queue.commit_interval: invalid type: integer `10`; expected a duration with its unit, such as "30s"
config.toml:16: kafka.bootstrap_servers[0]: "kafka" has no port; write host:port
config.toml:18: kafka.properties.acks: breaks the promise that a confirmed message is in Kafka: it is always acks=all; leave it out, edgeferry sets it
config.toml:19: kafka.properties.linger.millis: librdkafka says: No such configuration property: "linger.millis"; see CONFIGURATION.md of librdkafka 2.12 for names and values
config.toml:22: route[0].from: "devices/dev-{device}/telemetry" mixes a name with text in the level "dev-{device}": a name takes a whole level; write an MQTT pattern such as "devices/{device}/telemetry" or "plant/{device}/{rest...}"
config.toml:23: route[0].topic: "tele metry" is no topic name; Kafka allows 1 to 249 letters, digits, '.', '_' and '-', but not "." or ".."
config.toml:25: route[1].key: is missing, and "plant/{line}/state" has no {device} for its default; write a key with a name of `from`, name a level {device}, or write device = "{json:/id}" where the payload has it
config.toml:28: route[1].broker: there is no broker "other"; name one of the [[mqtt]] tables: default
"#;
    assert_eq!(refused(text), expected);
}

#[test]
fn an_empty_file_names_what_every_file_needs() {
    let expected = r#"config.toml:1: mqtt: is missing; write a table [[mqtt]] with the url of a broker
config.toml:1: route: is missing; write a table [[route]] with from = "devices/{device}/telemetry" and topic = "telemetry"
config.toml:1: gateway.data_dir: is missing; write an absolute path, for example "/var/lib/edgeferry"
config.toml:1: kafka.bootstrap_servers: is missing; write for example bootstrap_servers = ["127.0.0.1:9092"]
"#;
    assert_eq!(refused(""), expected);
}

#[test]
fn values_that_are_not_toml_do_not_hide_the_other_mistakes() {
    let text =
        format!("[gateway]\ndata_dir = /tmp\n[[mqtt]]\nurl = mqtt://localhost\nqos = 1\n{KAFKA}{ROUTE}");
    let expected = "\
config.toml:2: gateway.data_dir: string values must be quoted; expected literal string
config.toml:4: mqtt[0].url: string values must be quoted; expected literal string
config.toml:5: mqtt[0].qos: is not a known setting; known here: name, url, version, client_id, username, \
password_file, ca_file, cert_file, key_file, session_expiry, receive_maximum, max_packet_size, keep_alive, status_topic, watch_broker, shared_group
";
    assert_eq!(refused(&text), expected);
}

#[test]
fn a_broken_header_is_reported_alone() {
    let text = format!("[gateway\nunknown = 1\n{KAFKA}{ROUTE}");
    assert_eq!(refused(&text), "config.toml:1: unclosed table; expected `]`\n");
}

#[test]
fn a_second_value_does_not_hide_the_other_mistakes() {
    let text = format!("{REST}url = \"mqtt://other\"\n[queue]\non_full = \"panic\"\n[queue]\n{KAFKA}{ROUTE}");
    let expected = "\
config.toml:5: url: is there already; remove one of the two
config.toml:7: queue.on_full: \"panic\" is not known; write \"backpressure\" or \"drop-oldest\" or \"drop-newest\" or \"keep-latest\"
config.toml:8: queue: is there already; remove one of the two
";
    assert_eq!(refused(&text), expected);
}

#[test]
fn one_bracket_too_few_is_explained() {
    let text = format!("{REST}{KAFKA}{}", ROUTE.replace("[[route]]", "[route]"));
    let expected = "config.toml:7: route: is a single table; write the header with two brackets, there may be several of it\n";
    assert_eq!(refused(&text), expected);
}

#[test]
fn unknown_settings_name_the_nearest() {
    let problem = check("keepalive = \"30s\"\n", "", "");
    assert_eq!(
        problem,
        "mqtt[0].keepalive: is not a known setting; did you mean keep_alive?"
    );
    let text = refused(&format!("{REST}{KAFKA}{ROUTE}[deadletter]\n"));
    assert_eq!(
        text,
        "config.toml:10: deadletter: is not a known setting; did you mean dead_letter?\n"
    );
}

#[test]
fn properties_that_break_a_promise_are_refused_under_every_name() {
    let names = [
        "acks",
        "request.required.acks",
        "enable.idempotence",
        "enable.gapless.guarantee",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "retries",
        "message.send.max.retries",
        "transactional.id",
        "transaction.timeout.ms",
        "partitioner",
        "partitioner_cb",
        "queuing.strategy",
        "msg_order_cmp",
        "allow.auto.create.topics",
        "bootstrap.servers",
        "metadata.broker.list",
        "queue.buffering.max.messages",
        "queue.buffering.max.kbytes",
        "compression.codec",
        "compression.type",
        "delivery.report.only.error",
        "test.mock.num.brokers",
        "plugin.library.paths",
        "interceptors",
        "dr_cb",
        "dr_msg_cb",
        "default_topic_conf",
        "sasl.password",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.assertion.private.key.pem",
    ];
    for name in names {
        for written in [name.to_owned(), format!("{name:?}")] {
            let problem = check("", &format!("[kafka.properties]\n{written} = \"1\"\n"), "");
            assert!(
                problem.starts_with(&format!("kafka.properties.{name}: ")),
                "{problem}"
            );
            assert!(!problem.contains("librdkafka says"), "{problem}");
        }
    }
}

#[test]
fn librdkafka_has_a_say_in_the_other_properties() {
    let problem = check("", "[kafka.properties]\nsocket.timeout.ms = \"soon\"\n", "");
    assert!(
        problem.starts_with("kafka.properties.socket.timeout.ms: librdkafka says: "),
        "{problem}"
    );
    let problem = check(
        "",
        "[kafka.properties]\nsocket.timeout.ms = \"60000\\u0000\"\n",
        "",
    );
    assert!(
        problem.starts_with("kafka.properties.socket.timeout.ms: contains the character U+0000"),
        "{problem}"
    );
    let properties = "[kafka.properties]\nlinger.ms = 20\n\"socket.keepalive.enable\" = true\n";
    let (config, _) = accepted(&format!("{REST}{KAFKA}{properties}{ROUTE}"));
    let properties: Vec<_> = config.kafka.properties.iter().collect();
    assert_eq!(
        format!("{properties:?}"),
        r#"[("linger.ms", "20"), ("socket.keepalive.enable", "true")]"#
    );
}

#[test]
fn urls_are_checked() {
    let url = |url: &str| {
        let text = format!("[gateway]\ndata_dir = \"/d\"\n[[mqtt]]\nurl = {url:?}\n{KAFKA}{ROUTE}");
        refused(&text)
            .trim_end()
            .replace("config.toml:4: mqtt[0].url: ", "")
    };
    assert_eq!(
        url("mqtt://me:pw@broker"),
        "holds user information; use username and password_file"
    );
    assert_eq!(
        url("broker:1883"),
        "\"broker:1883\" has no scheme; write mqtt, mqtts, ws, wss or unix, for example \"mqtt://127.0.0.1:1883\""
    );
    assert_eq!(
        url("me:pw@broker"),
        "holds user information; use username and password_file"
    );
    for (bad, wrong) in [
        ("mqtts://b/mqtt", "has a path, which only a WebSocket has"),
        ("mqtt://b?x=1", "has a host with characters that no host name has"),
        ("ws://b/mqtt?token=1", "has a query or a fragment"),
        ("ws://b/mqtt#x", "has a query or a fragment"),
        (
            "wss://b/m q",
            "has a path with characters that have to be written as %XX",
        ),
        ("ws:///mqtt", "has no host"),
        ("mqtts://-b-", "has a host that no certificate can be for"),
        ("wss://b:65536", "has a port that is not a number from 1 to 65535"),
        ("unix://run/m.sock", "is not the absolute path of a socket"),
        ("unix:///run/", "is not the path of a socket"),
        ("unix://", "is not the absolute path of a socket"),
    ] {
        assert!(url(bad).contains(wrong), "{bad}: {}", url(bad));
    }
    let long = format!("unix:///{}", "s".repeat(107));
    assert!(url(&long).contains("is longer than the path of a socket can be, 107 bytes"));
    assert!(url("http://broker").starts_with("\"http\" is not a scheme of MQTT"));
    assert!(url("mqtt://broker:0").contains("a port that is not a number from 1 to 65535"));
    assert!(url("mqtt://").contains("has no host"));
}

#[test]
fn every_scheme_has_its_port_and_a_websocket_its_path() {
    for (url, complete) in [
        ("mqtt://b", "mqtt://b:1883"),
        ("mqtt://b/", "mqtt://b:1883"),
        ("mqtts://b", "mqtts://b:8883"),
        ("mqtts://[::1]:1", "mqtts://[::1]:1"),
        ("ws://b", "ws://b:80/mqtt"),
        ("ws://b/", "ws://b:80/"),
        ("wss://b", "wss://b:443/mqtt"),
        ("wss://b:8443/a/b%20c@d", "wss://b:8443/a/b%20c@d"),
        ("unix:///run/m@s.sock", "unix:///run/m@s.sock"),
        (
            &format!("unix:///{}", "s".repeat(106)),
            &format!("unix:///{}", "s".repeat(106)),
        ),
    ] {
        let text = format!("[gateway]\ndata_dir = \"/d\"\n[[mqtt]]\nurl = {url:?}\n{KAFKA}{ROUTE}");
        let (config, warnings) = accepted(&text);
        assert_eq!(config.brokers[0].endpoint.to_string(), complete);
        assert_eq!(warnings, "");
    }
}

#[test]
fn files_for_tls_need_tls_and_each_other() {
    let problem = |url: &str, lines: &str| {
        refused(&format!(
            "[gateway]\ndata_dir = \"/d\"\n[[mqtt]]\nurl = {url:?}\n{lines}{KAFKA}{ROUTE}"
        ))
    };
    for key in ["ca_file", "cert_file", "key_file"] {
        for url in ["mqtt://b", "ws://b", "unix:///s"] {
            let said = problem(url, &format!("{key} = \"/f\"\n"));
            assert!(
                said.contains(&format!(
                    "mqtt[0].{key}: is only of use with TLS; write url = \"mqtts://"
                )),
                "{said}"
            );
        }
    }
    let said = problem("mqtts://b", "cert_file = \"/c\"\n");
    assert!(
        said.contains("mqtt[0].key_file: is missing; cert_file needs the key"),
        "{said}"
    );
    let said = problem("mqtts://b", "key_file = \"/k\"\n");
    assert!(
        said.contains("mqtt[0].cert_file: is missing; key_file needs the certificate"),
        "{said}"
    );
    let said = problem("wss://b", "ca_file = \"\"\n");
    assert!(said.contains("mqtt[0].ca_file: is empty"), "{said}");
}

#[test]
fn a_password_in_the_clear_is_warned_about_unless_it_stays_on_this_machine() {
    let warned = |url: &str| {
        let text = format!(
            "[gateway]\ndata_dir = \"/d\"\n[[mqtt]]\nurl = {url:?}\nusername = \"me\"\npassword_file = \"/p\"\n{KAFKA}{ROUTE}"
        );
        accepted(&text).1
    };
    for url in ["mqtt://10.0.0.1", "ws://broker/mqtt", "mqtt://127.example.com"] {
        assert!(
            warned(url).contains("mqtt[0].url: the password goes over the network as it is"),
            "{url}"
        );
    }
    for url in [
        "mqtt://127.0.0.1",
        "mqtt://localhost",
        "ws://[::1]",
        "mqtts://broker",
        "wss://broker",
        "unix:///s",
    ] {
        assert_eq!(warned(url), "", "{url}");
    }
}

#[test]
fn a_status_topic_must_not_come_back_as_a_message() {
    let text = |gateway: &str, broker: &str, rest: &str| {
        format!(
            "[gateway]\n{gateway}data_dir = \"/d\"\n[[mqtt]]\nurl = \"mqtt://b\"\n{broker}{KAFKA}{ROUTE}{rest}"
        )
    };
    let status = |topic: &str| format!("status_topic = {topic:?}\n");
    let loops = "is a topic that route[0] takes";
    let id = "id = \"gw-7\"\n";
    // The route is devices/{device}/telemetry.
    assert!(refused(&text(id, &status("devices/{gateway}/telemetry"), "")).contains(loops));
    assert!(refused(&text("", &status("devices/x-{gateway}/telemetry"), "")).contains(loops));
    assert!(refused(&text(id, &status("{gateway}/+/x"), "")).contains("has a wildcard"));
    accepted(&text(id, &status("devices/{gateway}/status"), ""));
    let (config, _) = accepted(&text(id, &status("edgeferry/{gateway}/status"), ""));
    assert_eq!(
        config.brokers[0].status_topic.as_deref(),
        Some("edgeferry/{gateway}/status")
    );
    // What the id becomes decides, where it is known.
    let own = "[[route]]\nfrom = \"gw-7/{device}\"\ntopic = \"t\"\n";
    assert!(refused(&text(id, &status("{gateway}/status"), own)).contains("is a topic that route[1] takes"));
    accepted(&text("id = \"gw-8\"\n", &status("{gateway}/status"), own));
    assert!(
        refused(&text("id = \"{serial}\"\n", &status("{gateway}/status"), own)).contains("route[1] takes")
    );
    let lane = "[[lane]]\nname = \"status\"\n";
    let said = refused(&text(id, &status("s"), lane));
    assert!(
        said.contains("its client id would be that of lane \"status\"; give the lane another name"),
        "{said}"
    );
    // Another table for the same broker takes it too.
    let twice = "name = \"a\"\nstatus_topic = \"s/{gateway}\"\n[[mqtt]]\nname = \"b\"\nurl = \"mqtt://b\"\nclient_id = \"b\"\n";
    let route = "[[route]]\nbroker = \"b\"\nfrom = \"s/{device}\"\ntopic = \"t\"\n";
    assert!(
        refused(&text(id, twice, route)).contains("mqtt[0].status_topic: is a topic that route[1] takes")
    );
}

#[test]
fn the_topics_of_the_state_are_nobody_elses() {
    let text = |status: &str, rest: &str| {
        format!(
            "[gateway]\nid = \"gw-7\"\ndata_dir = \"/d\"\n[[mqtt]]\nurl = \"mqtt://b\"\nstatus_topic = \"word/{{gateway}}\"\n\
             {KAFKA}{ROUTE}{rest}[status]\n{status}\n"
        )
    };
    let (config, warnings) = accepted(&text(
        "kafka_topic = \"s\"\nmqtt_topic = \"state/{gateway}\"\ninterval = \"1s\"",
        "",
    ));
    assert_eq!(warnings, "");
    assert_eq!(config.status.interval, std::time::Duration::from_secs(1));
    // The route is devices/{device}/telemetry, to telemetry.
    let templated = "[[route]]\nfrom = \"x/{device}\"\ntopic = \"of-{device}\"\n";
    let letters = "[dead_letter]\ntopic = \"letters\"\n";
    let lane = "[[lane]]\nname = \"state\"\n";
    for (status, rest, wrong) in [
        (
            "kafka_topic = \"telemetry\"",
            "",
            "status.kafka_topic: \"telemetry\" is the topic of route[0]",
        ),
        (
            "kafka_topic = \"of-x\"",
            templated,
            "status.kafka_topic: \"of-x\" may be the topic of route[1]",
        ),
        (
            "kafka_topic = \"letters\"",
            letters,
            "is the topic of the dead letters",
        ),
        ("kafka_topic = \"a b\"", "", "is no name of a Kafka topic"),
        ("kafka_topic = \"s-{gateway}\"", "", "is no name of a Kafka topic"),
        (
            "mqtt_topic = \"devices/{gateway}/telemetry\"",
            "",
            "the gateway would forward its own state",
        ),
        (
            "mqtt_topic = \"word/gw-7\"",
            "",
            "is the status_topic of broker \"default\"",
        ),
        (
            "mqtt_topic = \"a/#\"",
            "",
            "status.mqtt_topic: \"a/#\" has a wildcard",
        ),
        (
            "mqtt_topic = \"a\"",
            lane,
            "its client id would be that of lane \"state\"",
        ),
        ("kafka_topic = \"s\"\ninterval = \"999ms\"", "", "status.interval"),
    ] {
        let said = refused(&text(status, rest));
        assert!(said.contains(wrong), "{status}: {said}");
    }
    let (_, warnings) = accepted(&text("interval = \"5s\"", ""));
    assert!(
        warnings.contains("status.interval: has no effect without a topic"),
        "{warnings}"
    );
}

#[test]
fn bounds_and_their_neighbours() {
    for good in [
        "keep_alive = \"5s\"",
        "keep_alive = \"18h\"",
        "receive_maximum = 65535",
        "max_packet_size = 1024",
    ] {
        accepted(&format!("{REST}{good}\n{KAFKA}{ROUTE}"));
    }
    for (bad, problem) in [
        (
            "keep_alive = \"4s\"",
            "mqtt[0].keep_alive: 4s is out of bounds; write 5s to 18h",
        ),
        (
            "keep_alive = \"64801s\"",
            "mqtt[0].keep_alive: 18h 1s is out of bounds; write 5s to 18h",
        ),
        (
            "receive_maximum = 65536",
            "mqtt[0].receive_maximum: 65536 is out of bounds; write 1 to 65535",
        ),
        (
            "max_packet_size = 1023",
            "mqtt[0].max_packet_size: 1023 B is out of bounds; write 1.0 KiB to 16.0 MiB",
        ),
        (
            "max_packet_size = 16777217",
            "mqtt[0].max_packet_size: 16777217 bytes is out of bounds; write 1.0 KiB to 16.0 MiB",
        ),
    ] {
        assert_eq!(check(&format!("{bad}\n"), "", ""), problem);
    }
    let less = check("[queue]\nmax_bytes = 16777215\n", "", "");
    assert_eq!(
        less,
        "queue.max_bytes: 16777215 bytes is too little; write 16.0 MiB or more"
    );
    let less = check("[dead_letter]\nmax_bytes = \"1 MB\"\n", "", "");
    assert_eq!(
        less,
        "dead_letter.max_bytes: 1000000 bytes is too little; write 1.0 MiB or more"
    );
    assert!(check("[queue]\ncommit_interval = \"11s\"\n", "", "").contains("write 0s to 10s"));
}

#[test]
fn a_format_that_is_not_known_is_refused_with_those_that_are() {
    assert_eq!(
        check("", "", "format = \"xml\"\n"),
        "route[0].format: \"xml\" is not known; write \"raw\" or \"cloudevents\" or \"wasp\" or \"ngsiv2\""
    );
}

#[test]
fn exactly_once_needs_a_place_for_the_cursor_of_each_lane() {
    assert_eq!(
        check("", "delivery = \"exactly-once\"\ncursor_topic = \"a b\"\n", ""),
        "kafka.cursor_topic: \"a b\" is no topic name; Kafka allows 1 to 249 letters, digits, '.', '_' and '-', but not \".\" or \"..\""
    );
    let alarms = "[[lane]]\nname = \"alarms\"\n[[route]]\nfrom = \"a/{device}\"\ntopic = \"{device}\"\nlane = \"alarms\"\n";
    assert_eq!(
        check("", "delivery = \"exactly-once\"\n", alarms),
        "kafka.cursor_topic: is missing: lane \"alarms\" has no route with a fixed topic to keep its cursor on; write the \
         name of a topic that is always there, for example cursor_topic = \"edgeferry-cursors\""
    );
}

#[test]
fn lanes_are_checked() {
    let alarms = "[[lane]]\nname = \"alarms\"\n";
    let in_alarms = "[[route]]\nfrom = \"a/{device}\"\ntopic = \"a\"\nlane = \"alarms\"\n";
    assert_eq!(
        check("", "", "[[lane]]\nmax_bytes = \"32MiB\"\n"),
        "lane[0].name: is missing; write for example name = \"alarms\""
    );
    for bad in ["", "Alarms", "a-b", "a b", "../a", &"a".repeat(33)] {
        let problem = check("", "", &format!("[[lane]]\nname = {bad:?}\n"));
        let right = "is not a name; use a to z, 0 to 9 and _, 32 characters at most";
        assert_eq!(problem, format!("lane[0].name: {bad:?} {right}"));
    }
    let longest = "a".repeat(32);
    accepted(&format!(
        "{REST}{KAFKA}{ROUTE}lane = \"{longest}\"\n[[lane]]\nname = \"{longest}\"\n"
    ));
    assert_eq!(
        check("", "", &format!("{alarms}{alarms}{in_alarms}")),
        "lane[1].name: \"alarms\" is there already; give each lane a name of its own"
    );
    assert_eq!(
        check("", "", in_alarms),
        "route[1].lane: there is no lane \"alarms\"; write a table [[lane]] with this name, or one of: default"
    );
    assert_eq!(
        check("", "", &format!("{alarms}max_byts = 1\n{in_alarms}")),
        "lane[0].max_byts: is not a known setting; did you mean max_bytes?"
    );
    for (line, problem) in [
        ("weight = 0", "weight: 0 is out of bounds; write 1 to 100"),
        ("weight = 101", "weight: 101 is out of bounds; write 1 to 100"),
        (
            "max_rate = \"0 msg/s\"",
            "max_rate: 0 msg/s is too little; write 1 msg/s or more",
        ),
    ] {
        assert_eq!(
            check("", "", &format!("{alarms}{line}\n{in_alarms}")),
            format!("lane[0].{problem}")
        );
    }
    assert!(check("", "", &format!("{alarms}max_bytes = 1\n{in_alarms}")).starts_with("lane[0].max_bytes: "));
}

#[test]
fn limits_and_presets_of_the_link() {
    let (config, _) = accepted(&format!("{REST}{KAFKA}{ROUTE}"));
    assert_eq!(
        (config.kafka.preset, config.kafka.max_rate),
        (Preset::Balanced, None)
    );
    assert_eq!((config.lanes[0].weight, config.lanes[0].max_rate), (1, None));
    let lines = "preset = \"throughput\"\nmax_rate = \"64 KiB/s\"\n";
    let (config, _) = accepted(&format!("{REST}{KAFKA}{lines}{ROUTE}"));
    assert_eq!(config.kafka.max_rate.unwrap().to_string(), "64.0 KiB/s");
    assert_eq!(config.kafka.compression, "zstd");
    let (config, _) = accepted(&format!("{REST}{KAFKA}{lines}compression = \"lz4\"\n{ROUTE}"));
    assert_eq!(config.kafka.compression, "lz4");
    for (line, problem) in [
        (
            "max_rate = \"1023 B/s\"",
            "kafka.max_rate: 1023 B/s is too little; write 1.0 KiB/s or more",
        ),
        (
            "max_rate = \"64 KiB\"",
            "kafka.max_rate: \"64 KiB\" is not a rate; write for example \"64 KiB/s\" or \"500 msg/s\"",
        ),
        (
            "preset = \"fast\"",
            "kafka.preset: \"fast\" is not known; write \"latency\" or \"throughput\"",
        ),
    ] {
        assert_eq!(check("", &format!("{line}\n"), ""), problem);
    }
}

#[test]
fn tls_is_implied_and_complete() {
    let tls = |lines: &str| {
        accepted(&format!("{REST}{KAFKA}{lines}{ROUTE}"))
            .0
            .kafka
            .security
            .tls
    };
    assert_eq!(tls(""), None);
    assert_eq!(tls("tls = false\n"), None);
    assert_eq!(tls("tls = true\n"), Some(Tls::default()));
    assert_eq!(tls("ca_file = \"/ca\"\n").unwrap().ca_file, Some("/ca".into()));
    let mutual = "cert_file = \"/c\"\nkey_file = \"/k\"\nkey_password_file = \"/p\"\n";
    assert!(tls(mutual).unwrap().client.is_some());
    for (lines, problem) in [
        (
            "tls = false\nca_file = \"/ca\"",
            "kafka.tls: is false, but ca_file is only of use with TLS; write tls = true, or leave ca_file out",
        ),
        (
            "cert_file = \"/c\"",
            "kafka.key_file: is missing; cert_file needs the key that belongs to it",
        ),
        (
            "key_file = \"/k\"",
            "kafka.cert_file: is missing; key_file needs the certificate that belongs to it",
        ),
        (
            "key_password_file = \"/p\"",
            "kafka.key_password_file: has no key that it could open; write cert_file and key_file, or leave it out",
        ),
    ] {
        assert_eq!(check("", &format!("{lines}\n"), ""), problem);
    }
}

#[test]
fn sasl_is_complete() {
    let password = "username = \"me\"\npassword_file = \"/p\"\n";
    for (word, name) in [
        ("plain", "PLAIN"),
        ("scram-sha-256", "SCRAM-SHA-256"),
        ("scram-sha-512", "SCRAM-SHA-512"),
    ] {
        let (config, warnings) = accepted(&format!(
            "{REST}{KAFKA}tls = true\nsasl = {word:?}\n{password}{ROUTE}"
        ));
        assert_eq!(config.kafka.security.sasl.unwrap().mechanism().name(), name);
        assert_eq!(warnings, "");
    }
    let token = "tls = true\nsasl = \"oauthbearer\"\ntoken_file = \"/t\"\n";
    let (config, _) = accepted(&format!("{REST}{KAFKA}{token}{ROUTE}"));
    let token_file = "/t".into();
    assert_eq!(config.kafka.security.sasl, Some(Sasl::Token { token_file }));
    for (lines, problem) in [
        (
            "sasl = \"plain\"\nusername = \"me\"",
            "kafka.password_file: is missing; sasl with a password needs username and password_file",
        ),
        (
            "sasl = \"scram-sha-256\"\npassword_file = \"/p\"",
            "kafka.username: is missing; sasl with a password needs username and password_file",
        ),
        (
            "sasl = \"scram-sha-256\"\nusername = \"\"\npassword_file = \"/p\"",
            "kafka.username: is empty; sasl with a password needs username and password_file",
        ),
        (
            "sasl = \"scram-sha-512\"\nusername = \"me\"\npassword_file = \"/p\"\ntoken_file = \"/t\"",
            "kafka.token_file: does not go with a password; leave it out, or write sasl = \"oauthbearer\"",
        ),
        (
            "sasl = \"oauthbearer\"",
            "kafka.token_file: is missing; sasl = \"oauthbearer\" needs a file with a token that somebody keeps fresh",
        ),
        (
            "sasl = \"oauthbearer\"\ntoken_file = \"/t\"\nusername = \"me\"",
            "kafka.username: does not go with sasl = \"oauthbearer\"; leave it out, the token says who edgeferry is",
        ),
        (
            "sasl = \"gssapi\"",
            "kafka.sasl: \"gssapi\" is not known; write \"plain\" or \"scram-sha-256\" or \"scram-sha-512\" or \"oauthbearer\"",
        ),
        (
            "password_file = \"/p\"",
            "kafka.sasl: is missing; password_file needs it: write \"plain\" or \"scram-sha-256\" or \"scram-sha-512\" or \"oauthbearer\"",
        ),
        (
            "token_file = \"/t\"",
            "kafka.sasl: is missing; token_file needs it: write \"plain\" or \"scram-sha-256\" or \"scram-sha-512\" or \"oauthbearer\"",
        ),
    ] {
        assert_eq!(check("", &format!("{lines}\n"), ""), problem);
    }
}

#[test]
fn what_goes_over_the_network_as_it_is_is_a_warning() {
    let plain = "sasl = \"plain\"\nusername = \"me\"\npassword_file = \"/p\"\n";
    let (_, warnings) = accepted(&format!("{REST}{KAFKA}{plain}{ROUTE}"));
    assert_eq!(
        warnings,
        "config.toml:7: kafka.sasl: the password goes over the network as it is, anybody in between can read it; \
         write tls = true, where the broker offers it"
    );
    let token = "sasl = \"oauthbearer\"\ntoken_file = \"/t\"\n";
    assert!(
        accepted(&format!("{REST}{KAFKA}{token}{ROUTE}"))
            .1
            .contains("the token goes over")
    );
    let scram = plain.replace("plain", "scram-sha-512");
    assert_eq!(accepted(&format!("{REST}{KAFKA}{scram}{ROUTE}")).1, "");
}

#[test]
fn a_property_that_says_what_a_key_says_is_refused() {
    let sasl = "sasl = \"scram-sha-256\"\nusername = \"me\"\npassword_file = \"/p\"\n";
    let mutual = "cert_file = \"/c\"\nkey_file = \"/k\"\n";
    for (lines, name, value, key) in [
        (
            "tls = true\n",
            "security.protocol",
            "ssl",
            "kafka.tls and kafka.sasl",
        ),
        (sasl, "security.protocol", "sasl_ssl", "kafka.tls and kafka.sasl"),
        (sasl, "sasl.mechanism", "PLAIN", "kafka.sasl"),
        ("tls = true\n", "sasl.mechanisms", "PLAIN", "kafka.sasl"),
        (sasl, "sasl.username", "you", "kafka.username"),
        (
            "ca_file = \"/ca\"\n",
            "ssl.ca.location",
            "/other",
            "kafka.ca_file",
        ),
        (mutual, "ssl.certificate.location", "/other", "kafka.cert_file"),
        (mutual, "ssl.key.location", "/other", "kafka.key_file"),
    ] {
        let property = format!("{lines}[kafka.properties]\n{name} = {value:?}\n");
        assert_eq!(
            check("", &property, ""),
            format!("kafka.properties.{name}: says what {key} says; use {key} alone")
        );
    }
    // The way by properties alone.
    let properties = "password_file = \"/p\"\n[kafka.properties]\nsecurity.protocol = \"sasl_ssl\"\n\
                      sasl.mechanism = \"SCRAM-SHA-512\"\nsasl.username = \"me\"\nssl.ca.location = \"/ca\"\n";
    let (config, warnings) = accepted(&format!("{REST}{KAFKA}{properties}{ROUTE}"));
    assert_eq!(config.kafka.security.password_file, Some("/p".into()));
    assert_eq!(warnings, "");
}

#[test]
fn tokens_are_not_fetched_and_the_problem_says_what_to_do_instead() {
    for line in [
        "sasl.oauthbearer.method = \"oidc\"",
        "sasl.oauthbearer.method = \"OIDC\"",
        "sasl.oauthbearer.token.endpoint.url = \"https://login.example.com/token\"",
        "sasl.oauthbearer.client.id = \"me\"",
        "sasl.oauthbearer.scope = \"kafka\"",
    ] {
        let problem = check("", &format!("[kafka.properties]\n{line}\n"), "");
        assert!(
            problem.ends_with(
                ": is not built in: fetching tokens would need libcurl; write sasl = \"oauthbearer\" and token_file, \
                 and let a timer or another program keep a fresh token in that file"
            ),
            "{problem}"
        );
    }
}

#[test]
fn there_are_eight_lanes_at_most() {
    let lanes = |count: usize| {
        let tables = (0..count).map(|number| {
            format!(
                "[[lane]]\nname = \"l{number}\"\n[[route]]\nfrom = \"l{number}/{{device}}\"\ntopic = \"t\"\n\
                 lane = \"l{number}\"\n"
            )
        });
        format!("{REST}{KAFKA}{ROUTE}{}", tables.collect::<String>())
    };
    accepted(&lanes(8));
    assert!(refused(&lanes(9)).ends_with(": lane[8]: is one lane too many; 8 are the limit\n"));
}

#[test]
fn a_lane_has_the_settings_of_the_queue_unless_it_says_otherwise() {
    let lane = "[queue]\nmax_bytes = \"64MiB\"\nmax_age = \"1h\"\n[[lane]]\nname = \"alarms\"\nmax_bytes = \"32MiB\"\n";
    let (config, _) = accepted(&format!("{REST}{KAFKA}{lane}{ROUTE}lane = \"alarms\"\n"));
    let settings = config.lanes.iter().map(|lane| {
        let age = lane.queue.max_age.unwrap().as_secs();
        (lane.name.as_str(), lane.queue.max_bytes >> 20, age)
    });
    assert_eq!(
        settings.collect::<Vec<_>>(),
        [("default", 64, 3600), ("alarms", 32, 3600)]
    );
}

#[test]
fn a_lane_that_no_route_uses_is_a_warning() {
    let (_, warnings) = accepted(&format!("{REST}{KAFKA}{ROUTE}[[lane]]\nname = \"alarms\"\n"));
    assert_eq!(
        warnings,
        "config.toml:11: lane[0].name: no route uses this lane; write lane = in a [[route]], or remove the table"
    );
}

#[test]
fn routes_in_different_lanes_have_subscriptions_of_their_own() {
    let alarms = "[[lane]]\nname = \"alarms\"\n";
    let same =
        "[[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"b\"\nqos = 0\nlane = \"alarms\"\n";
    let (_, warnings) = accepted(&format!("{REST}{KAFKA}{ROUTE}{alarms}{same}"));
    assert!(
        warnings.contains("drops messages while edgeferry is away"),
        "{warnings}"
    );
    let twice = same.replace("\"b\"\nqos = 0", "\"telemetry\"");
    assert!(check("", "", &format!("{alarms}{twice}")).starts_with("route[1].from: is the same as route[0]"));
    let partial = "[[route]]\nfrom = \"{kind}/d1/{device}\"\ntopic = \"b\"\nlane = \"alarms\"\n";
    let (_, warnings) = accepted(&format!(
        "{REST}version = \"3.1.1\"\n{KAFKA}{ROUTE}{alarms}{partial}"
    ));
    assert_eq!(warnings, "", "each lane's session gets one copy");
}

#[test]
fn keys_must_spread_messages() {
    assert_eq!(
        check("", "", "key = \"all\"\n"),
        "route[0].key: \"all\" is the same for every message, all would go to one partition; \
         use a name of `from`, for example \"{device}\""
    );
    assert!(check("", "", "key = \"{site}\"\n").starts_with("route[0].key: {site} is not a name in"));
}

#[test]
fn routes_that_contradict_are_refused() {
    let second = |lines: &str| {
        let route = "[[route]]\nfrom = \"devices/{id}/telemetry\"\ntopic = \"telemetry\"\n";
        check("", "", &format!("{route}{lines}"))
    };
    assert_eq!(
        second("key = \"{id}\"\n"),
        "route[1].from: is the same as route[0], every message would be sent twice; remove one of them"
    );
    assert_eq!(
        second("key = \"k-{id}\"\n"),
        "route[1].key: differs from route[0] for the same messages and the same topic; use one key, or two topics"
    );
    let other_topic = "[[route]]\nfrom = \"devices/+/telemetry/{device}\"\ntopic = \"b\"\n";
    accepted(&format!("{REST}{KAFKA}{ROUTE}{other_topic}"));
    let other_qos = "[[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"b\"\nqos = 0\n";
    assert_eq!(
        check("", "", other_qos),
        "route[1].qos: is 0, but 1 in route[0] for the same messages; one subscription has one QoS"
    );
}

#[test]
fn partial_overlap_is_a_warning_on_the_old_protocol() {
    let overlap = "[[route]]\nfrom = \"+/{device}/telemetry\"\ntopic = \"b\"\n";
    let covered = "[[route]]\nfrom = \"devices/{device}/{rest...}\"\ntopic = \"b\"\n";
    let partial = "[[route]]\nfrom = \"{kind}/d1/{device}\"\ntopic = \"b\"\n";
    let warnings = |version: &str, route: &str| {
        accepted(&format!("{REST}version = {version:?}\n{KAFKA}{ROUTE}{route}")).1
    };
    assert_eq!(warnings("5", partial), "");
    assert_eq!(warnings("3.1.1", overlap), "");
    assert_eq!(warnings("3.1.1", covered), "");
    assert_eq!(
        warnings("3.1.1", partial),
        "config.toml:12: route[1].from: overlaps with route[0].from in part; an MQTT 3.1.1 broker, and any with shared_group, may send such a \
         message once for each; use version = \"5\" or one wider pattern"
    );
}

#[test]
fn qos_other_than_1_is_a_warning() {
    let (config, warnings) = accepted(&format!("{REST}{KAFKA}{ROUTE}qos = 2\n"));
    assert_eq!(config.routes[0].qos, Qos::AtLeastOnce);
    assert!(
        warnings.contains("2 is lowered to 1: a crash between PUBREC and PUBCOMP"),
        "{warnings}"
    );
    let (config, warnings) = accepted(&format!("{REST}{KAFKA}{ROUTE}qos = 0\n"));
    assert_eq!(config.routes[0].qos, Qos::AtMostOnce);
    assert!(
        warnings.contains("drops messages while edgeferry is away"),
        "{warnings}"
    );
    assert_eq!(
        check("", "", "qos = 3\n"),
        "route[0].qos: 3 is not a QoS of MQTT; write 1 (default) or 0"
    );
}

#[test]
fn several_brokers_need_names_and_clients_of_their_own() {
    let other = "[[mqtt]]\nurl = \"mqtt://other\"\n";
    let text = refused(&format!("{REST}{other}{KAFKA}{ROUTE}"));
    let right = "is missing; with several [[mqtt]] tables each needs a name of its own";
    assert_eq!(
        text,
        format!("config.toml:3: mqtt[0].name: {right}\nconfig.toml:5: mqtt[1].name: {right}\n")
    );
    let problem = check(
        "name = \"a\"\n[[mqtt]]\nname = \"a\"\nurl = \"mqtt://other\"\n",
        "",
        "",
    );
    assert!(
        problem.starts_with("mqtt[1].name: \"a\" is the name of mqtt[0] already"),
        "{problem}"
    );
    let problem = check(
        "name = \"a\"\n[[mqtt]]\nname = \"b\"\nurl = \"mqtt://localhost\"\n",
        "",
        "",
    );
    assert!(
        problem.starts_with("mqtt[1].client_id: mqtt[0] is the same client on the same broker"),
        "{problem}"
    );
    let problem = check("password_file = \"/p\"\n", "", "");
    assert!(problem.starts_with("mqtt[0].username: is missing"), "{problem}");
}

#[test]
fn gateway_ids_tell_gateways_apart() {
    let id = |id: &str| {
        let text = format!(
            "{}{KAFKA}{ROUTE}",
            REST.replace("[gateway]\n", &format!("[gateway]\nid = {id:?}\n"))
        );
        config::parse(Path::new("c"), &text)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    for good in ["gw-7", "pi-{serial}", "{hostname}", "{machine_id}"] {
        assert_eq!(id(good), Ok(()));
    }
    for bad in ["raspberrypi", "localhost", ""] {
        assert!(
            id(bad).is_err_and(|problem| problem.contains("does not tell gateways apart")),
            "{bad}"
        );
    }
    assert!(id("{mac}").is_err_and(|problem| problem.contains("{mac} is not known here")));
    assert!(id("{serial").is_err_and(|problem| problem.contains("has a '{' without its '}'")));
    assert!(id("a b").is_err_and(|problem| problem.contains("not safe")));
}

#[test]
fn check_says_ok_or_lists_the_problems() {
    let good = shipped("examples/minimal.toml");
    let good = good.to_str().unwrap();
    let output = run(&["check", "--config", good]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with(&format!("{good}: ok\n")), "{said}");
    assert!(output.stderr.is_empty());

    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.toml");
    std::fs::write(
        &bad,
        format!("{REST}keep_alive = \"1s\"\nport = 1\n{KAFKA}{ROUTE}"),
    )
    .unwrap();
    let output = run(&["check", "--config", bad.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(64));
    assert!(output.stdout.is_empty());
    let problems = String::from_utf8(output.stderr).unwrap();
    assert_eq!(problems.lines().count(), 2, "{problems}");
    assert!(
        problems.starts_with(&format!("{}:5: mqtt[0].keep_alive: ", bad.display())),
        "{problems}"
    );
}

#[test]
fn usage_errors_end_with_64_and_help_with_0() {
    for (arguments, code) in [
        (&["--version"][..], 0),
        (&["--help"], 0),
        (&["check", "--help"], 0),
        (&[], 64),
        (&["fly"], 64),
        (&["check", "--config"], 64),
        (&["check", "--config", "/nowhere/edgeferry.toml"], 64),
        (&["run", "--config", "/nowhere/edgeferry.toml"], 64),
    ] {
        assert_eq!(run(arguments).status.code(), Some(code), "{arguments:?}");
    }
}

proptest! {
    /// Whatever a person does to the file, there is a configuration or a reason, never a panic.
    #[test]
    fn damaged_files_load_or_say_why(
        at in any::<prop::sample::Index>(),
        len in 0_usize..60,
        instead in "[a-z0-9\\[\\]{}=\"'#. \n\u{0}é]{0,12}",
    ) {
        let text = std::fs::read_to_string(shipped("edgeferry.toml")).unwrap();
        let mut text: Vec<char> = text.lines().flat_map(|line| uncomment(line).chars().chain(['\n'])).collect();
        let at = at.index(text.len());
        let end = text.len().min(at + len);
        text.splice(at..end, instead.chars());
        let text: String = text.into_iter().collect();
        if let Err(LoadError::Invalid(problems)) = config::parse(Path::new("config.toml"), &text) {
            prop_assert!(!problems.is_empty());
            let lines = text.lines().count().max(1) + 1;
            prop_assert!(problems.iter().all(|problem| (1..=lines).contains(&problem.line)));
        }
    }
}

#[test]
fn a_device_id_may_come_from_what_a_message_carries() {
    let text = |device: &str| {
        let route =
            format!("[[route]]\nfrom = \"plants/{{plant}}/up\"\ntopic = \"t\"\ndevice = '{device}'\n");
        format!("{REST}{KAFKA}{route}")
    };
    for device in [
        "{json:/id}",
        "{property:serial}",
        "{plant}-{json:/a~1b/0}",
        "{mqtt:topic}",
    ] {
        let (config, warnings) = accepted(&text(device));
        assert_eq!(
            config.routes[0]
                .device
                .as_ref()
                .map(ToString::to_string)
                .as_deref(),
            Some(device)
        );
        assert_eq!(
            (config.routes[0].key.to_string().as_str(), warnings.as_str()),
            ("{device}", "")
        );
    }
    let wrong = |device: &str| {
        let problems = refused(&text(device));
        problems
            .trim_end()
            .split_once("route[0].")
            .map(|(_, problem)| problem.to_owned())
            .unwrap_or(problems)
    };
    assert_eq!(
        wrong("{gateway:id}"),
        "device: \"{gateway:id}\" is the same for all devices of a gateway; use what tells them apart, for example \
         \"{json:/id}\" or \"{property:serial}\""
    );
    assert_eq!(
        wrong("{device}"),
        "device: {device} is not a name in \"plants/{plant}/up\"; `from` has {plant}"
    );
    assert!(wrong("{json:id}").starts_with(
        "device: \"{json:id}\" has the name \"json:id\": a JSON pointer begins with '/', such as /sensor/id; write"
    ));
}

#[test]
fn a_key_that_tells_no_devices_apart_is_a_warning() {
    let (_, warnings) = accepted(&format!("{REST}{KAFKA}{ROUTE}key = \"{{gateway:id}}\"\n"));
    assert_eq!(
        warnings,
        "config.toml:10: route[0].key: \"{gateway:id}\" is the same for all devices of a gateway, they share one \
         partition; use a name of `from`, for example \"{device}\""
    );
}

#[test]
fn unique_times_are_off_for_raw_unless_they_are_asked_for() {
    let unique = |line: &str| {
        let (config, _) = accepted(&format!("{REST}{KAFKA}{ROUTE}{line}"));
        config.routes[0].unique_times
    };
    assert!(!unique("") && unique("unique_times = true\n") && !unique("unique_times = false\n"));
}

#[test]
fn a_shared_group_is_a_name_of_ones_own_and_costs_the_order() {
    let (config, said) = accepted(&format!("{REST}shared_group = \"plant\"\n{KAFKA}{ROUTE}"));
    assert_eq!(config.brokers[0].shared_group.as_deref(), Some("plant"));
    assert!(
        said.contains("mqtt[0].shared_group: a device's messages are spread"),
        "{said}"
    );
    let group = |group: &str| check(&format!("shared_group = \"{group}\"\n"), "", "");
    for taken in ["json", "ul", "JSON", "Ul"] {
        let said = group(taken);
        assert!(
            said.contains(&format!("{taken:?} is the group of the FIWARE IoT Agents")),
            "{said}"
        );
    }
    for illegal in ["", "a/b", "a+", "#"] {
        let said = group(illegal);
        assert!(
            said.contains(&format!("{illegal:?} is no name of a group; write one or more")),
            "{said}"
        );
    }
}

#[test]
fn lanes_that_would_share_with_each_other_are_refused() {
    let other = "[[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"b\"\nlane = \"alarms\"\n[[lane]]\nname = \"alarms\"\n";
    let said = refused(&format!("{REST}shared_group = \"plant\"\n{KAFKA}{ROUTE}{other}"));
    assert!(
        said.contains("route[1].from: is also what route[0] takes, in another lane"),
        "{said}"
    );
    accepted(&format!("{REST}{KAFKA}{ROUTE}{other}"));
}

#[test]
fn every_mistake_in_when_says_what_would_be_right() {
    let when = |entry: &str| check("", "", &format!("when = [{{ {entry} }}]\n"));
    let tests =
        "write one of equals = .., one_of = [..], exists = .., between = [.., ..] and matches = \"..\"";
    assert_eq!(
        when("value = \"device\""),
        format!("route[0].when[0]: has no test; {tests}")
    );
    assert_eq!(
        when("value = \"device\", equals = 1, exists = true"),
        "route[0].when[0]: has 2 tests, one of them may be forgotten by a reader; write an entry of its own for each: all of \
         them must hold"
    );
    assert!(when("equals = 1").starts_with("route[0].when[0].value: is missing; write what is looked at"));
    assert!(when("value = \"json:type\", equals = 1").starts_with(
        "route[0].when[0].value: \"json:type\" has the name \"json:type\": a JSON pointer begins with '/', such as /sensor/id; write"
    ));
    assert_eq!(
        when("value = \"site\", equals = 1"),
        "route[0].when[0].value: {site} is not a name in \"devices/{device}/telemetry\"; `from` has {device}"
    );
    assert_eq!(
        when("value = \"device\", one_of = []"),
        "route[0].when[0].one_of: is empty, no message would pass; write at least one value"
    );
    assert_eq!(
        when("value = \"device\", equals = nan"),
        "route[0].when[0].equals: NaN is no number that a message could have; write a decimal number"
    );
    let range = "write the lowest and the highest number that pass, for example between = [-40, 85.5]";
    for bounds in ["[1]", "[1, 2, 3]", "[\"1\", 2]", "[1, inf]"] {
        assert_eq!(
            when(&format!("value = \"device\", between = {bounds}")),
            format!("route[0].when[0].between: is not two numbers; {range}")
        );
    }
    assert_eq!(
        when("value = \"device\", between = [2, 1.5]"),
        format!("route[0].when[0].between: has its higher number first, no message would pass; {range}")
    );
    assert!(
        when("value = \"device\", matches = \"[\"")
            .starts_with("route[0].when[0].matches: \"[\" is no regular expression: ")
    );
    assert!(when("value = \"device\", equal = 1").contains("did you mean equals?"));
    assert!(
        when("value = \"device\", equals = 2026-11-21").contains("expected text, a number, true or false")
    );
    assert!(check("", "", "when = { value = \"device\" }\n").contains("route[0].when: "));
}

#[test]
fn every_mistake_in_match_says_what_would_be_right() {
    let matched = |line: &str| check("", "", &format!("[route.match]\n{line}\n"));
    assert!(matched("device = \"(\"").starts_with("route[0].match.device: \"(\" is no regular expression: "));
    assert_eq!(
        matched("site = \"a\""),
        "route[0].match.site: {site} is not a name in \"devices/{device}/telemetry\"; `from` has {device}"
    );
    assert!(
        matched(&format!("device = \"{}\"", "a".repeat(1001)))
            .contains("is 1001 bytes long, an expression has 1000 at most")
    );
}

#[test]
fn every_mistake_in_headers_and_partitions_says_what_would_be_right() {
    let route = |lines: &str| check("", "", lines);
    assert_eq!(
        route("headers = \"none\"\n"),
        "route[0].headers: \"none\" is not known; write \"full\" or \"minimal\""
    );
    assert_eq!(
        route("retained = \"drop\"\n"),
        "route[0].retained: \"drop\" is not known; write \"forward\" or \"mark\" or \"skip\""
    );
    for name in ["edgeferry-id", "MQTT-topic"] {
        assert_eq!(
            route(&format!("[route.add_headers]\n{name} = \"x\"\n")),
            format!(
                "route[0].add_headers.{name}: is a name that edgeferry gives itself; write a name that begins with neither \
                 \"edgeferry-\" nor \"mqtt-\""
            )
        );
    }
    assert_eq!(
        route("[route.add_headers]\n\"a b\" = \"x\"\n"),
        "route[0].add_headers.a b: is no name of a header; write 1 to 249 printable ASCII characters without spaces"
    );
    assert!(
        route("[route.add_headers]\na = \"{site}\"\n")
            .starts_with("route[0].add_headers.a: {site} is not a name in")
    );
    assert!(
        route("partition_by = \"all\"\n")
            .starts_with("route[0].partition_by: \"all\" is the same for every message")
    );
    assert!(route("max_payload = \"much\"\n").contains("is not a size"));
}

#[test]
fn a_partition_that_the_key_does_not_decide_is_a_warning() {
    let warned = |lines: &str| accepted(&format!("{REST}{KAFKA}{ROUTE}{lines}")).1;
    assert_eq!(
        warned("partition_by = \"{json:/site}\"\n"),
        "config.toml:10: route[0].partition_by: {json:/site} is not in the key \"{device}\": records of one key may go to several \
         partitions, where they have no order; use only what the key has, or the same for all messages of a device"
    );
    for fine in [
        "key = \"{json:/site}/{device}\"\npartition_by = \"{json:/site}\"\n",
        "device = \"{json:/site}\"\nkey = \"{device}\"\npartition_by = \"{json:/site}\"\n",
        "key = \"{json:/site}{device}\"\npartition_by = \"{json:/site}{device}\"\n",
        "key = \"k-{device}\"\npartition_by = \"{device}\"\n",
    ] {
        assert_eq!(warned(fine), "", "{fine}");
    }
}

#[test]
fn a_key_that_two_partitions_could_have_is_a_warning() {
    let warned = |lines: &str| {
        let route = format!("[[route]]\nfrom = \"p/{{a}}/{{b}}/{{device}}\"\ntopic = \"t\"\n{lines}");
        accepted(&format!("{REST}{KAFKA}{route}")).1
    };
    let right =
        "separate the names in the key by '/', which no level of a topic has, or leave partition_by out";
    for key in [
        "{a}{b}",
        "{a}-{b}",
        "{a}{b}/{device}",
        "{json:/x}/{a}-{b}/{device}",
    ] {
        let warning = warned(&format!("key = \"{key}\"\npartition_by = \"{{a}}\"\n"));
        assert!(
            warning.contains(&format!(
                "partition_by: {{a}} cannot be told from the key \"{key}\""
            )) && warning.ends_with(right),
            "{warning}"
        );
    }
    assert!(
        warned("device = \"{json:/site}-{json:/id}\"\npartition_by = \"{json:/site}\"\n")
            .contains("cannot be told")
    );
    for key in [
        "{a}/{b}",
        "{a}/{b}/{device}",
        "{a}/{json:/x}/{device}",
        "x{a}-/{b}",
    ] {
        assert_eq!(
            warned(&format!("key = \"{key}\"\npartition_by = \"{{a}}\"\n")),
            "",
            "{key}"
        );
    }
    let nordic =
        "partition_by = \"{mqtt:topic}\"\nformat = \"wasp\"\n[route.wasp]\nenvelope = \"nordic-cloud\"\n";
    let route = format!("[[route]]\nfrom = \"prod/{{rest...}}\"\ntopic = \"raw-payloads\"\n{nordic}");
    let (_, warning) = accepted(&format!("{REST}{KAFKA}{route}"));
    assert!(
        warning.contains("partition_by: the key is the nrf- id that is found in")
            && warning.ends_with("the key decides then"),
        "{warning}"
    );
}

#[test]
fn a_route_whose_every_message_would_be_a_dead_letter_is_refused() {
    let problem = |route: &str| {
        let text = refused(&format!("{REST}{KAFKA}[[route]]\n{route}"));
        assert_eq!(text.lines().count(), 1, "{text}");
        text.trim_end().split_once(": ").unwrap().1.to_owned()
    };
    let wasp = "from = \"t/{device}\"\ntopic = \"raw-payloads\"\nformat = \"wasp\"\n";
    assert_eq!(
        problem(&format!("{wasp}key = \"mqtt:{{device}}\"\n")),
        "route[0].key: \"mqtt:{device}\" is never a UUID, every message would be a dead letter; write what is the UUID alone, \
         for example \"{device}\", or envelope = \"http\" in [route.wasp] for other ids"
    );
    assert!(problem(&format!("{wasp}device = \"dev-{{mqtt:topic}}\"\n")).contains("is never a UUID"));
    let long = format!(
        "{wasp}key = \"{}{{device}}\"\n[route.wasp]\nenvelope = \"http\"\ningest = \"http\"\n",
        "x".repeat(50)
    );
    assert!(
        problem(&long).contains("has always over 50 characters"),
        "{}",
        problem(&long)
    );
    let ngsi = |from: &str| {
        format!(
            "from = \"{from}\"\ntopic = \"raw_historic\"\nformat = \"ngsiv2\"\n[route.ngsiv2]\nservice = \"s\"\n"
        )
    };
    for from in [
        "/{apikey}/{device}/cmd",
        "json/{apikey}/{device}/cmdexe",
        "/+/{device}/configuration/values",
    ] {
        assert!(
            problem(&ngsi(from)).starts_with(&format!(
                "route[0].from: \"{from}\" takes commands of an IoT Agent alone"
            )),
            "{from}"
        );
    }
    for from in [
        "/{apikey}/{device}/attrs",
        "/{apikey}/{device}/{rest...}",
        "/{apikey}/{device}/{kind}",
    ] {
        accepted(&format!("{REST}{KAFKA}[[route]]\n{}", ngsi(from)));
    }
    let empty = problem("from = \"t/{device}\"\ntopic = \"t\"\nmax_payload = 0\n");
    assert!(
        empty.starts_with("route[0].max_payload: ") && empty.contains("is too little"),
        "{empty}"
    );
    let header =
        problem("from = \"t/{device}\"\ntopic = \"t\"\n[route.add_headers]\nFiware-Service = \" \"\n");
    assert!(
        header.contains("is empty, readers would take the tenant \"default\""),
        "{header}"
    );
}

#[test]
fn a_topic_that_no_reader_or_a_wrong_one_would_read_is_a_warning() {
    let warned = |topic: &str, format: &str| {
        let route =
            format!("[[route]]\nfrom = \"t/{{device}}\"\ntopic = \"{topic}\"\nformat = \"{format}\"\n");
        accepted(&format!("{REST}{KAFKA}{route}")).1
    };
    assert!(warned("wasp-input", "wasp").ends_with(
        "route[0].topic: WASP's router takes topics with \"raw-payloads\" in their names alone, \"wasp-input\" is none; write \
         topic = \"raw-payloads\", unless the router has been changed"
    ));
    assert!(warned("raw-payloads-archive", "raw").ends_with("write another name, or format = \"wasp\""));
    assert!(warned("{device}-raw-payloads", "raw").contains("takes every such topic for live data"));
    assert!(warned("smc_raw_errors", "raw").contains("errors of Kafka Connect"));
    for (topic, format) in [
        ("raw-payloads", "wasp"),
        ("{device}", "wasp"),
        ("raw_payloads", "raw"),
    ] {
        assert_eq!(warned(topic, format), "", "{topic}");
    }
}

#[test]
fn two_events_that_would_have_one_id_are_a_warning() {
    let route = |from: &str, topic: &str, lines: &str| {
        format!(
            "[[route]]\nfrom = \"{from}\"\ntopic = \"{topic}\"\nformat = \"cloudevents\"\n[route.cloudevents]\n{lines}"
        )
    };
    let warned = |first: &str, second: &str| accepted(&format!("{REST}{KAFKA}{first}{second}")).1;
    let first = route("a/{device}", "one", "type = \"com.example.one\"\n");
    assert!(
        warned(&first, &route("a/{id}", "two", "type = \"com.example.two\"\n").replace("topic", "key = \"{id}\"\ntopic"))
            .ends_with(
            "route[1].cloudevents.type: differs from route[0] for the same messages, and cloudevents.source does not: two \
             events would have one id, and readers drop one of them; write another source for one of them, for example \
             \"edgeferry/{gateway:id}/alarms\""
        )
    );
    let wider = route("a/{rest...}", "two", "type = \"com.example.two\"\n")
        .replace("topic", "key = \"{rest}\"\ntopic");
    assert!(
        warned(&first, &wider).contains("two events would have one id"),
        "filters that overlap"
    );
    let other_source = "type = \"com.example.two\"\nsource = \"edgeferry/two\"\n";
    assert_eq!(warned(&first, &route("a/{device}", "two", other_source)), "");
    let same_event = route(
        "a/{device}",
        "two",
        "type = \"com.example.one\"\nmode = \"binary\"\n",
    );
    assert_eq!(
        warned(&first, &same_event),
        "",
        "the same event twice is one event"
    );
    assert_eq!(
        warned(
            &first,
            &route("b/{device}", "two", "type = \"com.example.two\"\n")
        ),
        ""
    );
}

#[test]
fn the_hash_of_a_key_is_murmur2_or_crc32() {
    let with = |line: &str| {
        accepted(&format!("{REST}{KAFKA}{line}{ROUTE}"))
            .0
            .kafka
            .partitioner
    };
    assert_eq!(with(""), Partitioner::Murmur2);
    assert_eq!(with("partitioner = \"crc32\"\n"), Partitioner::Crc32);
    assert_eq!(
        check("", "partitioner = \"random\"\n", ""),
        "kafka.partitioner: \"random\" is not known; write \"murmur2\" or \"crc32\""
    );
    let property = check("", "[kafka.properties]\npartitioner = \"consistent\"\n", "");
    assert!(
        property.ends_with(
            "use kafka.partitioner: \"murmur2\" (default) is Java's, \"crc32\" is librdkafka's own"
        ),
        "{property}"
    );
}

#[test]
fn routes_for_other_messages_of_the_same_topic_do_not_contradict() {
    let second = "[[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"telemetry\"\n";
    let cold = "when = [{ value = \"json:/c\", between = [-99, 0] }]\n";
    let warm = "when = [{ value = \"json:/c\", between = [0, 99] }]\nkey = \"{json:/site}\"\n";
    accepted(&format!("{REST}{KAFKA}{ROUTE}{cold}{second}{warm}"));
    assert!(check("", "", second).starts_with("route[1].from: is the same as route[0]"));
    assert!(
        check("", "", &format!("{second}partition_by = \"{{device}}\"\n")).starts_with(
            "route[1].partition_by: differs from route[0] for the same messages and the same topic"
        )
    );
}

#[test]
fn a_key_of_the_route_below_one_of_its_tables_is_told_to_move() {
    let (_, said) = accepted(&format!(
        "{REST}{KAFKA}{ROUTE}[route.add_headers]\nlane = \"alarms\"\nsite = \"north\"\n"
    ));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains("route[0].add_headers.lane: is a header here") && said.contains("move the line above"),
        "{said}"
    );
    for (table, line) in [
        ("add_headers", "qos = 0"),
        ("cloudevents", "key = \"{device}\""),
        ("wasp", "retained = \"skip\""),
        ("match", "max_payload = 5"),
    ] {
        let format = match table {
            "cloudevents" | "wasp" => format!("format = {table:?}\n"),
            _ => String::new(),
        };
        let said = refused(&format!("{REST}{KAFKA}{ROUTE}{format}[route.{table}]\n{line}\n"));
        assert!(
            said.contains(&format!(
                "it is a key of the route: move the line above [route.{table}]"
            )),
            "{said}"
        );
    }
}

#[test]
fn every_key_of_a_route_is_known_to_stand_above_its_tables() {
    let said = refused(&format!("{REST}{KAFKA}{ROUTE}no_such_key = 1\n"));
    let (_, known) = said.trim_end().split_once("known here: ").unwrap();
    let tables = ["cloudevents", "wasp", "ngsiv2", "match", "when"];
    for key in known.split(", ").filter(|key| !tables.contains(key)) {
        let (_, said) = accepted(&format!(
            "{REST}{KAFKA}{ROUTE}[route.add_headers]\n{key} = \"x\"\n"
        ));
        assert!(said.contains("move the line above"), "{key}");
    }
}

#[test]
fn slips_in_toml_say_how_it_is_written() {
    let said = check("", "", "when = { value = \"device\" }\n");
    assert!(said.ends_with("when = [{ .. }]"), "{said}");
    let said = check("", "", "headers = { a = \"b\" }\n");
    assert!(said.contains("[route.add_headers]"), "{said}");
    let said = refused(&format!(
        "{REST}{KAFKA}{ROUTE}when = [{{ value = \"device\", matches = \"\\d+\" }}]\n"
    ));
    assert!(said.contains("matches = '\\d+'"), "{said}");
}

#[test]
fn properties_are_not_asked_of_a_broker_that_has_none() {
    let old = format!("{REST}version = \"3.1.1\"\n{KAFKA}");
    for (field, lines) in [
        (
            "when[0].value",
            "when = [{ value = \"property:site\", equals = \"a\" }]\n",
        ),
        ("key", "key = \"{property:site}\"\n"),
        ("device", "device = \"{property:serial}\"\n"),
        (
            "add_headers.x",
            "[route.add_headers]\nx = \"{mqtt:content_type}\"\n",
        ),
        (
            "cloudevents.type",
            "format = \"cloudevents\"\n[route.cloudevents]\ntype = \"{mqtt:response_topic}\"\n",
        ),
    ] {
        let said = refused(&format!("{old}{ROUTE}{lines}"));
        assert!(
            said.contains(&format!("route[0].{field}: asks for ")) && said.contains("write version = \"5\""),
            "{said}"
        );
        accepted(&format!("{REST}{KAFKA}{ROUTE}{lines}"));
        let both = "[gateway]\ndata_dir = \"/tmp/e\"\n[[mqtt]]\nname = \"new\"\nurl = \"mqtt://a\"\n[[mqtt]]\nname = \"old\"\n\
                    url = \"mqtt://b\"\nversion = \"3.1.1\"\n";
        let (_, said) = accepted(&format!("{both}{KAFKA}{ROUTE}{lines}"));
        assert!(said.contains("and so none from old"), "{said}");
        let (_, said) = accepted(&format!("{both}{KAFKA}{ROUTE}broker = \"new\"\n{lines}"));
        assert!(!said.contains("asks for"), "{said}");
    }
    let absent = "when = [{ value = \"property:test\", exists = false }]\n";
    let (_, said) = accepted(&format!("{old}{ROUTE}{absent}"));
    assert!(said.contains("asks for property:test"), "{said}");
}

/// What `check` says of a file with these lines for its Kafka and its queue, and its exit code.
fn check_here(kafka: &str, queue: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edgeferry.toml");
    std::fs::write(&file, format!("{REST}[queue]\n{queue}{KAFKA}{kafka}{ROUTE}")).unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    (
        output.status.code(),
        said.replace(file.to_str().unwrap(), "edgeferry.toml"),
    )
}

#[test]
fn files_of_the_queue_and_of_kafka_are_looked_at_by_check() {
    let (code, said) = check_here("", "key_file = \"/no/such/key\"\n");
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("edgeferry.toml:6: queue.key_file: key file /no/such/key: "),
        "{said}"
    );
    let (code, said) = check_here("ca_file = \"/no/such/ca.pem\"\n", "");
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("edgeferry.toml:8: kafka.ca_file: /no/such/ca.pem: "),
        "{said}"
    );
    let sasl = "tls = true\nsasl = \"plain\"\nusername = \"u\"\npassword_file = \"/no/such/password\"\n";
    let (code, said) = check_here(sasl, "");
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("edgeferry.toml:11: kafka.password_file: /no/such/password: "),
        "{said}"
    );
}

#[test]
fn a_package_asks_for_the_file_alone_and_not_for_those_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edgeferry.toml");
    let ask = |kafka: &str, queue: &str| {
        std::fs::write(&file, format!("{REST}[queue]\n{queue}{KAFKA}{kafka}{ROUTE}")).unwrap();
        let output = run(&["check", "--file-only", "--config", file.to_str().unwrap()]);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = ask("ca_file = \"/no/such/ca.pem\"\n", "key_file = \"/no/such/key\"\n");
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let (code, said) = ask("", "key_fil = \"/no/such/key\"\n");
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains(":6: queue.key_fil: "), "{said}");
    let both = run(&["check", "--file-only", "--live"]);
    assert_eq!(both.status.code(), Some(64), "{both:?}");
}

#[test]
fn credentials_of_a_service_are_a_warning_where_there_are_none() {
    let credential = "\"$CREDENTIALS_DIRECTORY/it\"\n";
    let (code, said) = check_here(
        &format!("ca_file = {credential}"),
        &format!("key_file = {credential}"),
    );
    assert_eq!(code, Some(0), "{said}");
    for field in ["kafka.ca_file", "queue.key_file"] {
        assert!(
            said.contains(&format!("{field}: ")) && said.contains("is not set"),
            "{said}"
        );
    }
}

#[test]
fn a_certificate_and_the_key_of_another_one_are_found_by_check() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let cert = folder.path().join(format!("{name}.pem"));
        let key = folder.path().join(format!("{name}.key"));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args(["-subj", "/CN=gw-7", "-days", "9", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        (cert, key)
    };
    let ((cert, key), (_, other)) = (make("one"), make("other"));
    let lines = |key: &Path| format!("cert_file = {cert:?}\nkey_file = {key:?}\n");
    let (code, said) = check_here(&lines(&other), "");
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("kafka.cert_file: ") && said.contains("do not belong together"),
        "{said}"
    );
    let (code, said) = check_here(&lines(&key), "");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_file_that_depends_on_the_folder_is_refused_and_only_credentials_are_replaced() {
    let said = check("username = \"u\"\npassword_file = \"secret\"\n", "", "");
    assert!(
        said.starts_with("mqtt[0].password_file: holds 6 characters that are no absolute path (not quoted")
            && said.contains("write an absolute path"),
        "{said}"
    );
    let said = check("username = \"u\"\npassword_file = \"./secret\"\n", "", "");
    assert!(
        said.starts_with("mqtt[0].password_file: \"./secret\" is relative"),
        "{said}"
    );
    let said = check("", "ca_file = \"$HOME/ca.pem\"\n", "");
    assert!(
        said.starts_with("kafka.ca_file: \"$HOME/ca.pem\" would be looked for")
            && said.contains("only $CREDENTIALS_DIRECTORY"),
        "{said}"
    );
    accepted(&format!(
        "{REST}username = \"u\"\npassword_file = \"$CREDENTIALS_DIRECTORY/p\"\n{KAFKA}{ROUTE}"
    ));
}

#[test]
fn a_secret_where_the_path_of_a_file_belongs_is_quoted_in_no_form() {
    const SECRET: &str = "7396104825";
    let forms = [
        format!("\"{SECRET}\""),
        format!("\"p/{SECRET}==\""),
        format!("\"${SECRET}\""),
        format!("'{SECRET}'"),
        format!("[\"{SECRET}\"]"),
        format!("[{SECRET}]"),
        format!("{{ a = \"{SECRET}\" }}"),
        SECRET.to_owned(),
        format!("h{SECRET}"),
        format!("\"{SECRET}"),
        format!("\"{SECRET}\\q\""),
        format!("{SECRET}.5"),
    ];
    let lane = "[[lane]]\nname = \"b\"\n";
    let mqtt = ["password_file", "ca_file", "cert_file", "key_file"].map(|key| ("mqtt[0]", key));
    let kafka = [
        "ca_file",
        "cert_file",
        "key_file",
        "key_password_file",
        "password_file",
        "token_file",
    ];
    let rest = [
        ("http", "token_file"),
        ("queue", "key_file"),
        ("queue", "old_key_files"),
        ("lane[0]", "key_file"),
        ("lane[0]", "old_key_files"),
    ];
    let all = mqtt
        .into_iter()
        .chain(kafka.map(|key| ("kafka", key)))
        .chain(rest);
    for (table, key) in all {
        for form in &forms {
            let setting = format!("{key} = {form}\n");
            let said = match table {
                "mqtt[0]" => refused(&format!("{REST}username = \"u\"\n{setting}{KAFKA}{ROUTE}")),
                "kafka" => refused(&format!("{REST}{KAFKA}{setting}{ROUTE}")),
                "lane[0]" => refused(&format!("{REST}{KAFKA}{ROUTE}{lane}{setting}")),
                table => refused(&format!("{REST}{KAFKA}{ROUTE}[{table}]\n{setting}")),
            };
            assert!(!said.contains(SECRET), "{table} {setting}: {said}");
            assert!(said.contains(key), "{table} {setting}: {said}");
        }
    }
}

#[test]
fn a_machine_without_what_the_gateway_id_is_made_of_is_a_warning_of_check() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edgeferry.toml");
    let rest = REST.replace("[gateway]\n", "[gateway]\nid = \"pi-{serial}\"\n");
    std::fs::write(&file, format!("{rest}{KAFKA}{ROUTE}")).unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let has_serial = edgeferry::identity::Machine::read().serial.is_some();
    assert_eq!(
        said.contains(":2: gateway.id: no gateway id on this machine"),
        !has_serial,
        "{said}"
    );
}

#[test]
fn a_client_certificate_of_version_1_is_told_to_be_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, request, cert) = (path("key"), path("csr"), path("cert"));
    let openssl = |line: &[&str]| {
        let made = Command::new("openssl").args(line).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    };
    openssl(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=gw-7",
        "-keyout",
        &key,
        "-out",
        &request,
    ]);
    openssl(&[
        "x509", "-req", "-in", &request, "-signkey", &key, "-days", "9", "-out", &cert,
    ]);
    let shown = Command::new("openssl")
        .args(["x509", "-in", &cert, "-noout", "-text"])
        .output()
        .unwrap();
    // From 3.4 on openssl makes version 3 by itself, and nobody meets this.
    let is_old = String::from_utf8(shown.stdout).unwrap().contains("Version: 1 ");
    let file = folder.path().join("edgeferry.toml");
    let rest = REST.replace("mqtt://localhost", "mqtts://localhost");
    let files = format!("cert_file = {cert:?}\nkey_file = {key:?}\nca_file = {cert:?}\n");
    std::fs::write(&file, format!("{rest}{files}{KAFKA}{ROUTE}")).unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said.contains("X.509 version 1: make one of version 3"),
        is_old,
        "{said}"
    );
}

#[test]
fn addresses_and_names_that_are_nearly_right_say_what_is_missing() {
    let url = |url: &str| REST.replace("mqtt://localhost", url);
    let said = refused(&format!("{}{KAFKA}{ROUTE}", url("mqtt://fe80::1")));
    assert!(said.contains("without brackets: [fe80::1]"), "{said}");
    for (other, what) in [
        ("mqtt://h:8883", "the port for TLS"),
        ("mqtts://h:1883", "the port without TLS"),
    ] {
        let (_, said) = accepted(&format!("{}{KAFKA}{ROUTE}", url(other)));
        assert!(said.contains(what), "{said}");
    }
    let said = check("", "", "key = \"{device}-{gateway}\"\n");
    assert!(
        said.ends_with("write {gateway:id} for the gateway that received it"),
        "{said}"
    );
}

#[test]
fn servers_of_kafka_in_the_style_of_others_say_how_it_is_here() {
    let with = |servers: &str| {
        let said = refused(&format!(
            "{REST}[kafka]\nbootstrap_servers = [{servers:?}]\n{ROUTE}"
        ));
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    assert!(with("a:9092,b:9092").contains("is several: write each between quotes of its own"));
    assert!(with("SSL://a:9093").contains("has a scheme: leave it out"));
}

#[test]
fn http_is_on_loopback_by_default_and_elsewhere_needs_a_token() {
    let with = |http: &str| format!("{REST}{KAFKA}{ROUTE}[http]\n{http}");
    let (config, warnings) = accepted(&format!("{REST}{KAFKA}{ROUTE}"));
    assert_eq!(warnings, "");
    assert_eq!(config.http.listen.unwrap().to_string(), "127.0.0.1:8484");
    let (config, _) = accepted(&with("listen = \"off\"\n"));
    assert_eq!(config.http.listen, None);
    let (config, warnings) = accepted(&with(
        "listen = \"[::1]:80\"\ntoken_file = \"$CREDENTIALS_DIRECTORY/token\"\n",
    ));
    assert_eq!(
        (
            config.http.listen.unwrap().to_string().as_str(),
            warnings.as_str()
        ),
        ("[::1]:80", "")
    );
    for address in ["0.0.0.0:8484", "[::]:8484", "10.1.2.3:8484"] {
        let said = refused(&with(&format!("listen = \"{address}\"\n")));
        assert!(
            said.contains("http.token_file: is missing: ") && said.contains("`openssl rand -hex 32`"),
            "{said}"
        );
        let (_, warnings) = accepted(&with(&format!("listen = \"{address}\"\ntoken_file = \"/t\"\n")));
        assert!(warnings.contains("HTTP is not encrypted"), "{warnings}");
    }
    for nonsense in [
        "localhost:8484",
        "8484",
        "127.0.0.1",
        "127.0.0.1:0",
        "::1:80",
        "on",
        "",
        "http://127.0.0.1:8484",
    ] {
        let said = refused(&with(&format!("listen = \"{nonsense}\"\n")));
        assert!(
            said.contains("is not an IP address with a port; write for example \"127.0.0.1:8484\""),
            "{said}"
        );
    }
    let said = refused(&with("token = \"secret\"\n"));
    assert!(
        said.contains("secrets come from files: write token_file"),
        "{said}"
    );
    let said = refused(&with("token_file = \"token\"\n"));
    assert!(
        said.contains("holds 5 characters that are no absolute path"),
        "{said}"
    );
    let said = refused(&with("token_file = \"\"\n"));
    assert!(said.contains("http.token_file: is empty"), "{said}");
}

#[test]
fn check_says_when_the_token_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let (file, token) = (folder.path().join("config.toml"), folder.path().join("token"));
    let text = format!(
        "{REST}{KAFKA}{ROUTE}[http]\ntoken_file = \"{}\"\n",
        token.display()
    );
    std::fs::write(&file, text).unwrap();
    let said = || {
        let output = run(&["check", "--config", file.to_str().unwrap()]);
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (is_right, text) = said();
    assert!(
        !is_right && text.contains("http.token_file: ") && text.contains("No such file"),
        "{text}"
    );
    std::fs::write(&token, "too short\n").unwrap();
    let (is_right, text) = said();
    assert!(
        !is_right && text.contains("`openssl rand -hex 32` makes one"),
        "{text}"
    );
    assert!(!text.contains("too short"), "{text}");
    std::fs::write(&token, "0123456789abcdef0123\n").unwrap();
    let (is_right, text) = said();
    assert!(is_right, "{text}");
}
