use std::collections::BTreeMap;

use super::*;
use crate::cli::check::wanted::{may_create, templated, wanted};

const DAY_MS: u64 = 24 * 3_600_000;

fn config(lines: &str) -> Config {
    let text = format!(
        "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\nmax_packet_size = 100_000\n{lines}\n\
         [[route]]\nfrom = \"devices/{{device}}/telemetry\"\ntopic = \"telemetry\"\n"
    );
    let kafka = "[kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\n";
    let text = if lines.contains("[kafka]") {
        text
    } else {
        text + kafka
    };
    crate::config::parse(std::path::Path::new("test.toml"), &text)
        .expect("valid")
        .0
}

fn topic(settings: &[(&str, String)]) -> Topic {
    let good = [
        ("cleanup.policy", "delete".to_owned()),
        ("max.message.bytes", "1048588".to_owned()),
        ("message.timestamp.after.max.ms", "3600000".to_owned()),
        ("message.timestamp.before.max.ms", i64::MAX.to_string()),
        ("message.timestamp.type", "CreateTime".to_owned()),
        ("min.insync.replicas", "2".to_owned()),
        ("retention.ms", "-1".to_owned()),
    ];
    let all = good.iter().chain(settings);
    Topic {
        partitions: 5,
        leaderless: 0,
        replicas: 3,
        in_sync: 3,
        settings: Ok(all
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()),
    }
}

fn said(config: &Config, topic: &Topic) -> Vec<(Level, String)> {
    let remarks = judge(config, &wanted(config)[0], topic).into_iter();
    remarks.map(|remark| (remark.level, remark.text)).collect()
}

/// One remark of this level that has these words.
fn check(config: &Config, topic: &Topic, level: Level, words: &str) {
    let said = said(config, topic);
    assert!(
        said.len() == 1 && said[0].0 == level && said[0].1.contains(words),
        "{words}: {said:?}"
    );
}

#[test]
fn nothing_is_said_of_a_good_topic() {
    assert_eq!(said(&config(""), &topic(&[])), []);
    assert_eq!(overall(&config("")), []);
}

#[test]
fn replicas_and_their_least_number_fit_together() {
    let least = |number: u32| topic(&[("min.insync.replicas", number.to_string())]);
    let config = config("");
    check(
        &config,
        &least(1),
        Level::Warning,
        "what one broker alone has confirmed is lost",
    );
    check(
        &config,
        &least(3),
        Level::Warning,
        "while any of their brokers is away",
    );
    check(&config, &least(4), Level::Error, "Kafka takes nothing");
    let lagging = Topic {
        in_sync: 1,
        ..topic(&[])
    };
    check(&config, &lagging, Level::Error, "only 1 are in sync");
    let single = Topic {
        replicas: 1,
        in_sync: 1,
        ..least(1)
    };
    assert_eq!(said(&config, &single), [], "one broker is a choice");
}

#[test]
fn a_partition_without_a_leader_is_an_error() {
    let topic = Topic {
        leaderless: 2,
        ..topic(&[])
    };
    check(
        &config(""),
        &topic,
        Level::Error,
        "2 of 5 partitions have no leader",
    );
}

#[test]
fn retention_is_held_against_what_may_wait() {
    let week = topic(&[("retention.ms", (7 * DAY_MS).to_string())]);
    check(&config(""), &week, Level::Warning, "as long as the queue holds");
    check(
        &config("[queue]\nmax_age = \"30days\""),
        &week,
        Level::Warning,
        "max_age = 30days",
    );
    assert_eq!(said(&config("[queue]\nmax_age = \"6days\""), &week), []);
    let send = "[kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\nrecord_timestamp = \"send\"";
    assert_eq!(said(&config(send), &week), []);
    let mut by_broker = week;
    if let Ok(settings) = &mut by_broker.settings {
        settings.insert("message.timestamp.type".to_owned(), "LogAppendTime".to_owned());
    }
    assert_eq!(said(&config(""), &by_broker), []);
}

