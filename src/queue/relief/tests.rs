//! Every policy, on real sled with small budgets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use super::*;
use crate::message::{Delivery, Epoch, Stamp};
use crate::queue::compaction;
use crate::queue::intake::Intake;
use crate::queue::ledger::{Hole, Replacement};
use crate::queue::seal::Keys;
use crate::queue::tests::{arrival, config, passed, positions};
use crate::queue::{Balance, Compression, Outside, Queue, open_with};

/// Generations of 1 MiB. Sixty messages fit in.
const BUDGET: u64 = 8 * 1024 * 1024;
/// A message that does not compress: about a dozen make a generation.
const MESSAGE_BYTES: usize = 75_000;

/// What a lane is opened with, and the clock it sees.
struct Setup {
    config: Config,
    outside: Outside,
    unix_ms: Arc<AtomicI64>,
    synchronised: Arc<AtomicBool>,
}

/// The key of a message: its topic. Positions 7 apart share it; topics of `nobody` have none.
fn key_of(stored: &Stored) -> Option<Owner> {
    let topic = &stored.arrival.topic;
    (!topic.contains("nobody")).then(|| wanted(crc32fast::hash(topic.as_bytes())))
}

fn wanted(key: impl Into<u128>) -> Owner {
    Owner {
        key: key.into(),
        is_wanted: true,
    }
}

impl Setup {
    fn new(on_full: OnFull) -> Self {
        let unix_ms = Arc::new(AtomicI64::new(1_000_000));
        let synchronised = Arc::new(AtomicBool::new(true));
        let (time, known) = (Arc::clone(&unix_ms), Arc::clone(&synchronised));
        let now = move || Stamp {
            unix_ms: time.load(Ordering::Relaxed),
            boot_ms: 0,
            boot: 0,
            synchronised: known.load(Ordering::Relaxed),
        };
        Self {
            config: Config {
                max_bytes: BUDGET,
                compression: Compression::None,
                on_full,
                ..config()
            },
            outside: Outside {
                now: Some(Arc::new(now)),
                series_of: None,
                key_of: Some(Arc::new(key_of)),
                ballast: None,
                keys: None,
            },
            unix_ms,
            synchronised,
        }
    }

    fn open(&self, folder: &Path) -> Lane {
        let queue = open_with(folder, Epoch(5), &self.config, &self.outside).expect("opens");
        let intake = queue.door.intake();
        Lane {
            queue,
            intake,
            put: 0,
        }
    }
}

/// A lane that is driven step by step, on one thread.
struct Lane {
    queue: Queue,
    intake: Intake,
    put: u64,
}

impl Lane {
    fn shared(&self) -> &Shared {
        &self.queue.monitor.0
    }

    /// Offers a message; the writer looks at it when told to.
    fn offer(&mut self, arrival: Arrival) {
        self.put = arrival.delivery.position;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("runtime");
        let room = runtime
            .block_on(self.intake.reserve(arrival.cost()))
            .expect("open");
        self.intake.offer(arrival, room, true).expect("open");
    }

    /// Offers and commits messages of these positions; false when one has to wait.
    fn try_put(&mut self, positions: impl IntoIterator<Item = u64>) -> bool {
        positions.into_iter().all(|position| {
            self.offer(message(position));
            let group = self.queue.writer.gather().expect("open");
            self.queue.writer.commit_in(group, 20)
        })
    }

    fn put(&mut self, positions: impl IntoIterator<Item = u64>) {
        assert!(self.try_put(positions), "no room");
    }

    /// The next message, taken: it is on its way.
    fn take(&mut self, count: usize) -> Vec<Stored> {
        std::iter::from_fn(|| self.queue.reader.read_next().expect("reads"))
            .take(count)
            .collect()
    }

    /// Takes and delivers everything.
    fn deliver(&mut self) -> Vec<Stored> {
        let mut all = Vec::new();
        while let Some(stored) = self.queue.reader.read_next().expect("reads") {
            self.queue
                .reader
                .advance(stored.seq, passed(1))
                .expect("advances");
            all.push(stored);
        }
        all
    }

    fn balance(&self) -> Balance {
        self.queue.monitor.status().balance
    }

    fn removed(&self, reason: Reason) -> u64 {
        self.balance().removed.of(reason)
    }

    fn purge(&mut self, filter: impl Fn(&Stored) -> bool + Send + Sync + 'static) -> u64 {
        let filter: Filter = Arc::new(filter);
        self.queue.writer.purge(&filter).expect("purges")
    }

