//! What was read from Kafka, in a bounded space.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

/// Gaps remembered per device. More of them means that a lot is missing; what closes a forgotten gap counts as a
/// duplicate, and its reading stays missing.
const GAPS_MAX: usize = 256;
/// Records of others remembered until they are shown.
const GUESTS_MAX: usize = 5;
/// Characters of a guest's payload that are shown.
const GUEST_CHARS: usize = 48;

/// One record that no device of the demo sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guest {
    /// Key of the record.
    pub(super) key: String,
    /// Beginning of the payload, safe to show.
    pub(super) payload: String,
}

impl Guest {
    /// Cuts and escapes, because anybody may have sent it.
    pub(super) fn new(key: &[u8], payload: &[u8]) -> Self {
        Self {
            key: excerpt(key),
            payload: excerpt(payload),
        }
    }
}

fn excerpt(bytes: &[u8]) -> String {
    let start = bytes.get(..4 * GUEST_CHARS).unwrap_or(bytes);
    let text = String::from_utf8_lossy(start);
    text.chars()
        .take(GUEST_CHARS)
        .flat_map(char::escape_debug)
        .collect()
}

/// Totals over all devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    /// Different readings.
    pub(super) different: u64,
    /// Readings that were there before.
    pub(super) duplicates: u64,
    /// Readings that came for the first time after a later one of the same device.
    pub(super) out_of_order: u64,
}

/// Counts per device.
#[derive(Debug)]
pub(super) struct Tally {
    devices: BTreeMap<String, Track>,
    guests: VecDeque<Guest>,
}

#[derive(Debug, Default)]
struct Track {
    last: u64,
    gaps: Vec<RangeInclusive<u64>>,
    totals: Totals,
}

impl Tally {
    /// Nothing read yet.
    pub(super) fn new(devices: impl Iterator<Item = String>) -> Self {
        Self {
            devices: devices.map(|name| (name, Track::default())).collect(),
            guests: VecDeque::new(),
        }
    }

    /// Takes a reading in. False when no such device is known.
    pub(super) fn reading(&mut self, device: &str, seq: u64) -> bool {
        self.devices
            .get_mut(device)
            .map(|track| track.take(seq))
            .is_some()
    }

    /// Takes a record of somebody else in.
    pub(super) fn guest(&mut self, guest: Guest) {
        if self.guests.len() >= GUESTS_MAX {
            self.guests.pop_front();
        }
        self.guests.push_back(guest);
    }

    /// The newest records of others since the last call.
    pub(super) fn take_guests(&mut self) -> Vec<Guest> {
        self.guests.drain(..).collect()
    }

    /// All devices together.
    pub(super) fn totals(&self) -> Totals {
        self.devices
            .values()
            .fold(Totals::default(), |sum, track| Totals {
                different: sum.different + track.totals.different,
                duplicates: sum.duplicates + track.totals.duplicates,
                out_of_order: sum.out_of_order + track.totals.out_of_order,
            })
    }
}

impl Track {
    fn take(&mut self, seq: u64) {
        if seq > self.last {
            self.open_gap(self.last + 1, seq - 1);
            self.last = seq;
            self.totals.different += 1;
        } else if self.close_gap(seq) {
            self.totals.different += 1;
            self.totals.out_of_order += 1;
        } else {
            self.totals.duplicates += 1;
        }
    }

    fn open_gap(&mut self, first: u64, last: u64) {
        if first <= last && self.gaps.len() < GAPS_MAX {
            self.gaps.push(first..=last);
        }
    }

    /// Whether `seq` was in a gap; it is not any more.
    fn close_gap(&mut self, seq: u64) -> bool {
        let Some(index) = self.gaps.iter().position(|gap| gap.contains(&seq)) else {
            return false;
        };
        let (first, last) = self.gaps.swap_remove(index).into_inner();
        self.open_gap(first, seq.saturating_sub(1));
        self.open_gap(seq.saturating_add(1), last);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(seqs: &[u64]) -> Totals {
        let mut tally = Tally::new(std::iter::once("a".to_owned()));
        for seq in seqs {
            assert!(tally.reading("a", *seq));
        }
        tally.totals()
    }

    #[test]
    fn tells_duplicates_from_late_and_from_missing() {
        let whole = Totals {
            different: 4,
            ..Totals::default()
        };
        assert_eq!(totals(&[1, 2, 3, 4]), whole);
        let repeated = Totals {
            duplicates: 2,
            ..whole
        };
        assert_eq!(totals(&[1, 2, 3, 2, 3, 4]), repeated);
        let late = Totals {
            out_of_order: 2,
            ..whole
        };
        assert_eq!(totals(&[1, 4, 3, 2]), late);
        let missing = Totals {
            different: 2,
            ..Totals::default()
        };
        assert_eq!(totals(&[1, 4]), missing);
    }

    #[test]
    fn space_is_bounded_and_what_is_forgotten_stays_missing() {
        let every_other: Vec<u64> = (1..=4000).map(|n| 2 * n).collect();
        let mut tally = Tally::new(std::iter::once("a".to_owned()));
        for seq in &every_other {
            tally.reading("a", *seq);
        }
        assert_eq!(tally.devices["a"].gaps.len(), GAPS_MAX);
        tally.reading("a", u64::MAX);
        tally.reading("a", 0);
        assert_eq!(tally.totals().different, 4001);
        assert!(!tally.reading("b", 1));
    }

    #[test]
    fn guests_are_cut_and_escaped() {
        let guest = Guest::new(b"a\x1b[2J", &vec![b'x'; 1_000_000]);
        assert_eq!(guest.key, "a\\u{1b}[2J");
        assert_eq!(guest.payload.len(), GUEST_CHARS);
    }
}
