use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::message::{Arrival, Epoch, Seq, Stamp};

fn router(routes: &str) -> Router {
    Router::new(parsed(routes).routes, "gw-7", "default")
}

fn parsed(routes: &str) -> crate::config::Config {
    let head = "[gateway]\nid = \"gw-7\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n\
                [kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\n";
    crate::config::parse(Path::new("test.toml"), &format!("{head}{routes}"))
        .expect("valid")
        .0
}

fn stored(topic: &str, payload: &'static [u8]) -> Stored {
    let arrival = Arrival {
        stamp: Stamp::right(1_763_640_000_123),
        ..Arrival::trial(1, topic, payload)
    };
    Stored {
        seq: Seq(42),
        epoch: Epoch(0xabc),
        arrival,
    }
}

const TELEMETRY: &str = "[[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"telemetry\"\n";

fn told(message: &Stored) -> Told {
    Told::as_it_stood(&message.arrival.stamp)
}

fn routed(router: &Router, message: &Stored) -> Outcome {
    router.route(message, &told(message))
}

#[test]
fn raw_carries_the_bytes_and_says_where_they_came_from() {
    let outcome = routed(&router(TELEMETRY), &stored("devices/d1/telemetry", b"\0\xff"));
    let header = |name: &'static str, value: &str| Header::text(name, value);
    assert_eq!(outcome.refusals, []);
    assert_eq!(
        outcome.records,
        [Arc::new(KafkaRecord {
            route: 0,
            is_templated: false,
            topic: "telemetry".to_owned(),
            key: "d1".to_owned(),
            partition_by: None,
            payload: Bytes::from_static(b"\0\xff"),
            headers: vec![
                header("edgeferry-id", "0000000000000abc-default-42"),
                header("edgeferry-gateway", "gw-7"),
                header("edgeferry-arrival", "2025-11-20T12:00:00.123Z"),
                header("mqtt-topic", "devices/d1/telemetry"),
            ],
            timestamp_ms: 1_763_640_000_123,
        })]
    );
}

#[test]
fn marks_are_there_only_when_true() {
    let mut message = stored("devices/d1/telemetry", b"x");
    message.arrival.delivery.dup = true;
    message.arrival.delivery.retained = true;
    message.arrival.stamp.synchronised = false;
    let outcome = router(TELEMETRY).route(&message, &told(&message));
    let marks: Vec<_> = outcome.records[0]
        .headers
        .iter()
        .skip(4)
        .map(|header| (&*header.name, &*header.value))
        .collect();
    assert_eq!(
        marks,
        [
            ("edgeferry-dup", &b"true"[..]),
            ("edgeferry-retained", b"true"),
            ("edgeferry-clock", b"unsynchronised")
        ]
    );
}

#[test]
fn a_record_says_of_its_time_what_is_told() {
    let told = Told {
        arrival_ms: 1_000,
        record_ms: 2_000,
        clock: Some("corrected".to_owned()),
    };
    let message = stored("devices/d1/telemetry", b"x");
    let outcome = router(TELEMETRY).route(&message, &told);
    let record = &outcome.records[0];
    assert_eq!(record.timestamp_ms, 2_000);
    assert_eq!(
        record.header("edgeferry-arrival"),
        Some("1970-01-01T00:00:01.000Z")
    );
    assert_eq!(record.header("edgeferry-clock"), Some("corrected"));
}

/// What a route with these conditions makes of a message on `a/x`: records, and why not.
fn with_conditions(conditions: [&str; 2], payload: &'static [u8]) -> Outcome {
    let [one, other] = conditions;
    let route =
        format!("[[route]]\nfrom = \"a/{{device}}\"\ntopic = \"t\"\nwhen = [{{ {one} }}, {{ {other} }}]\n");
    routed(&router(&route), &stored("a/x", payload))
}

