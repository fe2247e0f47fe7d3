use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::clock::Told;
use crate::message::MessageId;
use crate::route::Router;
use crate::route::format::tests::{
    bad_payloads, ends_well, problems, record, refusal, router, stored, user, value, with_properties,
};

const ID: &str = "574bd77c-4aba-4557-aa9e-066939f938cc";
const ROUTE: &str =
    "[[route]]\nfrom = \"things/{device}/messages\"\ntopic = \"raw-payloads\"\nformat = \"wasp\"\n";

fn with(table: &str) -> String {
    format!("{ROUTE}[route.wasp]\n{table}")
}

fn other(from: &str, table: &str) -> String {
    format!(
        "[[route]]\nfrom = \"{from}\"\ntopic = \"raw-payloads\"\nformat = \"wasp\"\n[route.wasp]\n{table}"
    )
}

fn thing(payload: &[u8]) -> crate::message::Stored {
    stored(&format!("things/{ID}/messages"), payload)
}

/// Payload and metadata of the record.
fn body(table: &str, payload: &[u8]) -> String {
    let record = record(&router(&with(table)), &thing(payload));
    let text = value(&record);
    let behind = text
        .split_once("\"timestamp\":\"2026-11-20T11:00:00.000Z\",")
        .expect("has a time");
    behind.1.to_owned()
}

#[test]
fn json_is_embedded_as_the_text_that_came() {
    let payload = "{\"n\":12345678901234567890, \"x\":1.0,\"big\":1e400}";
    let expected = format!("\"payload\":{payload},\"metadata\":{{\"deviceId\":\"{ID}\"}}}}");
    assert_eq!(body("", payload.as_bytes()), expected);
}

#[test]
fn what_is_not_json_is_base64_with_a_marker_or_refused() {
    let expected = format!(
        "\"payload\":\"/wA=\",\"metadata\":{{\"deviceId\":\"{ID}\",\"payloadEncoding\":\"base64\"}}}}"
    );
    assert_eq!(body("", b"\xff\0"), expected);
    let why = refusal(&router(&with("non_json = \"refuse\"")), &thing(b"\xff\0"));
    assert!(why.starts_with("the payload is not JSON"), "{why}");
}

#[test]
fn there_are_no_headers_at_all() {
    let mut message = with_properties(thing(b"1"), user(&[("traceparent", "x")]));
    message.arrival.delivery.dup = true;
    message.arrival.delivery.retained = true;
    message.arrival.stamp.synchronised = false;
    assert_eq!(record(&router(ROUTE), &message).headers, []);
}

#[test]
fn what_is_to_be_known_of_a_message_stands_in_the_metadata() {
    let mut message = thing(b"1");
    message.arrival.delivery.dup = true;
    message.arrival.delivery.retained = true;
    message.arrival.stamp.synchronised = false;
    let metadata = |routes: &str| {
        let record = record(&router(routes), &message);
        let (_, metadata) = value(&record).split_once("\"metadata\":").expect("has it");
        metadata.to_owned()
    };
    assert_eq!(
        metadata(ROUTE),
        format!("{{\"deviceId\":\"{ID}\",\"retained\":true,\"duplicate\":true}}}}")
    );
    assert_eq!(
        metadata(&format!("{ROUTE}retained = \"forward\"\n")),
        format!("{{\"deviceId\":\"{ID}\",\"duplicate\":true}}}}")
    );
}

#[test]
fn a_time_that_was_corrected_is_told_in_the_metadata() {
    let message = thing(b"1");
    let told = Told {
        clock: Some("corrected".to_owned()),
        ..Told::as_it_stood(&message.arrival.stamp)
    };
    let outcome = router(ROUTE).route(&message, &told);
    let text = value(&outcome.records[0]);
    assert!(
        text.ends_with(&format!(
            "\"metadata\":{{\"deviceId\":\"{ID}\",\"clock\":\"corrected\"}}}}"
        )),
        "{text}"
    );
}

#[test]
fn a_key_that_is_no_uuid_is_refused_and_one_in_capitals_is_kept() {
    let why = refusal(&router(ROUTE), &stored("things/abc/messages", b"1"));
    assert_eq!(why, "the key \"abc\" is no UUID (8-4-4-4-12 hex digits)");
    let upper = ID.to_uppercase();
    let record = record(&router(ROUTE), &stored(&format!("things/{upper}/messages"), b"1"));
    assert_eq!(record.key, upper);
    assert!(value(&record).contains(&format!("\"ingestId\":\"{upper}\"")));
}

#[test]
fn the_payload_id_is_the_message_id() {
    let record = record(&router(ROUTE), &thing(b"1"));
    let json: serde_json::Value = serde_json::from_slice(&record.payload).expect("JSON");
    let said = payload_id::decode(json["payloadId"].as_str().expect("text")).expect("ours");
    let id: MessageId = said.message_id(["default"]).expect("the lane");
    assert_eq!(id.to_string(), "0123456789abcdef-default-42");
}

