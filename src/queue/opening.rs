//! Opening a lane: its parts are put together around what is on the disk.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use xxhash_rust::xxh3::xxh3_64;

use crate::clock;
use crate::faults;
use crate::message::{Arrival, Delivery, Epoch, Seq, Series};
use crate::pulse::Pulse;
use crate::queue::codec::{EncodeError, Encoder, decode};
use crate::queue::drops::Drops;
use crate::queue::expiry::{Expiry, Now};
use crate::queue::generations::{self, Generations, Waker, settle};
use crate::queue::intake;
use crate::queue::jobs::Jobs;
use crate::queue::ledger::Ledger;
use crate::queue::marks::Marks;
use crate::queue::place::{Place, account_for, place, reach};
use crate::queue::relief::{KeyOf, Relief};
use crate::queue::seal::{KeyFileError, Keys, MissingKeys, key_ids};
use crate::queue::store::{Found, Opened, Store, StoreError};
use crate::queue::tail::Tail;
use crate::queue::wear::Meter;
use crate::queue::writer::Writer;
use crate::queue::{Ballast, Config, Door, Monitor, Queue, Reader, Shared};
use crate::signal::Signal;
use crate::slots::SlotError;

/// How many of the newest messages of a lane, of all its brokers, are shown to the sources at start. Matches what the store
/// retains; some 80 bytes each until the sources have seen them.
const RECALL_MESSAGES: usize = 12_288;
/// Most that is read for that, bytes as they are on the disk: more than a store keeps of what is delivered. With messages over 1,365 bytes there this ends
/// first; over 2,048 bytes fewer than 8,192 are shown, and of these a source can be certain of none by their ids alone.
const RECALL_BYTES: usize = 16 * 1024 * 1024;
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
    /// XXH3 of its MQTT topic.
    pub topic: u64,
    /// The time of its stamp.
    pub unix_ms: i64,
    /// What its times have to ascend with: see [`Outside::series_of`].
    pub series: Vec<Series>,
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

/// See [`Outside::series_of`].
pub type SeriesOf = Arc<dyn Fn(&Arrival) -> Vec<Series> + Send + Sync>;

/// What a lane gets from outside. What is missing is done without.
#[derive(Clone, Default)]
pub struct Outside {
    /// The clock that `max_age` is judged by. Without it nothing expires.
    pub now: Option<Now>,
    /// Whose value a message is, for `on_full = "keep-latest"`. Without it a full lane takes nothing more.
    pub key_of: Option<KeyOf>,
    /// What the times of a message have to ascend with, for those who go on behind it.
    pub series_of: Option<SeriesOf>,
    /// The reserve for a full disk.
    pub ballast: Option<Arc<Ballast>>,
    /// The keys of the lane, where they are known: their files may have moved since. Without them the files are read.
    pub keys: Option<Keys>,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside")
            .field("now", &self.now.is_some())
            .field("key_of", &self.key_of.is_some())
            .field("series_of", &self.series_of.is_some())
            .field("ballast", &self.ballast)
            .field("keys", &self.keys)
            .finish()
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
    let keys = match &outside.keys {
        Some(known) => known.clone(),
        None => keys_for(&[folder.to_owned()], config)?,
    };
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

/// Opens the lane in `folder` around a store that is kept elsewhere, without keys.
///
/// # Errors
/// [`OpenError`] when the folder cannot be used at all.
#[doc(hidden)]
pub fn open_on(
    store: Opened<impl Store + 'static>,
    folder: &Path,
    epoch: Epoch,
    config: &Config,
    outside: &Outside,
) -> Result<Queue, OpenError> {
    create_folder(folder)?;
    assemble(
        store,
        Arc::default(),
        folder,
        epoch,
        config,
        &Keys::default(),
        outside,
    )
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
pub(super) fn assemble(
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
        reach(&opened.store, &ledger, marks.durable, opened.extent)
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
        unproven: AtomicBool::new(place.unproven.is_some()),
        readable,
        writer_pulse: Pulse::default(),
        meter: Meter::new(config),
        full: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        jobs: Jobs::default(),
        expiry: expiry(config, outside),
        ballast: outside.ballast.clone(),
        drops: Drops::default(),
        oldest: Mutex::new(None),
        store_failure: Mutex::default(),
        open: Arc::new(()),
    });
    let proven = settle_down(&shared, &place, found.map(|marks| marks.durable))?;
    equip(shared, &place, proven, config, outside)
}