    /// Closed units that begin behind what is taken.
    fn closed(&self) -> Vec<Unit> {
        let floor = floor(self.shared());
        let units = self.shared().store.units().into_iter();
        units
            .filter(|unit| unit.first > floor && unit.last.is_some())
            .collect()
    }
}

/// Contents that do not compress and say whose they are.
fn message(position: u64) -> Arrival {
    let mut state = position;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    });
    let head = position.to_be_bytes().into_iter();
    let payload: Vec<u8> = head.chain(noise).take(MESSAGE_BYTES).collect();
    arrival(position, &payload)
}

/// Copies a folder as a crash would leave it.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("temp dir");
    let status = Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(to.path())
        .status()
        .expect("runs");
    assert!(status.success());
    to
}

/// Everything that is received ends in one place, and all that is queued is delivered.
fn assert_accounts(lane: &mut Lane) -> Vec<u64> {
    // Counted on its own, by the log: before the cursor is within a rewritten unit, and when it has left it.
    assert_eq!(lane.queue.monitor.status().unaccounted, Some(0));
    let waiting = lane.balance().queued;
    let delivered = positions(&lane.deliver());
    assert_eq!(lane.queue.monitor.status().unaccounted, Some(0));
    let balance = lane.balance();
    assert_eq!(balance.queued, 0, "{balance:?}");
    let expired = balance.removed.of(Reason::Expired);
    assert!(
        (delivered.len() as u64..=delivered.len() as u64 + expired).contains(&waiting),
        "{waiting} waited, {} came",
        delivered.len()
    );
    assert_eq!(
        balance.received,
        balance.delivered + balance.dead_lettered + balance.removed.removed(),
        "{balance:?}"
    );
    assert_eq!(balance.removed.of(Reason::Damaged), 0, "{balance:?}");
    delivered
}

fn du(folder: &Path) -> u64 {
    let output = Command::new("du")
        .arg("-s")
        .arg("-B1")
        .arg(folder)
        .output()
        .expect("runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split_whitespace()
        .next()
        .expect("a number")
        .parse()
        .expect("a number")
}

#[test]
fn bytes_are_what_du_says() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut setup = Setup::new(OnFull::Backpressure);
    setup.config.max_bytes = 2 * BUDGET;
    let mut lane = setup.open(dir.path());
    lane.put(1..=60);
    fs::create_dir(dir.path().join("g-00000000000000000001.damaged-0000002a")).expect("creates");
    let kept = dir.path().join("g-00000000000000000001.damaged-0000002a/db");
    fs::write(kept, vec![7; 300_000]).expect("writes");
    fs::write(dir.path().join("session-default"), vec![7; 10_000]).expect("writes");
    drop(lane);
    let mut lane = setup.open(dir.path());
    assert_eq!(lane.shared().store.bytes(), du(dir.path()));
    lane.put(61..=70);
    // sled may write once more when an older generation is closed behind the reader.
    let told = lane.shared().store.bytes();
    assert!(told.abs_diff(du(dir.path())) <= 16 * 1024, "{told}");
}

#[test]
fn a_full_lane_never_passes_its_budget() {
    for policy in [
        OnFull::Backpressure,
        OnFull::DropOldest,
        OnFull::DropNewest,
        OnFull::KeepLatest,
    ] {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut lane = Setup::new(policy).open(dir.path());
        for position in 1..=300 {
            if !lane.try_put([position]) {
                break;
            }
            let used = du(dir.path());
            // One group, with what sled adds to it and the end of its segment.
            assert!(used <= BUDGET + 64 * 1024, "{policy:?}: {used} bytes");
        }
    }
}

#[test]
fn a_full_lane_drops_its_oldest_unit_and_says_so() {
    let dir = tempfile::tempdir().expect("temp dir");
    let setup = Setup::new(OnFull::DropOldest);
    let mut lane = setup.open(dir.path());
    lane.put(1..=300);
    let dropped = lane.removed(Reason::DroppedOldest);
    assert!(dropped > 100, "{dropped}");
    assert_eq!(lane.balance().received, 300);
    let delivered = assert_accounts(&mut lane);
    assert_eq!(delivered, (dropped + 1..=300).collect::<Vec<_>>());
}

