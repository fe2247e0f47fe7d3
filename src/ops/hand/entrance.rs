//! The way into a lane for what a person puts there: the usual one, so limits and durability hold.

use std::sync::PoisonError;
use std::time::Duration;

use super::{Hand, HandError, HandLane, LOOK};
use crate::message::Arrival;
use crate::queue::intake::Position;
use crate::queue::{Intake, Room};

/// A batch is stored and noted when it has this many messages or bytes: one group of the writer, so that noting costs one
/// write for each megabyte.
pub(super) const BATCH_MESSAGES: usize = 1000;
pub(super) const BATCH_BYTES: usize = 1024 * 1024;
/// Without a sink a full queue stays full; this long is left to the writer to begin a new generation and trim.
const FULL_PATIENCE: Duration = Duration::from_secs(5);

/// See the module documentation.
pub(super) struct Entrance<'a> {
    hand: &'a Hand,
    runtime: tokio::runtime::Runtime,
}

impl<'a> Entrance<'a> {
    pub(super) fn new(hand: &'a Hand) -> Result<Self, HandError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        Ok(Self { hand, runtime })
    }

    /// Hands the batch to the writer and waits until it is durable. The way in is held no longer than that: the writer
    /// ends when all are gone.
    pub(super) fn offer(&self, lane: &HandLane, batch: Vec<Arrival>) -> Result<(), HandError> {
        let door = lane.door.lock().unwrap_or_else(PoisonError::into_inner);
        let intake = door.as_ref().ok_or_else(|| self.no_door(lane))?.intake();
        drop(door);
        let count = batch.len() as Position;
        for (position, arrival) in (1..).zip(batch) {
            let room = self.reserve(lane, &intake, arrival.cost())?;
            intake.offer_at(position, arrival, room, position == count)?;
        }
        let mut durable = intake.durable();
        self.wait(lane, || {
            let reached = self.runtime.block_on(async {
                tokio::time::timeout(LOOK, durable.wait_for(|at| *at >= count))
                    .await
                    .is_ok()
            });
            reached.then_some(())
        })
    }

    fn no_door(&self, lane: &HandLane) -> HandError {
        if self.hand.is_closing() {
            return HandError::Stopping;
        }
        let name = &lane.name;
        HandError::Usage(format!(
            "no route uses the lane {name:?} any more: it is emptied and takes nothing in; write --into with another one"
        ))
    }

    fn reserve(&self, lane: &HandLane, intake: &Intake, cost: usize) -> Result<Room, HandError> {
        let room = self.wait(lane, || {
            self.runtime
                .block_on(async { tokio::time::timeout(LOOK, intake.reserve(cost)).await.ok() })
        })?;
        Ok(room?)
    }

    /// Tries until there is an answer, a stop begins, or the queue is full and nobody empties it.
    fn wait<T>(&self, lane: &HandLane, mut attempt: impl FnMut() -> Option<T>) -> Result<T, HandError> {
        let mut full = Duration::ZERO;
        loop {
            if let Some(answer) = attempt() {
                return Ok(answer);
            }
            self.hand.go_on()?;
            full = match lane.monitor.status().full {
                true => full + LOOK,
                false => Duration::ZERO,
            };
            if !self.hand.delivers && full >= FULL_PATIENCE {
                return Err(HandError::Full);
            }
        }
    }
}
