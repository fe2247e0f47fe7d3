//! Group commit: takes what is waiting, makes it durable, confirms.
//!
//! One OS thread. While it syncs, the next group gathers in the channel by itself, so throughput needs no
//! timer; `commit_interval` only trades latency for flash wear (see `wear`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::faults;
use crate::message::{Arrival, Seq, Stored};
use crate::outages::{Repeated, Say};
use crate::queue::codec::{Chunk, EncodeError, Encoder};
use crate::queue::intake::{self, Offer, Receipt};
use crate::queue::jobs::{Filter, PurgeError, Purged};
use crate::queue::ledger::Reason;
use crate::queue::limits::{Gauge, Room, free_bytes, growth};
use crate::queue::relief::Relief;
use crate::queue::store::StoreError;
use crate::queue::{Config, OnFull, Shared};
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
    relief: Relief,
    on_full: OnFull,
    min_free_bytes: u64,
    /// The disk was low when it was looked at last.
    low: bool,
    committed: Instant,
    /// That the queue is full, as the log tells it.
    said_full: Repeated,
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
    #[error("cannot make room: {0}")]
    Relief(#[from] PurgeError),
}

impl CommitError {
    fn is_full(&self) -> bool {
        match self {
            Self::Encode(_) => false,
            Self::Store(error) => error.is_full(),
            Self::Marks(error) => error.is_full(),
            Self::Relief(error) => error.is_full(),
        }
    }
}

/// A group that is not durable yet.
#[derive(Debug)]
pub struct Held {
    group: Vec<Offer>,
    /// How long to wait before the next attempt, should this one fail.
    retry: Duration,
}

impl Held {
    const fn new(group: Vec<Offer>) -> Self {
        Self {
            group,
            retry: RETRY_MIN,
        }
    }
}

/// What a round of the writer came to.
#[doc(hidden)]
#[derive(Debug)]
pub enum Round {
    /// Nothing is offered.
    Idle,
    /// A group was stored, or dropped as it was ordered.
    Committed,
    /// The group waits so long.
    Waits(Held, Duration),
    /// All sources are gone.
    Over,
}

/// How far a group got.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// It is confirmed.
    Done,
    /// Something was given back: look again.
    Again,
    /// There is no room.
    Wait,
}

