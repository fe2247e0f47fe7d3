//! The queue held against a plain list, under everything that may happen to it: on the simulated store with faults and
//! power cuts, and on sled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::sim::Disk;
use super::tests::{arrival, config, passed};
use super::*;
use crate::message::Stored;

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
        let signal = Arc::<Signal>::default();
        let queue = match self {
            Self::Sim(disk) => assemble(
                disk.open(),
                signal,
                folder,
                Epoch(5),
                config,
                &Keys::default(),
                &Outside::default(),
            ),
            Self::Sled(budget) => {
                let opened = Generations::open(folder, *budget, Waker::new(|| {})).expect("opens");
                assemble(
                    opened,
                    signal,
                    folder,
                    Epoch(5),
                    config,
                    &Keys::default(),
                    &Outside::default(),
                )
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
        assert_eq!(self.queue().monitor.status().balance.removed.removed(), 0);
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
        let passed = passed(through.0 - self.cursor.0);
        self.queue().reader.advance(through, passed).expect("advances");
        self.cursor = through;
        // Before anything is trimmed.
        if self.queue().monitor.0.marks.synced_cursor() == through {
            self.note_synced();
        }
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
