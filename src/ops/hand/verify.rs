//! `verify`: reads every block and holds what is there against the ledger.

use super::answer::{FaultSeen, Verified};
use super::{Answer, Hand, HandError, HandLane, Output};
use crate::exit::Exit;
use crate::message::Seq;
use crate::queue::Balance;
use crate::queue::inspect::{Fault, Piece, Stretch};

/// Tries for a moment in which nothing moves: each takes microseconds.
const GLANCES: usize = 100;

impl Hand {
    pub(super) fn verify(&self, lane: Option<&str>, output: Output<'_>) -> Result<Exit, HandError> {
        let mut exit = Exit::Stopped;
        for lane in self.chosen(lane)? {
            let verified = self.verify_lane(&lane, output)?;
            let differs = verified.ledger.is_some_and(|ledger| ledger != verified.queued);
            if verified.faults > 0 || differs {
                exit = Exit::Storage;
            }
            output(Answer::Verified(verified))?;
        }
        Ok(exit)
    }

    fn verify_lane(&self, lane: &HandLane, output: Output<'_>) -> Result<Verified, HandError> {
        let before = Standing::of(lane);
        let oldest = lane.monitor.units().first().map_or(Seq(1), |unit| unit.first);
        let mut browser = lane.monitor.browse(oldest, before.last);
        let mut verified = Verified {
            lane: lane.name.clone(),
            blocks: 0,
            messages: 0,
            queued: 0,
            ledger: None,
            faults: 0,
        };
        while let Some(piece) = self.next_piece(&mut browser)? {
            match piece {
                Piece::Messages(messages) => {
                    verified.blocks += 1;
                    verified.messages += messages.len() as u64;
                    let queued = messages.iter().filter(|stored| stored.seq > before.cursor);
                    verified.queued += queued.count() as u64;
                }
                Piece::Fault(stretch, fault) => {
                    verified.faults += 1;
                    output(Answer::Fault(seen(lane, stretch, &fault)))?;
                }
                Piece::Hole(_) | Piece::Gone(_) | Piece::Wait => {}
            }
        }
        // Only while nothing moved do the two speak of the same messages.
        let after = Standing::of(lane);
        let still = before.cursor == after.cursor && before.balance.removed == after.balance.removed;
        let comparable = still && before.settled && verified.faults == 0;
        verified.ledger = comparable.then_some(before.balance.queued);
        Ok(verified)
    }
}

/// How a lane stood at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    cursor: Seq,
    last: Seq,
    balance: Balance,
    /// Nothing moved while the three were taken.
    settled: bool,
}

impl Standing {
    /// Tries for three that belong together, which a lane under load may not give.
    fn of(lane: &HandLane) -> Self {
        let take = || Self {
            cursor: lane.monitor.cursor(),
            last: lane.monitor.last(),
            balance: lane.monitor.status().balance,
            settled: false,
        };
        let mut standing = take();
        for _ in 0..GLANCES {
            let again = take();
            let settled = again == standing;
            standing = Self { settled, ..again };
            if settled {
                break;
            }
            standing.settled = false;
        }
        standing
    }
}

fn seen(lane: &HandLane, stretch: Stretch, fault: &Fault) -> FaultSeen {
    FaultSeen {
        lane: lane.name.clone(),
        first: stretch.first,
        last: stretch.last,
        what: fault.to_string(),
        delivered: stretch.last <= lane.monitor.cursor(),
    }
}
