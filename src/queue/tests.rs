//! The lane as a whole, on real sled.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::message::Arrival;
use crate::message::Stored;
use crate::queue::codec::Encoder;
use crate::queue::generations::{Generations, Waker};
use crate::queue::place::Place;
use crate::queue::store::Extent;
use crate::queue::writer::Unproven;
use crate::slots::IS_READ_ONLY;

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn config() -> Config {
    Config {
        max_bytes: 64 * 1024 * 1024,
        commit_interval: Duration::ZERO,
        min_free_bytes: 0,
        ..Config::default()
    }
}

pub(super) fn arrival(position: u64, payload: &[u8]) -> Arrival {
    Arrival::trial(
        position,
        format!("devices/d{}/telemetry", position % 7),
        payload.to_owned(),
    )
}

/// An opened lane with its writer running.
pub(super) struct Lane {
    pub(super) reader: Reader,
    pub(super) monitor: Monitor,
    pub(super) intake: Intake,
    pub(super) recalled: Vec<Recalled>,
    writer: std::thread::JoinHandle<()>,
}

impl Lane {
    pub(super) fn open(folder: &Path) -> Self {
        Self::open_with(folder, &config())
    }

    pub(super) fn open_with(folder: &Path, config: &Config) -> Self {
        Self::start(open(folder, Epoch(5), config).expect("opens"))
    }

    pub(super) fn start(queue: Queue) -> Self {
        let intake = queue.door.intake();
        let writer = std::thread::spawn(move || queue.writer.run());
        Self {
            reader: queue.reader,
            monitor: queue.monitor,
            intake,
            recalled: queue.recalled,
            writer,
        }
    }

    pub(super) async fn put(&self, position: u64, payload: &[u8]) {
        let arrival = arrival(position, payload);
        let room = self.intake.reserve(arrival.cost()).await.expect("open");
        self.intake.offer(arrival, room, false).expect("open");
    }

    pub(super) async fn durable(&self, position: u64) {
        let mut durable = self.intake.durable();
        let waited = tokio::time::timeout(PATIENCE, durable.wait_for(|at| *at >= position)).await;
        waited.expect("durable in time").expect("writer lives");
    }

    pub(super) fn drain(&mut self) -> Vec<Stored> {
        std::iter::from_fn(|| self.reader.read_next().expect("reads")).collect()
    }

    pub(super) fn close(self) {
        drop(self.intake);
        self.writer.join().expect("writer ends");
    }
}

pub(super) const fn passed(delivered: u64) -> Passed {
    Passed {
        delivered,
        dead_lettered: 0,
        filtered: 0,
    }
}

pub(super) fn positions(stored: &[Stored]) -> Vec<u64> {
    stored
        .iter()
        .map(|stored| stored.arrival.delivery.position)
        .collect()
}

/// A seed of the simulation showed it: a disk that reads nothing and writes the ledger alone, and then is well again.
#[tokio::test]
async fn sequences_that_a_start_left_out_in_vain_are_used_and_accounted_for_after_all() {
    let dir = tempfile::tempdir().expect("temp dir");
    let lane = Lane::open(dir.path());
    for position in 1..=3 {
        lane.put(position, b"x").await;
    }
    lane.durable(3).await;
    lane.close();
    let (ledger, _) = Ledger::open(&dir.path().join("ledger")).expect("opens");
    let left_out = Hole {
        first: Seq(4),
        last: Seq(1_000_000),
        reason: Reason::Skipped,
    };
    ledger.record(left_out, Seq::ZERO).expect("records");
    drop(ledger);

    // What cannot be taken back is no ground to go on: the cursor would go over what is stored there.
    IS_READ_ONLY.set(true);
    assert!(open(dir.path(), Epoch(5), &config()).is_err());
    IS_READ_ONLY.set(false);

    let mut lane = Lane::open(dir.path());
    assert_eq!(lane.monitor.status().unaccounted, Some(0));
    // An idle reader goes over what holds nothing.
    let before = lane.drain();
    assert_eq!(positions(&before), [1, 2, 3]);
    lane.reader.advance(Seq(3), passed(3)).expect("advances");
    assert_eq!(lane.drain(), []);
    lane.put(4, b"x").await;
    lane.durable(4).await;
    let behind = lane.drain();
    assert_eq!(positions(&behind), [4]);
    assert_eq!(behind[0].seq, Seq(4));
    let status = lane.monitor.status();
    assert_eq!(status.unaccounted, Some(0));
    let expected = Balance {
        received: 4,
        delivered: 3,
        queued: 1,
        ..Balance::default()
    };
    assert_eq!(status.balance, expected);
    lane.close();
}

