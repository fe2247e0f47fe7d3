//! MQTT patterns with names: `devices/{device}/telemetry`.
//!
//! A pattern is an MQTT topic filter whose wildcards may have names, so that Kafka topic and key can use
//! what they matched. Filters (no names any more) are compared by [`crate::filter`].

use std::fmt;

/// Longest text that MQTT can carry, bytes.
const MAX_BYTES: usize = 65_535;

/// `devices/{device}/telemetry`
///
/// `{name}` matches one level and `{name...}` all that is left (last level only); `+` and `#` are the same
/// without a name; everything else is literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    filter: String,
    levels: Vec<Level>,
}

/// What one level of a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    /// Exactly this text.
    Literal(String),
    /// One level, whatever it is.
    One(Option<String>),
    /// All levels that are left, also none.
    Rest(Option<String>),
}

/// One level of a pattern, whatever its name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Exactly this text.
    Literal(&'a str),
    /// One level, whatever it is.
    One,
    /// All levels that are left, also none.
    Rest,
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing to subscribe to.
    #[error("is empty")]
    Empty,
    /// MQTT cannot carry it.
    #[error("is {bytes} bytes long, MQTT allows {MAX_BYTES}")]
    TooLong {
        /// Length of the pattern.
        bytes: usize,
    },
    /// MQTT forbids U+0000 in topics.
    #[error("contains the character U+0000")]
    Nul,
    /// `$share/group/...`
    #[error("is a shared subscription: write the filter alone, and shared_group in [[mqtt]]")]
    Shared,
    /// A `{` without its `}` or the other way round.
    #[error("has an unbalanced brace in the level {level:?}")]
    Unbalanced {
        /// The level as written.
        level: String,
    },
    /// `dev-{x}`
    #[error("mixes a name with text in the level {level:?}: a name takes a whole level")]
    Mixed {
        /// The level as written.
        level: String,
    },
    /// `{}` or `{two words}`
    #[error("has the name {name:?}: a name is letters, digits and '_', and begins with no digit")]
    BadName {
        /// What stands between the braces.
        name: String,
    },
    /// Two levels could not both give the name its value.
    #[error("uses the name {{{name}}} twice")]
    NameTwice {
        /// The name.
        name: String,
    },
    /// `{rest...}` or `#` before the last level.
    #[error("has {level:?} before its end: only the last level can match the rest")]
    RestNotLast {
        /// The level as written.
        level: String,
    },
    /// `a+` or `b#`
    #[error("mixes a wildcard with text in the level {level:?}: '+' and '#' take a whole level")]
    MixedWildcard {
        /// The level as written.
        level: String,
    },
}

