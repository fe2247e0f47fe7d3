//! What NGSIv2 and FIWARE allow as names.

use std::borrow::Cow;

/// Longest id, type or attribute name (NGSIv2, "Field syntax restrictions").
const FIELD_MAX: usize = 256;
/// Longest name of a service, and of a level of a service path (Orion, "Multi tenancy" and "Service path").
const TENANT_MAX: usize = 50;
/// Most levels of a service path.
const PATH_LEVELS_MAX: usize = 10;

/// What a field may hold, for complaints.
pub const FIELD_RULE: &str =
    "1 to 256 visible ASCII characters, none of & ? / # < > \" ' = ; ( ) and no white space";
/// What a service may be, for complaints.
pub const SERVICE_RULE: &str = "1 to 50 letters, digits and '_'";
/// What a service path may be, for complaints.
pub const PATH_RULE: &str =
    "\"/\", or up to 10 levels such as \"/plant/hall2\", each of 1 to 50 letters, digits and '_'";

/// What an entity, and a row that Kafnus makes of one, has by itself, in lower case: an attribute of such a name would replace it. Kafnus
/// lower-cases the names of attributes.
const OF_ENTITY: [&str; 7] = [
    "id",
    "type",
    "entityid",
    "entitytype",
    "fiwareservicepath",
    "recvtime",
    "alterationtype",
];

/// The name under which a measure is written. Where the entity itself has it, whatever its case, it begins with `measure_`, as the agents
/// do it for `id` and `type`.
#[must_use]
pub fn of_measure(name: Cow<'_, str>) -> Cow<'_, str> {
    if OF_ENTITY.iter().any(|own| own.eq_ignore_ascii_case(&name)) {
        Cow::Owned(format!("measure_{name}"))
    } else {
        name
    }
}

/// Whether it can be the id or type of an entity, or the name of an attribute: the syntax of fields, and without the characters
/// that Orion forbids.
#[must_use]
pub fn is_field(text: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_graphic() && !b"&?/#<>\"'=;()".contains(&byte);
    (1..=FIELD_MAX).contains(&text.len()) && text.bytes().all(is_fine)
}

/// The service as it goes into the header: in lower case. `None` when it is none.
#[must_use]
pub fn service(text: &str) -> Option<String> {
    is_tenant(text).then(|| text.to_ascii_lowercase())
}

/// The service path as it goes into the header: in lower case, with a leading `/`. `None` when it is none.
#[must_use]
pub fn service_path(text: &str) -> Option<String> {
    let levels = text.strip_prefix('/').unwrap_or(text);
    let is_fine =
        levels.is_empty() || levels.split('/').count() <= PATH_LEVELS_MAX && levels.split('/').all(is_tenant);
    is_fine.then(|| format!("/{}", levels.to_ascii_lowercase()))
}

fn is_tenant(text: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=TENANT_MAX).contains(&text.len()) && text.bytes().all(is_fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_visible_ascii_without_the_forbidden_characters() {
        for fine in ["t", "Thing:id_sen1", "urn:ngsi-ld:Sensor:001", &"a".repeat(256)] {
            assert!(is_field(fine), "{fine}");
        }
        let forbidden = [
            "&", "?", "/", "#", "<", ">", "\"", "'", "=", ";", "(", ")", " ", "\t", "\u{e9}", "\0",
        ];
        for wrong in forbidden {
            assert!(!is_field(&format!("a{wrong}b")), "{wrong:?}");
        }
        assert!(!is_field(""));
        assert!(!is_field(&"a".repeat(257)));
    }

    #[test]
    fn tenants_are_lower_case_with_a_leading_slash() {
        assert_eq!(service("Smart_City2").as_deref(), Some("smart_city2"));
        assert_eq!(service_path("/Plant/Hall2").as_deref(), Some("/plant/hall2"));
        assert_eq!(service_path("plant").as_deref(), Some("/plant"));
        assert_eq!(service_path("/").as_deref(), Some("/"));
        assert_eq!(service_path("").as_deref(), Some("/"));
    }

    #[test]
    fn what_is_no_tenant_is_refused() {
        for wrong in ["", "a-b", "a b", "a/b", "\u{e9}", &"a".repeat(51)] {
            assert_eq!(service(wrong), None, "{wrong}");
        }
        for wrong in ["//", "/a/", "/a//b", "/a-b", "/#", &"/a".repeat(11)] {
            assert_eq!(service_path(wrong), None, "{wrong}");
        }
    }
}
