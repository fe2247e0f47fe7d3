use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::message::{Arrival, Properties};
use crate::route::subject::ask_of;

/// Asks a message from `plants/p1/d1` with this payload.
fn asked<T>(payload: &[u8], properties: Option<Properties>, ask: impl FnOnce(Subject<'_>) -> T) -> T {
    let mut arrival = Arrival::trial(1, "a/b", "x");
    arrival.topic = "plants/p1/d1".to_owned();
    arrival.payload = Bytes::copy_from_slice(payload);
    arrival.properties = properties.map(Box::new);
    ask_of("plants/{plant}/{device}", arrival, ask)
}

/// The text of a value, or why there is none.
fn text_of(name: &str, payload: &[u8], properties: Option<Properties>) -> String {
    let value = Value::parse(name).expect("a value");
    asked(payload, properties, |subject| {
        let text = value.text(&subject).map(Cow::into_owned);
        text.unwrap_or_else(|error| error.to_string())
    })
}

fn in_json(pointer: &str, payload: &str) -> String {
    text_of(&format!("json:{pointer}"), payload.as_bytes(), None)
}

fn refused(name: &str) -> String {
    Value::parse(name).expect_err("no value").to_string()
}

#[test]
fn names_are_levels_of_the_topic() {
    assert_eq!(text_of("plant", b"", None), "p1");
    assert_eq!(text_of("device", b"", None), "d1");
    assert_eq!(text_of("site", b"", None), "site: `from` has no such level");
}

#[test]
fn the_routes_device_takes_the_place_of_the_level() {
    let value = Value::parse("device").expect("a value");
    let text = asked(b"", None, |subject| {
        let subject = subject.with_device("eui-1".to_owned());
        value.text(&subject).map(Cow::into_owned)
    });
    assert_eq!(text.as_deref(), Ok("eui-1"));
}

#[test]
fn json_gives_characters_of_strings_and_the_text_of_numbers() {
    let payload = r#"{"s":"a\u00e9/\"b","n":12345678901234567890,"f":1.50,"t":true,"x":{"y":[0,"z"]}}"#;
    assert_eq!(in_json("/s", payload), "aé/\"b");
    assert_eq!(in_json("/n", payload), "12345678901234567890");
    assert_eq!(in_json("/f", payload), "1.50");
    assert_eq!(in_json("/t", payload), "true");
    assert_eq!(in_json("/x/y/1", payload), "z");
    assert_eq!(in_json("", "\"all\""), "all");
}

#[test]
fn what_json_does_not_have_as_text_says_why() {
    let payload = r#"{"null":null,"o":{},"a":[],"half":"\ud800"}"#;
    assert_eq!(in_json("/none", payload), "json:/none: is not in the payload");
    assert_eq!(in_json("/null", payload), "json:/null: is null in the payload");
    assert_eq!(in_json("/o", payload), "json:/o: is an object, which is no text");
    assert_eq!(in_json("/a", payload), "json:/a: is an array, which is no text");
    assert_eq!(
        in_json("/half", payload),
        "json:/half: is a string with half a character (a lone surrogate)"
    );
    assert!(in_json("/a", "{").starts_with("json:/a: the payload is not JSON ("));
    assert_eq!(
        in_json("/a", &"[".repeat(100)),
        "json:/a: the payload is JSON nested deeper than 64"
    );
    assert!(text_of("json:/a", b"\xff", None).starts_with("json:/a: the payload is not JSON ("));
}

#[test]
fn properties_give_the_first_of_their_name() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let properties = Properties {
        content_type: Some("text/plain".to_owned()),
        response_topic: Some("answers".to_owned()),
        user: vec![pair("serial", "1"), pair("serial", "2"), pair("a b", "3")],
        ..Properties::default()
    };
    let of = |name: &str| text_of(name, b"", Some(properties.clone()));
    assert_eq!(of("property:serial"), "1");
    assert_eq!(of("property:a b"), "3");
    assert_eq!(of("mqtt:content_type"), "text/plain");
    assert_eq!(of("mqtt:response_topic"), "answers");
    let missing = "is not among the message's properties";
    assert_eq!(of("property:other"), format!("property:other: {missing}"));
    for name in ["property:serial", "mqtt:content_type", "mqtt:response_topic"] {
        assert_eq!(text_of(name, b"", None), format!("{name}: {missing}"));
    }
}

#[test]
fn facts_of_the_message_and_its_gateway() {
    assert_eq!(text_of("mqtt:topic", b"", None), "plants/p1/d1");
    assert_eq!(text_of("mqtt:broker", b"", None), "default");
    assert_eq!(text_of("mqtt:qos", b"", None), "1");
    assert_eq!(text_of("gateway:id", b"", None), "gw-7");
}

#[test]
fn what_is_no_value_says_what_there_is() {
    let rule = "a name is letters, digits and '_', and begins with no digit";
    assert_eq!(refused(""), format!("has the name \"\": {rule}"));
    assert_eq!(refused("rest..."), format!("has the name \"rest...\": {rule}"));
    assert_eq!(
        refused("mqtt:client"),
        "has the name \"mqtt:client\": with a colon there are json:/pointer, property:name, mqtt:topic, mqtt:broker, \
         mqtt:qos, mqtt:content_type, mqtt:response_topic and gateway:id"
    );
    assert!(refused("header:x").starts_with("has the name \"header:x\": with a colon there are "));
    assert_eq!(
        refused("property:"),
        "has the name \"property:\" without the name of a user property, such as property:serial"
    );
    assert_eq!(
        refused("json:id"),
        "has the name \"json:id\": a JSON pointer begins with '/', such as /sensor/id"
    );
}

proptest! {
    #[test]
    fn parsing_values_never_panics(text in any::<String>(), near in "(json|property|mqtt|gateway)?:?[a-z/~01_ ]{0,10}") {
        for text in [text, near] {
            if let Ok(value) = Value::parse(&text) {
                prop_assert_eq!(value.as_str(), &text);
            }
        }
    }

    #[test]
    fn looking_for_values_never_panics(name in "(json:(/[ab01]{0,2}){0,3}|property:[ab]|device|plant)", payload in any::<Vec<u8>>(), near in "[\\[\\]{}\",:ab01\\\\u]{0,16}") {
        let value = Value::parse(&name).expect("a value");
        for payload in [&payload[..], near.as_bytes()] {
            asked(payload, Some(Properties::default()), |subject| value.text(&subject).map(Cow::into_owned).ok());
        }
    }
}
