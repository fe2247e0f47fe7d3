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

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

mod ballast;
pub mod codec;
mod compaction;
mod config;
pub mod dig;
mod drops;
mod expiry;
mod generation;
pub mod generations;
pub mod inspect;
pub mod intake;
mod jobs;
pub mod ledger;
mod limits;
pub mod marks;
mod reader;
mod relief;
pub mod seal;
pub mod store;
mod tail;
mod wear;
mod writer;

pub use ballast::Ballast;
pub use config::{Compression, Config, OnFull, Share};
pub(crate) use config::{Raw, RawLane, resolve};
pub use expiry::Now;
pub use intake::{Closed, Intake, Room};
pub use jobs::{Filter, PurgeError, Purged};
pub use ledger::Reason;
pub use marks::Passed;
pub use reader::{QueueError, Reader};
pub use relief::KeyOf;
pub use wear::Wear;
pub use writer::Writer;

use crate::faults;
use crate::message::{Arrival, Delivery, Epoch, Seq};
use crate::pulse::Pulse;
use crate::queue::codec::{EncodeError, Encoder, decode, read_chunk};
use crate::queue::drops::Drops;
use crate::queue::expiry::Expiry;
use crate::queue::generations::{Generations, Waker, settle};
use crate::queue::intake::Offer;
use crate::queue::jobs::Jobs;
use crate::queue::ledger::{Hole, Ledger, Totals};
use crate::queue::marks::{Marks, Values};
use crate::queue::relief::Relief;
use crate::queue::seal::{KeyFileError, Keys, MissingKeys, key_ids};
use crate::queue::store::{Extent, Found, Opened, Store, StoreError};
use crate::queue::tail::Tail;
use crate::queue::wear::Meter;
use crate::queue::writer::Unproven;
use crate::signal::Signal;
use crate::slots::SlotError;

/// How many of the newest messages are shown to the sources at start. Matches what the store retains.
const RECALL_MESSAGES: usize = 4096;
/// How long the start waits for them, and how often it asks. A message that is not recognised is stored twice, and marked.
const RECALL_PATIENCE: Duration = Duration::from_secs(2);
const RECALL_POLL: Duration = Duration::from_millis(50);

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
    /// A key cannot be read.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// A key is not given; nothing was touched.
    #[error(transparent)]
    MissingKeys(#[from] MissingKeys),
}

impl OpenError {
    /// Whether there is no space left for it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Store(error) => error.is_full(),
            Self::Marks(error) => error.is_full(),
            Self::Encode(_) | Self::KeyFile(_) | Self::MissingKeys(_) => false,
        }
    }
}

/// What a lane gets from outside. What is missing is done without.
#[derive(Clone, Default)]
pub struct Outside {
    /// The clock that `max_age` is judged by. Without it nothing expires.
    pub now: Option<Now>,
    /// Whose value a message is, for `on_full = "keep-latest"`. Without it a full lane takes nothing more.
    pub key_of: Option<KeyOf>,
    /// The reserve for a full disk.
    pub ballast: Option<Arc<Ballast>>,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside")
            .field("now", &self.now.is_some())
            .field("key_of", &self.key_of.is_some())
            .field("ballast", &self.ballast)
            .finish()
    }
}