impl Writer {
    pub(super) fn new(
        offers: Receiver<Offer>,
        shared: Arc<Shared>,
        encoder: Encoder,
        next: Seq,
        unproven: Option<Unproven>,
        config: &Config,
        relief: Relief,
    ) -> Self {
        Self {
            offers,
            shared,
            encoder,
            next,
            unproven,
            relief,
            on_full: config.on_full,
            min_free_bytes: config.min_free_bytes,
            low: false,
            committed: clock::instant(),
            said_full: Repeated::default(),
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

    /// What is done between two groups and while one waits: purges that were asked for, units that are too old, the
    /// ballast.
    fn maintain(&mut self) {
        for job in self.shared.jobs.take() {
            let purged = self.purge(&job.filter);
            if job.answer.send(purged).is_err() {
                tracing::debug!("nobody waits for this purge any more");
            }
        }
        if let Err(error) = self.relief.expire() {
            tracing::warn!(%error, "cannot give back what is too old");
        }
        self.shared.restore_ballast();
    }

    /// As [`crate::queue::Monitor::purge`], for whoever opened the lane and runs no writer thread.
    ///
    /// # Errors
    /// [`PurgeError`].
    pub fn purge(&mut self, filter: &Filter) -> Purged {
        // The newest unit may hold more than the tail knows.
        if let Err(error) = self.renew() {
            self.shared.report_store_failure(&error);
            return Err(PurgeError::Unproven);
        }
        self.relief.purge(&mut self.encoder, filter)
    }

    /// Waits for the next group. `None` when all sources are gone.
    pub(super) fn gather(&mut self) -> Option<Vec<Offer>> {
        let first = loop {
            self.look_after();
            match self.offers.recv_timeout(HEARTBEAT) {
                Ok(offer) => break offer,
                Err(RecvTimeoutError::Timeout) => self.rest(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        };
        Some(self.gather_behind(first))
    }

    /// Nothing came for a while.
    fn rest(&mut self) {
        self.shared.tail.rest();
        self.encoder.rest();
    }

    /// What is done before each wait for messages.
    fn look_after(&mut self) {
        faults::hang(faults::WRITER_ROUND);
        self.shared.writer_pulse.beat();
        self.maintain();
        self.shared.look_ahead();
        if let Err(error) = self.renew() {
            self.shared.report_store_failure(&error);
        }
    }

    /// The group that begins with `first`.
    fn gather_behind(&self, first: Offer) -> Vec<Offer> {
        let due = self.committed + self.shared.meter.interval();
        let mut bytes = first.arrival.cost();
        let mut commit_now = first.commit_now;
        let mut group = vec![first];
        while bytes < GROUP_BYTES {
            let patience = if commit_now {
                Duration::ZERO
            } else {
                due.saturating_duration_since(clock::instant())
            };
            let Ok(offer) = self.offers.recv_timeout(patience) else {
                break;
            };
            bytes += offer.arrival.cost();
            commit_now |= offer.commit_now;
            group.push(offer);
        }
        group
    }

    /// What the thread does between two waits, for whoever has another clock than the machine's: one attempt for the group that
    /// is `held`, or for what is offered. Waits for nothing when `commit_interval` is 0.
    #[doc(hidden)]
    pub fn round(&mut self, held: Option<Held>) -> Round {
        let mut held = if let Some(held) = held {
            self.maintain();
            held
        } else {
            self.look_after();
            match self.offers.try_recv() {
                Ok(first) => Held::new(self.gather_behind(first)),
                Err(TryRecvError::Empty) => {
                    self.rest();
                    return Round::Idle;
                }
                Err(TryRecvError::Disconnected) => return Round::Over,
            }
        };
        match self.try_commit(&mut held) {
            None => Round::Committed,
            Some(wait) => Round::Waits(held, wait),
        }
    }

    /// Makes the group durable, however long it takes, and confirms it. False when the queue was closed before.
    fn commit(&mut self, group: Vec<Offer>) -> bool {
        let mut held = Held::new(group);
        while let Some(wait) = self.try_commit(&mut held) {
            if !self.pause(wait) {
                return false;
            }
            self.maintain();
        }
        true
    }

    /// One attempt. `None` when the group is confirmed, otherwise how long to wait before the next one.
    fn try_commit(&mut self, held: &mut Held) -> Option<Duration> {
        let stepped = self.step(&mut held.group);
        if faults::omits(faults::DROP_COUNTS) && !matches!(stepped, Ok(Progress::Done)) {
            confirm(held.group.drain(..).map(|offer| (offer.receipt, offer.room)));
            return None;
        }
        match stepped {
            Ok(Progress::Done) => None,
            Ok(Progress::Again) => Some(Duration::ZERO),
            Ok(Progress::Wait) => Some(ROOM_POLL),
            Err(error) => {
                self.shared.report_store_failure(&error);
                if error.is_full() {
                    self.shared.release_ballast();
                }
                let wait = held.retry;
                held.retry = (held.retry * 2).min(RETRY_MAX);
                Some(wait)
            }
        }
    }

    /// Looks for room and does what it allows.
    fn step(&mut self, group: &mut Vec<Offer>) -> Result<Progress, CommitError> {
        let room = self.room(group);
        self.low = matches!(room, Room::Low(_));
        self.note_full(room == Room::Full);
        match room {
            Room::Free => self.attempt(group).map(|()| Progress::Done),
            Room::Low(low) => {
                self.shared.report_store_failure(&low);
                self.relief.spare()?;
                Ok(Progress::Wait)
            }
            Room::Full if self.on_full == OnFull::DropNewest => {
                self.drop_group(group)?;
                Ok(Progress::Done)
            }
            Room::Full if self.relief.relieve(&mut self.encoder)? => Ok(Progress::Again),
            Room::Full => Ok(Progress::Wait),
        }
    }

    fn room(&self, group: &[Offer]) -> Room {
        let incoming: usize = group.iter().map(|offer| offer.arrival.cost()).sum();
        let gauge = Gauge {
            bytes: self.shared.store.bytes(),
            max_bytes: self.relief.budget(),
            incoming: growth(incoming as u64),
            backlog: self.shared.tail.last() > self.shared.marks.values().cursor,
            free: free_bytes(&self.shared.folder).ok(),
            min_free: self.min_free_bytes,
            ballast: self
                .shared
                .ballast
                .as_ref()
                .is_none_or(|ballast| ballast.is_held()),
            was_low: self.low,
        };
        gauge.room()
    }

    fn note_full(&mut self, full: bool) {
        if self.shared.full.swap(full, Ordering::Relaxed) == full {
            return;
        }
        // A queue at its limit is full and not full several times a second.
        if !full {
            tracing::debug!("queue has room again");
        } else if let Say::Loudly { untold } = self.said_full.again(clock::instant().into()) {
            tracing::warn!(on_full = ?self.on_full, untold, "queue full");
        }
    }

    /// Acknowledges what is not stored. It is counted durably before: an acknowledged message is never unaccounted for.
    fn drop_group(&mut self, group: &mut Vec<Offer>) -> Result<(), CommitError> {
        let count = group.len() as u64;
        self.shared.ledger.count(Reason::DroppedNewest, count, true)?;
        let last = self.next.previous();
        self.shared
            .drops
            .note(Reason::DroppedNewest, self.next, last, count);
        self.committed = clock::instant();
        confirm(group.drain(..).map(|offer| (offer.receipt, offer.room)));
        Ok(())
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
        faults::point("commit.encoded");
        self.shared.marks.reserve(last)?;
        if faults::omits(faults::MARK_FOLLOWS) {
            self.shared.marks.set_durable(last, 0)?;
            faults::point("commit.noted");
        }
        self.shared.store.append(&chunks)?;
        faults::point("commit.durable");
        self.relief
            .wrote(chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum());
        // The watermark first: behind it there must be nothing that anybody has heard of.
        self.shared
            .marks
            .set_durable(last, unprotected_of(group.iter().map(|offer| &offer.arrival)))?;
        faults::point("commit.noted");
        Ok(())
    }

    /// Makes sure that what the start found behind the watermark survives power loss, before anything is stored behind
    /// it, or anybody hears of it.
    pub(super) fn renew(&mut self) -> Result<(), CommitError> {
        let Some(Unproven { behind, last }) = self.unproven else {
            return Ok(());
        };
        let shared = &self.shared;
        if !faults::omits(faults::END_IS_RENEWED) {
            shared.store.renew_behind(behind)?;
        }
        faults::point("renew.placed");
        shared.marks.set_durable(last, shared.unprotected(behind, last))?;
        shared.tail.reach(last);
        shared.readable.raise();
        shared.store_recovered();
        shared.unproven.store(false, Ordering::Relaxed);
        self.unproven = None;
        Ok(())
    }

    /// The group is durable: the reader may have it, the sources may acknowledge it.
    fn publish(&mut self, group: Vec<Offer>) {
        let epoch = self.shared.epoch;
        let first = self.next;
        let payload = group.iter().map(|offer| offer.arrival.payload.len()).sum();
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
        self.committed = clock::instant();
        self.shared.meter.committed(payload);
        self.shared.readable.raise();
        confirm(receipts);
        faults::point("commit.confirmed");
    }

    /// Waits, alive. False when the queue was closed.
    fn pause(&self, duration: Duration) -> bool {
        self.shared.writer_pulse.beat();
        std::thread::park_timeout(duration);
        !self.shared.closed.load(Ordering::Relaxed)
    }
}

/// How many came with QoS 0. What was imported came elsewhere, and was counted there.
pub(super) fn unprotected_of<'a>(arrivals: impl Iterator<Item = &'a Arrival>) -> u64 {
    let is_unprotected = |arrival: &&Arrival| arrival.delivery.qos == 0 && arrival.origin.is_none();
    arrivals.filter(is_unprotected).count() as u64
}

/// Says that the messages may be acknowledged, and gives back the memory they held.
fn confirm(receipts: impl IntoIterator<Item = (Receipt, intake::Room)>) {
    for (receipt, room) in receipts {
        receipt.confirm();
        drop(room);
    }
}

/// The thread's steps, one by one.
#[cfg(test)]
impl Writer {
    /// Commits a group in at most `steps`. False when it has to wait for room.
    pub(super) fn commit_in(&mut self, mut group: Vec<Offer>, steps: usize) -> bool {
        let mut waits = std::iter::repeat_with(|| self.step(&mut group).expect("no failure"));
        waits
            .by_ref()
            .take(steps)
            .find(|progress| *progress != Progress::Again)
            == Some(Progress::Done)
    }

    pub(super) fn relieve_now(&mut self) -> bool {
        self.relief.relieve(&mut self.encoder).expect("relieves")
    }

    pub(super) fn compact_now(&mut self) {
        self.relief.forget_last();
        self.relieve_now();
    }

    pub(super) fn expire_now(&mut self) {
        self.relief.expire_now().expect("expires");
    }
}
