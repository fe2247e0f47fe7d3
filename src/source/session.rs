//! What has to be known about the MQTT session after a restart: which one it is, and up to which position its
//! PUBACKs may have left.
//!
//! The file is a [`SlotFile`]: a torn write costs the newest value, never the file.
//!
//! # What survives what
//!
//! * **The process dies.** The kernel has every completed write, so `handed` is exact or ahead of the truth.
//! * **The machine dies.** `handed` is written without fsync (it changes with every group of
//!   acknowledgements), so the file may show an old one, and an old one is dangerous: it would call messages
//!   certain whose packet ids the broker has long reused. Therefore the boot id is in the slot, and in
//!   another boot the number is not believed ([`Found::OtherBoot`]). The tag is believed:
//!   [`SessionFile::begin`] syncs it, in both slots. What came before is doubtful from then on ([`SessionFile::doubt`]), and
//!   that is in the slot too: the first write of the new boot must not make it certain again.
//! * **Lost or damaged.** A new random tag: nothing stored earlier is recognised, which costs flagged
//!   duplicates.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::faults;
use crate::message::SessionTag;
use crate::slots::{PAGE_BYTES, SlotError, SlotFile};

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
    file: SlotFile,
    value: Value,
    /// The tag is in the file, in both slots, and synced.
    settled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Value {
    tag: SessionTag,
    boot: u64,
    handed: u64,
    /// 0 in files from before it was there.
    doubtful: u64,
}

impl SessionFile {
    /// Opens the file, or makes it; `boot` is this boot's id.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open(path: &Path, boot: u64) -> Result<(Self, Found), SlotError> {
        let (file, found) = SlotFile::open::<Value>(path, PAGE_BYTES)?;
        if let Some(value) = found {
            let found = if value.boot == boot {
                Found::SameBoot
            } else {
                Found::OtherBoot
            };
            let value = Value { boot, ..value };
            let session = Self {
                file,
                value,
                settled: true,
            };
            return Ok((session, found));
        }
        let value = Value {
            tag: new_tag(),
            boot,
            handed: 0,
            doubtful: 0,
        };
        let mut session = Self {
            file,
            value,
            settled: false,
        };
        session.begin(value.tag)?;
        Ok((session, Found::Nothing))
    }

    /// The session that the broker keeps for us, as far as we know.
    pub const fn tag(&self) -> SessionTag {
        self.value.tag
    }

    /// The PUBACK of this position, and of any below, may have reached the broker. None above has.
    pub const fn handed(&self) -> u64 {
        self.value.handed
    }

    /// Of no position up to this can it be certain any more what the broker did with its PUBACK.
    pub const fn doubtful(&self) -> u64 {
        self.value.doubtful
    }

    /// Notes that up to `position` nothing is certain, for this process and the next ones. Both slots; not synced, for after a
    /// power cut everything is doubtful anyway. If that fails the session has to be begun anew.
    pub fn doubt(&mut self, position: u64) -> Result<(), SlotError> {
        if position <= self.value.doubtful {
            return Ok(());
        }
        self.value.doubtful = position;
        let written = self.write(self.value).and_then(|()| self.write(self.value));
        self.settled &= written.is_ok();
        written
    }

    /// `false` after a [`SessionFile::begin`] or [`SessionFile::doubt`] that failed: the file may still hold what was before.
    /// `begin` has to be called again before anything is acknowledged, whatever the broker says about the session by then.
    pub const fn is_settled(&self) -> bool {
        self.settled
    }

    /// The broker has made a new session. Synced: an old tag would match old messages with new packet ids.
    /// This waits for the medium, but only when a broker has forgotten us.
    pub fn begin(&mut self, tag: SessionTag) -> Result<(), SlotError> {
        self.settled = false;
        self.value.tag = tag;
        // Both slots, so that no torn write can bring the old tag back.
        self.write(self.value)?;
        self.write(self.value)?;
        self.file.sync()?;
        self.settled = true;
        Ok(())
    }

    /// To be called before the PUBACK of `position` is handed to the client. Goes to the page cache, which
    /// takes microseconds, and is called once per group of acknowledgements.
    pub fn hand_over(&mut self, position: u64) -> Result<(), SlotError> {
        if position <= self.value.handed {
            return Ok(());
        }
        let value = Value {
            handed: position,
            ..self.value
        };
        self.write(value)?;
        // Only now, so that a write that failed is tried again before anything is acknowledged.
        self.value = value;
        Ok(())
    }

    fn write(&mut self, value: Value) -> Result<(), SlotError> {
        self.file.write(&value)
    }
}

