//! `ls` and `peek`: what is there.

use super::answer::{HoleState, LaneState, Peeked, UnitState};
use super::filter::Matcher;
use super::format::payload_fields;
use super::request::Filter;
use super::{Answer, Flow, Hand, HandError, HandLane, Output};
use crate::exit::Exit;
use crate::message::{Seq, Stored};
use crate::queue::Reason;
use crate::queue::inspect::Piece;

/// Bytes of a payload that `peek` shows without being asked for all: a line on a screen.
const GLIMPSE_BYTES: usize = 64;
/// Pieces looked at for the oldest or the newest message: an answer within milliseconds is worth more than one for a store
/// full of holes.
const GLANCE_PIECES: usize = 16;

impl Hand {
    pub(super) fn list(&self, lane: Option<&str>, output: Output<'_>) -> Result<Exit, HandError> {
        for lane in self.chosen(lane)? {
            output(Answer::Lane(state(&lane)?))?;
        }
        Ok(Exit::Stopped)
    }

    pub(super) fn peek(
        &self,
        filter: &Filter,
        limit: u64,
        payload: bool,
        output: Output<'_>,
    ) -> Result<Exit, HandError> {
        let matcher = Matcher::new(filter)?;
        let mut left = limit;
        for lane in self.chosen(filter.lane.as_deref())? {
            let flow = self.walk(&lane, &matcher, output, |stored, output| {
                let Some(rest) = left.checked_sub(1) else {
                    return Ok(Flow::Enough);
                };
                left = rest;
                output(Answer::Message(peeked(&lane, &stored, payload)))?;
                Ok(Flow::On)
            })?;
            if flow == Flow::Enough {
                output(Answer::Note(format!(
                    "there are more; --limit {limit} was reached"
                )))?;
                break;
            }
        }
        Ok(Exit::Stopped)
    }
}

fn state(lane: &HandLane) -> Result<LaneState, HandError> {
    let status = lane.monitor.status();
    let (cursor, last) = (lane.monitor.cursor(), lane.monitor.last());
    let balance = status.balance;
    let removed = Reason::ALL
        .into_iter()
        .map(|reason| (reason.name().to_owned(), balance.removed.of(reason)))
        .filter(|(name, count)| *count > 0 && name != Reason::Skipped.name());
    let units = lane.monitor.units().into_iter().map(|unit| UnitState {
        first: unit.first,
        last: unit.last,
        bytes: unit.bytes,
    });
    let holes = lane.monitor.holes().into_iter().filter(|hole| hole.last > cursor);
    Ok(LaneState {
        lane: lane.name.clone(),
        received: balance.received,
        delivered: balance.delivered,
        dead_lettered: balance.dead_lettered,
        removed: removed.collect(),
        queued: balance.queued,
        cursor,
        last,
        oldest: oldest(lane, cursor.next())?.map(|stored| stored.arrival.stamp.rfc3339()),
        newest: newest(lane, cursor.next(), last)?.map(|stored| stored.arrival.stamp.rfc3339()),
        bytes: status.bytes,
        units: units.collect(),
        holes: holes
            .map(|hole| HoleState {
                first: hole.first,
                last: hole.last,
                reason: hole.reason.name().to_owned(),
            })
            .collect(),
        failure: status.failure,
    })
}

/// The first message from `first` on, if it is found at a glance.
fn oldest(lane: &HandLane, first: Seq) -> Result<Option<Stored>, HandError> {
    let mut browser = lane.monitor.browse(first, Seq(u64::MAX));
    for _ in 0..GLANCE_PIECES {
        match browser.next_piece()? {
            Some(Piece::Messages(messages)) if !messages.is_empty() => {
                return Ok(messages.into_iter().next());
            }
            Some(Piece::Wait) | None => return Ok(None),
            Some(_) => {}
        }
    }
    Ok(None)
}

/// The last message up to `last`, if it is found at a glance.
fn newest(lane: &HandLane, first: Seq, mut last: Seq) -> Result<Option<Stored>, HandError> {
    for _ in 0..GLANCE_PIECES {
        if last < first {
            return Ok(None);
        }
        match lane.monitor.browse(last, last).next_piece()? {
            Some(Piece::Messages(mut messages)) => match messages.pop() {
                Some(stored) => return Ok(Some(stored)),
                None => last = last.previous(),
            },
            Some(Piece::Hole(_)) => match lane.monitor.holes().iter().find(|hole| hole.last >= last) {
                Some(hole) => last = hole.first.previous(),
                None => last = last.previous(),
            },
            Some(Piece::Gone(_) | Piece::Fault(..) | Piece::Wait) | None => return Ok(None),
        }
    }
    Ok(None)
}

fn peeked(lane: &HandLane, stored: &Stored, whole: bool) -> Peeked {
    let arrival = &stored.arrival;
    let cut = !whole && arrival.payload.len() > GLIMPSE_BYTES;
    let shown = match arrival.payload.get(..GLIMPSE_BYTES) {
        Some(begin) if cut => text_part(begin, &arrival.payload),
        _ => &arrival.payload,
    };
    let (payload, payload_base64) = payload_fields(shown);
    Peeked {
        lane: lane.name.clone(),
        seq: stored.seq,
        id: lane.router.id(stored).to_string(),
        origin: arrival.origin.as_deref().map(|origin| origin.gateway.clone()),
        arrival: arrival.stamp.rfc3339(),
        topic: arrival.topic.clone(),
        devices: lane.router.keys(stored),
        bytes: arrival.payload.len() as u64,
        payload,
        payload_base64,
        cut,
    }
}

/// The beginning of a payload, without the half of a character at its end when the whole is text.
fn text_part<'a>(begin: &'a [u8], whole: &[u8]) -> &'a [u8] {
    match std::str::from_utf8(begin) {
        Err(error) if error.error_len().is_none() && std::str::from_utf8(whole).is_ok() => {
            begin.get(..error.valid_up_to()).unwrap_or(begin)
        }
        _ => begin,
    }
}
