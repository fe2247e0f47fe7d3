//! What is done about a full lane: `on_full`, `max_age`, and purges that were asked for.
//!
//! All of it is done by the writer's thread, between two groups. What may be on its way to Kafka is never removed, and
//! what is removed is counted durably before it is deleted; see [`super::compaction`].

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::clock;
use crate::message::{Arrival, Seq, Stored};
use crate::queue::codec::{Encoder, decode};
use crate::queue::compaction::{Judge, Outcome, Thin, commit, drop_whole, floor, thin};
use crate::queue::jobs::{Filter, PurgeError, Purged};
use crate::queue::ledger::Reason;
use crate::queue::store::{Found, StoreError, Unit};
use crate::queue::{Config, OnFull, Shared};

/// Says whose value a message is: of two with the same owner, the newer one supersedes the older. `None`: of nobody, it is
/// always kept.
pub type KeyOf = Arc<dyn Fn(&Stored) -> Option<Owner> + Send + Sync>;

/// Whose value a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The same for all of its messages. Those that are wanted and those that are not have keys of their own.
    pub key: u128,
    /// Somebody waits for its value. Others are kept only in case that changes.
    pub is_wanted: bool,
}

/// Keys remembered while a full lane is compacted: with the table's slack about 2 MiB. Devices beyond it are kept
/// whole.
const KEYS_MAX: usize = 65_536;
/// The same of owners whose values nobody waits for: they must not use up what the others need.
const UNWANTED_KEYS_MAX: usize = KEYS_MAX / 8;
/// A lane is compacted again when this part of its budget was written since: what is younger cannot supersede more than
/// that, and what is older was compared already.
const WORTH_PART: u64 = 8;
/// Largest piece of the budget that is set aside for rewriting, and largest rewritten unit: what a generation may have
/// that an earlier version wrote.
const PIECE_MAX: u64 = 8 * 1024 * 1024;
/// How often it is looked whether whole units are too old.
const EXPIRY_INTERVAL: Duration = Duration::from_mins(1);
/// A unit whose messages the reader takes while they are to be purged is tried this often.
const PURGE_ATTEMPTS: usize = 5;

/// See the module documentation.
pub(super) struct Relief {
    shared: Arc<Shared>,
    policy: OnFull,
    key_of: Option<KeyOf>,
    max_bytes: u64,
    /// Bytes appended since the last compaction; `None` before the first.
    written: Option<u64>,
    /// The end of each unit, and when it can be too old as a whole, milliseconds since 1970; `None` for never.
    due: BTreeMap<Seq, (Seq, Option<i64>)>,
    looked: Option<Instant>,
}

