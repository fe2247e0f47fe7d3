//! MQTT topic filters, compared with each other by the topics that match them. A topic is a filter that matches itself alone.
//! A filter of a shared subscription (`$share/<group>/<filter>`) matches what the filter in it matches.

/// How the filter of a shared subscription begins (MQTT 5, 4.8.2).
const SHARED: &str = "$share/";

/// The filter, shared within `group`.
#[must_use]
pub fn shared(group: &str, filter: &str) -> String {
    format!("{SHARED}{group}/{filter}")
}

/// Whether the subscription is shared with others.
#[must_use]
pub fn is_shared(filter: &str) -> bool {
    filter.starts_with(SHARED)
}

/// Whether every topic that matches the filter `narrow` matches the filter `wide` too.
#[must_use]
pub fn covers(wide: &str, narrow: &str) -> bool {
    let (wide, narrow) = (simplest(wide), simplest(narrow));
    if hides(wide, narrow) {
        return false;
    }
    let mut narrow = narrow.split('/');
    for level in wide.split('/') {
        match (level, narrow.next()) {
            ("#", _) => return true,
            (_, None | Some("#")) => return false,
            ("+", Some(_)) => {}
            (level, Some(other)) if level == other => {}
            _ => return false,
        }
    }
    narrow.next().is_none()
}

/// Whether some topic matches both filters.
#[must_use]
pub fn overlaps(one: &str, other: &str) -> bool {
    let (one, other) = (simplest(one), simplest(other));
    if hides(one, other) || hides(other, one) {
        return false;
    }
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            _ => return false,
        }
    }
}

/// `+/#` is `#` written differently, because `a/#` matches `a`.
fn simplest(filter: &str) -> &str {
    match topics(filter) {
        "+/#" => "#",
        filter => filter,
    }
}

/// What a subscription says of topics.
fn topics(filter: &str) -> &str {
    let inner = filter.strip_prefix(SHARED).and_then(|rest| rest.split_once('/'));
    inner.map_or(filter, |(_, filter)| filter)
}

/// Whether the wildcard that `wide` begins with is kept from `narrow` by the rule for topics with a `$`.
fn hides(wide: &str, narrow: &str) -> bool {
    wide.starts_with(['+', '#']) && narrow.starts_with('$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_filter_matches_what_the_filter_in_it_matches() {
        let shared = shared("g", "a/+");
        assert_eq!(shared, "$share/g/a/+");
        assert!(covers(&shared, "a/1") && covers("a/#", &shared) && overlaps(&shared, "+/1"));
        assert!(!covers(&shared, "b/1") && !overlaps(&shared, "b/+"));
        assert!(is_shared(&shared) && !is_shared("a/+") && !is_shared("$shared/a"));
        assert!(covers("$share/g/#", "a") && !covers("$share/g/#", "$SYS/a"));
    }
}
