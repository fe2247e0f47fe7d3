//! Work on stored messages that others ask for and the writer does: it is the only one that changes what is stored.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::message::Stored;
use crate::queue::codec::EncodeError;
use crate::queue::store::StoreError;
use crate::slots::SlotError;

/// Says of a message whether it is to be removed. Called on the writer's thread, for every message that may be.
pub type Filter = Arc<dyn Fn(&Stored) -> bool + Send + Sync>;

/// Why messages could not be removed, or not all of them: what was removed is counted in the ledger all the same.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The writer ended.
    #[error("the queue is closed")]
    Closed,
    /// The store cannot be read or changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger cannot be written.
    #[error("ledger: {0}")]
    Ledger(#[from] SlotError),
    /// More stretches of the log are rewritten than the ledger can remember.
    #[error("too many stretches of the log are rewritten already; some have to be delivered first")]
    TooMany,
    /// What a start found at the end of the log is not written anew yet: nothing is removed before.
    #[error("the end of the log could not be written anew yet; try again")]
    Unproven,
    /// What is left cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl PurgeError {
    /// Whether there is no space left for it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Store(error) => error.is_full(),
            Self::Ledger(error) => error.is_full(),
            Self::Closed | Self::TooMany | Self::Unproven | Self::Encode(_) => false,
        }
    }
}

/// What a purge came to: how many messages were removed.
pub type Purged = Result<u64, PurgeError>;

/// One purge that was asked for.
pub(super) struct Job {
    pub(super) filter: Filter,
    pub(super) answer: SyncSender<Purged>,
}

/// Purges that wait for the writer. One at a time and a few behind it: whoever asks waits for the answer.
#[derive(Default)]
pub(super) struct Jobs(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    waiting: Vec<Job>,
    closed: bool,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Jobs")
    }
}

impl Jobs {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a job for the writer. The answer comes through what is returned; it hangs up when the writer ends.
    pub(super) fn post(&self, filter: Filter) -> Receiver<Purged> {
        let (answer, answered) = sync_channel(1);
        let mut inner = self.inner();
        if !inner.closed {
            inner.waiting.push(Job { filter, answer });
        }
        answered
    }

    /// What was asked for since the last call.
    pub(super) fn take(&self) -> Vec<Job> {
        std::mem::take(&mut self.inner().waiting)
    }

    /// The writer ends: whoever waits is told, and so is whoever asks later.
    pub(super) fn close(&self) {
        let mut inner = self.inner();
        inner.closed = true;
        inner.waiting.clear();
    }
}
