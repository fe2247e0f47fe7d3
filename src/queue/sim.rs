//! A store that misbehaves on demand, and the queue on it.
//!
//! [`Disk`] is what survives; [`SimStore`] is the store while it is open. Nothing here is random: what fails, when,
//! and how much of it is left behind is said by the test, whose values proptest makes from its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use super::codec::{Chunk, ChunkKey, Encoder, read_chunk};
use super::compaction::{self, Outcome, Thin, thin};
use super::ledger::Replacement;
use super::store::{RawBlock, Unit};
use super::tests::{Lane, arrival, config, passed, positions};
use super::*;
use crate::message::Stored;
use crate::queue::opening::{assemble, recall};
use crate::queue::place::reach;
use crate::queue::store::{Extent, Found, Opened, StoreError};

/// Shared by all stores opened on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(super) struct State {
    chunks: BTreeMap<ChunkKey, Vec<u8>>,
    /// Of the last append, if it failed: not to be seen before the next open.
    left_behind: Vec<Chunk>,
    /// `None`: no end to it.
    capacity: Option<usize>,
    fault: Option<Fault>,
    staged: Option<(Replacement, Vec<Chunk>)>,
    /// First sequence of a newest unit that is set aside: nothing is known of it but that.
    aside: Option<Seq>,
}

/// An append that will fail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    /// How many appends succeed before.
    pub(super) after: u32,
    /// Leaves this many chunks of its group behind, modulo what can be: none to all (then only the sync failed).
    pub(super) keep: usize,
}

impl Disk {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a store as after a crash: nothing is known but what was synced, or happened to get through.
    pub(super) fn open(&self) -> Opened<SimStore> {
        let mut state = self.state();
        state.fault = None;
        let left = std::mem::take(&mut state.left_behind);
        let left = left.into_iter().map(|chunk| (chunk.key, chunk.bytes));
        state.chunks.extend(left);
        state.remove_unfinished();
        let last = state.chunks.last_key_value().map(|(_, bytes)| last_of(bytes));
        let oldest = state.chunks.first_key_value().map(|(key, _)| key.first);
        Opened {
            store: SimStore(self.clone()),
            extent: Extent {
                oldest,
                newest: state.aside.max(oldest),
                last,
                unsure: state.aside.is_some(),
                ..Extent::default()
            },
        }
    }

    pub(super) fn fail(&self, after: u32, keep: usize) {
        self.state().fault = Some(Fault { after, keep });
    }

    pub(super) fn limit(&self, capacity: Option<usize>) {
        self.state().capacity = capacity;
    }

    /// Flips a bit in the first chunk of the block from `first` on.
    pub(super) fn damage(&self, first: Seq) {
        let mut state = self.state();
        let bytes = state
            .chunks
            .get_mut(&ChunkKey { first, part: 0 })
            .expect("stored");
        *bytes.last_mut().expect("not empty") ^= 1;
    }

    /// Of what the last append left behind, a power cut takes all but `keep` chunks (modulo what can be).
    pub(super) fn forget_unsynced(&self, keep: usize) {
        let mut state = self.state();
        let left = state.left_behind.len();
        state.left_behind.truncate(keep % (left + 1));
    }

    /// The unit from `first` on cannot be read any more; that it was there can be seen.
    pub(super) fn set_aside(&self, first: Seq) {
        self.drop_from(first);
        self.state().aside = Some(first);
    }

    /// Where the unit that is set aside begins.
    pub(super) fn aside(&self) -> Option<Seq> {
        self.state().aside
    }

    pub(super) fn drop_from(&self, first: Seq) {
        self.state().chunks.split_off(&ChunkKey { first, part: 0 });
    }

    pub(super) fn firsts(&self) -> BTreeSet<Seq> {
        self.state().firsts()
    }
}

fn last_of(bytes: &[u8]) -> Seq {
    read_chunk(bytes).expect("whole").0.last()
}

impl State {
    pub(super) fn used(&self) -> usize {
        self.chunks.values().map(Vec::len).sum()
    }

    fn firsts(&self) -> BTreeSet<Seq> {
        self.chunks.keys().map(|key| key.first).collect()
    }

