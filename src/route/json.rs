//! A look into JSON without changing it: values are found by JSON pointer (RFC 6901) and given as the text that came, so
//! that a number of 20 digits stays one.
//!
//! Of two members with the same name the last counts, as it does for JavaScript's parser and most others.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

mod members;
mod pointer;

pub use members::{ENTRIES_MAX, InsideError};
pub use pointer::{Pointer, PointerError};

/// Deepest nesting that is looked into. Real telemetry has under ten; deeper text is somebody's attack on a stack.
pub const MAX_DEPTH: usize = 64;

/// Longest text that is looked into, bytes: the largest MQTT packet that is received at all.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A whole JSON text within its limits.
#[derive(Debug, Clone, Copy)]
pub struct Json<'a>(&'a RawValue);

/// Why bytes are not JSON that can be looked into.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON.
    #[error("the payload is not JSON ({0})")]
    Malformed(String),
    /// Over [`MAX_DEPTH`].
    #[error("the payload is JSON nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// Over [`MAX_BYTES`].
    #[error("the payload of {0} bytes is longer than the {MAX_BYTES} that are looked into")]
    TooLong(usize),
}

/// What a JSON value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number, of any size and precision.
    Number,
    /// A string.
    String,
    /// `[...]`
    Array,
    /// `{...}`
    Object,
}

impl fmt::Display for Kind {
    /// With its article, for sentences.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }
}

impl<'a> Json<'a> {
    /// Checks the whole text. It may have white space around it.
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, JsonError> {
        if bytes.len() > MAX_BYTES {
            return Err(JsonError::TooLong(bytes.len()));
        }
        if depth(bytes) > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        serde_json::from_slice(bytes)
            .map(Self)
            .map_err(|error| JsonError::Malformed(error.to_string()))
    }

    /// The text of the value, without white space around it.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.0.get()
    }

    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self.text().as_bytes().first() {
            Some(b'n') => Kind::Null,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'"') => Kind::String,
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            _ => Kind::Number,
        }
    }

    /// The characters of a string, unescaped. `None` for anything else, and for a string with half a surrogate pair.
    #[must_use]
    pub fn string(self) -> Option<Cow<'a, str>> {
        if self.kind() != Kind::String {
            return None;
        }
        let inner = self.text().strip_prefix('"')?.strip_suffix('"')?;
        if inner.contains('\\') {
            serde_json::from_str(self.text()).ok().map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(inner))
        }
    }

    /// The value that the pointer leads to.
    #[must_use]
    pub fn at(self, pointer: &Pointer) -> Option<Self> {
        let mut value = self;
        for token in pointer.tokens() {
            value = value.child(token)?;
        }
        Some(value)
    }

    /// The value that a pointer leads to that is not settled before; `None` also when it is no pointer.
    #[must_use]
    pub fn pointer(self, pointer: &str) -> Option<Self> {
        self.at(&Pointer::parse(pointer).ok()?)
    }

    /// Member of an object, or element of an array.
    fn child(self, token: &str) -> Option<Self> {
        let mut reader = Deserializer::from_str(self.text());
        let found = match self.kind() {
            Kind::Object => reader.deserialize_map(Member(token)),
            Kind::Array => reader.deserialize_seq(Element(pointer::index(token)?)),
            _ => return None,
        };
        // The text was checked as a whole: there is no other reason for an error than that nothing was found.
        found.ok().flatten().map(Self)
    }
}

/// Finds the last member of this name.
struct Member<'t>(&'t str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = members.next_key_seed(Name(self.0))? {
            if is_it {
                found = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a member has this name.
struct Name<'t>(&'t str);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, name: D) -> Result<bool, D::Error> {
        // As bytes: a name with half a surrogate pair has no characters, and must not hide its neighbours.
        name.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }

    fn visit_bytes<E: serde::de::Error>(self, name: &[u8]) -> Result<bool, E> {
        Ok(name == self.0.as_bytes())
    }
}

/// Finds the element at this place.
struct Element(usize);

impl<'de> Visitor<'de> for Element {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        for _ in 0..self.0 {
            if elements.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = elements.next_element()?;
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

/// Nesting of brackets outside strings. Right for JSON; for anything else it does not matter.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests;