/// Notes on the disk where the log goes on. Returns the last message that is known to be on the disk, of what is there.
fn settle_down(shared: &Shared, place: &Place, watermark: Option<Seq>) -> Result<Seq, OpenError> {
    let mut proven = place.values.durable;
    faults::point("open.placed");
    // A start that could not see how far the log reaches left sequences out, and then could not write the marks. This one sees it.
    // Left as they are, the cursor would go over them, and over what is stored there from now on.
    let seen = place
        .unproven
        .as_ref()
        .map_or(place.next, |unproven| unproven.behind.next());
    shared.ledger.reclaim(seen, Seq(u64::MAX - 1))?;
    if let Some(skipped) = place.skipped {
        let watermark = watermark.unwrap_or(skipped.last);
        if let Err(error) = shared.store.renew_behind(watermark) {
            tracing::warn!(%error, "cannot write anew what is left behind a loss: until it is delivered it may be in memory alone");
            proven = watermark;
        }
        shared.record(skipped)?;
        faults::point("open.recorded");
    }
    // The next start finds it out again, or leaves out a few more. No sequence is used that is not reserved durably.
    if let Err(error) = shared
        .marks
        .reset(place.values)
        .and_then(|()| shared.skip_holes())
    {
        tracing::warn!(%error, "cannot write the marks now");
    }
    // A crash may have come between the cursor and this.
    shared.settle();
    faults::point("open.reset");
    key_ids::note(&shared.folder, &shared.keys, place.next, place.values.cursor)?;
    shared.sweep();
    Ok(proven)
}

/// Makes the ends that go to different threads.
fn equip(
    shared: Arc<Shared>,
    place: &Place,
    proven: Seq,
    config: &Config,
    outside: &Outside,
) -> Result<Queue, OpenError> {
    let memory = config.share.part(intake::BUDGET_BYTES);
    let (sender, receiver) = intake::offers();
    let encoder = Encoder::new(shared.epoch, config.compression, &shared.keys)?;
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
    // What the writer has just written anew counts as well.
    let proven = if proven < place.values.durable {
        proven
    } else {
        shared.tail.last()
    };
    let recalled = recall(&shared, proven, outside.series_of.as_ref());
    Ok(Queue {
        writer,
        reader: Reader::new(Arc::clone(&shared), place.next),
        door: Door {
            memory,
            budget: Arc::new(Semaphore::new(memory)),
            offers: sender,
        },
        keys: shared.keys.clone(),
        monitor: Monitor(shared),
        recalled,
    })
}

fn expiry(config: &Config, outside: &Outside) -> Option<Expiry> {
    let now = outside.now.clone()?;
    let max_age = config.max_age?;
    Some(Expiry { max_age, now })
}

/// The deliveries of the newest messages up to `last`, oldest first: whoever brings one of them again is told that it is safe. Damage, and a slow
/// disk, only shorten the list.
pub(super) fn recall(shared: &Shared, last: Seq, series_of: Option<&SeriesOf>) -> Vec<Recalled> {
    let deadline = clock::instant() + RECALL_PATIENCE;
    let mut recalled = Vec::new();
    let (mut seen, mut bytes) = (0, 0);
    let mut from = last;
    let is_enough = |seen: usize, bytes: usize| {
        seen >= RECALL_MESSAGES || bytes >= RECALL_BYTES || clock::instant() >= deadline
    };
    while from > Seq::ZERO && !is_enough(seen, bytes) {
        let raw = match shared.store.read(from) {
            Ok(Found::Block(raw)) => raw,
            Ok(Found::Salvaging) => {
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
        bytes += raw.chunks.iter().map(Vec::len).sum::<usize>();
        // What was imported did not come from our brokers, although theirs may have the same names.
        let own = |(seq, arrival): &(Seq, Arrival)| *seq <= last && arrival.origin.is_none();
        let deliveries = block.messages.into_iter().rev().filter(own);
        recalled.extend(deliveries.map(|(_, arrival)| Recalled {
            topic: xxh3_64(arrival.topic.as_bytes()),
            unix_ms: arrival.stamp.unix_ms,
            series: series_of.map_or_else(Vec::new, |series_of| series_of(&arrival)),
            broker: arrival.broker,
            delivery: arrival.delivery,
        }));
        from = raw.first.previous();
    }
    recalled.reverse();
    recalled
}
