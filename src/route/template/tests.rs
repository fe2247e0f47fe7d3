use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::message::Arrival;
use crate::route::subject::ask_of;

/// Renders `template` for a message from `plants/p1/d1/up/down` whose payload is `{"id":"x","n":1.0}`.
fn check(template: &str) -> String {
    rendered(template).unwrap()
}

fn rendered(template: &str) -> Result<String, NoValue> {
    let mut arrival = Arrival::trial(1, "a/b", "x");
    arrival.topic = "plants/p1/d1/up/down".to_owned();
    arrival.payload = Bytes::from_static(br#"{"id":"x","n":1.0}"#);
    ask_of("plants/{plant}/{device}/{rest...}", arrival, |subject| {
        Template::parse(template).unwrap().render(&subject)
    })
}

fn refused(template: &str) -> TemplateError {
    Template::parse(template).unwrap_err()
}

#[test]
fn names_are_replaced() {
    assert_eq!(check("{device}"), "d1");
    assert_eq!(check("t-{plant}.{device}-{plant}"), "t-p1.d1-p1");
    assert_eq!(check("{rest}"), "up/down");
    assert_eq!(check("telemetry"), "telemetry");
    assert_eq!(check(""), "");
    assert_eq!(check("{json:/id}-{json:/n}@{gateway:id}"), "x-1.0@gw-7");
}

#[test]
fn a_value_that_is_not_there_is_never_replaced_by_something_else() {
    let missing = |template: &str| rendered(template).unwrap_err().to_string();
    assert_eq!(
        missing("{plant}-{json:/serial}"),
        "json:/serial: is not in the payload"
    );
    assert_eq!(missing("{unknown}"), "unknown: `from` has no such level");
}

#[test]
fn double_braces_are_braces() {
    assert_eq!(check("{{{device}}}"), "{d1}");
    assert_eq!(check("{{device}}"), "{device}");
}

#[test]
fn what_is_not_a_template_says_why() {
    assert_eq!(refused("{device"), TemplateError::Unclosed);
    assert_eq!(refused("device}"), TemplateError::Unopened);
    assert_eq!(refused("{a{b}"), TemplateError::Nested);
    let bad_name = |name: &str| {
        TemplateError::Value(ValueError::BadName {
            name: name.to_owned(),
        })
    };
    assert_eq!(refused("{}"), bad_name(""));
    assert_eq!(refused("{rest...}"), bad_name("rest..."));
    assert!(matches!(
        refused("{json:id}"),
        TemplateError::Value(ValueError::Pointer { .. })
    ));
}

#[test]
fn names_are_listed_in_order_of_use() {
    let template = Template::parse("{a}-{b}-{a}{{c}}").unwrap();
    assert_eq!(
        template.values().map(Value::as_str).collect::<Vec<_>>(),
        ["a", "b", "a"]
    );
    assert!(!template.is_static());
    assert!(Template::parse("{{c}}").unwrap().is_static());
}

proptest! {
    #[test]
    fn parsing_templates_never_panics(text in any::<String>(), near in "[{}a-c:/~]{0,12}") {
      for text in [text, near] {
        match Template::parse(&text) {
            Ok(template) => {
                prop_assert_eq!(template.to_string(), text);
                prop_assert!(template.values().all(|value| Value::parse(value.as_str()).is_ok()));
            }
            Err(_) => prop_assert!(text.contains(['{', '}']), "{text:?} has no braces to object to"),
        }
      }
    }

    #[test]
    fn escaped_text_renders_as_itself(text in "[a-c{}/é]{0,12}") {
        let escaped = text.replace('{', "{{").replace('}', "}}");
        prop_assert_eq!(check(&escaped), text);
    }
}

#[test]
fn a_template_tells_which_texts_it_may_become() {
    let may = |template: &str, text: &str| Template::parse(template).expect("valid").may_render_to(text);
    for (template, text) in [
        ("t", "t"),
        ("{a}", "anything"),
        ("x-{a}", "x-1"),
        ("{a}-x", "a-x-x"),
        ("{a}-{b}.dead", "gw-1.dead.dead"),
        ("{a}aa", "aaa"),
        ("a{x}b{y}c", "abbc"),
    ] {
        assert!(may(template, text), "{template} {text}");
    }
    for (template, text) in [
        ("t", "t1"),
        ("t1", "t"),
        ("x-{a}", "y-1"),
        ("{a}-x", "a-y"),
        ("a{x}a", "a"),
        ("{a}-{b}.dead", "gw.dead"),
    ] {
        assert!(!may(template, text), "{template} {text}");
    }
}
