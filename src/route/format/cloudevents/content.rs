//! What a payload is, and what attributes may hold.

use serde_json::value::RawValue;

use crate::message::Properties;
use crate::route::json::Json;
use crate::route::subject::Subject;

/// What is said of a JSON payload whose sender says nothing.
const JSON: &str = "application/json";
/// What is said of any other payload whose sender says nothing.
const BYTES: &str = "application/octet-stream";

/// What a payload is.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    media_type: Option<&'a str>,
    json: Option<&'a RawValue>,
}

impl<'a> Content<'a> {
    /// What the sender says it is, if that is a media type; else what it is seen to be. An empty payload is no data: nothing is
    /// made up about it.
    pub fn of(subject: &Subject<'a>) -> Self {
        let declared = subject
            .properties()
            .and_then(|properties| properties.content_type.as_deref())
            .filter(|text| is_media_type(text));
        if subject.arrival().payload.is_empty() {
            return Self {
                media_type: declared,
                json: None,
            };
        }
        let json = match declared {
            Some(declared) if !is_json(declared) => None,
            _ => subject.json().ok().map(Json::raw),
        };
        let seen = if json.is_some() { JSON } else { BYTES };
        Self {
            media_type: declared.or(Some(seen)),
            json,
        }
    }

    /// `datacontenttype`
    pub const fn media_type(&self) -> Option<&'a str> {
        self.media_type
    }

    /// The payload, where it is JSON and not said to be anything else.
    pub const fn json(&self) -> Option<&'a RawValue> {
        self.json
    }
}

/// `type/subtype`, maybe with parameters (RFC 2046).
fn is_media_type(text: &str) -> bool {
    let is_token = |text: &str| {
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !text.is_empty() && text.bytes().all(is_legal)
    };
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    let is_visible = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let mut parts = essence.splitn(2, '/');
    is_visible && parts.next().is_some_and(is_token) && parts.next().is_some_and(is_token)
}

/// Whether a media type says JSON: the subtype `json`, or one that ends in `+json`.
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim_end();
    let subtype = essence
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    subtype == "json" || subtype.ends_with("+json")
}

/// Whether a text can be the value of an attribute (CloudEvents 1.0, type system, String).
pub fn is_attribute(text: &str) -> bool {
    let is_noncharacter = |c: char| {
        let code = u32::from(c);
        (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
    };
    !text.chars().any(|c| c.is_control() || is_noncharacter(c))
}

/// Where a message stands in a trace (W3C Trace Context).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace<'a> {
    /// `traceparent`
    pub parent: &'a str,
    /// `tracestate`
    pub state: Option<&'a str>,
}

/// The trace in the user properties. One that is not well-formed is none, as the standard says.
pub fn trace(properties: Option<&Properties>) -> Option<Trace<'_>> {
    let user = &properties?.user;
    let value = |name: &str| {
        user.iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    Some(Trace {
        parent: value("traceparent").filter(|text| is_trace_parent(text))?,
        state: value("tracestate").filter(|text| !text.is_empty() && is_attribute(text)),
    })
}

/// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`; the version `ff` and ids of zeros are no trace (W3C Trace Context, 3.2.2).
fn is_trace_parent(text: &str) -> bool {
    let is_hex = |group: &str| {
        group
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let groups = text.split('-');
    let is_zero = |group: &str| group.bytes().all(|byte| byte == b'0');
    let has_ids = !groups.clone().skip(1).take(2).any(is_zero);
    let has_form = groups.clone().map(str::len).eq([2, 32, 16, 2]) && groups.clone().all(is_hex);
    has_form && has_ids && !text.starts_with("ff")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_media_type_has_a_type_and_a_subtype() {
        for fine in [
            "application/json",
            "text/plain; charset=utf-8",
            "application/vnd.api+json",
        ] {
            assert!(is_media_type(fine), "{fine}");
        }
        for wrong in [
            "",
            "json",
            "/",
            "a/",
            "/b",
            "a/b/c",
            "a b/c",
            "a/b\u{e9}",
            "a/b;\r\nx: y",
        ] {
            assert!(!is_media_type(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn json_is_a_subtype_or_the_end_of_one() {
        for json in ["application/json", "text/JSON", "application/senml+json; v=1"] {
            assert!(is_json(json), "{json}");
        }
        for other in [
            "text/plain",
            "application/jsonl",
            "application/json-seq",
            "text/plain; a=/json",
        ] {
            assert!(!is_json(other), "{other}");
        }
    }

    #[test]
    fn attributes_have_no_control_characters_and_no_noncharacters() {
        assert!(is_attribute("plants/h\u{e4}lle 2/\u{1f600}"));
        for wrong in ["a\nb", "\u{7f}", "\u{85}", "\u{fdd0}", "\u{fffe}", "\u{1ffff}"] {
            assert!(!is_attribute(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_trace_is_taken_only_when_it_is_well_formed() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let user = |pairs: &[(&str, &str)]| Properties {
            user: pairs
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            ..Properties::default()
        };
        let both = user(&[("traceparent", parent), ("tracestate", "a=b")]);
        let expected = Trace {
            parent,
            state: Some("a=b"),
        };
        assert_eq!(trace(Some(&both)), Some(expected));
        assert_eq!(trace(Some(&user(&[("tracestate", "a=b")]))), None);
        for wrong in ["", "00", &parent.to_uppercase(), &format!("{parent}-00")] {
            assert_eq!(trace(Some(&user(&[("traceparent", wrong)]))), None, "{wrong}");
        }
        assert_eq!(trace(None), None);
    }

    #[test]
    fn a_trace_of_the_forbidden_version_or_with_ids_of_zeros_is_none() {
        for wrong in [
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert!(!is_trace_parent(wrong), "{wrong}");
        }
        let not_sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        assert!(is_trace_parent(not_sampled));
    }

    proptest! {
        #[test]
        fn what_is_said_of_content_never_panics(text in "\\PC{0,60}|[a-z/;+ %-]{0,60}") {
            let _is = (is_media_type(&text), is_json(&text), is_attribute(&text), is_trace_parent(&text));
        }
    }
}
