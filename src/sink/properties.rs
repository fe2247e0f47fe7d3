//! `[kafka.properties]`: any librdkafka property, except those that would break a promise.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use crate::settings::Section;
use crate::sink::forbidden;

/// The table as it is written, flat: TOML reads `linger.ms = 20` as a table in a table, and `"linger.ms"`
/// as one key; both mean the same here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RawProperties(BTreeMap<String, String>);

/// Checks every property by our rules and then by those of librdkafka itself.
pub(super) fn resolve(raw: RawProperties, section: &mut Section<'_, '_>) -> BTreeMap<String, String> {
    for (name, value) in &raw.0 {
        let key = format!("properties.{name}");
        if name.contains('\0') || value.contains('\0') {
            // C strings end there: librdkafka would see something else than what is checked here.
            section.error(&key, "contains the character U+0000", "leave it out");
        } else if let Some(rule) = forbidden::rule(name) {
            section.error(&key, rule.breaks, rule.instead);
        } else if is_oidc(name, value) {
            section.error(&key, OIDC.0, OIDC.1);
        } else if let Some((wrong, right)) = ask_librdkafka(name, value) {
            section.error(&key, wrong, right);
        } else if NUMBERS.contains(&name.as_str()) && !is_plain_number(value) {
            section.error(
                &key,
                format!("{value:?} is no plain number"),
                "write it in digits: 20",
            );
        }
    }
    raw.0
}

/// Numbers that are read here as well. librdkafka takes them with blanks, in hexadecimal and in octal too.
const NUMBERS: [&str; 5] = [
    "linger.ms",
    "queue.buffering.max.ms",
    "batch.size",
    "batch.num.messages",
    "message.max.bytes",
];

/// Digits, with a fraction perhaps, that mean the same to everybody.
fn is_plain_number(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    are_digits(whole) && are_digits(fraction) && (whole == "0" || !whole.starts_with('0'))
}

/// Why tokens are not fetched, and what to do.
const OIDC: (&str, &str) = (
    "is not built in: fetching tokens would need libcurl",
    "write sasl = \"oauthbearer\" and token_file, and let a timer or another program keep a fresh token in that file",
);

/// Whether librdkafka would have to fetch tokens itself.
fn is_oidc(name: &str, value: &str) -> bool {
    match name {
        "sasl.oauthbearer.method" => value.eq_ignore_ascii_case("oidc"),
        _ => forbidden::is_oidc(name),
    }
}

/// What librdkafka itself has against the property.
fn ask_librdkafka(name: &str, value: &str) -> Option<(String, String)> {
    let mut config = ClientConfig::new();
    config.set(name, value);
    let right = "see CONFIGURATION.md of librdkafka 2.12 for names and values".to_owned();
    match config.create_native_config() {
        Ok(_) => None,
        Err(KafkaError::ClientConfig(_, reason, ..)) => Some((format!("librdkafka says: {reason}"), right)),
        Err(error) => Some((error.to_string(), right)),
    }
}

/// One entry: a value, or a table because its name has dots.
enum Entry {
    Value(String),
    Table(RawProperties),
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number or a boolean")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Entry, E> {
        Ok(Entry::Value(value.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Entry, E> {
        Ok(Entry::Value(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Entry, E> {
        Ok(Entry::Value(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Entry, E> {
        Ok(Entry::Value(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Entry, E> {
        Ok(Entry::Value(value.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Entry, A::Error> {
        let mut flat = BTreeMap::new();
        while let Some(key) = entries.next_key::<String>()? {
            match entries.next_value()? {
                Entry::Value(value) => {
                    flat.insert(key, value);
                }
                Entry::Table(RawProperties(inner)) => {
                    flat.extend(
                        inner
                            .into_iter()
                            .map(|(name, value)| (format!("{key}.{name}"), value)),
                    );
                }
            }
        }
        Ok(Entry::Table(RawProperties(flat)))
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

impl<'de> Deserialize<'de> for RawProperties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Entry::deserialize(deserializer)? {
            Entry::Table(table) => Ok(table),
            Entry::Value(value) => {
                let found = de::Unexpected::Str(&value);
                Err(de::Error::invalid_type(found, &"a table [kafka.properties]"))
            }
        }
    }
}
