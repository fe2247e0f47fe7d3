//! From text to raw structs, with every mistake on the way.
//!
//! serde stops at the first mistake. So each mistake is recorded, the entry it is in is taken out of the
//! tree, and the rest is read again. The raw structs can miss any field, so that taking one out is never a
//! mistake of its own.

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, Deserializer, Error};

use crate::settings::Problems;
use crate::settings::document::{Document, prune};

/// What the parser says of a key or header that comes a second time.
const DUPLICATE: &str = "duplicate key";

/// Records what is not TOML. Whether the rest can be read nevertheless: it can when every mistake is inside
/// one value, or a second value for one key. A broken header is neither, the settings below it end up in
/// another table.
pub(super) fn syntax(document: &Document, text: &str, errors: &[Error], problems: &mut Problems<'_>) -> bool {
    let mut readable = true;
    for error in errors {
        let span = error.span().unwrap_or_default();
        let line = document.line_at(span.start);
        if error.message() == DUPLICATE {
            let key = text.get(span).unwrap_or_default();
            problems.error_at(
                line,
                key,
                "is there already".to_owned(),
                Some("remove one of the two".to_owned()),
            );
            continue;
        }
        let field = document.value_around(&span);
        readable &= field.is_some();
        let (wrong, right) = split(error.message());
        let field = field.unwrap_or_default();
        problems.error_at(line, field, safe(field, wrong), right);
    }
    readable
}

/// Reads all that can be read.
pub(super) fn read<'t, T>(
    document: &Document,
    mut tree: Spanned<DeTable<'t>>,
    problems: &mut Problems<'_>,
) -> T
where
    T: Deserialize<'t> + Default,
{
    for _ in 0..=document.len() {
        let error = match T::deserialize(Deserializer::from(tree.clone())) {
            Ok(raw) => return raw,
            Err(error) => error,
        };
        let span = error.span().unwrap_or_default();
        let field = document.path_at(&span).unwrap_or_default();
        let (wrong, right) = explain(error.message());
        let wrong = safe(field, wrong);
        problems.error_at(document.line_at(span.start), field, wrong, right);
        if !prune(tree.get_mut(), &span) {
            break;
        }
    }
    T::default()
}

/// Whether a setting holds paths of files, `key_file` or `old_key_files[1]`: a secret may stand there by mistake.
fn names_files(field: &str) -> bool {
    let setting = without_index(field);
    setting.ends_with("_file") || setting.ends_with("_files")
}

fn without_index(field: &str) -> &str {
    match field.strip_suffix(']') {
        Some(list) => list.rsplit_once('[').map_or(field, |(list, _)| list),
        None => field,
    }
}

/// What is wrong; of a setting that holds paths without the value that serde quotes: `invalid type: integer`.
fn safe(field: &str, wrong: String) -> String {
    match wrong.split_once(['`', '"']) {
        Some((kind, _)) if names_files(field) => kind.trim_end().to_owned(),
        _ => wrong,
    }
}

/// Says in the words of this file what serde says in those of Rust.
fn explain(message: &str) -> (String, Option<String>) {
    if let Some(unknown) = message.strip_prefix("unknown field ") {
        return explain_unknown(unknown);
    }
    if message == "invalid type: map, expected a sequence" {
        let right = "write the header with two brackets, there may be several of it";
        return ("is a single table".to_owned(), Some(right.to_owned()));
    }
    split(message)
}

/// serde lists the unknown key and then the known ones, each between backticks.
fn explain_unknown(message: &str) -> (String, Option<String>) {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.collect();
    let is_secret = ["password", "passwd", "secret", "token"].contains(&unknown);
    let right = match nearest(unknown, &known) {
        _ if is_secret && known.contains(&"password_file") => {
            "secrets come from files: write password_file".to_owned()
        }
        _ if is_secret && known.contains(&"token_file") => {
            "secrets come from files: write token_file".to_owned()
        }
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("known here: {}", known.join(", ")),
    };
    ("is not a known setting".to_owned(), Some(right))
}

/// The known word that `word` was probably meant to be.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    /// A slip or two in a short word; below it other words come too close.
    const ALIKE: f64 = 0.8;
    let likeness = |known: &&str| strsim::normalized_damerau_levenshtein(word, known);
    let best = known
        .iter()
        .copied()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) >= ALIKE || best.starts_with(word) && word.len() > 2).then_some(best)
}

/// Parts a message at the place where it goes on with what would be right.
fn split(message: &str) -> (String, Option<String>) {
    if let Some((wrong, right)) = message.split_once("; ") {
        return (wrong.to_owned(), Some(right.to_owned()));
    }
    match message.split_once(", expected ") {
        Some((wrong, right)) => (wrong.to_owned(), Some(format!("expected {right}"))),
        None => (message.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str) -> String {
        let (wrong, right) = explain(message);
        format!("{wrong}; {}", right.unwrap_or_default())
    }

    #[test]
    fn unknown_settings_get_the_nearest_or_all() {
        let known = "expected one of `url`, `keep_alive`, `password_file`";
        let meant = |word: &str| check(&format!("unknown field `{word}`, {known}"));
        assert_eq!(
            meant("keepalive"),
            "is not a known setting; did you mean keep_alive?"
        );
        assert_eq!(meant("keep"), "is not a known setting; did you mean keep_alive?");
        assert_eq!(
            meant("port"),
            "is not a known setting; known here: url, keep_alive, password_file"
        );
        assert_eq!(
            meant("password"),
            "is not a known setting; secrets come from files: write password_file"
        );
    }

    #[test]
    fn what_would_be_right_is_parted_from_what_is_wrong() {
        assert_eq!(
            check("invalid type: integer `5`, expected a string"),
            "invalid type: integer `5`; expected a string"
        );
        assert_eq!(check("\"x\" is bad; write y"), "\"x\" is bad; write y");
        assert_eq!(check("duplicate key"), "duplicate key; ");
    }
}
