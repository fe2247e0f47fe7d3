//! Group commit: takes what is waiting, makes it durable, confirms.
//!
//! One OS thread. While it syncs, the next group gathers in the channel by itself, so throughput needs no
//! timer; `commit_interval` only trades latency for flash wear.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::message::{Seq, Stored};
use crate::queue::codec::{Chunk, EncodeError, Encoder};
use crate::queue::intake::Offer;
use crate::queue::store::StoreError;
use crate::queue::{Config, Shared};
use crate::slots::SlotError;

/// A group is committed at this size even if more is waiting: bounds the memory of encoding.
const GROUP_BYTES: usize = 1024 * 1024;
/// The thread shows that it is alive this often.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How often a full queue looks for room.
const ROOM_POLL: Duration = Duration::from_millis(50);
/// Wait between attempts of a store that fails: doubles up to the maximum.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Owns the appending side of a lane.
#[derive(Debug)]
pub struct Writer {
    offers: Receiver<Offer>,
    shared: Arc<Shared>,
    encoder: Encoder,
    next: Seq,
    /// What the start found behind the watermark, until it is certain to survive power loss.
    unproven: Option<Unproven>,
    max_bytes: u64,
    commit_interval: Duration,
    committed: Instant,
}

/// Messages that a start found in the store, and the watermark does not know.
///
/// After a SIGKILL nobody was ever told of them. After a power cut the watermark may lag: they may have been
/// acknowledged, and Kafka may have seen them. So they keep their sequences and are delivered. But the page cache may hold
/// what the disk does not: `fdatasync` may have failed before the end of the last run, and says so only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unproven {
    /// The watermark.
    pub(super) behind: Seq,
    /// The last of the messages.
    pub(super) last: Seq,
}

/// A group could not be made durable in this attempt.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommitError {
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("marks: {0}")]
    Marks(#[from] SlotError),
}

impl Writer {
    pub(super) fn new(
        offers: Receiver<Offer>,
        shared: Arc<Shared>,
        encoder: Encoder,
        next: Seq,
        unproven: Option<Unproven>,
        config: &Config,
    ) -> Self {
        Self {
            offers,
            shared,
            encoder,
            next,
            unproven,
            max_bytes: config.max_bytes,
            commit_interval: config.commit_interval,
            committed: Instant::now(),
        }
    }

    /// Commits groups until every [`super::Intake`] is gone, or the queue is closed while it cannot commit.
    pub fn run(mut self) {
        while let Some(group) = self.gather() {
            if !self.commit(group) {
                break;
            }
        }
    }

    /// Waits for the next group. `None` when all sources are gone.
    pub(super) fn gather(&mut self) -> Option<Vec<Offer>> {
        let first = loop {
            self.shared.writer_pulse.beat();
            self.shared.look_ahead();
            if let Err(error) = self.renew() {
                self.shared.report_store_failure(&error);
            }
            match self.offers.recv_timeout(HEARTBEAT) {
                Ok(offer) => break offer,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        };
        let due = self.committed + self.commit_interval;
        let mut bytes = first.arrival.cost();
        let mut commit_now = first.commit_now;
        let mut group = vec![first];
        while bytes < GROUP_BYTES {
            let patience = if commit_now {
                Duration::ZERO
            } else {
                due.saturating_duration_since(Instant::now())
            };
            let Ok(offer) = self.offers.recv_timeout(patience) else {
                break;
            };
            bytes += offer.arrival.cost();
            commit_now |= offer.commit_now;
            group.push(offer);
        }
        Some(group)
    }

    /// Makes the group durable, however long it takes, and confirms it. False when the queue was closed before.
    fn commit(&mut self, mut group: Vec<Offer>) -> bool {
        let mut retry = RETRY_MIN;
        loop {
            if !self.wait_for_room() {
                return false;
            }
            let Err(error) = self.attempt(&mut group) else {
                return true;
            };
            self.shared.report_store_failure(&error);
            if !self.pause(retry) {
                return false;
            }
            retry = (retry * 2).min(RETRY_MAX);
        }
    }

    /// Tries once to make the group durable, and confirms it. On an error the same group must be tried again.
    pub(super) fn attempt(&mut self, group: &mut Vec<Offer>) -> Result<(), CommitError> {
        self.renew()?;
        self.append(group)?;
        self.publish(std::mem::take(group));
        Ok(())
    }

    fn append(&mut self, group: &[Offer]) -> Result<(), CommitError> {
        let chunks: Vec<Chunk> = self
            .encoder
            .encode(self.next, group.iter().map(|offer| &offer.arrival))?;
        let last = self.next.plus(group.len() as u64).previous();
        self.shared.marks.reserve(last)?;
        self.shared.store.append(&chunks)?;
        // The watermark first: behind it there must be nothing that anybody has heard of.
        self.shared.marks.set_durable(last)?;
        Ok(())
    }

    /// Makes sure that what the start found behind the watermark survives power loss, before anything is stored behind
    /// it, or anybody hears of it.
    pub(super) fn renew(&mut self) -> Result<(), CommitError> {
        let Some(Unproven { behind, last }) = self.unproven else {
            return Ok(());
        };
        let shared = &self.shared;
        shared.store.renew_behind(behind)?;
        shared.marks.set_durable(last)?;
        shared.tail.reach(last);
        shared.readable.raise();
        shared.store_recovered();
        self.unproven = None;
        Ok(())
    }

    /// The group is durable: the reader may have it, the sources may acknowledge it.
    fn publish(&mut self, group: Vec<Offer>) {
        let epoch = self.shared.epoch;
        let first = self.next;
        let (arrivals, receipts): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|offer| (offer.arrival, (offer.receipt, offer.room)))
            .unzip();
        self.next = first.plus(arrivals.len() as u64);
        let stored = (first.0..)
            .map(Seq)
            .zip(arrivals)
            .map(|(seq, arrival)| Stored { seq, epoch, arrival });
        self.shared.tail.extend(stored);
        self.shared.store_recovered();
        self.committed = Instant::now();
        self.shared.readable.raise();
        for (receipt, room) in receipts {
            receipt.confirm();
            drop(room);
        }
    }

    /// Waits while the queue is full. False when it was closed meanwhile.
    fn wait_for_room(&self) -> bool {
        let mut said = false;
        while self.is_full() {
            if !said {
                tracing::warn!(
                    max_bytes = self.max_bytes,
                    "queue full: taking nothing more until Kafka has taken some"
                );
                self.shared.full.store(true, Ordering::Relaxed);
                said = true;
            }
            if !self.pause(ROOM_POLL) {
                return false;
            }
        }
        if said {
            tracing::info!("queue has room again");
            self.shared.full.store(false, Ordering::Relaxed);
        }
        true
    }

    /// Whether the budget is used up. With nothing left to deliver, waiting would never end: then the store is
    /// about to begin a new unit and give back the rest.
    pub(super) fn is_full(&self) -> bool {
        self.shared.store.bytes() >= self.max_bytes
            && self.shared.tail.last() > self.shared.marks.values().cursor
    }

    /// Waits, alive. False when the queue was closed.
    fn pause(&self, duration: Duration) -> bool {
        self.shared.writer_pulse.beat();
        std::thread::park_timeout(duration);
        !self.shared.closed.load(Ordering::Relaxed)
    }
}
