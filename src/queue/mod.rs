//! The durable log of one lane.
//!
//! What must hold:
//!
//! * A receipt is confirmed only when its message survives power loss: sled flush **and** `fdatasync`.
//! * The reader gives only durable messages, in sequence order, and nobody else trims.
//! * Sequences ascend by one, never go back and are never reused. After a loss they jump, and the loss is
//!   reported as the exact range.
//! * Memory is bounded: arrivals that are not durable by [`intake::BUDGET_BYTES`], durable ones by the tail's
//!   limit; everything else is on disk, bounded by `max_bytes`.
//! * A store that fails or is damaged never ends the process and never blocks the start.
//!
//! ```text
//! Intake ──Offer──▶ Writer ──chunks──▶ Store (sled generations) ──blocks──▶ Reader ──Stored──▶
//!    ◀──receipt────── │                                                       ▲ │
//!                     └──────────────────── Tail (memory) ────────────────────┘ └─▶ Marks (cursor)
//! ```
//!
//! The folder of a lane holds the generations (see [`generations`]) and `marks` (see [`marks`]). The queue
//! knows neither MQTT nor Kafka.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::sync::Semaphore;

pub mod codec;
mod config;
mod generation;
pub mod generations;
pub mod intake;
pub mod ledger;
pub mod marks;
mod reader;
pub mod store;
mod tail;
mod writer;

pub use config::{Compression, Config, OnFull, Share};
pub(crate) use config::{Raw, RawLane, resolve};
pub use intake::{Closed, Intake, Room};
pub use ledger::Reason;
pub use marks::Passed;
pub use reader::{QueueError, Reader};
pub use writer::Writer;

use crate::message::{Arrival, Delivery, Epoch, Seq};
use crate::pulse::Pulse;
use crate::queue::codec::{EncodeError, Encoder, decode};
use crate::queue::generations::{Generations, Waker};
use crate::queue::intake::Offer;
use crate::queue::ledger::{Hole, Ledger, Totals};
use crate::queue::marks::{Marks, Values};
use crate::queue::store::{Extent, Found, Opened, Store, StoreError};
use crate::queue::tail::Tail;
use crate::signal::Signal;
use crate::slots::SlotError;

/// How many of the newest messages are shown to the sources at start. Matches what the store retains.
const RECALL_MESSAGES: usize = 4096;

/// What the store remembers of an earlier delivery, newest last: lets a source recognise redeliveries
/// after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recalled {
    /// `[[mqtt]] name`
    pub broker: Arc<str>,
    /// How it was delivered.
    pub delivery: Delivery,
}

/// Why a lane cannot be opened. Damage inside it is never the reason.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The marks cannot be written.
    #[error("marks: {0}")]
    Marks(#[from] SlotError),
    /// The encoder cannot be set up.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// What writer, reader and onlookers of a lane share.
#[derive(Debug)]
struct Shared {
    epoch: Epoch,
    store: Box<dyn Store>,
    tail: Tail,
    marks: Marks,
    ledger: Ledger,
    /// Every message up to here may be on its way to Kafka, so it is not removed. Held while messages are taken, and
    /// while it is decided what to remove.
    taken: Mutex<Seq>,
    readable: Arc<Signal>,
    writer_pulse: Pulse,
    full: AtomicBool,
    closed: AtomicBool,
    store_failure: Mutex<Option<String>>,
}

impl Shared {
    /// Records that nothing is in `hole` any more, and says so.
    fn record(&self, hole: Hole) -> Result<(), SlotError> {
        for new in self.ledger.record(hole, self.marks.synced_cursor())? {
            let Hole { first, last, reason } = new;
            match reason {
                Reason::Damaged => {
                    tracing::error!(%first, %last, "messages that were durable are lost: the store is damaged");
                }
                Reason::Skipped => tracing::warn!(%first, %last, "sequences left out behind a loss"),
                _ => tracing::warn!(%first, %last, reason = reason.name(), "messages removed"),
            }
        }
        Ok(())
    }

    /// The end of the holes that begin right behind `seq`, or `seq`.
    fn behind_holes(&self, mut seq: Seq) -> Seq {
        while let Some(hole) = self.ledger.hole_at(seq.next()) {
            seq = hole.last;
        }
        seq
    }

    /// Moves the cursor over holes right behind it.
    fn skip_holes(&self) -> Result<(), SlotError> {
        let cursor = self.marks.values().cursor;
        let through = self.behind_holes(cursor);
        if through > cursor {
            self.marks.set_cursor(through, Passed::default())?;
        }
        Ok(())
    }

    /// The account now.
    fn balance(&self) -> Balance {
        let marks = self.marks.values();
        let totals = self.ledger.totals();
        Balance::new(self.tail.last(), &marks, totals)
    }

    fn report_store_failure(&self, error: &dyn std::fmt::Display) {
        let mut failure = self.store_failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            tracing::error!(%error, "cannot store: acknowledging nothing, trying again");
        }
        *failure = Some(error.to_string());
    }

    fn store_recovered(&self) {
        let mut failure = self.store_failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.take().is_some() {
            tracing::info!("storing again");
        }
    }
}

