//! What a source counts.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::info;

/// Totals since the start of the process: `received = stored + recognised + retained_known + second_copies + put_back`.
#[derive(Debug, Default)]
pub struct Counters {
    /// PUBLISH packets that came.
    pub received: AtomicU64,
    /// Handed to the queue.
    pub stored: AtomicU64,
    /// Redeliveries of a message that the queue already had.
    pub recognised: AtomicU64,
    /// Retained messages that came again although they were the newest known of their topic.
    pub retained_known: AtomicU64,
    /// Copies for a second subscription of a message that was stored for another one.
    pub second_copies: AtomicU64,
    /// Left with the broker, unacknowledged: the queue was full, or edgeferry was stopping.
    pub put_back: AtomicU64,
    /// Stored, but cut because the payload was over `max_packet_size`.
    pub oversize: AtomicU64,
    /// Stored, but came with QoS 0: the broker would not have sent it again.
    pub unprotected: AtomicU64,
    /// Connections that ended other than by a stop.
    pub reconnects: AtomicU64,
}

/// The totals at one moment, see [`Counters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// See [`Counters::received`].
    pub received: u64,
    /// See [`Counters::stored`].
    pub stored: u64,
    /// See [`Counters::recognised`].
    pub recognised: u64,
    /// See [`Counters::put_back`].
    pub put_back: u64,
    /// See [`Counters::reconnects`].
    pub reconnects: u64,
}

impl Counters {
    /// The totals now. They are read one after the other.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let total = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            received: total(&self.received),
            stored: total(&self.stored),
            recognised: total(&self.recognised),
            put_back: total(&self.put_back),
            reconnects: total(&self.reconnects),
        }
    }

    /// Says the totals: what an operator compares with the broker's own after a stop.
    pub(super) fn say(&self, broker: &str) {
        let total = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        info!(
            broker,
            received = total(&self.received),
            stored = total(&self.stored),
            recognised = total(&self.recognised),
            retained_known = total(&self.retained_known),
            second_copies = total(&self.second_copies),
            put_back = total(&self.put_back),
            oversize = total(&self.oversize),
            unprotected = total(&self.unprotected),
            reconnects = total(&self.reconnects),
            "totals since the start"
        );
    }
}

/// Adds one. Relaxed: the totals order nothing.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
