//! Which filters a broker is asked for: derived from the routes, none covered by another.

use xxhash_rust::xxh3::xxh3_64;

use crate::filter::{covers, overlaps, shared};
use crate::route::{self, Retained};
use crate::source::{self, RetainHandling, Subscription, Version};

/// The largest subscription identifier (MQTT 5, 3.8.2.1.2).
const MAX_ID: u64 = 268_435_455;

/// The subscriptions that the routes of `lane` need on `broker`, in route order. A filter that another one covers is
/// not subscribed to itself: the broker would send a copy for each.
pub fn derive(routes: &[route::Config], lane: &str, broker: &source::Config) -> Vec<Subscription> {
    let mut wanted = combine(routes.iter().filter(|route| route.lane == lane), broker);
    match &broker.shared_group {
        Some(group) => {
            for wanted in &mut wanted {
                wanted.filter = shared(group, &wanted.filter);
            }
        }
        None if broker.version == Version::V5 => identify(&mut wanted),
        None => {}
    }
    wanted
}

/// Gives identifiers to the filters that overlap with another one: made of the filter, so that a message which the broker has
/// queued is for the same subscription after a restart and under other routes. Two with the same one (once in 10^8) get none.
fn identify(wanted: &mut [Subscription]) {
    let filters: Vec<String> = wanted.iter().map(|wanted| wanted.filter.clone()).collect();
    let id_of = |filter: &str| u32::try_from(xxh3_64(filter.as_bytes()) % MAX_ID + 1).ok();
    for wanted in wanted {
        let mut others = filters.iter().filter(|other| **other != wanted.filter);
        let id = id_of(&wanted.filter);
        let is_partner = |other: &&String| overlaps(other, &wanted.filter);
        wanted.id = id.filter(|_| others.clone().any(|other| is_partner(&other)));
        if others.any(|other| id_of(other) == id) {
            wanted.id = None;
        }
    }
}

/// The same for all routes, as if there were one lane, and no group that shares them.
pub fn derive_all(routes: &[route::Config], broker: &source::Config) -> Vec<Subscription> {
    combine(routes.iter(), broker)
}

fn combine<'a>(
    routes: impl Iterator<Item = &'a route::Config>,
    broker: &source::Config,
) -> Vec<Subscription> {
    let mut wanted: Vec<Subscription> = Vec::new();
    for route in routes.filter(|route| route.takes(&broker.name)) {
        let filter = route.from.filter();
        if let Some(known) = wanted.iter_mut().find(|known| covers(&known.filter, filter)) {
            known.qos = known.qos.max(route.qos);
            known.retain = either(known.retain, retain_of(route));
        } else {
            let covered: Vec<Subscription> = wanted
                .extract_if(.., |known| covers(filter, &known.filter))
                .collect();
            let qos = covered.iter().map(|known| known.qos).fold(route.qos, Ord::max);
            let retain = covered.iter().map(|known| known.retain);
            let retain = retain.fold(retain_of(route), either);
            wanted.push(Subscription {
                filter: filter.to_owned(),
                qos,
                retain,
                id: None,
            });
        }
    }
    wanted
}

/// What a route needs of retained messages.
fn retain_of(route: &route::Config) -> RetainHandling {
    match route.retained {
        Retained::Skip => RetainHandling::Never,
        Retained::Forward | Retained::Mark => RetainHandling::OnNewSubscription,
    }
}

/// What two routes behind one filter need.
fn either(one: RetainHandling, other: RetainHandling) -> RetainHandling {
    match (one, other) {
        (RetainHandling::Never, RetainHandling::Never) => RetainHandling::Never,
        _ => RetainHandling::OnNewSubscription,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(routes: &[(&str, u8)], expected: &[(&str, u8)]) {
        check_with("", routes, expected);
    }

    fn check_with(mqtt: &str, routes: &[(&str, u8)], expected: &[(&str, u8)]) {
        let head = format!(
            "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n{mqtt}\n\
             [kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\n"
        );
        let tables = routes.iter().enumerate().map(|(number, (from, qos))| {
            format!("[[route]]\nfrom = \"{from}\"\ntopic = \"t{number}\"\nqos = {qos}\n")
        });
        let text = format!("{head}{}", tables.collect::<Vec<_>>().concat());
        let (config, _) = crate::config::parse(Path::new("test.toml"), &text).expect("valid");
        let wanted = derive(&config.routes, "default", &config.brokers[0]);
        assert!(derive(&config.routes, "other", &config.brokers[0]).is_empty());
        let wanted: Vec<_> = wanted
            .iter()
            .map(|one| (one.filter.as_str(), one.qos as u8))
            .collect();
        assert_eq!(wanted, expected);
    }

    #[test]
    fn a_filter_that_another_covers_is_not_subscribed_to_and_raises_its_qos() {
        check(&[("a/{device}", 1), ("b/{device}", 1)], &[("a/+", 1), ("b/+", 1)]);
        check(
            &[("a/{device}/t", 1), ("a/{device}/{rest...}", 0)],
            &[("a/+/#", 1)],
        );
        check(
            &[("a/{device}/{rest...}", 0), ("a/{device}/t", 1)],
            &[("a/+/#", 1)],
        );
    }

    #[test]
    fn retained_messages_are_asked_for_unless_every_route_behind_the_filter_skips_them() {
        let (never, new) = (RetainHandling::Never, RetainHandling::OnNewSubscription);
        assert_eq!(
            (either(never, never), either(never, new), either(new, never)),
            (never, new, new)
        );
    }

    #[test]
    fn overlapping_filters_have_identifiers_with_mqtt_5_alone() {
        let mut wanted = ["a/+", "+/b", "c/d"].map(Subscription::for_test);
        identify(&mut wanted);
        let ids = wanted.each_ref().map(|wanted| wanted.id);
        assert!(ids[0].is_some() && ids[1].is_some() && ids[0] != ids[1] && ids[2].is_none());
    }

    #[test]
    fn a_group_shares_every_filter() {
        let wanted = [("$share/plant/a/+", 1), ("$share/plant/b/+", 1)];
        check_with(
            "shared_group = \"plant\"",
            &[("a/{device}", 1), ("b/{device}", 1)],
            &wanted,
        );
    }
}
