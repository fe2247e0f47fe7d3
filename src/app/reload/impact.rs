//! Which lanes a change of the configuration is about. Pure.

use std::collections::BTreeSet;

use crate::app::plan::Plan;
use crate::config::Config;
use crate::config::difference::{Difference, Takes};
use crate::queue;
use crate::route::{Config as Route, Mark};

/// A lane that runs.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub plan: &'a Plan,
    /// The routes whose messages it brings, or brought and may still have.
    pub interests: &'a [Mark],
    /// The brokers that it is connected to, or has a session with.
    pub brokers: &'a BTreeSet<String>,
}

/// The lanes that cannot go on as they are. The others carry nothing that the change is about: they neither have messages that a
/// changed route may want, nor another plan, nor a changed broker.
pub fn affected(
    old: &Config,
    new: &Config,
    difference: &Difference,
    lanes: &[Known<'_>],
    plans: &[Plan],
) -> BTreeSet<String> {
    let is_affected = |lane: &&Known<'_>| {
        let changes = difference.changes.iter();
        !is_planned(lane.plan, plans)
            || changes.map(|change| &change.takes).any(|takes| match takes {
                Takes::AllLanes => true,
                Takes::Broker(broker) => uses(lane, broker, old) || uses(lane, broker, new),
                Takes::Route { before, after } => {
                    let routes = [before, after].into_iter().flatten();
                    routes.into_iter().any(|route| concerns(lane, route))
                }
                Takes::Order => own(old, &lane.plan.name).ne(own(new, &lane.plan.name)),
                Takes::Restart(_)
                | Takes::Plans
                | Takes::Forwarding
                | Takes::Status(_)
                | Takes::Telling
                | Takes::Log => false,
            })
    };
    let affected = lanes.iter().filter(is_affected);
    affected.map(|lane| lane.plan.name.clone()).collect()
}

/// Whether the same is planned. A lane keeps its part of the memory while others come and go.
fn is_planned(running: &Plan, plans: &[Plan]) -> bool {
    let same_share = |plan: &Plan| Plan {
        queue: queue::Config {
            share: running.queue.share,
            ..plan.queue.clone()
        },
        ..plan.clone()
    };
    plans.iter().any(|plan| same_share(plan) == *running)
}

fn uses(lane: &Known<'_>, broker: &str, config: &Config) -> bool {
    lane.brokers.contains(broker) || own(config, &lane.plan.name).any(|route| route.takes(broker))
}

fn concerns(lane: &Known<'_>, route: &Route) -> bool {
    let mark = route.mark();
    route.lane == lane.plan.name || lane.interests.iter().any(|own| own.overlaps(&mark))
}

