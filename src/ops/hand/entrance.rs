//! The way into a lane for what a person puts there: the usual one, so limits and durability hold.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::watch;

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
/// Beside a sink, room may come at any moment, or, with a lane that is held, never: nobody else gets a turn meanwhile, and
/// one that left is not noticed. A sink that is at work gives room within seconds.
pub(super) const HELD_PATIENCE: Duration = Duration::from_secs(30);

/// See the module documentation.
pub(super) struct Entrance<'a> {
    hand: &'a Hand,
    runtime: tokio::runtime::Runtime,
    /// With a queue that takes nothing; `None` waits until there is room.
    patience: Option<Duration>,
}

/// A batch that was given up when a part of it was in the writer's hands: it may be stored at any time.
#[derive(Debug)]
pub(super) struct Unsettled {
    pub(super) lane: String,
    offered: Position,
    durable: watch::Receiver<Position>,
}

impl<'a> Entrance<'a> {
    /// Beside a sink it waits for room.
    pub(super) fn new(hand: &'a Hand) -> Result<Self, HandError> {
        Self::with(hand, (!hand.delivers).then_some(FULL_PATIENCE))
    }

    /// Beside a sink, too, it gives up when there is no room.
    pub(super) fn bounded(hand: &'a Hand) -> Result<Self, HandError> {
        let patience = if hand.delivers {
            hand.held_patience
        } else {
            FULL_PATIENCE
        };
        Self::with(hand, Some(patience))
    }

    fn with(hand: &'a Hand, patience: Option<Duration>) -> Result<Self, HandError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        Ok(Self {
            hand,
            runtime,
            patience,
        })
    }

    /// Hands the batch to the writer and waits until it is durable. The way in is held no longer than that: the writer
    /// ends when all are gone.
    ///
    /// # Errors
    /// [`HandError`]; with a queue that takes nothing it is known later what became of the batch: see [`Self::settle`].
    pub(super) fn offer(&self, lane: &HandLane, batch: Vec<Arrival>) -> Result<(), HandError> {
        let door = lane.door.lock().unwrap_or_else(PoisonError::into_inner);
        let intake = door.as_ref().ok_or_else(|| self.no_door(lane))?.intake();
        drop(door);
        let mut offered = 0;
        let durable = intake.durable();
        let outcome = self
            .hand_over(lane, &intake, batch, &mut offered)
            .and_then(|()| self.until_durable(lane, durable.clone(), offered));
        let is_given_up = matches!(
            outcome,
            Err(HandError::Full | HandError::NotStored(_) | HandError::Reloading)
        );
        if is_given_up && offered > 0 {
            *self.hand.unsettled() = Some(Unsettled {
                lane: lane.name.clone(),
                offered,
                durable,
            });
        }
        outcome
    }

    fn hand_over(
        &self,
        lane: &HandLane,
        intake: &Intake,
        batch: Vec<Arrival>,
        offered: &mut Position,
    ) -> Result<(), HandError> {
        let count = batch.len() as Position;
        for (position, arrival) in (1..).zip(batch) {
            let room = self.reserve(lane, intake, arrival.cost())?;
            intake.offer_at(position, arrival, room, position == count)?;
            *offered = position;
        }
        Ok(())
    }

    fn until_durable(
        &self,
        lane: &HandLane,
        mut durable: watch::Receiver<Position>,
        count: Position,
    ) -> Result<(), HandError> {
        self.wait(lane, || {
            let reached = self.runtime.block_on(async {
                tokio::time::timeout(LOOK, durable.wait_for(|at| *at >= count))
                    .await
                    .is_ok()
            });
            reached.then_some(())
        })
    }

    /// Waits until a batch that was given up is where it can be found.
    ///
    /// # Errors
    /// [`HandError::Full`], [`HandError::NotStored`]: not yet.
    pub(super) fn settle(&self) -> Result<(), HandError> {
        let Some(unsettled) = self.hand.unsettled().take() else {
            return Ok(());
        };
        // A lane that is gone has no writer any more.
        let Ok(lane) = self.hand.lane(&unsettled.lane) else {
            return Ok(());
        };
        let outcome = self.until_durable(&lane, unsettled.durable.clone(), unsettled.offered);
        if outcome.is_err() {
            *self.hand.unsettled() = Some(unsettled);
        }
        outcome
    }

    /// Waits until the queue is not full.
    ///
    /// # Errors
    /// [`HandError::Full`]: nothing was taken.
    pub(super) fn room(&self, lane: &HandLane) -> Result<(), HandError> {
        self.wait(lane, || {
            let is_full = lane.monitor.status().full;
            if is_full {
                std::thread::park_timeout(LOOK);
            }
            (!is_full).then_some(())
        })
    }

    fn no_door(&self, lane: &HandLane) -> HandError {
        if let Err(over) = self.hand.go_on() {
            return over;
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

    /// Tries until there is an answer, a stop begins, or the patience with a queue that takes nothing is over.
    fn wait<T>(&self, lane: &HandLane, mut attempt: impl FnMut() -> Option<T>) -> Result<T, HandError> {
        let mut held = Duration::ZERO;
        loop {
            if let Some(answer) = attempt() {
                return Ok(answer);
            }
            let status = lane.monitor.status();
            let is_held = status.full || status.failure.is_some();
            match self.hand.go_on() {
                // What the writer has is durable in a moment: then it is known what became of the batch.
                Err(HandError::Reloading) if !is_held => {}
                outcome => outcome?,
            }
            held = match is_held {
                true => held + LOOK,
                false => Duration::ZERO,
            };
            if self.patience.is_some_and(|patience| held >= patience) {
                return Err(status.failure.map_or(HandError::Full, HandError::NotStored));
            }
        }
    }
}
