use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::message::Properties;
use crate::route::Router;
use crate::route::format::tests::{
    bad_payloads, ends_well, own_headers, problems, record, refusal, router, stored, user, value,
    with_properties,
};

const ROUTE: &str = "[[route]]\nfrom = \"plants/{device}\"\ntopic = \"t\"\nformat = \"cloudevents\"\n";

fn with(table: &str) -> String {
    format!("{ROUTE}[route.cloudevents]\n{table}")
}

fn typed(content_type: &str) -> Properties {
    Properties {
        content_type: Some(content_type.to_owned()),
        ..Properties::default()
    }
}

/// The event without what every event here has.
fn data_of(content_type: Option<&str>, payload: &[u8]) -> String {
    let mut message = stored("plants/d1", payload);
    if let Some(content_type) = content_type {
        message = with_properties(message, typed(content_type));
    }
    let record = record(&router(ROUTE), &message);
    let text = value(&record);
    let behind = text
        .split_once("\"time\":\"2026-11-20T11:00:00.000Z\"")
        .expect("has a time");
    behind.1.to_owned()
}

#[test]
fn a_json_payload_is_data_as_it_was_written() {
    let record = record(
        &router(ROUTE),
        &stored("plants/d1", b" {\"n\":12345678901234567890, \"x\":1.0}\n"),
    );
    assert_eq!(
        value(&record),
        "{\"specversion\":\"1.0\",\"id\":\"0123456789abcdef-default-42\",\"source\":\"edgeferry/gw-7\",\
         \"type\":\"mqtt.message\",\"subject\":\"plants/d1\",\"time\":\"2026-11-20T11:00:00.000Z\",\
         \"datacontenttype\":\"application/json\",\"data\":{\"n\":12345678901234567890, \"x\":1.0}}"
    );
    assert_eq!(
        own_headers(&record),
        ["content-type=application/cloudevents+json; charset=UTF-8"]
    );
    assert_eq!(record.key, "d1");
    assert_eq!(record.header("edgeferry-id"), Some("0123456789abcdef-default-42"));
}

#[test]
fn what_is_not_json_is_base64() {
    assert_eq!(
        data_of(None, b"\xff\x00"),
        ",\"datacontenttype\":\"application/octet-stream\",\"data_base64\":\"/wA=\"}"
    );
}

#[test]
fn the_senders_content_type_decides_what_data_is() {
    assert_eq!(
        data_of(Some("application/senml+json"), b"[1]"),
        ",\"datacontenttype\":\"application/senml+json\",\"data\":[1]}"
    );
    assert_eq!(
        data_of(Some("text/plain"), b"42"),
        ",\"datacontenttype\":\"text/plain\",\"data_base64\":\"NDI=\"}"
    );
    assert_eq!(
        data_of(Some("application/json"), b"broken"),
        ",\"datacontenttype\":\"application/json\",\"data_base64\":\"YnJva2Vu\"}"
    );
}

#[test]
fn a_content_type_that_is_no_media_type_says_nothing() {
    assert_eq!(
        data_of(Some("whatever"), b"1"),
        ",\"datacontenttype\":\"application/json\",\"data\":1}"
    );
}

#[test]
fn an_empty_payload_is_an_event_without_data() {
    assert_eq!(data_of(None, b""), "}");
    assert_eq!(
        data_of(Some("text/plain"), b""),
        ",\"datacontenttype\":\"text/plain\"}"
    );
}

#[test]
fn binary_mode_leaves_the_payload_alone_and_has_attributes_in_headers() {
    let message = with_properties(stored("plants/d1", b" {\"a\":1}"), typed("application/json"));
    let record = record(&router(&with("mode = \"binary\"")), &message);
    assert_eq!(record.payload, message.arrival.payload);
    assert_eq!(
        own_headers(&record),
        [
            "ce_specversion=1.0",
            "ce_id=0123456789abcdef-default-42",
            "ce_source=edgeferry/gw-7",
            "ce_type=mqtt.message",
            "ce_subject=plants/d1",
            "ce_time=2026-11-20T11:00:00.000Z",
            "content-type=application/json",
        ]
    );
}

#[test]
fn a_trace_goes_on_in_either_mode() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let message = with_properties(
        stored("plants/d1", b"1"),
        user(&[("traceparent", parent), ("tracestate", "a=b")]),
    );
    let structured = record(&router(ROUTE), &message);
    let expected = format!("\"traceparent\":\"{parent}\",\"tracestate\":\"a=b\"");
    assert!(value(&structured).contains(&expected));
    let binary = record(&router(&with("mode = \"binary\"")), &message);
    assert_eq!(binary.header("ce_traceparent"), Some(parent));
    assert_eq!(binary.header("ce_tracestate"), Some("a=b"));
}

