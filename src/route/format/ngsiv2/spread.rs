//! A time of its own for each of several measures: readers keep one row of an entity and a millisecond.

use std::collections::HashMap;

use super::time::LATEST_MS;

/// The times of measures, of which some have one of the device. Those without one get the arrival and the milliseconds behind it, which
/// the stamping at arrival keeps free for them. Of the others, one whose time is taken is moved on to the next that is free.
///
/// `None`: there is no time left before the end of the year 9999, the last that can be written.
pub fn spread(own: &[Option<i64>], arrival_ms: i64) -> Option<Vec<i64>> {
    let untimed = i64::try_from(without_time(own)).ok()?;
    // A clock can be anywhere.
    let first = arrival_ms.clamp(0, LATEST_MS.checked_sub(untimed)?);
    let mut taken = Taken::default();
    for ms in first..first.checked_add(untimed)? {
        taken.take(ms);
    }
    let mut at_arrival = first..;
    let times = own.iter().map(|own| match own {
        Some(own) => taken.take(*own),
        None => at_arrival.next().unwrap_or(LATEST_MS),
    });
    let times: Vec<i64> = times.collect();
    times.iter().all(|ms| *ms <= LATEST_MS).then_some(times)
}

/// How many measures have no time of the device.
pub fn without_time(own: &[Option<i64>]) -> usize {
    own.iter().filter(|own| own.is_none()).count()
}

/// Times that are taken. A run of them is passed over in one step once somebody has walked it, so that the work grows with the number
/// of measures also where all have one time.
#[derive(Debug, Default)]
struct Taken {
    /// A time that is taken, and one at or before the next free one.
    behind: HashMap<i64, i64>,
    /// Times that were looked at.
    #[cfg(test)]
    steps: usize,
}

impl Taken {
    /// The first free time from this one on.
    fn take(&mut self, wanted: i64) -> i64 {
        let mut free = wanted;
        let mut walked = Vec::new();
        while let Some(behind) = self.behind.get(&free) {
            walked.push(free);
            free = *behind;
            #[cfg(test)]
            {
                self.steps += 1;
            }
        }
        let behind = free.saturating_add(1);
        self.behind.insert(free, behind);
        self.behind.extend(walked.into_iter().map(|ms| (ms, behind)));
        free
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn measures_without_a_time_count_on_from_the_arrival() {
        assert_eq!(
            spread(&[None, None, None], 1_000),
            Some(vec![1_000, 1_001, 1_002])
        );
    }

    #[test]
    fn measures_without_a_time_keep_to_what_was_kept_free_for_them() {
        let own = [Some(1_000), None, Some(1_001), None];
        assert_eq!(spread(&own, 1_000), Some(vec![1_002, 1_000, 1_003, 1_001]));
    }

    #[test]
    fn of_equal_times_the_later_measure_is_moved_on() {
        let own = [Some(5), Some(5), Some(6), Some(5)];
        assert_eq!(spread(&own, 1_000), Some(vec![5, 6, 7, 8]));
    }

    #[test]
    fn two_measures_at_the_end_of_all_times_have_no_times() {
        assert_eq!(spread(&[Some(LATEST_MS)], 0), Some(vec![LATEST_MS]));
        assert_eq!(spread(&[Some(LATEST_MS), Some(LATEST_MS)], 0), None);
    }

    #[test]
    fn the_work_grows_with_the_number_of_measures_and_not_with_its_square() {
        let count = 100_000;
        let mut taken = Taken::default();
        for _ in 0..count {
            taken.take(7);
        }
        assert!(taken.steps <= 3 * count, "{} steps", taken.steps);
        // Two runs that grow into each other.
        let mut taken = Taken::default();
        for n in 0..count {
            taken.take(if n % 2 == 0 { 0 } else { 1_000 });
        }
        assert!(taken.steps <= 20 * count, "{} steps", taken.steps);
    }

    proptest! {
        #[test]
        fn times_of_any_measures_are_distinct_and_can_be_written(
            own in prop::collection::vec(prop::option::of(0..5_i64), 1..40), arrival in -10..LATEST_MS + 10
        ) {
            let times = spread(&own, arrival).expect("there is room");
            prop_assert_eq!(times.iter().collect::<HashSet<_>>().len(), own.len());
            prop_assert!(times.iter().all(|ms| (0..=LATEST_MS).contains(ms)));
        }
    }
}
