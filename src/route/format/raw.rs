//! `format = "raw"`: the payload byte for byte, facts in headers. It never looks into the payload.

use super::Shaped;
use crate::route::subject::Subject;

/// The payload as it came.
pub(super) fn shape(subject: &Subject<'_>) -> Shaped {
    Shaped {
        key: None,
        payload: subject.arrival().payload.clone(),
        headers: Vec::new(),
        timed: None,
    }
}
