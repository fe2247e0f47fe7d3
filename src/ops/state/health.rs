//! What a state comes to: is the data safe (`verdict`), and if not, what should a person do? Pure: a state in, words out.

use std::collections::BTreeSet;

use bytesize::ByteSize;

use super::{Advice, Certificate, Health, Lane, Level, State, verdict};
use crate::link::Link;
use crate::ops::certificates::{self, Stage};

/// A backlog that is older than this while Kafka is away is told: nobody should find out after a week.
const OLD_BACKLOG_S: f64 = 3600.0;
/// A queue that is so full while it does not drain is told before it is full.
const NEARLY_FULL: f64 = 0.8;
/// A broker that has been away for so long is told: a restart of it takes minutes.
const LONG_AWAY_S: u64 = 3600;

impl Health {
    /// Of a state, whatever its own health says.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut advice: Vec<Advice> = state.lanes.iter().flat_map(|lane| of_lane(lane, state)).collect();
        advice.extend(of_whole(state));
        // Stable: of equal urgency what stands first on the path comes first.
        advice.sort_by_key(|advice| advice.level);
        let is_live = state.stalled_s.is_none() && state.lanes.iter().all(|lane| lane.stalled_s.is_none());
        // Of no lane nothing is known: that is no reason to say that it is well.
        let is_ready = is_live && !state.lanes.is_empty() && state.lanes.iter().all(Lane::is_ready);
        let verdict = verdict::of(state, &advice);
        Self {
            not_applied: None,
            is_ready,
            is_live,
            is_buffering: state.lanes.iter().any(Lane::is_buffering),
            level: verdict.level,
            heading: verdict.heading,
            more: verdict.more,
            summary: verdict.summary,
            advice,
        }
    }
}

fn error(what: String, todo: impl Into<String>) -> Advice {
    Advice {
        level: Level::Error,
        what,
        todo: todo.into(),
    }
}

fn warning(what: String, todo: impl Into<String>) -> Advice {
    Advice {
        level: Level::Warning,
        what,
        todo: todo.into(),
    }
}

const HANGS: &str = "look at `dmesg` and the medium first, a card that stalls holds everything up; otherwise send `edgeferry report` \
                     in and say `systemctl restart edgeferry`, which goes on with what is stored";

fn of_lane(lane: &Lane, state: &State) -> Vec<Advice> {
    let mut advice = Vec::new();
    if let Some(time) = lane.stalled_s {
        advice.push(error(
            format!("{}nothing has moved for {time} s: it hangs", prefix(lane, state)),
            HANGS,
        ));
    }
    for broker in &lane.brokers {
        if let Link::Refused(reason) = &broker.link {
            advice.push(error(
                format!("{}MQTT broker {} refuses: {reason}", prefix(lane, state), broker.name),
                "put right what it names, in the configuration or at the broker; `edgeferry check --live` tries it. The \
                 broker keeps the messages of its session meanwhile, within its own limits",
            ));
        }
    }
    if let Link::Refused(reason) = &lane.kafka {
        advice.push(error(
            format!("{}Kafka refuses: {reason}", prefix(lane, state)),
            "put right what it names, in the configuration or in Kafka; `edgeferry check --live` tries it. Messages wait here \
             and are safe",
        ));
    }
    advice.extend(of_store(lane, state));
    advice.extend(of_losses(lane, state));
    advice.extend(of_account(lane, state));
    advice.extend(of_letters(lane, state));
    advice.extend(of_backlog(lane, state));
    advice
}

/// Lanes are named when there are several.
fn prefix(lane: &Lane, state: &State) -> String {
    match state.lanes.len() {
        0 | 1 => String::new(),
        _ => format!("lane {}: ", lane.name),
    }
}

