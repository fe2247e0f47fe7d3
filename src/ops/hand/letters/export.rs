//! `export`: letters into the portable format, each with its reasons.

use std::ops::ControlFlow;

use super::{LetterBox, LetterMatcher};
use crate::clock;
use crate::exit::Exit;
use crate::message::{Seq, rfc3339};
use crate::ops::hand::format::{FORMAT, Header, HeaderLane, Lines, Record, VERSION};
use crate::ops::hand::request::LetterFilter;
use crate::ops::hand::{Answer, Hand, HandError, Output, origin};
use crate::queue::Monitor;

impl Hand {
    pub(in crate::ops::hand) fn export_letters(
        &self,
        filter: &LetterFilter,
        limit: Option<u64>,
        output: Output<'_>,
    ) -> Result<Exit, HandError> {
        let matcher = LetterMatcher::new(filter)?;
        let boxes = self.letter_boxes(filter.message.lane.as_deref())?;
        let mut file = Lines::default();
        output(Answer::Record(file.header(&self.letters_header(&boxes))?))?;
        let mut left = limit.unwrap_or(u64::MAX);
        for letters in boxes {
            let flow = self.walk_letters(&letters, &matcher, |found| {
                let Some(rest) = left.checked_sub(1) else {
                    return Ok(ControlFlow::Break(()));
                };
                left = rest;
                let origin = origin(&self.identity, &letters.lane, &found.stored);
                let record = Record::new(&origin, &found.stored.arrival).with_reasons(&found.reasons);
                output(Answer::Record(file.record(&record)?))?;
                Ok(ControlFlow::Continue(()))
            })?;
            if flow.is_break() {
                output(Answer::Note("there are more; --limit was reached".to_owned()))?;
                break;
            }
        }
        output(Answer::Record(file.end()?))?;
        Ok(Exit::Stopped)
    }

    /// No queue has them: their gateway delivers none of them by itself.
    fn letters_header(&self, boxes: &[LetterBox]) -> Header {
        let lanes = boxes.iter().map(|letters| {
            let monitor = self.lane(&letters.lane).ok().map(|lane| lane.monitor.clone());
            HeaderLane {
                lane: letters.lane.clone(),
                cursor: monitor.as_ref().map_or(Seq::ZERO, Monitor::cursor),
                last: monitor.as_ref().map_or(Seq::ZERO, Monitor::last),
            }
        });
        Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            gateway: self.identity.gateway.clone(),
            epoch: self.identity.epoch.to_string(),
            exported_at: rfc3339(clock::unix_ms()),
            still_queued: false,
            lanes: lanes.collect(),
        }
    }
}
