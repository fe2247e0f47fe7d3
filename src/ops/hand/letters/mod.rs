//! Dead letters in a person's hand: what `edgeferry dead-letter …` does.
//!
//! A letter may be removed or redriven once a cursor that survives a power cut has passed its message (see
//! [`crate::sink::dead_letter`]); until then it is under way, which is a matter of milliseconds.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use super::filter::Matcher;
use super::request::LetterFilter;
use super::{Hand, HandError, LOOK};
use crate::message::{Seq, Stored};
use crate::queue::inspect::PATIENCE;
use crate::queue::store::StoreError;
use crate::route::{Refusal, Router};
use crate::sink::KeepError;
use crate::sink::dead_letter::{DeadLetters, Kept, reason};

mod export;
mod list;
mod places;
mod purge;
mod redrive;

/// The dead letters of one lane.
#[derive(Debug, Clone)]
pub struct LetterBox {
    /// The lane's name.
    pub lane: String,
    /// Its letters.
    pub letters: Arc<DeadLetters>,
    /// Tells whose they are.
    pub router: Arc<Router>,
}

/// See [`LetterFilter`].
struct LetterMatcher<'a> {
    message: Matcher,
    filter: &'a LetterFilter,
}

impl<'a> LetterMatcher<'a> {
    fn new(filter: &'a LetterFilter) -> Result<Self, HandError> {
        if let Some(wanted) = filter
            .reason
            .as_deref()
            .filter(|wanted| !reason::NAMES.contains(wanted))
        {
            let names = reason::NAMES.join(", ");
            return Err(HandError::Usage(format!(
                "--reason {wanted:?} is none; write one of: {names}"
            )));
        }
        Ok(Self {
            message: Matcher::new(&filter.message)?,
            filter,
        })
    }

    fn matches(&self, stored: &Stored, reasons: &[Refusal], router: &Router) -> bool {
        let is_named = |wanted: &String| reasons.iter().any(|refusal| reason::name(refusal) == wanted);
        let id = || router.id(stored).to_string();
        self.filter.reason.as_ref().is_none_or(is_named)
            && (self.filter.ids.is_empty() || self.filter.ids.contains(&id()))
            && self.message.matches(stored, router)
    }
}

/// A letter that was asked for.
struct Found {
    number: Seq,
    stored: Stored,
    reasons: Vec<Refusal>,
}

impl From<Kept> for Found {
    fn from(kept: Kept) -> Self {
        Self {
            number: kept.number,
            reasons: kept.letter.reasons.clone(),
            stored: kept.letter.into_stored(),
        }
    }
}

impl Hand {
    /// The letters that are meant.
    fn letter_boxes(&self, lane: Option<&str>) -> Result<Vec<LetterBox>, HandError> {
        let Some(name) = lane else {
            return Ok(self.boxes());
        };
        let boxes = self.boxes();
        let found = boxes.iter().find(|letters| letters.lane == name);
        found.cloned().map(|one| vec![one]).ok_or_else(|| {
            let names: Vec<&str> = boxes.iter().map(|letters| letters.lane.as_str()).collect();
            HandError::Usage(format!(
                "there are no dead letters of a lane {name:?}; there are of: {}",
                names.join(", ")
            ))
        })
    }

    /// Gives the letters that match to `take`, in the order in which they were kept, until it breaks off.
    fn walk_letters(
        &self,
        letters: &LetterBox,
        matcher: &LetterMatcher<'_>,
        mut take: impl FnMut(Found) -> Result<ControlFlow<()>, HandError>,
    ) -> Result<ControlFlow<()>, HandError> {
        self.walk_all(letters, Seq(1), |kept| {
            let found = Found::from(kept);
            match matcher.matches(&found.stored, &found.reasons, &letters.router) {
                true => take(found),
                false => Ok(ControlFlow::Continue(())),
            }
        })
    }

    /// Gives all letters from number `first` on, waiting for what is being read from raw bytes.
    fn walk_all(
        &self,
        letters: &LetterBox,
        first: Seq,
        mut take: impl FnMut(Kept) -> Result<ControlFlow<()>, HandError>,
    ) -> Result<ControlFlow<()>, HandError> {
        let mut walk = letters.letters.walk(first);
        let mut waiting = None;
        loop {
            self.go_on()?;
            let block = match walk.next_letters() {
                Ok(Some(block)) => block,
                Ok(None) => return Ok(ControlFlow::Continue(())),
                Err(KeepError::Store(StoreError::Salvaging))
                    if waiting.get_or_insert_with(Instant::now).elapsed() < PATIENCE =>
                {
                    std::thread::park_timeout(LOOK);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            waiting = None;
            for kept in block {
                if take(kept)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }

    /// Tells of each letter whether it may be taken out: a crash must not bring its message again.
    fn settled(&self, letters: &LetterBox) -> Result<impl Fn(&Stored) -> bool + use<>, HandError> {
        let lane = self.lane(&letters.lane).ok();
        let cursor = lane.map(|lane| lane.monitor.settle_cursor()).transpose();
        let cursor = cursor.map_err(HandError::Cursor)?;
        let letters = Arc::clone(&letters.letters);
        Ok(move |stored: &Stored| letters.is_settled(stored, cursor))
    }
}
