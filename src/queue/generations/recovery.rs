//! What opening a lane's folder has to find out: where the log ends.

use super::row::Entry;
use crate::faults;
use crate::message::Seq;
use crate::queue::codec::{BLOCK_MESSAGES_MAX, read_chunk};
use crate::queue::generation::Generation;
use crate::queue::store::{RawBlock, StoreError};

/// Opens a generation that ends before `behind` and finds its last message. `None` when it is set aside.
pub(super) fn find_last(
    entry: &Entry,
    behind: Option<Seq>,
) -> Result<Option<(Generation, Option<Seq>)>, StoreError> {
    if entry.damaged {
        return Ok(None);
    }
    let open = Generation::open(&entry.path)?;
    faults::point("recover.opened");
    let last = last_message(&open, behind.map_or(Seq(u64::MAX), Seq::previous))?;
    // A process that was killed may have left messages in the page cache alone. They count from here on.
    open.sync()?;
    Ok(Some((open, last)))
}

/// The last message of a generation, up to `limit`. A block at its end that was never finished is removed: none
/// of its messages was acknowledged.
fn last_message(open: &Generation, limit: Seq) -> Result<Option<Seq>, StoreError> {
    while let Some(block) = open.block_before(limit)? {
        match last_of(&block) {
            Some(last) => return Ok(Some(last)),
            None => open.remove(block.first)?,
        }
    }
    Ok(None)
}

/// The last sequence of a block, or one behind it when the block is too damaged to say; never one before it, so
/// that none is used twice. `None` when the block was never finished.
fn last_of(block: &RawBlock) -> Option<Seq> {
    let headers = block
        .chunks
        .iter()
        .filter_map(|chunk| read_chunk(chunk).ok())
        .map(|(header, _)| header)
        .filter(|header| header.first == block.first)
        .collect::<Vec<_>>();
    let legible = headers.len() == block.chunks.len();
    match headers.iter().max_by_key(|header| header.last()) {
        Some(head) if legible && block.chunks.len() < usize::from(head.parts) => None,
        Some(head) => Some(head.last()),
        None => Some(block.first.plus(BLOCK_MESSAGES_MAX).previous()),
    }
}
