//! The queue held against a plain list, under everything that may happen to it: on the simulated store with faults,
//! damage and power cuts, and on sled.
//!
//! After every action the account is compared with the list, number by number. The marks and the ledger roll back to
//! what was synced, each by itself and each slot by itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::unix::fs::FileExt;

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::sim::Disk;
use super::tests::{arrival, config};
use super::*;
use crate::message::Arrival;
use crate::message::Stored;
use crate::queue::codec::decode;
use crate::queue::generations::{Generations, Waker};
use crate::queue::opening::assemble;
use crate::queue::store::Found;
use std::path::Path;

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
    /// So, but the page cache is gone too: of what was not synced, these slots and chunks had got through.
    PowerCut {
        marks: [bool; 2],
        ledger: [bool; 2],
        keep: usize,
    },
    /// The sink takes this many.
    Read(u8),
    /// Kafka confirms this part (of 256) of what the sink has taken; so many of them are dead letters.
    Advance(u8, u8),
    Rewind,
    /// The marks reach the disk itself.
    Sync,
    /// The disk has this much room more, or no end to it.
    Limit(Option<u16>),
    /// The next group begins a new unit.
    Rotate,
    /// A bit flips in this block, counted from the oldest, modulo; never in the newest.
    Damage(u8),
    /// Killed, and this many of the newest blocks are gone although they were durable.
    LoseTail(u8),
    /// Power cut, and this many of the newest blocks are set aside.
    SetAside(u8, [bool; 2]),
    /// A policy removes the oldest unit that it may remove.
    Drop,
    /// A policy acknowledges messages without storing them.
    Refuse(u8),
    /// The wall clock jumps by so many seconds.
    Clock(i16),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        12 => vec(prop_oneof![4 => 0_u16..300, 1 => 0_u16..20_000], 1..12).prop_map(Action::Offer),
        16 => Just(Action::Commit),
        4 => (0_u32..3, 0_usize..40).prop_map(|(after, keep)| Action::Fail { after, keep }),
        3 => Just(Action::Kill),
        3 => (any::<[bool; 2]>(), any::<[bool; 2]>(), 0_usize..40)
            .prop_map(|(marks, ledger, keep)| Action::PowerCut { marks, ledger, keep }),
        12 => any::<u8>().prop_map(Action::Read),
        8 => (any::<u8>(), 0_u8..3).prop_map(|(part, dead)| Action::Advance(part, dead)),
        4 => Just(Action::Rewind),
        2 => Just(Action::Sync),
        2 => proptest::option::of(0_u16..30_000).prop_map(Action::Limit),
        2 => Just(Action::Rotate),
        2 => any::<u8>().prop_map(Action::Damage),
        1 => (1_u8..4).prop_map(Action::LoseTail),
        1 => (1_u8..4, any::<[bool; 2]>()).prop_map(|(count, marks)| Action::SetAside(count, marks)),
        3 => Just(Action::Drop),
        1 => (1_u8..9).prop_map(Action::Refuse),
        1 => any::<i16>().prop_map(Action::Clock),
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

/// What became of a message of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Queued when it lies behind the cursor, delivered otherwise.
    Kept,
    /// Behind or before the cursor as [`Fate::Kept`]; passed as a dead letter.
    DeadLetter,
    /// As [`Fate::DeadLetter`]; passed because no route wants it.
    Filtered,
    /// Its block was damaged, and the reader found out.
    Lost,
    /// Removed by a policy.
    Dropped,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    position: u64,
    fate: Fate,
    /// What the store has of it is damaged. The memory may still have it.
    damaged: bool,
    /// The store lost it.
    gone: bool,
    /// It lies behind a gap behind the watermark, in this block: it does not count before the reader finds it.
    hidden: Option<(Seq, Seq)>,
}

