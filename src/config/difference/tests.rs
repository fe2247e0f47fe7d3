use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::*;

/// A table header of a file, and its lines by key.
type Table<'a> = (&'a str, Vec<(&'a str, &'a str)>);

fn base() -> Vec<Table<'static>> {
    vec![
        (
            "[gateway]",
            vec![("id", "id = \"gw\""), ("data_dir", "data_dir = \"/tmp/x\"")],
        ),
        (
            "[[mqtt]]",
            vec![("name", "name = \"one\""), ("url", "url = \"mqtts://localhost\"")],
        ),
        (
            "[kafka]",
            vec![("bootstrap_servers", "bootstrap_servers = [\"127.0.0.1:9092\"]")],
        ),
        ("[queue]", vec![]),
        ("[dead_letter]", vec![]),
        ("[http]", vec![]),
        ("[status]", vec![]),
        ("[log]", vec![]),
        ("[[lane]]", vec![("name", "name = \"a\"")]),
        (
            "[[route]]",
            vec![
                ("from", "from = \"t/{device}/{kind}\""),
                ("topic", "topic = \"t\""),
                ("lane", "lane = \"a\""),
            ],
        ),
    ]
}

fn text(tables: &[Table<'_>]) -> String {
    let table = |(header, lines): &Table<'_>| {
        let lines: Vec<&str> = lines.iter().map(|(_, line)| *line).collect();
        format!("{header}\n{}\n", lines.join("\n"))
    };
    tables.iter().map(table).collect()
}

fn parse(text: &str) -> Config {
    let parsed = crate::config::parse(Path::new("test.toml"), text);
    parsed.unwrap_or_else(|error| panic!("{error}\n{text}")).0
}

/// The base with another line for `key` in the table.
fn with(table: &str, key: &str, line: &'static str) -> Config {
    let mut tables = base();
    let (_, lines) = tables
        .iter_mut()
        .find(|(header, _)| *header == table)
        .expect("a table");
    lines.retain(|(known, _)| *known != key);
    lines.push(("new", line));
    parse(&text(&tables))
}