/// What writer, reader and onlookers of a lane share.
#[derive(Debug)]
struct Shared {
    epoch: Epoch,
    keys: Keys,
    folder: PathBuf,
    store: Box<dyn Store>,
    tail: Tail,
    marks: Marks,
    ledger: Ledger,
    /// Every message up to here may be on its way to Kafka, so it is not removed. Held while messages are taken, and
    /// while it is decided what to remove.
    taken: Mutex<Seq>,
    /// The reader looked for messages in what was left out behind a loss, up to here.
    looked: AtomicU64,
    readable: Arc<Signal>,
    writer_pulse: Pulse,
    meter: Meter,
    full: AtomicBool,
    closed: AtomicBool,
    jobs: Jobs,
    expiry: Option<Expiry>,
    ballast: Option<Arc<Ballast>>,
    drops: Drops,
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
                _ => self.drops.note(reason, first, last, new.len()),
            }
        }
        Ok(())
    }

    /// Gives the ballast's space to whoever needs it now. False when there is none left.
    fn release_ballast(&self) -> bool {
        self.ballast.as_ref().is_some_and(|ballast| ballast.release())
    }

    /// Whether the ballast is where it should be, which it is brought to if there is room. True without one.
    fn restore_ballast(&self) -> bool {
        self.ballast.as_ref().is_none_or(|ballast| ballast.restore())
    }

    /// Deletes units that are holes as a whole: a crash came between the removal of their messages and their own.
    fn sweep(&self) {
        for unit in self.store.units() {
            let Some(last) = unit.last else {
                continue;
            };
            if self.ledger.is_removed(unit.first, last)
                && let Err(error) = self.store.drop_unit(unit.first)
            {
                tracing::warn!(first = %unit.first, %error, "cannot delete what was removed");
            }
        }
    }

    /// The end of the holes that begin right behind `seq`, or `seq`. What was left out behind a loss counts as a hole
    /// only when the reader has found nothing there.
    fn behind_holes(&self, mut seq: Seq) -> Seq {
        let looked = self.looked.load(Ordering::Relaxed);
        while let Some(hole) = self.ledger.hole_at(seq.next()) {
            if hole.reason == Reason::Skipped && hole.last.0 > looked {
                break;
            }
            seq = hole.last;
        }
        seq
    }

    /// A block was found: none of its sequences was left out.
    fn reclaim(&self, first: Seq, last: Seq) -> Result<(), SlotError> {
        let count = self.ledger.reclaim(first, last)?;
        if count > 0 {
            tracing::info!(%first, %last, count, "messages found behind the place where the log seemed to end");
        }
        Ok(())
    }

    /// Has the store look for damage in what nobody reads yet, and says what is missing.
    fn look_ahead(&self) {
        let cursor = self.marks.values().cursor;
        for gap in self.store.scrub() {
            let first = gap.first.max(cursor.next());
            let missing = (gap.last.0 + 1).saturating_sub(first.0);
            let known = self.ledger.covered(first, gap.last);
            if missing > known {
                tracing::error!(%first, last = %gap.last, count = missing - known, "messages that wait for delivery cannot be read: the store is damaged");
            }
        }
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
        let totals = self.ledger.totals().with(Reason::Expired, marks.expired);
        Balance::new(self.tail.last(), &marks, totals)
    }

    fn report_store_failure(&self, error: &dyn fmt::Display) {
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
    /// For whoever else keeps messages of this lane on disk.
    pub keys: Keys,
    /// The newest messages, oldest first.
    pub recalled: Vec<Recalled>,
}

/// Makes entrances for sources.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// What became of every message.
    pub balance: Balance,
    /// Space taken on disk, bytes.
    pub bytes: u64,
    /// What was written to the medium.
    pub wear: Wear,
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
            wear: self.0.meter.wear(),
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

    /// Removes every durable message that `filter` picks and that was not handed to the reader yet, counts it as
    /// [`Reason::Purged`], and says how many there were. The writer does it between two groups; this waits for it, so it
    /// must not be called on a thread that the pipeline needs.
    ///
    /// # Errors
    /// [`PurgeError`].
    pub fn purge(&self, filter: Filter) -> Purged {
        self.0.jobs.post(filter).recv().unwrap_or(Err(PurgeError::Closed))
    }

    /// Ends the reader's wait.
    pub fn wake_reader(&self) {
        self.0.readable.raise();
    }
}

/// Opens the lane in `folder`, created when missing, with nothing from outside.
///
/// # Errors
/// [`OpenError`] when the folder cannot be used at all.
pub fn open(folder: &Path, epoch: Epoch, config: &Config) -> Result<Queue, OpenError> {
    open_with(folder, epoch, config, &Outside::default())
}

/// Opens the lane in `folder`, created when missing. On a full disk the ballast is used.
///
/// # Errors
/// [`OpenError`] when the folder cannot be used at all.
pub fn open_with(
    folder: &Path,
    epoch: Epoch,
    config: &Config,
    outside: &Outside,
) -> Result<Queue, OpenError> {
    let keys = keys_for(&[folder.to_owned()], config)?;
    let open = || try_open(folder, epoch, config, &keys, outside);
    match &outside.ballast {
        Some(ballast) => ballast.relieve(OpenError::is_full, open),
        None => open(),
    }
}

fn try_open(
    folder: &Path,
    epoch: Epoch,
    config: &Config,
    keys: &Keys,
    outside: &Outside,
) -> Result<Queue, OpenError> {
    let readable = Arc::new(Signal::default());
    let woken = Arc::clone(&readable);
    create_folder(folder)?;
    let (ledger, _) = Ledger::open(&folder.join("ledger"))?;
    settle(folder, ledger.replacement())?;
    let mut opened = Generations::open(folder, config.max_bytes, Waker::new(move || woken.raise()))?;
    opened.store.share(config.share);
    assemble(opened, readable, folder, epoch, config, keys, outside)
}

