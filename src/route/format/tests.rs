//! Parts for the tests of all formats: from the text of a `[[route]]` to what becomes of one message.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Told;
use crate::message::{Arrival, Epoch, Properties, Seq, Stored};
use crate::route::{KafkaRecord, Refusal, Router};

const HEAD: &str = "[gateway]\nid = \"gw-7\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n\
                    [kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\n";

/// 2026-11-20T11:00:00.000Z
pub const ARRIVAL_MS: i64 = 1_795_172_400_000;

/// The router of a file with these routes.
pub fn router(routes: &str) -> Router {
    let parsed = crate::config::parse(Path::new("test.toml"), &format!("{HEAD}{routes}"));
    let (config, warnings) = parsed.unwrap_or_else(|error| panic!("must load:\n{error}"));
    assert_eq!(warnings, []);
    Router::new(config.routes, "gw-7", "default")
}

/// All problems of a file with these routes, without file and line.
pub fn problems(routes: &str) -> Vec<String> {
    let parsed = crate::config::parse(Path::new("test.toml"), &format!("{HEAD}{routes}"));
    let error = parsed.expect_err("must not load").to_string();
    let lines = error
        .lines()
        .map(|line| line.splitn(3, ':').nth(2).unwrap_or(line));
    lines.map(|line| line.trim().to_owned()).collect()
}

pub fn stored(topic: &str, payload: &[u8]) -> Stored {
    let mut arrival = Arrival::trial(1, "a/b", "x");
    arrival.topic = topic.to_owned();
    arrival.payload = Bytes::copy_from_slice(payload);
    arrival.stamp.unix_ms = ARRIVAL_MS;
    Stored {
        seq: Seq(42),
        epoch: Epoch(0x0123_4567_89ab_cdef),
        arrival,
    }
}

pub fn with_properties(mut message: Stored, properties: Properties) -> Stored {
    message.arrival.properties = Some(Box::new(properties));
    message
}

pub fn user(pairs: &[(&str, &str)]) -> Properties {
    let pairs = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Properties {
        user: pairs.collect(),
        ..Properties::default()
    }
}

/// The one record of a message.
pub fn record(router: &Router, message: &Stored) -> Arc<KafkaRecord> {
    let outcome = router.route(message, &Told::as_it_stood(&message.arrival.stamp));
    assert_eq!(outcome.refusals, []);
    let [record] = <[_; 1]>::try_from(outcome.records).expect("one record");
    record
}

