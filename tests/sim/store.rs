//! The disk under the queue and under the dead letters: what `queue::store::Store` asks for, kept in memory.
//!
//! What an append wrote is in the page cache until its sync succeeds. SIGKILL leaves the page cache; a power cut leaves what was
//! synced and a beginning of the rest. This stands in the place of sled and its files; what a file system may do to those is
//! tried elsewhere (`tests/crash`, `queue::damage`).

use std::collections::BTreeMap;
use std::io;

use edgeferry::message::{Arrival, Epoch, Seq};
use edgeferry::queue::Compression;
use edgeferry::queue::codec::{Chunk, Encoder, decode, read_chunk};
use edgeferry::queue::ledger::Replacement;
use edgeferry::queue::seal::Keys;
use edgeferry::queue::store::{Extent, Found, Opened, RawBlock, Store, StoreError, Unit};

use crate::dice::Dice;
use crate::machine::Death;
use crate::message::Mark;
use crate::world::{board, with};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    Queue = 0,
    Letters = 1,
}

#[derive(Debug, Clone)]
struct Block {
    chunks: Vec<Vec<u8>>,
    last: Seq,
    /// It survives a power cut.
    is_synced: bool,
}

impl Block {
    fn bytes(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    fn holds_synced(&self, other: &Self) -> bool {
        self.is_synced && self.chunks == other.chunks
    }
}

/// Of a block of the queue.
fn messages(chunks: &[Vec<u8>]) -> Vec<(Seq, Mark)> {
    let block = decode::<Arrival>(chunks, &Keys::default()).expect("whole");
    let messages = block.messages.iter();
    messages
        .map(|(seq, arrival)| (*seq, Mark::of(&arrival.payload)))
        .collect()
}

/// What happens to the next append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written.
    Fails,
    /// So many chunks are written, modulo what can be.
    Torn(usize),
}

/// See the module documentation.
#[derive(Debug)]
pub struct Disk {
    blocks: BTreeMap<Seq, Block>,
    /// First sequences of the units.
    units: Vec<Seq>,
    /// The next append begins a unit.
    is_sealed: bool,
    unit_bytes: usize,
    /// Of the last append, if it failed: not to be seen before the next open.
    left: Vec<Chunk>,
    staged: Option<(Replacement, Vec<Chunk>)>,
    pub fault: Option<Fault>,
    pub sync_fails: bool,
    pub is_full: bool,
    pub read_fails: bool,
    pub dice: Dice,
}

fn refused(kind: io::ErrorKind) -> StoreError {
    StoreError::Io {
        path: "simulated".into(),
        source: kind.into(),
    }
}

/// Blocks of whole slices among the chunks.
fn whole(chunks: &[Chunk]) -> Vec<(Seq, Block)> {
    let mut blocks: BTreeMap<Seq, Vec<Vec<u8>>> = BTreeMap::new();
    for chunk in chunks {
        blocks
            .entry(chunk.key.first)
            .or_default()
            .push(chunk.bytes.clone());
    }
    let block = |(first, chunks): (Seq, Vec<Vec<u8>>)| {
        let (header, _) = read_chunk(&chunks[0]).expect("just encoded");
        let block = Block {
            last: header.last(),
            chunks,
            is_synced: false,
        };
        (usize::from(header.parts) == block.chunks.len()).then_some((first, block))
    };
    blocks.into_iter().filter_map(block).collect()
}

impl Disk {
    pub fn new(seed: u64, name: &str, unit_bytes: usize) -> Self {
        Self {
            blocks: BTreeMap::new(),
            units: Vec::new(),
            is_sealed: false,
            unit_bytes,
            left: Vec::new(),
            staged: None,
            fault: None,
            sync_fails: false,
            is_full: false,
            read_fails: false,
            dice: Dice::of(seed, name),
        }
    }

    /// The process died. What is gone, by first and last sequence, and what came to light.
    pub fn died(&mut self, death: Death) -> (Vec<(Seq, Seq)>, Vec<Chunk>) {
        let mut gone = Vec::new();
        let mut left = std::mem::take(&mut self.left);
        if death == Death::PowerCut {
            let lost: Vec<Seq> = self
                .blocks
                .iter()
                .filter(|(_, block)| !block.is_synced)
                .map(|(first, _)| *first)
                .collect();
            let kept = self.dice.below(lost.len() + 1);
            for first in &lost[kept..] {
                if let Some(block) = self.blocks.remove(first) {
                    gone.push((*first, block.last));
                }
            }
            if kept < lost.len() {
                left.clear();
            }
            left.truncate(self.dice.below(left.len() + 1));
        }
        for (first, mut block) in whole(&left) {
            // What a power cut left is on the medium. So is what an attempt before it synced, and could not note: what both
            // have in common are the same bytes.
            block.is_synced = death == Death::PowerCut
                || self
                    .blocks
                    .get(&first)
                    .is_some_and(|before| before.holds_synced(&block));
            self.place(first, block);
        }
        if death == Death::PowerCut {
            self.blocks.values_mut().for_each(|block| block.is_synced = true);
        }
        (gone, left)
    }