/// An opened lane, in parts that go to different threads.
#[derive(Debug)]
pub struct Queue {
    /// For the writer thread.
    pub writer: Writer,
    /// For the sink.
    pub reader: Reader,
    /// Makes intakes; the writer ends when this and all intakes are gone.
    pub door: Door,
    /// For whoever watches.
    pub monitor: Monitor,
    /// The newest messages, oldest first.
    pub recalled: Vec<Recalled>,
}

/// Makes entrances for sources.
#[derive(Debug)]
pub struct Door {
    memory: usize,
    budget: Arc<Semaphore>,
    offers: SyncSender<Offer>,
}

impl Door {
    /// An entrance for one source.
    #[must_use]
    pub fn intake(&self) -> Intake {
        Intake::new(self.memory, Arc::clone(&self.budget), self.offers.clone())
    }
}

/// A look at the queue from outside.
#[derive(Debug, Clone)]
pub struct Monitor(Arc<Shared>);

/// The account of a lane: `received = delivered + dead_lettered + removed + queued`, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Messages that were acknowledged, since the store was made.
    pub received: u64,
    /// Confirmed by Kafka.
    pub delivered: u64,
    /// Kept as dead letters.
    pub dead_lettered: u64,
    /// Removed, by reason.
    pub removed: Totals,
    /// Durable and neither of these yet.
    pub queued: u64,
}

impl Balance {
    fn new(last: Seq, marks: &Values, removed: Totals) -> Self {
        let used = last.0.saturating_sub(removed.of(Reason::Skipped));
        let received = used.saturating_add(removed.of(Reason::DroppedNewest));
        let done = marks.delivered + marks.dead_lettered + removed.removed();
        Self {
            received,
            delivered: marks.delivered,
            dead_lettered: marks.dead_lettered,
            removed,
            queued: received.saturating_sub(done),
        }
    }
}

/// State of the queue at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What became of every message.
    pub balance: Balance,
    /// Space taken on disk, bytes.
    pub bytes: u64,
    /// The budget is used up; nothing is taken.
    pub full: bool,
    /// Why nothing can be stored at the moment.
    pub failure: Option<String>,
}

impl Monitor {
    /// The state now.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            balance: self.0.balance(),
            bytes: self.0.store.bytes(),
            full: self.0.full.load(Ordering::Relaxed),
            failure: self
                .0
                .store_failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    /// The last durable message.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.0.tail.last()
    }

    /// The writer's sign of life.
    #[must_use]
    pub fn writer_pulse(&self) -> &Pulse {
        &self.0.writer_pulse
    }

    /// Tells a writer that cannot commit to give up; what it holds was never acknowledged.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }

    /// Ends the reader's wait.
    pub fn wake_reader(&self) {
        self.0.readable.raise();
    }
}

/// Opens the lane in `folder`, created when missing.
///
/// # Errors
/// [`OpenError`] when the folder cannot be used at all.
pub fn open(folder: &Path, epoch: Epoch, config: &Config) -> Result<Queue, OpenError> {
    let readable = Arc::new(Signal::default());
    let woken = Arc::clone(&readable);
    let mut opened = Generations::open(folder, config.max_bytes, Waker::new(move || woken.raise()))?;
    opened.store.share(config.share);
    assemble(opened, readable, folder, epoch, config)
}

