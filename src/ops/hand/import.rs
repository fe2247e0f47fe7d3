//! `import`: messages of an export, stored like any that arrive.
//!
//! They go through the usual way in, so limits and durability hold; origin gateway, epoch, lane and sequence stay with
//! each of them. Batch by batch: noted as pending, offered, durable, noted as imported.

use std::io::BufRead;
use std::sync::Arc;

use super::answer::Imported;
use super::entrance::{BATCH_BYTES, BATCH_MESSAGES, Entrance};
use super::format::{Ending, Header, Line, Reader};
use super::known::Places;
use super::{Answer, Hand, HandError, HandLane, Output};
use crate::exit::Exit;
use crate::message::{Arrival, Epoch, Origin, Seq};
use crate::queue::Reason;
use crate::queue::inspect::Piece;

/// Lines that are no messages are told one by one up to here.
const BAD_TOLD: u64 = 20;

impl Hand {
    pub(super) fn import(
        &self,
        into: Option<&str>,
        again: bool,
        input: &mut dyn BufRead,
        output: Output<'_>,
    ) -> Result<Exit, HandError> {
        let mut reader = Reader::open(input)?;
        self.warn_of_the_exporter(reader.header(), output)?;
        // Left by an earlier one, if the lane could not be read at the start.
        self.known().reconcile(&self.lanes())?;
        let mut import = Import::new(self, into, again)?;
        let worked = import.all(&mut reader, output);
        let noted = self.known().save();
        output(Answer::Imported(import.result))?;
        worked?;
        noted?;
        if import.result.unrouted > 0 {
            let count = import.result.unrouted;
            output(Answer::Note(format!(
                "no route makes a record of {count} of them: they become dead letters unless a [[route]] is changed before their turn"
            )))?;
        }
        if import.result.filtered > 0 {
            let count = import.result.filtered;
            output(Answer::Note(format!(
                "no route wants {count} of them (`when`, `retained`): they are dropped and counted as filtered unless that is \
                 changed before their turn"
            )))?;
        }
        let fault = match reader.ending() {
            Some(Ending::Whole) if import.bad == 0 => return Ok(Exit::Stopped),
            Some(Ending::Altered(what)) => format!("the file is not what was written: {what}"),
            Some(Ending::Whole) => "the file has lines that are no messages".to_owned(),
            Some(Ending::Torn) | None => "the file ends in the middle; what it has was taken".to_owned(),
        };
        output(Answer::Note(fault))?;
        Ok(Exit::Storage)
    }

    /// Both would deliver the same messages. Their ids are the same, so consumers can tell.
    fn warn_of_the_exporter(&self, header: &Header, output: Output<'_>) -> Result<(), HandError> {
        if header.still_queued && header.epoch != self.identity.epoch.to_string() {
            let gateway = &header.gateway;
            output(Answer::Note(format!(
                "{gateway} had these messages in its queue when the file was written ({}), and will deliver them too unless \
                 they were purged there; copies have the same edgeferry-id",
                header.exported_at
            )))?;
        }
        Ok(())
    }
}

/// One import.
struct Import<'a> {
    hand: &'a Hand,
    into: Option<Arc<HandLane>>,
    again: bool,
    entrance: Entrance<'a>,
    batch: Vec<Arrival>,
    batch_bytes: usize,
    batch_places: Places,
    lane: Option<Arc<HandLane>>,
    looked: Option<Looked>,
    result: Imported,
    bad: u64,
}

/// A stretch of a lane's log, and which messages are in it.
struct Looked {
    lane: String,
    first: Seq,
    last: Seq,
    messages: Vec<(Seq, Epoch)>,
}

impl<'a> Import<'a> {
    fn new(hand: &'a Hand, into: Option<&str>, again: bool) -> Result<Self, HandError> {
        let into = into.map(|name| hand.lane(name)).transpose()?;
        Ok(Self {
            hand,
            into,
            again,
            entrance: Entrance::new(hand)?,
            batch: Vec::new(),
            batch_bytes: 0,
            batch_places: Places::default(),
            lane: None,
            looked: None,
            result: Imported::default(),
            bad: 0,
        })
    }

    fn all<R: BufRead>(&mut self, reader: &mut Reader<R>, output: Output<'_>) -> Result<(), HandError> {
        while let Some(line) = reader.next_line()? {
            self.hand.go_on()?;
            match line {
                Line::Message(arrival) => self.add(*arrival)?,
                Line::Bad(why) => {
                    self.bad += 1;
                    if self.bad <= BAD_TOLD {
                        output(Answer::Note(why))?;
                    }
                }
            }
        }
        self.flush()
    }

