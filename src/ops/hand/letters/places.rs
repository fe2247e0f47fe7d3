//! Where in a lane's log its dead letters came from.

use std::ops::ControlFlow;

use super::Found;
use crate::ops::hand::{Hand, HandError};
use crate::ranges::Ranges;

impl Hand {
    /// The sequences of all letters of a lane.
    pub(in crate::ops::hand) fn letter_places(&self, lane: &str) -> Result<Ranges, HandError> {
        let mut places = Ranges::default();
        for letters in self.boxes().iter().filter(|letters| letters.lane == lane) {
            let _all = self.walk_all(letters, crate::message::Seq(1), |kept| {
                places.insert(Found::from(kept).stored.seq);
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(places)
    }
}
