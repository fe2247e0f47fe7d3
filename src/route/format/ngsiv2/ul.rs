//! Ultralight 2.0, as FIWARE's IoT Agent reads it: `t|15|k|abc`, groups separated by `#`, a time in front of a group with an
//! odd number of fields.

use super::measures::MEASURES_MAX;
use super::time;

/// Groups in one payload at most: each becomes an entity of its own in the notification.
pub const GROUPS_MAX: usize = crate::route::json::ENTRIES_MAX;
/// Fields of one group at most.
pub const FIELDS_MAX: usize = 2 * crate::route::json::ENTRIES_MAX;

/// One group of measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'a> {
    /// The time that stands in front of it, milliseconds since 1970.
    pub time_ms: Option<i64>,
    /// Names and values, as they came.
    pub measures: Vec<(&'a str, &'a str)>,
}

/// Why a text is no Ultralight.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UlError {
    /// Nothing at all, or nothing between two `#`.
    #[error("has an empty group: write name|value pairs, groups separated by '#'")]
    EmptyGroup,
    /// `t||k|1`
    #[error("has an empty name or value in {group:?}")]
    EmptyField {
        /// The group.
        group: String,
    },
    /// An odd number of fields, and the first of them is no time.
    #[error(
        "has an odd number of fields in {group:?}, and the first is no time: write {}",
        time::RULE
    )]
    Odd {
        /// The group.
        group: String,
    },
    /// `2016-06-13T00:35:30Z|t|15|k`: with its time in front it would be a measure of that name.
    #[error("has a time in front of an odd number of fields in {group:?}: a name or a value is missing")]
    OddBehindTime {
        /// The group.
        group: String,
    },
    /// `device@command|result`
    #[error("is the result of a command ({name:?} has an '@')")]
    Command {
        /// The first field.
        name: String,
    },
    /// Over [`GROUPS_MAX`], [`FIELDS_MAX`] or [`MEASURES_MAX`].
    #[error("has more than {GROUPS_MAX} groups, {FIELDS_MAX} fields in a group, or {MEASURES_MAX} measures")]
    TooMany,
}

/// Longest part of a payload that goes into a reason, characters.
const SHOWN: usize = 60;

/// Reads the groups of a payload. Line ends around it are not part of it.
///
/// # Errors
/// [`UlError`].
pub fn parse(text: &str) -> Result<Vec<Group<'_>>, UlError> {
    let mut groups = Vec::new();
    let mut measures = 0;
    for group in text.trim_end_matches(['\r', '\n']).split('#') {
        if groups.len() >= GROUPS_MAX {
            return Err(UlError::TooMany);
        }
        let group = parse_group(group)?;
        measures += group.measures.len();
        if measures > MEASURES_MAX {
            return Err(UlError::TooMany);
        }
        groups.push(group);
    }
    Ok(groups)
}