#[test]
fn chosen_user_properties_go_into_the_metadata_and_of_one_name_the_first() {
    let message = with_properties(thing(b"1"), user(&[("a", "1"), ("b", "2"), ("a", "3")]));
    let carried = |table: &str| {
        let record = record(&router(&with(table)), &message);
        let (_, metadata) = value(&record).split_once("\"metadata\":").expect("has it");
        metadata.to_owned()
    };
    let of = |rest: &str| format!("{{\"deviceId\":\"{ID}\"{rest}}}}}");
    assert_eq!(carried(""), of(""));
    assert_eq!(
        carried("user_properties = [\"a\"]"),
        of(",\"userProperties\":{\"a\":\"1\"}")
    );
    assert_eq!(
        carried("user_properties = [\"b\", \"x\", \"a\"]"),
        of(",\"userProperties\":{\"b\":\"2\",\"a\":\"1\"}")
    );
    assert_eq!(carried("user_properties = [\"x\"]"), of(""));
}

#[test]
fn the_nordic_id_is_found_anywhere_in_the_topic() {
    let router = router(&other("prod/#", "envelope = \"nordic-cloud\""));
    let payload = b"{\"appId\":\"TEMP\",\"data\":\"20.9\",\"messageType\":\"DATA\"}";
    for topic in [
        "prod/c1/m/d/nrf-111111111111111/d2c",
        "prod/nrf-1/nrf-11111111111111x/nrf-111111111111111",
        "prod/xnrf-1111111111111112/d2c",
    ] {
        assert_eq!(
            record(&router, &stored(topic, payload)).key,
            "nrf-111111111111111",
            "{topic}"
        );
    }
    let why = refusal(&router, &stored("prod/c1/m/d/nrf-11111111111111/d2c", payload));
    assert_eq!(
        why,
        "there is no nrf- with 15 digits in \"prod/c1/m/d/nrf-11111111111111/d2c\""
    );
}

#[test]
fn nordic_messages_need_three_fields_that_are_not_empty() {
    let router = router(&other("prod/{device}/d2c", "envelope = \"nordic-cloud\""));
    let message = |app_id: &str| {
        let payload = format!("{{\"appId\":{app_id},\"data\":\"20.9\",\"messageType\":\"DATA\"}}");
        stored("prod/nrf-111111111111111/d2c", payload.as_bytes())
    };
    for truthy in ["\"TEMP\"", "1", "true", "[]", "{}", "-0.5", "\"0\""] {
        record(&router, &message(truthy));
    }
    for falsy in ["\"\"", "0", "-0.0", "0e9", "false", "null"] {
        let why = refusal(&router, &message(falsy));
        assert_eq!(
            why, "\"appId\" is missing in the payload, or empty, 0, false or null",
            "{falsy}"
        );
    }
    let why = refusal(&router, &stored("prod/nrf-111111111111111/d2c", b"[1]"));
    assert_eq!(why, "the payload is not a JSON object");
}

#[test]
fn an_uplink_without_serial_or_payload_is_refused() {
    let router = router(&other(
        "app/devices/{device}/up",
        "envelope = \"ttn\"\ningest = \"ttn\"",
    ));
    let why = refusal(
        &router,
        &stored("app/devices/d/up", b"{\"hardware_serial\":\"AB\"}"),
    );
    assert_eq!(why, "\"payload_raw\" is no string in the payload, or is missing");
    let why = refusal(
        &router,
        &stored(
            "app/devices/d/up",
            b"{\"hardware_serial\":\"AB\",\"payload_raw\":\"\"}",
        ),
    );
    assert_eq!(why, "\"payload_raw\" is no string in the payload, or is missing");
    for gateways in ["5", "{}"] {
        let payload = format!(
            "{{\"hardware_serial\":\"AB\",\"payload_raw\":\"AQ==\",\"metadata\":{{\"gateways\":{gateways}}}}}"
        );
        let why = refusal(&router, &stored("app/devices/d/up", payload.as_bytes()));
        assert_eq!(why, "\"metadata.gateways\" is no array in the payload");
    }
}

#[test]
fn a_key_over_fifty_characters_is_refused() {
    let router = router(&other("in/{device}", "envelope = \"http\"\ningest = \"http\""));
    record(&router, &stored(&format!("in/{}", "\u{e9}".repeat(50)), b"1"));
    let why = refusal(&router, &stored(&format!("in/{}", "a".repeat(51)), b"1"));
    assert_eq!(
        why,
        format!("the key \"{}\" has over 50 characters", "a".repeat(51))
    );
}

#[test]
fn a_sequence_that_does_not_fit_into_a_payload_id_is_refused() {
    let mut message = thing(b"1");
    message.seq = crate::message::Seq(u64::MAX);
    assert_eq!(
        refusal(&router(ROUTE), &message),
        "the sequence is over what fits into a payloadId"
    );
}