    /// Opens it. A replacement that the ledger knows of is carried out, another one is given up.
    pub fn open(&mut self, which: Shelf, committed: Option<Replacement>) -> Opened<Handle> {
        if let Some((replacement, chunks)) = self.staged.take()
            && committed == Some(replacement)
        {
            self.put_in_place(replacement, &chunks);
        }
        self.is_sealed = false;
        Opened {
            store: Handle(which),
            extent: Extent {
                oldest: self.units.first().copied(),
                newest: self.units.last().copied(),
                last: self.blocks.last_key_value().map(|(_, block)| block.last),
                unsure: false,
                hollow: false,
            },
        }
    }

    fn place(&mut self, first: Seq, block: Block) {
        let of_newest: usize = match self.units.last() {
            Some(unit) => self.blocks.range(*unit..).map(|(_, block)| block.bytes()).sum(),
            None => usize::MAX,
        };
        if std::mem::take(&mut self.is_sealed) || of_newest >= self.unit_bytes {
            self.units.push(first);
        }
        self.blocks.insert(first, block);
    }

    fn put_in_place(&mut self, replacement: Replacement, chunks: &[Chunk]) {
        let replaced = replacement.first..=replacement.last;
        self.blocks.retain(|first, _| !replaced.contains(first));
        self.units
            .retain(|first| *first == replacement.first || !replaced.contains(first));
        for (first, mut block) in whole(chunks) {
            block.is_synced = true;
            self.blocks.insert(first, block);
        }
    }

    /// What the next append of `chunks` leaves behind, and why it fails, if it does.
    fn trouble(&mut self, chunks: usize) -> Option<(usize, StoreError)> {
        if self.is_full {
            return Some((0, refused(io::ErrorKind::StorageFull)));
        }
        match self.fault.take() {
            Some(Fault::Fails) => return Some((0, refused(io::ErrorKind::Other))),
            Some(Fault::Torn(keep)) => return Some((keep % (chunks + 1), refused(io::ErrorKind::Other))),
            None => {}
        }
        self.sync_fails.then(|| (chunks, refused(io::ErrorKind::Other)))
    }

    fn block(&self, first: Seq) -> Found {
        Found::Block(RawBlock {
            first,
            chunks: self.blocks[&first].chunks.clone(),
        })
    }

    fn bytes(&self) -> usize {
        self.blocks.values().map(Block::bytes).sum()
    }

    fn last_of(&self, unit: usize) -> Option<Seq> {
        self.units.get(unit + 1).map(|next| next.previous())
    }

    fn drop_unit(&mut self, index: usize) {
        let first = self.units[index];
        let last = self.last_of(index).expect("not the newest");
        self.units.remove(index);
        self.blocks.retain(|at, _| !(first..=last).contains(at));
    }
}

/// What the chunks hold.
pub fn marks_in(chunks: &[Chunk]) -> Vec<(Seq, Mark)> {
    whole(chunks)
        .iter()
        .flat_map(|(_, block)| messages(&block.chunks))
        .collect()
}

/// The store while it is open.
#[derive(Debug, Clone, Copy)]
pub struct Handle(Shelf);

impl Handle {
    fn disk<T>(self, work: impl FnOnce(&mut Disk) -> T) -> T {
        with(|world| work(&mut world.disks[self.0 as usize]))
    }

    fn read(self, find: impl FnOnce(&BTreeMap<Seq, Block>) -> Option<Seq>) -> Result<Found, StoreError> {
        self.disk(|disk| {
            if disk.read_fails && disk.dice.chance(700) {
                return Err(refused(io::ErrorKind::Interrupted));
            }
            Ok(find(&disk.blocks).map_or(Found::Nothing, |first| disk.block(first)))
        })
    }
}

impl Store for Handle {
    fn append(&self, chunks: &[Chunk]) -> Result<(), StoreError> {
        let trouble = self.disk(|disk| {
            disk.left.clear();
            let trouble = disk.trouble(chunks.len());
            let written = trouble.as_ref().map_or(chunks.len(), |(keep, _)| *keep);
            disk.left = chunks[..written].to_vec();
            trouble.map(|(_, error)| error)
        });
        board().point("store.written");
        let counts = !board().omits(edgeferry::faults::FLUSH_COUNTS);
        if let Some(error) = trouble
            && (counts || error.is_full())
        {
            return Err(error);
        }
        let is_synced = self.disk(|disk| {
            let is_synced = !disk.sync_fails;
            disk.left.clear();
            for (first, mut block) in whole(chunks) {
                block.is_synced = is_synced;
                disk.place(first, block);
            }
            is_synced
        });
        if self.0 == Shelf::Queue {
            with(|world| world.judge.stored(&marks_in(chunks), is_synced));
        }
        board().point("store.synced");
        Ok(())
    }