impl fmt::Debug for Relief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relief")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Relief {
    pub(super) fn new(shared: Arc<Shared>, config: &Config, key_of: Option<KeyOf>) -> Self {
        Self {
            shared,
            policy: config.on_full,
            key_of,
            max_bytes: config.max_bytes,
            written: None,
            due: BTreeMap::new(),
            looked: None,
        }
    }

    /// What the lane may take before it counts as full, bytes. Rewriting needs room for what it writes.
    pub(super) fn budget(&self) -> u64 {
        match self.policy {
            OnFull::KeepLatest => self.max_bytes - self.piece(),
            _ => self.max_bytes,
        }
    }

    fn piece(&self) -> u64 {
        PIECE_MAX.min(self.max_bytes / WORTH_PART)
    }

    /// `bytes` were appended.
    pub(super) fn wrote(&mut self, bytes: u64) {
        if let Some(written) = &mut self.written {
            *written = written.saturating_add(bytes);
        }
    }

    /// The lane is full: makes room as `on_full` says. True when something was given back.
    pub(super) fn relieve(&mut self, encoder: &mut Encoder) -> Result<bool, PurgeError> {
        match self.policy {
            OnFull::Backpressure | OnFull::DropNewest => Ok(false),
            OnFull::DropOldest => self.drop_oldest(),
            OnFull::KeepLatest => self.keep_latest(encoder),
        }
    }

    /// The next pass is worth it whatever was written.
    #[cfg(test)]
    pub(super) fn forget_last(&mut self) {
        self.written = None;
    }

    /// The disk is low: gives back what is delivered and was kept so that redeliveries are recognised after a restart.
    pub(super) fn spare(&self) -> Result<(), PurgeError> {
        let cursor = self.shared.marks.values().cursor;
        let is_delivered = |unit: &Unit| unit.last.is_some_and(|last| last <= cursor);
        if self.shared.store.units().iter().any(is_delivered) {
            // As the reader does it: the cursor must not lag behind what is deleted.
            self.shared.marks.sync()?;
            self.shared.store.trim_all(cursor)?;
        }
        Ok(())
    }

    /// Drops the oldest unit of which nothing is under way.
    fn drop_oldest(&self) -> Result<bool, PurgeError> {
        let floor = floor(&self.shared);
        let units = self.shared.store.units();
        let Some(unit) = units.iter().find(|unit| unit.first > floor) else {
            return Ok(false);
        };
        Ok(drop_whole(&self.shared, *unit, Reason::DroppedOldest)? == Outcome::Done)
    }

    /// Keeps the newest message of each key in all units of which something may be removed.
    fn keep_latest(&mut self, encoder: &mut Encoder) -> Result<bool, PurgeError> {
        let Some(key_of) = self.key_of.clone() else {
            return Ok(false);
        };
        let is_worth_it = self
            .written
            .is_none_or(|written| written >= self.max_bytes / WORTH_PART);
        if !is_worth_it || !self.shared.ledger.has_room() {
            return Ok(false);
        }
        self.written = Some(0);
        let before = self.shared.store.bytes();
        let mut seen = Seen::default();
        self.compact(encoder, &mut |stored| is_superseded(&key_of, &mut seen, stored))?;
        let after = self.shared.store.bytes();
        tracing::info!(
            before,
            after,
            devices = seen.wanted.len(),
            "compacted: the newest values stay"
        );
        Ok(after < before)
    }

    /// One pass from the newest unit to the oldest.
    fn compact(&mut self, encoder: &mut Encoder, judge: &mut Judge<'_>) -> Result<(), PurgeError> {
        let shared = Arc::clone(&self.shared);
        let floor = floor(&shared);
        let mut run: Option<Thin> = None;
        for unit in shared.store.units().into_iter().rev() {
            let last = unit.last.unwrap_or_else(|| shared.tail.last());
            if last <= floor || shared.closed.load(Ordering::Relaxed) {
                break;
            }
            let left = thin(&shared, encoder, unit, last, judge)?;
            match left.filter(|_| unit.last.is_some()) {
                Some(left) if left.is_empty() && unit.first > floor => {
                    drop_whole(&shared, unit, Reason::Superseded)?;
                }
                Some(left) if shrinks(&left) || left.bytes < self.piece() / WORTH_PART => {
                    let joined = match run.take() {
                        Some(newer) => newer.join(left),
                        None => left,
                    };
                    run = Some(joined);
                }
                _ => self.finish(run.take())?,
            }
            if run.as_ref().is_some_and(|run| run.bytes >= self.piece() / 2) {
                self.finish(run.take())?;
            }
        }
        self.finish(run)
    }

    /// Commits a run of neighbours, unless that would only write the same again.
    fn finish(&self, run: Option<Thin>) -> Result<(), PurgeError> {
        if let Some(run) = run
            && (shrinks(&run) || run.units > 1)
        {
            // A unit that the reader got into stays as it is; the next pass will find it delivered.
            commit(&self.shared, run, Reason::Superseded)?;
        }
        Ok(())
    }

    /// Removes what `filter` picks and counts it as purged. What cannot be rewritten for want of space is tried again when
    /// the others have given theirs back.
    pub(super) fn purge(&mut self, encoder: &mut Encoder, filter: &Filter) -> Purged {
        let mut purged = 0;
        let mut later = Vec::new();
        for unit in self.shared.store.units() {
            match self.purge_unit(encoder, unit, filter) {
                Ok(count) => purged += count,
                Err(error) if error.is_full() => {
                    self.shared.release_ballast();
                    later.push(unit);
                }
                Err(error) => return Err(error),
            }
        }
        for unit in later {
            purged += self.purge_unit(encoder, unit, filter)?;
        }
        Ok(purged)
    }

    fn purge_unit(&self, encoder: &mut Encoder, unit: Unit, filter: &Filter) -> Purged {
        let shared = &self.shared;
        let last = unit.last.unwrap_or_else(|| shared.tail.last());
        for _ in 0..PURGE_ATTEMPTS {
            if last <= floor(shared) {
                return Ok(0);
            }
            let left = thin(shared, encoder, unit, last, &mut |stored| filter(stored))?;
            let Some(left) = left.filter(|left| left.removed > 0) else {
                return Ok(0);
            };
            let removed = left.removed;
            if unit.last.is_none() {
                // The writer is this thread: it appends to another unit from now on.
                shared.store.seal();
            }
            let outcome = if left.is_empty() && unit.last.is_some() && unit.first > floor(shared) {
                drop_whole(shared, unit, Reason::Purged)?
            } else {
                commit(shared, left, Reason::Purged)?
            };
            match outcome {
                Outcome::Done => return Ok(removed),
                Outcome::Overtaken => {}
                Outcome::TooMany => return Err(PurgeError::TooMany),
            }
        }
        Ok(0)
    }

    /// Gives back units that are too old as a whole. The rest is left out by the reader, one by one.
    pub(super) fn expire(&mut self) -> Result<(), PurgeError> {
        if self.shared.expiry.is_none()
            || self
                .looked
                .is_some_and(|at| clock::instant().saturating_duration_since(at) < EXPIRY_INTERVAL)
        {
            return Ok(());
        }
        self.looked = Some(clock::instant());
        self.expire_now()
    }

    pub(super) fn expire_now(&mut self) -> Result<(), PurgeError> {
        let shared = Arc::clone(&self.shared);
        let Some(expiry) = &shared.expiry else {
            return Ok(());
        };
        let floor = floor(&shared);
        let units = shared.store.units();
        self.due
            .retain(|first, _| units.iter().any(|unit| unit.first == *first));
        for unit in units {
            let Some(last) = unit.last.filter(|_| unit.first > floor) else {
                continue;
            };
            let known = self.due.get(&unit.first).filter(|(end, _)| *end == last);
            let newest = match known {
                Some((_, newest)) => *newest,
                None => match newest_time(&shared, unit.first, last) {
                    // A slow disk: looked at again in the next round.
                    Err(PurgeError::Store(StoreError::Salvaging)) => continue,
                    newest => newest?,
                },
            };
            self.due.insert(unit.first, (last, newest));
            if newest.is_some_and(|unix_ms| expiry.is_past(unix_ms)) {
                drop_whole(&shared, unit, Reason::Expired)?;
            }
        }
        Ok(())
    }
}

