//! A look into JSON without changing it: values are found by JSON pointer (RFC 6901) and given as the text that came, so
//! that a number of 20 digits stays one.
//!
//! Of two members with the same name the last counts, as it does for JavaScript's parser and most others.

use serde_json::value::RawValue;

/// Deepest nesting that is looked into. Real telemetry has under ten; deeper text is somebody's attack on a stack.
pub const MAX_DEPTH: usize = 64;

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
}

impl<'a> Json<'a> {
    /// Checks the whole text. It may have white space around it.
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, JsonError> {
        if depth(bytes) > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        serde_json::from_slice(bytes)
            .map(Self)
            .map_err(|error| JsonError::Malformed(error.to_string()))
    }

    /// The text of the value.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.0.get()
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
