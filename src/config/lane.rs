//! `[[lane]]`

use crate::queue::{self, RawLane};
use crate::settings::{Problems, Rate, Section};
use crate::sink;

/// Name of the lane without a table.
pub const DEFAULT_LANE: &str = "default";
/// Longest name, characters: it becomes part of file names, client ids and message ids.
const MAX_NAME_LEN: usize = 32;
/// Most lanes: each has connections and buffers of its own, and together they stay below the unit's `MemoryMax`.
const MAX_LANES: usize = 8;

/// Without `weight`.
const DEFAULT_WEIGHT: u32 = 1;
/// With more, the lane beside it would get less than a hundredth.
const MAX_WEIGHT: u32 = 100;

/// One lane: a pipeline of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// `name`: lower-case letters, digits and `_`.
    pub name: String,
    /// Its queue: `[queue]` with the lane's own keys over it.
    pub queue: queue::Config,
    /// `weight`: its part of `[kafka] max_rate` beside the other lanes, 1 (default) to 100.
    pub weight: u32,
    /// `max_rate`: what this lane alone may send; default no limit.
    pub max_rate: Option<Rate>,
    /// It is written in the file.
    pub has_table: bool,
}

/// Checks all `[[lane]]` tables. The lane `default` is there without a table too.
pub(super) fn resolve(tables: Vec<RawLane>, base: &queue::Config, problems: &mut Problems<'_>) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let mut section = problems.section(format!("lane[{index}]"));
        let name = resolve_name(table.name.clone(), &lanes, &mut section);
        let weight = section.within("weight", table.weight, DEFAULT_WEIGHT, 1..=MAX_WEIGHT);
        let max_rate = sink::resolve_max_rate(table.max_rate, &mut section);
        let queue = queue::resolve(table.into_queue(), base, &mut section);
        lanes.push(Lane {
            name,
            queue,
            weight,
            max_rate,
            has_table: true,
        });
        if lanes.len() == MAX_LANES + 1 {
            section.error("", "is one lane too many", format!("{MAX_LANES} are the limit"));
        }
    }
    if !lanes.iter().any(|lane| lane.name == DEFAULT_LANE) {
        let name = DEFAULT_LANE.to_owned();
        let queue = base.clone();
        lanes.insert(
            0,
            Lane {
                name,
                queue,
                weight: DEFAULT_WEIGHT,
                max_rate: None,
                has_table: false,
            },
        );
    }
    lanes
}

fn resolve_name(name: Option<String>, earlier: &[Lane], section: &mut Section<'_, '_>) -> String {
    let right = "write for example name = \"alarms\"";
    let missing = name.is_none();
    let name = section.required("name", name, right).unwrap_or_default();
    if missing {
        return name;
    }
    if !is_name(&name) {
        let wrong = format!("{name:?} is not a name");
        let right = format!("use a to z, 0 to 9 and _, {MAX_NAME_LEN} characters at most");
        section.error("name", wrong, right);
    } else if earlier.iter().any(|lane| lane.name == name) {
        let wrong = format!("{name:?} is there already");
        section.error("name", wrong, "give each lane a name of its own");
    }
    name
}

/// Whether a lane may be called so.
pub(crate) fn is_name(text: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    (1..=MAX_NAME_LEN).contains(&text.len()) && text.chars().all(is_part)
}
