//! How loudly to speak of what comes and goes: links, and whatever else repeats. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Between two loud lines about one trouble of one link: a link that flaps all day makes 288 lines, not thousands.
const QUIET: Duration = Duration::from_mins(5);

/// One line that may repeat, as the log tells it.
#[derive(Debug, Default)]
pub struct Repeated {
    told: Option<Instant>,
    untold: u64,
}

impl Repeated {
    /// It is to be told again: how loudly.
    pub fn again(&mut self, now: Instant) -> Say {
        if self.told.is_some_and(|told| now.duration_since(told) < QUIET) {
            self.untold = self.untold.saturating_add(1);
            return Say::Quietly;
        }
        self.told = Some(now);
        Say::Loudly {
            untold: std::mem::take(&mut self.untold),
        }
    }
}

/// The failures of one link, as the log tells them.
#[derive(Debug, Default)]
pub struct Outages {
    down_since: Option<Instant>,
    /// Per kind, so that a common trouble does not hush up a rare one.
    last_loud: BTreeMap<Trouble, Instant>,
    /// Failures since the last loud line.
    silent: u64,
    /// The last loud line was about a failure, and no recovery was told since.
    recovery_owed: bool,
}

/// Kinds of failure that are told independently of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Passes by itself.
    Passing,
    /// Our queue is full.
    Full,
    /// A packet was over a limit.
    Large,
    /// Needs a person.
    Wrong,
}

/// What to do about one failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// Tell it, and that there were so many untold failures before.
    Loudly {
        /// Since the last loud line.
        untold: u64,
    },
    /// For debugging only.
    Quietly,
}

/// What to tell about a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// How long the link was away.
    pub away: Duration,
    /// The outage was told loudly, so its end should be too.
    pub loud: bool,
}

impl Outages {
    /// The link failed, or an attempt did.
    pub fn failed(&mut self, trouble: Trouble, now: Instant) -> Say {
        self.down_since.get_or_insert(now);
        let last = self.last_loud.get(&trouble);
        if last.is_some_and(|last| now.duration_since(*last) < QUIET) {
            self.silent += 1;
            return Say::Quietly;
        }
        self.last_loud.insert(trouble, now);
        self.recovery_owed = true;
        Say::Loudly {
            untold: std::mem::take(&mut self.silent),
        }
    }

    /// The link works. `None` when it was not down.
    pub fn recovered(&mut self, now: Instant) -> Option<Recovery> {
        let since = self.down_since.take()?;
        Some(Recovery {
            away: now.duration_since(since),
            loud: std::mem::take(&mut self.recovery_owed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_told_at_first_and_then_with_how_often() {
        let (mut repeated, start) = (Repeated::default(), Instant::now());
        assert_eq!(repeated.again(start), Say::Loudly { untold: 0 });
        assert_eq!(repeated.again(start + QUIET / 2), Say::Quietly);
        assert_eq!(repeated.again(start + QUIET), Say::Loudly { untold: 1 });
        assert_eq!(repeated.again(start + 2 * QUIET), Say::Loudly { untold: 0 });
    }

    #[test]
    fn an_outage_is_told_at_its_start_and_its_end() {
        let (mut outages, start) = (Outages::default(), Instant::now());
        assert_eq!(outages.recovered(start), None);
        assert_eq!(outages.failed(Trouble::Passing, start), Say::Loudly { untold: 0 });
        assert_eq!(outages.failed(Trouble::Passing, start + QUIET / 2), Say::Quietly);
        let end = Recovery {
            away: QUIET * 3 / 4,
            loud: true,
        };
        assert_eq!(outages.recovered(start + QUIET * 3 / 4), Some(end));
        assert_eq!(outages.recovered(start + QUIET), None);
    }

    #[test]
    fn a_flapping_link_is_summed_up() {
        let (mut outages, start) = (Outages::default(), Instant::now());
        let second = Duration::from_secs(1);
        let mut loud = Vec::new();
        for number in 0..601 {
            let now = start + second * number;
            if let Say::Loudly { untold } = outages.failed(Trouble::Passing, now) {
                loud.push((number, untold));
            }
            outages.recovered(now);
        }
        assert_eq!(loud, [(0, 0), (300, 299), (600, 299)]);
    }

    #[test]
    fn what_needs_a_person_is_told_although_the_link_flaps() {
        let (mut outages, start) = (Outages::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(outages.failed(Trouble::Passing, start), Say::Loudly { untold: 0 });
        assert_eq!(outages.failed(Trouble::Passing, start + second), Say::Quietly);
        assert_eq!(
            outages.failed(Trouble::Wrong, start + second * 3),
            Say::Loudly { untold: 1 }
        );
        assert_eq!(outages.failed(Trouble::Wrong, start + second * 7), Say::Quietly);
    }

    #[test]
    fn the_end_of_a_quiet_outage_is_quiet() {
        let (mut outages, start) = (Outages::default(), Instant::now());
        outages.failed(Trouble::Passing, start);
        outages.recovered(start);
        outages.failed(Trouble::Passing, start);
        assert_eq!(
            outages.recovered(start).map(|recovery| recovery.loud),
            Some(false)
        );
    }
}