impl Entry {
    const fn is_live(&self) -> bool {
        matches!(self.fate, Fate::Kept | Fate::DeadLetter | Fate::Filtered)
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
    /// Milliseconds since 1970.
    clock: i64,
    confirmed: BTreeSet<u64>,
    /// The list: every message that was ever stored.
    list: BTreeMap<Seq, Entry>,
    /// Sequences of messages that nobody knows of any more.
    forgotten: BTreeSet<Seq>,
    /// Acknowledged and not stored; the second number is what a power cut may leave of it.
    refused: (u64, u64),
    /// Where the reader is: the next message it gives lies here or behind.
    at: Seq,
    cursor: Seq,
}

impl Model {
    fn new(backing: Backing) -> Self {
        crate::slots::KEEPS_SYNCED.set(true);
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
            clock: 1_700_000_000_000,
            confirmed: BTreeSet::new(),
            list: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            refused: (0, 0),
            at: Seq(1),
            cursor: Seq::ZERO,
        };
        model.start();
        model
    }

    fn queue(&mut self) -> &mut Queue {
        &mut self.queue.as_mut().expect("open").0
    }

    fn shared(&self) -> &Shared {
        &self.queue.as_ref().expect("open").0.monitor.0
    }

    fn start(&mut self) {
        let synced = self.synced_cursor();
        let watermark = marks::peek(self.dir.path()).map_or(Seq::ZERO, |values| values.durable);
        let queue = self.backing.open(self.dir.path(), &self.config);
        let cursor = queue.reader.cursor();
        assert!(cursor >= synced, "the cursor lost what was synced");
        let intake = queue.door.intake();
        self.first = self.sizes.len() as u64 + 1;
        self.queue = Some((queue, intake));
        self.learn(watermark);
        self.follow_cursor(cursor);
        self.at = self.cursor.next();
        let refused = self.shared().ledger.totals().of(Reason::DroppedNewest);
        assert!((self.refused.1..=self.refused.0).contains(&refused));
        self.refused = (refused, refused);
    }

    /// The cursor that a power cut leaves at least.
    fn synced_cursor(&self) -> Seq {
        let found = self.synced("marks", |path| Marks::open_file(path).expect("opens").1);
        found.flatten().map_or(Seq::ZERO, |values| values.cursor)
    }

    /// The refusals that a power cut leaves at least.
    fn synced_refusals(&self) -> u64 {
        let totals = self.synced("ledger", |folder| {
            Ledger::open(&folder.join("ledger")).expect("opens").0.totals()
        });
        totals.map_or(0, |totals| totals.of(Reason::DroppedNewest))
    }

    /// Opens a copy of the file as it was synced last, in a folder of its own.
    fn synced<T>(&self, name: &str, open: impl FnOnce(&Path) -> T) -> Option<T> {
        let synced = self.file(&format!("{name}.synced"));
        let copy = tempfile::tempdir().expect("temp dir");
        std::fs::copy(synced, copy.path().join(name)).ok()?;
        Some(open(copy.path()))
    }

    /// Messages that were stored and never confirmed come into the list when a start finds them. What lies behind a gap
    /// behind the watermark may be left of a group that was never finished: it counts once the reader has found it, and
    /// what was in the gap does not count any more.
    fn learn(&mut self, watermark: Seq) {
        let mut reach = watermark;
        let mut blocks = Vec::new();
        let mut at = Seq::ZERO;
        while let Found::Block(raw) = self.shared().store.read_behind(at).expect("reads") {
            at = raw.first;
            let Ok(block) = decode::<Arrival>(&raw.chunks, &Keys::default()) else {
                continue;
            };
            for (seq, arrival) in block.messages {
                self.enlist(seq, arrival.delivery.position);
            }
            if block.first <= reach.next() {
                reach = reach.max(block.last);
            }
            blocks.push((block.first, block.last));
        }
        if blocks.last().is_some_and(|(_, last)| *last > reach) {
            // The name of the newest unit says that everything before it was used.
            let begun = match self.backing.disk() {
                Some(disk) => disk.aside(),
                None => self.shared().store.units().last().map(|unit| unit.first),
            };
            self.hide(reach.max(begun.map_or(Seq::ZERO, Seq::previous)), &blocks);
        }
    }