    fn block(&self, first: Seq) -> RawBlock {
        let key = |part| ChunkKey { first, part };
        let chunks = self.chunks.range(key(0)..=key(u16::MAX));
        RawBlock {
            first,
            chunks: chunks.map(|(_, bytes)| bytes.clone()).collect(),
        }
    }

    fn remove_unfinished(&mut self) {
        if let Some((key, bytes)) = self.chunks.last_key_value() {
            let (first, parts) = (key.first, read_chunk(bytes).expect("whole").0.parts);
            if usize::from(key.part) + 1 < usize::from(parts) {
                self.chunks.retain(|key, _| key.first != first);
            }
        }
    }

    /// What the next append of `chunks` comes to: `None` to succeed, or how many chunks it leaves behind.
    fn verdict(&mut self, chunks: &[Chunk]) -> Option<usize> {
        match &mut self.fault {
            Some(fault) if fault.after == 0 => {
                let keep = fault.keep % (chunks.len() + 1);
                self.fault = None;
                return Some(keep);
            }
            Some(fault) => fault.after -= 1,
            None => {}
        }
        let mut room = self.capacity?.saturating_sub(self.used());
        chunks
            .iter()
            .position(|chunk| match room.checked_sub(chunk.bytes.len()) {
                Some(rest) => {
                    room = rest;
                    false
                }
                None => true,
            })
    }
}

#[derive(Debug)]
pub(super) struct SimStore(Disk);

impl Store for SimStore {
    fn append(&self, chunks: &[Chunk]) -> Result<(), StoreError> {
        let mut state = self.0.state();
        if let Some(keep) = state.verdict(chunks) {
            state.left_behind = chunks[..keep].to_vec();
            return Err(StoreError::Io {
                path: PathBuf::from("sim"),
                source: io::ErrorKind::StorageFull.into(),
            });
        }
        state.left_behind.clear();
        // A unit of its own.
        state.aside = None;
        let new = chunks.iter().map(|chunk| (chunk.key, chunk.bytes.clone()));
        state.chunks.extend(new);
        Ok(())
    }

    fn read(&self, from: Seq) -> Result<Found, StoreError> {
        let state = self.0.state();
        let end = ChunkKey {
            first: from,
            part: u16::MAX,
        };
        let before = state.chunks.range(..=end).next_back();
        let found = before.or_else(|| state.chunks.first_key_value());
        Ok(found.map_or(Found::Nothing, |(key, _)| Found::Block(state.block(key.first))))
    }

    fn read_behind(&self, seq: Seq) -> Result<Found, StoreError> {
        let state = self.0.state();
        let begin = ChunkKey {
            first: seq.next(),
            part: 0,
        };
        let found = state.chunks.range(begin..).next();
        Ok(found.map_or(Found::Nothing, |(key, _)| Found::Block(state.block(key.first))))
    }

    fn seal(&self) {}

    fn suspect(&self, _seq: Seq) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn can_trim(&self, _through: Seq) -> bool {
        true
    }

    fn units(&self) -> Vec<Unit> {
        let state = self.0.state();
        let firsts: Vec<_> = state.firsts().into_iter().collect();
        let lasts = firsts.iter().skip(1).map(|next| Some(next.previous()));
        let units = firsts.iter().zip(lasts.chain([None]));
        units
            .map(|(first, last)| Unit {
                first: *first,
                last,
                bytes: state
                    .block(*first)
                    .chunks
                    .iter()
                    .map(|chunk| chunk.len() as u64)
                    .sum(),
            })
            .collect()
    }

    fn drop_unit(&self, first: Seq) -> Result<(), StoreError> {
        self.0.state().chunks.retain(|key, _| key.first != first);
        Ok(())
    }

    fn stage(&self, replacement: Replacement, groups: &[Vec<Chunk>]) -> Result<(), StoreError> {
        self.0.state().staged = Some((replacement, groups.concat()));
        Ok(())
    }

    fn unstage(&self, _replacement: Replacement) {
        self.0.state().staged = None;
    }

    fn replace(&self, replacement: Replacement) {
        let mut state = self.0.state();
        let (staged, chunks) = state.staged.take().expect("staged");
        assert_eq!(staged, replacement);
        let replaced = replacement.first..=replacement.last;
        state.chunks.retain(|key, _| !replaced.contains(&key.first));
        state
            .chunks
            .extend(chunks.into_iter().map(|chunk| (chunk.key, chunk.bytes)));
    }

