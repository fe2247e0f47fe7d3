//! Attributes: what a device measured, with its NGSIv2 type.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{number, time};
use crate::message::rfc3339;
use crate::route::json::{Json, Kind};

/// An attribute as NGSIv2 writes it in normalized form.
#[derive(Debug, Clone, Serialize)]
pub struct Attribute<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    value: Value<'a>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
enum Value<'a> {
    /// JSON text as it came.
    Json(&'a RawValue),
    Text(Cow<'a, str>),
}

/// What a device sent for one attribute.
#[derive(Debug, Clone)]
pub enum Measured<'a> {
    /// A JSON value.
    Json(Json<'a>),
    /// Text, which has no types (Ultralight).
    Text(&'a str),
    /// Bytes that are no text, in hex.
    Hex(String),
}

/// What is made of values for a type that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    name: String,
    rule: Rule,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Text,
    Number,
    Boolean,
    Time,
    AsItIs,
}

impl Wanted {
    /// The type of this name.
    #[must_use]
    pub fn new(name: String) -> Self {
        let rule = match name.as_str() {
            "Text" => Rule::Text,
            "Number" | "Integer" | "Float" => Rule::Number,
            "Boolean" => Rule::Boolean,
            "DateTime" | "ISO8601" => Rule::Time,
            _ => Rule::AsItIs,
        };
        Self { name, rule }
    }
}

impl<'a> Attribute<'a> {
    /// The attribute for a measured value. Without a wanted type it follows from the value.
    ///
    /// # Errors
    /// Why the value cannot have that type, in words that follow the attribute's name.
    pub fn new(measured: Measured<'a>, wanted: Option<&'a Wanted>) -> Result<Self, String> {
        let attribute = match wanted {
            None => Self::guessed(measured),
            Some(wanted) => Self {
                kind: &wanted.name,
                value: wanted.rule.apply(measured).ok_or_else(|| wanted.complaint())?,
            },
        };
        // JSON values were looked through as a whole; text became a number only here.
        match &attribute.value {
            Value::Json(json) if number::overflowing(json.get()).is_some() => {
                Err("is a number over every double".to_owned())
            }
            _ => Ok(attribute),
        }
    }

    fn guessed(measured: Measured<'a>) -> Self {
        let (kind, value) = match measured {
            Measured::Json(json) => (kind_of(json), Value::Json(json.raw())),
            Measured::Text(text) => match scalar(text) {
                Some(json) => (kind_of(json), Value::Json(json.raw())),
                None => ("Text", Value::Text(Cow::Borrowed(text))),
            },
            Measured::Hex(text) => ("Text", Value::Text(Cow::Owned(text))),
        };
        Self { kind, value }
    }
}

impl Wanted {
    fn complaint(&self) -> String {
        let needed = match self.rule {
            Rule::Number => "a number",
            Rule::Boolean => "true or false",
            Rule::Time => time::RULE,
            Rule::Text | Rule::AsItIs => "a value",
        };
        format!("is not {needed}, which its type {} needs", self.name)
    }
}

impl Rule {
    fn apply(self, measured: Measured<'_>) -> Option<Value<'_>> {
        if let Measured::Json(json) = &measured
            && json.text() == "null"
        {
            return Some(Value::Json(json.raw()));
        }
        match self {
            Self::AsItIs => Some(as_it_is(measured)),
            Self::Text => Some(as_text(measured)),
            Self::Number => as_scalar(&measured, "Number"),
            Self::Boolean => as_scalar(&measured, "Boolean"),
            Self::Time => {
                let ms = time::parse(&text_of(&measured)?)?;
                Some(Value::Text(Cow::Owned(rfc3339(ms))))
            }
        }
    }
}

fn as_it_is(measured: Measured<'_>) -> Value<'_> {
    match measured {
        Measured::Json(json) => Value::Json(json.raw()),
        Measured::Text(text) => Value::Text(Cow::Borrowed(text)),
        Measured::Hex(text) => Value::Text(Cow::Owned(text)),
    }
}

fn as_text(measured: Measured<'_>) -> Value<'_> {
    match measured {
        Measured::Json(json) if kind_of(json) != "Text" => Value::Text(Cow::Borrowed(json.text())),
        other => as_it_is(other),
    }
}

/// A number or boolean, also one that is written as a string.
fn as_scalar<'a>(measured: &Measured<'a>, kind: &str) -> Option<Value<'a>> {
    let json = match measured {
        Measured::Json(json) if kind_of(*json) == kind => *json,
        // A string without escapes has its value between the quotes.
        Measured::Json(json) => scalar(json.text().strip_prefix('"')?.strip_suffix('"')?)?,
        Measured::Text(text) => scalar(text)?,
        Measured::Hex(_) => return None,
    };
    (kind_of(json) == kind).then(|| Value::Json(json.raw()))
}

/// The characters of a text or a number.
pub fn text_of<'a>(measured: &Measured<'a>) -> Option<Cow<'a, str>> {
    match measured {
        Measured::Json(json) if json.kind() == Kind::Number => Some(Cow::Borrowed(json.text())),
        Measured::Json(json) => json.string(),
        Measured::Text(text) => Some(Cow::Borrowed(*text)),
        Measured::Hex(_) => None,
    }
}

