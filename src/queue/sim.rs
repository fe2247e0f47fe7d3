//! A store that misbehaves on demand, and the queue held against a plain list.
//!
//! [`Disk`] is what survives; [`SimStore`] is the store while it is open. Nothing here is random: what fails, when,
//! and how much of it is left behind is said by the test, whose values proptest makes from its seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::codec::{Chunk, ChunkKey, read_chunk};
use super::store::RawBlock;
use super::tests::{Lane, arrival, config, positions};
use super::*;
use crate::message::Stored;

/// Shared by all stores opened on it.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    chunks: BTreeMap<ChunkKey, Vec<u8>>,
    /// Of the last append, if it failed: not to be seen before the next open.
    left_behind: Vec<Chunk>,
    /// `None`: no end to it.
    capacity: Option<usize>,
    fault: Option<Fault>,
}

/// An append that will fail.
#[derive(Debug, Clone, Copy)]
struct Fault {
    /// How many appends succeed before.
    after: u32,
    /// Leaves this many chunks of its group behind, modulo what can be: none to all (then only the sync failed).
    keep: usize,
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a store as after a crash: nothing is known but what was synced, or happened to get through.
    fn open(&self) -> Opened<SimStore> {
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
                newest: oldest,
                last,
                unsure: false,
            },
            losses: Vec::new(),
        }
    }

    fn fail(&self, after: u32, keep: usize) {
        self.state().fault = Some(Fault { after, keep });
    }

    fn limit(&self, capacity: Option<usize>) {
        self.state().capacity = capacity;
    }

    /// Flips a bit in the first chunk of the block from `first` on.
    fn damage(&self, first: Seq) {
        let mut state = self.state();
        let bytes = state
            .chunks
            .get_mut(&ChunkKey { first, part: 0 })
            .expect("stored");
        *bytes.last_mut().expect("not empty") ^= 1;
    }

    fn drop_from(&self, first: Seq) {
        self.state().chunks.split_off(&ChunkKey { first, part: 0 });
    }

    fn firsts(&self) -> BTreeSet<Seq> {
        self.state().chunks.keys().map(|key| key.first).collect()
    }
}

fn last_of(bytes: &[u8]) -> Seq {
    read_chunk(bytes).expect("whole").0.last()
}

impl State {
    fn used(&self) -> usize {
        self.chunks.values().map(Vec::len).sum()
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
struct SimStore(Disk);

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
        let new = chunks.iter().map(|chunk| (chunk.key, chunk.bytes.clone()));
        state.chunks.extend(new);
        Ok(())
    }

    fn read(&self, from: Seq) -> Result<Option<RawBlock>, StoreError> {
        let state = self.0.state();
        let end = ChunkKey {
            first: from,
            part: u16::MAX,
        };
        let before = state.chunks.range(..=end).next_back();
        let found = before.or_else(|| state.chunks.first_key_value());
        Ok(found.map(|(key, _)| state.block(key.first)))
    }

    fn read_behind(&self, seq: Seq) -> Result<Option<RawBlock>, StoreError> {
        let state = self.0.state();
        let begin = ChunkKey {
            first: seq.next(),
            part: 0,
        };
        let found = state.chunks.range(begin..).next();
        Ok(found.map(|(key, _)| state.block(key.first)))
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
        let marks = self.dir.path().join("marks");
        assemble(self.disk.open(), &marks, Epoch(5), &self.config).expect("opens")
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
        assert_eq!(lane.monitor.status().lost, 0);
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
    lane.reader.advance(Seq(1)).expect("advances");
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
        assert_eq!(lane.monitor.status().lost, 5);
        lane.reader.rewind();
    }
    lane.close();
}

