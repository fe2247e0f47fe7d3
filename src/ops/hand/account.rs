//! What this store says of its messages, for `edgeferry verify`: which of them need not be in Kafka.

use super::answer::Account;
use super::{Answer, Hand, HandError, HandLane, Output};
use crate::exit::Exit;
use crate::message::Seq;
use crate::queue::Reason;
use crate::verify::{Hole, LaneAccount};

impl Hand {
    pub(super) fn account(&self, output: Output<'_>) -> Result<Exit, HandError> {
        let lanes = self.lanes();
        let lanes = lanes.iter().map(|lane| self.lane_account(lane));
        let lanes = lanes.collect::<Result<Vec<_>, _>>()?;
        output(Answer::Account(Box::new(Account {
            gateway: self.identity.gateway.clone(),
            epoch: self.identity.epoch,
            imported: self.known().imported_count()?,
            lanes,
        })))?;
        Ok(Exit::Stopped)
    }

    /// The cursor comes first: what it has passed by then is in Kafka, and what is read of Kafka afterwards has it. Numbers come last:
    /// they may be of some messages more, which excuses too much by as many, and never too little.
    fn lane_account(&self, lane: &HandLane) -> Result<LaneAccount, HandError> {
        let cursor = lane.monitor.cursor();
        let letters = self.letter_places(&lane.name)?;
        let here = letters.count_within(Seq(1), cursor);
        let holes = lane.monitor.holes().into_iter();
        let balance = lane.monitor.status().balance;
        Ok(LaneAccount {
            lane: lane.name.clone(),
            cursor,
            queued: balance.queued,
            letters,
            letters_gone: balance.dead_lettered.saturating_sub(here),
            holes: holes
                .map(|hole| Hole {
                    first: hole.first,
                    last: hole.last,
                    reason: hole.reason.name().to_owned(),
                })
                .collect(),
            absent: balance.removed.sequences(),
            by_reason: Reason::ALL
                .into_iter()
                .map(|reason| (reason.name().to_owned(), balance.removed.of(reason)))
                .filter(|(_, count)| *count > 0)
                .collect(),
        })
    }
}
