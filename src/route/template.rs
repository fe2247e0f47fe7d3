//! Templates over a pattern's names: `telemetry-{site}`.

use std::fmt;

use crate::route::pattern::{Captures, is_name};

/// Literal text and `{name}` parts; `{{` and `}}` stand for the braces themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Name(String),
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
    /// `{}`, `{two words}`, or `{rest...}`, whose dots belong into the pattern only.
    #[error("has the name {name:?}: a name is letters, digits and '_', and begins with no digit")]
    BadName {
        /// What stands between the braces.
        name: String,
    },
}

impl Template {
    /// Reads a template as it stands in the configuration.
    ///
    /// # Errors
    /// [`TemplateError`] when the braces do not pair up or hold no name.
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
            let (name, behind) = leading_name(left)?;
            push_literal(&mut parts, &mut literal);
            parts.push(Part::Name(name.to_owned()));
            left = behind;
        }
        literal.push_str(left);
        push_literal(&mut parts, &mut literal);
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// The text with every name replaced by what it captured. A name without a capture leaves nothing; the
    /// configuration refuses routes where that could happen.
    #[must_use]
    pub fn render(&self, captures: &Captures<'_>) -> String {
        self.render_with(|name| captures.get(name).unwrap_or_default().to_owned())
    }

    /// The text with every name replaced by what `value` says.
    #[must_use]
    pub fn render_with(&self, value: impl Fn(&str) -> String) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Literal(text) => text.clone(),
            Part::Name(name) => value(name),
        });
        parts.collect()
    }

    /// The names in order of use; one that is used twice comes twice.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Name(name) => Some(name.as_str()),
        })
    }

    /// Whether some message may make it this text: each name stands for any text, also an empty one.
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
                Part::Name(_) => {
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
            Part::Name(_) => true,
            Part::Literal(end) if is_open => left.ends_with(end.as_str()),
            Part::Literal(end) => left == end,
        }
    }

    /// Whether it renders to the same text for every message.
    #[must_use]
    pub fn is_static(&self) -> bool {
        self.names().next().is_none()
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

/// The name in the braces that `text` begins with, and what is behind them.
fn leading_name(text: &str) -> Result<(&str, &str), TemplateError> {
    let inner = text.strip_prefix('{').ok_or(TemplateError::Unopened)?;
    let (name, behind) = inner.split_once('}').ok_or(TemplateError::Unclosed)?;
    if is_name(name) {
        Ok((name, behind))
    } else {
        Err(TemplateError::BadName {
            name: name.to_owned(),
        })
    }
}

fn push_literal(parts: &mut Vec<Part>, literal: &mut String) {
    if !literal.is_empty() {
        parts.push(Part::Literal(std::mem::take(literal)));
    }
}

#[cfg(test)]
mod tests;
