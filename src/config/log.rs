//! `[log]`

use serde::Deserialize;

use crate::settings::Section;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// `"error"`: only what needs a person.
    Error,
    /// `"warn"`: and what should be looked at.
    Warn,
    /// `"info"` (default): and what changes.
    #[default]
    Info,
    /// `"debug"`: and what edgeferry does; its libraries stay at `info`.
    Debug,
    /// `"trace"`: and everything else that edgeferry can say.
    Trace,
}

/// As the file says them.
const LEVELS: [(&str, Level); 5] = [
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Trace),
];

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Log {
    /// `level`; the environment variable `EDGEFERRY_LOG` goes over it.
    pub level: Level,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    level: Option<String>,
}

/// Where there is a problem, the default stands in.
pub(super) fn resolve(raw: &Raw, section: &mut Section<'_, '_>) -> Log {
    let level = section.one_of("level", raw.level.as_deref(), &LEVELS, &[], Level::default());
    Log { level }
}

impl Level {
    /// As the file says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = LEVELS.iter().find(|(_, level)| *level == self);
        found.map_or("info", |(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn level(lines: &str) -> Result<Level, String> {
        let text = format!(
            "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n[kafka]\n\
             bootstrap_servers = [\"127.0.0.1:9092\"]\n[[route]]\nfrom = \"t/{{device}}\"\ntopic = \"t\"\n{lines}"
        );
        let parsed = crate::config::parse(Path::new("test.toml"), &text);
        parsed
            .map(|(config, _)| config.log.level)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_level_is_read_and_info_is_the_default() {
        assert_eq!(level(""), Ok(Level::Info));
        for (name, wanted) in LEVELS {
            assert_eq!(level(&format!("[log]\nlevel = \"{name}\"\n")), Ok(wanted));
            assert_eq!(wanted.name(), name);
        }
    }

    #[test]
    fn another_word_is_refused_with_those_that_there_are() {
        let refused = level("[log]\nlevel = \"verbose\"\n").expect_err("refused");
        for word in ["log.level", "verbose", "debug", "trace"] {
            assert!(refused.contains(word), "{refused}");
        }
        assert!(
            level("[log]\nfile = \"/x\"\n").is_err(),
            "unknown settings are refused"
        );
    }
}