    fn add(&mut self, arrival: Arrival) -> Result<(), HandError> {
        let Some(origin) = arrival.origin.as_deref() else {
            return Ok(());
        };
        let lane = match &self.into {
            Some(lane) => Arc::clone(lane),
            None => self.lane_of(origin)?,
        };
        if self.is_known(origin)? {
            self.result.known += 1;
            return Ok(());
        }
        let other = self.lane.as_ref().is_some_and(|before| before.name != lane.name);
        if other || self.batch.len() >= BATCH_MESSAGES || self.batch_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        self.lane = Some(lane);
        self.batch_bytes += arrival.cost();
        self.batch_places.insert(origin);
        self.batch.push(arrival);
        Ok(())
    }

    fn lane_of(&self, origin: &Origin) -> Result<Arc<HandLane>, HandError> {
        self.hand.lane(&origin.lane).map_err(|error| {
            HandError::Usage(format!(
                "the file has messages of a lane that is not here: {error}; say with --into which one takes them"
            ))
        })
    }

    /// Whether the message is here, or was and went its way.
    fn is_known(&mut self, origin: &Origin) -> Result<bool, HandError> {
        if self.batch_places.contains(origin) {
            return Ok(true);
        }
        let own = &self.hand.identity;
        let is_own = origin.gateway == own.gateway && origin.epoch == own.epoch;
        let home = self.hand.lane(&origin.lane).ok();
        if let Some(lane) = home.filter(|_| is_own) {
            if self.is_queued(&lane, origin)? {
                return Ok(true);
            }
            // In front of the cursor and not there: removed, or lost. Behind it: delivered, unless it was purged.
            let was_delivered =
                origin.seq <= lane.monitor.cursor() && !self.hand.known().is_purged(origin)?;
            if was_delivered && !self.again {
                return Ok(true);
            }
        }
        Ok(!self.again && self.hand.known().is_imported(origin)?)
    }

    /// Whether a message of this store is still in its log.
    fn is_queued(&mut self, lane: &HandLane, origin: &Origin) -> Result<bool, HandError> {
        let seq = origin.seq;
        if seq <= lane.monitor.cursor() || seq > lane.monitor.last() {
            return Ok(false);
        }
        let covers =
            |looked: &Looked| looked.lane == lane.name && (looked.first..=looked.last).contains(&seq);
        if !self.looked.as_ref().is_some_and(covers) {
            let mut browser = lane.monitor.browse(seq, Seq(u64::MAX));
            let messages = match self.hand.next_piece(&mut browser)? {
                Some(Piece::Messages(messages)) => messages,
                _ => Vec::new(),
            };
            let own = messages.iter().filter(|stored| stored.arrival.origin.is_none());
            self.looked = Some(Looked {
                lane: lane.name.clone(),
                first: seq,
                last: browser.position().previous(),
                messages: own.map(|stored| (stored.seq, stored.epoch)).collect(),
            });
        }
        let looked = self.looked.as_ref();
        Ok(looked.is_some_and(|looked| looked.messages.contains(&(seq, origin.epoch))))
    }

    /// Stores the batch.
    fn flush(&mut self) -> Result<(), HandError> {
        let (batch, places) = (
            std::mem::take(&mut self.batch),
            std::mem::take(&mut self.batch_places),
        );
        self.batch_bytes = 0;
        let Some(lane) = self.lane.take().filter(|_| !batch.is_empty()) else {
            return Ok(());
        };
        let offered = batch.len() as u64;
        let (mut unrouted, mut filtered) = (0, 0);
        for arrival in &batch {
            let outcome = lane.outcome(arrival, self.hand.identity.epoch);
            filtered += u64::from(outcome.is_filtered());
            unrouted += u64::from(outcome.records.is_empty() && !outcome.refusals.is_empty());
        }
        let dropped = || lane.monitor.status().balance.removed.of(Reason::DroppedNewest);
        let dropped_before = dropped();
        self.hand.known().begin(&lane, places)?;
        self.entrance.offer(&lane, batch)?;
        // With `drop-newest` some of it may have been acknowledged and not stored.
        let unsure = dropped() != dropped_before;
        let stored = self.hand.known().commit(&lane, unsure)?.unwrap_or(offered);
        self.result.taken += stored;
        self.result.unrouted += unrouted.min(stored);
        self.result.filtered += filtered.min(stored);
        if stored < offered {
            return Err(HandError::Full);
        }
        Ok(())
    }
}
