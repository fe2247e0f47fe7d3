//! `redrive`: letters go back into a queue, as messages that keep their ids.
//!
//! Batch by batch: noted as pending, offered, durable, noted as gone. A crash in between is mended at the next start, or
//! the next redrive: what is found in the queue is taken out here, before the sink begins. Each letter that Kafka refuses
//! again is a letter again, with a place of its own, which this redrive does not come to any more.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{LetterBox, LetterMatcher};
use crate::exit::Exit;
use crate::message::{Arrival, Delivery, Origin, Seq, Stored};
use crate::ops::hand::answer::Redriven;
use crate::ops::hand::entrance::{BATCH_BYTES, BATCH_MESSAGES, Entrance};
use crate::ops::hand::format::nobodys;
use crate::ops::hand::request::LetterFilter;
use crate::ops::hand::{Answer, Hand, HandError, HandLane, KnownError, Output, origin};
use crate::queue::Reason;
use crate::queue::inspect::Piece;
use crate::sink::dead_letter::Pending;

impl Hand {
    pub(in crate::ops::hand) fn redrive(
        &self,
        filter: &LetterFilter,
        into: Option<&str>,
        output: Output<'_>,
    ) -> Result<Exit, HandError> {
        let matcher = LetterMatcher::new(filter)?;
        let boxes = self.letter_boxes(filter.message.lane.as_deref())?;
        // Left by an earlier one: the lane could not be read at the start, or was full.
        Entrance::bounded(self)?.settle()?;
        self.reconcile_letters()?;
        for letters in boxes {
            let lane = self.taker(&letters, into)?;
            let mut redrive = Redrive::new(self, &letters, lane)?;
            let worked = redrive.all(&matcher);
            output(Answer::Redriven(redrive.result))?;
            worked?;
            letters.letters.tidy()?;
        }
        Ok(Exit::Stopped)
    }

    /// The lane that takes the letters. One that is no more is no reason to stop while it has none.
    fn taker(&self, letters: &LetterBox, into: Option<&str>) -> Result<Option<Arc<HandLane>>, HandError> {
        match into {
            Some(name) => self.lane(name).map(Some),
            None => Ok(self.lane(&letters.lane).ok()),
        }
    }

    /// Finds out what became of letters that were handed to a queue when a crash came.
    pub(in crate::ops::hand) fn reconcile_letters(&self) -> Result<(), HandError> {
        for letters in self.boxes() {
            if let Some(pending) = letters.letters.pending() {
                let numbers = self.arrived(&letters, &pending)?;
                tracing::info!(
                    lane = letters.lane,
                    handed_over = pending.numbers.len(),
                    arrived = numbers.len(),
                    "a redrive was interrupted"
                );
                letters.letters.arrived(&numbers)?;
            }
        }
        Ok(())
    }

