//! `purge`: removes letters. That they were is noted first, so that an export of them can be imported again.

use std::ops::ControlFlow;

use super::{LetterBox, LetterMatcher};
use crate::exit::Exit;
use crate::message::Seq;
use crate::ops::hand::answer::Purged;
use crate::ops::hand::known::Places;
use crate::ops::hand::purge::Count;
use crate::ops::hand::request::LetterFilter;
use crate::ops::hand::{Answer, Hand, HandError, Output, origin};

/// Letters that are removed by one note.
const BATCH: usize = 1000;

impl Hand {
    pub(in crate::ops::hand) fn purge_letters(
        &self,
        filter: &LetterFilter,
        yes: bool,
        output: Output<'_>,
    ) -> Result<Exit, HandError> {
        let matcher = LetterMatcher::new(filter)?;
        for letters in self.letter_boxes(filter.message.lane.as_deref())? {
            let purged = self.purge_box(&letters, &matcher, yes)?;
            output(Answer::Purged(purged))?;
        }
        Ok(Exit::Stopped)
    }

    fn purge_box(
        &self,
        letters: &LetterBox,
        matcher: &LetterMatcher<'_>,
        yes: bool,
    ) -> Result<Purged, HandError> {
        let is_settled = self.settled(letters)?;
        let mut count = Count::default();
        let mut under_way = 0;
        let mut batch = Batch::default();
        let _all = self.walk_letters(letters, matcher, |found| {
            if !is_settled(&found.stored) {
                under_way += 1;
                return Ok(ControlFlow::Continue(()));
            }
            count.add(&found.stored, &letters.router);
            if yes {
                batch.numbers.push(found.number);
                let origin = origin(&self.identity, &letters.lane, &found.stored);
                batch.places.insert(&origin);
            }
            if batch.numbers.len() >= BATCH {
                self.remove_batch(letters, &std::mem::take(&mut batch))?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.remove_batch(letters, &batch)?;
        if yes {
            letters.letters.tidy()?;
        }
        Ok(count.answer(&letters.lane, under_way, yes))
    }

    fn remove_batch(&self, letters: &LetterBox, batch: &Batch) -> Result<(), HandError> {
        if batch.numbers.is_empty() {
            return Ok(());
        }
        let mut known = self.known();
        known.purged(&self.identity, &batch.places)?;
        known.save()?;
        Ok(letters.letters.remove(&batch.numbers)?)
    }
}

/// Letters that are removed together.
#[derive(Default)]
struct Batch {
    numbers: Vec<Seq>,
    places: Places,
}
