//! Names in a lane's folder, and how generations come and go by them.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::row::Entry;
use super::usage::disk_bytes;
use crate::faults;
use crate::message::Seq;
use crate::queue::generation::{io_error, sync_folder};
use crate::queue::store::StoreError;

pub(super) const PREFIX: &str = "g-";
pub(super) const TRASH: &str = "trash";
/// Set aside, and still part of the log.
pub(super) const DAMAGED: &str = "damaged-";
/// Set aside, and delivered as far as it could be read.
pub(super) const KEPT: &str = "kept-";
/// Not finished: of no use to anybody.
pub(super) const NEW: &str = "new";

/// What a folder holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The log, oldest first.
    pub(super) entries: VecDeque<Entry>,
    /// What is kept for people, oldest first.
    pub(super) kept: VecDeque<Kept>,
}

/// A damaged generation that is not part of the log any more.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

/// Makes the folder; a file in its place is moved out of the way. (A link is not: it may lead to a disk that is away.)
pub(super) fn make_folder(folder: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(folder)
        .or_else(|error| {
            if !folder.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
                return Err(error);
            }
            let aside = folder.with_extension(format!("damaged-{:08x}", rand::random::<u32>()));
            tracing::error!(path = %folder.display(), aside = %aside.display(), "moved out of the way: it should be a folder");
            fs::rename(folder, aside)?;
            fs::create_dir_all(folder)
        })
        .map_err(|source| io_error(folder, source))
}

/// Lists a folder. Finishes deletions that a crash interrupted.
pub(super) fn list(folder: &Path) -> Result<Listing, StoreError> {
    let mut entries = Vec::new();
    let mut kept = Vec::new();
    for item in fs::read_dir(folder).map_err(|source| io_error(folder, source))? {
        let path = item.map_err(|source| io_error(folder, source))?.path();
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        let damaged = extension.starts_with(DAMAGED);
        let Some(first) = first_of(&path) else {
            continue;
        };
        let bytes = disk_bytes(&path);
        if extension == TRASH || extension == NEW {
            if let Err(error) = remove(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot delete what an interrupted run left behind");
            }
        } else if extension.starts_with(KEPT) {
            kept.push((first, Kept { path, bytes }));
        } else if damaged || extension.is_empty() {
            entries.push(Entry::closed(first, path, bytes, damaged));
        }
    }
    entries.sort_by_key(|entry| (entry.first, !entry.damaged));
    kept.sort_by_key(|(first, _)| *first);
    Ok(Listing {
        entries: without_replaced(entries),
        kept: kept.into_iter().map(|(_, kept)| kept).collect(),
    })
}

/// A set aside generation beside a sound one of the same name was replaced by it, and only its deletion is missing.
fn without_replaced(entries: Vec<Entry>) -> VecDeque<Entry> {
    let mut row = VecDeque::<Entry>::new();
    for entry in entries {
        if let Some(old) = row.pop_back_if(|before| before.first == entry.first && before.damaged)
            && let Err(error) = discard(&old.path)
        {
            tracing::warn!(%error, "cannot delete a generation that was replaced");
        }
        row.push_back(entry);
    }
    row
}

pub(super) fn first_of(path: &Path) -> Option<Seq> {
    path.file_stem()?
        .to_str()?
        .strip_prefix(PREFIX)?
        .parse()
        .ok()
        .map(Seq)
}

/// Deletes a generation in two steps, so that no crash leaves half of it under its name.
pub(super) fn discard(path: &Path) -> Result<(), StoreError> {
    let trash = path.with_extension(TRASH);
    if trash.exists() {
        // Of an earlier generation of this name, whose deletion failed.
        remove(&trash).map_err(|source| io_error(&trash, source))?;
    }
    faults::point("discard.begun");
    fs::rename(path, &trash).map_err(|source| io_error(path, source))?;
    faults::point("discard.renamed");
    remove(&trash).map_err(|source| io_error(&trash, source))?;
    faults::point("discard.deleted");
    path.parent().map_or(Ok(()), sync_folder)
}

/// Deletes a folder with all in it, or whatever stands in its place.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(path),
        outcome => outcome,
    }
}

/// Takes a damaged generation out of the log and keeps it for people.
pub(super) fn keep(path: &Path) -> Result<Kept, StoreError> {
    let name = path.extension().unwrap_or_default().to_string_lossy();
    let tag = name.strip_prefix(DAMAGED).unwrap_or_default();
    let kept = path.with_extension(format!("{KEPT}{tag}"));
    faults::point("keep.begun");
    fs::rename(path, &kept).map_err(|source| io_error(path, source))?;
    faults::point("keep.renamed");
    let bytes = disk_bytes(&kept);
    Ok(Kept { path: kept, bytes })
}
