//! Answers as text for people, or as the JSON lines that they are.

mod letters;

use std::io::{self, Write};

use bytesize::ByteSize;

use crate::ops::hand::{Answer, FaultSeen, Imported, LaneState, Peeked, Purged, Salvaged, Verified};

/// Devices that a person is shown of a purge.
const DEVICES_SHOWN: usize = 20;
/// Holes and generations that a person is shown of a lane.
const STRETCHES_SHOWN: usize = 10;

/// Prints answers to standard output, and notes to standard error.
#[derive(Debug)]
pub(super) struct Printer {
    json: bool,
}

impl Printer {
    pub(super) const fn new(json: bool) -> Self {
        Self { json }
    }

    pub(super) fn print(&mut self, answer: Answer) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match answer {
            answer if self.json => {
                serde_json::to_writer(&mut out, &answer)?;
                writeln!(out)
            }
            Answer::Lane(lane) => print_lane(&mut out, &lane),
            Answer::Message(message) => print_message(&mut out, &message),
            Answer::Fault(fault) => print_fault(&mut out, &fault),
            Answer::Verified(verified) => print_verified(&mut out, &verified),
            Answer::Purged(purged) => print_purged(&mut out, &purged),
            Answer::Imported(Imported { taken, known, .. }) => {
                writeln!(out, "{taken} messages taken, {known} were here already")
            }
            Answer::Salvaged(salvaged) => print_salvaged(&salvaged),
            Answer::Letters(letters) => letters::state(&mut out, &letters),
            Answer::Letter(letter) => letters::letter(&mut out, &letter),
            Answer::Redriven(redriven) => letters::redriven(&mut out, &redriven),
            Answer::Record(line) => writeln!(out, "{line}"),
            Answer::Note(note) => writeln!(io::stderr(), "note: {note}"),
            // Asked for by other verbs.
            Answer::State(_) | Answer::Account(_) | Answer::Done { .. } | Answer::Error { .. } => Ok(()),
        }
    }
}