#[test]
fn what_may_be_on_its_way_is_never_dropped() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut lane = Setup::new(OnFull::DropOldest).open(dir.path());
    lane.put(1..=30);
    let taken = lane.take(20);
    assert_eq!(taken.len(), 20);
    lane.put(31..=300);
    assert!(lane.removed(Reason::DroppedOldest) > 100);
    // The sink gives up and begins again at the cursor.
    lane.queue.reader.rewind();
    let again = lane.take(20);
    assert_eq!(positions(&again), positions(&taken));
    lane.queue.reader.rewind();
    let delivered = assert_accounts(&mut lane);
    assert!(delivered.starts_with(&positions(&taken)));
}

#[test]
fn when_everything_is_on_its_way_a_lane_that_drops_waits() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut lane = Setup::new(OnFull::DropOldest).open(dir.path());
    let mut position = 0;
    // Everything that is stored is taken at once.
    let full = std::iter::repeat_with(|| {
        position += 1;
        let stored = lane.try_put([position]);
        lane.take(10);
        stored
    });
    assert!(full.take(500).any(|stored| !stored), "it is full some time");
    assert_eq!(lane.removed(Reason::DroppedOldest), 0);
}

#[test]
fn a_unit_is_dropped_while_the_reader_has_it_open() {
    let dir = tempfile::tempdir().expect("temp dir");
    let setup = Setup::new(OnFull::DropOldest);
    let mut lane = setup.open(dir.path());
    lane.put(1..=60);
    drop(lane);
    // After a restart nothing is in memory: the reader opens units.
    let mut lane = setup.open(dir.path());
    let second = lane.closed()[1].first;
    let Found::Block(_) = lane.shared().store.read(second).expect("reads") else {
        panic!("nothing there");
    };
    lane.put(61..=200);
    assert!(lane.shared().store.units()[0].first > second);
    let dropped = lane.removed(Reason::DroppedOldest);
    assert_eq!(
        assert_accounts(&mut lane),
        (dropped + 1..=200).collect::<Vec<_>>()
    );
}

#[test]
fn what_is_dropped_is_not_delivered_from_memory() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut lane = Setup::new(OnFull::DropOldest).open(dir.path());
    // All of it fits into the memory tail.
    lane.put(1..=150);
    let dropped = lane.removed(Reason::DroppedOldest);
    assert!(dropped > 0);
    assert_eq!(lane.take(1)[0].seq, Seq(dropped + 1));
}

/// A seed of the simulation showed it: the reader stood in front of a hole that the cursor had passed, and that was forgotten then.
#[test]
fn what_the_cursor_went_over_is_not_taken_for_damage_once_it_is_forgotten() {
    let dir = tempfile::tempdir().expect("temp dir");
    let setup = Setup::new(OnFull::DropOldest);
    let mut lane = setup.open(dir.path());
    lane.put(1..=60);
    drop(lane);
    // After a restart nothing is in memory, where messages behind the hole would show that there is nothing in it.
    let mut lane = setup.open(dir.path());
    let [first, second, third, ..] = lane.closed()[..] else {
        panic!("there are units");
    };
    let last = first.last.expect("closed");
    lane.take(usize::try_from(last.0).expect("few"));
    let drop_oldest = |lane: &Lane, unit| drop_whole(lane.shared(), unit, Reason::DroppedOldest);
    drop_oldest(&lane, second).expect("drops");
    lane.queue.reader.advance(last, passed(last.0)).expect("advances");
    assert_eq!(Some(lane.queue.reader.cursor()), second.last);
    drop_oldest(&lane, third).expect("drops");
    let next = lane.take(1)[0].seq;
    assert_eq!(Some(next.previous()), third.last);
    assert_eq!(lane.removed(Reason::Damaged), 0);
}

#[test]
fn a_crash_at_any_step_of_a_drop_counts_once_and_brings_nothing_back() {
    let dir = tempfile::tempdir().expect("temp dir");
    let setup = Setup::new(OnFull::DropOldest);
    let mut lane = setup.open(dir.path());
    lane.put(1..=60);
    let unit = lane.closed()[0];
    let last = unit.last.expect("closed");
    let before = copy(dir.path());
    let hole = Hole {
        first: unit.first,
        last,
        reason: Reason::DroppedOldest,
    };
    lane.shared().record(hole).expect("records");
    let recorded = copy(dir.path());
    lane.shared().store.drop_unit(unit.first).expect("drops");
    let dropped = copy(dir.path());
    for (folder, count) in [(&before, 0), (&recorded, last.0), (&dropped, last.0)] {
        for _ in 0..2 {
            let lane = setup.open(folder.path());
            assert_eq!(lane.removed(Reason::DroppedOldest), count);
            assert_eq!(lane.shared().store.units()[0].first > last, count > 0);
            drop(lane);
        }
        let mut lane = setup.open(folder.path());
        assert_eq!(assert_accounts(&mut lane), (count + 1..=60).collect::<Vec<_>>());
    }
}

