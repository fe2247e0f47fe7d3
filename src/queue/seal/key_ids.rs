//! `key-ids` beside a log: which keys its blocks need.
//!
//! What is noted here lets a start without the right keys end before anything is touched. A note is durable before the
//! first block under a new key is written, and goes when the cursor has passed the last one. Losing the file loses no
//! messages: the newest block is looked at instead, and the reader holds at any block that it has no key for.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{KeyId, Keys};
use crate::message::Seq;
use crate::queue::generations::probe;
use crate::queue::marks;
use crate::slots::{PAGE_BYTES, SlotError, SlotFile};

/// Its name.
pub const FILE: &str = "key-ids";
/// Keys noted at most, 16 bytes each, so that they fit their slot. Nobody changes keys that often within one backlog;
/// beyond, the oldest are forgotten, and the reader holds where it would have been the start.
const NEEDS_MAX: usize = 200;

/// A key that blocks need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Need {
    key: KeyId,
    /// No block behind this sequence is sealed with it. `None`: blocks are being sealed with it.
    through: Option<Seq>,
}

/// Messages that wait need keys that are not there.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{} holds messages sealed with key {}, which is neither queue.key_file nor among queue.old_key_files (keys given: \
     {given}); nothing was changed", folder.display(), list(missing)
)]
pub struct MissingKeys {
    /// The lane, or the dead letters.
    pub folder: PathBuf,
    /// The keys they need; at least one.
    pub missing: Vec<KeyId>,
    /// The keys that are there.
    pub given: Keys,
}

fn list(ids: &[KeyId]) -> String {
    let ids: Vec<_> = ids.iter().map(KeyId::to_string).collect();
    ids.join(", ")
}

/// Looks, without changing anything, whether all that waits in the log in `folder` can be opened with `keys`.
///
/// # Errors
/// [`MissingKeys`].
pub(crate) fn check(folder: &Path, keys: &Keys) -> Result<(), MissingKeys> {
    let missing = missing(folder, keys);
    if missing.is_empty() {
        return Ok(());
    }
    Err(MissingKeys {
        folder: folder.to_owned(),
        missing,
        given: keys.clone(),
    })
}

fn missing(folder: &Path, keys: &Keys) -> Vec<KeyId> {
    let done = done(folder);
    // Looked for only when it must be: it takes reading a generation.
    let newest = || probe::newest_chunk(folder).filter(|chunk| chunk.last > done);
    let needed: Vec<_> = match read(folder) {
        Some(needs) => {
            let lacking = needs.iter().filter(|need| !keys.has(need.key));
            let waiting = lacking.filter(|need| match need.through {
                Some(through) => through > done,
                None => newest().is_some(),
            });
            waiting.map(|need| need.key).collect()
        }
        None => newest().and_then(|chunk| chunk.sealed_by).into_iter().collect(),
    };
    needed.into_iter().filter(|id| !keys.has(*id)).collect()
}

/// The keys that messages in the log may need, as far as it was noted.
pub(super) fn noted(folder: &Path) -> Vec<KeyId> {
    let done = done(folder);
    let needs = read(folder).unwrap_or_default().into_iter();
    needs
        .filter(|need| need.through.is_none_or(|through| through > done))
        .map(|need| need.key)
        .collect()
}

fn read(folder: &Path) -> Option<Vec<Need>> {
    SlotFile::peek(&folder.join(FILE), PAGE_BYTES)
}

/// No message up to here is read again.
fn done(folder: &Path) -> Seq {
    let cursor = marks::peek(folder).map_or(Seq::ZERO, |values| values.cursor);
    let trimmed = probe::oldest(folder).map_or(Seq::ZERO, Seq::previous);
    cursor.max(trimmed)
}

/// Notes, durably, that from `next` on blocks are sealed with the current key. `done` survives a power cut: nothing
/// up to there is read again.
///
/// # Errors
/// [`SlotError`]: nothing may be sealed.
pub(crate) fn note(folder: &Path, keys: &Keys, next: Seq, done: Seq) -> Result<(), SlotError> {
    let (mut file, found) = SlotFile::open::<Vec<Need>>(&folder.join(FILE), PAGE_BYTES)?;
    let needs = follow(found.clone().unwrap_or_default(), keys.current(), next, done);
    if found.as_ref() != Some(&needs) {
        file.write(&needs)?;
        file.sync()?;
    }
    Ok(())
}

fn follow(mut needs: Vec<Need>, current: Option<KeyId>, next: Seq, done: Seq) -> Vec<Need> {
    for need in &mut needs {
        need.through = need.through.or(Some(next.previous()));
    }
    needs.retain(|need| Some(need.key) != current && need.through > Some(done));
    needs.extend(current.map(|key| Need { key, through: None }));
    let surplus = needs.len().saturating_sub(NEEDS_MAX);
    needs.drain(..surplus);
    needs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> KeyId {
        KeyId(number.try_into().expect("not zero"))
    }

    fn need(key: u32, through: Option<u64>) -> Need {
        Need {
            key: id(key),
            through: through.map(Seq),
        }
    }

    #[test]
    fn a_key_is_needed_until_the_cursor_has_passed_its_last_block() {
        let needs = follow(Vec::new(), Some(id(1)), Seq(10), Seq::ZERO);
        assert_eq!(needs, [need(1, None)]);
        let needs = follow(needs, Some(id(2)), Seq(20), Seq::ZERO);
        assert_eq!(needs, [need(1, Some(19)), need(2, None)]);
        let needs = follow(needs, None, Seq(30), Seq(18));
        assert_eq!(needs, [need(1, Some(19)), need(2, Some(29))]);
        // Back in use.
        let needs = follow(needs, Some(id(2)), Seq(40), Seq(19));
        assert_eq!(needs, [need(2, None)]);
        assert_eq!(follow(needs.clone(), Some(id(2)), Seq(50), Seq(49)), needs);
        assert_eq!(follow(needs, None, Seq(50), Seq(49)), []);
    }

    #[test]
    fn the_most_keys_that_are_noted_fit_their_slot() {
        let dir = tempfile::tempdir().expect("temp dir");
        let many = (0..=NEEDS_MAX as u64).map(|number| Need {
            key: KeyId(std::num::NonZeroU32::MAX),
            through: Some(Seq(u64::MAX - number)),
        });
        let needs = follow(many.collect(), Some(id(7)), Seq(u64::MAX), Seq::ZERO);
        assert_eq!(needs.len(), NEEDS_MAX);
        let path = dir.path().join(FILE);
        let (mut file, _) = SlotFile::open::<Vec<Need>>(&path, PAGE_BYTES).expect("opens");
        file.write(&needs).expect("fits");
        assert_eq!(SlotFile::peek(&path, PAGE_BYTES), Some(needs));
    }
}