fn parse_group(group: &str) -> Result<Group<'_>, UlError> {
    // The agent drops one leading '|'.
    let group = group.strip_prefix('|').unwrap_or(group);
    if group.is_empty() {
        return Err(UlError::EmptyGroup);
    }
    let shown = || group.chars().take(SHOWN).collect::<String>();
    let fields: Vec<&str> = group.split('|').take(FIELDS_MAX + 2).collect();
    if fields.len() > FIELDS_MAX + 1 {
        return Err(UlError::TooMany);
    }
    if fields.iter().any(|field| field.is_empty()) {
        return Err(UlError::EmptyField { group: shown() });
    }
    let (first, rest) = fields.split_first().ok_or(UlError::EmptyGroup)?;
    let (time_ms, fields) = match fields.len() % 2 {
        0 if time::parse(first).is_some() => return Err(UlError::OddBehindTime { group: shown() }),
        0 => (None, fields.as_slice()),
        _ => match time::parse(first) {
            Some(ms) if !rest.is_empty() => (Some(ms), rest),
            _ => return Err(UlError::Odd { group: shown() }),
        },
    };
    let (pairs, _) = fields.as_chunks::<2>();
    let measures: Vec<_> = pairs.iter().map(|[name, value]| (*name, *value)).collect();
    match measures.iter().find(|(name, _)| name.contains('@')) {
        Some((name, _)) => Err(UlError::Command {
            name: name.chars().take(SHOWN).collect(),
        }),
        None => Ok(Group { time_ms, measures }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_become_measures() {
        let expected = Group {
            time_ms: None,
            measures: vec![("t", "15"), ("k", "abc")],
        };
        assert_eq!(parse("t|15|k|abc"), Ok(vec![expected.clone()]));
        assert_eq!(parse("|t|15|k|abc\r\n"), Ok(vec![expected]));
    }

    #[test]
    fn groups_are_separated_and_each_may_have_its_time() {
        let groups = parse("2016-06-13T00:35:30Z|t|15#t|16").expect("is UL");
        assert_eq!(groups[0].time_ms, Some(1_465_778_130_000));
        assert_eq!(groups[0].measures, [("t", "15")]);
        assert_eq!(groups[1].time_ms, None);
        assert_eq!(groups[1].measures, [("t", "16")]);
    }

    #[test]
    fn what_is_no_ultralight_says_why() {
        let odd = |group: &str| UlError::Odd {
            group: group.to_owned(),
        };
        let empty = |group: &str| UlError::EmptyField {
            group: group.to_owned(),
        };
        for (text, expected) in [
            ("", UlError::EmptyGroup),
            ("|", UlError::EmptyGroup),
            ("t|15#", UlError::EmptyGroup),
            ("t", odd("t")),
            ("t|15|k", odd("t|15|k")),
            ("yesterday|t|15", odd("yesterday|t|15")),
            ("2016-06-13T00:35:30Z", odd("2016-06-13T00:35:30Z")),
            (
                "2016-06-13T00:35:30Z|t|15|k",
                UlError::OddBehindTime {
                    group: "2016-06-13T00:35:30Z|t|15|k".to_owned(),
                },
            ),
            ("t|", empty("t|")),
            ("t||k|1", empty("t||k|1")),
            (
                "dev@ping|ok",
                UlError::Command {
                    name: "dev@ping".to_owned(),
                },
            ),
        ] {
            assert_eq!(parse(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn more_groups_or_fields_than_the_limit_are_refused() {
        assert_eq!(
            parse(&vec!["a|1"; GROUPS_MAX].join("#")).expect("fits").len(),
            GROUPS_MAX
        );
        assert_eq!(
            parse(&vec!["a|1"; GROUPS_MAX + 1].join("#")),
            Err(UlError::TooMany)
        );
        assert!(parse(&vec!["a"; FIELDS_MAX].join("|")).is_ok());
        let full = vec!["a"; FIELDS_MAX].join("|");
        assert!(parse(&vec![&*full; MEASURES_MAX * 2 / FIELDS_MAX].join("#")).is_ok());
        let over = format!("{}#a|1", vec![&*full; MEASURES_MAX * 2 / FIELDS_MAX].join("#"));
        assert_eq!(parse(&over), Err(UlError::TooMany));
        assert_eq!(parse(&vec!["a"; FIELDS_MAX + 2].join("|")), Err(UlError::TooMany));
    }

    proptest! {
        #[test]
        fn reading_ultralight_never_panics(text in "\\PC{0,60}|[a-z0-9|#@:TZ.-]{0,80}") {
            let _groups = parse(&text);
        }

        #[test]
        fn pairs_that_are_written_are_read_back(pairs in prop::collection::vec(("[a-z]{1,5}", "[0-9a-z. ]{1,8}"), 1..6)) {
            let text: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}|{value}")).collect();
            let text = text.join("|");
            let groups = parse(&text).expect("is UL");
            let read: Vec<_> = groups[0].measures.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            prop_assert_eq!(read, pairs);
        }
    }
}
