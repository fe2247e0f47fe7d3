//! What the newest records looked like, so that a repetition can be compared with the first copy.

use std::collections::{HashMap, VecDeque};

use crate::message::Seq;

/// Records remembered, some 60 bytes each. A daemon that is killed repeats what was under way: 4,096 records, and after a power cut 5 s more.
const RECENT_MAX: usize = 131_072;

/// Topic, stream, sequence.
type Key = (usize, usize, Seq);

/// The newest records, by what they carry.
#[derive(Debug, Default)]
pub struct Recent {
    known: HashMap<Key, u64>,
    order: VecDeque<Key>,
}

impl Recent {
    /// The fingerprint of the first copy, if it is remembered.
    pub fn of(&self, key: Key) -> Option<u64> {
        self.known.get(&key).copied()
    }

    /// Remembers a first copy.
    pub fn note(&mut self, key: Key, fingerprint: u64) {
        if self.order.len() >= RECENT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        if self.known.insert(key, fingerprint).is_none() {
            self.order.push_back(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_small_and_forgets_the_oldest() {
        let mut recent = Recent::default();
        for seq in 0..=RECENT_MAX as u64 {
            recent.note((0, 0, Seq(seq)), seq);
        }
        assert_eq!(recent.of((0, 0, Seq(0))), None);
        assert_eq!(recent.of((0, 0, Seq(1))), Some(1));
        assert_eq!(recent.order.len(), RECENT_MAX);
        assert_eq!(recent.known.len(), RECENT_MAX);
    }
}
