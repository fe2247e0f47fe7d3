//! The [`Facts`] of one lane on disk: `clock` in its folder.

use std::path::Path;

use crate::clock::facts::{Correction, Facts, Opened, Told};
use crate::message::{Seq, Stored};
use crate::slots::{PAGE_BYTES, SlotError, SlotFile};

const FILE: &str = "clock";
/// Room for all facts: 128 of up to 60 bytes.
const SLOT_BYTES: usize = 2 * PAGE_BYTES;

/// See the module documentation.
#[derive(Debug)]
pub struct Notes {
    file: SlotFile,
    facts: Facts,
}

impl Notes {
    /// Opens or creates the file in a lane's folder. A log that had messages before it had the file may have submitted any of
    /// them.
    ///
    /// # Errors
    /// [`SlotError::Io`].
    pub fn open(folder: &Path, is_new: bool, at: Opened) -> Result<Self, SlotError> {
        let (file, found) = SlotFile::open::<Facts>(&folder.join(FILE), SLOT_BYTES)?;
        let unknown = || match is_new {
            true => Facts::default(),
            false => Facts::unknown(at.tail),
        };
        let is_noted = found.is_some();
        let mut facts = found.unwrap_or_else(unknown);
        facts.open(at);
        let mut notes = Self {
            file,
            facts: facts.clone(),
        };
        // Without it the next start would take what comes now for what was there before.
        if !is_noted {
            notes.put(facts)?;
        }
        Ok(notes)
    }

    /// What is said of a message.
    #[must_use]
    pub fn tell(&self, stored: &Stored) -> Told {
        self.facts.tell(stored.seq, &stored.arrival)
    }

    /// To be called before a message is submitted: that it goes out as it stands, if it does, is durable when this returns.
    ///
    /// # Errors
    /// [`SlotError`]: it must not be submitted.
    pub fn submit(&mut self, stored: &Stored) -> Result<(), SlotError> {
        if !self.facts.is_as_it_stood(stored.seq, &stored.arrival) {
            return Ok(());
        }
        if !self.facts.is_reserved(stored.seq) {
            let mut facts = self.facts.clone();
            facts.reserve(stored.seq);
            self.put(facts)?;
        }
        self.facts.submitted(stored.seq);
        Ok(())
    }

    /// Whether there is a fact about this boot.
    #[must_use]
    pub fn knows(&self, boot: u64) -> bool {
        self.facts.knows(boot)
    }

    /// Makes the fact about a boot; durable when this returns. False when there is no room for it.
    ///
    /// # Errors
    /// [`SlotError`]: there is none yet.
    pub fn correct(&mut self, correction: Correction, tail: Seq) -> Result<bool, SlotError> {
        let mut facts = self.facts.clone();
        let is_made = facts.correct(correction, tail);
        if is_made {
            self.put(facts)?;
        }
        Ok(is_made)
    }

    /// Notes a right time, for later boots.
    ///
    /// # Errors
    /// [`SlotError`]: an older one stays.
    pub fn see(&mut self, boot: u64, now_ms: i64) -> Result<(), SlotError> {
        let mut facts = self.facts.clone();
        facts.see(boot, now_ms);
        self.put(facts)
    }

    /// Notes what was submitted, exactly.
    ///
    /// # Errors
    /// [`SlotError`]: then a little more counts as submitted.
    pub fn settle(&mut self) -> Result<(), SlotError> {
        let mut facts = self.facts.clone();
        facts.settle();
        self.put(facts)
    }

    /// A right time that the present is certainly behind; 0 when none is known.
    #[must_use]
    pub fn floor_ms(&self) -> i64 {
        self.facts.floor_ms()
    }

    fn put(&mut self, facts: Facts) -> Result<(), SlotError> {
        self.file.write_beside_synced(&facts)?;
        self.file.sync()?;
        self.facts = facts;
        Ok(())
    }
}