impl Pattern {
    /// Reads a pattern as it stands in the configuration.
    ///
    /// # Errors
    /// [`PatternError`] says which level MQTT or the naming rules do not allow.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        check_text(text)?;
        let levels = text.split('/').map(Level::parse).collect::<Result<Vec<_>, _>>()?;
        check_order(&levels)?;
        check_names(&levels)?;
        let filter: Vec<&str> = levels.iter().map(Level::filter).collect();
        Ok(Self {
            text: text.to_owned(),
            filter: filter.join("/"),
            levels,
        })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The MQTT topic filter to subscribe to: `devices/+/telemetry`.
    #[must_use]
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// The levels, from left to right.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.levels.iter().map(|level| match level {
            Level::Literal(text) => Part::Literal(text),
            Level::One(_) => Part::One,
            Level::Rest(_) => Part::Rest,
        })
    }

    /// The names, from left to right.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().filter_map(Level::name)
    }

    /// Which level gives `name` its value, counted from 0.
    #[must_use]
    pub fn level_of(&self, name: &str) -> Option<usize> {
        self.levels.iter().position(|level| level.name() == Some(name))
    }

    /// What the names stand for in `topic`, or `None` when MQTT would not deliver it for [`Pattern::filter`].
    ///
    /// `a/{rest...}` matches `a` too, as `a/#` does; the rest is then empty. A wildcard as the first level
    /// does not match topics that begin with `$`.
    #[must_use]
    pub fn matches<'a>(&'a self, topic: &'a str) -> Option<Captures<'a>> {
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Literal(_))) {
            return None;
        }
        let mut values = Vec::new();
        let mut left = Some(topic);
        for level in &self.levels {
            let (value, behind) = level.take(left)?;
            values.extend(level.name().map(|name| (name, value)));
            left = behind;
        }
        left.is_none().then_some(Captures { values })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Level {
    fn parse(level: &str) -> Result<Self, PatternError> {
        match level {
            "+" => return Ok(Self::One(None)),
            "#" => return Ok(Self::Rest(None)),
            _ => {}
        }
        if level.contains(['{', '}']) {
            return Self::parse_named(level);
        }
        if level.contains(['+', '#']) {
            return Err(PatternError::MixedWildcard {
                level: level.to_owned(),
            });
        }
        Ok(Self::Literal(level.to_owned()))
    }

    fn parse_named(level: &str) -> Result<Self, PatternError> {
        if !is_balanced(level) {
            return Err(PatternError::Unbalanced {
                level: level.to_owned(),
            });
        }
        let inner = level
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .filter(|inner| !inner.contains(['{', '}']))
            .ok_or_else(|| PatternError::Mixed {
                level: level.to_owned(),
            })?;
        let (name, rest) = inner
            .strip_suffix("...")
            .map_or((inner, false), |name| (name, true));
        if !is_name(name) {
            return Err(PatternError::BadName {
                name: inner.to_owned(),
            });
        }
        let name = Some(name.to_owned());
        Ok(if rest { Self::Rest(name) } else { Self::One(name) })
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::One(name) | Self::Rest(name) => name.as_deref(),
        }
    }

    fn filter(&self) -> &str {
        match self {
            Self::Literal(text) => text,
            Self::One(_) => "+",
            Self::Rest(_) => "#",
        }
    }

    /// Splits what this level matches off `left`, the levels of the topic that are left (`None`: no more).
    fn take<'t>(&self, left: Option<&'t str>) -> Option<(&'t str, Option<&'t str>)> {
        if matches!(self, Self::Rest(_)) {
            return Some((left.unwrap_or(""), None));
        }
        let left = left?;
        let (level, behind) = left
            .split_once('/')
            .map_or((left, None), |(level, rest)| (level, Some(rest)));
        match self {
            Self::Literal(text) if text != level => None,
            _ => Some((level, behind)),
        }
    }
}

/// What a pattern's names stand for in one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captures<'a> {
    values: Vec<(&'a str, &'a str)>,
}

impl<'a> Captures<'a> {
    /// The part of the topic that `name` matched; `None` when the pattern has no such name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.values
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    }
}

/// Whether `name` may stand between braces, in patterns and templates.
pub(super) fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(legal) && name.starts_with(|first: char| !first.is_ascii_digit())
}

fn check_text(text: &str) -> Result<(), PatternError> {
    if text.is_empty() {
        return Err(PatternError::Empty);
    }
    if text.len() > MAX_BYTES {
        return Err(PatternError::TooLong { bytes: text.len() });
    }
    if text.contains('\0') {
        return Err(PatternError::Nul);
    }
    if text.starts_with("$share/") {
        return Err(PatternError::Shared);
    }
    Ok(())
}

fn check_order(levels: &[Level]) -> Result<(), PatternError> {
    let before_last = levels.split_last().map_or(levels, |(_, before)| before);
    before_last.iter().try_for_each(|level| match level {
        Level::Rest(None) => Err(PatternError::RestNotLast {
            level: "#".to_owned(),
        }),
        Level::Rest(Some(name)) => Err(PatternError::RestNotLast {
            level: format!("{{{name}...}}"),
        }),
        Level::Literal(_) | Level::One(_) => Ok(()),
    })
}

fn check_names(levels: &[Level]) -> Result<(), PatternError> {
    let mut seen = Vec::new();
    for name in levels.iter().filter_map(Level::name) {
        if seen.contains(&name) {
            return Err(PatternError::NameTwice {
                name: name.to_owned(),
            });
        }
        seen.push(name);
    }
    Ok(())
}

fn is_balanced(level: &str) -> bool {
    let mut open = false;
    for c in level.chars() {
        match (c, open) {
            ('{', false) => open = true,
            ('}', true) => open = false,
            ('{', true) | ('}', false) => return false,
            _ => {}
        }
    }
    !open
}

#[cfg(test)]
mod tests;
