//! The report as text for people, or as the JSON object that it is.

use std::io::{self, Write};
use std::time::Duration;

use super::progress::as_f64;
use crate::verify::{Finding, Known, LaneReport, Report, Stretch, Verdict};

/// Stretches that a person is shown of a lane.
const STRETCHES_SHOWN: usize = 10;

/// Says why there is no report. Without a standard error there is nobody to tell.
pub(super) fn error(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

pub(super) fn report(report: &Report, took: Duration, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, report)?;
        return writeln!(out);
    }
    for note in &report.notes {
        writeln!(io::stderr(), "note: {note}")?;
    }
    print_head(&mut out, report, took)?;
    for lane in &report.lanes {
        print_lane(&mut out, lane)?;
    }
    if report.lanes.is_empty() {
        writeln!(out, "no message of edgeferry was found")?;
    }
    writeln!(out, "{}", verdict(report))
}

fn print_head(out: &mut impl Write, report: &Report, took: Duration) -> io::Result<()> {
    let seconds = took.as_secs_f64().max(0.001);
    let rate = as_f64(report.records) / seconds;
    writeln!(
        out,
        "{} records of {} topics read in {seconds:.1} s ({rate:.0} records/s)",
        report.records,
        report.topics.len()
    )?;
    for topic in &report.topics {
        write!(
            out,
            "  {}: {} partitions, {} records",
            topic.name, topic.partitions, topic.records
        )?;
        if topic.trimmed > 0 {
            write!(
                out,
                "; the beginning of {} partitions is gone from Kafka",
                topic.trimmed
            )?;
        }
        if topic.is_compacted == Some(true) {
            write!(out, "; compacted")?;
        }
        writeln!(out)?;
    }
    let counts = [
        (report.unnamed, "records carry no message id and are only counted"),
        (
            report.others,
            "records are of other gateways, epochs or lanes and are not judged (--all-gateways does)",
        ),
        (
            report.beyond,
            "records are of more epochs and lanes than are kept apart and are not judged",
        ),
        (
            report.unordered,
            "records are of more keys than are remembered; their order is not judged",
        ),
    ];
    counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .try_for_each(|(count, text)| writeln!(out, "  {count} {text}"))
}

fn print_lane(out: &mut impl Write, lane: &LaneReport) -> io::Result<()> {
    let gateway = lane.gateway.as_deref().unwrap_or("(unnamed)");
    write!(
        out,
        "gateway {gateway}, epoch {}, lane {}: ",
        lane.epoch, lane.lane
    )?;
    match (lane.first, lane.last) {
        (Some(first), Some(last)) => writeln!(out, "{first} to {last}, {} are in Kafka", lane.present)?,
        _ => writeln!(out, "nothing to judge")?,
    }
    if lane.queued > 0 {
        writeln!(out, "  {} wait in the queue behind that", lane.queued)?;
    }
    for known in &lane.known {
        print_known(out, known)?;
    }
    if lane.unknown > 0 {
        writeln!(
            out,
            "  {} cannot be known: they may lie before the beginning of a partition, or were compacted away",
            lane.unknown
        )?;
    }
    print_absent(out, lane)?;
    print_duplicates(out, lane)?;
    print_order(out, lane)
}

fn print_known(out: &mut impl Write, known: &Known) -> io::Result<()> {
    let (why, count) = (known.why.as_str(), known.count);
    match (known.is_by_sequence, why) {
        (true, _) => writeln!(out, "  {count} are not in Kafka: {why}"),
        (false, "by_hand") => writeln!(
            out,
            "  {count} are not in Kafka, and as many messages were imported, or dead letters put back, forwarded, purged or dropped"
        ),
        (false, _) => writeln!(
            out,
            "  {count} are not in Kafka, and the ledger counts as many or more that are not to be: filtered, dropped, expired, purged"
        ),
    }
}

fn print_absent(out: &mut impl Write, lane: &LaneReport) -> io::Result<()> {
    if lane.missing > 0 {
        let what = match lane.findings.contains(&Finding::Gap) {
            true => "GAP",
            false => "MISSING",
        };
        writeln!(out, "  {what}: {} messages", lane.missing)?;
    }
    if lane.stretches.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = lane.stretches.iter().take(STRETCHES_SHOWN).map(stretch).collect();
    let more = lane.stretches.len().saturating_sub(STRETCHES_SHOWN) as u64 + lane.stretches_left_out;
    let more = if more > 0 {
        format!(", and {more} more stretches")
    } else {
        String::new()
    };
    writeln!(out, "  not explained by sequence: {}{more}", shown.join(", "))
}

fn stretch(stretch: &Stretch) -> String {
    match stretch.first == stretch.last {
        true => stretch.first.to_string(),
        false => format!("{} to {}", stretch.first, stretch.last),
    }
}

fn print_duplicates(out: &mut impl Write, lane: &LaneReport) -> io::Result<()> {
    let counts = [
        (lane.duplicates.same, "with the same key and value"),
        (
            lane.duplicates.altered,
            "with another key or value (the configuration was changed in between?)",
        ),
        (
            lane.duplicates.uncompared,
            "whose first copy lies too far back to be compared",
        ),
        (
            lane.duplicates.several_routes,
            "in topics that several routes send to: theirs, or repeated",
        ),
    ];
    let is_wrong = lane.findings.contains(&Finding::Duplicated);
    for (count, text) in counts.into_iter().filter(|(count, _)| *count > 0) {
        let mark = if is_wrong { "DUPLICATED" } else { "repeated" };
        writeln!(out, "  {mark}: {count} records {text}")?;
    }
    Ok(())
}

fn print_order(out: &mut impl Write, lane: &LaneReport) -> io::Result<()> {
    if lane.misplaced == 0 {
        return Ok(());
    }
    match lane.findings.contains(&Finding::OutOfOrder) {
        true => writeln!(out, "  OUT OF ORDER: {} messages", lane.misplaced)?,
        false => writeln!(
            out,
            "  late: {} messages, no more than were put back or imported by hand",
            lane.misplaced
        )?,
    }
    for found in &lane.misplaced_examples {
        writeln!(
            out,
            "    {} partition {} offset {}: key {:?}, {} comes behind {}",
            found.topic, found.partition, found.offset, found.key, found.seq, found.behind
        )?;
    }
    Ok(())
}

fn verdict(report: &Report) -> String {
    match report.verdict {
        Verdict::Well => "well: everything that should be in Kafka is there".to_owned(),
        Verdict::Uncertain => {
            "nothing wrong was found; what could not be judged by sequence is listed above".to_owned()
        }
        Verdict::Wrong => {
            let missing: u64 = report.lanes.iter().map(|lane| lane.missing).sum();
            let misplaced = report
                .lanes
                .iter()
                .filter(|lane| lane.findings.contains(&Finding::OutOfOrder));
            let misplaced: u64 = misplaced.map(|lane| lane.misplaced).sum();
            let twice = report
                .lanes
                .iter()
                .filter(|lane| lane.findings.contains(&Finding::Duplicated));
            let twice: u64 = twice.map(|lane| lane.duplicates.repeated()).sum();
            let gap = match report.gateway {
                Some(_) => "missing",
                None => "missing or explained by their gateway's store alone",
            };
            format!("WRONG: {missing} {gap}, {misplaced} out of order, {twice} there twice")
        }
    }
}
