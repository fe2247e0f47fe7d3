//! A state for people, on 80 columns: what to do first, then the path from the brokers to Kafka.

use bytesize::ByteSize;

use super::stopped::Store;
use crate::cli::text::{plain, put, rate, span, wrap};
use crate::message::rfc3339;
use crate::ops::state::{Advice, Certificate, Devices, Disk, Lane, Ledger, Level, State, Tally};

/// Devices, routes and events that are shown; `--json` has all.
const SHOWN: usize = 5;
/// A certificate that ends later than this needs no line.
const CERTIFICATE_MS: i64 = 60 * 86_400_000;
/// A device with less than this share of all records is no skew.
const SKEW: f64 = 0.25;

/// A daemon that answers.
pub fn running(state: &State) -> String {
    let mut out = String::new();
    let head = format!(
        "{}: edgeferry {}, {}, up {}",
        state.gateway,
        state.edgeferry,
        state.delivery,
        span(as_f64(state.uptime_s))
    );
    out.push_str(&wrap(&head, "", ""));
    out.push_str(&wrap(&state.health.summary, "", ""));
    for advice in &state.health.advice {
        put_advice(&mut out, advice);
    }
    for lane in &state.lanes {
        put_lane(&mut out, lane);
    }
    put_disk(&mut out, &state.disk);
    for certificate in &state.certificates {
        put_certificate(&mut out, certificate, state.unix_ms);
    }
    put_events(&mut out, state);
    out
}

fn put_advice(out: &mut String, advice: &Advice) {
    let mark = match advice.level {
        Level::Error => "!! ",
        Level::Warning => "!  ",
    };
    out.push('\n');
    out.push_str(&wrap(&advice.what, mark, "   "));
    out.push_str(&wrap(&advice.todo, "   > ", "     "));
}

fn put_lane(out: &mut String, lane: &Lane) {
    let leaving = if lane.is_reloading {
        " (being changed by a reload: this is from before it)"
    } else if lane.is_leaving {
        " (no route uses it: it is emptied)"
    } else {
        ""
    };
    put(out, format_args!("\nlane {}{leaving}\n", plain(&lane.name)));
    for broker in &lane.brokers {
        let dropped = broker
            .dropped_by_broker
            .filter(|count| *count > 0)
            .map(|count| format!(", {count} DROPPED BY THE BROKER for any client"))
            .unwrap_or_default();
        let text = format!("{}: {}{dropped}", broker.name, broker.link);
        out.push_str(&wrap(&text, "  MQTT     ", "           "));
    }
    put_queue(out, lane);
    let limited = if lane.flow.is_limited {
        ", held back by max_rate"
    } else {
        ""
    };
    let text = format!("{}{limited}", lane.kafka);
    out.push_str(&wrap(&text, "  Kafka    ", "           "));
    if let Some(held) = &lane.held {
        out.push_str(&wrap(&format!("held: {held}"), "           ", "           "));
    }
    put_ledger(out, &lane.ledger);
    put_letters(out, lane);
    if lane.routes.len() > 1 {
        put_tallies(out, "route", &lane.routes);
    }
    put_devices(out, &lane.devices);
}

fn put_queue(out: &mut String, lane: &Lane) {
    let (queue, flow) = (&lane.queue, &lane.flow);
    let full = if queue.is_full { " FULL" } else { "" };
    let mut text = format!(
        "{} in, {} out; {} waiting",
        rate(flow.in_per_s),
        rate(flow.out_per_s),
        lane.ledger.queued
    );
    if let Some(age) = queue.age_s {
        put(&mut text, format_args!(", the oldest for {}", span(age)));
    } else if queue.is_age_unknown {
        text.push_str(", for how long is not known");
    }
    match flow.drained_in_s {
        // What is on its way is no backlog.
        Some(time) if time <= 0.0 => {}
        Some(time) => put(&mut text, format_args!(", drained in {}", span(time))),
        None if lane.ledger.queued > 0 => text.push_str(", not draining"),
        None => {}
    }
    put(
        &mut text,
        format_args!(
            "; {} of {}{full}",
            ByteSize(queue.bytes),
            ByteSize(queue.max_bytes)
        ),
    );
    out.push_str(&wrap(&text, "  queue    ", "           "));
    if let Some(failure) = &queue.failure {
        out.push_str(&wrap(
            &format!("cannot store: {failure}"),
            "           ",
            "           ",
        ));
    }
}

