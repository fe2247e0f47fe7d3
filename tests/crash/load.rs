//! A process that stores, reads, delivers and trims as fast as it is let, and writes down what it was promised.
//!
//! The journal lies outside of the store. Each entry is one `write` to the page cache, so SIGKILL loses none; it ends in a
//! semicolon, so that one that SIGKILL cut short is told apart:
//!
//! * `O POSITION`: a life begins; messages are offered from here on.
//! * `A POSITION`: everything offered in this life up to here was confirmed. Written **after** the receipt.
//! * `D SEQUENCE POSITION`: delivered. Written **before** the cursor moves, as Kafka has a record before that.
//! * `S VALUE`, `L NUMBER`: the session file holds this durably; this hole is durable in a ledger.
//! * `P POINT PASSES`, `Z`: how often each crash point was passed; the life ended by itself.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use edgeferry::faults;
use edgeferry::message::{Epoch, Seq, Stored};
use edgeferry::queue::ledger::{Hole, Ledger};
use edgeferry::queue::{self, Config, Intake, OnFull, Outside, Owner, Passed, Queue, Reader, Reason};
use edgeferry::slots::{PAGE_BYTES, SlotFile};
use serde::{Deserialize, Serialize};

use crate::message::arrival;
use crate::support::seed::Seed;

/// Nothing in a small load takes this long on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// Messages read before the cursor moves: from one to more than a block.
const READ_MOST: u64 = 300;
/// Messages offered in one go: from a group of one to several blocks.
pub const BURST_MOST: u64 = 20;
/// Longest outage of Kafka: several generations of backlog.
const AWAY_MOST_MS: u64 = 300;
/// `session-*` is synced rarely; it must never be behind what was synced.
const SESSION_SYNC_EVERY: u64 = 20;

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Orders {
    /// Holds the lane in `lane` and two more files.
    pub folder: PathBuf,
    /// Outside of it.
    pub journal: PathBuf,
    /// For sizes and moments.
    pub seed: u64,
    /// Position of the first message.
    pub first: u64,
    /// Messages to offer; `None` to go on until killed.
    pub messages: Option<u64>,
    /// Budget of the queue, bytes.
    pub max_bytes: u64,
    /// Whether anything is delivered.
    pub delivers: bool,
    /// Also keeps a session file and a ledger of its own. Their syncs make ext4 write what else is there.
    pub extras: bool,
    /// What a full queue does.
    pub on_full: Full,
}

/// So many devices send in no order, so a full lane has some superseded values everywhere.
const DEVICES: u64 = 150;

/// `on_full`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Full {
    /// `"backpressure"`
    Backpressure,
    /// `"drop-oldest"`
    DropOldest,
    /// `"keep-latest"`
    KeepLatest,
}

/// Opens the queue: like a daemon, with smaller settings.
pub fn open(folder: &Path, max_bytes: u64, on_full: Full) -> Queue {
    let config = Config {
        max_bytes,
        min_free_bytes: 0,
        commit_interval: Duration::ZERO,
        on_full: match on_full {
            Full::Backpressure => OnFull::Backpressure,
            Full::DropOldest => OnFull::DropOldest,
            Full::KeepLatest => OnFull::KeepLatest,
        },
        ..Config::default()
    };
    let outside = Outside {
        key_of: Some(Arc::new(|stored: &Stored| {
            let device = Seed::new(stored.arrival.delivery.position).next() % DEVICES;
            Some(Owner {
                key: device.into(),
                is_wanted: true,
            })
        })),
        ..Outside::default()
    };
    queue::open_with(&lane(folder), EPOCH, &config, &outside).expect("a crash never stops the start")
}

/// Epoch of all stores here.
pub const EPOCH: Epoch = Epoch(5);

/// Folder of the lane in [`Orders::folder`].
pub fn lane(folder: &Path) -> PathBuf {
    folder.join("lane")
}