/// Why a message does not become a record.
pub fn refusal(router: &Router, message: &Stored) -> String {
    let outcome = router.route(message, &Told::as_it_stood(&message.arrival.stamp));
    assert_eq!(outcome.records, []);
    let [refusal] = <[_; 1]>::try_from(outcome.refusals).expect("one refusal");
    match refusal {
        Refusal::Unshapable { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

/// It ends as a record or as a refusal, whatever it is.
pub fn ends_well(router: &Router, message: &Stored) {
    let outcome = router.route(message, &Told::as_it_stood(&message.arrival.stamp));
    assert_eq!(outcome.records.len() + outcome.refusals.len(), 1);
    for record in outcome.records {
        assert!(!record.key.is_empty());
        assert_eq!(record, self::record(router, message), "the same again");
    }
}

pub fn value(record: &KafkaRecord) -> &str {
    std::str::from_utf8(&record.payload).expect("text")
}

/// Headers as `name=value`, without the facts that every record has.
pub fn own_headers(record: &KafkaRecord) -> Vec<String> {
    let facts = |name: &str| name.starts_with("edgeferry-") || name.starts_with("mqtt-");
    let own = record.headers.iter().filter(|header| !facts(&header.name));
    let lines = own.map(|header| format!("{}={}", header.name, String::from_utf8_lossy(&header.value)));
    lines.collect()
}

/// Payloads that somebody sends some day.
pub fn bad_payloads() -> Vec<Vec<u8>> {
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let wide: Vec<String> = (0..5_000).map(|n| format!("\"k{n}\":{n}")).collect();
    let mut payloads: Vec<Vec<u8>> = [
        "",
        " ",
        "{",
        "[]",
        "{}",
        "null",
        "1e400",
        "{\"a\":1e400}",
        "{\"a\":1,\"a\":2}",
        "{\"\\ud800\":1}",
        "{\"a\":\"\\ud800\"}",
        "\u{feff}{}",
        "{\"a\":NaN}",
        "#",
        "|",
        "a|1|",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    payloads.push(deep(64).into_bytes());
    payloads.push(deep(100_000).into_bytes());
    payloads.push(format!("{{{}}}", wide.join(",")).into_bytes());
    payloads.push(vec![0xff, 0xfe, 0x00]);
    payloads.push(b"{\"a\":\"\xff\"}".to_vec());
    payloads.push(vec![b'x'; 1 << 20]);
    payloads
}

mod tables {
    use super::*;

    const ROUTE: &str = "[[route]]\nfrom = \"a/{device}\"\ntopic = \"t\"\n";

    #[test]
    fn a_table_of_another_format_is_refused() {
        for (format, table) in [("raw", "wasp"), ("wasp", "ngsiv2"), ("cloudevents", "wasp")] {
            let found = problems(&format!("{ROUTE}format = \"{format}\"\n[route.{table}]\n"));
            let expected = format!(
                "route[0].{table}: belongs to another format than \"{format}\"; write format = \"{table}\", or remove the table"
            );
            assert_eq!(found, [expected]);
        }
        let found = problems(&format!("{ROUTE}[route.cloudevents]\n"));
        assert!(
            found[0].starts_with("route[0].cloudevents: belongs to another format than \"raw\""),
            "{found:?}"
        );
    }

    #[test]
    fn an_unknown_format_and_an_unknown_setting_are_refused() {
        let found = problems(&format!("{ROUTE}format = \"avro\"\n"));
        let right = "write \"raw\" or \"cloudevents\" or \"wasp\" or \"ngsiv2\"";
        assert_eq!(
            found,
            [format!("route[0].format: \"avro\" is not known; {right}")]
        );
        let found = problems(&format!(
            "{ROUTE}format = \"wasp\"\n[route.wasp]\ningesst = \"x\"\n"
        ));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("ingesst"), "{found:?}");
    }

    #[test]
    fn a_name_that_the_pattern_does_not_have_is_refused_in_a_table_too() {
        let found = problems(&format!(
            "{ROUTE}format = \"cloudevents\"\n[route.cloudevents]\nsubject = \"{{plant}}\"\n"
        ));
        assert_eq!(
            found,
            ["route[0].cloudevents.subject: {plant} is not a name in \"a/{device}\"; `from` has {device}"]
        );
    }

    #[test]
    fn a_header_that_the_format_writes_cannot_be_added() {
        for (format, table, name) in [
            ("ngsiv2", "[route.ngsiv2]\nservice = \"test\"\n", "Fiware-Service"),
            ("cloudevents", "", "content-type"),
            ("cloudevents", "", "ce_type"),
        ] {
            let added = format!("[route.add_headers]\n{name} = \"x\"\n");
            let found = problems(&format!("{ROUTE}format = \"{format}\"\n{table}{added}"));
            let expected =
                format!("route[0].add_headers.{name}: is written by format \"{format}\" already; remove it");
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn a_tenant_stays_in_minimal_headers() {
        let routes = format!(
            "{ROUTE}format = \"ngsiv2\"\nheaders = \"minimal\"\n[route.ngsiv2]\nservice = \"test\"\n"
        );
        let record = record(&router(&routes), &stored("a/d1", b"{\"t\":1}"));
        let names: Vec<&str> = record.headers.iter().map(|header| &*header.name).collect();
        assert_eq!(names, ["edgeferry-id", "fiware-service", "fiware-servicepath"]);
    }

    #[test]
    fn a_device_without_a_name_is_no_entity_whatever_the_key_is() {
        let routes = "[[route]]\nfrom = \"{site}/{device}\"\ntopic = \"t\"\nkey = \"{site}\"\nformat = \"ngsiv2\"\n\
                      [route.ngsiv2]\nservice = \"test\"\n";
        let message = stored("a/", b"{\"t\":1}");
        let told = Told::as_it_stood(&message.arrival.stamp);
        let outcome = router(routes).route(&message, &told);
        let expected = Refusal::NoValue {
            route: 0,
            name: "device".to_owned(),
            why: "the level is empty".to_owned(),
        };
        assert_eq!((outcome.records, outcome.refusals), (vec![], vec![expected]));
    }

    #[test]
    fn all_mistakes_of_all_tables_are_reported_at_once() {
        let found = problems(&format!(
            "{ROUTE}format = \"wasp\"\n[route.wasp]\nenvelope = \"post\"\nnon_json = \"hex\"\ningest = \"\"\n\
             {ROUTE}format = \"ngsiv2\"\n[route.ngsiv2]\npayload = \"xml\"\n"
        ));
        let fields: Vec<&str> = found.iter().filter_map(|line| line.split(": ").next()).collect();
        assert_eq!(
            fields,
            [
                "route[0].wasp.envelope",
                "route[0].wasp.non_json",
                "route[0].wasp.ingest",
                "route[1].ngsiv2.service",
                "route[1].ngsiv2.payload",
            ]
        );
    }
}

#[test]
fn a_message_that_was_imported_keeps_its_id_in_every_format() {
    use crate::message::Origin;

    let mut message = stored("a/574bd77c-4aba-4557-aa9e-066939f938cc", b"{\"t\":1}");
    let route = "[[route]]\nfrom = \"a/{device}\"\ntopic = \"raw-payloads\"\nformat = \"wasp\"\n";
    let at_home = record(&router(route), &message);
    message.arrival.origin = Some(Box::new(Origin {
        gateway: "gw-1".to_owned(),
        epoch: message.epoch,
        lane: "default".to_owned(),
        seq: message.seq,
    }));
    (message.epoch, message.seq) = (Epoch(1), Seq(7));
    let config = format!("{HEAD}{route}lane = \"other\"\n[[lane]]\nname = \"other\"\n");
    let (config, _) = crate::config::parse(Path::new("test.toml"), &config).expect("loads");
    let elsewhere = Router::new(config.routes, "gw-2", "other");
    assert_eq!(record(&elsewhere, &message).payload, at_home.payload);
}