/// Puts the parts of a lane together around its opened store.
fn assemble(
    opened: Opened<impl Store + 'static>,
    readable: Arc<Signal>,
    folder: &Path,
    epoch: Epoch,
    config: &Config,
) -> Result<Queue, OpenError> {
    let (marks, found) = Marks::open(&folder.join("marks"))?;
    let (ledger, _) = Ledger::open(&folder.join("ledger"))?;
    let place = place(found, opened.extent, &ledger);
    let shared = Arc::new(Shared {
        epoch,
        store: Box::new(opened.store),
        tail: Tail::at(place.next.previous(), config.share),
        marks,
        ledger,
        taken: Mutex::new(Seq::ZERO),
        readable,
        writer_pulse: Pulse::default(),
        full: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        store_failure: Mutex::new(None),
    });
    if let Some(skipped) = place.skipped {
        // The newest unit lost its end: nothing is appended to it, so that it can be salvaged.
        shared.store.seal();
        shared.record(skipped)?;
    }
    shared.marks.reset(place.values)?;
    shared.skip_holes()?;
    let recalled = recall(&*shared.store, place.next.previous());
    let memory = config.share.part(intake::BUDGET_BYTES);
    let (sender, receiver) = sync_channel(Intake::channel_len(memory));
    let encoder = Encoder::new(epoch, config.compression)?;
    Ok(Queue {
        writer: Writer::new(receiver, Arc::clone(&shared), encoder, place.next, config),
        reader: Reader::new(Arc::clone(&shared)),
        door: Door {
            memory,
            budget: Arc::new(Semaphore::new(memory)),
            offers: sender,
        },
        monitor: Monitor(shared),
        recalled,
    })
}

/// Where the log goes on.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// Sequence of the next message.
    next: Seq,
    values: Values,
    /// Sequences that are left out because it cannot be seen which of them were used.
    skipped: Option<Hole>,
}

/// Without marks, a generation that is set aside is taken to have used this many sequences at most: ten times
/// what 16 MiB hold of the smallest messages, all alike and compressed.
const USED_UNSEEN: u64 = 1 << 32;

/// Decides where the log goes on, from what the marks and the store say.
///
/// A tail that the marks call durable and the store does not have may be lost (the reader finds out, after salvage);
/// then the next sequence is one that was never used, because the lost ones may have reached Kafka. So it is when that
/// cannot be seen.
fn place(found: Option<Values>, extent: Extent, ledger: &Ledger) -> Place {
    let begun = extent.newest.map(Seq::previous);
    let stored = extent.last.max(begun).unwrap_or(Seq::ZERO);
    let trimmed = extent.oldest.map_or(Seq::ZERO, Seq::previous);
    // Without marks, what the store holds is sent (again) from the start; what it does not hold was delivered.
    let marks = found.unwrap_or_else(|| Values {
        cursor: Seq::ZERO,
        durable: stored,
        reserved: stored.plus(if extent.unsure { USED_UNSEEN } else { 1 }),
        delivered: 0,
        dead_lettered: 0,
    });
    // Only what was delivered is trimmed, and only when the marks know it durably: they lag if they were damaged.
    let known = if extent.last.is_some() { trimmed } else { stored };
    let cursor = match found {
        Some(_) => marks.cursor.max(trimmed),
        None => known,
    };
    let passed = cursor.0.saturating_sub(marks.cursor.0);
    let holes = match found {
        Some(_) => ledger.covered(marks.cursor.next(), cursor),
        None => ledger
            .totals()
            .sequences()
            .saturating_sub(ledger.covered(cursor.next(), stored)),
    };
    let delivered = marks.delivered + passed.saturating_sub(holes);
    let whole = stored >= marks.durable && !extent.unsure;
    let next = if whole {
        stored.next()
    } else {
        marks.reserved.max(marks.durable.max(stored).next())
    };
    // What the marks call durable is looked for by the reader; what lies behind was never confirmed.
    let unseen = marks.durable.max(stored).next();
    let skipped = (unseen < next).then_some(Hole {
        first: unseen,
        last: next.previous(),
        reason: Reason::Skipped,
    });
    let values = Values {
        cursor: if whole { cursor.min(stored) } else { cursor },
        durable: if whole { stored } else { next.previous() },
        delivered,
        ..marks
    };
    Place {
        next,
        values,
        skipped,
    }
}

/// The newest messages' deliveries, oldest first. Damage only shortens the list.
fn recall(store: &dyn Store, last: Seq) -> Vec<Recalled> {
    let mut recalled = Vec::new();
    let mut from = last;
    while recalled.len() < RECALL_MESSAGES && from > Seq::ZERO {
        let Ok(Found::Block(raw)) = store.read(from) else {
            break;
        };
        if raw.first > from {
            break;
        }
        let Ok(block) = decode::<Arrival>(&raw.chunks) else {
            break;
        };
        let deliveries = block.messages.into_iter().rev();
        recalled.extend(deliveries.map(|(_, arrival)| Recalled {
            broker: arrival.broker,
            delivery: arrival.delivery,
        }));
        from = raw.first.previous();
    }
    recalled.reverse();
    recalled
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
