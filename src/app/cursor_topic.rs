//! Which topic carries a lane's cursor when it delivers exactly once: remembered beside the log, because a cursor that is looked
//! for in another place is not found.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::files::replace;

/// Name of the file in the lane's folder.
pub const FILE: &str = "cursor-topics.json";
/// Places remembered at most, the newest first: somebody who changes the setting more often has had time to commit in between.
const REMEMBERED_MAX: usize = 8;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// The first is in use, the others were.
    topics: Vec<String>,
}

/// The topics to look for the lane's cursor in, the one to write it to first; empty when there is none. Remembered for the next
/// start.
pub fn cursor_topics(folder: &Path, lane: &str, config: &Config) -> Vec<String> {
    let path = folder.join(FILE);
    let known = read(&path);
    let topics = choose(
        &known,
        config.kafka.cursor_topic.as_deref(),
        first_static(lane, config),
    );
    if topics != known {
        let written = serde_json::to_vec_pretty(&Kept {
            topics: topics.clone(),
        })
        .map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|json| replace(&path, &json)) {
            tracing::warn!(path = %path.display(), %error, "cannot note the lane's cursor topic");
        }
    }
    topics
}

/// What is configured, else what is remembered, else the default.
fn choose(known: &[String], configured: Option<&str>, default: Option<String>) -> Vec<String> {
    let remembered = known.first().cloned();
    let Some(first) = configured.map(str::to_owned).or(remembered).or(default) else {
        return Vec::new();
    };
    let others = known.iter().filter(|topic| **topic != first).cloned();
    std::iter::once(first.clone())
        .chain(others)
        .take(REMEMBERED_MAX)
        .collect()
}

/// The lane's first fixed topic; of a lane that no route uses, the first of all.
fn first_static(lane: &str, config: &Config) -> Option<String> {
    let is_static = |route: &&crate::route::Config| route.topic.is_static();
    let mut routes = config.routes.iter().filter(is_static);
    let own = routes.clone().find(|route| route.lane == lane);
    own.or_else(|| routes.next()).map(|route| route.topic.to_string())
}

/// A damaged file counts as missing: the default is most likely what it said.
fn read(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let kept: Kept = serde_json::from_slice(&bytes).unwrap_or_default();
    kept.topics
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(known: &[&str], configured: Option<&str>, default: Option<&str>) -> Vec<String> {
        let known: Vec<String> = known.iter().map(|topic| (*topic).to_owned()).collect();
        choose(&known, configured, default.map(str::to_owned))
    }

    #[test]
    fn the_cursor_stays_where_it_was_unless_the_file_says_otherwise() {
        assert_eq!(chosen(&[], None, Some("a")), ["a"]);
        assert_eq!(chosen(&["a"], None, Some("b")), ["a"], "another route came first");
        assert_eq!(chosen(&["a"], Some("c"), Some("a")), ["c", "a"]);
        assert_eq!(chosen(&["c", "a"], Some("a"), None), ["a", "c"]);
        assert!(chosen(&[], None, None).is_empty());
    }
}
