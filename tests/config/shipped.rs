//! The files of `config/`: they load, list every setting, and say the defaults that there are; and what becomes of them when somebody damages one.

use std::path::{Path, PathBuf};

use edgeferry::config::{self, LoadError};
use edgeferry::message::Qos;
use edgeferry::sink::OnPartitionChange;
use edgeferry::source::Version;
use proptest::prelude::*;

use super::{KAFKA, REST, ROUTE, accepted, shipped};

/// In the same order each time.
fn all_shipped() -> Vec<PathBuf> {
    let examples = std::fs::read_dir(shipped("examples")).unwrap();
    let mut files: Vec<PathBuf> = examples.map(|entry| entry.unwrap().path()).collect();
    files.push(shipped("edgeferry.toml"));
    files.sort_unstable();
    files
}

#[test]
fn shipped_files_load_without_a_warning() {
    let files = all_shipped();
    assert!(files.len() >= 20, "{files:?}");
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
        routes.map(|route| route.from.filter().to_owned()).collect()
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

proptest! {
    /// Whatever a person does to a file, there is a configuration or a reason.
    #[test]
    fn a_damaged_file_loads_or_says_why_and_never_panics(
        which in any::<prop::sample::Selector>(),
        at in any::<prop::sample::Index>(),
        len in 0_usize..60,
        instead in prop_oneof![
            "[a-z0-9\\[\\]{}=\"'#. \n\u{0}é]{0,12}",
            // Values that are out of every range.
            prop::sample::select(vec![
                "= 9223372036854775807\n", "= -1\n", "= nan\n", "= 1e308\n", "= \"18446744073709551615GiB\"\n",
                "= \"100000000000years\"\n", "= \"-5s\"\n", "= [[[[[[[[]]]]]]]]\n", "= 1979-05-27T07:32:00Z\n", "= \"{{}}{\"\n",
            ]).prop_map(str::to_owned),
        ],
    ) {
        let text = std::fs::read_to_string(which.select(all_shipped())).unwrap();
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

    #[test]
    fn any_text_is_a_configuration_or_says_why_and_never_panics(text in "\\PC{0,200}") {
        if let Err(LoadError::Invalid(problems)) = config::parse(Path::new("config.toml"), &text) {
            prop_assert!(!problems.is_empty());
        }
    }
}
