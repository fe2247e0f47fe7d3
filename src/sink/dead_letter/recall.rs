//! Which letters are of messages that the cursor has not passed: they are not kept again.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::KeepError;
use super::store::{DeadLetters, RECALLED_MAX};
use super::walk::read;
use crate::clock;
use crate::message::Seq;
use crate::queue::store::{Found, RawBlock, StoreError};

/// How long a recall waits, all in all, for generations that are being read from raw bytes. A slow card reads 80 MiB
/// meanwhile, and the start of a lane waits for nothing else that long.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks again.
const LOOK: Duration = Duration::from_millis(50);

impl DeadLetters {
    /// Looks which letters are of messages behind `cursor`, up to `tail`: a crash came before the cursor passed them. One
    /// behind the tail is of another log, which is no more. One that damage hides, or that cannot be read in time, is kept
    /// once more: that is said in the log.
    ///
    /// # Errors
    /// [`KeepError::Unreadable`]: a key is missing.
    pub fn recall(&self, cursor: Seq, tail: Seq) -> Result<(), KeepError> {
        let deadline = clock::instant() + PATIENCE;
        let mut at = self.end().previous();
        for _ in 0..RECALLED_MAX {
            if at == Seq::ZERO {
                break;
            }
            let found = match self.read_by(at, deadline) {
                Ok(found) => found,
                Err(StoreError::Salvaging) => {
                    report(at, &StoreError::Salvaging);
                    break;
                }
                Err(error) => {
                    report(at, &error);
                    None
                }
            };
            let Some(raw) = found else {
                at = self.before_unit_of(at);
                continue;
            };
            at = raw.first.previous();
            if self.recall_block(&raw, cursor, tail)? {
                break;
            }
        }
        if !self.known().is_empty() {
            self.is_unproven.store(true, Ordering::Relaxed);
            if let Err(error) = self.prove() {
                // Whoever keeps the next one hears of it, and the lane is held.
                tracing::debug!(%error, "cannot write the last dead letter anew");
            }
        }
        Ok(())
    }

    /// The last letter may be in the page cache alone, if a crash came before it was synced, or its sync failed. Its message is
    /// not kept again and the cursor will pass it, so it is written anew before that. Letters before it were synced before it
    /// was written, and those that the cursor has passed before that.
    ///
    /// # Errors
    /// [`StoreError`]; to be called again before anything is kept.
    pub(super) fn prove(&self) -> Result<(), StoreError> {
        if self.is_unproven.load(Ordering::Relaxed) {
            self.store.renew_behind(self.end().previous().previous())?;
            self.is_unproven.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The last block up to `at` in its unit; `None` when there is none.
    fn read_by(&self, at: Seq, deadline: Instant) -> Result<Option<RawBlock>, StoreError> {
        loop {
            match self.store.read(at) {
                Ok(Found::Block(raw)) if raw.first <= at => return Ok(Some(raw)),
                Ok(Found::Block(_) | Found::Nothing) => return Ok(None),
                Ok(Found::Salvaging) | Err(StoreError::Salvaging) if clock::instant() < deadline => {
                    std::thread::park_timeout(LOOK);
                }
                Ok(Found::Salvaging) => return Err(StoreError::Salvaging),
                Err(error) => return Err(error),
            }
        }
    }

    /// The last number that may be in front of the unit in which `at` would be.
    fn before_unit_of(&self, at: Seq) -> Seq {
        let units = self.store.units();
        let unit = units.iter().rev().find(|unit| unit.first <= at);
        unit.map_or(Seq::ZERO, |unit| unit.first.previous())
    }

    /// True when the cursor has passed what is in front of it.
    fn recall_block(&self, raw: &RawBlock, cursor: Seq, tail: Seq) -> Result<bool, KeepError> {
        let Some(block) = read(raw, &self.keys)? else {
            return Ok(false);
        };
        for (_, letter) in block.messages.into_iter().rev() {
            if letter.seq <= cursor {
                return Ok(true);
            }
            if letter.seq <= tail {
                self.decide(letter);
            }
        }
        Ok(false)
    }
}

fn report(at: Seq, error: &StoreError) {
    tracing::error!(
        %at,
        %error,
        "it is not known of which messages there are dead letters already: those that the cursor has not passed may be kept, \
         counted and forwarded once more, under the same id; with exactly-once they count as delivered where Kafka's cursor has \
         passed them"
    );
}
