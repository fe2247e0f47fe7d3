use proptest::prelude::*;

use super::*;

/// The text that `pointer` leads to in `text`.
fn at<'a>(text: &'a str, pointer: &str) -> Option<&'a str> {
    let json = Json::parse(text.as_bytes()).expect("JSON");
    json.at(&Pointer::parse(pointer).expect("a pointer"))
        .map(Json::text)
}

fn pointer_error(text: &str) -> String {
    Pointer::parse(text).expect_err("no pointer").to_string()
}

/// The examples of RFC 6901, section 5.
#[test]
fn pointers_lead_where_rfc_6901_says() {
    let text =
        r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
    for (pointer, value) in [
        ("", text),
        ("/foo", r#"["bar","baz"]"#),
        ("/foo/0", r#""bar""#),
        ("/", "0"),
        ("/a~1b", "1"),
        ("/c%d", "2"),
        ("/e^f", "3"),
        ("/g|h", "4"),
        ("/i\\j", "5"),
        ("/k\"l", "6"),
        ("/ ", "7"),
        ("/m~0n", "8"),
    ] {
        assert_eq!(at(text, pointer), Some(value), "{pointer}");
    }
    for nowhere in [
        "/foo/2", "/foo/-", "/foo/00", "/foo/01", "/foo/+1", "/foo/bar", "/bar", "//", "/a~1b/x",
    ] {
        assert_eq!(at(text, nowhere), None, "{nowhere}");
    }
}

#[test]
fn what_is_not_a_pointer_says_how_one_is_written() {
    assert_eq!(
        pointer_error("a/b"),
        "a JSON pointer begins with '/', such as /sensor/id"
    );
    let escapes = "in a JSON pointer '~' is written ~0, and '/' inside a name ~1";
    assert_eq!(pointer_error("/a~"), escapes);
    assert_eq!(pointer_error("/a~2"), escapes);
    assert_eq!(
        pointer_error(&"/a".repeat(MAX_DEPTH + 1)),
        "a JSON pointer of 65 steps leads deeper than the 64 that are looked into"
    );
    assert!(Pointer::parse(&"/a".repeat(MAX_DEPTH)).is_ok());
}

#[test]
fn numbers_keep_their_text() {
    for number in [
        "12345678901234567890123",
        "1.0",
        "-0",
        "1e400",
        "0.10000000000000000000001",
    ] {
        assert_eq!(at(&format!(r#"{{ "a" : {number} }}"#), "/a"), Some(number));
    }
}

#[test]
fn of_two_members_with_one_name_the_last_counts() {
    assert_eq!(at(r#"{"a":1,"b":2,"a":3}"#, "/a"), Some("3"));
    assert_eq!(
        at(r#"{"a":{"b":1},"a":{"c":2}}"#, "/a/b"),
        None,
        "they are not merged"
    );
    assert_eq!(
        at(r#"{"a":1,"\u0061":2}"#, "/a"),
        Some("2"),
        "an escape is no other name"
    );
}

#[test]
fn a_name_that_is_half_a_character_hides_nobody() {
    assert_eq!(at(r#"{"\ud800":1,"a":2}"#, "/a"), Some("2"));
}

#[test]
fn strings_are_unescaped_and_nothing_else_is_one() {
    let string = |text: &str| {
        Json::parse(text.as_bytes())
            .expect("JSON")
            .string()
            .map(Cow::into_owned)
    };
    assert_eq!(string(r#" "a" "#).as_deref(), Some("a"));
    assert_eq!(string(r#""\u00e9\n\"\ud83d\ude00""#).as_deref(), Some("é\n\"😀"));
    assert_eq!(string(r#""""#).as_deref(), Some(""));
    assert_eq!(string(r#""\ud800""#), None);
    assert_eq!(string("5"), None);
}

#[test]
fn limits_of_depth_and_length_are_as_they_say() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Json::parse(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert_eq!(
        Json::parse(nested(MAX_DEPTH + 1).as_bytes()).err(),
        Some(JsonError::TooDeep)
    );
    let unclosed = "[".repeat(1_000_000);
    assert_eq!(Json::parse(unclosed.as_bytes()).err(), Some(JsonError::TooDeep));
    let long = format!("\"{}\"", "x".repeat(MAX_BYTES - 2));
    assert!(Json::parse(long.as_bytes()).is_ok());
    let longer = format!("{long} ");
    assert_eq!(
        Json::parse(longer.as_bytes()).err(),
        Some(JsonError::TooLong(MAX_BYTES + 1))
    );
}

#[test]
fn brackets_in_strings_are_no_depth() {
    let text = format!(r#"{{"a":"\"{}"}}"#, "[".repeat(1000));
    assert!(Json::parse(text.as_bytes()).is_ok());
}

#[test]
fn what_is_not_json_says_so() {
    for bytes in [
        &b""[..],
        b"{",
        b"nul",
        b"{'a':1}",
        b"1 2",
        b"\xff",
        b"\"\xff\"",
        b"\"\0\"",
        b"NaN",
        b"01",
        b"\xef\xbb\xbf1",
    ] {
        let error = Json::parse(bytes).expect_err("no JSON").to_string();
        assert!(
            error.starts_with("the payload is not JSON ("),
            "{bytes:?}: {error}"
        );
    }
}

/// JSON with names that collide now and then.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        "[a-c/~\"\\\\é\u{0}-\u{1f}]{0,4}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::hash_map("[ab/~01\"é]{0,2}", inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// `serde_json`'s own pointers lead to the same values.
    #[test]
    fn pointers_agree_with_another_implementation(value in any_json(), pointer in "(/([ab/01\"é]|~0|~1){0,2}){0,3}") {
        let text = value.to_string();
        let json = Json::parse(text.as_bytes()).expect("JSON");
        let found = json.pointer(&pointer).map(|found| serde_json::from_str(found.text()).expect("JSON"));
        prop_assert_eq!(found.as_ref(), value.pointer(&pointer));
    }

    #[test]
    fn parsing_pointers_never_panics(text in any::<String>(), near in "[/~01a-]{0,12}") {
        for text in [text, near] {
            if let Ok(pointer) = Pointer::parse(&text) {
                prop_assert_eq!(pointer.as_str(), &text);
                let json = Json::parse(br#"{"a":[1,{"":2}]}"#).expect("JSON");
                prop_assert!(json.at(&pointer).is_none_or(|found| json.text().contains(found.text())));
            }
        }
    }

    #[test]
    fn looking_into_any_bytes_never_panics(bytes in any::<Vec<u8>>(), near in "[\\[\\]{}\",:\\\\ud80a0-9eE.+-]{0,24}") {
        for bytes in [&bytes[..], near.as_bytes()] {
            if let Ok(json) = Json::parse(bytes) {
                let same = serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
                prop_assert!(same);
                for pointer in ["", "/0", "/a", "/0/a/"] {
                    let found = json.pointer(pointer);
                    prop_assert!(found.is_none_or(|found| found.string().is_none() || found.kind() == Kind::String));
                }
            }
        }
    }
}
