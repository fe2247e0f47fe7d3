//! The way into the queue: a channel bounded in bytes, and receipts that travel with the messages.
//!
//! Each source has its own [`Intake`]. It first reserves [`Room`] (this waits while the queue pushes back),
//! then hands over the arrival. The writer confirms receipts in order once a group is durable; the source
//! watches [`Intake::durable`].

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::faults;
use crate::message::Arrival;

/// Number of an arrival at one source, ascending. It is the arrival's `delivery.position`.
pub type Position = u64;

/// Memory for messages that arrived and are not durable yet, shared by all sources of a lane.
///
/// 2 MiB: twice the largest group, so that the next one gathers while one is written; a twentieth of the memory goal.
/// Several lanes share it.
/// A larger message takes the whole budget for itself.
pub const BUDGET_BYTES: usize = 2 * 1024 * 1024;

/// The writer ended: nothing can be stored any more in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue is closed")]
pub struct Closed;

/// Reserved bytes of the budget; given back when the message it was reserved for is durable (dropped).
#[derive(Debug)]
pub struct Room(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// The promise that travels with an arrival. Dropping it unconfirmed promises nothing.
#[derive(Debug)]
pub struct Receipt {
    position: Position,
    durable: Arc<watch::Sender<Position>>,
}

impl Receipt {
    /// Says: this message, and every earlier one of its source, survives power loss.
    pub fn confirm(self) {
        self.durable.send_replace(self.position);
    }
}

/// What goes from a source to the writer.
#[derive(Debug)]
pub struct Offer {
    /// The message.
    pub arrival: Arrival,
    /// To be confirmed once it is durable.
    pub receipt: Receipt,
    /// The source's window is full: waiting for more would only cost time.
    pub commit_now: bool,
    /// Budget it occupies.
    pub room: Room,
}

/// From the sources to the writer. The channel has no bound of its own, whose slots would all be there from the beginning: each
/// offer in it holds its [`Room`], so the budget is the bound.
#[expect(
    clippy::disallowed_methods,
    reason = "the budget is the bound: each offer holds its room"
)]
pub(super) fn offers() -> (Sender<Offer>, Receiver<Offer>) {
    channel()
}

/// One source's entrance.
#[derive(Debug)]
pub struct Intake {
    /// Bytes of the whole budget.
    memory: usize,
    budget: Arc<Semaphore>,
    offers: Sender<Offer>,
    durable: Arc<watch::Sender<Position>>,
}

impl Intake {
    /// An entrance to the writer behind `offers`.
    pub(super) fn new(memory: usize, budget: Arc<Semaphore>, offers: Sender<Offer>) -> Self {
        Self {
            memory,
            budget,
            offers,
            durable: Arc::new(watch::Sender::new(0)),
        }
    }

    /// An entrance with a budget of its own and no queue behind it, and the end at which a writer would be: for the bridge without
    /// a store that the benchmark compares with, and for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn detached() -> (Self, Receiver<Offer>) {
        let (offers, received) = offers();
        (
            Self::new(BUDGET_BYTES, Arc::new(Semaphore::new(BUDGET_BYTES)), offers),
            received,
        )
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> (Self, Receiver<Offer>) {
        Self::detached()
    }

    /// Waits until `cost` bytes (see [`Arrival::cost`]) fit into the budget. Cancel safe.
    ///
    /// # Errors
    /// [`Closed`] when the writer ended.
    pub async fn reserve(&self, cost: usize) -> Result<Room, Closed> {
        let bytes = u32::try_from(cost.min(self.memory)).map_err(|_| Closed)?;
        let permit = Arc::clone(&self.budget)
            .acquire_many_owned(bytes)
            .await
            .map_err(|_| Closed)?;
        Ok(Room(permit))
    }

    /// Bytes of the budget that this entrance shares with others.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.memory
    }

    /// Hands an arrival to the writer. Never waits: whoever has room may.
    ///
    /// # Errors
    /// [`Closed`] when the writer ended.
    pub fn offer(&self, arrival: Arrival, room: Room, commit_now: bool) -> Result<(), Closed> {
        let position = arrival.delivery.position;
        self.offer_at(position, arrival, room, commit_now)
    }

    /// The same for an arrival whose own position is another gateway's: `position` is what gets confirmed.
    ///
    /// # Errors
    /// [`Closed`] when the writer ended.
    pub fn offer_at(
        &self,
        position: Position,
        arrival: Arrival,
        room: Room,
        commit_now: bool,
    ) -> Result<(), Closed> {
        if faults::omits(faults::ACK_WAITS) {
            self.durable.send_replace(position);
        }
        let receipt = Receipt {
            position,
            durable: Arc::clone(&self.durable),
        };
        let offer = Offer {
            arrival,
            receipt,
            commit_now,
            room,
        };
        self.offers.send(offer).map_err(|_| Closed)
    }

    /// The highest confirmed position of this source; 0 before the first.
    #[must_use]
    pub fn durable(&self) -> watch::Receiver<Position> {
        self.durable.subscribe()
    }
}
