use proptest::prelude::*;

use super::*;
use crate::filter::{covers, overlaps};

/// Matches `pattern` against `topic` and gives the captures as `name=value`, joined by commas.
fn check(pattern: &str, topic: &str) -> Option<String> {
    let pattern = Pattern::parse(pattern).unwrap();
    let captures = pattern.matches(topic)?;
    let values: Vec<String> = pattern
        .names()
        .map(|name| format!("{name}={}", captures.get(name).unwrap()))
        .collect();
    Some(values.join(","))
}

fn refused(pattern: &str) -> String {
    Pattern::parse(pattern).unwrap_err().to_string()
}

#[test]
fn names_capture_levels() {
    assert_eq!(
        check("devices/{device}/telemetry", "devices/d1/telemetry").as_deref(),
        Some("device=d1")
    );
    assert_eq!(check("devices/{device}/telemetry", "devices/d1/state"), None);
    assert_eq!(
        check("devices/{device}/telemetry", "devices/d1/telemetry/x"),
        None
    );
    assert_eq!(check("devices/{device}/telemetry", "devices/d1"), None);
    assert_eq!(
        check("{site}/+/{device}", "a/b/c").as_deref(),
        Some("site=a,device=c")
    );
    assert_eq!(check("a/{x}", "a/").as_deref(), Some("x="));
    assert_eq!(check("a/b", "a/b").as_deref(), Some(""));
}

#[test]
fn the_rest_may_be_empty() {
    assert_eq!(check("a/{rest...}", "a/b/c").as_deref(), Some("rest=b/c"));
    assert_eq!(check("a/{rest...}", "a/").as_deref(), Some("rest="));
    assert_eq!(check("a/{rest...}", "a").as_deref(), Some("rest="));
    assert_eq!(check("a/{rest...}", "ab"), None);
    assert_eq!(check("{rest...}", "a/b").as_deref(), Some("rest=a/b"));
    assert_eq!(check("a/#", "a").as_deref(), Some(""));
}

#[test]
fn a_first_wildcard_leaves_system_topics_alone() {
    assert_eq!(check("{rest...}", "$SYS/broker"), None);
    assert_eq!(check("+/broker", "$SYS/broker"), None);
    assert_eq!(check("$SYS/{x}", "$SYS/broker").as_deref(), Some("x=broker"));
}

#[test]
fn filters_have_no_names() {
    let filter = |text| Pattern::parse(text).unwrap().filter().to_owned();
    assert_eq!(filter("devices/{device}/telemetry"), "devices/+/telemetry");
    assert_eq!(filter("a/+/{rest...}"), "a/+/#");
}

#[test]
fn what_is_not_a_pattern_says_why() {
    assert_eq!(refused(""), "is empty");
    assert_eq!(refused("a\0"), "contains the character U+0000");
    assert_eq!(
        refused(&"a".repeat(65_536)),
        "is 65536 bytes long, MQTT allows 65535"
    );
    assert!(Pattern::parse(&"a".repeat(65_535)).is_ok());
    assert_eq!(
        refused("$share/group/a"),
        "is a shared subscription: write the filter alone, and shared_group in [[mqtt]]"
    );
    assert_eq!(refused("a/{b"), "has an unbalanced brace in the level \"{b\"");
    assert_eq!(refused("a/b}"), "has an unbalanced brace in the level \"b}\"");
    assert_eq!(
        refused("a/dev-{x}"),
        "mixes a name with text in the level \"dev-{x}\": a name takes a whole level"
    );
    assert_eq!(
        refused("a/{x}{y}"),
        "mixes a name with text in the level \"{x}{y}\": a name takes a whole level"
    );
    assert!(refused("a/{}").starts_with("has the name \"\""));
    assert!(refused("a/{1x}").starts_with("has the name \"1x\""));
    assert_eq!(refused("{a}/{a}"), "uses the name {a} twice");
    assert_eq!(
        refused("#/a"),
        "has \"#\" before its end: only the last level can match the rest"
    );
    assert_eq!(
        refused("{r...}/a"),
        "has \"{r...}\" before its end: only the last level can match the rest"
    );
    assert_eq!(
        refused("a/b+"),
        "mixes a wildcard with text in the level \"b+\": '+' and '#' take a whole level"
    );
}

#[test]
fn covering_and_overlapping() {
    for (wide, narrow) in [
        ("#", "a/b"),
        ("a/#", "a"),
        ("a/#", "a/#"),
        ("a/+", "a/b"),
        ("+/#", "#"),
        ("a/#", "a/+/c"),
    ] {
        assert!(covers(wide, narrow), "{wide} covers {narrow}");
        assert!(
            overlaps(wide, narrow) && overlaps(narrow, wide),
            "{wide} overlaps {narrow}"
        );
    }
    for (wide, narrow) in [
        ("a/+", "a/#"),
        ("a/b", "a/+"),
        ("#", "$SYS/a"),
        ("a/+/#", "a/#"),
        ("a/+", "a"),
    ] {
        assert!(!covers(wide, narrow), "{wide} does not cover {narrow}");
    }
    assert!(overlaps("a/+/c", "a/b/+"));
    assert!(!overlaps("a/+", "a/+/c"));
    assert!(!overlaps("+/a", "$SYS/a"));
}

fn any_pattern() -> impl Strategy<Value = String> {
    let level = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just(String::new()),
        Just("$s".to_owned()),
        Just("+".to_owned())
    ];
    (proptest::collection::vec(level, 1..4), any::<bool>()).prop_map(|(mut levels, rest)| {
        if rest {
            levels.push("#".to_owned());
        }
        levels.join("/")
    })
}

fn any_topic() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("$s"), Just("")], 1..5)
        .prop_map(|levels| levels.join("/"))
}

proptest! {
    #[test]
    fn parsing_and_matching_never_panic(text in "[a-z/{}+#.$]{0,20}", topic in "[^+#]{0,20}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            let captures = pattern.matches(&topic);
            // A topic is a filter for itself alone.
            prop_assert_eq!(captures.is_some(), covers(pattern.filter(), &topic));
            for name in captures.iter().flat_map(|_| pattern.names()) {
                let value = captures.as_ref().and_then(|captures| captures.get(name));
                prop_assert!(value.is_some_and(|value| topic.contains(value)), "{name} of {topic:?}");
            }
        }
    }

    #[test]
    fn a_topic_made_from_a_pattern_matches_it(values in proptest::collection::vec("[a-z0-9 -]{0,5}", 1..5)) {
        let names: Vec<String> = (0..values.len()).map(|i| format!("{{n{i}}}")).collect();
        let pattern = Pattern::parse(&format!("t/{}/{{rest...}}", names.join("/"))).unwrap();
        let topic = format!("t/{}/x/y", values.join("/"));
        let captures = pattern.matches(&topic).unwrap();
        for (i, value) in values.iter().enumerate() {
            prop_assert_eq!(captures.get(&format!("n{i}")), Some(value.as_str()));
        }
        prop_assert_eq!(captures.get("rest"), Some("x/y"));
    }

    #[test]
    fn covering_agrees_with_matching(wide in any_pattern(), narrow in any_pattern(), topic in any_topic()) {
        let matches = |filter: &str| Pattern::parse(filter).is_ok_and(|p| p.matches(&topic).is_some());
        if covers(&wide, &narrow) && matches(&narrow) {
            prop_assert!(matches(&wide), "{} covers {}, but does not match {}", wide, narrow, topic);
        }
        if matches(&wide) && matches(&narrow) {
            prop_assert!(overlaps(&wide, &narrow), "{} and {} both match {}", wide, narrow, topic);
        }
    }
}