#[tokio::test]
async fn a_lost_tail_is_reported_exactly_and_never_counted_again() {
    let sim = Sim::new();
    let lane = sim.filled(9).await;
    lane.close();
    sim.disk.drop_from(Seq(6));
    for _ in 0..2 {
        let mut lane = sim.lane();
        assert_eq!(lane.monitor.status().lost, 4);
        assert_eq!(positions(&lane.drain()), [1, 2, 3, 4, 5]);
        assert_eq!(lane.monitor.status().lost, 4);
        lane.close();
    }
    let lane = sim.lane();
    lane.put(10, b"behind").await;
    lane.durable(10).await;
    let mut lane = sim.reopen(lane);
    let stored = lane.drain();
    assert_eq!(positions(&stored), [1, 2, 3, 4, 5, 10]);
    assert!(stored[5].seq > Seq(9));
    assert_eq!(lane.monitor.status().lost, 0);
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
    lane.reader.advance(Seq(5)).expect("advances");
    assert_eq!(lane.monitor.status().backlog, 0);
    let lane = sim.reopen(lane);
    assert_eq!(
        (lane.monitor.status().lost, lane.monitor.status().backlog),
        (0, 0)
    );
    lane.close();
}

#[tokio::test]
async fn trimmed_messages_are_not_lost_when_the_marks_are() {
    let sim = Sim::new();
    let mut lane = sim.filled(5).await;
    assert_eq!(lane.drain().len(), 5);
    lane.reader.advance(Seq(3)).expect("advances");
    lane.close();
    assert_eq!(sim.disk.firsts(), BTreeSet::from([Seq(4), Seq(5)]));
    std::fs::remove_file(sim.dir.path().join("marks")).expect("removes");
    let mut lane = sim.lane();
    assert_eq!(positions(&lane.drain()), [4, 5]);
    assert_eq!(lane.monitor.status().lost, 0);
    lane.close();
}

// --- Model -------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Action {
    /// Messages of these sizes arrive.
    Offer(Vec<u16>),
    /// The writer takes what waits, or tries again what failed.
    Commit,
    /// One of the next appends fails.
    Fail {
        after: u32,
        keep: usize,
    },
    /// SIGKILL and a new start.
    Kill,
    /// So, but the page cache is gone too.
    PowerCut,
    /// The sink takes this many.
    Read(u8),
    /// Kafka confirms this part (of 256) of what the sink has taken.
    Advance(u8),
    Rewind,
    /// The marks reach the disk itself.
    Sync,
    /// The disk has this much room more, or no end to it.
    Limit(Option<u16>),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => vec(prop_oneof![4 => 0_u16..300, 1 => 0_u16..20_000], 1..12).prop_map(Action::Offer),
        8 => Just(Action::Commit),
        2 => (0_u32..3, 0_usize..40).prop_map(|(after, keep)| Action::Fail { after, keep }),
        2 => Just(Action::Kill),
        1 => Just(Action::PowerCut),
        6 => any::<u8>().prop_map(Action::Read),
        4 => any::<u8>().prop_map(Action::Advance),
        2 => Just(Action::Rewind),
        1 => Just(Action::Sync),
        1 => proptest::option::of(0_u16..30_000).prop_map(Action::Limit),
    ];
    vec(action, 1..80)
}

/// Where the messages are kept.
#[derive(Debug)]
enum Backing {
    Sim(Disk),
    /// Generations of this budget; their limit is an eighth of it.
    Sled(u64),
}

impl Backing {
    fn open(&self, folder: &Path, config: &Config) -> Queue {
        let marks = folder.join("marks");
        let queue = match self {
            Self::Sim(disk) => assemble(disk.open(), &marks, Epoch(5), config),
            Self::Sled(budget) => {
                let opened = Generations::open(folder, *budget).expect("opens");
                assert_eq!(opened.losses, []);
                assemble(opened, &marks, Epoch(5), config)
            }
        };
        queue.expect("opens")
    }

    fn disk(&self) -> Option<&Disk> {
        match self {
            Self::Sim(disk) => Some(disk),
            Self::Sled(_) => None,
        }
    }
}

