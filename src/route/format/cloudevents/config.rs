//! `[route.cloudevents]`

use serde::Deserialize;

use super::{CloudEvents, Mode, content, uri};
use crate::route::format::config::{literal, template};
use crate::settings::Section;

/// The gateway: what happened, happened there as far as anybody behind it can tell.
const DEFAULT_SOURCE: &str = "edgeferry/{gateway:id}";
/// Nobody's reverse domain name, because it is nobody's own event.
const DEFAULT_TYPE: &str = "mqtt.message";
/// The topic is what the message is about.
const DEFAULT_SUBJECT: &str = "{mqtt:topic}";

/// `[route.cloudevents]` as it is written.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::route) struct Raw {
    mode: Option<String>,
    source: Option<String>,
    r#type: Option<String>,
    subject: Option<String>,
}

/// The settings with their defaults; `None` with a problem.
pub(in crate::route::format) fn resolve(raw: Raw, section: &mut Section<'_, '_>) -> Option<CloudEvents> {
    let modes = [("structured", Mode::Structured), ("binary", Mode::Binary)];
    let mode = raw.mode.as_deref();
    let mode = section.one_of("cloudevents.mode", mode, &modes, &[], Mode::Structured);
    let mut read =
        |key, text: Option<String>, default: &str| template(key, text.as_deref().unwrap_or(default), section);
    let source = read("cloudevents.source", raw.source, DEFAULT_SOURCE);
    let kind = read("cloudevents.type", raw.r#type, DEFAULT_TYPE);
    let subject = read("cloudevents.subject", raw.subject, DEFAULT_SUBJECT);
    let format = CloudEvents {
        mode,
        source: source?,
        kind: kind?,
        subject: subject?,
    };
    check(&format, section);
    Some(format)
}

/// What can be said of the templates before a message comes.
fn check(format: &CloudEvents, section: &mut Section<'_, '_>) {
    let source = literal(&format.source);
    // An escape stands for what a value may also be: it is legal in fewer places than a letter.
    let escaped = format.source.render_with(|_| "%41".to_owned());
    if source.is_empty() || !uri::is_reference(&source) || !uri::is_reference(&escaped) {
        let wrong = format!("{:?} is no URI reference", format.source.to_string());
        let right = "write for example \"edgeferry/{gateway:id}\" or \"https://example.com/plants/{plant}\"";
        section.error("cloudevents.source", wrong, right);
    }
    let others = [
        ("cloudevents.type", &format.kind),
        ("cloudevents.subject", &format.subject),
    ];
    for (key, template) in others {
        let text = literal(template);
        if text.is_empty() || !content::is_attribute(&text) {
            let right = "write text without control characters, at least one character";
            section.error(key, format!("{:?} cannot be one", template.to_string()), right);
        }
    }
}
