//! Who delivers, and who is in trouble: counters of routes, and of devices within a bound. Since the lane was opened: a
//! reload that opens it anew begins them anew.
//!
//! There may be more devices than fit into memory, so the busiest are found by the space-saving algorithm (Metwally, Agrawal,
//! El Abbadi: Efficient computation of frequent and top-k elements in data streams, 2005). `DEVICES` devices have a counter. A
//! device without one takes over the smallest, and remembers what it took over as its possible error. So of `N` records in all:
//! every device with more than `N / DEVICES` is among them, no error is larger than that, and what is said of a device, its
//! counter less its error, is never more than it had. As long as no more than `DEVICES` devices were seen all is exact.
//!
//! Every record counts here, on the thread that feeds Kafka, so a device without a counter must not have all of them searched. Those
//! that stand lowest are listed, and the list is made anew only when it is used up: then the lowest stands higher than before. `N`
//! records bring it to `N / DEVICES` at most, and each list looks at `DEVICES` counters: one look a record at most, whoever sends.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::route::Router;

/// Devices with a counter: four times what a page shows of a plant, some 100 bytes each.
const DEVICES: usize = 256;
/// Devices in trouble that are remembered, the latest: what fits on a screen.
const TROUBLED: usize = 32;
/// A name is kept up to this length, bytes: a key may be as long as a payload. Devices whose names begin with the same so many
/// bytes count as one.
const NAME_BYTES_MAX: usize = 128;
/// What is kept of a reason, bytes.
const REASON_BYTES_MAX: usize = 200;

/// Places of a lane's own routes, by their numbers in the file.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<usize, usize>);

impl Places {
    /// Of the lane's own routes in file order.
    pub(super) fn of(router: &Router) -> Self {
        let own = router.names().into_iter().enumerate();
        Self(own.map(|(place, (number, _))| (number, place)).collect())
    }

    /// `None` for a route that is not the lane's own, or not any more.
    pub(super) fn get(&self, number: usize) -> Option<usize> {
        self.0.get(&number).copied()
    }
}

/// One record of a message: which route made it, with which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    /// Its place among the lane's own routes. Numbers in the file shift when routes of other lanes come and go, without a new start of
    /// this lane; its own routes and their order do not.
    pub(super) route: Option<usize>,
    pub(super) device: Box<str>,
}

impl Share {
    pub(super) fn new(route: Option<usize>, device: &str) -> Self {
        Self {
            route,
            device: cut(device, NAME_BYTES_MAX).into(),
        }
    }
}

/// What became of a message that the cursor passes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fates {
    /// Records that Kafka confirmed.
    pub(super) delivered: Vec<Share>,
    /// Why it is a dead letter, if it is.
    pub(super) refused: Option<Refused>,
}

/// Why a message is a dead letter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Routes that refused it, each once, by their places among the lane's own.
    pub(super) routes: Vec<usize>,
    /// Its device; its MQTT topic where no key could be made.
    pub(super) device: Box<str>,
    /// The first reason.
    pub(super) why: String,
}

impl Refused {
    pub(super) fn new(mut routes: Vec<usize>, device: &str, why: &str) -> Self {
        routes.sort_unstable();
        routes.dedup();
        Self {
            routes,
            device: cut(device, NAME_BYTES_MAX).into(),
            why: cut(why, REASON_BYTES_MAX).to_owned(),
        }
    }
}

fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

/// The numbers of one route or device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Records confirmed by Kafka.
    pub delivered: u64,
    /// Messages kept as dead letters.
    pub dead_lettered: u64,
    /// When the last of them was kept, milliseconds since 1970, and why.
    pub trouble: Option<(i64, String)>,
}

/// A device and its numbers.
pub type Named = (String, Tally);

/// All tallies of a lane.
#[derive(Debug, Default)]
pub struct Tallies {
    records: u64,
    routes: BTreeMap<usize, Tally>,
    /// Places in `counters`, by device.
    places: HashMap<Arc<str>, usize>,
    /// [`DEVICES`] at most.
    counters: Vec<Counter>,
    lowest: Lowest,
    /// The latest last.
    troubled: VecDeque<Named>,
}

/// Counters that stood at `count` when they were looked for, and all that still do are among them.
#[derive(Debug, Default)]
struct Lowest {
    count: u64,
    places: Vec<usize>,
}

#[derive(Debug)]
struct Counter {
    device: Arc<str>,
    count: u64,
    /// How much of it may be another device's.
    error: u64,
}

impl Tallies {
    pub(super) fn note(&mut self, fates: Fates, unix_ms: i64) {
        for share in fates.delivered {
            self.records = self.records.saturating_add(1);
            if let Some(route) = share.route {
                self.routes.entry(route).or_default().delivered += 1;
            }
            self.count(&share.device);
        }
        if let Some(refused) = fates.refused {
            self.refuse(refused, unix_ms);
        }
    }