/// The queue, driven step by step, beside the list that it must equal.
struct Model {
    backing: Backing,
    dir: tempfile::TempDir,
    config: Config,
    runtime: Runtime,
    queue: Option<(Queue, Intake)>,
    /// A group whose commit failed: it is tried again before any other.
    group: VecDeque<Offer>,
    /// Offered since the last commit, and not confirmed.
    waiting: usize,
    waiting_bytes: usize,
    /// First position offered since the start of the process.
    first: u64,
    /// Size of each message ever offered, by position from 1 on.
    sizes: Vec<u16>,
    confirmed: BTreeSet<u64>,
    /// Every sequence ever seen, with its position.
    seen: BTreeMap<Seq, u64>,
    /// Sequence the reader must give next.
    at: Seq,
    cursor: Seq,
    /// The marks as they are on the disk itself, and the cursor in them.
    synced: (Vec<u8>, Seq),
    reserved: Seq,
}

impl Model {
    fn new(backing: Backing) -> Self {
        let mut model = Self {
            backing,
            dir: tempfile::tempdir().expect("temp dir"),
            config: Config {
                compression: Compression::None,
                ..config()
            },
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("runtime"),
            queue: None,
            group: VecDeque::new(),
            waiting: 0,
            waiting_bytes: 0,
            first: 1,
            sizes: Vec::new(),
            confirmed: BTreeSet::new(),
            seen: BTreeMap::new(),
            at: Seq(1),
            cursor: Seq::ZERO,
            synced: (Vec::new(), Seq::ZERO),
            reserved: Seq::ZERO,
        };
        model.start();
        model
    }

    fn queue(&mut self) -> &mut Queue {
        &mut self.queue.as_mut().expect("open").0
    }

    fn start(&mut self) {
        let queue = self.backing.open(self.dir.path(), &self.config);
        let cursor = queue.reader.cursor();
        assert!(cursor >= self.synced.1, "the cursor lost what was synced");
        assert!(
            cursor <= self.cursor.max(self.synced.1),
            "the cursor passed what was delivered"
        );
        let intake = queue.door.intake();
        self.first = self.sizes.len() as u64 + 1;
        self.cursor = cursor;
        self.at = cursor.next();
        self.queue = Some((queue, intake));
        self.note_synced();
    }

    fn stop(&mut self) {
        self.queue = None;
        self.group.clear();
        self.waiting = 0;
        self.waiting_bytes = 0;
    }

    fn marks(&self) -> PathBuf {
        self.dir.path().join("marks")
    }

    fn note_synced(&mut self) {
        self.synced = (std::fs::read(self.marks()).expect("reads"), self.cursor);
        self.reserved = self.queue().monitor.0.marks.values().reserved;
    }

    fn apply(&mut self, action: &Action) {
        match action {
            Action::Offer(sizes) => sizes.iter().for_each(|size| self.offer(*size)),
            Action::Commit => self.commit(),
            Action::Fail { after, keep } => {
                if let Some(disk) = self.backing.disk() {
                    disk.fail(*after, *keep);
                }
            }
            Action::Kill => {
                self.stop();
                self.start();
            }
            Action::PowerCut => {
                self.stop();
                std::fs::write(self.marks(), &self.synced.0).expect("writes");
                self.start();
            }
            Action::Read(count) => self.read(*count),
            Action::Advance(part) => self.advance(*part),
            Action::Rewind => {
                self.queue().reader.rewind();
                self.at = self.cursor.next();
            }
            Action::Sync => {
                self.queue().reader.sync().expect("syncs");
                self.note_synced();
            }
            Action::Limit(room) => {
                if let Some(disk) = self.backing.disk() {
                    let used = disk.state().used();
                    disk.limit(room.map(|room| used + usize::from(room)));
                }
            }
        }
        assert_eq!(self.queue().monitor.status().lost, 0);
    }

    fn offer(&mut self, size: u16) {
        let position = self.sizes.len() as u64 + 1;
        let arrival = arrival(position, &payload(position, size));
        if self.waiting_bytes + arrival.cost() > intake::BUDGET_BYTES {
            return;
        }
        self.sizes.push(size);
        self.waiting += 1;
        self.waiting_bytes += arrival.cost();
        let (_, intake) = self.queue.as_ref().expect("open");
        let room = self
            .runtime
            .block_on(intake.reserve(arrival.cost()))
            .expect("open");
        intake.offer(arrival, room, false).expect("open");
    }

