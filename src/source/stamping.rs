//! Times that ascend strictly for each key.
//!
//! Some consumers keep one value for a series and a millisecond: of two messages of a device in one millisecond, or behind
//! a clock that was set back, one would replace the other. For the routes that say so, a message is stamped one
//! millisecond behind the one before it with the same key, if the clock does not say a later time by itself. The stamp is
//! made once, at arrival, and stored: every retry has the same.
//!
//! A message may hold several values without a time of their own, which its format writes one millisecond apart, from the stamp on:
//! it takes as many milliseconds, and the next message of the series comes behind the last of them.
//!
//! # What it cannot do
//!
//! The map has a bound, [`KEYS`]; what it forgets begins anew with the clock. So does a restart, but for what the store
//! recalls. When the clock was set back by an hour the times of a busy device run ahead of it until it has caught up; nothing
//! else is possible for consumers that must not see a time twice. The same holds for a device with more than 1,000 values a second.
//! One message takes a second at most, [`TIMES_MAX`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::message::{Arrival, Series, Stamp};

/// Keys remembered per lane and broker: more devices than a gateway has, at some 100 bytes each 1.6 MB when full.
pub const KEYS: usize = 16_384;

/// Milliseconds that one message takes at most, whatever is said of it: no format takes more values of one message.
const TIMES_MAX: u32 = 1_024;

/// What the times of a message have to ascend with: each key that its records get, and each entity. None when nobody asks for that.
#[derive(Clone)]
pub struct SeriesOf(pub Arc<Ask>);

type Ask = dyn Fn(&Arrival) -> Vec<Series> + Send + Sync;

impl fmt::Debug for SeriesOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeriesOf").finish_non_exhaustive()
    }
}

/// The newest time of each series.
pub struct Stamping {
    series_of: SeriesOf,
    capacity: usize,
    series: HashMap<u64, Newest>,
    /// Keys by their last use, oldest first.
    used: BTreeMap<u64, u64>,
    uses: u64,
}

#[derive(Debug, Clone, Copy)]
struct Newest {
    unix_ms: i64,
    use_number: u64,
}

impl Stamping {
    pub fn new(series_of: SeriesOf) -> Self {
        Self::with_capacity(series_of, KEYS)
    }

    fn with_capacity(series_of: SeriesOf, capacity: usize) -> Self {
        Self {
            series_of,
            capacity,
            series: HashMap::new(),
            used: BTreeMap::new(),
            uses: 0,
        }
    }

    /// The stamp of this arrival, which holds the clock's, and the series that it is for. It counts only once it is
    /// [`Stamping::stamped`].
    pub fn stamp(&self, arrival: &Arrival) -> (Stamp, Vec<Series>) {
        let series = (self.series_of.0)(arrival);
        let newest = series.iter().filter_map(|series| self.series.get(&series.hash));
        let behind = newest.map(|newest| newest.unix_ms.saturating_add(1));
        let unix_ms = behind.fold(arrival.stamp.unix_ms, i64::max);
        let stamp = Stamp {
            unix_ms,
            ..arrival.stamp
        };
        (stamp, series)
    }

    /// The arrival with this stamp is handed to the queue.
    pub fn stamped(&mut self, stamp: Stamp, series: Vec<Series>) {
        for series in series {
            self.took(series, stamp.unix_ms);
        }
    }

    /// A message with this stamp took its times of the series.
    pub fn took(&mut self, series: Series, unix_ms: i64) {
        let further = series.times.clamp(1, TIMES_MAX) - 1;
        self.note(series.hash, unix_ms.saturating_add(further.into()));
    }

