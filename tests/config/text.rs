//! Mistakes in the text itself: all are reported at once, at their lines, with what would be right.

use super::{KAFKA, REST, ROUTE, accepted, check, refused};

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
