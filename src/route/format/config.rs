//! `format` of a `[[route]]`, and the tables that belong to formats.

use super::Format;
use crate::settings::Section;

/// The format that a route names, `raw` when it names none.
pub(in crate::route) fn resolve(name: Option<&str>, section: &mut Section<'_, '_>) -> Format {
    /// What can be written.
    #[derive(Clone, Copy)]
    enum Name {
        Raw,
    }
    let known = [("raw", Name::Raw)];
    let planned = ["cloudevents", "wasp", "ngsiv2"];
    match section.one_of("format", name, &known, &planned, Name::Raw) {
        Name::Raw => Format::Raw,
    }
}
