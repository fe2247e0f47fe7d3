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
use crate::queue::jobs::{Filter, Purged};
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
    max_bytes: u64,
    commit_interval: Duration,
    committed: Instant,
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
        config: &Config,
    ) -> Self {
        Self {
            offers,
            shared,
            encoder,
            next,
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
        self.shared.jobs.close();
    }

    /// What is done between two groups: purges that were asked for.
    fn maintain(&mut self) {
        for job in self.shared.jobs.take() {
            let purged = self.purge(&job.filter);
            if job.answer.send(purged).is_err() {
                tracing::debug!("nobody waits for this purge any more");
            }
        }
    }

    /// As [`crate::queue::Monitor::purge`], for whoever opened the lane and runs no writer thread.
    ///
    /// # Errors
    /// [`PurgeError`].
    #[expect(
        clippy::unused_self,
        reason = "interface first; the rewriting of units follows"
    )]
    pub fn purge(&mut self, _filter: &Filter) -> Purged {
        Err(StoreError::Io {
            path: "purge".into(),
            source: std::io::ErrorKind::Unsupported.into(),
        }
        .into())
    }

    /// Waits for the next group. `None` when all sources are gone.
    pub(super) fn gather(&mut self) -> Option<Vec<Offer>> {
        let first = loop {
            self.shared.writer_pulse.beat();
            self.maintain();
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
        if let Err(error) = self.shared.marks.set_durable(self.next.previous()) {
            tracing::warn!(%error, "cannot note the watermark; a loss in the store might go unnoticed");
        }
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