    /// Its units are blocks; like the generations it keeps the last one.
    fn trim(&self, through: Seq) -> Result<(), StoreError> {
        let mut state = self.0.state();
        let firsts: Vec<_> = state.chunks.keys().map(|key| key.first).collect();
        let kept = firsts.into_iter().rfind(|first| *first <= through.next());
        state
            .chunks
            .retain(|key, _| kept.is_none_or(|kept| key.first >= kept));
        Ok(())
    }

    fn trim_all(&self, through: Seq) -> Result<(), StoreError> {
        self.trim(through)
    }

    fn bytes(&self) -> u64 {
        self.0.state().used() as u64
    }
}

// --- Single faults -----------------------------------------------------------------------------------

/// For what the writer's thread does after a wait of its own.
const PATIENCE: Duration = Duration::from_secs(20);

struct Sim {
    disk: Disk,
    dir: tempfile::TempDir,
    config: Config,
}

impl Sim {
    fn new() -> Self {
        let config = Config {
            compression: Compression::None,
            ..config()
        };
        Self {
            disk: Disk::default(),
            dir: tempfile::tempdir().expect("temp dir"),
            config,
        }
    }

    fn queue(&self) -> Queue {
        let signal = Arc::default();
        assemble(
            self.disk.open(),
            signal,
            self.dir.path(),
            Epoch(5),
            &self.config,
            &Keys::default(),
            &Outside::default(),
        )
        .expect("opens")
    }

    fn lane(&self) -> Lane {
        Lane::start(self.queue())
    }

    /// A lane in which each of the messages is a block of its own.
    async fn filled(&self, count: u64) -> Lane {
        let lane = self.lane();
        for position in 1..=count {
            lane.put(position, &[1; 100]).await;
            lane.durable(position).await;
        }
        lane
    }

    fn reopen(&self, lane: Lane) -> Lane {
        lane.close();
        self.lane()
    }
}