#[test]
fn the_source_is_a_uri_reference_whatever_the_device_is_called() {
    for (device, expected) in [
        ("00:1A", "00%3A1A"),
        ("a[0]", "a%5B0%5D"),
        ("50%41", "50%2541"),
        ("a@b?c", "a%40b%3Fc"),
    ] {
        for template in ["{device}", "https://example.com/{device}#{device}"] {
            let routes = with(&format!("source = \"{template}\""));
            let record = record(&router(&routes), &stored(&format!("plants/{device}"), b"1"));
            let source = template.replace("{device}", expected);
            assert!(
                value(&record).contains(&format!("\"source\":\"{source}\"")),
                "{}",
                value(&record)
            );
        }
    }
}

#[test]
fn a_source_that_some_value_would_spoil_is_refused_at_the_start() {
    for source in [
        "{device}:x",
        "a#b#{device}",
        "a[{device}]",
        "https://host:{device}/",
        "a b",
    ] {
        let found = problems(&with(&format!("source = \"{source}\"")));
        let wrong = format!("route[0].cloudevents.source: {source:?} is no URI reference");
        assert!(found.len() == 1 && found[0].starts_with(&wrong), "{found:?}");
    }
}

#[test]
fn source_type_and_subject_come_from_templates() {
    let table = "source = \"https://example.com/{device}\"\ntype = \"com.example.{json:/kind}\"\nsubject = \"{device}\"";
    let record = record(
        &router(&with(table)),
        &stored("plants/h\u{e4}lle 2", b"{\"kind\":\"temp\"}"),
    );
    let expected = "\"source\":\"https://example.com/h%C3%A4lle%202\",\"type\":\"com.example.temp\",\"subject\":\"h\u{e4}lle 2\"";
    assert!(value(&record).contains(expected), "{}", value(&record));
}

#[test]
fn attributes_that_the_specification_does_not_allow_are_refused() {
    let why = refusal(&router(ROUTE), &stored("plants/a\nb", b"1"));
    assert!(
        why.starts_with("cloudevents.subject came out as \"plants/a\\nb\""),
        "{why}"
    );
    let router = router(&with("type = \"{json:/kind}\""));
    let why = refusal(&router, &stored("plants/d1", b"{\"kind\":\"\"}"));
    assert_eq!(why, "cloudevents.type came out empty");
    let why = refusal(&router, &stored("plants/d1", b"{}"));
    assert_eq!(why, "cloudevents.type: json:/kind: is not in the payload");
}

#[test]
fn settings_that_no_message_could_satisfy_are_refused() {
    let found = problems(&with(
        "source = \"a b\"\ntype = \"\"\nsubject = \"a\\tb\"\nmode = \"batch\"",
    ));
    let fields: Vec<&str> = found.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(
        fields,
        [
            "route[0].cloudevents.source",
            "route[0].cloudevents.type",
            "route[0].cloudevents.subject",
            "route[0].cloudevents.mode",
        ]
    );
}

#[test]
fn bad_payloads_become_events() {
    for mode in ["structured", "binary"] {
        let router = router(&with(&format!("mode = \"{mode}\"")));
        for payload in bad_payloads() {
            let record = record(&router, &stored("plants/d1", &payload));
            if mode == "structured" {
                serde_json::from_slice::<&RawValue>(&record.payload).expect("JSON");
            }
        }
    }
}

/// Made once: a million cases are run by `./dev fuzz`.
static ROUTER: LazyLock<Router> = LazyLock::new(|| router(ROUTE));

proptest! {
    #[test]
    fn an_event_from_any_message_never_panics(topic in "plants/\\PC{0,20}", payload: Vec<u8>, content_type in "\\PC{0,20}") {
        let message = with_properties(stored(&topic, &payload), typed(&content_type));
        ends_well(&ROUTER, &message);
    }

    #[test]
    fn data_comes_back_as_it_was(payload: Vec<u8>) {
        let record = record(&ROUTER, &stored("plants/d1", &payload));
        let event: serde_json::Value = serde_json::from_slice(&record.payload).expect("JSON");
        if let Some(text) = event.get("data_base64") {
            let bytes = Base64::decode_vec(text.as_str().expect("text")).expect("base64");
            prop_assert_eq!(bytes, payload);
        }
    }
}
