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
    /// Those of the other lanes then. `None`: noted before that was remembered.
    #[serde(default)]
    others: Option<Vec<Mark>>,
}

/// Where a lane's log stands.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    /// The last message it holds.
    pub tail: Seq,
    /// All up to here have gone.
    pub cursor: Seq,
}

/// The routes that `lane` brought messages of and does no longer, and up to which message; remembered for the next start.
/// `assumed` are its routes of before when nothing is remembered.
pub fn former(folder: &Path, lane: &str, routes: &[Config], assumed: Vec<Mark>, reach: Reach) -> Vec<Former> {
    let path = folder.join(FILE);
    let kept = read(&path);
    let before = kept.clone().unwrap_or(Kept {
        own: assumed,
        ..Kept::default()
    });
    let now = change(&before, lane, routes, reach);
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

fn change(before: &Kept, lane: &str, routes: &[Config], reach: Reach) -> Kept {
    let (own, others): (Vec<&Config>, Vec<&Config>) = routes.iter().partition(|route| route.lane == lane);
    let own: Vec<Mark> = own.into_iter().map(Config::mark).collect();
    let others: Vec<Mark> = others.into_iter().map(Config::mark).collect();
    let lost = unpaired(&before.own, &own);
    let come = come(before, &others, routes);
    let newest = lost.into_iter().chain(come).map(|mark| Former {
        mark,
        through: reach.tail,
    });
    let mut former: Vec<Former> = Vec::new();
    // The newest first: a route that moved away twice counts up to the second time.
    for candidate in newest
        .chain(edited(before, &others))
        .chain(before.former.iter().cloned())
    {
        let is_known = former.iter().any(|known| known.mark.is(&candidate.mark));
        let matters =
            candidate.through > reach.cursor || routes.iter().any(|route| candidate.mark.is(&route.mark()));
        if !is_known && matters && !own.contains(&candidate.mark) {
            former.push(candidate);
        }
    }
    former.truncate(FORMER_MAX);
    Kept {
        own,
        former,
        others: Some(others),
    }
}

/// Former routes that were edited in their new lane since: what waits here for the one is the other's. So it is too when a
/// later version only writes the same route in other words.
fn edited(before: &Kept, others: &[Mark]) -> Vec<Former> {
    let known = before.others.as_deref().unwrap_or_default();
    let edited: Vec<&Mark> = others.iter().filter(|mark| !known.contains(mark)).collect();
    let is_there = |former: &&Former| others.iter().any(|mark| former.mark.is(mark));
    let gone = before.former.iter().filter(|former| !is_there(former));
    let heirs = gone.flat_map(|former| {
        let of_its_filter = edited.iter().filter(|mark| former.mark.has_the_filter_of(mark));
        of_its_filter.map(|mark| Former {
            mark: (*mark).clone(),
            through: former.through,
        })
    });
    heirs.collect()
}

/// Which of `marks` have no counterpart among `others`. A route that was edited is the counterpart of one with its filter.
fn unpaired(marks: &[Mark], others: &[Mark]) -> Vec<Mark> {
    let mut left: Vec<&Mark> = others.iter().collect();
    let mut alone: Vec<&Mark> = marks.iter().collect();
    for is_pair in [Mark::eq, Mark::has_the_filter_of] {
        alone.retain(|mark| {
            let place = left.iter().position(|one| is_pair(mark, one));
            place.map(|place| left.swap_remove(place)).is_none()
        });
    }
    alone.into_iter().cloned().collect()
}

/// Routes that came to another lane, by a move or anew, while this one brought messages of their filter: the other lane has no
/// copy of what is stored here. One that moved between two others is their affair.
fn come(before: &Kept, others: &[Mark], routes: &[Config]) -> Vec<Mark> {
    // Before `when` and `match` a lane's own routes made something of all that came for them: nothing was left for others.
    if before.others.is_none() && !routes.iter().any(Config::is_choosy) {
        return Vec::new();
    }
    let known = before.others.as_deref().unwrap_or_default();
    // One that was ours is no edited one of theirs.
    let moved = others
        .iter()
        .filter(|mark| before.own.contains(mark) && !known.contains(mark));
    let mut come: Vec<Mark> = moved.cloned().chain(unpaired(others, known)).collect();
    let formers = before.former.iter().map(|former| &former.mark);
    let brought: Vec<&Mark> = before.own.iter().chain(formers).collect();
    come.retain(|mark| brought.iter().any(|brought| brought.overlaps(mark)));
    come
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

    /// A lane `default` whose file has these routes: lane and the rest of the table.
    fn file(tables: &[(&str, &str)]) -> Vec<Config> {
        let mut text = "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n[kafka]\n\
             bootstrap_servers = [\"127.0.0.1:9092\"]\n[[lane]]\nname = \"fast\"\n[[lane]]\nname = \"slow\"\n[[route]]\n\
             lane = \"fast\"\nfrom = \"anchor/{device}\"\ntopic = \"a\"\n[[route]]\nlane = \"slow\"\nfrom = \"anchor/{device}\"\n\
             topic = \"b\"\n"
            .to_owned();
        for (lane, table) in tables {
            text.push_str(&["[[route]]\nlane = \"", lane, "\"\n", table, "\n"].concat());
        }
        let (config, _) = crate::config::parse(Path::new("test.toml"), &text).expect("valid");
        config.routes
    }

    const ALL: &str = "from = \"d/{device}/{kind}\"\ntopic = \"all\"";
    const ALARMS: &str =
        "from = \"d/{device}/{kind}\"\ntopic = \"all\"\nwhen = [{ value = \"kind\", equals = \"alarm\" }]";
    const OTHERS: &str = "from = \"d/{device}/{kind}\"\ntopic = \"all\"\nwhen = [{ value = \"kind\", not = true, equals = \"alarm\" }]";
    const EDITED: &str =
        "from = \"d/{device}/{kind}\"\ntopic = \"alarms\"\nwhen = [{ value = \"kind\", equals = \"alarm\" }]";
    const NARROW: &str = "from = \"d/{device}/alarm\"\ntopic = \"alarms\"";

    /// What lane `default` has of each file in turn, its log longer by 10 each time.
    fn starts(files: &[&[(&str, &str)]]) -> Vec<Former> {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut last = Vec::new();
        for (tables, tail) in files.iter().zip((10..).step_by(10)) {
            last = former(dir.path(), "default", &file(tables), Vec::new(), reach(0, tail));
        }
        last
    }

    #[test]
    fn a_route_that_is_split_over_two_lanes_is_former_for_what_waits() {
        let former = starts(&[&[("default", ALL)], &[("default", OTHERS), ("fast", ALARMS)]]);
        let routes = file(&[("fast", ALARMS)]);
        assert_eq!(
            former,
            [Former {
                mark: routes[2].mark(),
                through: Seq(20)
            }]
        );
        let narrow = starts(&[&[("default", ALL)], &[("default", OTHERS), ("fast", NARROW)]]);
        assert_eq!(
            through(&narrow),
            [("d/+/alarm", 20)],
            "also one with a narrower filter"
        );
    }

    #[test]
    fn of_two_routes_with_one_filter_the_one_that_moves_is_former_although_the_other_stays() {
        let former = starts(&[
            &[("default", OTHERS), ("default", ALARMS)],
            &[("default", OTHERS), ("fast", ALARMS)],
        ]);
        let routes = file(&[("fast", ALARMS)]);
        assert_eq!(former.len(), 1);
        assert!(former[0].mark == routes[2].mark() && former[0].through == Seq(20));
    }

    #[test]
    fn what_is_edited_or_moves_between_other_lanes_is_not_former() {
        let split: &[(&str, &str)] = &[("default", OTHERS), ("fast", ALARMS)];
        assert_eq!(starts(&[split, split]), [], "nothing changed");
        assert_eq!(
            starts(&[split, &[("default", ALL), ("fast", ALARMS)]]),
            [],
            "edited here"
        );
        assert_eq!(
            starts(&[split, &[("default", OTHERS), ("fast", ALL)]]),
            [],
            "edited there"
        );
        assert_eq!(
            starts(&[split, &[("default", OTHERS), ("slow", ALARMS)]]),
            [],
            "moved there"
        );
    }

    #[test]
    fn what_waits_for_a_route_that_moved_waits_for_it_also_when_it_is_edited_there() {
        let all: &[(&str, &str)] = &[("default", ALL)];
        let split: &[(&str, &str)] = &[("default", OTHERS), ("fast", ALARMS)];
        let edited: &[(&str, &str)] = &[("default", OTHERS), ("fast", EDITED)];
        let route = file(edited)
            .into_iter()
            .find(|route| route.lane == "fast" && route.from.filter() == "d/+/+")
            .expect("it is there");
        let former = starts(&[all, split, edited]);
        let heir = former.iter().find(|former| former.mark.is(&route.mark()));
        assert_eq!(heir.map(|heir| heir.through), Some(Seq(20)), "{former:?}");
        // And the one after it.
        let former = starts(&[all, split, edited, split]);
        let route = &file(&split[1..])[2];
        let heir = former.iter().find(|former| former.mark.is(&route.mark()));
        assert_eq!(heir.map(|heir| heir.through), Some(Seq(20)), "{former:?}");
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read_and_a_split_at_the_same_start_loses_nothing() {
        let dir = tempfile::tempdir().expect("temp dir");
        let old = r#"{"own":[{"filter":"d/+/+","broker":null}],"former":[{"mark":{"filter":"x/+","broker":null},"through":7}]}"#;
        std::fs::write(dir.path().join(FILE), old).expect("writes");
        let start = |tables: &[(&str, &str)]| {
            let former = former(dir.path(), "default", &file(tables), Vec::new(), reach(0, 20));
            through(&former)
                .into_iter()
                .map(|(filter, through)| (filter.to_owned(), through))
                .collect::<Vec<_>>()
        };
        let x = ("x/+".to_owned(), 7);
        assert_eq!(
            start(&[("default", OTHERS), ("fast", ALARMS)]),
            [("d/+/+".to_owned(), 20), x.clone()]
        );
        std::fs::write(dir.path().join(FILE), old).expect("writes");
        assert_eq!(
            start(&[("default", ALL), ("fast", NARROW)]),
            [x],
            "without any filter nothing can be skipped"
        );
    }
}