fn put_ledger(out: &mut String, ledger: &Ledger) {
    let removed: u64 = ledger.removed.values().sum();
    let mut text = format!(
        "{} received = {} delivered + {} queued + {} dead letters + {removed} removed",
        ledger.received, ledger.delivered, ledger.queued, ledger.dead_lettered
    );
    let reasons: Vec<String> = ledger
        .removed
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    if !reasons.is_empty() {
        put(&mut text, format_args!(" ({})", reasons.join(", ")));
    }
    match ledger.unaccounted {
        Some(0) => {}
        Some(off) => put(&mut text, format_args!(", UNACCOUNTED {off}")),
        None => text.push_str("; queued cannot be counted on its own now: it is what is left over"),
    }
    out.push_str(&wrap(&text, "  ledger   ", "           "));
    let beside = [
        ("recognised", ledger.recognised),
        ("resent", ledger.resent),
        ("with QoS 0", ledger.unprotected),
    ];
    let beside: Vec<String> = beside
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if !beside.is_empty() {
        let text = format!("beside it: {}", beside.join(", "));
        out.push_str(&wrap(&text, "           ", "           "));
    }
}

fn put_letters(out: &mut String, lane: &Lane) {
    let letters = &lane.letters;
    if letters.count + letters.dropped + letters.lost == 0 {
        return;
    }
    let mut text = format!("{} wait ({})", letters.count, ByteSize(letters.bytes));
    for (what, count) in [("dropped", letters.dropped), ("LOST", letters.lost)] {
        if count > 0 {
            put(&mut text, format_args!(", {count} {what}"));
        }
    }
    out.push_str(&wrap(&text, "  letters  ", "           "));
}

fn put_devices(out: &mut String, devices: &Devices) {
    if let (Some(share), Some(busiest)) = (devices.busiest_share, devices.busiest.first())
        && share >= SKEW
        && devices.busiest.len() > 1
    {
        let text = format!("{} has {:.0} % of all records", busiest.name, share * 100.0);
        out.push_str(&wrap(&text, "  skew     ", "           "));
    }
    put_tallies(out, "trouble", &devices.troubled);
}

fn put_tallies(out: &mut String, what: &str, tallies: &[Tally]) {
    for tally in tallies.iter().take(SHOWN) {
        let mut text = format!("{}: {} delivered", tally.name, tally.delivered);
        if tally.dead_lettered > 0 {
            put(&mut text, format_args!(", {} dead letters", tally.dead_lettered));
        }
        if let Some(trouble) = &tally.trouble {
            put(
                &mut text,
                format_args!(", last {}: {}", rfc3339(trouble.unix_ms), trouble.why),
            );
        }
        out.push_str(&wrap(&text, &format!("  {what:<9}"), "           "));
    }
}

fn put_disk(out: &mut String, disk: &Disk) {
    let mut text = match (disk.free_bytes, disk.total_bytes) {
        (Some(free), Some(total)) => format!("{} free of {}", ByteSize(free), ByteSize(total)),
        _ => "its space is not known".to_owned(),
    };
    put(
        &mut text,
        format_args!(
            "; {} written {}",
            ByteSize(disk.written_last_day_bytes),
            written_over(disk.written_last_day_over_s)
        ),
    );
    if let Some(budget) = disk.budget_per_day_bytes {
        put(&mut text, format_args!(" of {} a day", ByteSize(budget)));
    }
    if let Some(each) = disk.written_per_payload_byte {
        put(&mut text, format_args!(", {each:.1} bytes for each of payload"));
    }
    out.push('\n');
    out.push_str(&wrap(&format!("{}: {text}", disk.path), "disk  ", "      "));
}

/// Nobody counts what was written before the start.
fn written_over(seconds: u64) -> String {
    match seconds {
        86_400.. => "in 24 h".to_owned(),
        3600.. => format!("in the {} h since the start", seconds / 3600),
        _ => format!("in the {} min since the start", seconds / 60),
    }
}