/// The keys that the configuration names, after a look whether they open all that waits in `logs`, which are left as
/// they are.
///
/// # Errors
/// [`OpenError::KeyFile`] and [`OpenError::MissingKeys`].
pub fn keys_for(logs: &[PathBuf], config: &Config) -> Result<Keys, OpenError> {
    let keys = Keys::load(config.key_file.as_deref(), &config.old_key_files)?;
    logs.iter().try_for_each(|log| key_ids::check(log, &keys))?;
    Ok(keys)
}

/// Format version of the newest chunk of the log in `folder`, which is left as it is. `None` when there is none.
#[must_use]
pub fn newest_version(folder: &Path) -> Option<u8> {
    generations::probe::newest_chunk(folder).map(|chunk| chunk.version)
}

fn create_folder(folder: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(folder).map_err(|source| StoreError::Io {
        path: folder.to_owned(),
        source,
    })
}

/// Puts the parts of a lane together around its opened store.
fn assemble(
    opened: Opened<impl Store + 'static>,
    readable: Arc<Signal>,
    folder: &Path,
    epoch: Epoch,
    config: &Config,
    keys: &Keys,
    outside: &Outside,
) -> Result<Queue, OpenError> {
    let (marks, found) = Marks::open(folder)?;
    let (ledger, was_there) = Ledger::open(&folder.join("ledger"))?;
    if let Some(found) = found.filter(|_| !was_there) {
        account_for(&found, &ledger)?;
    }
    let extent = found.map_or(opened.extent, |marks| {
        reach(&opened.store, marks.durable, opened.extent)
    });
    let place = place(found, extent, &ledger);
    let shared = Arc::new(Shared {
        epoch,
        keys: keys.clone(),
        folder: folder.to_owned(),
        store: Box::new(opened.store),
        tail: Tail::at(place.values.durable, config.share),
        marks,
        ledger,
        taken: Mutex::new(Seq::ZERO),
        looked: AtomicU64::new(0),
        readable,
        writer_pulse: Pulse::default(),
        meter: Meter::new(config),
        full: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        jobs: Jobs::default(),
        expiry: expiry(config, outside),
        ballast: outside.ballast.clone(),
        drops: Drops::default(),
        store_failure: Mutex::new(None),
    });
    faults::point("open.placed");
    if let Some(skipped) = place.skipped {
        let watermark = found.map_or(skipped.last, |marks| marks.durable);
        if let Err(error) = shared.store.renew_behind(watermark) {
            tracing::warn!(%error, "cannot write anew what is left behind a loss: until it is delivered it may be in memory alone");
        }
        shared.record(skipped)?;
        faults::point("open.recorded");
    }
    // The same is found out again at the next start. No sequence is used that is not reserved durably.
    if let Err(error) = shared
        .marks
        .reset(place.values)
        .and_then(|()| shared.skip_holes())
    {
        tracing::warn!(%error, "cannot write the marks now");
    }
    faults::point("open.reset");
    key_ids::note(folder, keys, place.next, place.values.cursor)?;
    shared.sweep();
    let memory = config.share.part(intake::BUDGET_BYTES);
    let (sender, receiver) = sync_channel(Intake::channel_len(memory));
    let encoder = Encoder::new(epoch, config.compression, keys)?;
    let relief = Relief::new(Arc::clone(&shared), config, outside.key_of.clone());
    let mut writer = Writer::new(
        receiver,
        Arc::clone(&shared),
        encoder,
        place.next,
        place.unproven,
        config,
        relief,
    );
    if let Err(error) = writer.renew() {
        shared.report_store_failure(&error);
    }
    let recalled = recall(&shared);
    Ok(Queue {
        writer,
        reader: Reader::new(Arc::clone(&shared)),
        door: Door {
            memory,
            budget: Arc::new(Semaphore::new(memory)),
            offers: sender,
        },
        monitor: Monitor(shared),
        keys: keys.clone(),
        recalled,
    })
}

fn expiry(config: &Config, outside: &Outside) -> Option<Expiry> {
    let now = outside.now.clone()?;
    let max_age = config.max_age?;
    Some(Expiry { max_age, now })
}

/// Where the log goes on.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// Sequence of the next message.
    next: Seq,
    values: Values,
    /// Sequences that are left out because it cannot be seen which of them were used.
    skipped: Option<Hole>,
    /// What the watermark does not know.
    unproven: Option<Unproven>,
}

