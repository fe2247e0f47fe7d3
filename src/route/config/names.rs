//! Whether what a route's templates ask for can be there.

use crate::route::pattern::Pattern;
use crate::route::template::Template;
use crate::route::value::{DEVICE, Value};
use crate::settings::Section;

/// What plain names a route has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    pub from: &'a Pattern,
    /// Whether `device` of the route says what `{device}` is.
    pub has_device: bool,
}

impl Names<'_> {
    /// Refuses a name that no message could have a value for.
    pub(super) fn check_value(self, field: &str, value: &Value, section: &mut Section<'_, '_>) {
        if let Some(name) = value.name() {
            self.check_name(field, name, section);
        }
    }

    /// The same for a plain name.
    pub(super) fn check_name(self, field: &str, name: &str, section: &mut Section<'_, '_>) {
        if !self.knows(name) {
            let wrong = format!("{{{name}}} is not a name in \"{}\"", self.from);
            let right = match name {
                "gateway" => "write {gateway:id} for the gateway that received it".to_owned(),
                _ => self.right(),
            };
            section.error(field, wrong, right);
        }
    }

    /// The same for all of a template.
    pub(super) fn check(self, field: &str, template: &Template, section: &mut Section<'_, '_>) {
        for value in template.values() {
            self.check_value(field, value, section);
        }
    }

    /// Only what `from` has.
    pub(super) const fn levels(self) -> Self {
        Self {
            has_device: false,
            ..self
        }
    }

    pub(super) fn knows(self, name: &str) -> bool {
        self.from.level_of(name).is_some() || (self.has_device && name == DEVICE)
    }

    fn right(self) -> String {
        let levels = self
            .from
            .names()
            .filter(|name| !(self.has_device && *name == DEVICE));
        let device = self.has_device.then_some(DEVICE);
        let known: Vec<String> = levels.chain(device).map(|name| format!("{{{name}}}")).collect();
        match known.as_slice() {
            [] => "give the levels of `from` names, for example \"devices/{device}/telemetry\"".to_owned(),
            known => format!("`from` has {}", known.join(", ")),
        }
    }
}
