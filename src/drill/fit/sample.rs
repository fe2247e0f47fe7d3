//! A text that a regular expression matches, for expressions as people write them for ids.
//!
//! A guess, and always held against the expression itself afterwards: what is not understood here gives no sample, and the
//! drill says that it has no messages for that route.

use crate::route::expression::Expression;

/// Repetitions that are followed; an id has no more.
const REPEAT_MAX: usize = 64;
/// Brackets inside brackets: more than `regex-lite` is let compile.
const DEPTH_MAX: usize = 50;

/// A text that the expression matches as a whole.
pub(super) fn of(expression: &Expression) -> Option<String> {
    // `.*` and the like: something rather than nothing comes first.
    for least in [1, 0] {
        let mut reader = Reader {
            left: expression.as_str(),
            least,
        };
        let sample = reader.choice(0).filter(|_| reader.left.is_empty());
        if let Some(sample) = sample
            && expression.matches(&sample) == Ok(true)
        {
            return Some(sample);
        }
    }
    None
}

struct Reader<'t> {
    left: &'t str,
    /// How often what may be left out is repeated.
    least: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.left.chars();
        let next = chars.next()?;
        self.left = chars.as_str();
        Some(next)
    }

    fn skip(&mut self, text: &str) -> bool {
        let rest = self.left.strip_prefix(text);
        self.left = rest.unwrap_or(self.left);
        rest.is_some()
    }

    /// The first of `a|b|c`; the others are read and forgotten.
    fn choice(&mut self, depth: usize) -> Option<String> {
        let first = self.sequence(depth)?;
        while self.skip("|") {
            self.sequence(depth)?;
        }
        Some(first)
    }

    fn sequence(&mut self, depth: usize) -> Option<String> {
        let mut text = String::new();
        while !self.left.is_empty() && !self.left.starts_with(['|', ')']) {
            let one = self.one(depth)?;
            let times = self.times()?;
            text.push_str(&one.repeat(times));
        }
        Some(text)
    }

    fn one(&mut self, depth: usize) -> Option<String> {
        Some(match self.next()? {
            '(' => {
                if depth >= DEPTH_MAX {
                    return None;
                }
                // `(?i)`, `(?:`, `(?i:`, `(?P<name>`
                if self.skip("?") {
                    let end = self.left.find([':', ')', '>'])?;
                    self.left = self.left.get(end..)?;
                    if self.next()? == ')' {
                        return Some(String::new());
                    }
                }
                let inner = self.choice(depth + 1)?;
                if !self.skip(")") {
                    return None;
                }
                inner
            }
            '[' => self.class()?.to_string(),
            '.' => "a".to_owned(),
            '^' | '$' => String::new(),
            '\\' => self.escaped()?,
            '*' | '+' | '?' | '{' => return None,
            other => other.to_string(),
        })
    }

    fn escaped(&mut self) -> Option<String> {
        Some(match self.next()? {
            'd' => "1".to_owned(),
            'w' => "a".to_owned(),
            's' => " ".to_owned(),
            'D' | 'S' => "a".to_owned(),
            'A' | 'z' | 'b' => String::new(),
            other if other.is_ascii_alphanumeric() => return None,
            other => other.to_string(),
        })
    }

    /// The first character of a class; of one that excludes, one that it does not name.
    fn class(&mut self) -> Option<char> {
        let excludes = self.skip("^");
        let mut named = Vec::new();
        loop {
            match self.next()? {
                ']' if !named.is_empty() => break,
                '\\' => named.push(self.escaped()?.chars().next()?),
                other => named.push(other),
            }
        }
        match excludes {
            false => named.first().copied(),
            true => ('a'..='z').find(|c| !named.contains(c)),
        }
    }

    /// How often what stands before is repeated.
    fn times(&mut self) -> Option<usize> {
        let times = match self.left.chars().next() {
            Some('*' | '?') => self.least,
            Some('+') => 1,
            Some('{') => {
                let (bounds, behind) = self.left.get(1..)?.split_once('}')?;
                self.left = behind;
                self.skip("?");
                let least = bounds.split(',').next()?.trim().parse::<usize>().ok()?;
                let most = bounds
                    .split(',')
                    .nth(1)
                    .map(|most| most.trim().parse().unwrap_or(REPEAT_MAX));
                let wanted = least.max(self.least.min(most.unwrap_or(least)));
                return (wanted <= REPEAT_MAX).then_some(wanted);
            }
            _ => return Some(1),
        };
        self.next();
        self.skip("?");
        Some(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(text: &str) -> Option<String> {
        of(&Expression::parse(text).unwrap())
    }

    #[test]
    fn expressions_that_ids_need_have_a_sample() {
        for text in [
            "[0-9a-f]{16}",
            "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
            "nrf-[0-9]{15}",
            "(?i)json|ul",
            "[A-Za-z0-9._-]{1,64}",
            ".+",
            ".*",
            "",
            "pump-\\d+",
            "a|b",
            "(?:x|y)z?",
            "[^/]+",
            "a\\.b",
        ] {
            assert!(sample(text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_has_none() {
        for text in ["\\p{Greek}", "[[:alpha:]]x{200}", "a{100}"] {
            let found = Expression::parse(text)
                .ok()
                .and_then(|expression| of(&expression));
            assert_eq!(found, None, "{text}");
        }
    }
}
