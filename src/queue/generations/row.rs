//! The generations in order, and what is known of each.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use super::RECALL_MESSAGES;
use super::names::DAMAGED;
use super::raw::Index;
use super::salvage::Salvage;
use super::usage::disk_bytes;
use crate::faults;
use crate::message::Seq;
use crate::queue::generation::{Generation, io_error};
use crate::queue::store::{StoreError, Unit};

/// What is found in a generation is remembered for this many at a time: the one that is delivered, and one that somebody
/// else looks at. Each takes some 60 bytes for every chunk.
const INDEXES_MAX: usize = 2;
/// A generation is read once more when what was found in it cannot be read any more. Once: what a medium gives
/// differently each time is lost.
const LOOKS_MAX: u8 = 2;

#[derive(Debug)]
pub(super) struct Row {
    /// Oldest first.
    pub(super) entries: VecDeque<Entry>,
    /// The newest entry, open for appending. `None` before the first append and after a failed one.
    pub(super) writing: Option<Arc<Generation>>,
    /// Sequence behind the last one appended.
    pub(super) end: Seq,
    /// Generations whose contents are known, the one used last at the back.
    known: VecDeque<Seq>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) first: Seq,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Set aside: something that should be in it is not.
    pub(super) damaged: bool,
    contents: Contents,
    /// How often it was read as a whole.
    looks: u8,
    /// The medium took too long over it. What was found is not forgotten, so that it is not asked again.
    hung: bool,
    /// The handle it was written with, as long as somebody has it.
    handle: Weak<Generation>,
}

#[derive(Debug)]
enum Contents {
    Unread,
    Sought(Salvage),
    Known(Arc<Index>),
}

/// How a generation can be read now.
#[derive(Debug)]
pub(super) enum Access {
    /// It is being written.
    Open(Arc<Generation>),
    /// It is closed, and this is in it.
    Known(Arc<Index>),
    /// Somebody is finding out.
    Sought(Salvage),
    /// Nobody has looked yet.
    Unread(PathBuf),
    /// It is being closed.
    Closing,
}

impl Row {
    pub(super) fn new(entries: VecDeque<Entry>) -> Self {
        Self {
            entries,
            writing: None,
            end: Seq::ZERO,
            known: VecDeque::new(),
        }
    }

    /// The generation that `seq` belongs to, or the oldest when it lies before all.
    pub(super) fn place_of(&self, seq: Seq) -> Option<Seq> {
        let behind = self.entries.partition_point(|entry| entry.first <= seq);
        self.entries
            .get(behind.saturating_sub(1))
            .map(|entry| entry.first)
    }

    /// Where the generation behind `first` begins.
    pub(super) fn behind(&self, first: Seq) -> Option<Seq> {
        let behind = self.entries.partition_point(|entry| entry.first <= first);
        self.entries.get(behind).map(|entry| entry.first)
    }

    pub(super) fn entry(&mut self, first: Seq) -> Option<&mut Entry> {
        self.entries.iter_mut().rfind(|entry| entry.first == first)
    }

    /// How to read the generation that begins at `first`. `None` when there is none any more.
    pub(super) fn access(&mut self, first: Seq) -> Option<Access> {
        let newest = self.entries.back().is_some_and(|entry| entry.first == first);
        if newest && let Some(open) = &self.writing {
            return Some(Access::Open(Arc::clone(open)));
        }
        let entry = self.entry(first)?;
        let hung = entry.hung;
        let access = match &entry.contents {
            Contents::Known(index) => Access::Known(Arc::clone(index)),
            Contents::Sought(salvage) => Access::Sought(salvage.clone()),
            Contents::Unread if entry.handle.strong_count() > 0 => Access::Closing,
            Contents::Unread => Access::Unread(entry.path.clone()),
        };
        if matches!(access, Access::Known(_)) && !hung {
            self.use_last(first);
        }
        Some(access)
    }

    /// Of the generations whose contents are known this is the last one to be forgotten.
    fn use_last(&mut self, first: Seq) {
        self.known.retain(|known| *known != first);
        self.known.push_back(first);
        while self.known.len() > INDEXES_MAX {
            self.forget_oldest();
        }
    }

    /// Notes that `salvage` finds out what is in the generation.
    pub(super) fn seek(&mut self, first: Seq, salvage: Salvage) {
        if let Some(entry) = self.entry(first) {
            entry.contents = Contents::Sought(salvage);
        }
    }