#[test]
fn a_condition_that_fails_for_certain_beats_one_that_cannot_be_judged_in_any_order() {
    let fails = "value = \"device\", equals = \"y\"";
    let unjudged = "value = \"json:/c\", equals = 1";
    for conditions in [[fails, unjudged], [unjudged, fails]] {
        let outcome = with_conditions(conditions, b"no JSON");
        assert!(outcome.is_filtered(), "{outcome:?}");
    }
    let holds = "value = \"device\", equals = \"x\"";
    for conditions in [[holds, unjudged], [unjudged, holds]] {
        let outcome = with_conditions(conditions, b"no JSON");
        assert!(
            matches!(outcome.refusals[..], [Refusal::NoValue { .. }]) && outcome.records.is_empty(),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_text_that_is_too_long_for_an_expression_passes_neither_it_nor_its_opposite() {
    let long: &'static str = Box::leak(format!("{{\"s\":\"{}\"}}", "a".repeat(4_800)).into_boxed_str());
    let any = "value = \"device\", exists = true";
    for test in ["matches = \"b*\", not = true", "matches = \"a*\""] {
        let condition = format!("value = \"json:/s\", {test}");
        let outcome = with_conditions([any, &condition], long.as_bytes());
        assert_eq!(outcome.records, [], "{test}");
        let [Refusal::NoValue { name, why, .. }] = &outcome.refusals[..] else {
            panic!("{outcome:?}");
        };
        assert_eq!(name, "when[1]");
        assert_eq!(
            why,
            "json:/s: the text of 4800 bytes is over the 256 that an expression is held against"
        );
    }
}

#[test]
fn an_empty_tenant_header_is_a_dead_letter_and_any_other_empty_header_is_none() {
    let headers = "[[route]]\nfrom = \"{tenant}/{path}/{device}\"\ntopic = \"t\"\n[route.add_headers]\n\
                   Fiware-Service = \"{tenant}\"\nfiware-servicepath = \"{path}\"\nsite = \"{path}\"\n";
    let of = |topic: &str| routed(&router(headers), &stored(topic, b"x"));
    for (topic, name) in [
        ("/p/d", "add_headers.Fiware-Service"),
        ("kafnus//d", "add_headers.fiware-servicepath"),
        ("  /p/d", "add_headers.Fiware-Service"),
    ] {
        let outcome = of(topic);
        assert!(outcome.records.is_empty(), "{topic}");
        let [Refusal::NoValue { name: said, why, .. }] = &outcome.refusals[..] else {
            panic!("{outcome:?}");
        };
        assert_eq!(said, name);
        assert!(
            why.ends_with("is empty, readers would take the tenant \"default\""),
            "{why}"
        );
    }
    assert_eq!(of("kafnus/p/d").records.len(), 1);
    let site =
        "[[route]]\nfrom = \"{path}/{device}\"\ntopic = \"t\"\n[route.add_headers]\nsite = \"{path}\"\n";
    let outcome = routed(&router(site), &stored("/d", b"x"));
    assert_eq!(outcome.records[0].header("site"), Some(""));
}

#[test]
fn a_cut_payload_is_never_forwarded_as_if_it_were_whole() {
    let mut message = stored("devices/d1/telemetry", b"cut");
    message.arrival.oversize = Some(9_000_000);
    let outcome = router(TELEMETRY).route(&message, &told(&message));
    assert_eq!(
        (outcome.records.len(), outcome.refusals),
        (0, vec![Refusal::Oversize { bytes: 9_000_000 }])
    );
}

#[test]
fn every_matching_route_makes_a_record() {
    let twice =
        format!("{TELEMETRY}[[route]]\nfrom = \"devices/#\"\ntopic = \"all\"\nkey = \"{{device}}\"\n")
            .replace("devices/#", "devices/{device}/{rest...}");
    let topics = |topic| {
        routed(&router(&twice), &stored(topic, b"x"))
            .records
            .into_iter()
            .map(|r| r.topic.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(topics("devices/d1/telemetry"), ["telemetry", "all"]);
    assert_eq!(topics("devices/d1/status"), ["all"]);
}

/// Topics that a router of lane `old` gives a message at `seq`.
fn topics_in_old(former: &[(&str, u64)], topic: &str, seq: u64) -> Vec<String> {
    let text = "[[lane]]\nname = \"old\"\n[[route]]\nlane = \"old\"\nfrom = \"a/{device}/{rest...}\"\ntopic = \"all\"\n\
                [[route]]\nfrom = \"a/{device}/alarm\"\ntopic = \"alarms\"\n[[route]]\nfrom = \"b/{device}/{rest...}\"\n\
                topic = \"b\"\n[[route]]\nfrom = \"b/{device}/new\"\ntopic = \"new\"\n";
    let former: Vec<Former> = former
        .iter()
        .map(|(filter, through)| Former {
            mark: Mark {
                filter: (*filter).to_owned(),
                broker: None,
                rest: None,
            },
            through: Seq(*through),
        })
        .collect();
    let router = Router::after(parsed(text).routes, &former, "gw-7", "old");
    let mut message = stored(topic, b"x");
    message.seq = Seq(seq);
    let records = router.route(&message, &told(&message)).records.into_iter();
    records.map(|record| record.topic.clone()).collect()
}

#[test]
fn a_lane_sends_what_its_own_routes_want_and_no_other_lanes_messages() {
    assert_eq!(topics_in_old(&[], "a/1/alarm", 5), ["all"]);
}

#[test]
fn what_was_stored_before_a_route_moved_away_still_takes_it() {
    let former = [("a/+/alarm", 5)];
    assert_eq!(topics_in_old(&former, "a/1/alarm", 5), ["all", "alarms"]);
    assert_eq!(topics_in_old(&former, "a/1/alarm", 6), ["all"]);
}

#[test]
fn what_an_old_session_still_brings_takes_the_route_that_it_came_for() {
    let former = [("b/+/#", 5)];
    assert_eq!(topics_in_old(&former, "b/1/new", 9), ["b"]);
    assert_eq!(
        topics_in_old(&[], "b/1/new", 9),
        ["b", "new"],
        "nobody knows which"
    );
}

#[test]
fn legal_topics_are_those_that_kafka_takes() {
    for (name, legal) in [
        ("a", true),
        ("A-b_c.9", true),
        ("", false),
        (".", false),
        ("..", false),
        ("a b", false),
        ("ä", false),
    ] {
        assert_eq!(is_legal_topic(name), legal, "{name:?}");
    }
    assert!(is_legal_topic(&"x".repeat(249)) && !is_legal_topic(&"x".repeat(250)));
}

#[test]
fn a_time_of_zero_is_not_left_to_the_client() {
    let mut message = stored("devices/d1/telemetry", b"x");
    for unix_ms in [0, -5] {
        message.arrival.stamp.unix_ms = unix_ms;
        let outcome = router(TELEMETRY).route(&message, &told(&message));
        assert_eq!(outcome.records[0].timestamp_ms, 1);
    }
}

#[test]
fn two_messages_have_one_destination_when_topics_and_keys_are_the_same() {
    let tables = "[[route]]\nfrom = \"devices/{device}/{kind}\"\ntopic = \"all\"\nkey = \"{device}\"\n\
                  [[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"telemetry\"\n";
    let router = router(tables);
    let of = |topic, payload| router.destination(&stored(topic, payload));
    let first = of("devices/d1/telemetry", b"1");
    assert!(first.is_some());
    assert_eq!(of("devices/d1/telemetry", b"2"), first);
    assert_eq!(
        of("devices/d1/state", b"1"),
        of("devices/d1/mode", b"1"),
        "both go to one key"
    );
    let others = [of("devices/d2/telemetry", b"1"), of("devices/d1/state", b"1")];
    assert!(others.iter().all(|other| other.is_some() && *other != first));
    assert_ne!(others[0], others[1]);
}

#[test]
fn what_becomes_a_dead_letter_has_no_destination() {
    let router = router(TELEMETRY);
    assert_eq!(router.destination(&stored("elsewhere", b"")), None);
    assert_eq!(router.destination(&stored("devices//telemetry", b"")), None);
    let mut oversize = stored("devices/d1/telemetry", b"");
    oversize.arrival.oversize = Some(1);
    assert_eq!(router.destination(&oversize), None);
}

#[test]
fn the_numbers_under_which_refusals_are_stored_stay_the_same() {
    let text = String::new;
    let all = [
        Refusal::NoRoute,
        Refusal::EmptyKey { route: 0 },
        Refusal::IllegalTopic {
            route: 0,
            topic: text(),
        },
        Refusal::Oversize { bytes: 0 },
        Refusal::Rejected {
            topic: text(),
            code: text(),
        },
        Refusal::Refused {
            route: 0,
            topic: text(),
            code: text(),
            attempts: 0,
        },
        Refusal::UnknownTopic {
            route: 0,
            topic: text(),
            after_s: 0,
        },
        Refusal::NoValue {
            route: 0,
            name: text(),
            why: text(),
        },
        Refusal::Unshapable {
            route: 0,
            format: text(),
            why: text(),
        },
        Refusal::OverMaxPayload {
            route: 0,
            bytes: 0,
            limit: 0,
        },
        Refusal::Mismatch {
            route: 0,
            name: text(),
            text: text(),
        },
        Refusal::BadProperties {
            route: 0,
            why: text(),
        },
    ];
    for (number, refusal) in (0_u8..).zip(all) {
        let stored = postcard::to_stdvec(&refusal).expect("encodes");
        assert_eq!(stored.first(), Some(&number), "{refusal}");
    }
}

#[test]
fn only_routes_with_unique_times_say_what_times_ascend_with() {
    let routes = |unique: bool| {
        let text = format!(
            "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n[kafka]\n\
             bootstrap_servers = [\"127.0.0.1:9092\"]\n[[route]]\nfrom = \"a/{{device}}\"\ntopic = \"t\"\n\
             unique_times = {unique}\n[[route]]\nfrom = \"a/{{device}}\"\ntopic = \"u\"\nkey = \"x{{device}}\"\n"
        );
        let (config, _) = crate::config::parse(Path::new("test.toml"), &text).expect("valid");
        Router::new(config.routes, "gw", "default")
    };
    let arrival = |topic: &str| Arrival {
        topic: topic.to_owned(),
        ..Arrival::trial(1, "a/b", "x")
    };
    assert!(routes(false).series(&arrival("a/1")).is_empty());
    let unique = routes(true);
    let one = unique.series(&arrival("a/1"));
    assert_eq!(one.len(), 1, "the other route does not ask for it");
    assert_eq!(one, unique.series(&arrival("a/1")));
    assert_ne!(one, unique.series(&arrival("a/2")));
    assert!(unique.series(&arrival("b/1")).is_empty());
}

#[test]
fn a_value_that_is_empty_inside_a_key_or_a_device_id_is_refused() {
    for (lines, topic, payload, expected) in [
        (
            "key = \"{site}-{dev}\"",
            "a//d",
            &b"1"[..],
            "route 0: site: the level is empty",
        ),
        (
            "key = \"dev-{json:/id}\"",
            "a/s/d",
            b"{\"id\":\"\"}",
            "route 0: json:/id: is empty",
        ),
        (
            "device = \"dev-{json:/id}\"",
            "a/s/d",
            b"{\"id\":\"\"}",
            "route 0: json:/id: is empty",
        ),
        ("key = \"{site}\"", "a//d", b"1", "route 0: the key is empty"),
    ] {
        let routes = format!("[[route]]\nfrom = \"a/{{site}}/{{dev}}\"\ntopic = \"t\"\n{lines}\n");
        assert_eq!(fate(&routes, topic, payload), expected, "{lines}");
    }
}

/// What becomes of a message of broker `default`.
fn fate(routes: &str, topic: &str, payload: &'static [u8]) -> String {
    let outcome = routed(&router(routes), &stored(topic, payload));
    let records = outcome
        .records
        .iter()
        .map(|record| format!("{}/{}", record.topic, record.key));
    let refusals = outcome.refusals.iter().map(ToString::to_string);
    let all: Vec<String> = records.chain(refusals).collect();
    if outcome.is_filtered() {
        "filtered".to_owned()
    } else {
        all.join("; ")
    }
}

const THINGS: &str = "[[route]]\nfrom = \"things/{id}/messages\"\ntopic = \"things\"\nkey = \"{id}\"\n[route.match]\nid = \
                      \"[0-9a-f]{4}\"\n";

#[test]
fn a_level_that_is_not_what_match_says_makes_a_dead_letter() {
    assert_eq!(fate(THINGS, "things/00ff/messages", b""), "things/00ff");
    assert_eq!(
        fate(THINGS, "things/abc/messages", b""),
        "route 0: id = \"abc\" is not what [route.match] says"
    );
    assert_eq!(fate(THINGS, "things/00ff", b""), "no route matches the topic");
}

#[test]
fn what_another_route_takes_is_no_mismatch() {
    let both =
        format!("{THINGS}[[route]]\nfrom = \"things/{{id}}/{{kind}}\"\ntopic = \"rest\"\nkey = \"{{id}}\"\n");
    assert_eq!(fate(&both, "things/abc/messages", b""), "rest/abc");
    assert_eq!(fate(&both, "things/00ff/messages", b""), "things/00ff; rest/00ff");
}

const HOT: &str = "[[route]]\nfrom = \"t/{device}\"\ntopic = \"hot\"\nwhen = [{ value = \"json:/c\", between = [30, 99] }]\n";

#[test]
fn what_when_does_not_want_is_filtered() {
    assert_eq!(fate(HOT, "t/1", br#"{"c":31}"#), "hot/1");
    assert_eq!(fate(HOT, "t/1", br#"{"c":29}"#), "filtered");
    assert_eq!(fate(HOT, "t/1", b"{}"), "filtered");
}

#[test]
fn what_nobody_can_judge_is_a_dead_letter_and_no_drop() {
    let reason = fate(HOT, "t/1", b"{");
    assert!(
        reason.starts_with("route 0: when[0]: json:/c: the payload is not JSON ("),
        "{reason}"
    );
    let with_raw = format!("{HOT}[[route]]\nfrom = \"t/{{device}}\"\ntopic = \"raw\"\n");
    assert_eq!(fate(&with_raw, "t/1", b"{"), "raw/1", "another route takes it");
    let with_filter =
        format!("{HOT}[[route]]\nfrom = \"t/{{device}}\"\ntopic = \"b\"\nretained = \"skip\"\n");
    let mut message = stored("t/1", b"{");
    message.arrival.delivery.retained = true;
    assert_eq!(routed(&router(&with_filter), &message).refusals.len(), 1);
}

#[test]
fn a_filter_comes_before_a_mismatch_and_all_conditions_must_hold() {
    let route = "[[route]]\nfrom = \"{a}/{b}\"\ntopic = \"t\"\nkey = \"{a}\"\nwhen = [{ value = \"a\", equals = \"x\" }, { value = \"b\", \
                 one_of = [1, 2] }]\n";
    assert_eq!(fate(route, "x/2", b""), "t/x");
    assert_eq!(fate(route, "x/3", b""), "filtered");
    assert_eq!(fate(route, "y/2", b""), "filtered");
    let matched = format!(
        "{route}[[route]]\nfrom = \"{{c}}/{{d}}\"\ntopic = \"u\"\nkey = \"{{c}}\"\n[route.match]\nd = \"z\"\n"
    );
    assert_eq!(fate(&matched, "x/3", b""), "filtered", "route 0 knows what it is");
}

#[test]
fn a_message_that_its_own_routes_filter_is_not_given_to_another_lanes() {
    let text = "[[lane]]\nname = \"old\"\n[[route]]\nlane = \"old\"\nfrom = \"a/{device}/{kind}\"\ntopic = \"mine\"\nwhen = [{ \
                value = \"kind\", equals = \"x\" }]\n[[route]]\nfrom = \"a/{device}/{kind}\"\ntopic = \"other\"\n";
    let router = Router::new(parsed(text).routes, "gw-7", "old");
    assert!(routed(&router, &stored("a/1/y", b"")).is_filtered());
}

#[test]
fn retained_messages_are_skipped_where_that_is_said() {
    let skip = router("[[route]]\nfrom = \"t/{device}\"\ntopic = \"t\"\nretained = \"skip\"\n");
    let mut message = stored("t/1", b"x");
    assert_eq!(routed(&skip, &message).records.len(), 1);
    message.arrival.delivery.retained = true;
    assert!(routed(&skip, &message).is_filtered());
}

#[test]
fn a_device_id_from_the_payload_is_key_and_topic_and_an_empty_one_is_none() {
    let route = "[[route]]\nfrom = \"up/{device}\"\ndevice = \"{json:/eui}\"\ntopic = \"t-{device}\"\n";
    assert_eq!(fate(route, "up/level", br#"{"eui":"e1"}"#), "t-e1/e1");
    assert_eq!(
        fate(route, "up/level", br#"{"eui":""}"#),
        "route 0: device: \"{json:/eui}\" is empty"
    );
    assert_eq!(
        fate(route, "up/level", b"{}"),
        "route 0: json:/eui: is not in the payload"
    );
    let inner = "[[route]]\nfrom = \"up/{device}\"\ndevice = \"x-{device}\"\ntopic = \"t\"\n";
    assert_eq!(fate(inner, "up/level", b""), "t/x-level");
    assert_eq!(
        fate(inner, "up/", b""),
        "route 0: device: the level is empty",
        "all devices without an id would be one"
    );
}

#[test]
fn an_empty_device_level_is_no_device_wherever_it_is_used() {
    let key =
        |key: &str| format!("[[route]]\nfrom = \"up/{{site}}/{{device}}\"\ntopic = \"t\"\nkey = \"{key}\"\n");
    assert_eq!(fate(&key("{device}"), "up/s/", b""), "route 0: the key is empty");
    assert_eq!(
        fate(&key("{site}-{device}"), "up/s/", b""),
        "route 0: device: the level is empty"
    );
    assert_eq!(fate(&key("{site}"), "up/s/", b""), "t/s", "nobody asks for it");
}

#[test]
fn partition_by_decides_the_partition_and_is_never_empty() {
    let route = "[[route]]\nfrom = \"up/{site}/{device}\"\ntopic = \"t\"\npartition_by = \"{site}\"\nkey = \"{site}/{device}\"\n";
    let outcome = routed(&router(route), &stored("up/s/d", b""));
    let record = &outcome.records[0];
    assert_eq!((record.key.as_str(), record.hashed()), ("s/d", "s"));
    let other = route.replace("key = \"{site}/{device}\"", "key = \"{device}\"");
    assert_eq!(
        fate(&other, "up//d", b""),
        "route 0: partition_by: \"{site}\" is empty"
    );
}

#[test]
fn max_payload_is_what_still_passes() {
    let route = "[[route]]\nfrom = \"t/{device}\"\ntopic = \"t\"\nmax_payload = 3\n";
    assert_eq!(fate(route, "t/1", b"123"), "t/1");
    assert_eq!(
        fate(route, "t/1", b"1234"),
        "route 0: the payload of 4 bytes is over max_payload = 3"
    );
}

#[test]
fn a_filtered_message_stands_for_those_of_its_topic_only() {
    let router = router(HOT);
    let of = |topic, payload| router.destination(&stored(topic, payload));
    assert_eq!(of("t/1", br#"{"c":1}"#), of("t/1", br#"{"c":2}"#));
    assert_ne!(of("t/1", br#"{"c":1}"#), of("t/2", br#"{"c":1}"#));
    assert_ne!(of("t/1", br#"{"c":1}"#), of("t/1", br#"{"c":31}"#));
    assert!(of("t/1", br#"{"c":1}"#).is_some() && of("t/1", b"{").is_none());
}

#[test]
fn a_refusal_repeats_only_the_begin_of_what_is_huge() {
    let route = "[[route]]\nfrom = \"t/{device...}\"\ntopic = \"t-{device}\"\n";
    let huge = format!("t/{}", "é".repeat(32_000));
    let outcome = routed(&router(route), &stored(&huge, b""));
    let [Refusal::IllegalTopic { topic, .. }] = &outcome.refusals[..] else {
        panic!("{:?}", outcome.refusals);
    };
    assert!(topic.len() < 300 && topic.ends_with("é…"), "{topic}");
}

#[test]
fn topics_that_mqtt_forbids_and_the_longest_ones_are_records_or_dead_letters() {
    let route = "[[route]]\nfrom = \"t/{device...}\"\ntopic = \"t\"\n";
    let longest = format!("t/{}", "x".repeat(65_533));
    for topic in ["t/a\0b", "t/+", "t/#", "t/a/+/b#", "t/\u{feff}", &longest] {
        assert_eq!(fate(route, topic, b"").len(), topic.len(), "{topic:?}");
    }
    for topic in ["t", "t/"] {
        assert_eq!(fate(route, topic, b""), "route 0: the key is empty");
    }
    assert_eq!(fate(route, "", b""), "no route matches the topic");
}

/// One subscription, split by `when` over two lanes. The alarms are those of lane `fast`.
const SPLIT: &str = "[[lane]]\nname = \"fast\"\n[[route]]\nlane = \"fast\"\nfrom = \"d/{device}/{kind}\"\ntopic = \"alarms\"\n\
                     when = [{ value = \"kind\", equals = \"alarm\" }]\n[[route]]\nfrom = \"d/{device}/{kind}\"\ntopic = \"rest\"\n\
                     when = [{ value = \"kind\", not = true, equals = \"alarm\" }]\n";

/// The Kafka topics that lane `default` of [`SPLIT`] gives a message, when its route of before was `former` up to 10.
fn topics_of_split(former: bool, change: impl FnOnce(&mut Stored)) -> Vec<String> {
    let all = parsed(SPLIT).routes;
    let former: Vec<Former> = former
        .then(|| Former {
            mark: all[0].mark(),
            through: Seq(10),
        })
        .into_iter()
        .collect();
    let router = Router::after(all, &former, "gw-7", "default");
    let mut message = stored("d/1/alarm", b"x");
    change(&mut message);
    let outcome = routed(&router, &message);
    assert_eq!(outcome.refusals, []);
    outcome
        .records
        .iter()
        .map(|record| record.topic.clone())
        .collect()
}

#[test]
fn what_waited_when_a_route_was_split_over_two_lanes_is_delivered_and_not_filtered() {
    assert_eq!(topics_of_split(true, |message| message.seq = Seq(10)), ["alarms"]);
    let none: [&str; 0] = [];
    assert_eq!(
        topics_of_split(true, |message| message.seq = Seq(11)),
        none,
        "the other lane has its own copy"
    );
    assert_eq!(topics_of_split(false, |message| message.seq = Seq(10)), none);
}

#[test]
fn a_possible_second_copy_that_is_not_wanted_here_is_offered_to_the_other_lanes_routes() {
    let marked = |message: &mut Stored| {
        message.seq = Seq(11);
        message.arrival.delivery.dup = true;
    };
    assert_eq!(topics_of_split(true, marked), ["alarms"]);
    assert_eq!(topics_of_split(false, marked), ["alarms"]);
}

#[test]
fn what_a_person_brought_from_elsewhere_is_offered_to_all_routes() {
    let origin = |gateway: &str, lane: &str, seq| {
        let origin = crate::message::Origin {
            gateway: gateway.to_owned(),
            epoch: Epoch(0xabc),
            lane: lane.to_owned(),
            seq: Seq(seq),
        };
        move |message: &mut Stored| message.arrival.origin = Some(Box::new(origin))
    };
    assert_eq!(topics_of_split(false, origin("gw-8", "default", 5)), ["alarms"]);
    assert_eq!(topics_of_split(false, origin("gw-7", "fast", 5)), ["alarms"]);
    assert_eq!(
        topics_of_split(true, origin("gw-7", "default", 5)),
        ["alarms"],
        "a letter of before the split, brought back after it"
    );
    let none: [&str; 0] = [];
    assert_eq!(topics_of_split(true, origin("gw-7", "default", 11)), none);
}

#[test]
fn what_another_lane_takes_is_no_mistake_of_this_one() {
    let text = "[[lane]]\nname = \"b\"\n[[route]]\nfrom = \"things/{id}/{kind}\"\ntopic = \"a\"\nkey = \"{id}\"\n[route.match]\n\
                id = \"a.*\"\n[[route]]\nlane = \"b\"\nfrom = \"things/{id}/{kind}\"\ntopic = \"b\"\nkey = \"{id}\"\n[route.match]\n\
                id = \"b.*\"\n";
    assert_eq!(fate(text, "things/a1/x", b""), "a/a1");
    assert_eq!(fate(text, "things/b1/x", b""), "filtered");
    assert_eq!(
        fate(text, "things/c1/x", b""),
        "route 0: id = \"c1\" is not what [route.match] says",
        "nobody takes it"
    );
    let unjudged = format!(
        "{HOT}[[lane]]\nname = \"b\"\n[[route]]\nlane = \"b\"\nfrom = \"t/{{device}}\"\ntopic = \"raw\"\n"
    );
    assert_eq!(fate(&unjudged, "t/1", b"{"), "filtered");
}

#[test]
fn routes_with_the_same_filter_have_different_marks() {
    let routes = parsed(SPLIT).routes;
    let (alarms, rest) = (routes[0].mark(), routes[1].mark());
    assert!(alarms.has_the_filter_of(&rest) && alarms != rest);
    let again = parsed(SPLIT).routes;
    assert_eq!(again[0].mark(), alarms);
    let old = Mark {
        rest: None,
        ..alarms.clone()
    };
    assert!(old.is(&alarms) && old.is(&rest), "noted by an earlier version");
    assert!(!alarms.is(&rest));
}