    /// The newest time of a series is at least this.
    fn note(&mut self, key: u64, unix_ms: i64) {
        self.uses += 1;
        let use_number = self.uses;
        let before = self.series.insert(key, Newest { unix_ms, use_number });
        if let Some(before) = before {
            self.used.remove(&before.use_number);
            if before.unix_ms > unix_ms {
                let unix_ms = before.unix_ms;
                self.series.insert(key, Newest { unix_ms, use_number });
            }
        }
        self.used.insert(use_number, key);
        if self.series.len() > self.capacity
            && let Some((_, forgotten)) = self.used.pop_first()
        {
            self.series.remove(&forgotten);
        }
    }
}

impl fmt::Debug for Stamping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stamping")
            .field("keys", &self.series.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of a topic at a time by the clock.
    fn arrival(topic: &str, unix_ms: i64) -> Arrival {
        let mut arrival = Arrival::trial(1, "a/b", "x");
        topic.clone_into(&mut arrival.topic);
        arrival.stamp.unix_ms = unix_ms;
        arrival
    }

    /// The topic is the key; those that begin with `free` have none. The payload has one value for each byte.
    fn stamping(capacity: usize) -> Stamping {
        let key = |arrival: &Arrival| {
            let topic = arrival.topic.as_bytes();
            let series = |()| Series {
                hash: xxhash_rust::xxh3::xxh3_64(topic),
                times: u32::try_from(arrival.payload.len()).expect("short"),
            };
            let series = (!topic.starts_with(b"free")).then_some(()).map(series);
            series.into_iter().collect()
        };
        Stamping::with_capacity(SeriesOf(Arc::new(key)), capacity)
    }

    fn stamp(stamping: &mut Stamping, arrival: &mut Arrival) {
        let (stamp, series) = stamping.stamp(arrival);
        arrival.stamp = stamp;
        stamping.stamped(stamp, series);
    }

    fn take(stamping: &mut Stamping, topic: &str, unix_ms: i64) -> i64 {
        let mut arrival = arrival(topic, unix_ms);
        stamp(stamping, &mut arrival);
        arrival.stamp.unix_ms
    }

    #[test]
    fn a_hundred_messages_in_one_millisecond_have_a_hundred_times() {
        let mut stamping = stamping(KEYS);
        let times: Vec<i64> = (0..100).map(|_| take(&mut stamping, "a", 1_000)).collect();
        assert_eq!(times, (1_000..1_100).collect::<Vec<_>>());
        assert_eq!(
            take(&mut stamping, "b", 1_000),
            1_000,
            "other keys have times of their own"
        );
        assert_eq!(take(&mut stamping, "a", 5_000), 5_000, "the clock has caught up");
    }

    fn take_many(stamping: &mut Stamping, values: usize, unix_ms: i64) -> i64 {
        let mut arrival = arrival("a", unix_ms);
        arrival.payload = bytes::Bytes::from(vec![b'v'; values]);
        stamp(stamping, &mut arrival);
        arrival.stamp.unix_ms
    }

    #[test]
    fn a_message_takes_a_millisecond_for_each_of_its_values() {
        let mut stamping = stamping(KEYS);
        assert_eq!(take_many(&mut stamping, 3, 1_000), 1_000);
        assert_eq!(
            take_many(&mut stamping, 1, 1_000),
            1_003,
            "behind the last of them"
        );
        assert_eq!(take_many(&mut stamping, 0, 1_000), 1_004, "one at least");
        assert_eq!(take_many(&mut stamping, 2, 1_000), 1_005);
        assert_eq!(
            take_many(&mut stamping, 1, 1_007),
            1_007,
            "the clock has caught up"
        );
    }

    /// Under two keys, with messages of one to three measures, all in one millisecond of the clock.
    #[test]
    fn no_two_measures_of_an_entity_have_one_time() {
        use std::collections::HashSet;
        use std::path::Path;

        use crate::clock::Told;
        use crate::message::{Epoch, Seq, Stored};
        use crate::route::Router;

        const MESSAGES: usize = 100;
        let text = "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n[kafka]\n\
                    bootstrap_servers = [\"127.0.0.1:9092\"]\n[[route]]\nfrom = \"{apikey}/{device}\"\ntopic = \"t\"\n\
                    key = \"{apikey}/{device}\"\nformat = \"ngsiv2\"\n[route.ngsiv2]\nservice = \"test\"\n";
        let (config, _) = crate::config::parse(Path::new("test.toml"), text).expect("loads");
        let router = Arc::new(Router::new(config.routes, "gw", "default"));
        let asked = Arc::clone(&router);
        let mut stamping = Stamping::new(SeriesOf(Arc::new(move |arrival| asked.series(arrival))));
        let mut times = HashSet::new();
        let mut measures = 0;
        for number in 0..MESSAGES {
            let mut arrival = arrival(["a/d", "b/d"][number % 2], 1_795_172_400_000);
            let groups = vec!["{\"t\":1}"; number % 3 + 1];
            measures += groups.len();
            arrival.payload = format!("[{}]", groups.join(",")).into();
            stamp(&mut stamping, &mut arrival);
            let stored = Stored {
                seq: Seq(1),
                epoch: Epoch(1),
                arrival,
            };
            let outcome = router.route(&stored, &Told::as_it_stood(&stored.arrival.stamp));
            let value = &outcome.records.first().expect("a record").payload;
            let value: serde_json::Value = serde_json::from_slice(value).expect("JSON");
            for entity in value["data"].as_array().expect("entities") {
                times.insert(
                    entity["TimeInstant"]["value"]
                        .as_str()
                        .expect("a time")
                        .to_owned(),
                );
            }
        }
        assert_eq!(times.len(), measures);
    }

    #[test]
    fn a_message_takes_a_second_at_most() {
        let mut stamping = stamping(KEYS);
        take_many(&mut stamping, 1_000_000, 0);
        assert_eq!(take_many(&mut stamping, 1, 0), i64::from(TIMES_MAX));
    }

    #[test]
    fn what_the_store_recalls_took_its_times_too() {
        let mut stamping = stamping(KEYS);
        let hash = xxhash_rust::xxh3::xxh3_64(b"a");
        stamping.took(Series { hash, times: 5 }, 100);
        assert_eq!(take(&mut stamping, "a", 100), 105);
    }

    #[test]
    fn a_clock_that_steps_back_an_hour_changes_no_order() {
        let mut stamping = stamping(KEYS);
        assert_eq!(take(&mut stamping, "a", 3_600_000), 3_600_000);
        assert_eq!(take(&mut stamping, "a", 0), 3_600_001);
        assert_eq!(take(&mut stamping, "a", 1), 3_600_002);
        assert_eq!(take(&mut stamping, "free/a", 1), 1, "nobody asked for it");
        assert_eq!(take(&mut stamping, "free/a", 1), 1);
    }

    #[test]
    fn what_was_not_stored_takes_no_time() {
        let stamping = stamping(KEYS);
        let put_back = arrival("a", 7);
        assert_eq!(stamping.stamp(&put_back).0.unix_ms, 7);
        assert_eq!(stamping.stamp(&put_back).0.unix_ms, 7);
    }

    #[test]
    fn the_key_that_was_silent_longest_is_forgotten_first() {
        let mut stamping = stamping(2);
        take(&mut stamping, "a", 10);
        take(&mut stamping, "b", 10);
        take(&mut stamping, "a", 10);
        take(&mut stamping, "c", 10);
        assert_eq!((stamping.series.len(), stamping.used.len()), (2, 2));
        assert_eq!(take(&mut stamping, "b", 10), 10, "it begins anew with the clock");
        assert_eq!(take(&mut stamping, "c", 10), 11);
    }

    #[test]
    fn what_the_store_recalls_counts() {
        let mut stamping = stamping(KEYS);
        let hash = xxhash_rust::xxh3::xxh3_64(b"a");
        for unix_ms in [50, 40] {
            stamping.took(Series { hash, times: 1 }, unix_ms);
        }
        assert_eq!(take(&mut stamping, "a", 45), 51);
    }
}
