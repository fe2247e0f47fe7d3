//! Writes the end of the log anew, to files of its own.
//!
//! A failed `fdatasync` leaves pages that the kernel takes for written; only the run that saw it fail knows. So what a start
//! finds behind the watermark is not believed to be on the disk before it was written again.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::names::{NEW, discard, remove};
use super::raw::Index;
use super::row::Entry;
use super::{Generations, View};
use crate::faults;
use crate::message::Seq;
use crate::queue::codec::{Chunk, ChunkKey};
use crate::queue::generation::{Generation, io_error, sync_folder};
use crate::queue::store::StoreError;

/// Blocks are appended in groups of this size: few syncs, little memory.
const GROUP_BYTES: usize = 1024 * 1024;

/// See [`crate::queue::store::Store::renew_behind`].
pub(super) fn renew_behind(store: &Generations, seq: Seq) -> Result<(), StoreError> {
    let Some(newest) = store.row().entries.back().map(|entry| entry.first) else {
        return Ok(());
    };
    let index = match store.view(newest, store.patience.read)? {
        View::Known(index) => index,
        // It was written in this run.
        View::Open(_) => return Ok(()),
        View::Wait => return Err(StoreError::Salvaging),
    };
    let firsts: Vec<_> = index.ending_behind(seq).collect();
    let Some(first) = firsts.first().copied() else {
        return Ok(());
    };
    let path = store.path_of(first).with_extension(NEW);
    if path.symlink_metadata().is_ok() {
        remove(&path).map_err(|source| io_error(&path, source))?;
    }
    let fresh = copy(&index, &firsts, &path)?;
    faults::point("renew.written");
    put(store, fresh, &path, first)
}

/// Writes blocks to a new generation.
fn copy(index: &Index, firsts: &[Seq], path: &Path) -> Result<Generation, StoreError> {
    let fresh = Generation::create(path)?;
    let mut group = Vec::new();
    let mut bytes = 0;
    for first in firsts {
        let chunks = index.block_before(*first).map_or(Vec::new(), |raw| raw.chunks);
        for (part, chunk) in (0_u16..).zip(chunks) {
            bytes += chunk.len();
            let key = ChunkKey { first: *first, part };
            group.push(Chunk { key, bytes: chunk });
        }
        if bytes >= GROUP_BYTES {
            fresh.append(&group)?;
            group.clear();
            bytes = 0;
        }
    }
    fresh.append(&group)?;
    Ok(fresh)
}

/// Puts a generation that was written under another name into the row, behind the newest one or instead of it.
fn put(store: &Generations, fresh: Generation, path: &Path, first: Seq) -> Result<(), StoreError> {
    let mut row = store.row();
    if let Some(entry) = row.entries.back_mut().filter(|entry| entry.first == first) {
        // A crash from here on leaves the old one to be read.
        entry.set_aside()?;
    }
    let name = store.path_of(first);
    let is_known = row.entries.iter().any(|entry| entry.path == name);
    if !is_known && name.symlink_metadata().is_ok() {
        // An earlier attempt got so far and could not be synced.
        discard(&name)?;
    }
    fs::rename(path, &name).map_err(|source| io_error(path, source))?;
    faults::point("renew.renamed");
    sync_folder(&store.folder)?;
    let fresh = Arc::new(fresh);
    let replaced = row.entries.pop_back_if(|entry| entry.first == first);
    row.entries.push_back(Entry::open(first, name, &fresh));
    row.writing = Some(fresh);
    drop(row);
    match replaced {
        Some(old) => discard(&old.path),
        None => Ok(()),
    }
}