    fn commit(&mut self) {
        let mut group: Vec<_> = std::mem::take(&mut self.group).into();
        let (queue, intake) = self.queue.as_mut().expect("open");
        if group.is_empty() {
            if self.waiting == 0 {
                return;
            }
            group = queue.writer.gather().expect("open");
        }
        let (count, cost) = (
            group.len(),
            group.iter().map(|offer| offer.arrival.cost()).sum::<usize>(),
        );
        let before = *intake.durable().borrow();
        let stored = queue.writer.attempt(&mut group);
        let durable = *intake.durable().borrow();
        let reserved = queue.monitor.0.marks.values().reserved;
        self.group = group.into();
        if stored.is_ok() {
            assert!(self.group.is_empty());
            self.waiting -= count;
            self.waiting_bytes -= cost;
            self.confirmed.extend(self.first..=durable);
        } else {
            assert_eq!(durable, before, "confirmed what is not durable");
        }
        if reserved != self.reserved {
            self.note_synced();
        }
    }

    fn read(&mut self, count: u8) {
        for _ in 0..count {
            let Some(stored) = self.queue().reader.read_next().expect("reads") else {
                assert!(self.queue().reader.tail() < self.at);
                return;
            };
            self.judge(&stored);
        }
    }

    fn judge(&mut self, stored: &Stored) {
        let position = stored.arrival.delivery.position;
        assert_eq!(stored.seq, self.at, "a gap or a repetition");
        let size = self.sizes[usize::try_from(position).expect("small") - 1];
        assert_eq!(stored.arrival.payload, payload(position, size));
        let known = *self.seen.entry(stored.seq).or_insert(position);
        assert_eq!(position, known, "sequence {} used twice", stored.seq);
        self.at = stored.seq.next();
    }

    fn advance(&mut self, part: u8) {
        let taken = self.at.previous().0 - self.cursor.0;
        let through = self.cursor.plus(taken * u64::from(part) / 255);
        self.queue().reader.advance(through).expect("advances");
        self.cursor = through;
    }

    /// Everything that was confirmed has been delivered, in the order of its arrival.
    fn finish(mut self) {
        self.apply(&Action::Limit(None));
        self.apply(&Action::Kill);
        self.apply(&Action::Offer(vec![1]));
        self.apply(&Action::Commit);
        while self.queue().reader.tail() >= self.at {
            self.read(u8::MAX);
        }
        let delivered: Vec<_> = self.seen.values().copied().collect();
        assert!(
            delivered.is_sorted_by(|a, b| a < b),
            "out of order: {delivered:?}"
        );
        let delivered: BTreeSet<_> = delivered.into_iter().collect();
        let missing: Vec<_> = self.confirmed.difference(&delivered).collect();
        assert!(missing.is_empty(), "confirmed and not delivered: {missing:?}");
    }
}

/// Contents that only this message has.
fn payload(position: u64, size: u16) -> Vec<u8> {
    position
        .to_be_bytes()
        .into_iter()
        .cycle()
        .take(usize::from(size))
        .collect()
}

fn run(backing: Backing, actions: &[Action]) {
    let mut model = Model::new(backing);
    for action in actions {
        model.apply(action);
    }
    model.finish();
}

/// Fewer for real disks; `PROPTEST_CASES` raises both.
fn cases(default: u32) -> ProptestConfig {
    let asked = ProptestConfig::default().cases;
    ProptestConfig {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() {
            asked
        } else {
            default
        },
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(256))]
    #[test]
    fn the_queue_on_a_misbehaving_store_equals_a_list(actions in actions()) {
        run(Backing::Sim(Disk::default()), &actions);
    }
}

proptest! {
    #![proptest_config(cases(24))]
    #[test]
    fn the_queue_on_sled_equals_a_list(actions in actions()) {
        run(Backing::Sled(1024 * 1024), &actions);
    }
}
