//! `ls` and `show`: which letters there are, and everything of one.

use std::ops::ControlFlow;

use super::{Found, LetterBox, LetterMatcher};
use crate::exit::Exit;
use crate::message::rfc3339;
use crate::ops::hand::answer::{Letter, LettersState};
use crate::ops::hand::format::Record;
use crate::ops::hand::request::LetterFilter;
use crate::ops::hand::{Answer, Hand, HandError, Output, origin};
use crate::sink::dead_letter::reason;

impl Hand {
    pub(in crate::ops::hand) fn list_letters(
        &self,
        lane: Option<&str>,
        output: Output<'_>,
    ) -> Result<Exit, HandError> {
        for letters in self.letter_boxes(lane)? {
            output(Answer::Letters(self.letters_state(&letters)?))?;
        }
        Ok(Exit::Stopped)
    }

    fn letters_state(&self, letters: &LetterBox) -> Result<LettersState, HandError> {
        let everything = LetterFilter::default();
        let matcher = LetterMatcher::new(&everything)?;
        let mut state = LettersState {
            lane: letters.lane.clone(),
            ..LettersState::default()
        };
        let mut times: Option<(i64, i64)> = None;
        let _all = self.walk_letters(letters, &matcher, |found| {
            state.letters += 1;
            let time = found.stored.arrival.stamp.unix_ms;
            let (oldest, newest) = times.unwrap_or((time, time));
            times = Some((oldest.min(time), newest.max(time)));
            let mut names: Vec<_> = found.reasons.iter().map(reason::name).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                *state.reasons.entry(name.to_owned()).or_default() += 1;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        // Behind the look, which may have found that some are lost.
        let stand = letters.letters.stand();
        Ok(LettersState {
            bytes: stand.bytes,
            dropped: stand.dropped,
            lost: stand.lost,
            oldest: times.map(|(oldest, _)| rfc3339(oldest)),
            newest: times.map(|(_, newest)| rfc3339(newest)),
            ..state
        })
    }

    pub(in crate::ops::hand) fn show_letter(&self, id: &str, output: Output<'_>) -> Result<Exit, HandError> {
        let filter = LetterFilter {
            ids: vec![id.to_owned()],
            ..LetterFilter::default()
        };
        let matcher = LetterMatcher::new(&filter)?;
        let mut count = 0_u64;
        for letters in self.letter_boxes(None)? {
            let _all = self.walk_letters(&letters, &matcher, |found| {
                count += 1;
                output(Answer::Letter(Box::new(self.letter(&letters, &found))))?;
                Ok(ControlFlow::Continue(()))
            })?;
        }
        if count == 0 {
            return Err(HandError::Usage(format!(
                "there is no dead letter with the id {id:?}; `edgeferry dead-letter export` gives the ids of all"
            )));
        }
        Ok(Exit::Stopped)
    }

    fn letter(&self, letters: &LetterBox, found: &Found) -> Letter {
        let stored = &found.stored;
        let origin = origin(&self.identity, &letters.lane, stored);
        Letter {
            id: letters.router.id(stored).to_string(),
            kept_in: letters.lane.clone(),
            kept_seq: stored.seq,
            devices: letters.router.keys(stored),
            bytes: stored.arrival.payload.len() as u64,
            record: Record::new(&origin, &stored.arrival).with_reasons(&found.reasons),
        }
    }
}