#[test]
fn a_full_lane_acknowledges_and_counts_what_it_does_not_store() {
    let dir = tempfile::tempdir().expect("temp dir");
    let setup = Setup::new(OnFull::DropNewest);
    let mut lane = setup.open(dir.path());
    lane.put(1..=300);
    assert_eq!(*lane.intake.durable().borrow(), 300, "all are acknowledged");
    let dropped = lane.removed(Reason::DroppedNewest);
    let stored = 300 - dropped;
    assert!(dropped > 100, "{dropped}");
    assert_eq!((lane.balance().received, lane.balance().queued), (300, stored));
    drop(lane);
    let mut lane = setup.open(dir.path());
    assert_eq!(lane.removed(Reason::DroppedNewest), dropped);
    let delivered = lane.deliver();
    let expected: Vec<u64> = (1..=stored).collect();
    assert_eq!(positions(&delivered), expected);
    assert_eq!(
        delivered.iter().map(|one| one.seq.0).collect::<Vec<_>>(),
        expected
    );
    lane.put([301]);
    let next = lane.deliver();
    assert_eq!((next[0].seq.0, positions(&next)), (stored + 1, vec![301]));
    assert_accounts(&mut lane);
}

/// The newest position of each of the seven devices among `positions`.
fn newest(through: u64) -> Vec<u64> {
    (through - 6..=through).collect()
}

#[test]
fn a_full_lane_keeps_the_newest_value_of_each_device_again_and_again() {
    let dir = tempfile::tempdir().expect("temp dir");
    let setup = Setup::new(OnFull::KeepLatest);
    let mut lane = setup.open(dir.path());
    lane.put(1..=600);
    assert!(lane.removed(Reason::Superseded) > 300);
    drop(lane);
    let mut lane = setup.open(dir.path());
    let superseded = lane.removed(Reason::Superseded);
    let delivered = assert_accounts(&mut lane);
    assert_eq!(delivered.len() as u64, 600 - superseded);
    assert!(delivered.is_sorted());
    assert!(delivered.ends_with(&newest(600)));
}

#[test]
fn compacting_leaves_exactly_the_newest_of_each_key_and_counts_the_rest() {
    let dir = tempfile::tempdir().expect("temp dir");
    let setup = Setup::new(OnFull::KeepLatest);
    let mut lane = setup.open(dir.path());
    lane.put(1..=60);
    let closed = lane.closed();
    let end = closed.last().and_then(|unit| unit.last).expect("closed").0;
    // The newest unit is left as it is, and the seven newest messages are of one device each.
    let left = end.min(60 - 7);
    for _ in 0..2 {
        lane.queue.writer.compact_now();
        assert_eq!(lane.removed(Reason::Superseded), left);
        assert_eq!(lane.balance().queued, 60 - left);
    }
    assert_eq!(assert_accounts(&mut lane), (left + 1..=60).collect::<Vec<_>>());
}

#[test]
fn a_device_that_fell_silent_keeps_its_last_value_and_what_is_nobodys_stays() {
    let dir = tempfile::tempdir().expect("temp dir");
    let setup = Setup::new(OnFull::KeepLatest);
    let mut lane = setup.open(dir.path());
    let silent = |position: u64, topic: &str| Arrival {
        topic: topic.to_owned(),
        ..message(position)
    };
    for (position, topic) in [
        (1, "devices/silent/t"),
        (2, "devices/nobody/t"),
        (3, "devices/silent/t"),
        (4, "devices/nobody/t"),
    ] {
        lane.offer(silent(position, topic));
        let group = lane.queue.writer.gather().expect("open");
        assert!(lane.queue.writer.commit_in(group, 1));
    }
    lane.put(5..=600);
    let delivered = assert_accounts(&mut lane);
    assert!(delivered.starts_with(&[2, 3, 4]), "{delivered:?}");
    assert!(delivered.ends_with(&newest(600)));
}