fn put_certificate(out: &mut String, certificate: &Certificate, now_ms: i64) {
    let Certificate {
        of,
        setting,
        file,
        not_after_unix_ms,
        failure,
    } = certificate;
    let text = match (failure, not_after_unix_ms) {
        (Some(failure), _) => format!("{of}: {setting} {file} cannot be read: {failure}"),
        (None, Some(end)) if *end < now_ms => {
            format!("{of}: {setting} {file} HAS ENDED at {}", rfc3339(*end))
        }
        (None, Some(end)) if end.saturating_sub(now_ms) < CERTIFICATE_MS => {
            format!("{of}: {setting} {file} ends at {}", rfc3339(*end))
        }
        _ => return,
    };
    out.push_str(&wrap(&text, "certificate  ", "      "));
}

fn put_events(out: &mut String, state: &State) {
    if state.events.is_empty() {
        return;
    }
    out.push_str("\nlast warnings and errors\n");
    for event in state.events.iter().take(SHOWN) {
        let times = match event.count {
            0 | 1 => String::new(),
            count => format!(" ({count} times)"),
        };
        let text = format!("{}  {}{times}", rfc3339(event.unix_ms), event.text);
        out.push_str(&wrap(&text, "  ", "    "));
    }
}

/// A store on which nobody runs.
pub fn stopped(store: &Store) -> String {
    let mut out = String::new();
    let gateway = store
        .gateway
        .as_deref()
        .unwrap_or("(its gateway id cannot be read)");
    out.push_str(&wrap(&format!("{gateway}: NOT RUNNING"), "", ""));
    let since = store.last_sign_unix_ms.map_or_else(
        || "edgeferry does not run on this store".to_owned(),
        |at| {
            format!(
                "edgeferry does not run on this store; its last sign there is of {}",
                rfc3339(at)
            )
        },
    );
    out.push_str(&wrap(&since, "", ""));
    out.push('\n');
    out.push_str(&wrap(
        "nothing is taken from MQTT and nothing is delivered",
        "!! ",
        "   ",
    ));
    let todo = "start it: `systemctl start edgeferry`, or see `systemctl status edgeferry` for why it stopped. What is queued is \
                safe, and `edgeferry queue ls` shows it";
    out.push_str(&wrap(todo, "   > ", "     "));
    for lane in &store.lanes {
        put(&mut out, format_args!("\nlane {}\n", plain(&lane.name)));
        match &lane.ledger {
            Some(ledger) => put_ledger(&mut out, ledger),
            None => out.push_str(&wrap(
                "cannot be read: the marks are damaged or not there; the daemon finds out from the log",
                "  ledger   ",
                "           ",
            )),
        }
        out.push_str(&wrap(
            &ByteSize(lane.bytes).to_string(),
            "  space    ",
            "           ",
        ));
    }
    put(&mut out, format_args!("\nstore {}\n", plain(&store.data_dir)));
    out
}

#[expect(clippy::cast_precision_loss, reason = "it is shown in two units")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::COLUMNS;
    use crate::link::Link;
    use crate::ops::state::{Health, sample};

    #[test]
    fn a_state_says_what_to_do_before_anything_else_and_fits_a_terminal() {
        let mut state = sample::state();
        state.health = Health::of(&state);
        let lane = state.lanes.first_mut().expect("two");
        lane.kafka = Link::Down("x".repeat(500));
        lane.held = Some("a \x1b[31mreason".to_owned());
        let text = running(&state);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
        let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} in\n{text}"));
        assert!(
            place("!! lane alarms: Kafka refuses") < place("\nlane default"),
            "{text}"
        );
        assert!(place("NOT READY") < place("!! "), "{text}");
        assert!(
            place("  MQTT ") < place("  queue ") && place("  queue ") < place("  Kafka "),
            "{text}"
        );
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "1037 received = 1000 delivered + 17 queued + 5 dead letters + 15 removed",
            "(expired 15)",
            "beside it: recognised 7, resent 11, with QoS 0 2",
            "12/s in, 12/s out; 17 waiting, the oldest for 1 min, not draining",
            "5 wait (2.0 KiB)",
            "4 DROPPED BY THE BROKER",
            "4.7 GiB free of 14.9 GiB",
            "ends at 2026-1",
            "(3 times)",
        ] {
            assert!(flat.contains(part), "{part} in\n{text}");
        }
    }
}