    fn seal(&self) {
        self.disk(|disk| disk.is_sealed = true);
    }

    fn read(&self, from: Seq) -> Result<Found, StoreError> {
        (*self).read(|blocks| {
            let before = blocks.range(..=from).next_back();
            before
                .or_else(|| blocks.first_key_value())
                .map(|(first, _)| *first)
        })
    }

    fn read_behind(&self, seq: Seq) -> Result<Found, StoreError> {
        (*self).read(|blocks| blocks.range(seq.next()..).next().map(|(first, _)| *first))
    }

    fn suspect(&self, _seq: Seq) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn renew_behind(&self, seq: Seq) -> Result<(), StoreError> {
        let (which, mut synced) = (self.0, Vec::new());
        self.disk(|disk| {
            if disk.sync_fails || disk.is_full {
                return Err(refused(io::ErrorKind::Other));
            }
            for block in disk.blocks.values_mut().filter(|block| block.last > seq) {
                block.is_synced = true;
                if which == Shelf::Queue {
                    synced.extend(messages(&block.chunks));
                }
            }
            Ok(())
        })?;
        with(|world| world.judge.stored(&synced, true));
        Ok(())
    }

    fn trim(&self, through: Seq) -> Result<(), StoreError> {
        while self.disk(|disk| {
            let is_over = disk.last_of(0).is_some_and(|last| last <= through);
            if is_over {
                disk.drop_unit(0);
            }
            is_over
        }) {
            board().point("store.trimmed");
        }
        Ok(())
    }

    fn trim_all(&self, through: Seq) -> Result<(), StoreError> {
        self.trim(through)
    }

    fn can_trim(&self, through: Seq) -> bool {
        self.disk(|disk| disk.last_of(0).is_some_and(|last| last <= through))
    }

    fn units(&self) -> Vec<Unit> {
        self.disk(|disk| {
            let unit = |(index, first): (usize, &Seq)| {
                let last = disk.last_of(index);
                let blocks = disk
                    .blocks
                    .range(*first..)
                    .take_while(|(at, _)| last.is_none_or(|last| **at <= last));
                Unit {
                    first: *first,
                    last,
                    bytes: blocks.map(|(_, block)| block.bytes() as u64).sum(),
                }
            };
            disk.units.iter().enumerate().map(unit).collect()
        })
    }

    fn drop_unit(&self, first: Seq) -> Result<(), StoreError> {
        self.disk(|disk| {
            let index = disk.units.iter().position(|unit| *unit == first);
            if let Some(index) = index.filter(|index| disk.last_of(*index).is_some()) {
                disk.drop_unit(index);
            }
        });
        with(|world| world.say(format_args!("unit {first} is dropped")));
        Ok(())
    }

    fn stage(&self, replacement: Replacement, groups: &[Vec<Chunk>]) -> Result<(), StoreError> {
        self.disk(|disk| {
            if disk.is_full || disk.sync_fails {
                return Err(refused(io::ErrorKind::StorageFull));
            }
            disk.staged = Some((replacement, groups.concat()));
            Ok(())
        })
    }

    fn unstage(&self, _replacement: Replacement) {
        self.disk(|disk| disk.staged = None);
    }

    fn replace(&self, replacement: Replacement) {
        self.disk(|disk| {
            let (staged, chunks) = disk.staged.take().expect("staged");
            assert_eq!(staged, replacement, "what was staged");
            disk.put_in_place(replacement, &chunks);
        });
    }

    fn bytes(&self) -> u64 {
        self.disk(|disk| disk.bytes() as u64)
    }
}

/// A seed showed a synced block gone: its first attempt was synced and could not be noted, the process died within the second.
#[test]
fn what_is_synced_stays_so_when_the_process_dies_while_it_writes_the_same_again() {
    let mut encoder = Encoder::new(Epoch(1), Compression::None, &Keys::default()).expect("without zstd");
    let mut chunks = |payload: &'static str| {
        let arrival = Arrival::trial(1, "devices/1", payload);
        encoder.encode(Seq(1), [&arrival]).expect("small")
    };
    for (again, survives) in [("1:1:", true), ("1:2:", false)] {
        let mut disk = Disk::new(1, "queue", usize::MAX);
        for (first, mut block) in whole(&chunks("1:1:")) {
            block.is_synced = true;
            disk.place(first, block);
        }
        disk.left = chunks(again);
        drop(disk.died(Death::Kill));
        assert_eq!(disk.blocks[&Seq(1)].is_synced, survives, "{again}");
    }
}
