//! From a TOML text to values, with every complaint in its place.
//!
//! `reading` turns the text into raw structs: a mistake is noted, its entry removed, and the rest read again, so that all
//! mistakes come out at once. `document` knows on which line each setting stands. `Problems` collects what is wrong,
//! together with what would be right. The stages' own settings are theirs (see [`crate::config`]).

use std::path::Path;

use serde::Deserialize;
use toml::de::DeTable;

mod address;
mod document;
mod problem;
mod reading;
mod units;

pub(crate) use address::Address;
use document::Document;
pub use problem::Problem;
pub(crate) use problem::{Problems, Section};
pub use units::Rate;
pub(crate) use units::{PerDay, Period, Size};

/// Reads `text`, named `file` in complaints, into a raw value and lets `resolve` make the real one of it. Gives the value
/// with warnings, or all mistakes; both in the order of the text.
pub(crate) fn parse<R, T>(
    file: &Path,
    text: &str,
    resolve: impl FnOnce(R, &mut Problems<'_>) -> Option<T>,
) -> Result<(T, Vec<Problem>), Vec<Problem>>
where
    R: for<'de> Deserialize<'de> + Default,
{
    let (tree, errors) = DeTable::parse_recoverable(text);
    let document = Document::new(file, text, tree.get_ref());
    let mut problems = Problems::new(&document);
    let value = if reading::syntax(&document, text, &errors, &mut problems) {
        let raw = reading::read(&document, tree, &mut problems);
        resolve(raw, &mut problems)
    } else {
        None
    };
    let (errors, warnings) = problems.into_parts();
    match value {
        Some(value) if errors.is_empty() => Ok((value, warnings)),
        _ => Err(errors),
    }
}

/// Line of `text` on which a setting such as `mqtt[0].ca_file` stands, or else its table, counted from 1.
pub(crate) fn line_of(file: &Path, text: &str, field: &str) -> Option<usize> {
    let (tree, _) = DeTable::parse_recoverable(text);
    let document = Document::new(file, text, tree.get_ref());
    let table = field.rsplit_once('.').map_or(field, |(table, _)| table);
    document.line_of(field).or_else(|| document.line_of(table))
}

/// Whether `name` can be part of a client id, a metric, a file name and a Kafka name alike.
pub(crate) fn is_plain_name(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}