/// Works until killed, or until all is offered, durable and delivered.
pub fn run(orders: &Orders) {
    let mut journal = Journal::open(&orders.journal);
    journal.note(format!("\nO {};\n", orders.first));
    let Queue {
        writer,
        reader,
        door,
        monitor,
        ..
    } = open(&orders.folder, orders.max_bytes, orders.on_full);
    let intake = door.intake();
    drop(door);
    let writing = std::thread::spawn(move || writer.run());
    let finish = Arc::new(AtomicBool::new(false));
    let finishing = Arc::clone(&finish);
    let (path, seed) = (orders.journal.clone(), Seed::new(orders.seed ^ 1));
    let delivers = orders.delivers;
    let reading = std::thread::spawn(move || {
        if delivers {
            deliver(reader, Journal::open(&path), seed, &finishing);
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a plain runtime").block_on(offer(orders, &intake));
    finish.store(true, Ordering::Relaxed);
    monitor.wake_reader();
    reading.join().expect("the reader ends");
    drop(intake);
    writing.join().expect("the writer ends");
    let mut passes = String::new();
    for (point, count) in faults::passes() {
        writeln!(passes, "P {point} {count};").expect("text can grow");
    }
    journal.note(format!("{passes}Z;\n"));
}

struct Journal(File);

impl Journal {
    fn open(path: &Path) -> Self {
        let file = File::options().create(true).append(true).open(path);
        Self(file.expect("the journal can be written"))
    }

    fn note(&mut self, text: impl AsRef<str>) {
        self.0.write_all(text.as_ref().as_bytes()).expect("writes");
    }
}

/// Offers everything, and notes what is confirmed.
async fn offer(orders: &Orders, intake: &Intake) {
    let mut seed = Seed::new(orders.seed);
    let end = orders
        .messages
        .map_or(u64::MAX, |messages| orders.first + messages);
    let offering = async {
        let mut next = orders.first;
        while next < end {
            let burst = seed.between(1, BURST_MOST).min(end - next);
            for position in next..next + burst {
                let arrival = arrival(position);
                let room = intake.reserve(arrival.cost()).await.expect("the writer lives");
                intake.offer(arrival, room, false).expect("the writer lives");
            }
            next += burst;
            match seed.between(0, 6) {
                // Where nothing is delivered, small groups fill the lane evenly.
                _ if !orders.delivers => until_durable(intake, next - 1).await,
                0..3 => until_durable(intake, next - 1).await,
                3 => tokio::time::sleep(Duration::from_micros(seed.between(0, 10_000))).await,
                _ => tokio::task::yield_now().await,
            }
        }
        until_durable(intake, end - 1).await;
    };
    tokio::select! {
        () = offering => note_confirmed(orders, *intake.durable().borrow(), &mut Extras::none()),
        () = follow(orders, intake) => {}
    }
}

async fn until_durable(intake: &Intake, position: u64) {
    let mut durable = intake.durable();
    let waited = tokio::time::timeout(PATIENCE, durable.wait_for(|at| *at >= position)).await;
    waited.expect("durable in time").expect("the writer lives");
}

/// Notes each confirmation, for ever.
async fn follow(orders: &Orders, intake: &Intake) {
    let mut extras = if orders.extras {
        Extras::open(&orders.folder)
    } else {
        Extras::none()
    };
    let mut durable = intake.durable();
    while durable.changed().await.is_ok() {
        let confirmed = *durable.borrow_and_update();
        note_confirmed(orders, confirmed, &mut extras);
    }
}

fn note_confirmed(orders: &Orders, position: u64, extras: &mut Extras) {
    let mut journal = Journal::open(&orders.journal);
    journal.note(format!("A {position};\n"));
    extras.keep(position, &mut journal);
}

/// A session file as a source keeps it, and a ledger, in the same file system.
struct Extras {
    session: Option<SlotFile>,
    ledger: Option<Ledger>,
    writes: u64,
}

/// Where the session file is, and the ledger, in [`Orders::folder`].
pub fn extras(folder: &Path) -> [PathBuf; 2] {
    [folder.join("session"), folder.join("account")]
}

impl Extras {
    fn none() -> Self {
        Self {
            session: None,
            ledger: None,
            writes: 0,
        }
    }

    fn open(folder: &Path) -> Self {
        let [session, ledger] = extras(folder);
        Self {
            session: Some(SlotFile::open::<u64>(&session, PAGE_BYTES).expect("opens").0),
            ledger: Some(Ledger::open(&ledger).expect("opens").0),
            writes: 0,
        }
    }

    fn keep(&mut self, position: u64, journal: &mut Journal) {
        let (Some(session), Some(ledger)) = (&mut self.session, &self.ledger) else {
            return;
        };
        self.writes += 1;
        session.write(&position).expect("writes");
        if self.writes.is_multiple_of(SESSION_SYNC_EVERY) {
            session.sync().expect("syncs");
            journal.note(format!("S {position};\n"));
        }
        if self.writes.is_multiple_of(SESSION_SYNC_EVERY * 20) {
            let number = ledger.totals().of(Reason::Purged);
            ledger.record(hole(number), Seq::ZERO).expect("records");
            journal.note(format!("L {number};\n"));
        }
    }
}

/// The hole with this number: one sequence, with distance to the next, so that none merge.
pub fn hole(number: u64) -> Hole {
    let seq = Seq(2 * number + 1);
    Hole {
        first: seq,
        last: seq,
        reason: Reason::Purged,
    }
}

/// Delivers until told to finish and nothing is left.
fn deliver(mut reader: Reader, mut journal: Journal, mut seed: Seed, finish: &AtomicBool) {
    loop {
        let most = seed.between(1, READ_MOST);
        let mut delivered = String::new();
        let mut count = 0;
        let mut through = None;
        while count < most {
            let Some(stored) = reader.read_next().expect("reads") else {
                break;
            };
            let position = stored.arrival.delivery.position;
            writeln!(delivered, "D {} {position};", stored.seq).expect("text can grow");
            count += 1;
            through = Some(stored.seq);
        }
        let Some(through) = through else {
            if finish.load(Ordering::Relaxed) && reader.cursor() >= reader.tail() {
                reader.sync().expect("syncs");
                return;
            }
            reader.wait(Duration::from_millis(20));
            continue;
        };
        if seed.between(0, 10) == 0 {
            // Kafka refused: all of it comes again.
            reader.rewind();
            continue;
        }
        journal.note(delivered);
        // Part of it counts as wanted by no route: its account is as exact.
        let filtered = count / 3;
        let passed = Passed {
            delivered: count - filtered,
            filtered,
            ..Passed::default()
        };
        reader.advance(through, passed).expect("advances");
        if seed.between(0, 4) == 0 && !finish.load(Ordering::Relaxed) {
            // Kafka is away: a backlog grows.
            let away = Duration::from_millis(seed.between(0, AWAY_MOST_MS));
            std::thread::park_timeout(away);
        }
    }
}
