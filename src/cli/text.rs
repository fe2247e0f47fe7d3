//! Words for a terminal of 80 columns.

use std::fmt::Arguments;

/// Appends, without an error that nobody could have.
pub fn put(out: &mut String, text: Arguments<'_>) {
    match text.as_str() {
        Some(text) => out.push_str(text),
        None => out.push_str(&text.to_string()),
    }
}

/// Columns of the smallest terminal that is looked at.
pub const COLUMNS: usize = 80;

/// What came from outside, without what a terminal would obey.
pub fn plain(text: &str) -> String {
    let harmless = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(harmless).collect()
}

/// The text in lines of at most [`COLUMNS`], the first behind `first`, the others behind `rest`. A word that is longer is cut
/// into pieces.
pub fn wrap(text: &str, first: &str, rest: &str) -> String {
    let mut out = String::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in plain(text).split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let gap = usize::from(!is_empty);
            let room = COLUMNS.saturating_sub(line.chars().count());
            let is_fresh =
                is_empty && line.chars().count() <= rest.chars().count().max(first.chars().count());
            if word.len() + gap <= room {
                line.extend(std::iter::repeat_n(' ', gap).chain(word));
                is_empty = false;
                break;
            }
            if is_fresh {
                let tail = word.split_off(room.clamp(1, word.len()));
                line.extend(std::mem::replace(&mut word, tail));
            }
            out.push_str(&line);
            out.push('\n');
            rest.clone_into(&mut line);
            is_empty = true;
            if word.is_empty() {
                break;
            }
        }
    }
    if !is_empty || out.is_empty() {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// A time in the two largest units: `3 d 2 h`, `12 min 5 s`, `0 s`.
pub fn span(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time of more than a hundred years is shown as that"
    )]
    let mut left = seconds.clamp(0.0, 4e9) as u64;
    let mut words = Vec::new();
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)] {
        let count = left / length;
        left %= length;
        if count > 0 || (unit == "s" && words.is_empty()) {
            words.push(format!("{count} {unit}"));
        } else if !words.is_empty() {
            break;
        }
    }
    words.truncate(2);
    words.join(" ")
}

/// A rate: two digits that mean something, and no more.
pub fn rate(per_s: f64) -> String {
    if per_s >= 10.0 || per_s == 0.0 {
        format!("{per_s:.0}/s")
    } else if per_s >= 0.095 {
        format!("{per_s:.1}/s")
    } else {
        format!("{:.1}/min", per_s * 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_longer_than_a_terminal_and_nothing_is_left_out() {
        let words = "a bb ccc ".repeat(60);
        let long = format!("see {} end", "x".repeat(300));
        for text in [words.as_str(), long.as_str(), "", "ä".repeat(81).as_str()] {
            let wrapped = wrap(text, "! ", "    ");
            assert!(
                wrapped.lines().all(|line| line.chars().count() <= COLUMNS),
                "{wrapped}"
            );
            let letters = |text: &str| {
                text.chars()
                    .filter(|letter| !letter.is_whitespace())
                    .collect::<String>()
            };
            assert_eq!(letters(&wrapped), format!("!{}", letters(text)));
            assert!(wrapped.starts_with("! "), "{wrapped}");
            assert!(
                wrapped.lines().skip(1).all(|line| line.starts_with("    ")),
                "{wrapped}"
            );
        }
        assert_eq!(wrap("short", "  ", ""), "  short\n");
    }

    #[test]
    fn a_terminal_is_told_nothing_by_what_comes_from_outside() {
        assert_eq!(plain("a\x1b[2Jb\u{9b}c\nd"), "a [2Jb c d");
    }

    #[test]
    fn times_and_rates_are_short() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (59.9, "59 s"),
            (61.0, "1 min 1 s"),
            (3600.0, "1 h"),
            (3605.0, "1 h"),
            (90_000.0, "1 d 1 h"),
            (f64::MAX, "46296 d 7 h"),
        ] {
            assert_eq!(span(seconds), text);
        }
        for (per_s, text) in [
            (0.0, "0/s"),
            (1234.4, "1234/s"),
            (2.25, "2.2/s"),
            (0.01, "0.6/min"),
        ] {
            assert_eq!(rate(per_s), text);
        }
    }
}