#[test]
fn a_lane_of_single_values_falls_back_to_waiting_and_rewrites_nothing_twice() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut setup = Setup::new(OnFull::KeepLatest);
    setup.outside.key_of = Some(Arc::new(|stored| Some(wanted(stored.seq.0))));
    let mut lane = setup.open(dir.path());
    assert!(!lane.try_put(1..=300));
    let files = |folder: &Path| {
        let mut names: Vec<PathBuf> = fs::read_dir(folder)
            .expect("lists")
            .map(|entry| entry.expect("entry").path())
            .collect();
        names.sort();
        names
            .into_iter()
            .map(|path| {
                (
                    fs::metadata(&path).expect("there").modified().expect("time"),
                    path,
                )
            })
            .collect::<Vec<_>>()
    };
    let before: Vec<_> = files(dir.path())
        .into_iter()
        .filter(|(_, path)| path.is_dir())
        .collect();
    assert!(!lane.queue.writer.relieve_now());
    let after: Vec<_> = files(dir.path())
        .into_iter()
        .filter(|(_, path)| path.is_dir())
        .collect();
    assert_eq!(before, after);
    assert_eq!(lane.removed(Reason::Superseded), 0);
}

#[test]
fn what_is_on_its_way_is_not_compacted() {
    let dir = tempfile::tempdir().expect("temp dir");
    let setup = Setup::new(OnFull::KeepLatest);
    let mut lane = setup.open(dir.path());
    lane.put(1..=30);
    let taken = positions(&lane.take(20));
    lane.put(31..=90);
    lane.queue.writer.compact_now();
    assert!(lane.removed(Reason::Superseded) > 20);
    lane.queue.reader.rewind();
    let delivered = assert_accounts(&mut lane);
    assert!(delivered.starts_with(&taken), "{delivered:?}");
}

#[test]
fn a_crash_at_any_step_of_a_rewriting_neither_loses_nor_counts_twice() {
    let dir = tempfile::tempdir().expect("temp dir");
    let setup = Setup::new(OnFull::Backpressure);
    let mut lane = setup.open(dir.path());
    lane.put(1..=60);
    let mut encoder = Encoder::new(Epoch(5), Compression::None, &Keys::default()).expect("encoder");
    let units = lane.closed();
    // Two neighbours become one; even positions go.
    let mut thins = units[1..3].iter().map(|unit| {
        let last = unit.last.expect("closed");
        let mut even = |stored: &Stored| stored.arrival.delivery.position.is_multiple_of(2);
        let thin = thin(lane.shared(), &mut encoder, *unit, last, &mut even);
        thin.expect("reads").expect("whole")
    });
    let (older, newer) = (thins.next().expect("two"), thins.next().expect("two"));
    drop(thins);
    let run = newer.join(older);
    let removed = run.removed;
    assert!(removed > 5);
    let mut copies = vec![(copy(dir.path()), 0)];
    let outcome = compaction::commit_in_steps(lane.shared(), run, Reason::Purged, |step| {
        let count = if step == compaction::Step::Staged {
            0
        } else {
            removed
        };
        copies.push((copy(dir.path()), count));
    });
    assert_eq!(outcome.expect("commits"), Outcome::Done);
    copies.push((copy(dir.path()), removed));
    // The old units are deleted one by one before the new one gets its name.
    let (half, count) = (copy(copies[2].0.path()), removed);
    fs::remove_dir_all(half.path().join(format!("g-{:020}", units[1].first.0))).expect("removes");
    copies.push((half, count));
    for (number, (folder, count)) in copies.iter().enumerate() {
        for _ in 0..2 {
            drop(setup.open(folder.path()));
        }
        let names = fs::read_dir(folder.path())
            .expect("lists")
            .map(|entry| entry.expect("entry").file_name());
        let left: Vec<_> = names
            .filter(|name| name.to_string_lossy().contains('.'))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        let mut lane = setup.open(folder.path());
        assert_eq!(lane.removed(Reason::Purged), *count, "step {number}");
        let delivered = assert_accounts(&mut lane);
        assert_eq!(delivered.len() as u64, 60 - count, "step {number}");
    }
}