fn lost(lane: &Lane) -> u64 {
    lane.monitor.status().balance.removed.of(Reason::Damaged)
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[tokio::test]
async fn a_failing_append_is_tried_again_and_confirms_only_then() {
    let sim = Sim::new();
    let mut lane = sim.lane();
    lane.put(1, b"before").await;
    lane.durable(1).await;
    sim.disk.fail(0, 1);
    lane.put(2, b"fails once").await;
    lane.put(3, b"behind it").await;
    until("fails", || lane.monitor.status().failure.is_some());
    assert_eq!(*lane.intake.durable().borrow(), 1);
    lane.durable(3).await;
    assert_eq!(lane.monitor.status().failure, None);
    assert_eq!(positions(&lane.drain()), [1, 2, 3]);
    let mut lane = sim.reopen(lane);
    assert_eq!(positions(&lane.drain()), [1, 2, 3]);
    lane.close();
}

#[tokio::test]
async fn a_torn_group_is_never_visible_but_for_its_whole_blocks() {
    // Three blocks of two messages and twelve chunks each.
    let payload = vec![7; 35_000];
    for keep in 0..=36 {
        let sim = Sim::new();
        let mut queue = sim.queue();
        let intake = queue.door.intake();
        for position in 1..=6 {
            let arrival = arrival(position, &payload);
            let room = intake.reserve(arrival.cost()).await.expect("open");
            intake.offer(arrival, room, false).expect("open");
        }
        sim.disk.fail(0, keep);
        let mut group = queue.writer.gather().expect("open");
        assert_eq!(group.len(), 6);
        queue.writer.attempt(&mut group).expect_err("fails");
        assert!(queue.reader.read_next().expect("reads").is_none());
        drop((queue, group));
        let kept = keep as u64 / 12 * 2;
        let mut lane = sim.lane();
        assert_eq!(
            positions(&lane.drain()),
            (1..=kept).collect::<Vec<_>>(),
            "keep {keep}"
        );
        lane.put(9, b"next").await;
        lane.durable(9).await;
        let next = lane.drain();
        assert_eq!((next[0].seq.0, next.len()), (kept + 1, 1));
        assert_eq!(lost(&lane), 0);
        lane.close();
    }
}

#[tokio::test]
async fn a_full_disk_stops_confirming_and_storing_goes_on_by_itself() {
    let sim = Sim::new();
    let mut lane = sim.filled(1).await;
    sim.disk.limit(Some(1000));
    lane.put(2, &[2; 2000]).await;
    until("full", || lane.monitor.status().failure.is_some());
    assert_eq!(*lane.intake.durable().borrow(), 1);
    // What is durable goes on to Kafka meanwhile.
    assert_eq!(positions(&lane.drain()), [1]);
    sim.disk.limit(None);
    lane.durable(2).await;
    assert_eq!(positions(&lane.drain()), [2]);
    assert_eq!(lane.monitor.status().failure, None);
    lane.close();
}

#[tokio::test]
async fn a_message_larger_than_the_budget_does_not_block_the_queue_for_ever() {
    let mut sim = Sim::new();
    sim.config.max_bytes = 1000;
    let mut lane = sim.lane();
    lane.put(1, &[1; 5000]).await;
    lane.durable(1).await;
    lane.put(2, &[2; 5000]).await;
    until("full", || lane.monitor.status().full);
    assert_eq!(positions(&lane.drain()), [1]);
    lane.reader.advance(Seq(1), passed(1)).expect("advances");
    lane.durable(2).await;
    assert_eq!(positions(&lane.drain()), [2]);
    lane.close();
}

#[tokio::test]
async fn a_damaged_block_is_passed_over_and_counted_once() {
    let sim = Sim::new();
    let lane = sim.filled(2).await;
    lane.close();
    // Five messages in one block.
    let mut queue = sim.queue();
    let intake = queue.door.intake();
    for position in 3..=7 {
        let room = intake.reserve(500).await.expect("open");
        intake.offer(arrival(position, b"x"), room, false).expect("open");
    }
    let mut group = queue.writer.gather().expect("open");
    queue.writer.attempt(&mut group).expect("stores");
    drop((queue, intake));
    let lane = sim.lane();
    lane.put(8, b"behind").await;
    lane.durable(8).await;
    let mut lane = sim.reopen(lane);
    sim.disk.damage(Seq(3));
    for _ in 0..3 {
        assert_eq!(positions(&lane.drain()), [1, 2, 8]);
        assert_eq!(lost(&lane), 5);
        lane.reader.rewind();
    }
    lane.close();
}

/// Found by a simulation of the whole pipeline (docs/decisions/0038): counted as dropped and as delivered.
#[tokio::test]
async fn what_was_removed_is_not_handed_out_of_memory_when_the_cursor_has_gone_over_it() {
    let sim = Sim::new();
    let mut lane = sim.filled(4).await;
    let shared = Arc::clone(&lane.monitor.0);
    let remove = |first| {
        let units = shared.store.units();
        let unit = units.into_iter().find(|unit| unit.first == Seq(first));
        let removed = compaction::drop_whole(&shared, unit.expect("is there"), Reason::DroppedOldest);
        assert_eq!(removed.expect("drops"), Outcome::Done);
    };
    remove(2);
    remove(3);
    let first = lane.reader.read_next().expect("reads").expect("is there");
    lane.reader.advance(first.seq, passed(1)).expect("advances");
    lane.reader.sync().expect("syncs");
    assert_eq!(lane.reader.cursor(), Seq(3));
    for position in 5..=6 {
        lane.put(position, b"later").await;
        lane.durable(position).await;
    }
    // Another removal: what the cursor has passed is forgotten.
    remove(5);
    assert_eq!(positions(&lane.drain()), [4, 6]);
    assert_eq!(lane.monitor.status().unaccounted, Some(0));
    lane.close();
}

/// Three blocks of ten become one unit, in which the first block is whole and the others keep `kept`; the second one is damaged.
async fn rewritten_and_damaged(sim: &Sim, kept: &[u64]) -> Queue {
    let mut queue = sim.queue();
    let intake = queue.door.intake();
    for block in 0..4 {
        for position in 10 * block + 1..=10 * block + 10 {
            let room = intake.reserve(500).await.expect("open");
            intake.offer(arrival(position, b"x"), room, false).expect("open");
        }
        let mut group = queue.writer.gather().expect("open");
        queue.writer.attempt(&mut group).expect("stores");
    }
    let shared = &queue.monitor.0;
    let mut encoder = Encoder::new(Epoch(5), Compression::None, &Keys::default()).expect("encoder");
    let mut is_superseded = |stored: &Stored| stored.seq > Seq(10) && !kept.contains(&stored.seq.0);
    let mut run: Option<Thin> = None;
    for unit in shared.store.units()[..3].iter().rev() {
        let last = unit.last.expect("closed");
        let thin = thin(shared, &mut encoder, *unit, last, &mut is_superseded);
        let thin = thin.expect("reads").expect("whole");
        run = Some(match run.take() {
            Some(newer) => newer.join(thin),
            None => thin,
        });
    }
    let run = run.expect("three");
    assert_eq!(run.removed, 20 - kept.len() as u64);
    let outcome = compaction::commit_in_steps(shared, run, Reason::Superseded, |_| {});
    assert_eq!(outcome.expect("commits"), Outcome::Done);
    let second = sim.disk.firsts().into_iter().find(|first| *first > Seq(10));
    sim.disk.damage(second.expect("is there"));
    queue
}

#[tokio::test]
async fn damage_in_a_rewritten_unit_leaves_an_account_that_adds_up() {
    // Of what is left the damage has few, about as many as its sequences would make, and nearly all.
    for kept in [
        &[14, 25, 26, 27, 28][..],
        &[11, 12, 13, 22, 23, 24, 25],
        &[11, 12, 13, 14, 15, 16, 21],
    ] {
        let sim = Sim::new();
        let mut queue = rewritten_and_damaged(&sim, kept).await;
        let damaged = kept.iter().filter(|position| **position <= 20).count() as u64;
        let status = queue.monitor.status();
        assert_eq!(status.unaccounted, Some(0), "before the cursor is within it");
        assert_eq!(status.balance.queued, 20 + kept.len() as u64);
        let mut delivered = Vec::new();
        let mut is_counted = Vec::new();
        while let Some(stored) = queue.reader.read_next().expect("reads") {
            queue.reader.advance(stored.seq, passed(1)).expect("advances");
            delivered.push(stored.seq.0);
            let unaccounted = queue.monitor.status().unaccounted;
            assert!(
                matches!(unaccounted, None | Some(0)),
                "{delivered:?}: {unaccounted:?}"
            );
            is_counted.push(unaccounted.is_some());
        }
        let behind = kept.iter().copied().filter(|position| *position > 20);
        let wanted: Vec<u64> = (1..=10).chain(behind).chain(31..=40).collect();
        assert_eq!(delivered, wanted);
        assert!(is_counted.ends_with(&[true; 10]), "{is_counted:?}");
        drop(queue);
        let status = sim.queue().monitor.status();
        let balance = status.balance;
        assert_eq!(
            balance.removed.of(Reason::Damaged),
            damaged,
            "{kept:?}: {balance:?}"
        );
        assert_eq!((status.unaccounted, balance.queued), (Some(0), 0), "{balance:?}");
        assert_eq!(balance.received, 40);
    }
}

#[tokio::test]
async fn a_lost_tail_is_reported_exactly_and_never_counted_again() {
    let sim = Sim::new();
    let lane = sim.filled(9).await;
    lane.close();
    sim.disk.drop_from(Seq(6));
    for _ in 0..2 {
        let mut lane = sim.lane();
        assert_eq!(positions(&lane.drain()), [1, 2, 3, 4, 5]);
        assert_eq!(lost(&lane), 4);
        lane.close();
    }
    let lane = sim.lane();
    lane.put(10, b"behind").await;
    lane.durable(10).await;
    let mut lane = sim.reopen(lane);
    let stored = lane.drain();
    assert_eq!(positions(&stored), [1, 2, 3, 4, 5, 10]);
    assert!(stored[5].seq > Seq(9));
    assert_eq!((lost(&lane), lane.monitor.status().balance.received), (4, 10));
    lane.close();
}

#[tokio::test]
async fn a_queue_that_delivered_all_it_has_after_a_loss_is_empty() {
    let sim = Sim::new();
    let lane = sim.filled(9).await;
    lane.close();
    sim.disk.drop_from(Seq(6));
    let mut lane = sim.lane();
    assert_eq!(lane.drain().len(), 5);
    lane.reader.advance(Seq(5), passed(5)).expect("advances");
    assert_eq!(lane.monitor.status().balance.queued, 0);
    assert_eq!(lane.monitor.status().unaccounted, Some(0));
    let lane = sim.reopen(lane);
    assert_eq!((lost(&lane), lane.monitor.status().balance.queued), (4, 0));
    lane.close();
}

#[tokio::test]
async fn trimmed_messages_are_not_lost_when_the_marks_are() {
    let sim = Sim::new();
    let mut lane = sim.filled(5).await;
    assert_eq!(lane.drain().len(), 5);
    lane.reader.advance(Seq(3), passed(3)).expect("advances");
    lane.close();
    assert_eq!(sim.disk.firsts(), BTreeSet::from([Seq(4), Seq(5)]));
    std::fs::remove_file(sim.dir.path().join("marks")).expect("removes");
    let mut lane = sim.lane();
    assert_eq!(positions(&lane.drain()), [4, 5]);
    assert_eq!(lost(&lane), 0);
    lane.close();
}

/// A store with one block for each of these sequences.
fn stored(seqs: &[u64]) -> Disk {
    let disk = Disk::default();
    let store = disk.open().store;
    let keys = Keys::default();
    let mut encoder = Encoder::new(Epoch(1), Compression::None, &keys).expect("encoder");
    for seq in seqs {
        let chunks = encoder
            .encode(Seq(*seq), [&arrival(*seq, b"x")])
            .expect("encodes");
        store.append(&chunks).expect("appends");
    }
    disk
}

fn hole(first: u64, last: u64, reason: Reason) -> Hole {
    Hole {
        first: Seq(first),
        last: Seq(last),
        reason,
    }
}

/// Else a start behind a power cut leaves out a million sequences, and counts what is there under them.
#[test]
fn what_the_ledger_knows_to_be_gone_is_no_gap_behind_the_watermark() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (ledger, _) = Ledger::open(&dir.path().join("ledger")).expect("opens");
    let Opened { store, extent } = stored(&[1, 2, 5, 6]).open();
    let gap = reach(&store, &ledger, Seq(1), extent);
    assert_eq!((gap.last, gap.unsure), (Some(Seq(2)), true));
    ledger
        .record(hole(3, 4, Reason::DroppedOldest), Seq::ZERO)
        .expect("records");
    let known = reach(&store, &ledger, Seq(1), extent);
    assert_eq!((known.last, known.unsure), (Some(Seq(6)), false));
}

