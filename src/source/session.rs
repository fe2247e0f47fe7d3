//! What has to be known about the MQTT session after a restart: which one it is, and up to which position its
//! PUBACKs may have left.
//!
//! # Format, version 1
//!
//! Two slots, at offsets 0 and 4,096 (pages, and on every known medium sectors, of their own), each 40 bytes,
//! little endian:
//!
//! ```text
//! "EFS1" | generation u64 | session tag u64 | boot id u64 | handed over u64 | CRC32 of all before u32
//! ```
//!
//! A write goes to the slot that does not hold the newest generation, so a torn write costs one generation,
//! never the file.
//!
//! # What survives what
//!
//! * **The process dies.** The kernel has every completed write, so `handed` is exact or ahead of the truth.
//! * **The machine dies.** `handed` is written without fsync (it changes with every group of
//!   acknowledgements), so the file may show an old one, and an old one is dangerous: it would call messages
//!   certain whose packet ids the broker has long reused. Therefore the boot id is in the slot, and in
//!   another boot the number is not believed ([`Found::OtherBoot`]). The tag is believed:
//!   [`SessionFile::begin`] syncs it, in both slots.
//! * **Lost or damaged.** A new random tag: nothing stored earlier is recognised, which costs flagged
//!   duplicates.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::message::SessionTag;

const MAGIC: [u8; 4] = *b"EFS1";
const SLOT_LEN: usize = 40;
const SLOT_OFFSETS: [u64; 2] = [0, 4096];

/// What the file said when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Written in this boot: everything in it holds.
    SameBoot,
    /// Written in an earlier boot: the tag holds, `handed` may be too low.
    OtherBoot,
    /// No file, or none that can be read: the session is new to us.
    Nothing,
}

/// The file of one source. Owned by one process (the data directory is locked).
#[derive(Debug)]
pub struct SessionFile {
    file: File,
    slot: Slot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    generation: u64,
    tag: SessionTag,
    boot: u64,
    handed: u64,
}

impl SessionFile {
    /// Opens the file, or makes it; `boot` is this boot's id.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open(path: &Path, boot: u64) -> io::Result<(Self, Found)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        if let Some(slot) = SLOT_OFFSETS
            .iter()
            .filter_map(|at| read(&file, *at))
            .max_by_key(|slot| slot.generation)
        {
            let found = if slot.boot == boot {
                Found::SameBoot
            } else {
                Found::OtherBoot
            };
            Ok((
                Self {
                    file,
                    slot: Slot { boot, ..slot },
                },
                found,
            ))
        } else {
            let slot = Slot {
                generation: 0,
                tag: new_tag(),
                boot,
                handed: 0,
            };
            let mut session = Self { file, slot };
            session.begin(slot.tag)?;
            Ok((session, Found::Nothing))
        }
    }

    /// The session that the broker keeps for us, as far as we know.
    pub const fn tag(&self) -> SessionTag {
        self.slot.tag
    }

    /// The PUBACK of this position, and of any below, may have reached the broker. None above has.
    pub const fn handed(&self) -> u64 {
        self.slot.handed
    }

    /// The broker has made a new session. Synced: an old tag would match old messages with new packet ids.
    /// This waits for the medium, but only when a broker has forgotten us.
    pub fn begin(&mut self, tag: SessionTag) -> io::Result<()> {
        self.slot.tag = tag;
        // Both slots, so that no torn write can bring the old tag back.
        self.write()?;
        self.write()?;
        self.file.sync_data()
    }

    /// To be called before the PUBACK of `position` is handed to the client. Goes to the page cache, which
    /// takes microseconds, and is called once per group of acknowledgements.
    pub fn hand_over(&mut self, position: u64) -> io::Result<()> {
        if position <= self.slot.handed {
            return Ok(());
        }
        self.slot.handed = position;
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        self.slot.generation += 1;
        let at = SLOT_OFFSETS[usize::from(self.slot.generation % 2 == 1)];
        self.file.write_all_at(&self.slot.encode(), at)
    }
}