/// Owners of which a newer message was seen.
#[derive(Debug, Default)]
struct Seen {
    wanted: HashSet<u128>,
    unwanted: HashSet<u128>,
}

/// Whether a newer message of its owner was seen before; remembers it otherwise.
fn is_superseded(key_of: &KeyOf, seen: &mut Seen, stored: &Stored) -> bool {
    let Some(Owner { key, is_wanted }) = key_of(stored) else {
        return false;
    };
    let (seen, limit) = match is_wanted {
        true => (&mut seen.wanted, KEYS_MAX),
        false => (&mut seen.unwanted, UNWANTED_KEYS_MAX),
    };
    if seen.contains(&key) {
        return true;
    }
    if seen.len() < limit {
        seen.insert(key);
    }
    false
}

/// Whether writing what is left would give back a quarter.
const fn shrinks(left: &Thin) -> bool {
    left.removed > 0 && left.removed.saturating_mul(3) >= left.kept
}

/// When the newest message between `first` and `last` arrived, milliseconds since 1970. `None` when that cannot be said:
/// not all of it can be read, or a time was not synchronised.
fn newest_time(shared: &Shared, first: Seq, last: Seq) -> Result<Option<i64>, PurgeError> {
    let mut newest = None;
    let mut from = first;
    while from <= last {
        shared.writer_pulse.beat();
        if let Some(hole) = shared.ledger.hole_at(from) {
            from = hole.last.next();
            continue;
        }
        let raw = match shared.store.read(from)? {
            Found::Block(raw) => raw,
            Found::Nothing => return Ok(None),
            Found::Salvaging => return Err(StoreError::Salvaging.into()),
        };
        let Ok(block) = decode::<Arrival>(&raw.chunks, &shared.keys) else {
            return Ok(None);
        };
        if block.first > from || block.last < from {
            return Ok(None);
        }
        if block
            .messages
            .iter()
            .any(|(_, arrival)| !arrival.stamp.synchronised)
        {
            return Ok(None);
        }
        let times = block.messages.iter().map(|(_, arrival)| arrival.stamp.unix_ms);
        newest = newest.max(times.max());
        from = block.last.next();
    }
    Ok(newest)
}

#[cfg(test)]
mod tests;