#[test]
fn messages_in_what_was_left_out_are_counted_as_dropped_when_their_unit_is() {
    let dir = tempfile::tempdir().expect("temp dir");
    let disk = stored(&[1, 2, 3, 4]);
    let queue = assemble(
        disk.open(),
        Arc::default(),
        dir.path(),
        Epoch(1),
        &config(),
        &Keys::default(),
        &Outside::default(),
    )
    .expect("opens");
    let shared = &queue.monitor.0;
    shared
        .ledger
        .record(hole(2, 1_000, Reason::Skipped), Seq::ZERO)
        .expect("records");
    let unit = shared.store.units().into_iter().find(|unit| unit.first == Seq(2));
    let outcome = compaction::drop_whole(shared, unit.expect("there"), Reason::DroppedOldest);
    assert_eq!(outcome.expect("drops"), Outcome::Done);
    let totals = shared.ledger.totals();
    assert_eq!(
        (totals.of(Reason::DroppedOldest), totals.of(Reason::Skipped)),
        (1, 998)
    );
}

/// Whoever brings a message again that is recognised is told that it is safe.
#[test]
fn what_is_not_known_to_be_on_the_disk_is_not_recognised() {
    let dir = tempfile::tempdir().expect("temp dir");
    let queue = assemble(
        stored(&[1, 2, 3]).open(),
        Arc::default(),
        dir.path(),
        Epoch(1),
        &config(),
        &Keys::default(),
        &Outside::default(),
    )
    .expect("opens");
    let recalled = |last| recall(&queue.monitor.0, Seq(last), None).len();
    assert_eq!([recalled(3), recalled(2), recalled(0)], [3, 2, 0]);
}
