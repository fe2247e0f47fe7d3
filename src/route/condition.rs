//! `when`: which of its messages a route wants. A list of tests of which all must hold; it is not a language.
//!
//! Values have the names that they have in templates ([`crate::route::value`]). A value that the message does not have passes
//! no test, so `not` of it holds. What is in a JSON payload keeps its type: `"5"` is no number. What comes from the topic or a
//! property is text, and a number where a number is asked for and JSON would write it so.
//!
//! A payload that is no JSON cannot be judged, nor a text that is too long for an expression: that is no reason to drop it, and
//! none to let it through.

use crate::route::expression::Expression;
use crate::route::number::Number;
use crate::route::subject::Subject;
use crate::route::value::{Found, NoValue, Value};

/// One test of `when`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What is looked at.
    pub value: Value,
    /// What it has to be.
    pub test: Test,
    /// `not`: it must not be that.
    pub is_inverted: bool,
}

/// What a value has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// `equals` with one, `one_of` with several: any of these.
    OneOf(Vec<Scalar>),
    /// `exists`: it is there, and not JSON's `null`; or it is not.
    Exists(bool),
    /// `between`: a number from the first to the second, both included.
    Between(Number, Number),
    /// `matches`: text that the expression matches as a whole.
    Matches(Expression),
}

/// A value of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    /// Text, every character of it.
    Text(String),
    /// A number, whatever its spelling.
    Number(Number),
    /// `true` or `false`
    Bool(bool),
}

impl Condition {
    /// Whether the message passes.
    ///
    /// # Errors
    /// [`NoValue`]: the payload is no JSON, or the text is too long for an expression, so nobody can tell.
    pub fn holds(&self, subject: &Subject<'_>) -> Result<bool, NoValue> {
        self.value.can_be_looked_for(subject)?;
        let found = self.value.look(subject).ok();
        let holds = match (&self.test, &found) {
            (Test::Exists(wanted), found) => found.is_some() == *wanted,
            (_, None) => false,
            (Test::OneOf(scalars), Some(found)) => scalars.iter().any(|scalar| scalar.is(found)),
            (Test::Between(low, high), Some(found)) => {
                number(found).is_some_and(|number| *low <= number && number <= *high)
            }
            (Test::Matches(expression), Some(found)) => match text(found) {
                Some(text) => expression.matches(text).map_err(|error| NoValue {
                    name: self.value.to_string(),
                    why: error.to_string(),
                })?,
                None => false,
            },
        };
        Ok(holds != self.is_inverted)
    }
}

impl Scalar {
    fn is(&self, found: &Found<'_>) -> bool {
        match self {
            Self::Text(wanted) => text(found) == Some(wanted.as_str()),
            Self::Number(wanted) => number(found).as_ref() == Some(wanted),
            Self::Bool(wanted) => match found {
                Found::Bool(is) => is == wanted,
                Found::Plain(text) => text == if *wanted { "true" } else { "false" },
                _ => false,
            },
        }
    }
}

fn text<'f>(found: &'f Found<'_>) -> Option<&'f str> {
    match found {
        Found::Plain(text) | Found::String(text) => Some(text),
        Found::Number(_) | Found::Bool(_) | Found::Composite(_) => None,
    }
}

fn number(found: &Found<'_>) -> Option<Number> {
    match found {
        Found::Plain(text) => Number::parse(text),
        Found::Number(text) => Number::parse(text),
        Found::String(_) | Found::Bool(_) | Found::Composite(_) => None,
    }
}

#[cfg(test)]
mod tests;
