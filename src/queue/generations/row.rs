//! The generations in order, and which of them are open.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::RECALL_MESSAGES;
use super::names::DAMAGED;
use super::usage::disk_bytes;
use crate::message::Seq;
use crate::queue::generation::{Generation, io_error};
use crate::queue::store::{Extent, RawBlock, StoreError, Unit};

#[derive(Debug)]
pub(super) struct Row {
    /// Oldest first.
    pub(super) entries: VecDeque<Entry>,
    /// The newest entry, open for appending. `None` before the first append and after a failed one.
    pub(super) writing: Option<Arc<Generation>>,
    /// The generation read last, if it is not the newest.
    pub(super) reading: Option<(Seq, Arc<Generation>)>,
    /// The generation an onlooker reads. Handles are shared: sled's lock is exclusive within the process too.
    pub(super) browsing: Option<(Seq, Arc<Generation>)>,
    /// Sequence behind the last one appended.
    pub(super) end: Seq,
}

/// Who reads: each has an older generation of its own open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Reader,
    Onlooker,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) first: Seq,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Set aside: nothing is read from it.
    pub(super) damaged: bool,
}

impl Row {
    /// The open generation at `index`, opening it for `user` when it is an older one. `None` when it is set aside.
    fn open_at(&mut self, index: usize, user: User) -> Result<Option<Arc<Generation>>, StoreError> {
        let Some(entry) = self.entries.get(index).filter(|entry| !entry.damaged) else {
            return Ok(None);
        };
        if index + 1 == self.entries.len()
            && let Some(open) = &self.writing
        {
            return Ok(Some(Arc::clone(open)));
        }
        let opened = [&self.reading, &self.browsing].into_iter().flatten();
        let shared = opened
            .filter(|(first, _)| *first == entry.first)
            .map(|(_, open)| Arc::clone(open))
            .next();
        let slot = match user {
            User::Reader => &mut self.reading,
            User::Onlooker => &mut self.browsing,
        };
        // One older generation at a time for each: every open one costs memory.
        *slot = None;
        let is_new = shared.is_none();
        let open = match shared {
            Some(open) => open,
            None => Arc::new(Generation::open(&entry.path)?),
        };
        *slot = Some((entry.first, Arc::clone(&open)));
        if let Some(entry) = self.entries.get_mut(index).filter(|_| is_new) {
            // sled fills its last segment and writes a snapshot.
            entry.bytes = disk_bytes(&entry.path);
        }
        Ok(Some(open))
    }

    /// Looks for a block in the generation at `index` for an onlooker. Damage is only told.
    pub(super) fn browse(
        &mut self,
        index: usize,
        find: impl FnOnce(&Generation) -> Result<Option<RawBlock>, StoreError>,
    ) -> Result<Option<RawBlock>, StoreError> {
        self.open_at(index, User::Onlooker)?
            .map_or(Ok(None), |open| find(&open))
    }

    /// The first block behind `seq` in the generation at `index` or a later one, for an onlooker.
    pub(super) fn browse_behind(
        &mut self,
        mut index: usize,
        seq: Seq,
    ) -> Result<Option<RawBlock>, StoreError> {
        while index < self.entries.len() {
            let end = self.entries.get(index + 1).map(|next| next.first);
            let block = self.browse(index, |open| open.block_behind(seq))?;
            if let Some(block) = block.filter(|block| end.is_none_or(|end| block.first < end)) {
                return Ok(Some(block));
            }
            index += 1;
        }
        Ok(None)
    }

    /// Looks for a block in the generation at `index`. A damaged one is set aside; then there is none.
    pub(super) fn look(
        &mut self,
        index: usize,
        find: impl FnOnce(&Generation) -> Result<Option<RawBlock>, StoreError>,
    ) -> Result<Option<RawBlock>, StoreError> {
        let found = match self.open_at(index, User::Reader) {
            Ok(Some(open)) => find(&open),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        match found {
            Err(error) if error.is_damage() => self.abandon(index, error).map(|()| None),
            found => found,
        }
    }

    /// The first block behind `seq` in the generation at `index` or a later one.
    pub(super) fn first_behind(
        &mut self,
        mut index: usize,
        seq: Seq,
    ) -> Result<Option<RawBlock>, StoreError> {
        while index < self.entries.len() {
            let end = self.entries.get(index + 1).map(|next| next.first);
            let block = self.look(index, |open| open.block_behind(seq))?;
            if let Some(block) = block.filter(|block| end.is_none_or(|end| block.first < end)) {
                return Ok(Some(block));
            }
            index += 1;
        }
        Ok(None)
    }

    /// How far the row reaches; where the next message goes follows from it.
    pub(super) fn reach(&mut self, last: Option<Seq>) -> Extent {
        let newest = self.entries.back().map(|entry| entry.first);
        self.end = last.map_or(newest.unwrap_or(Seq(1)), Seq::next);
        Extent {
            oldest: self.entries.front().map(|entry| entry.first),
            newest,
            last,
            unsure: self.entries.back().is_some_and(|entry| entry.damaged),
        }
    }

    /// Gives up the generation at `index`, which turned out to be damaged.
    fn abandon(&mut self, index: usize, error: StoreError) -> Result<(), StoreError> {
        if index + 1 == self.entries.len() && self.writing.take().is_some() {
            // The writer may be in it: it ends here, and the next look opens it from disk.
            return Err(error);
        }
        self.reading = None;
        self.browsing = None;
        if let Some(entry) = self.entries.get_mut(index) {
            entry.set_aside(&error)?;
        }
        Ok(())
    }

    /// The generations as units, oldest first.
    pub(super) fn units(&self) -> Vec<Unit> {
        let behind = self
            .entries
            .iter()
            .skip(1)
            .map(|next| Some(next.first.previous()));
        let lasts = behind.chain(std::iter::once(None));
        let units = self.entries.iter().zip(lasts);
        units
            .map(|(entry, last)| Unit {
                first: entry.first,
                last,
                bytes: entry.bytes,
            })
            .collect()
    }

    /// Takes the generation at `index` out of the row.
    pub(super) fn take(&mut self, index: usize) -> Option<Entry> {
        let entry = self.entries.remove(index)?;
        for slot in [&mut self.reading, &mut self.browsing] {
            slot.take_if(|(first, _)| *first == entry.first);
        }
        Some(entry)
    }

    /// Whether the oldest generation holds only messages up to `through`. Never the newest.
    pub(super) fn front_is_delivered(&self, through: Seq) -> bool {
        let second = self.entries.get(1);
        second.is_some_and(|second| second.first <= through.next())
    }

    /// Whether the oldest generation is delivered, and enough younger ones are there to recognise redeliveries with.
    pub(super) fn front_is_spent(&self, through: Seq) -> bool {
        let Some(second) = self.entries.get(1) else {
            return false;
        };
        let recallable =
            self.entries.len() > 2 || self.end.0.saturating_sub(second.first.0) >= RECALL_MESSAGES;
        self.front_is_delivered(through) && recallable
    }
}

impl Entry {
    /// Renames a generation that cannot be read, so that the daemon goes on and the bytes stay for salvage.
    pub(super) fn set_aside(&mut self, error: &StoreError) -> Result<(), StoreError> {
        let kept = self
            .path
            .with_extension(format!("{DAMAGED}{:08x}", rand::random::<u32>()));
        fs::rename(&self.path, &kept).map_err(|source| io_error(&self.path, source))?;
        tracing::error!(first = %self.first, kept = %kept.display(), %error, "a generation is set aside");
        self.path.clone_from(&kept);
        self.damaged = true;
        Ok(())
    }
}
