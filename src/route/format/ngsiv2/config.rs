//! `[route.ngsiv2]`

use std::collections::BTreeMap;

use serde::Deserialize;

use super::attribute::Wanted;
use super::measures::{Kind, TIME};
use super::{Ngsiv2, names};
use crate::route::format::config::{literal, template};
use crate::settings::Section;

/// Type of entities, and part of their ids, as the IoT Agents name them by default.
const DEFAULT_TYPE: &str = "Thing";

/// `[route.ngsiv2]` as it is written.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::route) struct Raw {
    id: Option<String>,
    r#type: Option<String>,
    service: Option<String>,
    servicepath: Option<String>,
    correlator: Option<bool>,
    subscription_id: Option<String>,
    payload: Option<String>,
    attribute: Option<String>,
    types: BTreeMap<String, String>,
}

/// The settings with their defaults; `None` with a problem.
pub(in crate::route::format) fn resolve(raw: Raw, section: &mut Section<'_, '_>) -> Option<Ngsiv2> {
    let kinds = [("json", Kind::Json), ("ul", Kind::Ul), ("auto", Kind::Auto)];
    let payload = section.one_of("ngsiv2.payload", raw.payload.as_deref(), &kinds, &[], Kind::Auto);
    let type_text = raw.r#type.unwrap_or_else(|| DEFAULT_TYPE.to_owned());
    let id_text = raw.id.unwrap_or_else(|| format!("{type_text}:{{device}}"));
    let id = template("ngsiv2.id", &id_text, section);
    let kind = template("ngsiv2.type", &type_text, section);
    let right =
        "write the tenant, for example service = \"smartcity\"; readers take a missing one for \"default\"";
    let service = section.required("ngsiv2.service", raw.service, right);
    let service = service.and_then(|text| template("ngsiv2.service", &text, section));
    let path = template(
        "ngsiv2.servicepath",
        raw.servicepath.as_deref().unwrap_or("/"),
        section,
    );
    let attribute = raw.attribute.as_deref();
    let attribute = attribute.map(|text| template("ngsiv2.attribute", text, section));
    let types = types(raw.types, section);
    let format = Ngsiv2 {
        id: id?,
        kind: kind?,
        service: service?,
        path: path?,
        has_correlator: raw.correlator.unwrap_or(false),
        subscription_id: raw.subscription_id,
        payload,
        attribute: match attribute {
            Some(attribute) => Some(attribute?),
            None => None,
        },
        types,
    };
    check(&format, section);
    Some(format)
}

fn types(types: BTreeMap<String, String>, section: &mut Section<'_, '_>) -> BTreeMap<String, Wanted> {
    for (name, kind) in &types {
        let key = format!("ngsiv2.types.{name}");
        if name.eq_ignore_ascii_case(TIME) {
            let wrong = format!("{TIME} is always a DateTime");
            section.error(&key, wrong, "remove it");
        } else if !names::is_field(name) {
            section.error(&key, "is no name of an attribute", names::FIELD_RULE);
        } else if !names::is_field(kind) {
            let right = format!("a type is {}, for example \"Number\"", names::FIELD_RULE);
            section.error(&key, format!("{kind:?} is no type"), right);
        }
    }
    let wanted = types.into_iter().map(|(name, kind)| (name, Wanted::new(kind)));
    wanted.collect()
}

/// What can be said of the templates before a message comes.
fn check(format: &Ngsiv2, section: &mut Section<'_, '_>) {
    let fields = [
        ("ngsiv2.id", Some(&format.id)),
        ("ngsiv2.type", Some(&format.kind)),
        ("ngsiv2.attribute", format.attribute.as_ref()),
    ];
    for (key, template) in fields {
        let Some(template) = template else { continue };
        if !names::is_field(&literal(template)) {
            section.error(
                key,
                format!("{:?} cannot be one", template.to_string()),
                names::FIELD_RULE,
            );
        }
    }
    if format.id.is_static() {
        let wrong = format!("{:?} is the same for every message", format.id.to_string());
        section.error("ngsiv2.id", wrong, "use a name, for example \"Thing:{device}\"");
    }
    if names::service(&literal(&format.service)).is_none() {
        let wrong = format!("{:?} is no service", format.service.to_string());
        section.error("ngsiv2.service", wrong, names::SERVICE_RULE);
    }
    if names::service_path(&literal(&format.path)).is_none() {
        let wrong = format!("{:?} is no service path", format.path.to_string());
        section.error("ngsiv2.servicepath", wrong, names::PATH_RULE);
    }
}
