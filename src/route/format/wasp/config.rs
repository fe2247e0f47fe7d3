//! `[route.wasp]`

use serde::Deserialize;

use super::{Envelope, NAME_MAX, NonJson, Wasp};
use crate::settings::Section;

/// User properties that may be carried at most; each message is looked through for each of them.
const USER_PROPERTIES_MAX: usize = 32;

/// `[route.wasp]` as it is written.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::route) struct Raw {
    envelope: Option<String>,
    ingest: Option<String>,
    non_json: Option<String>,
    user_properties: Vec<String>,
}

/// The settings with their defaults; `None` with a problem.
pub(in crate::route::format) fn resolve(raw: Raw, section: &mut Section<'_, '_>) -> Option<Wasp> {
    let envelopes = [
        ("mqtt", Envelope::Mqtt),
        ("nordic-cloud", Envelope::NordicCloud),
        ("ttn", Envelope::Ttn),
        ("tts", Envelope::Tts),
        ("http", Envelope::Http),
    ];
    let word = raw.envelope.as_deref();
    let envelope = section.one_of("wasp.envelope", word, &envelopes, &[], Envelope::Mqtt);
    let ingest = ingest(raw.ingest, envelope, section);
    let non_json = non_json(raw.non_json.as_deref(), envelope, section);
    check_properties(&raw.user_properties, section);
    Some(Wasp {
        envelope,
        ingest: ingest?,
        non_json,
        user_properties: raw.user_properties,
    })
}

/// The name by which the ingest is registered: those of WASP's own services are known.
fn ingest(written: Option<String>, envelope: Envelope, section: &mut Section<'_, '_>) -> Option<String> {
    let known = match envelope {
        Envelope::Mqtt => Some("mqtt"),
        Envelope::NordicCloud => Some("nordic-cloud"),
        Envelope::Ttn | Envelope::Tts | Envelope::Http => None,
    };
    let right = "write the name that is registered in WASP's thing service (POST /v1/ingest)";
    let ingest = section.required("wasp.ingest", written.or(known.map(str::to_owned)), right)?;
    let length = ingest.chars().count();
    if !(1..=NAME_MAX).contains(&length) {
        let wrong = format!("has {length} characters");
        let right = format!("write 1 to {NAME_MAX}: WASP's thing service holds no more");
        section.error("wasp.ingest", wrong, right);
    }
    Some(ingest)
}

/// Only two envelopes carry what is not JSON: the others need fields of it.
fn non_json(word: Option<&str>, envelope: Envelope, section: &mut Section<'_, '_>) -> NonJson {
    let words = [("base64", NonJson::Base64), ("refuse", NonJson::Refuse)];
    let is_any = matches!(envelope, Envelope::Mqtt | Envelope::Http);
    let default = if is_any { NonJson::Base64 } else { NonJson::Refuse };
    let non_json = section.one_of("wasp.non_json", word, &words, &[], default);
    if non_json == NonJson::Base64 && !is_any {
        let wrong = "\"base64\" is not possible: this envelope needs fields of a JSON payload";
        section.error("wasp.non_json", wrong, "write \"refuse\", or remove it");
    }
    non_json
}

fn check_properties(names: &[String], section: &mut Section<'_, '_>) {
    let key = "wasp.user_properties";
    if names.len() > USER_PROPERTIES_MAX {
        let wrong = format!("has {} names", names.len());
        section.error(key, wrong, format!("write {USER_PROPERTIES_MAX} at most"));
    }
    let again = (1..)
        .zip(names)
        .find(|(count, name)| names.iter().skip(*count).any(|other| other == *name));
    if let Some((_, name)) = again {
        section.error(key, format!("has {name:?} twice"), "write it once");
    }
}
