//! `[[mqtt]] status_topic`: where the gateway says how it is.

use crate::settings::Section;

/// The only name that it may use.
const GATEWAY: &str = "{gateway}";
/// Longest topic, bytes (MQTT 5, 1.5.4).
const TOPIC_MAX: usize = 65_535;
const RIGHT: &str = "write for example \"edgeferry/{gateway}/status\"";

/// A legal topic with `{gateway}` still in place, or nothing.
pub(super) fn resolve(text: Option<String>, section: &mut Section<'_, '_>) -> Option<String> {
    resolve_as("status_topic", text, section)
}

/// The same for a setting of another name.
pub(crate) fn resolve_as(key: &str, text: Option<String>, section: &mut Section<'_, '_>) -> Option<String> {
    let text = text?;
    match check(&text) {
        Ok(()) => Some(text),
        Err(wrong) => {
            section.error(key, wrong, RIGHT);
            None
        }
    }
}

fn check(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > TOPIC_MAX {
        return Err(format!("has {} bytes: a topic has 1 to {TOPIC_MAX}", text.len()));
    }
    if text.replace(GATEWAY, "").contains(['{', '}']) {
        return Err(format!("{text:?} has braces, and only {GATEWAY} is known here"));
    }
    if text.contains(['+', '#']) {
        return Err(format!(
            "{text:?} has a wildcard: nothing can be published to that"
        ));
    }
    if text.contains('\0') {
        return Err(format!("{text:?} contains the character U+0000"));
    }
    if text.starts_with('$') {
        return Err(format!(
            "{text:?} begins with $: such topics are the broker's own"
        ));
    }
    Ok(())
}

/// The topic of this gateway.
#[must_use]
pub fn of_gateway(topic: &str, gateway: &str) -> String {
    topic.replace(GATEWAY, gateway)
}

/// A filter that matches whatever topic it becomes: a level that depends on the gateway may be anything.
#[must_use]
pub fn of_any_gateway(topic: &str) -> String {
    let level = |level| if str::contains(level, GATEWAY) { "+" } else { level };
    topic.split('/').map(level).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_topic_is_a_topic() {
        for good in ["edgeferry/{gateway}/status", "s", "a/gw-{gateway}", "/"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let long = "a".repeat(65_536);
        for (bad, why) in [
            ("", "has 0 bytes"),
            (long.as_str(), "has 65536 bytes"),
            ("a/+/b", "wildcard"),
            ("a/#", "wildcard"),
            ("a\0b", "U+0000"),
            ("$SYS/x", "the broker's own"),
            ("a/{device}", "only {gateway} is known here"),
            ("a/{gateway", "only {gateway} is known here"),
        ] {
            assert!(check(bad).is_err_and(|wrong| wrong.contains(why)), "{bad:.20}");
        }
    }

    #[test]
    fn the_topic_of_a_gateway_and_of_any() {
        let topic = "edgeferry/gw-{gateway}/{gateway}";
        assert_eq!(of_gateway(topic, "7"), "edgeferry/gw-7/7");
        assert_eq!(of_any_gateway(topic), "edgeferry/+/+");
    }
}
