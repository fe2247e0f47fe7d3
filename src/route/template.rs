//! Templates over what a message has: `telemetry-{site}`. What may stand in the braces is [`crate::route::value`]'s.

use std::fmt;

use crate::route::subject::Subject;
use crate::route::value::{NoValue, Value, ValueError};

/// Literal text and `{value}` parts; `{{` and `}}` stand for the braces themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text that is always there.
    Literal(String),
    /// What the message has.
    Value(Value),
}

impl Part {
    /// What it asks of the message, if it is not text.
    #[must_use]
    pub const fn value(&self) -> Option<&Value> {
        match self {
            Self::Literal(_) => None,
            Self::Value(value) => Some(value),
        }
    }
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{device`
    #[error("has a '{{' without its '}}'")]
    Unclosed,
    /// `device}`
    #[error("has a '}}' without its '{{'")]
    Unopened,
    /// `{a{b}`: the first of them was meant to be closed.
    #[error("has a '{{' inside braces")]
    Nested,
    /// What is between the braces is nothing that a message has.
    #[error(transparent)]
    Value(#[from] ValueError),
}

impl Template {
    /// Reads a template as it stands in the configuration.
    ///
    /// # Errors
    /// [`TemplateError`] when the braces do not pair up or hold nothing that a message can have.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut left = text;
        while let Some((before, from_brace)) = split_at_brace(left) {
            literal.push_str(before);
            left = from_brace;
            if let Some((brace, behind)) = escaped_brace(left) {
                literal.push(brace);
                left = behind;
                continue;
            }
            let (value, behind) = leading_value(left)?;
            push_literal(&mut parts, &mut literal);
            parts.push(Part::Value(value));
            left = behind;
        }
        literal.push_str(left);
        push_literal(&mut parts, &mut literal);
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// The text with every value replaced by what the message has for it.
    ///
    /// # Errors
    /// [`NoValue`]: the message has nothing for one of them.
    pub fn render(&self, subject: &Subject<'_>) -> Result<String, NoValue> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Value(value) => text.push_str(&value.text(subject)?),
            }
        }
        Ok(text)
    }

    /// The same with what `write` makes of each value.
    ///
    /// # Errors
    /// [`NoValue`]: the message has nothing for one of them.
    pub fn render_as(
        &self,
        subject: &Subject<'_>,
        write: impl Fn(&str) -> String,
    ) -> Result<String, NoValue> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Value(value) => text.push_str(&write(&value.text(subject)?)),
            }
        }
        Ok(text)
    }

    /// Whether each value says something. Where one is empty, messages that have nothing in common would have one name.
    ///
    /// # Errors
    /// [`NoValue`]: the first that is missing or empty.
    pub fn check_filled(&self, subject: &Subject<'_>) -> Result<(), NoValue> {
        for value in self.values() {
            if value.text(subject)?.is_empty() {
                let why = if value.name().is_some() {
                    "the level is empty"
                } else {
                    "is empty"
                };
                return Err(NoValue {
                    name: value.as_str().to_owned(),
                    why: why.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// The text with every value replaced by what `replace` says.
    #[must_use]
    pub fn render_with(&self, replace: impl Fn(&Value) -> String) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Literal(text) => text.clone(),
            Part::Value(value) => replace(value),
        });
        parts.collect()
    }

    /// What is in the braces, in order of use; a value that is used twice comes twice.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.parts.iter().filter_map(Part::value)
    }

    /// Its pieces, in order; no two literal ones stand side by side.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether some message may make it this text: each value stands for any text, also an empty one.
    #[must_use]
    pub fn may_render_to(&self, text: &str) -> bool {
        let Some((last, parts)) = self.parts.split_last() else {
            return text.is_empty();
        };
        let mut left = text;
        let mut is_open = false;
        for part in parts {
            // The earliest place of a literal leaves the most for what follows.
            let behind = match part {
                Part::Value(_) => {
                    is_open = true;
                    continue;
                }
                Part::Literal(literal) if is_open => {
                    left.split_once(literal.as_str()).map(|(_, behind)| behind)
                }
                Part::Literal(literal) => left.strip_prefix(literal.as_str()),
            };
            let Some(behind) = behind else { return false };
            (left, is_open) = (behind, false);
        }
        match last {
            Part::Value(_) => true,
            Part::Literal(end) if is_open => left.ends_with(end.as_str()),
            Part::Literal(end) => left == end,
        }
    }

    /// Whether it renders to the same text for every message.
    #[must_use]
    pub fn is_static(&self) -> bool {
        self.values().next().is_none()
    }
}

impl fmt::Display for Template {
    /// The template as it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is before the first brace, and the rest from it on.
fn split_at_brace(text: &str) -> Option<(&str, &str)> {
    text.split_at_checked(text.find(['{', '}'])?)
}

fn escaped_brace(text: &str) -> Option<(char, &str)> {
    let open = text.strip_prefix("{{").map(|behind| ('{', behind));
    open.or_else(|| text.strip_prefix("}}").map(|behind| ('}', behind)))
}

/// The value in the braces that `text` begins with, and what is behind them.
fn leading_value(text: &str) -> Result<(Value, &str), TemplateError> {
    let inner = text.strip_prefix('{').ok_or(TemplateError::Unopened)?;
    let (value, behind) = inner.split_once('}').ok_or(TemplateError::Unclosed)?;
    if value.contains('{') {
        return Err(TemplateError::Nested);
    }
    Ok((Value::parse(value)?, behind))
}

fn push_literal(parts: &mut Vec<Part>, literal: &mut String) {
    if !literal.is_empty() {
        parts.push(Part::Literal(std::mem::take(literal)));
    }
}

#[cfg(test)]
mod tests;