#[tokio::test]
async fn what_was_confirmed_is_read_back_after_a_restart_in_order() {
    let dir = tempfile::tempdir().expect("temp dir");
    let lane = Lane::open(dir.path());
    for position in 1..=500 {
        lane.put(position, &[7; 300]).await;
    }
    lane.durable(500).await;
    lane.close();

    let mut lane = Lane::open(dir.path());
    let stored = lane.drain();
    assert_eq!(positions(&stored), (1..=500).collect::<Vec<_>>());
    assert!(
        stored
            .iter()
            .zip(1..)
            .all(|(stored, seq)| stored.seq == Seq(seq) && stored.epoch == Epoch(5))
    );
    assert_eq!(lane.recalled.len(), 500);
    lane.close();
}

#[tokio::test]
async fn the_cursor_survives_a_restart_and_sequences_go_on() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut lane = Lane::open(dir.path());
    for position in 1..=10 {
        lane.put(position, b"x").await;
    }
    lane.durable(10).await;
    assert_eq!(lane.drain().len(), 10);
    lane.reader.advance(Seq(4), passed(4)).expect("advances");
    lane.reader.rewind();
    assert_eq!(positions(&lane.drain()), (5..=10).collect::<Vec<_>>());
    lane.reader.advance(Seq(10), passed(6)).expect("advances");
    lane.close();

    let mut lane = Lane::open(dir.path());
    assert!(lane.drain().is_empty());
    assert_eq!(lane.monitor.status().balance.queued, 0);
    lane.put(11, b"y").await;
    lane.durable(11).await;
    assert_eq!(lane.drain().first().map(|stored| stored.seq), Some(Seq(11)));
    lane.close();
}

#[tokio::test]
async fn a_message_larger_than_a_block_and_the_whole_budget_passes() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut lane = Lane::open(dir.path());
    let mut noise = 1_u64;
    let large: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        noise.to_be_bytes()[0]
    })
    .take(5_000_000)
    .collect();
    lane.put(1, b"before").await;
    lane.put(2, &large).await;
    lane.put(3, b"behind").await;
    lane.durable(3).await;
    assert_eq!(lane.drain().len(), 3);
    lane.close();
    let mut lane = Lane::open(dir.path());
    let payloads: Vec<_> = lane
        .drain()
        .into_iter()
        .map(|stored| stored.arrival.payload)
        .collect();
    assert_eq!(
        payloads,
        [
            Bytes::from_static(b"before"),
            Bytes::from(large),
            Bytes::from_static(b"behind")
        ]
    );
    lane.close();
}

