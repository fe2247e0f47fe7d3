//! Replacing generations by a rewritten one, in steps of which each can be the last one before a crash.
//!
//! The new generation is built under a name of its own (`g-….rewrite-<token>`), which no open takes for a generation. The
//! ledger then commits it. Only after that the old ones are deleted and the new one gets the name of the first of them.
//! [`settle`] does at the next open what a crash left undone: it finishes what the ledger knows and deletes the rest.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

use super::Generations;
use super::names::{DAMAGED, PREFIX, discard, first_of, keep};
use super::row::{Entry, Row};
use super::usage::disk_bytes;
use crate::faults;
use crate::queue::codec::Chunk;
use crate::queue::generation::{Generation, io_error, sync_folder};
use crate::queue::ledger::Replacement;
use crate::queue::store::StoreError;

/// Begins the extension of a generation that is not in its place yet.
const STAGED: &str = "rewrite-";

/// Where the new generation is built.
fn staged(folder: &Path, replacement: Replacement) -> PathBuf {
    let Replacement { first, token, .. } = replacement;
    folder.join(format!("{PREFIX}{:020}.{STAGED}{token:08x}", first.0))
}

/// Its name once it is in its place.
fn placed(folder: &Path, replacement: Replacement) -> PathBuf {
    folder.join(format!("{PREFIX}{:020}", replacement.first.0))
}

/// Finishes what `committed` says, and deletes whatever else was being built, before the log in `folder` is opened.
///
/// # Errors
/// [`StoreError`]: the log must not be opened, because messages that are counted as removed would come back.
pub fn settle(folder: &Path, committed: Option<Replacement>) -> Result<(), StoreError> {
    let wanted = committed.map(|replacement| staged(folder, replacement));
    let mut found = false;
    for path in paths(folder)? {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        if Some(&path) == wanted.as_ref() {
            found = true;
        } else if extension.starts_with(STAGED)
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::warn!(path = %path.display(), %error, "cannot delete half a rewritten generation");
        }
    }
    match committed {
        Some(replacement) if found => put_in_place(folder, replacement),
        _ => Ok(()),
    }
}

fn paths(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(folder).map_err(|source| io_error(folder, source))?;
    entries
        .map(|entry| {
            entry
                .map(|entry| entry.path())
                .map_err(|source| io_error(folder, source))
        })
        .collect()
}

/// Deletes the old generations and gives the new one its name.
fn put_in_place(folder: &Path, replacement: Replacement) -> Result<(), StoreError> {
    let (from, to) = (staged(folder, replacement), placed(folder, replacement));
    if !from.exists() {
        // It has its name, and only that may not be durable yet.
        return sync_folder(folder);
    }
    let replaced = replacement.first..=replacement.last;
    for path in paths(folder)? {
        if !first_of(&path).is_some_and(|first| replaced.contains(&first)) {
            continue;
        }
        match path.extension() {
            None => discard(&path)?,
            Some(name) if name.to_string_lossy().starts_with(DAMAGED) => keep(&path).map(|_| ())?,
            Some(_) => {}
        }
    }
    faults::point("rewrite.discarded");
    fs::rename(&from, &to).map_err(|source| io_error(&from, source))?;
    faults::point("rewrite.renamed");
    sync_folder(folder)
}

impl Generations {
    pub(super) fn build(&self, replacement: Replacement, groups: &[Vec<Chunk>]) -> Result<(), StoreError> {
        let path = staged(&self.folder, replacement);
        let open = Generation::create(&path)?;
        faults::point("rewrite.begun");
        groups.iter().try_for_each(|chunks| open.append(chunks))
    }

    pub(super) fn give_up(&self, replacement: Replacement) {
        let path = staged(&self.folder, replacement);
        if path.exists()
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::warn!(path = %path.display(), %error, "cannot delete half a rewritten generation");
        }
        self.beside.changed();
    }

    /// The row knows it first: whatever becomes of the names, nobody reads the old ones any more.
    pub(super) fn take_place(&self, replacement: Replacement) {
        faults::point("rewrite.committed");
        self.row().replace(replacement, staged(&self.folder, replacement));
        *self.unfinished() = Some(replacement);
        if let Err(error) = self.finish_replacing() {
            tracing::warn!(%error, "a rewritten generation gets its place later");
        }
    }

    /// Gives the generation that was committed last its place. The ledger remembers one: no other is committed before.
    ///
    /// # Errors
    /// [`StoreError`]: to be tried again; it is read from where it is.
    pub(super) fn finish_replacing(&self) -> Result<(), StoreError> {
        let mut unfinished = self.unfinished();
        let Some(replacement) = *unfinished else {
            return Ok(());
        };
        let mut row = self.row();
        let placed_now = put_in_place(&self.folder, replacement);
        if !staged(&self.folder, replacement).exists() {
            row.moved(replacement, placed(&self.folder, replacement));
        }
        drop(row);
        self.beside.changed();
        placed_now?;
        *unfinished = None;
        Ok(())
    }

    fn unfinished(&self) -> MutexGuard<'_, Option<Replacement>> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    /// The generation in `path` stands for those that `replacement` replaces.
    fn replace(&mut self, replacement: Replacement, path: PathBuf) {
        let Replacement { first, last, .. } = replacement;
        let is_old = |entry: &Entry| (first..=last).contains(&entry.first);
        if self.entries.back().is_some_and(is_old) {
            self.writing = None;
        }
        self.entries.retain(|entry| !is_old(entry));
        let at = self.entries.partition_point(|entry| entry.first < first);
        let bytes = disk_bytes(&path);
        let entry = Entry::closed(first, path, bytes, false);
        self.entries.insert(at, entry);
    }

    fn moved(&mut self, replacement: Replacement, path: PathBuf) {
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| entry.first == replacement.first);
        if let Some(entry) = entry {
            entry.path = path;
        }
    }
}