/// Without marks, a generation that is set aside is taken to have used this many sequences at most: ten times
/// what 16 MiB hold of the smallest messages, all alike and compressed.
const USED_UNSEEN: u64 = 1 << 32;

/// A store without its ledger: the messages before the cursor that are not accounted for were removed or never there.
fn account_for(found: &Values, ledger: &Ledger) -> Result<(), SlotError> {
    let done = found
        .delivered
        .saturating_add(found.dead_lettered)
        .saturating_add(found.expired);
    match found.cursor.0.saturating_sub(done) {
        0 => Ok(()),
        count => {
            tracing::warn!(
                count,
                "the ledger is lost: what became of these messages is not known any more"
            );
            ledger.count(Reason::Skipped, count, true)
        }
    }
}

/// How far the store reaches without a gap behind the watermark. Blocks behind a gap may be what an interrupted group left,
/// or all that is left of many: which sequences were used cannot be seen.
fn reach(store: &impl Store, durable: Seq, extent: Extent) -> Extent {
    let mut last = durable;
    while let Ok(Found::Block(raw)) = store.read(last.next()) {
        let end = raw.chunks.first().and_then(|chunk| read_chunk(chunk).ok());
        match end.map(|(header, _)| header.last()) {
            Some(end) if raw.first <= last.next() && end > last => last = end,
            _ => break,
        }
    }
    match extent.last {
        Some(end) if end > last => Extent {
            last: Some(last),
            unsure: true,
            ..extent
        },
        _ => extent,
    }
}

/// Decides where the log goes on, from what the marks and the store say.
///
/// A tail that the marks call durable and the store does not have may be lost (the reader finds out, after salvage);
/// then the next sequence is one that was never used, because the lost ones may have reached Kafka. So it is when that
/// cannot be seen.
fn place(found: Option<Values>, extent: Extent, ledger: &Ledger) -> Place {
    let begun = extent.newest.map(Seq::previous);
    let stored = extent.last.max(begun).unwrap_or(Seq::ZERO);
    let trimmed = extent.oldest.map_or(Seq::ZERO, Seq::previous);
    let unsure = extent.unsure || found.is_none() && extent.hollow;
    // Without marks, what the store holds is sent (again) from the start; what it does not hold was delivered.
    let marks = found.unwrap_or_else(|| {
        let cursor = if extent.last.is_some() || unsure {
            trimmed
        } else {
            stored
        };
        let removed = ledger.totals().sequences();
        let behind = ledger.gone(cursor.next(), stored);
        Values {
            cursor,
            durable: stored,
            reserved: stored.plus(if unsure { USED_UNSEEN } else { 1 }),
            delivered: cursor.0.saturating_sub(removed.saturating_sub(behind)),
            dead_lettered: 0,
            expired: 0,
        }
    });
    let whole = stored >= marks.durable && !unsure;
    let unproven = (whole && stored > marks.durable).then_some(Unproven {
        behind: marks.durable,
        last: stored,
    });
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
        cursor: if whole {
            marks.cursor.min(stored)
        } else {
            marks.cursor
        },
        durable: match unproven {
            Some(Unproven { behind, .. }) => behind,
            None => next.previous(),
        },
        ..marks
    };
    Place {
        next,
        values,
        skipped,
        unproven,
    }
}

/// The newest messages' deliveries, oldest first. Damage, and a slow disk, only shorten the list.
fn recall(shared: &Shared) -> Vec<Recalled> {
    let deadline = Instant::now() + RECALL_PATIENCE;
    let mut recalled = Vec::new();
    let mut seen = 0;
    let mut from = shared.tail.last();
    while seen < RECALL_MESSAGES && from > Seq::ZERO {
        let raw = match shared.store.read(from) {
            Ok(Found::Block(raw)) => raw,
            Ok(Found::Salvaging) if Instant::now() < deadline => {
                shared.readable.wait(RECALL_POLL);
                continue;
            }
            _ => break,
        };
        if raw.first > from {
            break;
        }
        let Ok(block) = decode::<Arrival>(&raw.chunks, &shared.keys) else {
            break;
        };
        seen += block.messages.len();
        // What was imported did not come from our brokers, although theirs may have the same names.
        let own = |(_, arrival): &(Seq, Arrival)| arrival.origin.is_none();
        let deliveries = block.messages.into_iter().rev().filter(own);
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
mod damage;
#[cfg(test)]
mod model;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
