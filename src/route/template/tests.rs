use proptest::prelude::*;

use super::*;
use crate::route::pattern::Pattern;

/// Renders `template` for a message from `plants/p1/d1/up/down`.
fn check(template: &str) -> String {
    let pattern = Pattern::parse("plants/{plant}/{device}/{rest...}").unwrap();
    Template::parse(template)
        .unwrap()
        .render(&pattern.matches("plants/p1/d1/up/down").unwrap())
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
    assert_eq!(check("{unknown}"), "");
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
    assert_eq!(refused("{}"), TemplateError::BadName { name: String::new() });
    assert_eq!(
        refused("{rest...}"),
        TemplateError::BadName {
            name: "rest...".to_owned()
        }
    );
}

#[test]
fn names_are_listed_in_order_of_use() {
    let template = Template::parse("{a}-{b}-{a}{{c}}").unwrap();
    assert_eq!(template.names().collect::<Vec<_>>(), ["a", "b", "a"]);
    assert!(!template.is_static());
    assert!(Template::parse("{{c}}").unwrap().is_static());
}

proptest! {
    #[test]
    fn parsing_never_panics(text in any::<String>()) {
        match Template::parse(&text) {
            Ok(template) => {
                prop_assert_eq!(template.to_string(), text);
                prop_assert!(template.names().all(is_name));
            }
            Err(_) => prop_assert!(text.contains(['{', '}']), "{text:?} has no braces to object to"),
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