#[test]
fn a_rewriting_that_was_not_committed_is_never_finished_although_one_of_its_name_was() {
    let dir = tempfile::tempdir().expect("temp dir");
    let setup = Setup::new(OnFull::Backpressure);
    let mut lane = setup.open(dir.path());
    lane.put(1..=60);
    let purged = lane.purge(|stored| stored.arrival.delivery.position.is_multiple_of(2));
    assert_eq!(purged, 30);
    // The ledger still names the last rewriting; the next one of this unit gets only half-way.
    let known = lane.shared().ledger.replacement().expect("committed");
    let torn = Replacement {
        token: known.token.wrapping_add(1),
        ..known
    };
    lane.shared().store.stage(torn, &[]).expect("stages");
    drop(lane);
    let mut lane = setup.open(dir.path());
    assert_eq!(assert_accounts(&mut lane).len(), 30);
}

#[test]
fn a_purge_removes_what_it_is_told_also_from_the_newest_unit_and_nothing_else() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut setup = Setup::new(OnFull::Backpressure);
    setup.config.max_bytes = 2 * BUDGET;
    let mut lane = setup.open(dir.path());
    lane.put(1..=60);
    let taken = positions(&lane.take(10));
    let floor = lane.shared().taken.lock().expect("lock").0;
    let purged = lane.purge(|stored| stored.arrival.topic.contains("/d3/"));
    let expected: Vec<u64> = (1..=60)
        .filter(|position| *position <= floor || position % 7 != 3)
        .collect();
    assert_eq!(purged, 60 - expected.len() as u64);
    assert_eq!(lane.purge(|stored| stored.arrival.topic.contains("/d3/")), 0);
    lane.queue.reader.rewind();
    drop(lane);
    let mut lane = setup.open(dir.path());
    lane.put(61..=62);
    let delivered = assert_accounts(&mut lane);
    assert_eq!(delivered, [&expected[..], &[61, 62]].concat());
    assert!(delivered.starts_with(&taken));
    assert_eq!(lane.removed(Reason::Purged), purged);
}

#[test]
fn purging_everything_leaves_an_empty_lane_that_goes_on() {
    let dir = tempfile::tempdir().expect("temp dir");
    let setup = Setup::new(OnFull::Backpressure);
    let mut lane = setup.open(dir.path());
    lane.put(1..=60);
    assert_eq!(lane.purge(|_| true), 60);
    assert!(lane.take(1).is_empty());
    assert_eq!(
        lane.queue.reader.cursor(),
        Seq(60),
        "the cursor passes what is empty"
    );
    lane.put(61..=62);
    assert_eq!(assert_accounts(&mut lane), [61, 62]);
}

#[test]
fn a_purge_asked_for_from_outside_is_done_by_the_writer_and_answered() {
    let dir = tempfile::tempdir().expect("temp dir");
    let setup = Setup::new(OnFull::Backpressure);
    let mut lane = setup.open(dir.path());
    lane.put(1..=60);
    let Lane { queue, intake, .. } = lane;
    let monitor = queue.monitor.clone();
    let writer = std::thread::spawn(move || queue.writer.run());
    drop(queue.door);
    assert_eq!(monitor.purge(Arc::new(|_| true)).expect("purges"), 60);
    drop(intake);
    writer.join().expect("ends");
    assert!(matches!(
        monitor.purge(Arc::new(|_| true)),
        Err(PurgeError::Closed)
    ));
}

#[test]
fn a_drop_over_a_purged_unit_counts_only_what_it_still_held() {
    let dir = tempfile::tempdir().expect("temp dir");
    let setup = Setup::new(OnFull::DropOldest);
    let mut lane = setup.open(dir.path());
    lane.put(1..=60);
    let purged = lane.purge(|stored| stored.arrival.delivery.position.is_multiple_of(2));
    assert_eq!(purged, 30);
    lane.put(61..=400);
    let dropped = lane.removed(Reason::DroppedOldest);
    assert!(dropped > 100);
    let delivered = assert_accounts(&mut lane);
    assert_eq!(delivered.len() as u64, 400 - purged - dropped);
}

fn stamped(position: u64, unix_ms: i64, synchronised: bool) -> Arrival {
    let mut arrival = message(position);
    arrival.stamp.unix_ms = unix_ms;
    arrival.stamp.synchronised = synchronised;
    arrival
}