    fn count(&mut self, device: &str) {
        if let Some(counter) = self
            .places
            .get(device)
            .and_then(|place| self.counters.get_mut(*place))
        {
            counter.count += 1;
            return;
        }
        let device: Arc<str> = device.into();
        if self.counters.len() < DEVICES {
            self.places.insert(Arc::clone(&device), self.counters.len());
            self.counters.push(Counter {
                device,
                count: 1,
                error: 0,
            });
        } else if let Some(place) = self.lowest.take(&self.counters)
            && let Some(counter) = self.counters.get_mut(place)
        {
            self.places.remove(&counter.device);
            self.places.insert(Arc::clone(&device), place);
            *counter = Counter {
                device,
                count: counter.count + 1,
                error: counter.count,
            };
        }
    }

    fn refuse(&mut self, refused: Refused, unix_ms: i64) {
        let Refused { routes, device, why } = refused;
        for route in routes {
            let tally = self.routes.entry(route).or_default();
            tally.dead_lettered += 1;
            tally.trouble = Some((unix_ms, why.clone()));
        }
        let place = self.troubled.iter().position(|(name, _)| **name == *device);
        let known = place.and_then(|place| self.troubled.remove(place));
        let (name, mut tally) = known.unwrap_or_else(|| (device.into(), Tally::default()));
        tally.dead_lettered += 1;
        tally.trouble = Some((unix_ms, why));
        self.troubled.push_back((name, tally));
        if self.troubled.len() > TROUBLED {
            self.troubled.pop_front();
        }
    }

    /// Of a route, by its place among the lane's own.
    #[must_use]
    pub fn route(&self, place: usize) -> Tally {
        self.routes.get(&place).cloned().unwrap_or_default()
    }

    /// The devices that deliver most, the busiest first.
    #[must_use]
    pub fn busiest(&self, count: usize) -> Vec<Named> {
        let each = self.counters.iter();
        let mut all: Vec<(&str, u64)> = each
            .map(|counter| (&*counter.device, counter.at_least()))
            .collect();
        all.sort_unstable_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
        all.truncate(count);
        let with_trouble = |(name, delivered): (&str, u64)| {
            let known = self.troubled.iter().find(|(troubled, _)| troubled == name);
            let tally = known.map(|(_, tally)| tally.clone()).unwrap_or_default();
            (name.to_owned(), Tally { delivered, ..tally })
        };
        all.into_iter().map(with_trouble).collect()
    }

    /// The devices that had a dead letter, the latest first.
    #[must_use]
    pub fn troubled(&self, count: usize) -> Vec<Named> {
        let latest = self.troubled.iter().rev().take(count).cloned();
        let with_delivered = |(name, tally): Named| {
            let delivered = self.of(&name);
            (name, Tally { delivered, ..tally })
        };
        latest.map(with_delivered).collect()
    }

    /// What share of all records the busiest device has, at least; `None` before the first.
    #[must_use]
    pub fn busiest_share(&self) -> Option<f64> {
        let most = self.counters.iter().map(Counter::at_least).max()?;
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        let share = most as f64 / self.records.max(1) as f64;
        Some(share)
    }

    /// Records that a device certainly had.
    fn of(&self, device: &str) -> u64 {
        let place = self.places.get(device);
        let counter = place.and_then(|place| self.counters.get(*place));
        counter.map_or(0, Counter::at_least)
    }
}

impl Counter {
    /// Records that the device certainly had.
    const fn at_least(&self) -> u64 {
        self.count - self.error
    }
}