#[test]
fn settings_that_wasp_could_not_take_are_refused() {
    let long = "a".repeat(51);
    for (table, expected) in [
        (
            format!("ingest = \"{long}\""),
            "route[0].wasp.ingest: has 51 characters; write 1 to 50: WASP's thing service holds no more",
        ),
        (
            "envelope = \"ttn\"".to_owned(),
            "route[0].wasp.ingest: is missing; write the name that is registered in WASP's thing service (POST /v1/ingest)",
        ),
        (
            "envelope = \"nordic-cloud\"\nnon_json = \"base64\"".to_owned(),
            "route[0].wasp.non_json: \"base64\" is not possible: this envelope needs fields of a JSON payload; write \"refuse\", or remove it",
        ),
        (
            "user_properties = [\"a\", \"b\", \"a\"]".to_owned(),
            "route[0].wasp.user_properties: has \"a\" twice; write it once",
        ),
    ] {
        assert_eq!(problems(&with(&table)), [expected]);
    }
    let many: Vec<String> = (0..33).map(|n| format!("\"p{n}\"")).collect();
    assert_eq!(
        problems(&with(&format!("user_properties = [{}]", many.join(", ")))),
        ["route[0].wasp.user_properties: has 33 names; write 32 at most"]
    );
}

#[test]
fn two_lanes_that_a_payload_id_cannot_tell_apart_are_refused() {
    assert_eq!(
        payload_id::lane_mark("lane784"),
        payload_id::lane_mark("lane1060")
    );
    let lanes = "[[lane]]\nname = \"lane784\"\n[[lane]]\nname = \"lane1060\"\n";
    let plain = "[[route]]\nfrom = \"a/{device}\"\ntopic = \"t\"\nlane = \"lane1060\"\n";
    let found = problems(&format!("{ROUTE}lane = \"lane784\"\n{plain}{lanes}"));
    assert_eq!(
        found,
        [
            "lane[0].name: \"lane784\" and \"lane1060\" could not be told apart in the payloadId of format = \"wasp\"; \
             write another name, for example with a digit more",
            "lane[1].name: \"lane1060\" and \"lane784\" could not be told apart in the payloadId of format = \"wasp\"; \
             write another name, for example with a digit more",
        ]
    );
    // Without WASP they may have any names.
    let raw = "[[route]]\nfrom = \"b/{device}\"\ntopic = \"t\"\nlane = \"lane784\"\n";
    router(&format!("{raw}{plain}{lanes}"));
}

#[test]
fn bad_payloads_become_records_or_are_refused() {
    let nordic = other("things/{device}/messages", "envelope = \"nordic-cloud\"");
    let tts = other("things/{device}/messages", "envelope = \"tts\"\ningest = \"tts\"")
        .replace("format", "key = \"{device}\"\nformat");
    for routes in [ROUTE.to_owned(), with("non_json = \"refuse\""), nordic, tts] {
        let router = router(&routes);
        for payload in bad_payloads() {
            ends_well(&router, &thing(&payload));
        }
    }
}

/// Made once: a million cases are run by `./dev fuzz`.
static ROUTER: LazyLock<Router> = LazyLock::new(|| router(ROUTE));

proptest! {
    #[test]
    fn the_nordic_id_of_any_text_never_panics(text in "\\PC{0,60}|[nrf0-9-]{0,60}") {
        if let Some(id) = nordic_id(&text) {
            prop_assert!(text.contains(id) && id.len() == 19);
        }
    }

    #[test]
    fn uplinks_of_any_shape_never_panics(text in "[\\[\\]{}\":,0-9a-z_]{0,60}") {
        if let Ok(json) = Json::parse(text.as_bytes()) {
            let _uplinks = (lora::ttn(json), lora::tts(json));
        }
    }

    #[test]
    fn uplinks_with_any_members_never_panics(
        serial in json_text(), raw in json_text(), gateways in json_text(), gateway in json_text()
    ) {
        let ttn = format!("{{\"hardware_serial\":{serial},\"payload_raw\":{raw},\"metadata\":{{\"gateways\":[{gateway}]}},\"port\":{gateways}}}");
        let tts = format!("{{\"end_device_ids\":{{\"dev_eui\":{serial}}},\"uplink_message\":{{\"frm_payload\":{raw},\"rx_metadata\":{gateways}}}}}");
        let _uplink = Json::parse(ttn.as_bytes()).map(|json| lora::ttn(json).is_ok());
        let _uplink = Json::parse(tts.as_bytes()).map(|json| lora::tts(json).is_ok());
    }

    #[test]
    fn a_wasp_record_from_any_payload_never_panics(payload: Vec<u8>) {
        ends_well(&ROUTER, &thing(&payload));
    }
}

/// Small JSON texts of every kind.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i32>().prop_map(|n| n.to_string()),
        "[a-zA-Z0-9=/+]{0,12}".prop_map(|text| format!("\"{text}\"")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..3).prop_map(|all| format!("[{}]", all.join(",")));
        let object = prop::collection::vec(("[a-z_]{1,6}", inner), 0..3).prop_map(|all| {
            let members: Vec<String> = all
                .iter()
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            format!("{{{}}}", members.join(","))
        });
        prop_oneof![list, object]
    })
}
