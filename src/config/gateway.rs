//! `[gateway]`

use std::path::PathBuf;

use serde::Deserialize;

use crate::route::template::Template;
use crate::settings::Section;

/// What `id` may use so that one file serves a fleet.
const NAMES: [&str; 3] = ["hostname", "machine_id", "serial"];

/// Names that half of all boards have: two such gateways would take each other's place.
const TOO_COMMON: [&str; 2] = ["raspberrypi", "localhost"];

/// `[gateway]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Gateway id with `{hostname}`, `{machine_id}` and `{serial}` still in place; `None` means the default.
    pub id: Option<String>,
    /// Folder of the store, absolute; created when missing.
    pub data_dir: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    id: Option<String>,
    data_dir: Option<PathBuf>,
}

/// `None` only together with a problem.
pub(super) fn resolve(raw: Raw, section: &mut Section<'_, '_>) -> Option<Gateway> {
    if let Some(id) = &raw.id {
        check_id(id, section);
    }
    let right = "write an absolute path, for example \"/var/lib/edgeferry\"";
    let data_dir = section.required("data_dir", raw.data_dir, right)?;
    if data_dir.is_relative() {
        let wrong = format!(
            "{:?} is relative: the store would be another one in another folder",
            data_dir.display()
        );
        section.error("data_dir", wrong, right);
    }
    Some(Gateway { id: raw.id, data_dir })
}

fn check_id(id: &str, section: &mut Section<'_, '_>) {
    let template = match Template::parse(id) {
        Ok(template) => template,
        Err(error) => {
            return section.error(
                "id",
                format!("{id:?} {error}"),
                "write for example \"pi-{serial}\"",
            );
        }
    };
    if let Some(unknown) = template.values().find(|value| !NAMES.contains(&value.as_str())) {
        let right = "only {hostname}, {machine_id} and {serial} can be used";
        section.error("id", format!("{{{unknown}}} is not known here"), right);
    }
    if id.is_empty() || TOO_COMMON.contains(&id) {
        let right = "write a name that no other gateway has, for example \"pi-{serial}\"";
        section.error("id", format!("{id:?} does not tell gateways apart"), right);
    }
    let literal = template.render_with(|_| String::new());
    if !crate::settings::is_plain_name(&literal) {
        let wrong = format!("{id:?} has characters that are not safe in client ids and record headers");
        section.error("id", wrong, "use letters, digits, '.', '_' and '-'");
    }
}
