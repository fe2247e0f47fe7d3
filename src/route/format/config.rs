//! `format` of a `[[route]]`, and the tables that belong to formats.

use super::{Format, cloudevents, ngsiv2, wasp};
use crate::route::template::Template;
use crate::settings::Section;

/// The tables of formats in a `[[route]]`, as they are written.
#[derive(Debug, Default, Clone)]
pub(in crate::route) struct Tables {
    /// `[route.cloudevents]`
    pub cloudevents: Option<cloudevents::Raw>,
    /// `[route.wasp]`
    pub wasp: Option<wasp::Raw>,
    /// `[route.ngsiv2]`
    pub ngsiv2: Option<ngsiv2::Raw>,
}

/// What can be written as `format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Raw,
    CloudEvents,
    Wasp,
    Ngsiv2,
}

const KNOWN: [(&str, Name); 4] = [
    ("raw", Name::Raw),
    ("cloudevents", Name::CloudEvents),
    ("wasp", Name::Wasp),
    ("ngsiv2", Name::Ngsiv2),
];

/// The format that a route names, `raw` when it names none, with its settings. `None` only together with a problem.
pub(in crate::route) fn resolve(
    name: Option<&str>,
    tables: Tables,
    section: &mut Section<'_, '_>,
) -> Option<Format> {
    let is_known = name.is_none_or(|name| KNOWN.iter().any(|(known, _)| *known == name));
    let format = section.one_of("format", name, &KNOWN, &[], Name::Raw);
    if !is_known {
        return None;
    }
    let written = [
        ("cloudevents", Name::CloudEvents, tables.cloudevents.is_some()),
        ("wasp", Name::Wasp, tables.wasp.is_some()),
        ("ngsiv2", Name::Ngsiv2, tables.ngsiv2.is_some()),
    ];
    for (table, owner, is_written) in written {
        if is_written && owner != format {
            let wrong = format!("belongs to another format than {:?}", name.unwrap_or("raw"));
            let right = format!("write format = \"{table}\", or remove the table");
            section.error(table, wrong, right);
        }
    }
    match format {
        Name::Raw => Some(Format::Raw),
        Name::CloudEvents => cloudevents::resolve(tables.cloudevents.unwrap_or_default(), section)
            .map(|format| Format::CloudEvents(Box::new(format))),
        Name::Wasp => wasp::resolve(tables.wasp.unwrap_or_default(), section)
            .map(|format| Format::Wasp(Box::new(format))),
        Name::Ngsiv2 => ngsiv2::resolve(tables.ngsiv2.unwrap_or_default(), section)
            .map(|format| Format::Ngsiv2(Box::new(format))),
    }
}

/// A template as a table has it.
pub(super) fn template(key: &str, text: &str, section: &mut Section<'_, '_>) -> Option<Template> {
    let report = |error| {
        let right = "write a name of `from` as {name}, a value of the payload as {json:/pointer}, and {{ or }} for a brace";
        section.error(key, format!("{text:?} {error}"), right);
    };
    Template::parse(text).map_err(report).ok()
}

/// What a template makes of the shortest message that has something for every value: a stand-in of one letter. What is wrong with
/// it is wrong with every message.
pub(super) fn literal(template: &Template) -> String {
    template.render_with(|_| "x".to_owned())
}
