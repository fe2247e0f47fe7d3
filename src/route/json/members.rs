//! What is directly inside an object or an array, in order, as the text that came.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::Json;

/// Members of one object, or elements of one array, at most; a name that comes again counts again. Telemetry has tens; the limit
/// bounds memory and time.
pub const ENTRIES_MAX: usize = 1_024;

/// Why the inside of a value cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InsideError {
    /// Over [`ENTRIES_MAX`].
    #[error("has more than {ENTRIES_MAX} members or elements")]
    TooMany,
    /// `"\ud800"`: half a surrogate pair is no character.
    #[error("has a member whose name has half a character (a lone surrogate)")]
    NoName,
    /// Neither an object nor an array.
    #[error("is neither an object nor an array")]
    NoContainer,
}

impl<'a> Json<'a> {
    /// The members of an object, each name once: at the place of its first, with the value of its last.
    ///
    /// # Errors
    /// [`InsideError`].
    pub fn members(self) -> Result<Vec<(Cow<'a, str>, Self)>, InsideError> {
        if !self.text().starts_with('{') {
            return Err(InsideError::NoContainer);
        }
        let read = Deserializer::from_str(self.text()).deserialize_map(Members);
        read.map_err(|error| reason(&error))
    }

    /// The elements of an array.
    ///
    /// # Errors
    /// [`InsideError`].
    pub fn elements(self) -> Result<Vec<Self>, InsideError> {
        if !self.text().starts_with('[') {
            return Err(InsideError::NoContainer);
        }
        let read = Deserializer::from_str(self.text()).deserialize_seq(Elements);
        read.map_err(|error| reason(&error))
    }

    /// The value as serde writes it: its own text.
    #[must_use]
    pub(in crate::route) const fn raw(self) -> &'a RawValue {
        self.0
    }
}

/// What the visitors say of a container over the limit.
const TOO_MANY: &str = "too many entries";

/// The text was checked as a whole before: besides our own complaint, only a name can be unreadable.
fn reason(error: &serde_json::Error) -> InsideError {
    if error.to_string().starts_with(TOO_MANY) {
        InsideError::TooMany
    } else {
        InsideError::NoName
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, Json<'de>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found: Self::Value = Vec::new();
        let mut places: HashMap<Cow<'de, str>, usize> = HashMap::new();
        let mut count = 0;
        while let Some(Name(name)) = members.next_key()? {
            let value = Json(members.next_value()?);
            count += 1;
            if count > ENTRIES_MAX {
                return Err(A::Error::custom(TOO_MANY));
            }
            if let Some((_, known)) = places.get(&name).and_then(|place| found.get_mut(*place)) {
                *known = value;
            } else {
                places.insert(name.clone(), found.len());
                found.push((name, value));
            }
        }
        Ok(found)
    }
}

struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<Json<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(value) = elements.next_element()? {
            if found.len() >= ENTRIES_MAX {
                return Err(A::Error::custom(TOO_MANY));
            }
            found.push(Json(value));
        }
        Ok(found)
    }
}

/// A name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(name: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: serde::de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        name.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(text: &str) -> Result<Vec<(String, &str)>, InsideError> {
        let members = Json::parse(text.as_bytes()).expect("JSON").members()?;
        let texts = members.into_iter();
        Ok(texts
            .map(|(name, value)| (name.into_owned(), value.text()))
            .collect())
    }

    #[test]
    fn members_come_in_order_as_they_were_written() {
        let text = "{ \"b\\u0041\" : 1.0 ,\"a\":[1, 2],\"n\":12345678901234567890}";
        let expected = [
            ("bA".to_owned(), "1.0"),
            ("a".to_owned(), "[1, 2]"),
            ("n".to_owned(), "12345678901234567890"),
        ];
        assert_eq!(members(text), Ok(expected.to_vec()));
    }

    #[test]
    fn of_a_double_name_the_last_value_counts() {
        let expected = vec![("a".to_owned(), "3"), ("b".to_owned(), "2")];
        assert_eq!(members("{\"a\":1,\"b\":2,\"\\u0061\":3}"), Ok(expected));
    }

    #[test]
    fn half_a_character_is_no_name() {
        assert_eq!(members("{\"\\ud800\":1}"), Err(InsideError::NoName));
    }

    #[test]
    fn more_entries_than_the_limit_are_refused() {
        let entries = |count: usize| (0..count).map(|n| format!("\"{n}\":{n}")).collect::<Vec<_>>();
        let object = |count| format!("{{{}}}", entries(count).join(","));
        assert_eq!(members(&object(ENTRIES_MAX)).expect("fits").len(), ENTRIES_MAX);
        assert_eq!(members(&object(ENTRIES_MAX + 1)), Err(InsideError::TooMany));
        let array = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        let elements = |text: &str| {
            Json::parse(text.as_bytes())
                .expect("JSON")
                .elements()
                .map(|all| all.len())
        };
        assert_eq!(elements(&array(ENTRIES_MAX)), Ok(ENTRIES_MAX));
        assert_eq!(elements(&array(ENTRIES_MAX + 1)), Err(InsideError::TooMany));
    }

    #[test]
    fn a_name_that_comes_again_counts_again() {
        let repeated = |count: usize| format!("{{{}}}", vec!["\"a\":1"; count].join(","));
        assert_eq!(members(&repeated(ENTRIES_MAX)), Ok(vec![("a".to_owned(), "1")]));
        assert_eq!(members(&repeated(ENTRIES_MAX + 1)), Err(InsideError::TooMany));
    }

    #[test]
    fn what_has_no_inside_says_so() {
        assert_eq!(members("[1]"), Err(InsideError::NoContainer));
        let object = Json::parse(b"{}").expect("JSON");
        assert_eq!(object.elements().err(), Some(InsideError::NoContainer));
    }

    proptest! {
        #[test]
        fn looking_inside_never_panics(text in "[\\[\\]{}\",:a\\\\ud800-9 .eE+-]{0,64}") {
            if let Ok(json) = Json::parse(text.as_bytes()) {
                let _members = json.members();
                let _elements = json.elements();
            }
        }
    }
}
