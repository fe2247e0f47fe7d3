//! Which filters a broker is asked for: derived from the routes, none covered by another.

use crate::route::{self, pattern::covers};
use crate::source::{self, Subscription};

/// The subscriptions that `routes` need on `broker`, in route order. A filter that another one covers is not
/// subscribed to itself: the broker would send a copy for each.
pub fn derive(routes: &[route::Config], broker: &source::Config) -> Vec<Subscription> {
    let mut wanted: Vec<Subscription> = Vec::new();
    for route in routes.iter().filter(|route| route.takes(&broker.name)) {
        let filter = route.from.filter();
        if let Some(known) = wanted.iter_mut().find(|known| covers(&known.filter, &filter)) {
            known.qos = known.qos.max(route.qos);
        } else {
            let covered = wanted.extract_if(.., |known| covers(&filter, &known.filter));
            let qos = covered.map(|known| known.qos).fold(route.qos, Ord::max);
            wanted.push(Subscription { filter, qos });
        }
    }
    wanted
}