fn of_store(lane: &Lane, state: &State) -> Vec<Advice> {
    let prefix = prefix(lane, state);
    let mut advice = Vec::new();
    if let Some(failure) = &lane.queue.failure {
        let is_low = state.disk.free_bytes.is_some_and(|free| {
            free <= state
                .disk
                .min_free_bytes
                .saturating_add(state.disk.min_free_bytes / 8)
        });
        let todo = if is_low {
            format!(
                "make room on the file system of {}: it needs more than {} free (min_free_bytes). Nothing is acknowledged to \
                 MQTT until then, and nothing is lost by it",
                state.disk.path,
                ByteSize(state.disk.min_free_bytes)
            )
        } else {
            format!(
                "look at the medium of {} (`dmesg`), its rights and its mount. Nothing is acknowledged to MQTT until then, and \
                 nothing is lost by it",
                state.disk.path
            )
        };
        advice.push(error(
            format!("{prefix}messages cannot be stored: {failure}"),
            todo,
        ));
    }
    if let Some(held) = &lane.held {
        advice.push(error(
            format!("{prefix}delivery is held on this machine: {held}"),
            "put right what it names; a full store of dead letters gets room by `edgeferry dead-letter export` and `purge`. \
             Messages wait and are safe",
        ));
    }
    if lane.queue.is_full {
        advice.push(warning(
            format!("{prefix}the queue is full ({})", ByteSize(lane.queue.max_bytes)),
            "bring Kafka back, raise max_bytes, or take messages out with `edgeferry queue export` and `purge`. on_full says \
             what becomes of new messages until then",
        ));
    } else if is_nearly_full(lane) {
        advice.push(warning(
            format!(
                "{prefix}the queue has {} of {} and does not drain",
                ByteSize(lane.queue.bytes),
                ByteSize(lane.queue.max_bytes)
            ),
            "bring Kafka back, or raise max_bytes before it is full",
        ));
    }
    advice
}

fn is_nearly_full(lane: &Lane) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
    let share = lane.queue.bytes as f64 / lane.queue.max_bytes.max(1) as f64;
    // Delivered generations are given back as a whole: without a backlog a full folder is nothing.
    lane.ledger.queued > 0 && lane.flow.drained_in_s.is_none() && share >= NEARLY_FULL
}

fn of_losses(lane: &Lane, state: &State) -> Vec<Advice> {
    let prefix = prefix(lane, state);
    let mut advice = Vec::new();
    let lost = verdict::lost_in_all(lane);
    let todo = "the medium is failing or was damaged: copy the store away, look at `dmesg` and the log for the exact ranges, and \
                replace the medium";
    if lane.last_hour.lost > 0 {
        let new = lane.last_hour.lost;
        advice.push(error(
            format!("{prefix}{new} messages were lost by damage in the last hour, {lost} in all"),
            todo,
        ));
    } else if lost > 0 {
        advice.push(warning(
            format!(
                "{prefix}{lost} messages were lost by damage, none of them {}",
                lately(lane)
            ),
            todo,
        ));
    }
    if lane.last_hour.dropped > 0 {
        advice.push(warning(
            format!("{prefix}{} messages were dropped in the last hour, by policy", lane.last_hour.dropped),
            "this is what on_full or max_age say; a larger max_bytes, a longer max_age or on_full = \"backpressure\" would keep \
             them",
        ));
    }
    advice
}

/// Messages of which nobody knows what became of them, or which were counted twice.
fn of_account(lane: &Lane, state: &State) -> Option<Advice> {
    let unaccounted = lane.ledger.unaccounted.filter(|count| *count != 0)?;
    let what = match unaccounted {
        1.. => format!("of {unaccounted} messages nobody knows what became of them"),
        _ => format!("{} messages are counted twice", unaccounted.unsigned_abs()),
    };
    Some(error(
        format!("{}the account does not add up: {what}", prefix(lane, state)),
        "see by `edgeferry verify` whether Kafka has all messages, and send `edgeferry report` in: this is a fault of edgeferry, or a \
         file of the store was damaged",
    ))
}

/// The time that the numbers of the last hour cover.
fn lately(lane: &Lane) -> String {
    match lane.last_hour.over_s {
        3600.. => "in the last hour".to_owned(),
        0..60 => "since the start just now".to_owned(),
        over_s => format!("since the start {} min ago", over_s / 60),
    }
}

fn of_letters(lane: &Lane, state: &State) -> Vec<Advice> {
    let (count, new) = (lane.letters.count, lane.last_hour.dead_lettered);
    if count == 0 {
        return Vec::new();
    }
    let prefix = prefix(lane, state);
    let what = match new {
        0 => format!(
            "{prefix}{count} dead letters wait for a decision; none came {}",
            lately(lane)
        ),
        new => format!("{prefix}{count} dead letters wait for a decision, and {new} came in the last hour"),
    };
    vec![warning(
        what,
        "`edgeferry dead-letter ls` names the reasons; put the route or the topic right, then `edgeferry dead-letter redrive`, or \
         `purge` what nobody wants",
    )]
}

