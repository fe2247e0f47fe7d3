//! MQTT topic filters, compared with each other. A topic is a filter that matches itself alone.

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
    if filter == "+/#" { "#" } else { filter }
}

/// Whether the wildcard that `wide` begins with is kept from `narrow` by the rule for topics with a `$`.
fn hides(wide: &str, narrow: &str) -> bool {
    wide.starts_with(['+', '#']) && narrow.starts_with('$')
}
