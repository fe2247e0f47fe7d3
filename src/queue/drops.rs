//! Says in the log that messages were removed: the first time, then now and then. The ledger has the numbers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::message::Seq;
use crate::queue::ledger::Reason;

/// A reason is said this often at most: a full queue removes something every few milliseconds.
const SAY_AGAIN: Duration = Duration::from_mins(1);

/// What was said by reason, and what was not.
#[derive(Debug, Default)]
pub(super) struct Drops(Mutex<BTreeMap<Reason, Said>>);

#[derive(Debug, Default)]
struct Said {
    at: Option<Instant>,
    /// Messages removed since.
    unsaid: u64,
}

impl Drops {
    /// `messages` between `first` and `last` were removed.
    pub(super) fn note(&self, reason: Reason, first: Seq, last: Seq, messages: u64) {
        if let Some(since_last) = self.count(reason, messages, Instant::now()) {
            let reason = reason.name();
            tracing::warn!(%first, %last, messages, since_last, reason, "messages removed");
        }
    }

    /// `None` when there is nothing to say yet; otherwise the messages since the last time.
    fn count(&self, reason: Reason, messages: u64, now: Instant) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = said.entry(reason).or_default();
        said.unsaid = said.unsaid.saturating_add(messages);
        let is_due = said.at.is_none_or(|at| now.duration_since(at) >= SAY_AGAIN);
        if !is_due || said.unsaid == 0 {
            return None;
        }
        said.at = Some(now);
        Some(std::mem::take(&mut said.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_drop_is_said_and_the_next_ones_now_and_then() {
        let drops = Drops::default();
        let start = Instant::now();
        let count = |reason, after| drops.count(reason, 5, start + after);
        assert_eq!(count(Reason::DroppedOldest, Duration::ZERO), Some(5));
        assert_eq!(count(Reason::DroppedOldest, Duration::from_secs(1)), None);
        assert_eq!(count(Reason::Expired, Duration::from_secs(1)), Some(5));
        assert_eq!(count(Reason::DroppedOldest, SAY_AGAIN), Some(10));
    }
}