fn of_backlog(lane: &Lane, state: &State) -> Vec<Advice> {
    let is_away = matches!(lane.kafka, Link::Down(_) | Link::Connecting);
    let oldest = match lane.queue.age_s {
        Some(age) if age >= OLD_BACKLOG_S => format!("the oldest for {}", hours(age)),
        // It may be old: nobody should find out after a week.
        None if lane.queue.is_age_unknown && lane.kafka_away_s.is_some_and(|away| away >= LONG_AWAY_S) => {
            "for how long is not known".to_owned()
        }
        _ => return Vec::new(),
    };
    if !is_away || lane.ledger.queued == 0 {
        return Vec::new();
    }
    let (prefix, queued) = (prefix(lane, state), lane.ledger.queued);
    vec![warning(
        format!("{prefix}Kafka has been away while {queued} messages wait, {oldest}"),
        "see whether the network and the brokers of kafka.bootstrap_servers can be reached from here; the messages are safe \
         as long as the queue has room",
    )]
}

/// As people say it.
fn hours(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an age in whole minutes"
    )]
    let minutes = (seconds / 60.0) as u64;
    match (minutes / 60, minutes % 60) {
        (hours @ 24.., _) => format!("{} d {} h", hours / 24, hours % 24),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// Of brokers, each once, whatever the number of lanes that are connected to it.
fn of_brokers(state: &State) -> Vec<Advice> {
    let mut advice = Vec::new();
    let mut seen = BTreeSet::new();
    for broker in state.lanes.iter().flat_map(|lane| &lane.brokers) {
        let name = &broker.name;
        if let (Link::Down(reason), Some(away)) = (&broker.link, broker.away_s)
            && away >= LONG_AWAY_S
            && seen.insert((name, "away"))
        {
            advice.push(warning(
                format!("MQTT broker {name} has been away for {} h: {reason}", away / 3600),
                "see whether it runs and can be reached from here. It keeps messages for edgeferry only as long as it runs, and \
                 its session lasts",
            ));
        }
        if broker.dropped_last_hour > 0 && seen.insert((name, "dropped")) {
            advice.push(warning(
                format!(
                    "MQTT broker {name} says that it dropped {} messages for any of its clients in the last hour",
                    broker.dropped_last_hour
                ),
                "see whether they were edgeferry's: raise what the broker keeps for a client that is away (Mosquitto: \
                 max_queued_messages, max_queued_bytes), and have the queue of edgeferry not full",
            ));
        }
    }
    advice
}

/// A certificate that nobody can use any more stops a link at its next connection.
fn of_certificate(certificate: &Certificate, state: &State) -> Option<Advice> {
    let name = format!(
        "{} {} ({})",
        certificate.of, certificate.setting, certificate.file
    );
    if let Some(failure) = &certificate.failure {
        return Some(warning(
            format!("the certificate of {name} cannot be read: {failure}"),
            "put the file and its rights right; the link works until it has to connect again",
        ));
    }
    let renew = "put a new one in its place and say `systemctl reload edgeferry`";
    let ends = certificate.not_after_unix_ms?;
    Some(match certificates::stage(ends, state.unix_ms)? {
        // By a clock that may be ahead nothing has expired.
        Stage::Over(_) if state.is_clock_synchronised == Some(false) => warning(
            format!("the certificate of {name} has expired, if the clock is right"),
            "see to the clock first",
        ),
        Stage::Over(_) => error(format!("the certificate of {name} has expired"), renew),
        Stage::Week(days) => warning(
            format!("the certificate of {name} ends in {} days", days.0),
            renew,
        ),
        Stage::Month => warning(format!("the certificate of {name} ends within 30 days"), renew),
    })
}

fn of_whole(state: &State) -> Vec<Advice> {
    let mut advice = of_brokers(state);
    if let Some(time) = state.stalled_s {
        advice.push(error(
            format!("the main thread, which serves all MQTT connections, has hung for {time} s"),
            HANGS,
        ));
    }
    let certificates = state.certificates.iter();
    advice.extend(certificates.filter_map(|certificate| of_certificate(certificate, state)));
    if let Some(reason) = &state.not_forwarded {
        advice.push(warning(
            format!("dead letters are not forwarded to their topic: {reason}"),
            "put the topic of [dead_letter] or the rights on it right; the letters are kept here meanwhile",
        ));
    }
    if let Some(budget) = state.disk.budget_per_day_bytes
        && state.disk.projected_per_day_bytes > budget
    {
        advice.push(warning(
            format!(
                "at the rate of the last minutes {} a day would be written, flash_budget is {}",
                ByteSize(state.disk.projected_per_day_bytes),
                ByteSize(budget)
            ),
            "raise commit_interval_max, which trades latency for wear, have less sent, or raise flash_budget",
        ));
    }
    // Where nobody can know it there is nothing to see to, and an advice that always stands is read by nobody.
    if state.is_clock_synchronised == Some(false) {
        advice.push(warning(
            "the clock is not synchronised yet".to_owned(),
            "see `timedatectl`: the time server must be reached once after each start. Times of messages are corrected then, \
             where Kafka has not seen them",
        ));
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::super::{Grade, sample};
    use super::*;

    /// One lane, and all is well.
    fn well() -> State {
        let mut state = sample::state();
        state.lanes.truncate(1);
        lane(&mut state).letters.count = 0;
        if let Some(certificate) = state.certificates.first_mut() {
            certificate.not_after_unix_ms = Some(state.unix_ms + 90 * 86_400_000);
        }
        state
    }

    fn lane(state: &mut State) -> &mut Lane {
        state.lanes.first_mut().expect("there is one")
    }

    /// The only advice, and whether the summary begins so.
    #[track_caller]
    fn only(state: &State, level: Level, what: &str, todo: &str, summary: &str) {
        let health = Health::of(state);
        let [advice] = health.advice.as_slice() else {
            panic!("{health:?}");
        };
        assert_eq!(advice.level, level, "{advice:?}");
        assert!(advice.what.contains(what), "{advice:?}");
        assert!(advice.todo.contains(todo), "{advice:?}");
        assert!(health.summary.starts_with(summary), "{health:?}");
    }

    #[test]
    fn where_all_is_well_there_is_nothing_to_do() {
        let health = Health::of(&well());
        assert_eq!(health.advice, []);
        assert_eq!(health.summary, "all is well; nothing waits");
        assert!(health.is_ready && health.is_live && !health.is_buffering);
        assert_eq!(
            (health.level, health.heading.as_str()),
            (Grade::Ok, "Your data is safe.")
        );
    }

    #[test]
    fn without_a_lane_nothing_is_claimed() {
        let mut state = well();
        state.lanes.clear();
        let health = Health::of(&state);
        assert!(!health.is_ready && health.is_live, "{health:?}");
        assert_eq!(health.level, Grade::Warn);
        for text in [&health.summary, &health.heading, &health.more] {
            assert!(
                !text.contains("well") && !text.contains("safe") && !text.contains("nothing waits"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_lane_that_is_exchanged_is_as_ready_as_it_was_and_not_all_well() {
        let mut state = well();
        lane(&mut state).is_reloading = true;
        lane(&mut state).ledger.queued = 900_000;
        let health = Health::of(&state);
        assert!(health.is_ready && health.is_live, "{health:?}");
        assert_eq!(
            (health.level, health.heading.as_str()),
            (Grade::Warn, "The configuration is being changed.")
        );
        assert!(
            health.summary.contains("900000 messages wait as of a moment ago"),
            "{health:?}"
        );
    }

    #[test]
    fn what_hangs_is_neither_live_nor_ready_and_needs_a_person() {
        let mut of_lane = well();
        lane(&mut of_lane).stalled_s = Some(77);
        let mut of_main = well();
        of_main.stalled_s = Some(77);
        for (state, what) in [(of_lane, "nothing has moved for 77 s"), (of_main, "main thread")] {
            only(
                &state,
                Level::Error,
                what,
                "dmesg",
                "NOT READY: it hangs for 77 s",
            );
            let health = Health::of(&state);
            assert!(!health.is_live && !health.is_ready, "{health:?}");
            assert_eq!(health.level, Grade::Bad);
        }
    }

    #[test]
    fn without_a_backlog_kafka_that_is_away_or_being_connected_to_is_not_buffering() {
        for (link, says) in [
            (
                Link::Down("away".to_owned()),
                "Kafka is away; what comes is stored, nothing waits",
            ),
            (
                Link::Connecting,
                "links are being made; what is stored is safe, nothing waits",
            ),
        ] {
            let mut state = well();
            lane(&mut state).kafka = link;
            let health = Health::of(&state);
            assert!(!health.is_buffering);
            assert_eq!((health.level, health.summary.as_str()), (Grade::Warn, says));
        }
    }

    #[test]
    fn a_certificate_that_ends_has_ended_or_cannot_be_read_is_told() {
        const DAY_MS: i64 = 86_400_000;
        let with = |days: i64| {
            let mut state = well();
            let certificate = state.certificates.first_mut().expect("one");
            certificate.not_after_unix_ms = Some(state.unix_ms + days * DAY_MS);
            state
        };
        only(
            &with(20),
            Level::Warning,
            "kafka ca_file (/etc/edgeferry/ca.pem) ends within 30 days",
            "reload",
            "all is well",
        );
        only(
            &with(5),
            Level::Warning,
            "ends in 5 days",
            "put a new one",
            "all is well",
        );
        only(
            &with(-1),
            Level::Error,
            "has expired",
            "put a new one",
            "needs a person: the certificate of kafka",
        );
        let mut state = with(90);
        let certificate = state.certificates.first_mut().expect("one");
        (certificate.not_after_unix_ms, certificate.failure) = (None, Some("no such file".to_owned()));
        only(
            &state,
            Level::Warning,
            "cannot be read: no such file",
            "rights",
            "all is well",
        );
        // By a clock that may be ahead nothing has expired for sure.
        let mut state = with(-1);
        state.is_clock_synchronised = Some(false);
        let advice = Health::of(&state).advice;
        assert!(
            advice.iter().all(|advice| advice.level == Level::Warning),
            "{advice:?}"
        );
    }

    #[test]
    fn a_broker_that_has_been_away_for_long_or_drops_messages_is_told_once_for_all_lanes() {
        let mut state = well();
        let second = lane(&mut state).clone();
        state.lanes.push(second);
        for lane in &mut state.lanes {
            let broker = lane.brokers.first_mut().expect("one");
            broker.link = Link::Down("refused".to_owned());
            broker.away_s = Some(3599);
        }
        assert_eq!(Health::of(&state).advice, []);
        for lane in &mut state.lanes {
            lane.brokers.first_mut().expect("one").away_s = Some(7200);
        }
        only(
            &state,
            Level::Warning,
            "broker local has been away for 2 h: refused",
            "whether it runs",
            "an MQTT broker",
        );
        for lane in &mut state.lanes {
            let broker = lane.brokers.first_mut().expect("one");
            (broker.link, broker.away_s, broker.dropped_last_hour) = (Link::Up, None, 8);
        }
        only(
            &state,
            Level::Warning,
            "local says that it dropped 8 messages",
            "max_queued_messages",
            "all is well",
        );
    }

    #[test]
    fn a_backlog_of_unknown_age_is_told_once_kafka_has_been_away_for_long() {
        let mut state = well();
        let away = lane(&mut state);
        away.kafka = Link::Down("away".to_owned());
        away.ledger.queued = 9;
        (away.queue.age_s, away.queue.is_age_unknown, away.kafka_away_s) = (None, true, Some(3599));
        assert_eq!(Health::of(&state).advice, []);
        lane(&mut state).kafka_away_s = Some(3600);
        only(
            &state,
            Level::Warning,
            "for how long is not known",
            "network",
            "buffering",
        );
    }

    #[test]
    fn a_link_that_refuses_needs_a_person() {
        let mut state = well();
        lane(&mut state).kafka = Link::Refused("bad password".to_owned());
        only(
            &state,
            Level::Error,
            "Kafka refuses: bad password",
            "check --live",
            "NOT READY: needs a person",
        );
        assert!(!Health::of(&state).is_ready);
        let mut state = well();
        let broker = lane(&mut state).brokers.first_mut().expect("one");
        broker.link = Link::Refused("not authorised".to_owned());
        only(
            &state,
            Level::Error,
            "MQTT broker local refuses: not authorised",
            "check --live",
            "NOT READY",
        );
    }

    #[test]
    fn a_link_that_is_away_is_told_as_buffering_and_after_an_hour_as_advice() {
        let mut state = well();
        let away = lane(&mut state);
        away.kafka = Link::Down("no route".to_owned());
        away.ledger.queued = 9;
        away.queue.age_s = Some(3599.0);
        let health = Health::of(&state);
        assert!(
            health.is_ready && health.is_buffering && health.advice.is_empty(),
            "{health:?}"
        );
        assert_eq!(
            health.summary,
            "buffering: Kafka is away, all that is stored is safe; 9 messages wait"
        );
        lane(&mut state).queue.age_s = Some(5400.0);
        only(
            &state,
            Level::Warning,
            "9 messages wait, the oldest for 1 h 30 min",
            "network",
            "buffering",
        );
        // An old message behind a link that works is on its way.
        lane(&mut state).kafka = Link::Up;
        assert_eq!(Health::of(&state).advice, []);
    }

    #[test]
    fn an_mqtt_broker_that_is_away_is_told() {
        let mut state = well();
        let broker = lane(&mut state).brokers.first_mut().expect("one");
        broker.link = Link::Down("refused".to_owned());
        let health = Health::of(&state);
        assert!(health.is_ready, "{health:?}");
        assert!(health.summary.starts_with("an MQTT broker is away"), "{health:?}");
    }

    #[test]
    fn a_full_queue_and_one_that_fills_are_told() {
        let mut state = well();
        lane(&mut state).queue.is_full = true;
        only(
            &state,
            Level::Warning,
            "the queue is full (1.0 GiB)",
            "raise max_bytes",
            "queue full",
        );
        let mut state = well();
        let filling = lane(&mut state);
        filling.ledger.queued = 5;
        filling.queue.bytes = filling.queue.max_bytes / 10 * 9;
        only(
            &state,
            Level::Warning,
            "does not drain",
            "before it is full",
            "all is well",
        );
        lane(&mut state).flow.drained_in_s = Some(10.0);
        assert_eq!(Health::of(&state).advice, []);
    }

    #[test]
    fn a_full_disk_asks_for_room_and_another_failure_for_a_look_at_the_medium() {
        let mut state = well();
        lane(&mut state).queue.failure = Some("the disk is low".to_owned());
        state.disk.free_bytes = Some(state.disk.min_free_bytes);
        only(
            &state,
            Level::Error,
            "cannot be stored: the disk is low",
            "make room on the file system of /var/lib/edgeferry",
            "NOT READY: new messages cannot be stored",
        );
        state.disk.free_bytes = Some(u64::MAX);
        only(&state, Level::Error, "cannot be stored", "dmesg", "NOT READY");
    }

    #[test]
    fn held_delivery_needs_a_person() {
        let mut state = well();
        lane(&mut state).held = Some("cannot keep a dead letter".to_owned());
        only(
            &state,
            Level::Error,
            "held on this machine: cannot keep",
            "dead-letter export",
            "NOT READY: needs a person",
        );
    }

    #[test]
    fn a_loss_is_an_error_for_an_hour_and_stays_told() {
        let mut state = well();
        let damaged = lane(&mut state);
        damaged.ledger.removed.insert("damaged".to_owned(), 40);
        damaged.letters.lost = 2;
        damaged.last_hour.lost = 7;
        only(
            &state,
            Level::Error,
            "7 messages were lost by damage in the last hour, 42 in all",
            "replace the medium",
            "DAMAGE: 7 messages",
        );
        lane(&mut state).last_hour.lost = 0;
        only(
            &state,
            Level::Warning,
            "42 messages were lost by damage, none of them in the last hour",
            "replace the medium",
            "all is well",
        );
        let health = Health::of(&state);
        assert_eq!(health.heading, "What is stored is safe.");
        assert!(
            health.more.ends_with("42 messages were lost by damage earlier."),
            "{health:?}"
        );
        lane(&mut state).last_hour.over_s = 300;
        only(
            &state,
            Level::Warning,
            "none of them since the start 5 min ago",
            "replace the medium",
            "all is well",
        );
    }

    #[test]
    fn dropped_messages_are_told_for_an_hour() {
        let mut state = well();
        lane(&mut state)
            .ledger
            .removed
            .insert("dropped_oldest".to_owned(), 9);
        assert_eq!(Health::of(&state).advice, [], "long ago, and as configured");
        lane(&mut state).last_hour.dropped = 9;
        only(
            &state,
            Level::Warning,
            "9 messages were dropped in the last hour",
            "backpressure",
            "9 messages were removed by policy in the last hour; what is stored is safe",
        );
        // Kafka away and messages that expire: not merely "safe, and waits for Kafka".
        lane(&mut state).kafka = Link::Down("away".to_owned());
        lane(&mut state).ledger.queued = 3;
        let health = Health::of(&state);
        assert_eq!(health.level, Grade::Warn);
        assert_eq!(
            health.heading,
            "9 messages were removed by policy in the last hour."
        );
        assert!(
            health.more.contains("Kafka is away") && health.more.contains("3 messages wait"),
            "{health:?}"
        );
    }

    #[test]
    fn dead_letters_are_told_and_whether_there_are_new_ones() {
        let mut state = well();
        lane(&mut state).letters.count = 5;
        only(
            &state,
            Level::Warning,
            "5 dead letters wait for a decision; none came",
            "dead-letter ls",
            "all is well",
        );
        lane(&mut state).last_hour.dead_lettered = 3;
        only(
            &state,
            Level::Warning,
            "and 3 came in the last hour",
            "redrive",
            "3 messages became dead letters in the last hour",
        );
        assert_eq!(Health::of(&state).level, Grade::Warn);
    }

    #[test]
    fn a_flash_budget_that_is_passed_is_told() {
        let mut state = well();
        state.disk.projected_per_day_bytes = (1 << 30) + 1;
        only(
            &state,
            Level::Warning,
            "flash_budget is 1.0 GiB",
            "commit_interval_max",
            "all is well",
        );
        state.disk.budget_per_day_bytes = None;
        assert_eq!(Health::of(&state).advice, []);
    }

    #[test]
    fn an_account_that_does_not_add_up_is_an_error_either_way_and_none_where_it_cannot_be_counted() {
        for (unaccounted, what) in [
            (3, "of 3 messages nobody knows"),
            (-2, "2 messages are counted twice"),
        ] {
            let mut state = well();
            lane(&mut state).ledger.unaccounted = Some(unaccounted);
            only(
                &state,
                Level::Error,
                what,
                "edgeferry verify",
                "THE ACCOUNT IS WRONG by",
            );
            assert_eq!(Health::of(&state).level, Grade::Bad);
        }
        let mut state = well();
        lane(&mut state).ledger.unaccounted = None;
        assert_eq!(Health::of(&state).advice, []);
    }

    #[test]
    fn a_clock_that_may_be_wrong_is_told() {
        let mut state = well();
        state.is_clock_synchronised = Some(false);
        only(
            &state,
            Level::Warning,
            "the clock is not synchronised yet",
            "timedatectl",
            "all is well",
        );
    }

    #[test]
    fn a_clock_of_which_nobody_can_know_is_no_standing_advice() {
        let mut state = well();
        state.is_clock_synchronised = None;
        assert_eq!(Health::of(&state).advice, []);
    }

    #[test]
    fn letters_that_are_not_forwarded_are_told() {
        let mut state = well();
        state.not_forwarded = Some("no such topic".to_owned());
        only(
            &state,
            Level::Warning,
            "not forwarded to their topic: no such topic",
            "[dead_letter]",
            "all is well",
        );
    }

    #[test]
    fn the_most_urgent_comes_first_and_lanes_are_named_when_there_are_several() {
        let mut state = sample::state();
        lane(&mut state).queue.is_full = true;
        let advice = Health::of(&state).advice;
        let levels: Vec<Level> = advice.iter().map(|advice| advice.level).collect();
        assert!(levels.is_sorted(), "{advice:?}");
        assert!(
            advice
                .first()
                .is_some_and(|advice| advice.what.starts_with("lane alarms: Kafka refuses")),
            "{advice:?}"
        );
    }
}