/// A lane with a limit of a minute and sixty messages, a second apart from time zero; those of `unknown` have a time that
/// was not synchronised.
fn aged(folder: &Path, unknown: impl Fn(u64) -> bool) -> (Setup, Lane) {
    let mut setup = Setup::new(OnFull::Backpressure);
    setup.config.max_age = Some(Duration::from_mins(1));
    setup.unix_ms.store(0, Ordering::Relaxed);
    let mut lane = setup.open(folder);
    for position in 1..=60 {
        let second = i64::try_from(position).expect("small") * 1000;
        lane.offer(stamped(position, second, !unknown(position)));
        let group = lane.queue.writer.gather().expect("open");
        assert!(lane.queue.writer.commit_in(group, 1));
    }
    (setup, lane)
}

#[test]
fn what_is_too_old_when_its_turn_comes_is_counted_and_not_delivered() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (setup, mut lane) = aged(dir.path(), |_| false);
    setup.unix_ms.store(80_000, Ordering::Relaxed);
    assert_eq!(lane.take(1)[0].seq, Seq(20), "a minute is not too old");
    assert_eq!(
        (lane.removed(Reason::Expired), lane.queue.reader.cursor()),
        (19, Seq(19))
    );
    // Whatever happens now, these are counted once.
    for folder in [copy(dir.path()), copy(dir.path())] {
        setup.unix_ms.store(90_000, Ordering::Relaxed);
        let mut lane = setup.open(folder.path());
        assert_eq!(assert_accounts(&mut lane), (30..=60).collect::<Vec<_>>());
        assert_eq!(lane.removed(Reason::Expired), 29);
        setup.unix_ms.store(i64::MAX, Ordering::Relaxed);
    }
}

#[test]
fn what_is_on_its_way_does_not_expire_and_what_is_behind_it_waits() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (setup, mut lane) = aged(dir.path(), |_| false);
    let taken = lane.take(5);
    setup.unix_ms.store(90_000, Ordering::Relaxed);
    assert!(lane.take(1).is_empty(), "expired messages wait for the cursor");
    assert_eq!(lane.removed(Reason::Expired), 0);
    lane.queue.reader.rewind();
    assert_eq!(lane.take(10), taken, "sent again");
    lane.queue.reader.advance(Seq(5), passed(5)).expect("advances");
    assert_eq!(assert_accounts(&mut lane), (30..=60).collect::<Vec<_>>());
    assert_eq!(lane.removed(Reason::Expired), 24);
}

#[test]
fn nothing_expires_unsynchronised() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (setup, mut lane) = aged(dir.path(), |position| position % 2 == 0);
    setup.unix_ms.store(1_000_000_000, Ordering::Relaxed);
    setup.synchronised.store(false, Ordering::Relaxed);
    let all = copy(dir.path());
    lane.queue.writer.expire_now();
    assert_eq!(lane.removed(Reason::Expired), 0);
    assert_eq!(
        assert_accounts(&mut setup.open(all.path())),
        (1..=60).collect::<Vec<_>>()
    );
    setup.synchronised.store(true, Ordering::Relaxed);
    lane.queue.writer.expire_now();
    assert_eq!(lane.removed(Reason::Expired), 0, "no unit is too old as a whole");
    assert_eq!(
        assert_accounts(&mut lane),
        (1..=30).map(|half| 2 * half).collect::<Vec<_>>()
    );
    assert_eq!(lane.removed(Reason::Expired), 30);
}

#[test]
fn whole_units_that_are_too_old_give_back_their_space_without_a_reader() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (setup, mut lane) = aged(dir.path(), |_| false);
    let closed = lane.closed();
    let (before, count) = (lane.shared().store.bytes(), closed.len());
    assert!(count >= 4);
    let end = closed[2].last.expect("closed").0;
    setup.unix_ms.store(
        60_000 + i64::try_from(end).expect("small") * 1000,
        Ordering::Relaxed,
    );
    lane.queue.writer.expire_now();
    assert_eq!(lane.closed().len(), count - 2, "a minute is not too old");
    setup.unix_ms.fetch_add(1, Ordering::Relaxed);
    lane.queue.writer.expire_now();
    assert_eq!(
        (lane.closed().len(), lane.removed(Reason::Expired)),
        (count - 3, end)
    );
    assert!(lane.shared().store.bytes() < before);
    let delivered = assert_accounts(&mut lane);
    assert_eq!(delivered, (end + 1..=60).collect::<Vec<_>>());
}

