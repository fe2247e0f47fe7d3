//! JSON pointers (RFC 6901).

use std::fmt;

use super::MAX_DEPTH;

/// A JSON pointer: the way to one value of a JSON text. The empty one is the whole text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    /// Names and indices, unescaped.
    tokens: Vec<String>,
}

/// Why a text is not a JSON pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// Every step begins with a slash.
    #[error("a JSON pointer begins with '/', such as /sensor/id")]
    NoSlash,
    /// `~` is there to escape `/` and itself.
    #[error("in a JSON pointer '~' is written ~0, and '/' inside a name ~1")]
    BadEscape,
    /// It leads deeper than texts are looked into.
    #[error("a JSON pointer of {0} steps leads deeper than the {MAX_DEPTH} that are looked into")]
    TooDeep(usize),
}

impl Pointer {
    /// Reads a pointer as RFC 6901 writes it as a JSON string's characters.
    ///
    /// # Errors
    /// [`PointerError`] says how it is written.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        let tokens = match text.strip_prefix('/') {
            Some(steps) => steps.split('/').map(unescape).collect::<Result<Vec<_>, _>>()?,
            None if text.is_empty() => Vec::new(),
            None => return Err(PointerError::NoSlash),
        };
        if tokens.len() > MAX_DEPTH {
            return Err(PointerError::TooDeep(tokens.len()));
        }
        let text = text.to_owned();
        Ok(Self { text, tokens })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Names and indices, unescaped.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(String::as_str)
    }
}

impl fmt::Display for Pointer {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The place that a step means in an array: digits without leading zeros. `-`, the place behind the last, has no value.
pub(super) fn index(token: &str) -> Option<usize> {
    let is_plain =
        token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    if is_plain { token.parse().ok() } else { None }
}

fn unescape(token: &str) -> Result<String, PointerError> {
    let mut pieces = token.split('~');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (escaped, behind) = match (piece.strip_prefix('0'), piece.strip_prefix('1')) {
            (Some(behind), _) => ('~', behind),
            (_, Some(behind)) => ('/', behind),
            (None, None) => return Err(PointerError::BadEscape),
        };
        name.push(escaped);
        name.push_str(behind);
    }
    Ok(name)
}