#[tokio::test]
async fn a_full_queue_takes_nothing_until_the_cursor_moves() {
    let dir = tempfile::tempdir().expect("temp dir");
    let small = Config {
        max_bytes: 16 * 1024 * 1024,
        compression: Compression::None,
        ..config()
    };
    let mut lane = Lane::open_with(dir.path(), &small);
    let payload = vec![1; 100_000];
    let mut sent = 0;
    while !lane.monitor.status().full {
        let room = tokio::time::timeout(Duration::from_millis(100), lane.intake.reserve(100_000)).await;
        if let Ok(room) = room {
            sent += 1;
            lane.intake
                .offer(arrival(sent, &payload), room.expect("open"), false)
                .expect("open");
        }
    }
    assert!(
        lane.monitor.status().bytes < 24 * 1024 * 1024,
        "{:?}",
        lane.monitor.status()
    );
    let mut read = 0;
    while read < sent {
        match lane.reader.read_next().expect("reads") {
            Some(stored) => {
                read += 1;
                assert_eq!(stored.arrival.delivery.position, read);
                lane.reader.advance(stored.seq, passed(1)).expect("advances");
            }
            None => lane.reader.wait(Duration::from_millis(100)),
        }
    }
    assert!(!lane.monitor.status().full);
    lane.close();
}

#[tokio::test]
async fn a_closed_queue_gives_up_a_group_it_cannot_store() {
    let dir = tempfile::tempdir().expect("temp dir");
    let none = Config {
        max_bytes: 0,
        ..config()
    };
    let lane = Lane::open_with(dir.path(), &none);
    lane.put(1, b"x").await;
    lane.monitor.close();
    assert_eq!(*lane.intake.durable().borrow(), 0);
    lane.close();
}

#[test]
fn the_next_sequence_is_never_one_that_was_used() {
    let marks = Values {
        cursor: Seq(3),
        durable: Seq(9),
        reserved: Seq(1000),
        delivered: 0,
        dead_lettered: 0,
        expired: 0,
        filtered: 0,
        unprotected: 0,
    };
    let held = |last: Option<u64>| Extent {
        oldest: Some(Seq(1)),
        newest: Some(Seq(1)),
        last: last.map(Seq),
        ..Extent::default()
    };
    // Intact: goes on behind the last.
    let intact = place(Some(marks), held(Some(9)));
    assert_eq!((intact.next, intact.skipped), (Seq(10), None));
    // The watermark lags: the store is right, and what lies behind is not shown before it is certain.
    let lagging = place(Some(marks), held(Some(12)));
    let unproven = Unproven {
        behind: Seq(9),
        last: Seq(12),
    };
    assert_eq!((lagging.next, lagging.unproven), (Seq(13), Some(unproven)));
    assert_eq!(lagging.values.durable, Seq(9));
    // The store lost its tail: jump. What was durable is looked for, what lies behind was never used.
    let torn = place(Some(marks), held(Some(5)));
    assert_eq!(torn.next, Seq(1000));
    assert_eq!(torn.skipped, Some(skipped(10, 999)));
    // Opened once more before anything was stored: the same again.
    let again = place(Some(torn.values), held(Some(5)));
    assert_eq!(
        (again.next, again.values, again.skipped),
        (torn.next, torn.values, None)
    );
    // It opened empty.
    let empty = place(Some(marks), held(None));
    assert_eq!((empty.values.cursor, empty.next), (Seq(3), Seq(1000)));
    // Everything was delivered and the store has nothing: nothing is missing, but more may have been used.
    let done = Values {
        cursor: Seq(9),
        ..marks
    };
    let bare = place(Some(done), Extent::default());
    assert_eq!((bare.next, bare.values.cursor), (Seq(1000), Seq(9)));
    assert_eq!(bare.skipped, Some(skipped(10, 999)));
    // A new store.
    assert_eq!(place(None, Extent::default()).next, Seq(1));
}

fn skipped(first: u64, last: u64) -> Hole {
    Hole {
        first: Seq(first),
        last: Seq(last),
        reason: Reason::Skipped,
    }
}

fn place(found: Option<Values>, extent: Extent) -> Place {
    let dir = tempfile::tempdir().expect("temp dir");
    let (ledger, _) = Ledger::open(&dir.path().join("ledger")).expect("opens");
    place::place(found, extent, &ledger)
}

