//! Which routes a lane had: remembered beside its log, so that what it stored for a route goes out by it, also when the
//! route is another lane's by now.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files::replace;
use crate::message::Seq;
use crate::route::{Config, Former, Mark};

/// Name of the file in the lane's folder.
pub const FILE: &str = "routes.json";
/// Former routes remembered at most, the newest: a hundred times what a configuration has, so that a file that is changed
/// every day does not grow for ever.
const FORMER_MAX: usize = 1000;

/// What the file says.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The lane's own routes when it last ran.
    own: Vec<Mark>,
    former: Vec<Former>,
}

/// Where a lane's log stands.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    /// The last message it holds.
    pub tail: Seq,
    /// All up to here have gone.
    pub cursor: Seq,
}

/// The routes that `lane` had once and has no longer, and up to which message; remembered for the next start.
/// `assumed` are its routes of before when nothing is remembered.
pub fn former(folder: &Path, lane: &str, routes: &[Config], assumed: Vec<Mark>, reach: Reach) -> Vec<Former> {
    let path = folder.join(FILE);
    let kept = read(&path);
    let before = kept.clone().unwrap_or(Kept {
        own: assumed,
        former: Vec::new(),
    });
    let own: Vec<Mark> = routes
        .iter()
        .filter(|route| route.lane == lane)
        .map(Config::mark)
        .collect();
    let former = change(before, &own, routes, reach);
    let now = Kept { own, former };
    if kept.as_ref() != Some(&now) {
        let written = serde_json::to_vec_pretty(&now).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|json| replace(&path, &json)) {
            tracing::warn!(path = %path.display(), %error, "cannot note the lane's routes");
        }
    }
    now.former
}

/// A damaged file counts as missing.
fn read(path: &Path) -> Option<Kept> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn change(before: Kept, own: &[Mark], routes: &[Config], reach: Reach) -> Vec<Former> {
    let lost = before.own.into_iter().map(|mark| Former {
        mark,
        through: reach.tail,
    });
    let mut former: Vec<Former> = Vec::new();
    // The newest first: a route that moved away twice counts up to the second time.
    for candidate in lost.chain(before.former) {
        let is_known = former.iter().any(|known| known.mark == candidate.mark);
        let matters =
            candidate.through > reach.cursor || routes.iter().any(|route| route.mark() == candidate.mark);
        if !is_known && matters && !own.contains(&candidate.mark) {
            former.push(candidate);
        }
    }
    former.truncate(FORMER_MAX);
    former
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(alarm_lane: &str) -> Vec<Config> {
        let text = format!(
            "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n[kafka]\n\
             bootstrap_servers = [\"127.0.0.1:9092\"]\n[[lane]]\nname = \"alarms\"\n[[route]]\nfrom = \"t/{{device}}\"\n\
             topic = \"t\"\n[[route]]\nfrom = \"a/{{device}}\"\ntopic = \"a\"\nlane = \"{alarm_lane}\"\n"
        );
        let (config, _) = crate::config::parse(Path::new("test.toml"), &text).expect("valid");
        config.routes
    }

    fn reach(cursor: u64, tail: u64) -> Reach {
        Reach {
            tail: Seq(tail),
            cursor: Seq(cursor),
        }
    }

    fn through(former: &[Former]) -> Vec<(&str, u64)> {
        let pairs = former.iter();
        pairs
            .map(|former| (former.mark.filter.as_str(), former.through.0))
            .collect()
    }

    #[test]
    fn a_route_that_moves_away_is_the_lanes_own_up_to_what_it_had_stored() {
        let dir = tempfile::tempdir().expect("temp dir");
        let start = |alarm_lane: &str, cursor, tail| {
            former(
                dir.path(),
                "default",
                &routes(alarm_lane),
                Vec::new(),
                reach(cursor, tail),
            )
        };
        assert_eq!(through(&start("default", 0, 10)), []);
        assert_eq!(through(&start("alarms", 5, 20)), [("a/+", 20)]);
        assert_eq!(
            through(&start("alarms", 5, 30)),
            [("a/+", 20)],
            "it stays at that"
        );
        assert_eq!(through(&start("default", 5, 30)), [], "it came back");
        assert_eq!(through(&start("alarms", 5, 40)), [("a/+", 40)]);
    }

    #[test]
    fn a_route_that_left_the_file_is_forgotten_when_its_messages_have_gone() {
        let dir = tempfile::tempdir().expect("temp dir");
        let start = |count, cursor, tail| {
            let routes: Vec<Config> = routes("default").into_iter().take(count).collect();
            former(dir.path(), "default", &routes, Vec::new(), reach(cursor, tail))
        };
        start(2, 0, 10);
        assert_eq!(through(&start(1, 5, 20)), [("a/+", 20)]);
        assert_eq!(through(&start(1, 20, 20)), []);
    }

    #[test]
    fn a_store_without_the_file_is_taken_to_have_had_what_is_assumed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let routes = routes("alarms");
        let assumed = routes.iter().map(Config::mark).collect();
        let former = former(dir.path(), "default", &routes, assumed, reach(0, 7));
        assert_eq!(through(&former), [("a/+", 7)]);
    }
}