/// A text that is a JSON number, `true` or `false`, to the letter.
fn scalar(text: &str) -> Option<Json<'_>> {
    let json = Json::parse(text.as_bytes()).ok()?;
    let is_exact = json.text().len() == text.len();
    (is_exact && matches!(kind_of(json), "Number" | "Boolean")).then_some(json)
}

/// The NGSIv2 type that follows from a JSON value.
fn kind_of(json: Json<'_>) -> &'static str {
    match json.text().as_bytes().first() {
        Some(b'"') => "Text",
        Some(b'{' | b'[') => "StructuredValue",
        Some(b't' | b'f') => "Boolean",
        Some(b'n') => "None",
        _ => "Number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(measured: Measured<'_>, kind: Option<&str>) -> Result<String, String> {
        let wanted = kind.map(|kind| Wanted::new(kind.to_owned()));
        let attribute = Attribute::new(measured, wanted.as_ref())?;
        Ok(serde_json::to_string(&attribute).expect("writes"))
    }

    fn json<'a>(text: &'a str, kind: Option<&str>) -> Result<String, String> {
        let parsed: Json<'a> = Json::parse(text.as_bytes()).expect("JSON");
        written(Measured::Json(parsed), kind)
    }

    #[test]
    fn the_type_follows_from_the_json_value_and_its_text_stays() {
        for (text, kind) in [
            ("12345678901234567890", "Number"),
            ("1.0", "Number"),
            ("\"a\\u0041\"", "Text"),
            ("true", "Boolean"),
            ("null", "None"),
            ("[1, 2]", "StructuredValue"),
            ("{\"a\":1.0}", "StructuredValue"),
        ] {
            assert_eq!(
                json(text, None),
                Ok(format!("{{\"type\":\"{kind}\",\"value\":{text}}}"))
            );
        }
    }

    #[test]
    fn text_without_types_becomes_a_number_or_a_boolean_only_to_the_letter() {
        for (text, expected) in [
            ("15", "{\"type\":\"Number\",\"value\":15}"),
            ("-1.50", "{\"type\":\"Number\",\"value\":-1.50}"),
            ("true", "{\"type\":\"Boolean\",\"value\":true}"),
            ("007", "{\"type\":\"Text\",\"value\":\"007\"}"),
            (" 15", "{\"type\":\"Text\",\"value\":\" 15\"}"),
            ("abc", "{\"type\":\"Text\",\"value\":\"abc\"}"),
            ("null", "{\"type\":\"Text\",\"value\":\"null\"}"),
            ("{}", "{\"type\":\"Text\",\"value\":\"{}\"}"),
        ] {
            assert_eq!(written(Measured::Text(text), None).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_type_that_is_written_in_the_configuration_is_kept_to() {
        for (text, kind, value) in [
            ("\"15\"", "Number", "15"),
            ("15", "Number", "15"),
            ("15", "Float", "15"),
            ("15", "Text", "\"15\""),
            ("{\"a\":1}", "Text", "\"{\\\"a\\\":1}\""),
            ("\"x\"", "Text", "\"x\""),
            ("\"true\"", "Boolean", "true"),
            (
                "\"2016-06-13T02:35:30+02:00\"",
                "DateTime",
                "\"2016-06-13T00:35:30.000Z\"",
            ),
            ("1465778130", "ISO8601", "\"2016-06-13T00:35:30.000Z\""),
            ("\"40.1,-3.2\"", "geo:point", "\"40.1,-3.2\""),
            ("null", "Number", "null"),
        ] {
            let expected = format!("{{\"type\":\"{kind}\",\"value\":{value}}}");
            assert_eq!(json(text, Some(kind)), Ok(expected), "{text} as {kind}");
        }
    }

    #[test]
    fn a_value_that_cannot_have_its_type_is_refused() {
        for (text, kind, needed) in [
            ("\"warm\"", "Number", "a number"),
            ("true", "Number", "a number"),
            ("1", "Boolean", "true or false"),
            ("\"yesterday\"", "DateTime", time::RULE),
            ("5", "ISO8601", time::RULE),
        ] {
            let expected = format!("is not {needed}, which its type {kind} needs");
            assert_eq!(json(text, Some(kind)), Err(expected));
        }
    }

    #[test]
    fn a_number_over_every_double_is_refused() {
        let expected = Err("is a number over every double".to_owned());
        assert_eq!(json("1e400", None), expected);
        assert_eq!(json("[1,{\"a\":-1e999}]", None), expected);
        assert_eq!(written(Measured::Text("1e400"), None), expected);
        assert_eq!(json("\"1e400\"", Some("Number")), expected);
        assert!(json("\"1e400\"", None).is_ok());
    }
}