/// Says why a command failed. Without a standard error there is nobody to tell.
pub(in crate::cli) fn error(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// A line of an answer.
pub(in crate::cli) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

fn print_lane(out: &mut impl Write, lane: &LaneState) -> io::Result<()> {
    writeln!(out, "{}", lane.lane)?;
    writeln!(
        out,
        "  received {} = delivered {} + dead letters {} + removed {} + queued {}",
        lane.received,
        lane.delivered,
        lane.dead_lettered,
        lane.removed.values().sum::<u64>(),
        lane.queued
    )?;
    for (reason, count) in &lane.removed {
        writeln!(out, "  removed: {reason} {count}")?;
    }
    if let (Some(oldest), Some(newest)) = (&lane.oldest, &lane.newest) {
        writeln!(out, "  queued from {oldest} to {newest}")?;
    }
    writeln!(out, "  done up to {}, last {}", lane.cursor, lane.last)?;
    let (bytes, units) = (ByteSize(lane.bytes), lane.units.len());
    writeln!(out, "  {bytes} in {units} generations")?;
    for unit in lane.units.iter().take(STRETCHES_SHOWN) {
        let end = unit.last.map_or("now".to_owned(), |last| last.to_string());
        writeln!(out, "    {} to {end}, {}", unit.first, ByteSize(unit.bytes))?;
    }
    print_rest(out, units, "generations")?;
    for hole in lane.holes.iter().take(STRETCHES_SHOWN) {
        writeln!(
            out,
            "  nothing from {} to {}: {}",
            hole.first, hole.last, hole.reason
        )?;
    }
    print_rest(out, lane.holes.len(), "stretches without messages")?;
    match &lane.failure {
        Some(failure) => writeln!(out, "  cannot store: {failure}"),
        None => Ok(()),
    }
}

fn print_rest(out: &mut impl Write, count: usize, what: &str) -> io::Result<()> {
    match count.checked_sub(STRETCHES_SHOWN) {
        None | Some(0) => Ok(()),
        Some(rest) => writeln!(out, "    and {rest} more {what} (--json shows all)"),
    }
}

fn print_message(out: &mut impl Write, message: &Peeked) -> io::Result<()> {
    let Peeked {
        seq,
        id,
        arrival,
        topic,
        bytes,
        ..
    } = message;
    let devices = match message.devices.as_slice() {
        [] => "no route".to_owned(),
        devices => devices.join(","),
    };
    write!(out, "{seq}  {id}  {arrival}  {devices}  {topic}  {bytes} B")?;
    if let Some(gateway) = &message.origin {
        write!(out, "  from {gateway}")?;
    }
    let more = if message.cut { "…" } else { "" };
    match (&message.payload, &message.payload_base64) {
        (Some(text), _) => writeln!(out, "  {}{more}", text.escape_debug()),
        (None, Some(base64)) => writeln!(out, "  base64 {base64}{more}"),
        (None, None) => writeln!(out),
    }
}

fn print_fault(out: &mut impl Write, fault: &FaultSeen) -> io::Result<()> {
    let FaultSeen {
        lane,
        first,
        last,
        what,
        delivered,
    } = fault;
    let delivered = if *delivered {
        " (delivered before: nothing is lost)"
    } else {
        ""
    };
    writeln!(out, "{lane}: {first} to {last}: {what}{delivered}")
}

fn print_verified(out: &mut impl Write, verified: &Verified) -> io::Result<()> {
    let Verified {
        lane,
        blocks,
        messages,
        queued,
        faults,
        ..
    } = verified;
    write!(
        out,
        "{lane}: {blocks} blocks, {messages} messages, {queued} of them queued; "
    )?;
    match verified.ledger {
        Some(ledger) if ledger == *queued => write!(out, "the ledger agrees; ")?,
        Some(ledger) => write!(out, "THE LEDGER SAYS {ledger}; ")?,
        None => write!(out, "not held against the ledger; ")?,
    }
    match faults {
        0 => writeln!(out, "no damage"),
        faults => writeln!(out, "{faults} stretches are DAMAGED"),
    }
}

fn print_purged(out: &mut impl Write, purged: &Purged) -> io::Result<()> {
    let Purged {
        lane,
        messages,
        other,
        under_way,
        ..
    } = purged;
    let what = if purged.done {
        "removed"
    } else {
        "would be removed"
    };
    writeln!(out, "{lane}: {messages} messages {what}")?;
    for (device, count) in purged.devices.iter().take(DEVICES_SHOWN) {
        let device = if device.is_empty() { "(no route)" } else { device };
        writeln!(out, "  {device}: {count}")?;
    }
    let shown: u64 = purged
        .devices
        .iter()
        .take(DEVICES_SHOWN)
        .map(|(_, count)| count)
        .sum();
    let listed: u64 = purged.devices.iter().map(|(_, count)| count).sum();
    let rest = listed - shown + other;
    if rest > 0 {
        writeln!(out, "  other devices: {rest}")?;
    }
    if *under_way > 0 {
        writeln!(
            out,
            "  {under_way} stay: they are on their way to Kafka, or delivered by now"
        )?;
    }
    if !purged.done && *messages > 0 {
        writeln!(out, "nothing was removed; write --yes to remove them")?;
    }
    Ok(())
}

/// To standard error: the messages may go to standard output.
fn print_salvaged(salvaged: &Salvaged) -> io::Result<()> {
    let Salvaged {
        lane,
        files,
        unreadable,
        messages,
        delivered,
        damaged,
        ..
    } = salvaged;
    let mut out = io::stderr().lock();
    writeln!(
        out,
        "{lane}: {messages} messages in {files} files; {delivered} more were delivered before"
    )?;
    if *unreadable > 0 || *damaged > 0 {
        writeln!(
            out,
            "  {unreadable} bytes cannot be read, {damaged} blocks cannot be understood"
        )?;
    }
    Ok(())
}
