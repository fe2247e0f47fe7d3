//! Regular expressions over whole texts, of a size and a cost that no message can raise.
//!
//! They are `regex_lite`'s: time grows with the length of the text and of the expression, never beyond their product.

use regex_lite::{Regex, RegexBuilder};

/// Longest expression, bytes. Patterns of ids have under a hundred.
const EXPRESSION_MAX_BYTES: usize = 1000;
/// What a compiled expression takes at most: `{1000}` repeats within repeats are small as text only.
const COMPILED_MAX_BYTES: usize = 64 * 1024;
/// Groups within groups.
const NEST_MAX: u32 = 32;
/// Longer texts match no expression: with the largest one they would take longer than a millisecond or two.
pub const TEXT_MAX_BYTES: usize = 4096;

/// A regular expression that must match a whole text.
#[derive(Debug, Clone)]
pub struct Expression {
    text: String,
    regex: Regex,
}

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Over [`EXPRESSION_MAX_BYTES`].
    #[error("is {0} bytes long, an expression has {EXPRESSION_MAX_BYTES} at most")]
    TooLong(usize),
    /// Not the syntax, or over the size when compiled.
    #[error("is no regular expression: {0}")]
    Malformed(String),
}

impl Expression {
    /// Reads an expression as it stands in the configuration.
    ///
    /// # Errors
    /// [`ExpressionError`].
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > EXPRESSION_MAX_BYTES {
            return Err(ExpressionError::TooLong(text.len()));
        }
        // By itself first: `a)|(b` would fit between the brackets.
        compile(text)?;
        let regex = compile(&format!(r"\A(?:{text})\z"))?;
        let text = text.to_owned();
        Ok(Self { text, regex })
    }

    /// Whether it matches the whole text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        text.len() <= TEXT_MAX_BYTES && self.regex.is_match(text)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

fn compile(text: &str) -> Result<Regex, ExpressionError> {
    RegexBuilder::new(text)
        .size_limit(COMPILED_MAX_BYTES)
        .nest_limit(NEST_MAX)
        .build()
        .map_err(|error| ExpressionError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(expression: &str, text: &str) -> bool {
        Expression::parse(expression)
            .expect("an expression")
            .matches(text)
    }

    fn refused(expression: &str) -> String {
        Expression::parse(expression)
            .expect_err("no expression")
            .to_string()
    }

    #[test]
    fn the_whole_text_must_match() {
        assert!(check("[0-9a-f]{16}", "0123456789abcdef"));
        assert!(!check("[0-9a-f]{16}", "0123456789abcdef0"));
        assert!(!check("[0-9a-f]{16}", " 0123456789abcdef"));
        assert!(!check("a|b", "ab"), "the choice is inside");
        assert!(check("a|b", "b"));
        assert!(!check("a", "a\n"), "no line end is overlooked");
        assert!(!check("(?m)a$", "a\nb"));
        assert!(check("", ""));
        assert!(check("é.", "é😀"), "a dot is a character");
    }

    #[test]
    fn what_is_no_expression_says_so() {
        assert!(refused("[").starts_with("is no regular expression: "));
        assert!(refused("a)|(b").starts_with("is no regular expression: "));
        assert!(refused("(?x)a#").starts_with("is no regular expression: "));
        assert!(refused("(((a{100}){100}){100}){100}").starts_with("is no regular expression: "));
        assert!(refused(&"(".repeat(500)).starts_with("is no regular expression: "));
        assert_eq!(
            refused(&"a".repeat(1001)),
            "is 1001 bytes long, an expression has 1000 at most"
        );
        assert!(Expression::parse(&"a".repeat(1000)).is_ok());
    }

    #[test]
    fn a_text_over_the_limit_matches_nothing() {
        assert!(check("a*", &"a".repeat(TEXT_MAX_BYTES)));
        assert!(!check("a*", &"a".repeat(TEXT_MAX_BYTES + 1)));
    }

    proptest! {
        #[test]
        fn parsing_and_matching_expressions_never_panics(
            any in any::<String>(),
            near in "[a-c()\\[\\]{},0-9|*+?.^$\\\\-]{0,20}",
            text in "[a-c0-9]{0,8}",
        ) {
            for expression in [any, near] {
                if let Ok(expression) = Expression::parse(&expression) {
                    let _is_match: bool = expression.matches(&text);
                }
            }
        }
    }
}