    /// Which of the letters that were handed over are in the queue.
    fn arrived(&self, letters: &LetterBox, pending: &Pending) -> Result<Vec<Seq>, HandError> {
        let Ok(lane) = self.lane(&pending.lane) else {
            return Ok(Vec::new());
        };
        let mut origins = HashMap::new();
        let first = pending.numbers.first().copied().unwrap_or_default();
        let last = pending.numbers.last().copied().unwrap_or_default();
        let _some = self.walk_all(letters, first, |kept| {
            if kept.number > last {
                return Ok(ControlFlow::Break(()));
            }
            if pending.numbers.binary_search(&kept.number).is_ok() {
                let number = kept.number;
                let stored = kept.letter.into_stored();
                origins.insert(origin(&self.identity, &letters.lane, &stored), number);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        found(&lane, pending.behind, &origins)
    }
}

/// The letters among `origins` that are in the lane behind `behind`.
fn found(lane: &HandLane, behind: Seq, origins: &HashMap<Origin, Seq>) -> Result<Vec<Seq>, HandError> {
    let mut numbers = Vec::new();
    let mut browser = lane.monitor.browse(behind.next(), Seq(u64::MAX));
    while let Some(piece) = browser.next_piece()? {
        match piece {
            Piece::Messages(messages) => {
                let places = messages
                    .iter()
                    .filter_map(|stored| stored.arrival.origin.as_deref());
                numbers.extend(places.filter_map(|place| origins.get(place)));
            }
            Piece::Wait => return Err(KnownError::NotYet.into()),
            Piece::Hole(_) | Piece::Gone(_) | Piece::Fault(..) => {}
        }
    }
    Ok(numbers)
}

/// The redrive of one lane's letters.
struct Redrive<'a> {
    hand: &'a Hand,
    letters: &'a LetterBox,
    lane: Option<Arc<HandLane>>,
    entrance: Entrance<'a>,
    batch: Vec<(Seq, Arrival)>,
    batch_bytes: usize,
    result: Redriven,
}

impl<'a> Redrive<'a> {
    fn new(hand: &'a Hand, letters: &'a LetterBox, lane: Option<Arc<HandLane>>) -> Result<Self, HandError> {
        let result = Redriven {
            lane: letters.lane.clone(),
            into: lane
                .as_ref()
                .map_or_else(|| letters.lane.clone(), |lane| lane.name.clone()),
            ..Redriven::default()
        };
        Ok(Self {
            hand,
            letters,
            lane,
            entrance: Entrance::bounded(hand)?,
            batch: Vec::new(),
            batch_bytes: 0,
            result,
        })
    }

    fn all(&mut self, matcher: &LetterMatcher<'_>) -> Result<(), HandError> {
        let is_settled = self.hand.settled(self.letters)?;
        let (hand, letters) = (self.hand, self.letters);
        let _all = hand.walk_letters(letters, matcher, |found| {
            if found.stored.arrival.oversize.is_some() {
                self.result.cut += 1;
            } else if !is_settled(&found.stored) {
                self.result.under_way += 1;
            } else {
                self.add(found.number, found.stored)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.flush()
    }

    fn add(&mut self, number: Seq, stored: Stored) -> Result<(), HandError> {
        let arrival = self.arrival(stored);
        let is_unwanted = |lane: &Arc<HandLane>| {
            let outcome = lane.outcome(&arrival, self.hand.identity.epoch);
            outcome.is_filtered()
        };
        if self.lane.as_ref().is_some_and(is_unwanted) {
            // It would be gone: a letter waits until somebody changes the routes, or purges it.
            self.result.unwanted += 1;
            return Ok(());
        }
        if self.batch.len() >= BATCH_MESSAGES || self.batch_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        self.batch_bytes += arrival.cost();
        self.batch.push((number, arrival));
        Ok(())
    }

    /// The message as it goes back: with its id, and as nobody's redelivery.
    fn arrival(&self, stored: Stored) -> Arrival {
        let origin = origin(&self.hand.identity, &self.letters.lane, &stored);
        let Delivery {
            qos, dup, retained, ..
        } = stored.arrival.delivery;
        Arrival {
            delivery: Delivery {
                qos,
                dup,
                retained,
                ..nobodys()
            },
            origin: Some(Box::new(origin)),
            ..stored.arrival
        }
    }

    fn flush(&mut self) -> Result<(), HandError> {
        self.batch_bytes = 0;
        let (numbers, batch): (Vec<Seq>, Vec<Arrival>) = std::mem::take(&mut self.batch).into_iter().unzip();
        if batch.is_empty() {
            return Ok(());
        }
        let lane = self.lane.clone().ok_or_else(|| self.no_lane())?;
        let origins: HashMap<Origin, Seq> = batch
            .iter()
            .zip(&numbers)
            .filter_map(|(arrival, number)| Some((arrival.origin.as_deref()?.clone(), *number)))
            .collect();
        // Before anything is handed over, so that nothing waits in front of a full queue when this is given up.
        self.entrance.room(&lane)?;
        let dropped = || lane.monitor.status().balance.removed.of(Reason::DroppedNewest);
        let dropped_before = dropped();
        let behind = lane.monitor.last();
        self.letters.letters.begin(Pending {
            lane: lane.name.clone(),
            behind,
            numbers: numbers.clone(),
        })?;
        self.entrance.offer(&lane, batch)?;
        // With `drop-newest` some of it may have been acknowledged and not stored.
        let arrived = match dropped() == dropped_before {
            true => numbers.clone(),
            false => found(&lane, behind, &origins)?,
        };
        self.letters.letters.arrived(&arrived)?;
        self.result.letters += arrived.len() as u64;
        if arrived.len() < numbers.len() {
            return Err(HandError::Full);
        }
        Ok(())
    }

    fn no_lane(&self) -> HandError {
        let name = &self.letters.lane;
        HandError::Usage(format!(
            "the lane {name:?} is no more: write --into with the lane that is to take its letters"
        ))
    }
}
