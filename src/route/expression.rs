//! Regular expressions over whole texts, of a size and a cost that no message can raise.
//!
//! They are `regex_lite`'s: time grows with the length of the text and with the compiled size of the expression, and never
//! beyond their product. So both are bounded: within the limits the worst expression that was found, by hand and by a random
//! search, takes 0.64 ms for one evaluation in a release build on an x86-64 server (`(?:(?:a|a|a|a|a|a|a|a)*){20}b` on 256
//! letters, median of 200); usual ones take microseconds. A small board needs several times as long.

use regex_lite::{Regex, RegexBuilder};

/// Longest expression, bytes. Patterns of ids have under a hundred.
pub const EXPRESSION_MAX_BYTES: usize = 1000;
/// What a compiled expression takes at most: `{1000}` repeats within repeats are small as text only. A UUID takes 2 KiB,
/// `[A-Za-z0-9._-]{1,64}` takes 7.
const COMPILED_MAX_BYTES: usize = 8 * 1024;
/// Groups within groups.
const NEST_MAX: u32 = 32;
/// No expression is held against longer texts: ids and kinds are much shorter, and a device chooses the length.
pub const TEXT_MAX_BYTES: usize = 256;

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

/// A text that no expression is held against: over [`TEXT_MAX_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text of {0} bytes is over the {TEXT_MAX_BYTES} that an expression is held against")]
pub struct TooLong(pub usize);

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
    ///
    /// # Errors
    /// [`TooLong`]: nobody knows.
    pub fn matches(&self, text: &str) -> Result<bool, TooLong> {
        match text.len() {
            0..=TEXT_MAX_BYTES => Ok(self.regex.is_match(text)),
            bytes => Err(TooLong(bytes)),
        }
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
            .expect("short enough")
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
        let longest = format!("[{}]", "a".repeat(998));
        assert!(Expression::parse(&longest).is_ok());
    }

    #[test]
    fn a_text_over_the_limit_is_not_judged() {
        assert!(check("a*", &"a".repeat(TEXT_MAX_BYTES)));
        let any = Expression::parse("a*").expect("an expression");
        let long = "a".repeat(TEXT_MAX_BYTES + 1);
        assert_eq!(any.matches(&long), Err(TooLong(257)));
        assert_eq!(
            TooLong(257).to_string(),
            "the text of 257 bytes is over the 256 that an expression is held against"
        );
    }

    #[test]
    fn expressions_that_ids_need_fit_and_those_that_cost_milliseconds_do_not() {
        for fits in [
            "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
            "[A-Za-z0-9._-]{1,64}",
            "nrf-[0-9]{15}",
        ] {
            assert!(Expression::parse(fits).is_ok(), "{fits}");
        }
        for costly in ["(?:a?){600}a*b", "(?:(?:a|a|a|a|a|a|a|a)*){60}b", "(?:a*){300}b"] {
            assert!(refused(costly).contains("size"), "{costly}");
        }
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
                    let _is_match: Result<bool, TooLong> = expression.matches(&text);
                }
            }
        }
    }
}
