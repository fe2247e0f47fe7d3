//! `headers` and `[route.add_headers]`

use std::collections::BTreeMap;

use super::names::Names;
use crate::route::format::Format;
use crate::route::headers::{is_reserved, names_tenant};
use crate::route::template::Template;
use crate::settings::Section;

/// Longest name, bytes: as long as a topic's.
const NAME_MAX_BYTES: usize = 249;

/// `headers`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Headers {
    /// `"full"` (default): facts about the message, and its MQTT 5 properties.
    #[default]
    Full,
    /// `"minimal"`: the id, and marks that are there only when they are true. For metered links.
    Minimal,
}

pub(super) fn resolve(word: Option<&str>, format: &Format, section: &mut Section<'_, '_>) -> Headers {
    if word.is_some() && !format.has_headers() {
        let wrong = format!(
            "is of no use: records of format {:?} have no headers",
            format.name()
        );
        section.error("headers", wrong, "remove it");
    }
    let known = [("full", Headers::Full), ("minimal", Headers::Minimal)];
    section.one_of("headers", word, &known, &[], Headers::default())
}

/// `[route.add_headers]`, by name. `None` only together with a problem.
pub(super) fn resolve_added(
    table: BTreeMap<String, String>,
    format: &Format,
    section: &mut Section<'_, '_>,
) -> Option<Vec<(String, Template)>> {
    if !table.is_empty() && !format.has_headers() {
        let wrong = format!(
            "is of no use: records of format {:?} have no headers",
            format.name()
        );
        section.error("add_headers", wrong, "remove the table");
    }
    let entries = table.into_iter();
    let headers: Vec<_> = entries
        .map(|(name, text)| {
            let field = format!("add_headers.{name}");
            check_name(&field, &name, section);
            if super::KEYS.contains(&name.as_str()) {
                let what = "is a header here, and also the name of a key of the route";
                let instead = "if the key is meant, move the line above [route.add_headers]: whatever stands below belongs \
                               to the table";
                section.warn(&field, what, instead);
            }
            if format.writes_header(&name) {
                let wrong = format!("is written by format {:?} already", format.name());
                section.error(&field, wrong, "remove it");
            }
            if text.trim().is_empty() && names_tenant(&name) {
                let right =
                    "write the tenant, for example \"smartcity\", or \"/\" for the root of service paths";
                section.error(
                    &field,
                    "is empty, readers would take the tenant \"default\"",
                    right,
                );
            }
            Some((name, super::parse_template(&field, &text, section)?))
        })
        .collect();
    headers.into_iter().collect()
}

fn check_name(field: &str, name: &str, section: &mut Section<'_, '_>) {
    let is_printable = name.chars().all(|c| c.is_ascii_graphic());
    if name.is_empty() || name.len() > NAME_MAX_BYTES || !is_printable {
        section.error(
            field,
            "is no name of a header",
            format!("write 1 to {NAME_MAX_BYTES} printable ASCII characters without spaces"),
        );
    } else if is_own(name) {
        section.error(
            field,
            "is a name that edgeferry gives itself",
            "write a name that begins with neither \"edgeferry-\" nor \"mqtt-\"",
        );
    }
}

/// What a configuration may not say; `fiware-` and the like it may.
fn is_own(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    is_reserved(name) && (lower.starts_with("edgeferry-") || lower.starts_with("mqtt-"))
}

/// Refuses what asks for names that `from` does not have.
pub(super) fn check_names(headers: &[(String, Template)], names: Names<'_>, section: &mut Section<'_, '_>) {
    for (name, template) in headers {
        names.check(&format!("add_headers.{name}"), template, section);
    }
}
