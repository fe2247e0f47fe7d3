//! Opens what a crash left, in a process of its own, and writes down everything that is in it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use edgeferry::queue::ledger::Ledger;
use edgeferry::queue::{self, Queue, Reason};
use edgeferry::slots::{PAGE_BYTES, SlotFile};
use serde::{Deserialize, Serialize};

use crate::child;
use crate::load::{self, Full};
use crate::message::payload;
use crate::support::wait;

/// Far more than the start of a small store and its salvage take.
const LIMIT: Duration = Duration::from_mins(1);

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Orders {
    /// As in [`load::Orders`].
    pub folder: PathBuf,
    /// Where to write what was found.
    pub found: PathBuf,
    /// As in [`load::Orders`].
    pub max_bytes: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Drained {
    /// Sequence and position of each message that can be read, in the order of reading.
    pub messages: Vec<(u64, u64)>,
    /// Positions whose payload is not what was stored.
    pub altered: Vec<u64>,
    /// The account.
    pub balance: Balance,
    /// What the session file says; `None` when there is none, or none that is whole.
    pub session: Option<u64>,
    /// Holes in the extra ledger, and the total it counts.
    pub holes: Vec<u64>,
    /// See `holes`.
    pub hole_total: u64,
}

/// [`queue::Balance`] in plain numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    pub received: u64,
    /// Or filtered.
    pub delivered: u64,
    pub dead_lettered: u64,
    pub queued: u64,
    pub removed: u64,
    pub damaged: u64,
    pub skipped: u64,
}

impl Balance {
    fn of(balance: &queue::Balance) -> Self {
        // Passed over because no route wants them: that was in order.
        let filtered = balance.removed.of(Reason::Filtered);
        Self {
            received: balance.received,
            delivered: balance.delivered + filtered,
            dead_lettered: balance.dead_lettered,
            queued: balance.queued,
            removed: balance.removed.removed() - filtered,
            damaged: balance.removed.of(Reason::Damaged),
            skipped: balance.removed.of(Reason::Skipped),
        }
    }
}

/// Drains the store in `folder` with a process of its own.
///
/// # Errors
/// What that process said when it could not open or read the store.
pub fn drain(folder: &Path, max_bytes: u64, outside: &Path) -> Result<Drained, String> {
    let found = outside.join("found");
    // A leftover of the last one must not pass for this one's.
    drop(std::fs::remove_file(&found));
    let orders = Orders {
        folder: folder.to_owned(),
        found: found.clone(),
        max_bytes,
    };
    let log = outside.join("drain.log");
    let mut process = child::start("drain", &log, &child::Orders::Drain(orders), &[]);
    match wait::or_give_up(LIMIT * 2, || process.ended()) {
        Some(status) if status.success() => {
            let bytes = std::fs::read(&found).expect("it wrote what it found");
            Ok(serde_json::from_slice(&bytes).expect("our own words"))
        }
        Some(status) => Err(format!("{status}: {}", process.log())),
        None => Err(format!("not within {:?}: {}", LIMIT * 2, process.log())),
    }
}

/// Opens, reads, writes down.
pub fn run(orders: &Orders) {
    let Queue {
        mut reader, monitor, ..
    } = load::open(&orders.folder, orders.max_bytes, Full::Backpressure);
    let mut drained = Drained::default();
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(stored) = reader.read_next().expect("reads") {
            let position = stored.arrival.delivery.position;
            drained.messages.push((stored.seq.0, position));
            if stored.arrival.payload != payload(position) {
                drained.altered.push(position);
            }
        } else if monitor.status().balance.queued <= drained.messages.len() as u64 {
            break;
        } else {
            // Something is being salvaged.
            assert!(Instant::now() < deadline, "{:?}", monitor.status());
            reader.wait(Duration::from_millis(50));
        }
    }
    drained.balance = Balance::of(&monitor.status().balance);
    let [session, ledger] = load::extras(&orders.folder);
    if session.exists() {
        drained.session = SlotFile::open::<u64>(&session, PAGE_BYTES).expect("opens").1;
    }
    if ledger.exists() {
        let (ledger, _) = Ledger::open(&ledger).expect("opens");
        let numbers = ledger.holes().into_iter().map(|hole| (hole.first.0 - 1) / 2);
        drained.holes = numbers.collect();
        drained.hole_total = ledger.totals().of(Reason::Purged);
    }
    let text = serde_json::to_vec(&drained).expect("plain data");
    std::fs::write(&orders.found, text).expect("writes");
}