    /// Takes over what `salvage` has found, if nobody else did.
    ///
    /// # Errors
    /// [`StoreError`] when it could not look; the next one to ask tries again.
    pub(super) fn settle(&mut self, first: Seq, salvage: &Salvage) -> Result<(), StoreError> {
        let Some(entry) = self.entry(first) else {
            return Ok(());
        };
        if !matches!(&entry.contents, Contents::Sought(sought) if sought.is(salvage)) {
            return Ok(());
        }
        entry.contents = Contents::Unread;
        entry.hung = !salvage.is_complete();
        let index = salvage.finish()?;
        entry.contents = Contents::Known(Arc::new(index));
        entry.looks = entry.looks.saturating_add(1);
        if !entry.hung {
            self.use_last(first);
        }
        Ok(())
    }

    fn forget_oldest(&mut self) {
        let Some(first) = self.known.pop_front() else {
            return;
        };
        if let Some(entry) = self.entry(first) {
            entry.contents = Contents::Unread;
        }
    }

    /// `seq` cannot be read. True when another look may bring it back; otherwise the generation it should be in is set
    /// aside.
    pub(super) fn suspect(&mut self, seq: Seq) -> bool {
        let Some(first) = self.place_of(seq).filter(|first| *first <= seq) else {
            return false;
        };
        let newest = self.entries.back().is_some_and(|entry| entry.first == first);
        if newest && self.writing.take().is_some() {
            return true;
        }
        let Some(entry) = self.entry(first) else {
            return false;
        };
        let again = match &entry.contents {
            Contents::Known(index) => index.covers(seq) && entry.looks < LOOKS_MAX && !entry.hung,
            Contents::Unread | Contents::Sought(_) => return true,
        };
        if again {
            entry.contents = Contents::Unread;
        } else if !entry.damaged {
            match entry.set_aside() {
                Ok(()) => {
                    tracing::error!(%first, path = %entry.path.display(), "a damaged generation is set aside; what can be read in it is delivered");
                }
                // Only the evidence is at stake, and nobody waits for it.
                Err(error) => tracing::warn!(%error, "cannot set a damaged generation aside"),
            }
        }
        again
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

    /// Whether the oldest generation holds only messages up to `through`. Never the newest.
    pub(super) fn front_is_delivered(&self, through: Seq) -> bool {
        let second = self.entries.get(1);
        second.is_some_and(|second| second.first <= through.next())
    }

    /// Whether the oldest generation is delivered, and enough younger ones are there to recognise redeliveries with: of
    /// messages, or of bytes.
    pub(super) fn front_is_spent(&self, through: Seq, enough_bytes: u64) -> bool {
        let Some(second) = self.entries.get(1) else {
            return false;
        };
        let younger_bytes = self.entries.iter().skip(1).map(|entry| entry.bytes).sum::<u64>();
        let recallable = self.end.0.saturating_sub(second.first.0) >= RECALL_MESSAGES
            || (self.entries.len() > 2 && younger_bytes >= enough_bytes);
        self.front_is_delivered(through) && recallable
    }
}

impl Entry {
    pub(super) const fn closed(first: Seq, path: PathBuf, bytes: u64, damaged: bool) -> Self {
        Self {
            first,
            path,
            bytes,
            damaged,
            contents: Contents::Unread,
            looks: 0,
            hung: false,
            handle: Weak::new(),
        }
    }

    pub(super) fn open(first: Seq, path: PathBuf, handle: &Arc<Generation>) -> Self {
        let bytes = disk_bytes(&path);
        Self {
            handle: Arc::downgrade(handle),
            ..Self::closed(first, path, bytes, false)
        }
    }

    /// Whether nobody has looked into it since the start.
    pub(super) fn is_unread(&self) -> bool {
        self.looks == 0 && matches!(self.contents, Contents::Unread) && self.handle.strong_count() == 0
    }

    /// Renames a generation that is damaged or replaced, so that it is not deleted as a sound one. It is read as before.
    pub(super) fn set_aside(&mut self) -> Result<(), StoreError> {
        let aside = self
            .path
            .with_extension(format!("{DAMAGED}{:08x}", rand::random::<u32>()));
        faults::point("set-aside.begun");
        fs::rename(&self.path, &aside).map_err(|source| io_error(&self.path, source))?;
        faults::point("set-aside.renamed");
        self.path = aside;
        self.damaged = true;
        Ok(())
    }
}