#[test]
fn the_whole_chain_of_sizes_is_looked_at() {
    let small = topic(&[("max.message.bytes", "50000".to_owned())]);
    check(
        &config(""),
        &small,
        Level::Warning,
        "records of up to 101024 bytes may come",
    );
    let mut large = config("");
    large.brokers[0].max_packet_size = 1 << 20;
    let remarks = overall(&large);
    assert!(
        remarks.len() == 1 && remarks[0].text.contains("message.max.bytes"),
        "{remarks:?}"
    );
}

#[test]
fn what_a_format_adds_and_what_a_route_refuses_count_in_the_chain_of_sizes() {
    let of = |route: &str| {
        config(&format!(
            "[[route]]\nfrom = \"a/{{device}}\"\ntopic = \"telemetry\"\n{route}"
        ))
    };
    let small = topic(&[("max.message.bytes", "50000".to_owned())]);
    for (route, words) in [
        ("format = \"wasp\"\n", "records of up to 134360 bytes may come"),
        (
            "format = \"cloudevents\"\n",
            "records of up to 134360 bytes may come",
        ),
        (
            "format = \"ngsiv2\"\n[route.ngsiv2]\nservice = \"test\"\n",
            "records of up to 1000000 bytes may come",
        ),
        (
            "format = \"wasp\"\nmax_payload = 30_000\n",
            "records of up to 101024 bytes may come",
        ),
    ] {
        check(&of(route), &small, Level::Warning, words);
    }
    let mut large = of("format = \"wasp\"\n");
    large.brokers[0].max_packet_size = 900_000;
    let remarks: Vec<String> = overall(&large).into_iter().map(|remark| remark.text).collect();
    assert_eq!(remarks.len(), 1, "900,000 bytes fit, in base64 they do not");
    assert!(
        remarks[0].contains(
            "route[0] takes payloads of up to 900000 bytes, format = \"wasp\" makes them up to 1201024 bytes"
        ) && remarks[0].contains("max_payload = 749232"),
        "{remarks:?}"
    );
    large.routes[0].max_payload = Some(749_232);
    assert_eq!(overall(&large), [], "what it says is enough");
}

#[test]
fn no_format_adds_more_than_check_counts() {
    use crate::message::{Arrival, Epoch, Seq, Stored};
    use crate::route::Router;

    let measures = "a|1#".repeat(200) + "a|1";
    let letters = || "abcdefghijklmnopqrst".chars();
    let attributes: Vec<String> = letters()
        .flat_map(|one| letters().map(move |other| format!("{one}{other}|1")))
        .collect();
    let attributes = attributes.join("|");
    let control = format!("k|{}", "\u{1}".repeat(3_000));
    let members: Vec<String> = (0..300).map(|n| format!("\"{n}\":{{}}")).collect();
    let members = format!("{{{}}}", members.join(","));
    let ngsiv2 = "format = \"ngsiv2\"\n[route.ngsiv2]\nservice = \"test\"\n";
    let wasp =
        "key = \"{json:/x}\"\nformat = \"wasp\"\n[route.wasp]\nenvelope = \"http\"\ningest = \"http\"\n";
    let wasp = wasp.replace("{json:/x}", "{device}");
    for (route, payload) in [
        (ngsiv2, measures.as_str()),
        (ngsiv2, attributes.as_str()),
        (ngsiv2, control.as_str()),
        (ngsiv2, members.as_str()),
        (wasp.as_str(), control.as_str()),
        ("format = \"cloudevents\"\n", control.as_str()),
        ("", control.as_str()),
    ] {
        let config = config(&format!(
            "[[route]]\nfrom = \"a/{{device}}\"\ntopic = \"raw-payloads\"\n{route}"
        ));
        let mut arrival = Arrival::trial(1, "a/b", "x");
        "a/d".clone_into(&mut arrival.topic);
        arrival.payload = bytes::Bytes::from(payload.to_owned());
        let stored = Stored {
            seq: Seq(1),
            epoch: Epoch(1),
            arrival,
        };
        let told = crate::clock::Told::as_it_stood(&stored.arrival.stamp);
        let outcome = Router::new(config.routes.clone(), "gw", "default").route(&stored, &told);
        let record = outcome
            .records
            .first()
            .unwrap_or_else(|| panic!("{route}: {outcome:?}"));
        let counted = config.routes[0].format.largest(payload.len() as u64) + RECORD_OVERHEAD;
        let is = size::of(record) as u64;
        assert!(
            is <= counted,
            "{route}: {} bytes became {is}, counted {counted}",
            payload.len()
        );
    }
}

