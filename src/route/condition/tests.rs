use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::message::{Arrival, Properties};
use crate::route::subject::ask_of;

fn any_of(value: &str, scalars: Vec<Scalar>) -> Condition {
    Condition {
        value: Value::parse(value).expect("a value"),
        test: Test::OneOf(scalars),
        is_inverted: false,
    }
}

fn test(value: &str, test: Test) -> Condition {
    Condition {
        value: Value::parse(value).expect("a value"),
        test,
        is_inverted: false,
    }
}

fn number(text: &str) -> Number {
    Number::parse(text).expect("a number")
}

fn between(low: &str, high: &str) -> Test {
    Test::Between(number(low), number(high))
}

fn text(text: &str) -> Scalar {
    Scalar::Text(text.to_owned())
}

/// Whether a message from `21/d1/true` with this payload passes.
fn judged(condition: &Condition, payload: &str) -> Result<bool, NoValue> {
    let mut arrival = Arrival::trial(1, "a/b", "x");
    arrival.topic = "21/d1/true".to_owned();
    arrival.payload = Bytes::copy_from_slice(payload.as_bytes());
    arrival.properties = Some(Box::new(Properties {
        user: vec![("n".to_owned(), "1e1".to_owned())],
        ..Properties::default()
    }));
    ask_of("{number}/{device}/{flag}", arrival, |subject| {
        condition.holds(&subject)
    })
}

fn holds(condition: &Condition, payload: &str) -> bool {
    judged(condition, payload).expect("JSON")
}

#[test]
fn json_keeps_its_types() {
    let is = |scalar: Scalar, payload: &str| holds(&any_of("json:/v", vec![scalar]), payload);
    assert!(is(text("5"), r#"{"v":"5"}"#) && !is(text("5"), r#"{"v":5}"#));
    assert!(
        is(Scalar::Number(number("5")), r#"{"v":5}"#) && !is(Scalar::Number(number("5")), r#"{"v":"5"}"#)
    );
    assert!(is(Scalar::Bool(true), r#"{"v":true}"#) && !is(Scalar::Bool(true), r#"{"v":"true"}"#));
    assert!(!is(Scalar::Bool(true), r#"{"v":false}"#));
    assert!(is(text("é"), r#"{"v":"\u00e9"}"#));
    assert!(!is(text("null"), r#"{"v":null}"#) && !is(text("{}"), r#"{"v":{}}"#));
}

#[test]
fn numbers_are_compared_as_numbers() {
    let is = |wanted: &str, payload: &str| {
        holds(&any_of("json:/v", vec![Scalar::Number(number(wanted))]), payload)
    };
    assert!(is("1", r#"{"v":1.0}"#) && is("1", r#"{"v":10e-1}"#));
    assert!(
        !is("9007199254740992", r#"{"v":9007199254740993}"#),
        "not by way of a double"
    );
}

#[test]
fn what_is_not_json_is_text_and_a_number_or_a_flag_where_one_is_asked_for() {
    assert!(holds(&any_of("number", vec![Scalar::Number(number("21.0"))]), ""));
    assert!(holds(&any_of("number", vec![text("21")]), ""));
    assert!(!holds(&any_of("number", vec![text("21.0")]), ""));
    assert!(holds(&any_of("flag", vec![Scalar::Bool(true)]), ""));
    assert!(holds(
        &any_of("property:n", vec![Scalar::Number(number("10"))]),
        ""
    ));
    assert!(!holds(&any_of("device", vec![Scalar::Number(number("1"))]), ""));
}

#[test]
fn one_of_several_is_enough() {
    let kinds = any_of("device", vec![text("d0"), text("d1")]);
    assert!(holds(&kinds, ""));
    assert!(!holds(&any_of("device", vec![text("d0")]), ""));
}

#[test]
fn both_ends_of_a_range_are_in_it() {
    let range = test("json:/v", between("-40", "85.5"));
    for (value, passes) in [
        ("-40", true),
        ("-40.0000000000000000001", false),
        ("0", true),
        ("8.55e1", true),
        ("85.50000000000000000001", false),
        ("1e400", false),
        ("\"0\"", false),
        ("null", false),
    ] {
        assert_eq!(holds(&range, &format!(r#"{{"v":{value}}}"#)), passes, "{value}");
    }
    assert!(holds(&test("number", between("21", "21")), ""));
}

#[test]
fn null_does_not_exist_and_an_object_does() {
    let exists = |wanted| test("json:/v", Test::Exists(wanted));
    for (payload, is_there) in [
        (r#"{"v":{}}"#, true),
        (r#"{"v":0}"#, true),
        (r#"{"v":null}"#, false),
        ("{}", false),
    ] {
        assert_eq!(holds(&exists(true), payload), is_there, "{payload}");
        assert_eq!(holds(&exists(false), payload), !is_there, "{payload}");
    }
    assert!(holds(&test("property:n", Test::Exists(true)), ""));
    assert!(!holds(&test("property:m", Test::Exists(true)), ""));
}

#[test]
fn expressions_match_whole_texts_only() {
    let matches = |text: &str| Test::Matches(Expression::parse(text).expect("an expression"));
    assert!(holds(&test("device", matches("d[0-9]")), ""));
    assert!(!holds(&test("device", matches("d")), ""));
    assert!(
        !holds(&test("json:/v", matches(".*")), r#"{"v":5}"#),
        "a number is no text"
    );
}

#[test]
fn not_turns_the_answer_round_also_of_what_is_not_there() {
    let mut condition = any_of("json:/v", vec![text("a")]);
    condition.is_inverted = true;
    assert!(!holds(&condition, r#"{"v":"a"}"#));
    assert!(holds(&condition, r#"{"v":"b"}"#));
    assert!(holds(&condition, "{}"));
}

#[test]
fn a_payload_that_is_no_json_cannot_be_judged() {
    let condition = test("json:/v", Test::Exists(false));
    let error = judged(&condition, "{").expect_err("no JSON");
    assert_eq!(error.name, "json:/v");
    assert!(error.why.starts_with("the payload is not JSON ("), "{error}");
}

proptest! {
    #[test]
    fn judging_never_panics(payload in "[\\[\\]{}\",:v0-9.eE-]{0,16}", low in -3_i64..3, high in -3_i64..3) {
        let wrapped = format!(r#"{{"v":{payload}}}"#);
        let expression = Expression::parse("[v0-9]*").expect("an expression");
        for one in [
            test("json:/v", Test::Between(number(&low.to_string()), number(&high.to_string()))),
            test("json:/v", Test::Matches(expression)),
            any_of("json:/v", vec![text("v"), Scalar::Number(number("1")), Scalar::Bool(false)]),
        ] {
            for payload in [payload.as_str(), &wrapped] {
                let is_json = serde_json::from_str::<serde::de::IgnoredAny>(payload).is_ok();
                prop_assert_eq!(judged(&one, payload).is_ok(), is_json);
            }
        }
    }
}
