//! Topics of FIWARE's IoT Agents, read as the agents read them: an empty first level and a first level `json` or `ul` do not
//! count; then come API key, device, kind, and what belongs to the kind.

/// Which agent a topic names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// `json/...`
    Json,
    /// `ul/...`
    Ul,
}

/// The agent whose prefix the topic has.
#[must_use]
pub fn agent(topic: &str) -> Option<Agent> {
    let topic = topic.strip_prefix('/').unwrap_or(topic);
    let first = topic.split('/').next()?;
    if first.eq_ignore_ascii_case("json") {
        Some(Agent::Json)
    } else if first.eq_ignore_ascii_case("ul") {
        Some(Agent::Ul)
    } else {
        None
    }
}

/// Whether an agent would take it for a command, the result of one, or a configuration. None of them is a measure.
#[must_use]
pub fn is_command(topic: &str) -> bool {
    let has_prefix = agent(topic).is_some();
    let topic = topic.strip_prefix('/').unwrap_or(topic);
    let mut levels = topic.split('/').skip(if has_prefix { 3 } else { 2 });
    matches!(
        (levels.next(), levels.next(), levels.next()),
        (Some("cmd" | "cmdexe"), None, None) | (Some("configuration"), Some("commands" | "values"), None)
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prefix_counts_with_and_without_a_slash_in_any_case() {
        for topic in ["/json/KEY/dev/attrs", "json/KEY/dev/attrs", "/JSON/KEY/dev/attrs"] {
            assert_eq!(agent(topic), Some(Agent::Json), "{topic}");
        }
        assert_eq!(agent("/ul/KEY/dev/attrs"), Some(Agent::Ul));
        assert_eq!(agent("/KEY/dev/attrs"), None);
    }

    #[test]
    fn commands_are_told_from_measures() {
        for topic in [
            "/KEY/dev/cmd",
            "KEY/dev/cmd",
            "/json/KEY/dev/cmdexe",
            "ul/KEY/dev/cmdexe",
            "/KEY/dev/configuration/commands",
            "/json/KEY/dev/configuration/values",
        ] {
            assert!(is_command(topic), "{topic}");
        }
        for topic in [
            "/json/KEY/dev/attrs",
            "/KEY/dev/attrs/cmd",
            "/KEY/dev/cmd/attrs",
            "cmd",
            "a/cmd",
            "",
            "/",
            "/KEY/cmd/attrs",
            "/KEY/dev/configuration",
        ] {
            assert!(!is_command(topic), "{topic}");
        }
    }

    proptest! {
        #[test]
        fn reading_a_topic_never_panics(topic in "\\PC{0,40}|[/a-z]{0,40}") {
            let _agent = agent(&topic);
            let _is_command = is_command(&topic);
        }
    }
}