/// Another value of each setting there is.
const SAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "[gateway]",
        &[("id", "id = \"other\""), ("data_dir", "data_dir = \"/tmp/y\"")],
    ),
    (
        "[[mqtt]]",
        &[
            ("name", "name = \"two\""),
            ("url", "url = \"mqtts://127.0.0.1\""),
            ("version", "version = \"3.1.1\""),
            ("client_id", "client_id = \"me\""),
            ("username", "username = \"me\""),
            ("password_file", "username = \"me\"\npassword_file = \"/p\""),
            ("ca_file", "ca_file = \"/ca\""),
            ("cert_file", "cert_file = \"/c\"\nkey_file = \"/k\""),
            ("key_file", "cert_file = \"/c\"\nkey_file = \"/k\""),
            ("session_expiry", "session_expiry = \"1h\""),
            ("receive_maximum", "receive_maximum = 5"),
            ("max_packet_size", "max_packet_size = \"2 KiB\""),
            ("keep_alive", "keep_alive = \"7s\""),
            ("status_topic", "status_topic = \"gw/{gateway}\""),
            ("shared_group", "shared_group = \"g\""),
            ("watch_broker", "watch_broker = false"),
        ],
    ),
    (
        "[kafka]",
        &[
            ("bootstrap_servers", "bootstrap_servers = [\"127.0.0.2:9092\"]"),
            ("delivery", "delivery = \"exactly-once\""),
            ("cursor_topic", "cursor_topic = \"c\""),
            ("unknown_topic_after", "unknown_topic_after = \"20m\""),
            ("on_partition_change", "on_partition_change = \"drain\""),
            ("partitioner", "partitioner = \"crc32\""),
            ("record_timestamp", "record_timestamp = \"send\""),
            ("preset", "preset = \"latency\""),
            ("max_rate", "max_rate = \"5 msg/s\""),
            ("compression", "compression = \"zstd\""),
            ("tls", "tls = true"),
            ("ca_file", "ca_file = \"/ca\""),
            ("cert_file", "cert_file = \"/c\"\nkey_file = \"/k\""),
            ("key_file", "cert_file = \"/c\"\nkey_file = \"/k\""),
            (
                "key_password_file",
                "cert_file = \"/c\"\nkey_file = \"/k\"\nkey_password_file = \"/p\"",
            ),
            (
                "sasl",
                "tls = true\nsasl = \"plain\"\nusername = \"me\"\npassword_file = \"/p\"",
            ),
            (
                "username",
                "tls = true\nsasl = \"plain\"\nusername = \"me\"\npassword_file = \"/p\"",
            ),
            (
                "password_file",
                "tls = true\nsasl = \"plain\"\nusername = \"me\"\npassword_file = \"/p\"",
            ),
            (
                "token_file",
                "tls = true\nsasl = \"oauthbearer\"\ntoken_file = \"/t\"",
            ),
            ("properties", "properties = { \"linger.ms\" = \"7\" }"),
        ],
    ),
    ("[queue]", QUEUE),
    (
        "[dead_letter]",
        &[
            ("max_bytes", "max_bytes = \"32 MiB\""),
            ("on_full", "on_full = \"drop-oldest\""),
            ("topic", "topic = \"dead\""),
        ],
    ),
    (
        "[http]",
        &[
            ("listen", "listen = \"off\""),
            ("token_file", "token_file = \"/t\""),
        ],
    ),
    (
        "[status]",
        &[
            ("kafka_topic", "kafka_topic = \"s\""),
            ("mqtt_topic", "mqtt_topic = \"s/{gateway}\""),
            ("interval", "interval = \"2m\""),
        ],
    ),
    ("[log]", &[("level", "level = \"warn\"")]),
    (
        "[[route]]",
        &[
            ("from", "from = \"u/{device}/{kind}\""),
            ("match", "match = { kind = \"x\" }"),
            ("when", "when = [{ value = \"kind\", equals = \"x\" }]"),
            ("retained", "retained = \"skip\""),
            ("device", "device = \"{kind}\""),
            ("topic", "topic = \"u\""),
            ("key", "key = \"{kind}\""),
            ("partition_by", "partition_by = \"{kind}\""),
            ("format", "format = \"cloudevents\""),
            ("headers", "headers = \"minimal\""),
            ("add_headers", "add_headers = { site = \"x\" }"),
            ("max_payload", "max_payload = \"1 KiB\""),
            ("broker", "broker = \"one\""),
            ("lane", "lane = \"default\""),
            ("qos", "qos = 0"),
            ("unique_times", "unique_times = true"),
            (
                "cloudevents",
                "format = \"cloudevents\"\ncloudevents = { source = \"/x\" }",
            ),
            ("wasp", "format = \"wasp\"\nwasp = { ingest = \"x\" }"),
            ("ngsiv2", "format = \"ngsiv2\"\nngsiv2 = { service = \"x\" }"),
        ],
    ),
];

const QUEUE: &[(&str, &str)] = &[
    ("max_bytes", "max_bytes = \"32 MiB\""),
    ("min_free_bytes", "min_free_bytes = \"32 MiB\""),
    ("max_age", "max_age = \"1h\""),
    ("on_full", "on_full = \"drop-oldest\""),
    ("commit_interval", "commit_interval = \"20ms\""),
    ("commit_interval_max", "commit_interval_max = \"5s\""),
    ("flash_budget", "flash_budget = \"1 GiB/day\""),
    ("compression", "compression = \"none\""),
    ("key_file", "key_file = \"/k\""),
    ("old_key_files", "old_key_files = [\"/k\"]"),
];

const LANE: &[(&str, &str)] = &[
    ("name", "name = \"a\"\n[[lane]]\nname = \"b\""),
    ("weight", "weight = 7"),
    ("max_rate", "max_rate = \"5 msg/s\""),
];

fn samples() -> BTreeMap<(&'static str, &'static str), &'static str> {
    let lanes = ("[[lane]]", [LANE, QUEUE].concat());
    let others = SAMPLES.iter().map(|(table, keys)| (*table, keys.to_vec()));
    let all = others.chain([lanes]);
    all.flat_map(|(table, keys)| keys.into_iter().map(move |(key, line)| ((table, key), line)))
        .collect()
}

/// What a change takes, in the words of the table in the documents.
fn words(takes: &Takes) -> &'static str {
    match takes {
        Takes::Restart(_) => "restart",
        Takes::AllLanes => "all lanes",
        Takes::Plans => "the lane",
        Takes::Broker(_) => "the lanes of the broker",
        Takes::Route { .. } => "the lanes of the route",
        Takes::Order => "lanes whose routes change places",
        Takes::Forwarding | Takes::Status(_) | Takes::Telling | Takes::Log => "no lane",
    }
}

