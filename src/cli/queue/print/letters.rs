//! Dead letters for people.

use std::io::{self, Write};

use bytesize::ByteSize;

use crate::ops::hand::{Letter, LettersState, Redriven};

/// How they stand.
pub(super) fn state(out: &mut impl Write, answer: &LettersState) -> io::Result<()> {
    let LettersState {
        lane, letters, bytes, ..
    } = answer;
    writeln!(
        out,
        "{lane}: {letters} dead letters, {} on disk",
        ByteSize(*bytes)
    )?;
    if let (Some(oldest), Some(newest)) = (&answer.oldest, &answer.newest) {
        writeln!(out, "  arrived from {oldest} to {newest}")?;
    }
    for (reason, count) in &answer.reasons {
        writeln!(out, "  {reason}: {count}")?;
    }
    if answer.dropped > 0 {
        writeln!(
            out,
            "  {} were dropped because the store was full",
            answer.dropped
        )?;
    }
    if answer.lost > 0 {
        writeln!(out, "  {} are LOST: the store was damaged", answer.lost)?;
    }
    Ok(())
}

/// A line for each thing that is known of it.
pub(super) fn letter(out: &mut impl Write, letter: &Letter) -> io::Result<()> {
    let fields = serde_json::to_value(letter)?;
    for (name, value) in fields.as_object().into_iter().flatten() {
        match value.as_str() {
            Some(text) => writeln!(out, "{name}: {}", text.escape_debug())?,
            None => writeln!(out, "{name}: {value}")?,
        }
    }
    Ok(())
}

/// What came of a redrive.
pub(super) fn redriven(out: &mut impl Write, answer: &Redriven) -> io::Result<()> {
    let Redriven {
        lane,
        into,
        letters,
        cut,
        under_way,
        unwanted,
    } = answer;
    writeln!(
        out,
        "{lane}: {letters} dead letters went back into the queue of {into}"
    )?;
    if *cut > 0 {
        writeln!(
            out,
            "  {cut} stay: they were over max_packet_size, and only the beginning of each is here"
        )?;
    }
    if *under_way > 0 {
        writeln!(out, "  {under_way} stay: they are being kept just now; try again")?;
    }
    if *unwanted > 0 {
        writeln!(
            out,
            "  {unwanted} stay: `when` or `retained` of the routes says that nobody wants them, so they would be dropped"
        )?;
    }
    Ok(())
}