    fn hide(&mut self, reach: Seq, blocks: &[(Seq, Seq)]) {
        let behind: Vec<_> = self.list.range(reach.next()..).map(|(seq, _)| *seq).collect();
        for seq in behind {
            let block = blocks
                .iter()
                .find(|(first, last)| (*first..=*last).contains(&seq));
            match self.list.get_mut(&seq) {
                Some(entry) if !entry.is_live() => {}
                Some(entry) if block.is_some() => entry.hidden = block.copied(),
                // The reader finds what is left of its block, and says what it makes of it.
                Some(entry) if entry.damaged && !entry.gone => entry.hidden = Some((seq, seq)),
                _ => self.forget(seq),
            }
        }
    }

    /// Nobody knows of it any more.
    fn forget(&mut self, seq: Seq) {
        if let Some(entry) = self.list.remove(&seq) {
            self.confirmed.remove(&entry.position);
            self.forgotten.insert(seq);
        }
    }

    fn enlist(&mut self, seq: Seq, position: u64) {
        assert!(!self.forgotten.contains(&seq), "sequence {seq} used twice");
        let entry = self.list.entry(seq).or_insert(Entry {
            position,
            fate: Fate::Kept,
            damaged: false,
            gone: false,
            hidden: None,
        });
        assert_eq!(entry.position, position, "sequence {seq} used twice");
    }

    /// The cursor goes over what is not there by itself, and after a power cut it may be older.
    fn follow_cursor(&mut self, cursor: Seq) {
        if let Some((seq, _)) = self.live_between(self.cursor.next(), cursor) {
            panic!("the cursor passed {seq}, which was not delivered");
        }
        self.cursor = cursor;
        for (_, entry) in self.list.range_mut(cursor.next()..) {
            if matches!(entry.fate, Fate::DeadLetter | Fate::Filtered) {
                // Its turn comes again.
                entry.fate = Fate::Kept;
            }
        }
    }

    /// The first message between the two that is there.
    fn live_between(&self, first: Seq, last: Seq) -> Option<(Seq, Entry)> {
        let mut entries = self.list.iter().filter(|(seq, _)| (first..=last).contains(*seq));
        entries
            .find(|(_, entry)| entry.is_live())
            .map(|(seq, entry)| (*seq, *entry))
    }

