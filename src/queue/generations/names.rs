//! Names in a lane's folder, and how generations come and go by them.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use super::row::Entry;
use super::usage::disk_bytes;
use crate::message::Seq;
use crate::queue::generation::{io_error, sync_folder};
use crate::queue::store::StoreError;

pub(super) const PREFIX: &str = "g-";
pub(super) const TRASH: &str = "trash";
pub(super) const DAMAGED: &str = "damaged-";

/// The generations in a folder, oldest first. Finishes deletions that a crash interrupted.
pub(super) fn list(folder: &Path) -> Result<VecDeque<Entry>, StoreError> {
    let mut entries = Vec::new();
    for item in fs::read_dir(folder).map_err(|source| io_error(folder, source))? {
        let path = item.map_err(|source| io_error(folder, source))?.path();
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        let damaged = extension.starts_with(DAMAGED);
        if extension == TRASH {
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot delete a delivered generation");
            }
        } else if let Some(first) = first_of(&path).filter(|_| damaged || extension.is_empty()) {
            entries.push(Entry {
                first,
                bytes: disk_bytes(&path),
                damaged,
                path,
            });
        }
    }
    entries.sort_by_key(|entry| (entry.first, !entry.damaged));
    Ok(entries.into())
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
        fs::remove_dir_all(&trash).map_err(|source| io_error(&trash, source))?;
    }
    fs::rename(path, &trash).map_err(|source| io_error(path, source))?;
    fs::remove_dir_all(&trash).map_err(|source| io_error(&trash, source))?;
    path.parent().map_or(Ok(()), sync_folder)
}
