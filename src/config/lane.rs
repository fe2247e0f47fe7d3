//! `[[lane]]`

use crate::queue::{self, RawLane};
use crate::settings::Problems;

/// Name of the lane without a table.
pub const DEFAULT_LANE: &str = "default";
/// Longest name, characters: it becomes part of file names, client ids and message ids.
const MAX_NAME_LEN: usize = 32;

/// One lane: a pipeline of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// `name`: lower-case letters, digits and `_`.
    pub name: String,
    /// Its queue: `[queue]` with the lane's own keys over it.
    pub queue: queue::Config,
}

/// Checks all `[[lane]]` tables. The lane `default` is there without a table too.
pub(super) fn resolve(tables: Vec<RawLane>, base: &queue::Config, problems: &mut Problems<'_>) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let mut section = problems.section(format!("lane[{index}]"));
        let right = "write for example name = \"alarms\"";
        let name = section
            .required("name", table.name.clone(), right)
            .unwrap_or_default();
        if !name.is_empty() && !is_name(&name) {
            let wrong = format!("{name:?} is not a name");
            let right = format!("use a to z, 0 to 9 and _, {MAX_NAME_LEN} characters at most");
            section.error("name", wrong, right);
        } else if lanes.iter().any(|lane| lane.name == name) {
            section.error(
                "name",
                format!("{name:?} is there already"),
                "give each lane a name of its own",
            );
        }
        let queue = queue::resolve(table.into_queue(), base, &mut section);
        lanes.push(Lane { name, queue });
    }
    if !lanes.iter().any(|lane| lane.name == DEFAULT_LANE) {
        let name = DEFAULT_LANE.to_owned();
        let queue = base.clone();
        lanes.insert(0, Lane { name, queue });
    }
    lanes
}

fn is_name(text: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    (1..=MAX_NAME_LEN).contains(&text.len()) && text.chars().all(is_part)
}