    fn stop(&mut self) {
        self.queue = None;
        self.group.clear();
        self.waiting = 0;
        self.waiting_bytes = 0;
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn apply(&mut self, action: &Action) {
        match action {
            Action::Offer(sizes) => sizes.iter().for_each(|size| self.offer(*size)),
            Action::Commit => self.commit(),
            Action::Read(count) => self.read(*count),
            Action::Advance(part, dead) => self.advance(*part, *dead),
            Action::Rewind => {
                self.queue().reader.rewind();
                self.at = self.cursor.next();
            }
            Action::Sync => self.queue().reader.sync().expect("syncs"),
            Action::Rotate => self.shared().store.seal(),
            Action::Drop => self.drop_oldest(),
            Action::Refuse(count) => self.refuse(u64::from(*count)),
            Action::Clock(seconds) => self.clock += i64::from(*seconds) * 1000,
            Action::Kill => {
                self.stop();
                self.start();
            }
            Action::PowerCut { marks, ledger, keep } => self.power_cut(*marks, *ledger, *keep),
            Action::Fail { .. }
            | Action::Limit(_)
            | Action::Damage(_)
            | Action::LoseTail(_)
            | Action::SetAside(..) => {
                if let Some(disk) = self.backing.disk().cloned() {
                    self.disturb(&disk, action);
                }
            }
        }
        self.check_balance();
    }

    /// What only the simulated store can suffer.
    fn disturb(&mut self, disk: &Disk, action: &Action) {
        match action {
            Action::Fail { after, keep } => disk.fail(*after, *keep),
            Action::Limit(room) => {
                let used = disk.state().used();
                disk.limit(room.map(|room| used + usize::from(room)));
            }
            Action::Damage(which) => self.damage(disk, usize::from(*which)),
            Action::LoseTail(count) => {
                if let Some(first) = self.end(disk, usize::from(*count)) {
                    self.stop();
                    disk.forget_unsynced(0);
                    disk.drop_from(first);
                    self.lose_from(first);
                    self.start();
                }
            }
            Action::SetAside(count, marks) => {
                if let Some(first) = self.end(disk, usize::from(*count)) {
                    self.set_aside(disk, first, *marks);
                }
            }
            _ => {}
        }
    }

    fn check_balance(&mut self) {
        let Balance {
            received,
            delivered,
            dead_lettered,
            removed,
            queued,
        } = self.queue().monitor.status().balance;
        let cursor = self.cursor;
        let count = |which: &dyn Fn(Seq, &Entry) -> bool| {
            let known = self.list.iter().filter(|(_, entry)| entry.hidden.is_none());
            known.filter(|(seq, entry)| which(**seq, entry)).count() as u64
        };
        let refused = self.refused.0;
        assert_eq!(received, count(&|_, _| true) + refused, "received");
        let kept = |seq, entry: &Entry| seq <= cursor && entry.fate == Fate::Kept;
        assert_eq!(delivered, count(&kept), "delivered");
        let dead = |_, entry: &Entry| entry.fate == Fate::DeadLetter;
        assert_eq!(dead_lettered, count(&dead), "dead letters");
        let filtered = |_, entry: &Entry| entry.fate == Fate::Filtered;
        assert_eq!(removed.of(Reason::Filtered), count(&filtered), "filtered");
        let lost = |_, entry: &Entry| entry.fate == Fate::Lost;
        assert_eq!(removed.of(Reason::Damaged), count(&lost), "damaged");
        let dropped = |_, entry: &Entry| entry.fate == Fate::Dropped;
        assert_eq!(removed.of(Reason::DroppedOldest), count(&dropped), "dropped");
        assert_eq!(removed.of(Reason::DroppedNewest), refused, "refused");
        let waiting = |seq, entry: &Entry| seq > cursor && entry.fate == Fate::Kept;
        assert_eq!(queued, count(&waiting), "queued");
        let unaccounted = self.queue().monitor.status().unaccounted;
        // Nothing is rewritten here, so it can be counted at any moment.
        assert_eq!(unaccounted, Some(0));
        assert_eq!(received, delivered + dead_lettered + removed.removed() + queued);
    }

    fn offer(&mut self, size: u16) {
        let position = self.sizes.len() as u64 + 1;
        let mut arrival = arrival(position, &payload(position, size));
        arrival.stamp.unix_ms = self.clock;
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
        let positions: Vec<_> = group
            .iter()
            .map(|offer| offer.arrival.delivery.position)
            .collect();
        let cost = group.iter().map(|offer| offer.arrival.cost()).sum::<usize>();
        let before = *intake.durable().borrow();
        let stored = queue.writer.attempt(&mut group);
        let durable = *intake.durable().borrow();
        let last = queue.monitor.last();
        self.group = group.into();
        if stored.is_err() {
            assert_eq!(durable, before, "confirmed what is not durable");
            return;
        }
        assert!(self.group.is_empty());
        self.waiting -= positions.len();
        self.waiting_bytes -= cost;
        self.confirmed.extend(self.first..=durable);
        let first = last.0 + 1 - positions.len() as u64;
        for (seq, position) in (first..).zip(positions) {
            assert!(!self.list.contains_key(&Seq(seq)), "sequence {seq} used twice");
            self.enlist(Seq(seq), position);
        }
    }

    fn read(&mut self, count: u8) {
        for _ in 0..count {
            let stored = self.queue().reader.read_next().expect("reads");
            let found = stored.as_ref().map(|stored| stored.seq);
            let tail = self.queue().reader.tail();
            self.miss(self.at, found.map_or(tail, Seq::previous));
            let cursor = self.queue().reader.cursor();
            self.follow_cursor(cursor);
            let Some(stored) = stored else {
                self.at = self.at.max(tail.next());
                return;
            };
            self.judge(&stored);
        }
    }

    /// The reader gave nothing of what lies between the two: only what is damaged may have been there.
    fn miss(&mut self, first: Seq, last: Seq) {
        if first > last {
            return;
        }
        let missed: Vec<_> = self
            .list
            .range(first..=last)
            .filter(|(_, entry)| entry.is_live())
            .map(|(seq, entry)| (*seq, *entry))
            .collect();
        for (seq, entry) in missed {
            assert!(entry.damaged || entry.gone, "{seq} is missing");
            let hole = self.shared().ledger.hole_at(seq);
            if entry.hidden.is_some() && hole.is_some_and(|hole| hole.reason == Reason::Skipped) {
                self.forget(seq);
                continue;
            }
            let entry = self.list.get_mut(&seq).expect("listed");
            entry.fate = Fate::Lost;
            entry.hidden = None;
        }
    }

    fn judge(&mut self, stored: &Stored) {
        let position = stored.arrival.delivery.position;
        assert!(stored.seq >= self.at, "{} comes again", stored.seq);
        let entry = self.list.get(&stored.seq).expect("it was stored");
        assert!(entry.is_live(), "{} comes back: {entry:?}", stored.seq);
        assert_eq!(entry.position, position);
        let size = self.sizes[usize::try_from(position).expect("small") - 1];
        assert_eq!(stored.arrival.payload, payload(position, size));
        if let Some((first, last)) = entry.hidden {
            for (_, entry) in self.list.range_mut(first..=last) {
                entry.hidden = None;
            }
        }
        self.at = stored.seq.next();
    }

    fn advance(&mut self, part: u8, dead: u8) {
        let taken: Vec<_> = self
            .list
            .range(self.cursor.next()..self.at.max(self.cursor.next()))
            .filter(|(_, entry)| entry.is_live())
            .map(|(seq, _)| *seq)
            .collect();
        let count = taken.len() * usize::from(part) / 255;
        let Some(through) = count.checked_sub(1).map(|last| taken[last]) else {
            return;
        };
        let dead = usize::from(dead).min(count);
        let passed = Passed {
            delivered: (count - dead) as u64,
            // Every other one of those that do not go to Kafka.
            dead_lettered: dead.div_ceil(2) as u64,
            filtered: (dead / 2) as u64,
        };
        self.queue().reader.advance(through, passed).expect("advances");
        for (number, seq) in taken[..dead].iter().enumerate() {
            let fate = if number % 2 == 0 {
                Fate::DeadLetter
            } else {
                Fate::Filtered
            };
            self.list.get_mut(seq).expect("taken").fate = fate;
        }
        self.cursor = through;
        let cursor = self.queue().reader.cursor();
        self.follow_cursor(cursor);
    }

    /// As a policy does it: counted durably before it is deleted, and never what may be under way.
    fn drop_oldest(&mut self) {
        let shared = self.shared();
        let taken = *shared.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let floor = taken.max(self.cursor);
        let units = shared.store.units();
        let Some(unit) = units.iter().find(|unit| unit.first > floor) else {
            return;
        };
        let Some(last) = unit.last else { return };
        let hole = Hole {
            first: unit.first,
            last,
            reason: Reason::DroppedOldest,
        };
        shared.marks.sync().expect("syncs");
        shared.record(hole).expect("records");
        shared.store.drop_unit(unit.first).expect("drops");
        let dropped: Vec<_> = self
            .list
            .range(hole.first..=hole.last)
            .map(|(seq, _)| *seq)
            .collect();
        for seq in dropped {
            match self.list.get_mut(&seq) {
                Some(entry) if entry.hidden.is_some() => self.forget(seq),
                Some(entry) if entry.is_live() => entry.fate = Fate::Dropped,
                _ => {}
            }
        }
    }

    fn refuse(&mut self, count: u64) {
        let counted = self.shared().ledger.count(Reason::DroppedNewest, count, false);
        counted.expect("counts");
        self.refused = (self.refused.0 + count, self.refused.0 + count);
    }

    fn damage(&mut self, disk: &Disk, which: usize) {
        let firsts: Vec<_> = disk.firsts().into_iter().collect();
        let Some(older) = firsts.len().checked_sub(1).filter(|older| *older > 0) else {
            return;
        };
        let (first, behind) = (firsts[which % older], firsts[which % older + 1]);
        // The same bit: a second flip repairs it.
        disk.damage(first);
        for (_, entry) in self.list.range_mut(first..behind) {
            entry.damaged = !entry.damaged;
        }
    }

    /// Where the last `count` blocks begin; `None` when nothing whole lies before them: what a store makes of a damaged end
    /// is the matter of its own tests.
    fn end(&self, disk: &Disk, count: usize) -> Option<Seq> {
        let mut firsts = disk.firsts().into_iter().rev();
        let first = firsts.nth(count - 1)?;
        let before = self.list.get(&firsts.next()?)?;
        (!before.damaged).then_some(first)
    }

    fn lose_from(&mut self, first: Seq) {
        for (_, entry) in self.list.range_mut(first..) {
            entry.gone = true;
        }
    }

    /// What lies behind the watermark that the power cut left is unknown from then on, but its sequences are not used
    /// again.
    fn set_aside(&mut self, disk: &Disk, first: Seq, marks: [bool; 2]) {
        self.stop();
        self.roll_back("marks", marks);
        disk.forget_unsynced(0);
        disk.set_aside(first);
        self.lose_from(first);
        let watermark = Marks::open_file(&self.file("marks")).expect("opens").1;
        let known = watermark
            .map_or(Seq::ZERO, |values| values.durable)
            .max(first.previous());
        let unknown: Vec<_> = self.list.range(known.next()..).map(|(seq, _)| *seq).collect();
        for seq in unknown {
            self.forget(seq);
        }
        self.start();
    }

    fn power_cut(&mut self, marks: [bool; 2], ledger: [bool; 2], keep: usize) {
        self.refused.1 = self.synced_refusals();
        self.stop();
        self.roll_back("marks", marks);
        self.roll_back("ledger", ledger);
        if let Some(disk) = self.backing.disk() {
            disk.forget_unsynced(keep);
        }
        self.start();
    }

    /// Of the file's two slots, those stay as they are that had got through; the others are as they were synced.
    fn roll_back(&self, name: &str, got_through: [bool; 2]) {
        let synced = self.file(&format!("{name}.synced"));
        let Ok(bytes) = std::fs::read(synced) else {
            // Never synced: there was nothing in it that mattered.
            return;
        };
        let file = std::fs::File::options()
            .write(true)
            .open(self.file(name))
            .expect("opens");
        let slot_bytes = bytes.len() / 2;
        for (index, slot) in bytes.chunks(slot_bytes).enumerate() {
            if !got_through[index] {
                file.write_all_at(slot, (index * slot_bytes) as u64)
                    .expect("writes");
            }
        }
    }

    /// Everything that was confirmed has been delivered, in the order of its arrival, or is accounted for.
    fn finish(mut self) {
        self.apply(&Action::Limit(None));
        self.apply(&Action::Kill);
        self.apply(&Action::Offer(vec![1]));
        self.apply(&Action::Commit);
        while self.queue().reader.tail() >= self.at {
            self.apply(&Action::Read(u8::MAX));
        }
        let positions: Vec<_> = self.list.values().map(|entry| entry.position).collect();
        assert!(
            positions.is_sorted_by(|a, b| a < b),
            "out of order: {positions:?}"
        );
        let stored: BTreeSet<_> = positions.into_iter().collect();
        let missing: Vec<_> = self.confirmed.difference(&stored).collect();
        assert!(missing.is_empty(), "confirmed and never stored: {missing:?}");
        self.apply(&Action::Advance(u8::MAX, 0));
        assert_eq!(self.queue().monitor.status().balance.queued, 0);
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
    #![proptest_config(cases(128))]
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