/// What a change of the setting takes. What stands beside the lanes goes along with them.
fn found(table: &str, key: &str, line: &'static str) -> String {
    let difference = Difference::between(&parse(&text(&base())), &with(table, key, line));
    let changes = difference.changes.iter();
    let mut all: BTreeSet<&str> = changes.map(|change| words(&change.takes)).collect();
    if all.len() > 1 {
        all.remove("no lane");
    }
    all.into_iter().collect::<Vec<_>>().join(", ")
}

/// Rows of the table under "## Reload": the settings of a table of the file, and what a change takes.
fn documented() -> BTreeMap<(String, String), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let document = std::fs::read_to_string(path).expect("readable");
    let section = document.split("\n## Reload\n").nth(1).expect("a section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut rows = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| `[")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let mut quoted = cells[1].split('`').skip(1).step_by(2);
        let table = quoted.next().expect("a table");
        for key in quoted {
            let before = rows.insert((table.to_owned(), key.to_owned()), cells[2].to_owned());
            assert_eq!(before, None, "{table} {key} stands there twice");
        }
    }
    rows
}

#[test]
fn the_documents_say_of_each_setting_what_a_change_of_it_takes() {
    let mut left = documented();
    for ((table, key), line) in samples() {
        let takes = found(table, key, line);
        let said = left.remove(&(table.to_owned(), key.to_owned()));
        assert_eq!(said.as_deref(), Some(takes.as_str()), "{table} {key}");
    }
    assert!(left.is_empty(), "there is no such setting: {left:?}");
}