fn join_two(lane: &mut Lane, units: &[Unit], hook: impl FnMut(compaction::Step)) -> u64 {
    let mut encoder = Encoder::new(Epoch(5), Compression::None, &Keys::default()).expect("encoder");
    let mut run = None;
    for unit in units.iter().rev() {
        let last = unit.last.expect("closed");
        let mut even = |stored: &Stored| stored.arrival.delivery.position.is_multiple_of(2);
        let thin = thin(lane.shared(), &mut encoder, *unit, last, &mut even)
            .expect("reads")
            .expect("whole");
        run = Some(match run.take() {
            Some(newer) => Thin::join(newer, thin),
            None => thin,
        });
    }
    let run = run.expect("one");
    let removed = run.removed;
    let outcome = compaction::commit_in_steps(lane.shared(), run, Reason::Superseded, hook);
    assert_eq!(outcome.expect("commits"), Outcome::Done);
    removed
}

#[test]
fn units_that_are_joined_are_as_young_as_the_youngest_of_them() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (setup, mut lane) = aged(dir.path(), |_| false);
    lane.queue.writer.expire_now();
    let units = lane.closed();
    let end = units[0].last.expect("closed").0;
    let young_end = units[1].last.expect("closed").0;
    join_two(&mut lane, &units[0..2], |_| {});
    setup.unix_ms.store(
        60_001 + i64::try_from(end).expect("small") * 1000,
        Ordering::Relaxed,
    );
    lane.queue.writer.expire_now();
    let delivered = assert_accounts(&mut lane);
    assert!(
        delivered.iter().any(|p| *p > end && *p <= young_end),
        "messages that are not too old were dropped"
    );
}

#[test]
fn a_damaged_unit_that_was_rewritten_does_not_come_back() {
    let dir = tempfile::tempdir().expect("temp dir");
    let setup = Setup::new(OnFull::Backpressure);
    let mut lane = setup.open(dir.path());
    lane.put(1..=60);
    let units = lane.closed();
    let seq = units[2].first;
    loop {
        lane.shared().store.read(seq).expect("reads");
        if !lane.shared().store.suspect(seq).expect("suspects") {
            break;
        }
    }
    let removed = join_two(&mut lane, &units[1..3], |_| {});
    drop(lane);
    let mut lane = setup.open(dir.path());
    let delivered = positions(&lane.deliver());
    assert_eq!(delivered.len() as u64, 60 - removed);
}

#[test]
fn a_lane_that_lost_its_ledger_does_not_look_as_if_something_waited_for_ever() {
    let dir = tempfile::tempdir().expect("temp dir");
    let setup = Setup::new(OnFull::Backpressure);
    let mut lane = setup.open(dir.path());
    lane.put(1..=60);
    let units = lane.closed();
    let removed = join_two(&mut lane, &units[1..3], |_| {});
    assert!(removed > 0);
    drop(lane);
    fs::remove_file(dir.path().join("ledger")).expect("is there");
    let mut lane = setup.open(dir.path());
    assert_eq!(lane.deliver().len() as u64, 60 - removed);
    let monitor = &lane.queue.monitor;
    assert_eq!(monitor.balance().queued, 0, "the watchdog goes by it");
    assert!(monitor.is_drained(), "a lane that goes is put away by it");
}

#[test]
fn values_that_nobody_waits_for_do_not_use_up_what_is_remembered_of_the_others() {
    let mut seen = Seen::default();
    let message = |position: u64| Stored {
        seq: Seq(position),
        epoch: Epoch(5),
        arrival: Arrival {
            delivery: Delivery {
                position,
                ..Arrival::trial(1, "a/b", "x").delivery
            },
            ..Arrival::trial(1, "a/b", "x")
        },
    };
    let owner = |is_wanted| -> KeyOf {
        Arc::new(move |stored: &Stored| {
            Some(Owner {
                key: u128::from(stored.arrival.delivery.position),
                is_wanted,
            })
        })
    };
    let (wanted, unwanted) = (owner(true), owner(false));
    let count = KEYS_MAX as u64 + 1;
    for position in 0..count {
        assert!(!is_superseded(&unwanted, &mut seen, &message(position)));
    }
    assert_eq!(seen.unwanted.len(), UNWANTED_KEYS_MAX);
    assert!(!is_superseded(&wanted, &mut seen, &message(1)));
    assert!(
        is_superseded(&wanted, &mut seen, &message(1)),
        "it was remembered"
    );
    assert!(is_superseded(&unwanted, &mut seen, &message(1)));
}