impl Lowest {
    /// The place of one of the lowest counters, which is about to be raised. `None` when there is no counter.
    fn take(&mut self, counters: &[Counter]) -> Option<usize> {
        let stands = |place: &usize| {
            counters
                .get(*place)
                .is_some_and(|counter| counter.count == self.count)
        };
        // Those that were raised meanwhile are not among the lowest any more.
        while let Some(place) = self.places.pop() {
            if stands(&place) {
                return Some(place);
            }
        }
        self.count = counters.iter().map(|counter| counter.count).min()?;
        let all = counters.iter().enumerate();
        let lowest = all.filter(|(_, counter)| counter.count == self.count);
        self.places.extend(lowest.map(|(place, _)| place));
        self.places.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(route: usize, device: &str) -> Fates {
        Fates {
            delivered: vec![Share::new(Some(route), device)],
            refused: None,
        }
    }

    fn refused(device: &str, why: &str) -> Fates {
        Fates {
            delivered: Vec::new(),
            refused: Some(Refused::new(vec![1, 1], device, why)),
        }
    }

    #[test]
    fn few_devices_are_counted_exactly() {
        let mut tallies = Tallies::default();
        assert_eq!(tallies.busiest_share(), None);
        for (device, count) in [("a", 1), ("b", 5), ("c", 2)] {
            for _ in 0..count {
                tallies.note(delivered(0, device), 0);
            }
        }
        tallies.note(refused("a", "no JSON"), 7);
        let names: Vec<(String, u64)> = tallies
            .busiest(2)
            .into_iter()
            .map(|(name, tally)| (name, tally.delivered))
            .collect();
        assert_eq!(names, [("b".to_owned(), 5), ("c".to_owned(), 2)]);
        assert_eq!(tallies.busiest_share(), Some(0.625));
        assert_eq!(tallies.route(0).delivered, 8);
        let trouble = Some((7, "no JSON".to_owned()));
        let tally = Tally {
            delivered: 0,
            dead_lettered: 1,
            trouble,
        };
        assert_eq!(tallies.route(1), tally, "one message, whatever its reasons");
        assert_eq!(
            tallies.troubled(9),
            [(
                "a".to_owned(),
                Tally {
                    delivered: 1,
                    ..tally
                }
            )]
        );
    }

    #[test]
    fn of_any_number_of_devices_the_busy_ones_are_found_and_none_is_said_to_have_more_than_it_had() {
        let mut tallies = Tallies::default();
        let rounds = 40_000_u64;
        let (mut busy, mut all) = (0, 0);
        for round in 0..rounds {
            // Every 50th record is of one device, all others are of devices that come once.
            let device = if round % 50 == 0 {
                busy += 1;
                "busy".to_owned()
            } else {
                format!("once-{round}")
            };
            tallies.note(delivered(0, &device), 0);
            all += 1;
        }
        assert_eq!((tallies.counters.len(), tallies.places.len()), (DEVICES, DEVICES));
        // What one device takes over from another is not lost, so every record is in one counter.
        assert_eq!(
            tallies.counters.iter().map(|counter| counter.count).sum::<u64>(),
            rounds
        );
        assert!(tallies.lowest.count <= rounds / DEVICES as u64);
        let found = tallies.busiest(1);
        let (name, tally) = found.first().expect("there is one");
        assert_eq!(name, "busy");
        assert!(tally.delivered <= busy, "{} of {busy}", tally.delivered);
        assert!(
            tally.delivered + all / DEVICES as u64 >= busy,
            "{} of {busy}",
            tally.delivered
        );
        let once = tallies
            .counters
            .iter()
            .filter(|counter| &*counter.device != "busy");
        assert!(once.map(Counter::at_least).all(|count| count <= 1));
    }

    #[test]
    fn the_counter_that_is_taken_over_is_always_one_of_the_lowest() {
        let mut tallies = Tallies::default();
        // A fixed sequence (Knuth's MMIX generator): many devices, some of them often.
        let mut state = 1_u64;
        for _ in 0..50_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let (low, high) = (state >> 33 & 0x3ff, state >> 45 & 0x1f);
            let device = if low < 300 {
                format!("often-{high}")
            } else {
                format!("d{low}-{high}")
            };
            let lowest = tallies.counters.iter().map(|counter| counter.count).min();
            let is_known = tallies.places.contains_key(&*device);
            tallies.note(delivered(0, &device), 0);
            let counter = &tallies.counters[tallies.places[&*device]];
            assert_eq!(&*counter.device, device);
            if !is_known && counter.error > 0 {
                assert_eq!(Some(counter.error), lowest);
            }
        }
    }

    /// Run it by `cargo test --release --lib sink::tally -- --ignored --nocapture`. The figure is in docs/benchmarks.md.
    #[test]
    #[ignore = "a measurement; it judges nothing"]
    fn what_a_record_costs() {
        for devices in [100, 256, 1_000, 10_000, 100_000] {
            let names: Vec<String> = (0..devices)
                .map(|number| format!("plant-7/device-{number}"))
                .collect();
            let records = 1_000_000;
            let mut tallies = Tallies::default();
            let began = std::time::Instant::now();
            for number in 0..records {
                // All in turn, which is the worst: whoever comes has just lost its counter.
                let name = &names[number % devices];
                tallies.note(delivered(0, name), 0);
            }
            let each = began.elapsed().as_nanos() / records as u128;
            eprintln!("{devices} devices: {each} ns a record");
        }
    }

    #[test]
    fn the_latest_in_trouble_stay_and_long_names_and_reasons_are_cut() {
        let mut tallies = Tallies::default();
        for number in 0..100 {
            tallies.note(refused(&format!("d{number}"), &"ä".repeat(500)), number);
        }
        tallies.note(refused("d70", "again"), 100);
        let troubled = tallies.troubled(1000);
        assert_eq!(troubled.len(), TROUBLED);
        let (name, tally) = troubled.first().expect("there is one");
        assert_eq!((name.as_str(), tally.dead_lettered), ("d70", 2));
        let (_, (_, why)) = (
            0,
            troubled
                .get(1)
                .and_then(|(_, tally)| tally.trouble.clone())
                .expect("why"),
        );
        assert_eq!(why, "ä".repeat(REASON_BYTES_MAX / 2));
        assert_eq!(Share::new(None, &"x".repeat(5000)).device.len(), NAME_BYTES_MAX);
    }
}
