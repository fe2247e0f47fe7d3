//! What the records of a lane say of time: the clock, what is known of its past errors, and what Kafka takes.

use std::time::{Duration, Instant};

use crate::clock::{Clock, Notes, Told};
use crate::message::{Seq, Stamp, Stored, rfc3339};
use crate::sink::RecordTimestamp;
use crate::sink::timing::{Next, Timing};
use crate::slots::SlotError;

/// How often a right time is noted for later boots: coarse enough to cost nothing, fine against any retention.
const SEEN_INTERVAL: Duration = Duration::from_hours(1);

/// How long a record of which Kafka takes no time waits for the clock to be synchronised, before it becomes a dead letter: a
/// time service that is reachable needs seconds, one behind a modem that dials minutes.
const GRACE: Duration = Duration::from_mins(10);

/// See the module documentation.
#[derive(Debug)]
pub struct Times {
    clock: Clock,
    notes: Notes,
    timing: Timing,
    basis: RecordTimestamp,
    /// When a right time was noted last.
    seen: Option<Instant>,
    /// There is no room for the fact about this boot; said once.
    is_full: bool,
    /// Since when Kafka has taken no time at all.
    hopeless_since: Option<Instant>,
    /// The message that was refused last, and how often in a row.
    refused: (Seq, u32),
}

impl Times {
    /// Nothing is known of what Kafka takes yet.
    #[must_use]
    pub fn new(clock: Clock, notes: Notes, basis: RecordTimestamp) -> Self {
        Self {
            clock,
            notes,
            timing: Timing::default(),
            basis,
            seen: None,
            is_full: false,
            hopeless_since: None,
            refused: (Seq::ZERO, 0),
        }
    }

    /// The clock of this machine.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What the records of a message say when they are sent now.
    #[must_use]
    pub fn tell(&self, stored: &Stored) -> Told {
        let mut told = self.notes.tell(stored);
        let now_ms = self.clock.now().unix_ms;
        let fit = self.timing.fit(self.wanted_ms(&told, now_ms), now_ms);
        told.record_ms = fit.record_ms;
        if fit.is_lowered {
            let before = told.clock.map(|clock| clock + "; ").unwrap_or_default();
            told.clock = Some(before + "ahead");
        }
        told
    }

    /// The time that a record should have.
    fn wanted_ms(&self, told: &Told, now_ms: i64) -> i64 {
        match self.basis {
            RecordTimestamp::Arrival => told.record_ms,
            RecordTimestamp::Send => now_ms.max(self.notes.floor_ms()),
        }
    }

    /// To be called before a record of the message is submitted.
    ///
    /// # Errors
    /// [`SlotError`]: it must not be submitted.
    pub fn submit(&mut self, stored: &Stored) -> Result<(), SlotError> {
        self.notes.submit(stored)
    }

    /// Whether the clock was synchronised in this boot and the fact about it is still to be made.
    #[must_use]
    pub fn is_correction_due(&self) -> bool {
        let correction = self.clock.correction();
        !self.is_full && correction.is_some_and(|correction| !self.notes.knows(correction.boot))
    }

    /// Whether it is known that the clock is synchronised.
    #[cfg(test)]
    pub(super) fn is_synchronised(&self) -> bool {
        self.clock.correction().is_some()
    }

    /// Makes the fact about this boot. No message may be half submitted, and `tail` is the last one stored.
    ///
    /// # Errors
    /// [`SlotError`]: there is none yet.
    pub fn correct(&mut self, tail: Seq) -> Result<(), SlotError> {
        let Some(correction) = self.clock.correction() else {
            return Ok(());
        };
        if self.notes.correct(correction, tail)? {
            tracing::info!(
                began_ms = correction.began_ms,
                "the clock is synchronised: earlier arrivals of this boot are corrected"
            );
        } else {
            self.is_full = true;
            tracing::warn!(
                "messages of too many boots are queued: those from before the synchronisation of this one are not corrected"
            );
        }
        Ok(())
    }

    /// What time itself changes: what Kafka takes is tried anew, a right time is noted. The clock is asked, so that it is
    /// known soon when it is synchronised.
    pub fn review(&mut self, now: Instant) {
        let stamp = self.clock.now();
        if self.timing.review(now, offset_ms(&stamp)) {
            tracing::info!("record times are no longer changed for Kafka, until it refuses them again");
        }
        let is_due = self
            .seen
            .is_none_or(|seen| now.duration_since(seen) > SEEN_INTERVAL);
        if stamp.synchronised && is_due && self.notes.knows(stamp.boot) {
            self.seen = Some(now);
            if let Err(error) = self.notes.see(stamp.boot, stamp.unix_ms) {
                tracing::debug!(%error, "cannot note the time");
            }
        }
    }

    /// Kafka refused the time of a record of this message, which was sent alone. What is to be done with it.
    pub fn refused(&mut self, stored: &Stored, now: Instant) -> Next {
        let before = if self.refused.0 == stored.seq {
            self.refused.1
        } else {
            0
        };
        self.refused = (stored.seq, before + 1);
        let told = self.notes.tell(stored);
        let stamp = self.clock.now();
        let wanted_ms = self.wanted_ms(&told, stamp.unix_ms);
        let sent_ms = self.timing.fit(wanted_ms, stamp.unix_ms).record_ms;
        let next = self
            .timing
            .refused(sent_ms, wanted_ms, stamp.unix_ms, (now, offset_ms(&stamp)));
        tracing::error!(
            refused = rfc3339(sent_ms),
            clock = rfc3339(stamp.unix_ms),
            lag_hours = self.timing.lag_ms() / 3_600_000,
            "Kafka refuses the time of a record: compare the clocks of this gateway and of Kafka; it is sent with another time"
        );
        let since = *self.hopeless_since.get_or_insert(now);
        match next {
            Next::GiveUp if !stamp.synchronised && now.duration_since(since) < GRACE => Next::Wait,
            next => next,
        }
    }

    /// How often the message that was refused last was refused alone.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.refused.1
    }

    /// Kafka took a record.
    pub const fn accepted(&mut self) {
        self.hopeless_since = None;
        self.timing.accepted();
    }

    /// Notes what a later start needs.
    ///
    /// # Errors
    /// [`SlotError`]: then a little more counts as submitted.
    pub fn finish(&mut self) -> Result<(), SlotError> {
        let stamp = self.clock.now();
        if stamp.synchronised {
            self.notes.see(stamp.boot, stamp.unix_ms)?;
        }
        self.notes.settle()
    }
}

/// How the wall clock stands against the time since boot.
fn offset_ms(stamp: &Stamp) -> i64 {
    let since_boot = i64::try_from(stamp.boot_ms).unwrap_or(i64::MAX);
    stamp.unix_ms.saturating_sub(since_boot)
}

#[cfg(test)]
mod tests;
