//! Where a log goes on, from what its marks and its store say.

use crate::message::Seq;
use crate::queue::codec::read_chunk;
use crate::queue::ledger::{Hole, Ledger, Reason};
use crate::queue::marks::{RESERVATION, Values};
use crate::queue::store::{Extent, Found, Store};
use crate::queue::writer::Unproven;
use crate::slots::SlotError;

/// Where the log goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Sequence of the next message.
    pub(super) next: Seq,
    pub(super) values: Values,
    /// Sequences that are left out because it cannot be seen which of them were used.
    pub(super) skipped: Option<Hole>,
    /// What the watermark does not know.
    pub(super) unproven: Option<Unproven>,
}

/// Without marks, a generation that is set aside is taken to have used this many sequences at most: ten times
/// what 16 MiB hold of the smallest messages, all alike and compressed.
const USED_UNSEEN: u64 = 1 << 32;
/// And what a start that left these out has used behind them, of which nothing is left: as many as are reserved at a time.
const USED_SINCE: u64 = RESERVATION;

/// A store without its ledger: the messages before the cursor that are not accounted for were removed or never there.
pub(super) fn account_for(found: &Values, ledger: &Ledger) -> Result<(), SlotError> {
    match found.cursor.0.saturating_sub(found.done()) {
        0 => Ok(()),
        count => {
            tracing::warn!(
                messages = count,
                "the ledger is lost: what became of these messages is not known any more"
            );
            ledger.count(Reason::Skipped, count, true)
        }
    }
}

/// How far the store reaches without a gap behind the watermark. Blocks behind a gap may be what an interrupted group left,
/// or all that is left of many: which sequences were used cannot be seen. What the ledger knows to be gone is no gap.
pub(super) fn reach(store: &impl Store, ledger: &Ledger, durable: Seq, extent: Extent) -> Extent {
    let mut last = durable;
    loop {
        if let Some(hole) = ledger.hole_at(last.next())
            && hole.reason != Reason::Skipped
        {
            last = hole.last;
            continue;
        }
        let Ok(Found::Block(raw)) = store.read(last.next()) else {
            break;
        };
        let end = raw.chunks.first().and_then(|chunk| read_chunk(chunk).ok());
        match end.map(|(header, _)| header.last()) {
            Some(end) if raw.first <= last.next() && end > last => last = end,
            _ => break,
        }
    }
    match extent.last {
        Some(end) if end > last => Extent {
            last: Some(last),
            unsure: true,
            ..extent
        },
        _ => extent,
    }
}

/// Decides where the log goes on, from what the marks and the store say.
///
/// A tail that the marks call durable and the store does not have may be lost (the reader finds out, after salvage);
/// then the next sequence is one that was never used, because the lost ones may have reached Kafka. So it is when that
/// cannot be seen.
pub(super) fn place(found: Option<Values>, extent: Extent, ledger: &Ledger) -> Place {
    let begun = extent.newest.map(Seq::previous);
    let stored = extent.last.max(begun).unwrap_or(Seq::ZERO);
    let trimmed = extent.oldest.map_or(Seq::ZERO, Seq::previous);
    // Without marks nobody knows any more whether what was left out behind the end was seen to be free since, nor how far the sequences
    // behind it were used.
    let left_out = ledger.holes().last().map(|hole| hole.last);
    let left_out = left_out.filter(|last| found.is_none() && *last > stored);
    let unsure = extent.unsure || found.is_none() && (extent.hollow || left_out.is_some());
    // Without marks, what the store holds is sent (again) from the start; what it does not hold was delivered.
    let marks = found.unwrap_or_else(|| {
        let cursor = if extent.last.is_some() || unsure {
            trimmed
        } else {
            stored
        };
        let removed = ledger.totals().sequences();
        // Also what was left out behind a loss at the very end.
        let behind = ledger.gone(cursor.next(), Seq(u64::MAX - 1));
        Values {
            cursor,
            durable: stored,
            reserved: match left_out {
                // A start that was cut off behind that has done it already.
                Some(last) if last.0 - stored.0 >= USED_UNSEEN - 1 => last.plus(USED_SINCE),
                Some(last) => last.plus(USED_UNSEEN),
                None => stored.plus(if unsure { USED_UNSEEN } else { 1 }),
            },
            delivered: cursor.0.saturating_sub(removed.saturating_sub(behind)),
            dead_lettered: 0,
            expired: 0,
            filtered: 0,
            unprotected: 0,
        }
    });
    let whole = stored >= marks.durable && !unsure;
    let unproven = (whole && stored > marks.durable).then_some(Unproven {
        behind: marks.durable,
        last: stored,
    });
    let next = if whole {
        stored.next()
    } else {
        marks.reserved.max(marks.durable.max(stored).next())
    };
    // What the marks call durable is looked for by the reader; what lies behind was never confirmed.
    let unseen = marks.durable.max(stored).next();
    let skipped = (unseen < next).then_some(Hole {
        first: unseen,
        last: next.previous(),
        reason: Reason::Skipped,
    });
    let values = Values {
        cursor: if whole {
            marks.cursor.min(stored)
        } else {
            marks.cursor
        },
        durable: match unproven {
            Some(Unproven { behind, .. }) => behind,
            None => next.previous(),
        },
        ..marks
    };
    Place {
        next,
        values,
        skipped,
        unproven,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_at_the_end_is_not_taken_from_what_was_delivered_when_the_marks_are_lost() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (ledger, _) = Ledger::open(&dir.path().join("ledger")).expect("opens");
        let left_out = Hole {
            first: Seq(101),
            last: Seq(1_000_100),
            reason: Reason::Skipped,
        };
        ledger.record(left_out, Seq::ZERO).expect("records");
        let extent = Extent {
            oldest: Some(Seq(81)),
            newest: Some(Seq(81)),
            last: Some(Seq(100)),
            ..Extent::default()
        };
        let place = place(None, extent, &ledger);
        assert_eq!((place.values.cursor, place.values.delivered), (Seq(80), 80));
        assert!(
            place.next > left_out.last,
            "no sequence is used that may have been: {:?}",
            place.next
        );
        // It is cut off before it can write marks, and so is each one behind it.
        let mut next = place.next;
        let mut skipped = place.skipped;
        for _ in 0..3 {
            ledger
                .record(skipped.expect("some are left out"), Seq::ZERO)
                .expect("records");
            let again = super::place(None, extent, &ledger);
            assert!(
                again.next > next && again.next.0 - next.0 <= RESERVATION + 1,
                "a start costs few of them: {next:?}, {:?}",
                again.next
            );
            (next, skipped) = (again.next, again.skipped);
        }
    }
}