/// A tag that no session had before.
pub fn new_tag() -> SessionTag {
    SessionTag(faults::random())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

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
        assert_eq!((again.value, found), (session.value, Found::SameBoot));
    }

    #[test]
    fn another_boot_is_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let (session, _) = open(&dir, 7);
        let (again, found) = open(&dir, 8);
        assert_eq!(found, Found::OtherBoot);
        assert_eq!(again.tag(), session.tag());
        assert_eq!(again.value.boot, 8, "from now on it is this boot's");
    }

    #[test]
    fn handed_never_goes_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut session, _) = open(&dir, 7);
        session.hand_over(9).expect("written");
        session.hand_over(4).expect("nothing to write");
        assert_eq!(session.handed(), 9);
    }

    /// Both slots begin with a counter; this overwrites it in the file.
    fn damage(dir: &tempfile::TempDir, offsets: &[u64]) {
        let path = dir.path().join("session");
        let file = File::options().write(true).open(path).expect("it exists");
        for at in offsets {
            file.write_all_at(&[0xff; 8], *at).expect("damaged");
        }
    }

    #[test]
    fn a_torn_slot_costs_one_write() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut session, _) = open(&dir, 7);
        session.hand_over(1).expect("written");
        session.hand_over(2).expect("written");
        // Two writes at the beginning, so this was the fourth: slot 0.
        damage(&dir, &[0]);
        let (again, found) = open(&dir, 7);
        assert_eq!((again.handed(), found), (1, Found::SameBoot));
    }

    #[test]
    fn no_torn_write_brings_an_old_tag_back() {
        for torn in [0, 4096] {
            let dir = tempfile::tempdir().expect("a folder");
            let (mut session, _) = open(&dir, 7);
            session.begin(SessionTag(42)).expect("written");
            damage(&dir, &[torn]);
            let (again, found) = open(&dir, 7);
            assert_eq!((again.tag(), found), (SessionTag(42), Found::SameBoot));
        }
    }

    #[test]
    fn both_slots_damaged_is_a_new_session() {
        let dir = tempfile::tempdir().expect("a folder");
        let (session, _) = open(&dir, 7);
        damage(&dir, &[0, 4096]);
        let (again, found) = open(&dir, 7);
        assert_eq!(found, Found::Nothing);
        assert_ne!(again.tag(), session.tag());
    }

    #[test]
    fn a_session_that_could_not_be_begun_has_to_be_begun_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut session, _) = open(&dir, 7);
        let (full, _) = SlotFile::open::<Value>(Path::new("/dev/full"), PAGE_BYTES).expect("Linux has it");
        let medium = std::mem::replace(&mut session.file, full);
        session.begin(SessionTag(42)).expect_err("no space left");
        assert!(!session.is_settled());
        session.file = medium;
        session.begin(SessionTag(43)).expect("written");
        assert!(session.is_settled());
        assert_eq!(open(&dir, 7).0.tag(), SessionTag(43));
    }

    #[test]
    fn the_format_stays() {
        let value = Value {
            tag: SessionTag(2),
            boot: 300,
            handed: 4,
            doubtful: 3,
        };
        let bytes = postcard::to_stdvec(&value).expect("encodes");
        assert_eq!(bytes, [2, 0xAC, 0x02, 4, 3], "tag, boot, handed over, doubtful");
    }

    #[test]
    fn doubt_outlives_the_process_and_every_later_write() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut session, _) = open(&dir, 7);
        session.doubt(5).expect("written");
        damage(&dir, &[0]);
        assert_eq!(open(&dir, 7).0.doubtful(), 5, "it is in both slots");
        let (mut session, _) = open(&dir, 7);
        session.hand_over(9).expect("written");
        assert_eq!(open(&dir, 7).0.doubtful(), 5);
    }

    #[test]
    fn a_file_from_before_doubt_was_in_it_has_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut file, _) =
            SlotFile::open::<Value>(&dir.path().join("session"), PAGE_BYTES).expect("writable");
        file.write(&(SessionTag(2), 7_u64, 4_u64)).expect("written");
        let (session, found) = open(&dir, 7);
        assert_eq!(
            (session.handed(), session.doubtful(), found),
            (4, 0, Found::SameBoot)
        );
    }

    #[test]
    fn what_could_not_be_noted_is_noted_before_the_next_acknowledgement_or_the_session_begins_anew() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut session, _) = open(&dir, 7);
        let (full, _) = SlotFile::open::<Value>(Path::new("/dev/full"), PAGE_BYTES).expect("Linux has it");
        let medium = std::mem::replace(&mut session.file, full);
        session.hand_over(3).expect_err("no space left");
        session.hand_over(3).expect_err("still not noted");
        assert!(session.is_settled());
        session.doubt(2).expect_err("no space left");
        assert!(!session.is_settled());
        session.file = medium;
        session.hand_over(3).expect("written");
        assert_eq!(open(&dir, 7).0.handed(), 3);
    }
}