#[test]
fn compaction_and_limits_of_time_are_named() {
    let config = config("");
    let compacted = topic(&[("cleanup.policy", "compact".to_owned())]);
    check(&config, &compacted, Level::Warning, "older ones go");
    let strict = topic(&[("message.timestamp.after.max.ms", "1000".to_owned())]);
    check(&config, &strict, Level::Warning, "further ahead");
    let young = topic(&[("message.timestamp.before.max.ms", "3600000".to_owned())]);
    check(&config, &young, Level::Warning, "the time of sending");
}

#[test]
fn settings_that_cannot_be_read_are_no_reason_to_say_that_all_is_well() {
    let hidden = Topic {
        settings: Err(rdkafka::types::RDKafkaErrorCode::TopicAuthorizationFailed),
        ..topic(&[])
    };
    check(&config(""), &hidden, Level::Warning, "DescribeConfigs");
}

#[test]
fn a_topic_of_letters_is_held_against_letters() {
    let send = "[kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\nrecord_timestamp = \"send\"\n\
                [dead_letter]\ntopic = \"letters\"";
    let mut config = config(send);
    config.brokers[0].max_packet_size = 200_000;
    let letters = wanted(&config).pop().expect("the topic of letters");
    let said = |name, value: &str| {
        let remarks = judge(&config, &letters, &topic(&[(name, value.to_owned())])).into_iter();
        remarks
            .map(|remark| (remark.level, remark.text))
            .collect::<Vec<_>>()
    };
    for (name, value, words) in [
        ("retention.ms", "604800000", "letters may wait without end"),
        (
            "max.message.bytes",
            "150000",
            "records of up to 201024 bytes may come: larger ones stay here",
        ),
        (
            "message.timestamp.after.max.ms",
            "1000",
            "letters of a clock that is further ahead stay here",
        ),
        (
            "message.timestamp.before.max.ms",
            "3600000",
            "letters that are older stay here",
        ),
        ("cleanup.policy", "compact", "older ones go"),
    ] {
        let said = said(name, value);
        assert!(
            said.len() == 1 && said[0].0 == Level::Warning && said[0].1.contains(words),
            "{words}: {said:?}"
        );
    }
    assert_eq!(said("retention.ms", "-1"), []);
}

#[test]
fn each_topic_is_wanted_once_and_templates_are_told_apart() {
    let config = config(
        "[[route]]\nfrom = \"a/{device}\"\ntopic = \"telemetry\"\n[[route]]\nfrom = \"b/{device}\"\ntopic = \"t-{device}\"\n\
         [kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\ndelivery = \"exactly-once\"\ncursor_topic = \"cursors\"\n\
         [dead_letter]\ntopic = \"letters\"",
    );
    let wanted = wanted(&config);
    let names: BTreeMap<_, _> = wanted
        .iter()
        .map(|one| (one.name.as_str(), one.uses.len()))
        .collect();
    assert_eq!(
        names,
        BTreeMap::from([("telemetry", 2), ("cursors", 1), ("letters", 1)])
    );
    let uses = wanted
        .last()
        .map(|one| (one.uses[0].to_string(), one.is_for_letters_alone()));
    assert_eq!(uses, Some(("dead_letter".to_owned(), true)));
    assert!(!wanted[0].takes_letters());
    assert_eq!(
        templated(&config).map(|(number, _)| number).collect::<Vec<_>>(),
        [1]
    );
    assert!(wanted.iter().all(|one| may_create(&config, one)));
}

#[test]
fn topics_that_the_readers_of_a_format_make_are_not_made_here() {
    let config = config(
        "[[route]]\nfrom = \"things/{device}/messages\"\ntopic = \"raw-payloads\"\nformat = \"wasp\"\n\
         [[route]]\nfrom = \"b/{device}\"\ntopic = \"telemetry\"\n[kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\n",
    );
    let made: Vec<_> = wanted(&config)
        .iter()
        .map(|one| (one.name.clone(), may_create(&config, one)))
        .collect();
    assert_eq!(
        made,
        [("raw-payloads".to_owned(), false), ("telemetry".to_owned(), true)]
    );
}