/// A tag that no session had before.
pub fn new_tag() -> SessionTag {
    SessionTag(rand::random())
}

fn read(file: &File, at: u64) -> Option<Slot> {
    let mut bytes = [0; SLOT_LEN];
    file.read_exact_at(&mut bytes, at).ok()?;
    Slot::decode(&bytes)
}

impl Slot {
    fn encode(&self) -> [u8; SLOT_LEN] {
        let mut bytes = [0; SLOT_LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        let fields = [self.generation, self.tag.0, self.boot, self.handed];
        for (chunk, field) in bytes[4..36].chunks_exact_mut(8).zip(fields) {
            chunk.copy_from_slice(&field.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; SLOT_LEN]) -> Option<Self> {
        let crc = crc32fast::hash(&bytes[..36]);
        if bytes[..4] != MAGIC || bytes[36..] != crc.to_le_bytes() {
            return None;
        }
        let mut fields = [0; 4];
        for (field, chunk) in fields.iter_mut().zip(bytes[4..36].chunks_exact(8)) {
            *field = u64::from_le_bytes(chunk.try_into().ok()?);
        }
        let [generation, tag, boot, handed] = fields;
        Some(Self {
            generation,
            tag: SessionTag(tag),
            boot,
            handed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &tempfile::TempDir, boot: u64) -> (SessionFile, Found) {
        SessionFile::open(&dir.path().join("session"), boot).expect("a writable folder")
    }

    #[test]
    fn what_was_written_is_found_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut session, found) = open(&dir, 7);
        assert_eq!(found, Found::Nothing);
        for position in 1..=5 {
            session.hand_over(position).expect("written");
        }
        let (again, found) = open(&dir, 7);
        assert_eq!((again.slot, found), (session.slot, Found::SameBoot));
    }

    #[test]
    fn another_boot_is_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let (session, _) = open(&dir, 7);
        let (again, found) = open(&dir, 8);
        assert_eq!(found, Found::OtherBoot);
        assert_eq!(again.tag(), session.tag());
        assert_eq!(again.slot.boot, 8, "from now on it is this boot's");
    }

    #[test]
    fn handed_never_goes_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut session, _) = open(&dir, 7);
        session.hand_over(9).expect("written");
        session.hand_over(4).expect("nothing to write");
        assert_eq!(session.handed(), 9);
    }

    #[test]
    fn a_torn_slot_costs_one_generation() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut session, _) = open(&dir, 7);
        session.hand_over(1).expect("written");
        session.hand_over(2).expect("written");
        let newest = SLOT_OFFSETS[usize::from(session.slot.generation % 2 == 1)];
        session
            .file
            .write_all_at(&[0xff; 8], newest + 8)
            .expect("damaged");
        let (again, found) = open(&dir, 7);
        assert_eq!((again.handed(), found), (1, Found::SameBoot));
    }

    #[test]
    fn no_torn_write_brings_an_old_tag_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut session, _) = open(&dir, 7);
        session.begin(SessionTag(42)).expect("written");
        for at in SLOT_OFFSETS {
            let kept = read(&session.file, at).map(|slot| slot.tag);
            assert_eq!(kept, Some(SessionTag(42)));
        }
    }

    #[test]
    fn both_slots_damaged_is_a_new_session() {
        let dir = tempfile::tempdir().expect("a folder");
        let (session, _) = open(&dir, 7);
        for at in SLOT_OFFSETS {
            session.file.write_all_at(b"????", at).expect("damaged");
        }
        let (again, found) = open(&dir, 7);
        assert_eq!(found, Found::Nothing);
        assert_ne!(again.tag(), session.tag());
    }

    #[test]
    fn version_one_stays_readable() {
        let slot = Slot {
            generation: 1,
            tag: SessionTag(2),
            boot: 3,
            handed: 4,
        };
        let mut bytes =
            *b"EFS1\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0";
        let crc = crc32fast::hash(&bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(slot.encode(), bytes);
        assert_eq!(Slot::decode(&bytes), Some(slot));
    }
}