#[test]
fn a_set_aside_end_uses_no_sequence_twice_although_the_watermark_lags() {
    let marks = Values {
        cursor: Seq(3),
        durable: Seq(50),
        reserved: Seq(1000),
        delivered: 0,
        dead_lettered: 0,
        expired: 0,
        filtered: 0,
        unprotected: 0,
    };
    let extent = Extent {
        oldest: Some(Seq(1)),
        newest: Some(Seq(100)),
        last: Some(Seq(99)),
        unsure: true,
        hollow: false,
    };
    assert_eq!(place(Some(marks), extent).next, Seq(1000));
    assert!(place(None, extent).next > Seq(100 + 1_000_000_000));
}

#[test]
fn a_newest_generation_without_messages_still_says_which_sequences_were_used() {
    let extent = Extent {
        oldest: Some(Seq(1)),
        newest: Some(Seq(200)),
        last: Some(Seq(99)),
        ..Extent::default()
    };
    assert_eq!(place(None, extent).next, Seq(200));
}

#[test]
fn without_marks_what_was_trimmed_is_not_lost_and_with_them_a_missing_generation_is() {
    let extent = Extent {
        oldest: Some(Seq(80)),
        newest: Some(Seq(80)),
        last: Some(Seq(99)),
        ..Extent::default()
    };
    let marks = Values {
        cursor: Seq(3),
        durable: Seq(90),
        reserved: Seq(1000),
        delivered: 0,
        dead_lettered: 0,
        expired: 0,
        filtered: 0,
        unprotected: 0,
    };
    // The cursor is durable, twice, before anything is deleted.
    for (found, cursor) in [(Some(marks), Seq(3)), (None, Seq(79))] {
        let place = place(found, extent);
        assert_eq!((place.values.cursor, place.skipped), (cursor, None));
    }
}

#[tokio::test]
async fn a_full_window_commits_at_once_however_long_the_interval_is() {
    let dir = tempfile::tempdir().expect("temp dir");
    let hour = Config {
        commit_interval: Duration::from_hours(1),
        commit_interval_max: Duration::from_hours(1),
        ..config()
    };
    let lane = Lane::open_with(dir.path(), &hour);
    lane.put(1, b"waits for company").await;
    let last = arrival(2, b"fills the window");
    let room = lane.intake.reserve(last.cost()).await.expect("open");
    lane.intake.offer(last, room, true).expect("open");
    lane.durable(2).await;
    let wear = lane.monitor.status().wear;
    assert!(wear.written > 0 && wear.payload >= 33, "{wear:?}");
    assert_eq!(wear.commit_interval, Duration::from_hours(1));
    lane.close();
}

#[tokio::test]
async fn a_block_of_a_newer_version_holds_the_reader_and_is_no_loss() {
    let dir = tempfile::tempdir().expect("temp dir");
    let opened = Generations::open(dir.path(), config().max_bytes, Waker::new(|| {})).expect("opens");
    let mut encoder = Encoder::new(Epoch(5), Compression::Zstd, &Keys::default()).expect("encoder");
    for seq in 1..=3 {
        let mut chunks = encoder
            .encode(Seq(seq), [&arrival(seq, b"payload")])
            .expect("encodes");
        if seq == 2 {
            // Version, and a checksum that holds: before it 40 bytes, behind it the slice.
            let bytes = &mut chunks[0].bytes;
            bytes[4] = 3;
            let crc = crc32fast::hash(&[&bytes[..40], &bytes[44..]].concat());
            bytes[40..44].copy_from_slice(&crc.to_be_bytes());
        }
        opened.store.append(&chunks).expect("appends");
    }
    drop(opened);
    let mut lane = Lane::open(dir.path());
    let first = lane.reader.read_next().expect("reads").expect("is there");
    assert_eq!(first.seq, Seq(1));
    for _ in 0..3 {
        let held = lane.reader.read_next();
        let version = matches!(
            held,
            Err(QueueError::Held {
                first: Seq(2),
                reason: codec::Unreadable::Version(3)
            })
        );
        assert!(version, "{held:?}");
    }
    let balance = lane.monitor.status().balance;
    assert_eq!((balance.queued, balance.removed.removed()), (3, 0));
    lane.close();
}