/// The settings that a table may have, as the complaint of an unknown one lists them.
fn known_settings(header: &str) -> Vec<String> {
    let refused = crate::config::parse(Path::new("test.toml"), &format!("{header}\nzzzzzz = 1\n"));
    let complaint = refused.expect_err("refused").to_string();
    let known = complaint.split("known here: ").nth(1).expect("a list");
    let known = known.lines().next().unwrap_or_default();
    known.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_setting_of_every_table_is_compared() {
    let samples = samples();
    for table in known_settings("") {
        let headers = [format!("[{table}]"), format!("[[{table}]]")];
        let is_header = |header: &&String| samples.keys().any(|(known, _)| known == *header);
        let header = headers.iter().find(is_header);
        let header = header.unwrap_or_else(|| panic!("the table {table} has no samples"));
        for key in known_settings(header) {
            assert!(
                samples.contains_key(&(header, &key)),
                "{header} {key} has no sample"
            );
        }
    }
    for ((table, key), line) in samples {
        assert_ne!(found(table, key, line), "", "{table} {key} makes no difference");
    }
}

fn said(old: &str, new: &str) -> String {
    Difference::between(&parse(old), &parse(new)).to_string()
}

const HEAD: &str = "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n[kafka]\n\
    bootstrap_servers = [\"127.0.0.1:9092\"]\n";

fn routes(routes: &[(&str, &str)]) -> String {
    let route = |(from, topic): &(&str, &str)| {
        format!("[[route]]\nfrom = \"{from}/{{device}}\"\ntopic = \"{topic}\"\n")
    };
    [HEAD.to_owned(), routes.iter().map(route).collect()].concat()
}

#[test]
fn routes_are_told_by_what_they_say_then_by_their_filter_then_by_their_place() {
    let three = routes(&[("a", "a"), ("b", "b"), ("c", "c")]);
    assert_eq!(said(&three, &three), "");
    assert_eq!(
        said(&three, &routes(&[("a", "a"), ("c", "c")])),
        "route[1] removed"
    );
    assert_eq!(
        said(&three, &routes(&[("x", "x"), ("a", "a"), ("b", "b"), ("c", "c")])),
        "route[0] added"
    );
    assert_eq!(
        said(&three, &routes(&[("a", "a"), ("c", "c"), ("b", "other")])),
        "route[2] changed (topic)"
    );
    assert_eq!(
        said(&three, &routes(&[("a", "a"), ("x", "b"), ("c", "c")])),
        "route[1] changed (from)"
    );
    assert_eq!(
        said(&three, &routes(&[("b", "b"), ("a", "a"), ("c", "c")])),
        "routes stand in another order"
    );
    assert_eq!(
        said(&three, &routes(&[("b", "b"), ("a", "a"), ("c", "other")])),
        "route[2] changed (topic); routes stand in another order"
    );
    assert_eq!(
        said(&three, &routes(&[("x", "x"), ("c", "c"), ("a", "a")])),
        "route[0] added; route[1] removed; routes stand in another order"
    );
    assert_eq!(
        said(
            &routes(&[("a", "a"), ("a", "b")]),
            &routes(&[("a", "a"), ("a", "c")])
        ),
        "route[1] changed (topic)"
    );
}

#[test]
fn the_line_for_people_names_tables_and_settings() {
    let one = routes(&[("a", "a")]);
    let lane =
        "[[lane]]\nname = \"alarms\"\n[[route]]\nfrom = \"x/{device}\"\ntopic = \"x\"\nlane = \"alarms\"\n";
    assert_eq!(
        said(&one, &format!("{one}{lane}")),
        "route[1] added; lane alarms added"
    );
    let weighty = format!("{one}{lane}").replace(
        "name = \"alarms\"",
        "name = \"alarms\"\nweight = 7\nmax_age = \"1h\"",
    );
    assert_eq!(
        said(&format!("{one}{lane}"), &weighty),
        "lane alarms changed (weight, max_age)"
    );
    let second = format!("{one}[[mqtt]]\nname = \"two\"\nurl = \"mqtt://127.0.0.2\"\nstatus_topic = \"s\"\n")
        .replace("[[mqtt]]\nurl", "[[mqtt]]\nname = \"one\"\nurl");
    assert_eq!(
        said(
            &one.replace("[[mqtt]]\nurl", "[[mqtt]]\nname = \"one\"\nurl"),
            &second
        ),
        "mqtt two added"
    );
    let secured = one.replace(
        "[kafka]",
        "[kafka]\ncompression = \"zstd\"\nmax_rate = \"5 msg/s\"",
    );
    assert_eq!(
        said(&one, &secured),
        "kafka.max_rate changed; kafka.compression changed"
    );
}

#[test]
fn a_table_that_says_nothing_but_the_name_of_a_lane_is_a_difference() {
    // A lane that is being emptied keeps its policies as long as it has a table.
    let without = format!("{}[queue]\nmax_age = \"1h\"\n", routes(&[("a", "a")]));
    let with = format!("{without}[[lane]]\nname = \"default\"\n");
    assert_eq!(said(&without, &with), "lane default changed (table added)");
    assert_eq!(said(&with, &without), "lane default changed (table removed)");
    let said_too = format!("{without}[[lane]]\nname = \"default\"\nweight = 7\n");
    assert_eq!(said(&without, &said_too), "lane default changed (weight)");
}

#[test]
fn what_goes_along_with_a_broker_is_done_and_not_told() {
    let one = routes(&[("a", "a")]);
    let quicker = one.replace("url =", "keep_alive = \"7s\"\nurl =");
    let difference = Difference::between(&parse(&one), &parse(&quicker));
    assert_eq!(difference.to_string(), "mqtt default changed (keep_alive)");
    assert!(
        difference.takes(|takes| matches!(takes, Takes::Status(_))),
        "its client is another one"
    );
}

#[test]
fn only_settings_of_kafka_are_about_kafka() {
    let one = routes(&[("a", "a")]);
    let about_kafka = |new: &str| Difference::between(&parse(&one), &parse(new)).is_about_kafka();
    assert!(about_kafka(
        &one.replace("[kafka]", "[kafka]\ncompression = \"zstd\"")
    ));
    assert!(!about_kafka(&format!(
        "{one}[dead_letter]\nmax_bytes = \"32 MiB\"\n"
    )));
}

#[test]
fn a_restart_has_a_reason() {
    let one = routes(&[("a", "a")]);
    let other = parse(&one.replace("\"gw\"", "\"other\"").replace("/tmp/x", "/tmp/y"));
    let difference = Difference::between(&parse(&one), &other);
    let restarts: Vec<_> = difference
        .restarts()
        .map(|(change, why)| (change.setting.as_str(), why.is_empty()))
        .collect();
    assert_eq!(restarts, [("gateway.id", false), ("gateway.data_dir", false)]);
}