/// The routes of a lane, in their order.
fn own<'a>(config: &'a Config, lane: &'a str) -> impl Iterator<Item = &'a Route> {
    config.routes.iter().filter(move |route| route.lane == lane)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::queue::Share;

    const BASE: &str = "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nname = \"a\"\nurl = \"mqtt://127.0.0.1\"\n[[mqtt]]\n\
        name = \"b\"\nurl = \"mqtt://127.0.0.2\"\n[kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\n[[lane]]\nname = \"fast\"\n\
        [[route]]\nfrom = \"t/{device}\"\ntopic = \"t\"\nbroker = \"a\"\n[[route]]\nfrom = \"a/{device}\"\ntopic = \"a\"\n\
        lane = \"fast\"\nbroker = \"b\"\n";

    fn config(text: &str) -> Config {
        crate::config::parse(Path::new("test.toml"), text)
            .expect("valid")
            .0
    }

    fn plans(config: &Config, share: Share) -> Vec<Plan> {
        let lanes = config.lanes.iter().map(|lane| Plan {
            name: lane.name.clone(),
            queue: queue::Config {
                share,
                ..lane.queue.clone()
            },
            weight: lane.weight,
            max_rate: lane.max_rate,
            is_leaving: !config.routes.iter().any(|route| route.lane == lane.name),
        });
        lanes.collect()
    }

    /// The lanes of [`BASE`] that go another way with `text`.
    fn changed(text: &str) -> Vec<String> {
        let (old, new) = (config(BASE), config(text));
        let running = plans(&old, Share::of(1));
        let interests: Vec<Vec<Mark>> = running
            .iter()
            .map(|plan| own(&old, &plan.name).map(Route::mark).collect())
            .collect();
        let brokers = [["a", "old"], ["b", "b"]].map(|names| BTreeSet::from(names.map(str::to_owned)));
        let parts = running.iter().zip(&interests).zip(&brokers);
        let lanes: Vec<Known<'_>> = parts
            .map(|((plan, interests), brokers)| Known {
                plan,
                interests,
                brokers,
            })
            .collect();
        let difference = Difference::between(&old, &new);
        let affected = affected(&old, &new, &difference, &lanes, &plans(&new, Share::of(2)));
        affected.into_iter().collect()
    }

    #[test]
    fn a_lane_is_left_alone_by_what_is_not_about_it() {
        assert!(
            changed(BASE).is_empty(),
            "also when its part of the memory would be another"
        );
        let cases: [(&str, String, &[&str]); 9] = [
            ("log", format!("{BASE}[log]\nlevel = \"debug\"\n"), &[]),
            (
                "dead letters",
                format!("{BASE}[dead_letter]\ntopic = \"dead\"\n"),
                &[],
            ),
            (
                "a route beside",
                format!("{BASE}[[route]]\nfrom = \"x/{{device}}\"\ntopic = \"x\"\n"),
                &["default"],
            ),
            (
                "a route that gets the same messages",
                format!("{BASE}[[route]]\nfrom = \"+/{{device}}\"\ntopic = \"x\"\nlane = \"fast\"\n"),
                &["default", "fast"],
            ),
            (
                "another topic",
                BASE.replace("topic = \"a\"", "topic = \"b\""),
                &["fast"],
            ),
            (
                "kafka",
                BASE.replace("[kafka]", "[kafka]\ncompression = \"zstd\""),
                &["default", "fast"],
            ),
            ("a broker", BASE.replace("127.0.0.2", "127.0.0.3"), &["fast"]),
            (
                "a limit",
                BASE.replace("name = \"fast\"", "name = \"fast\"\nmax_bytes = \"32MiB\""),
                &["fast"],
            ),
            (
                "status",
                BASE.replace("name = \"b\"", "name = \"b\"\nstatus_topic = \"gw/{gateway}\""),
                &[],
            ),
        ];
        for (what, text, wanted) in cases {
            assert_eq!(changed(&text), wanted, "{what}");
        }
    }

    #[test]
    fn a_route_that_moves_is_about_both_lanes_and_another_order_about_none_of_one_route() {
        let moved = BASE.replace("lane = \"fast\"\nbroker = \"b\"", "broker = \"b\"");
        assert_eq!(changed(&moved), ["default", "fast"]);
        let (head, routes) = BASE.split_once("[[route]]").expect("has routes");
        let (first, second) = routes.split_once("[[route]]").expect("two");
        assert!(changed(&format!("{head}[[route]]{second}[[route]]{first}")).is_empty());
    }

    #[test]
    fn routes_of_a_lane_that_change_places_start_it_anew_also_where_a_route_of_another_lane_changes_too() {
        let more = "[[route]]\nfrom = \"u/{device}\"\ntopic = \"u\"\nbroker = \"a\"\n";
        let (head, routes) = BASE.split_once("[[route]]").expect("has routes");
        let (first, second) = routes.split_once("[[route]]").expect("two");
        let old = format!("{head}{more}[[route]]{first}[[route]]{second}");
        let other = second.replace("topic = \"a\"", "topic = \"b\"");
        let new = format!("{head}[[route]]{first}{more}[[route]]{other}");
        let difference = Difference::between(&config(&old), &config(&new));
        assert!(difference.takes(|takes| *takes == Takes::Order), "{difference}");
        let (old, new) = (config(&old), config(&new));
        assert!(own(&old, "default").ne(own(&new, "default")));
    }

    #[test]
    fn a_broker_that_comes_is_about_the_lanes_whose_routes_take_it() {
        let any = BASE.replace("broker = \"a\"\n", "");
        let new = format!("{any}[[mqtt]]\nname = \"c\"\nurl = \"mqtt://127.0.0.3\"\n");
        assert_eq!(changed(&new), ["default"]);
    }

    #[test]
    fn a_broker_that_comes_back_is_about_the_lane_that_has_a_session_with_it_although_no_route_takes_it() {
        let new = format!("{BASE}[[mqtt]]\nname = \"old\"\nurl = \"mqtt://127.0.0.3\"\n");
        assert_eq!(changed(&new), ["default"]);
    }
}