/// Puts a message that is not the usual one.
async fn put(lane: &Lane, arrival: Arrival) {
    let room = lane.intake.reserve(arrival.cost()).await.expect("open");
    lane.intake.offer(arrival, room, false).expect("open");
}

#[tokio::test]
async fn messages_with_qos_0_are_counted_once_wherever_a_crash_left_the_watermark() {
    let dir = tempfile::tempdir().expect("temp dir");
    let lane = Lane::open(dir.path());
    for position in 1..=6 {
        let mut arrival = arrival(position, b"x");
        arrival.delivery.qos = u8::from(position % 2 == 0);
        put(&lane, arrival).await;
    }
    lane.durable(6).await;
    assert_eq!(lane.monitor.status().unprotected, 3);
    lane.close();
    let known = marks::peek(dir.path()).expect("written");
    for (durable, unprotected) in [(6, 3), (5, 3), (2, 1), (0, 0)] {
        let (marks, _) = Marks::open(dir.path()).expect("opens");
        let behind = Values {
            durable: Seq(durable),
            unprotected,
            ..known
        };
        marks.reset(behind).expect("writes");
        drop(marks);
        let lane = Lane::open(dir.path());
        let status = lane.monitor.status();
        assert_eq!((status.balance.received, status.unprotected), (6, 3), "{durable}");
        lane.close();
    }
}

#[tokio::test]
async fn the_message_that_waits_for_longest_is_known_from_memory_and_after_a_start_from_the_disk() {
    let dir = tempfile::tempdir().expect("temp dir");
    let oldest = |lane: &mut Lane| {
        lane.reader.note_oldest(None, Instant::now());
        lane.monitor.status().oldest.map(|stamp| stamp.unix_ms)
    };
    let mut lane = Lane::open(dir.path());
    assert_eq!(oldest(&mut lane), None);
    for position in 1..=3 {
        let mut arrival = arrival(position, b"x");
        arrival.stamp.unix_ms = i64::try_from(position).expect("small") * 100;
        put(&lane, arrival).await;
    }
    lane.durable(3).await;
    assert_eq!(oldest(&mut lane), Some(100));
    lane.reader.read_next().expect("reads");
    lane.reader.advance(Seq(1), passed(1)).expect("advances");
    assert_eq!(lane.monitor.status().oldest, None, "what is done does not wait");
    assert_eq!(oldest(&mut lane), Some(200));
    lane.close();
    let mut lane = Lane::open(dir.path());
    assert_eq!(lane.monitor.status().oldest, None, "nobody asked yet");
    assert_eq!(oldest(&mut lane), Some(200));
    lane.reader.advance(Seq(3), passed(2)).expect("advances");
    assert_eq!(oldest(&mut lane), None);
    lane.close();
}

#[tokio::test]
async fn a_lane_is_peeked_at_without_being_opened() {
    let dir = tempfile::tempdir().expect("temp dir");
    assert_eq!(peek(dir.path()), None);
    let mut lane = Lane::open(dir.path());
    for position in 1..=3 {
        lane.put(position, b"x").await;
    }
    lane.durable(3).await;
    lane.reader.read_next().expect("reads");
    lane.reader.advance(Seq(1), passed(1)).expect("advances");
    let now = lane.monitor.status().balance;
    assert_eq!(
        peek(dir.path()).map(|peeked| peeked.balance),
        Some(now),
        "beside its owner"
    );
    lane.close();
    assert_eq!(peek(dir.path()).map(|peeked| peeked.balance), Some(now));
    assert_eq!((now.received, now.delivered, now.queued), (3, 1, 2));
}
