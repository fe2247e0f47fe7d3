//! What a state comes to: is the data safe, and if not, what should a person do? Pure: a state in, words out.

use bytesize::ByteSize;

use super::{Advice, Health, Lane, Level, State};
use crate::link::Link;
use crate::queue::Reason;

/// A backlog that is older than this while Kafka is away is told: nobody should find out after a week.
const OLD_BACKLOG_S: f64 = 3600.0;
/// A queue that is so full while it does not drain is told before it is full.
const NEARLY_FULL: f64 = 0.8;

impl Health {
    /// Of a state, whatever its own health says.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut advice: Vec<Advice> = state.lanes.iter().flat_map(|lane| of_lane(lane, state)).collect();
        advice.extend(of_whole(state));
        // Stable: of equal urgency what stands first on the path comes first.
        advice.sort_by_key(|advice| advice.level);
        let is_ready = state.lanes.iter().all(Lane::is_ready);
        let is_away = |lane: &&Lane| lane.ledger.queued > 0 && lane.kafka != Link::Up;
        Self {
            not_applied: None,
            is_ready,
            is_buffering: state.lanes.iter().any(|lane| is_away(&lane)),
            summary: summary(state, is_ready),
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

/// One line: the first of these that holds.
fn summary(state: &State, is_ready: bool) -> String {
    let backlog = state.backlog();
    let waiting = match backlog {
        0 => "nothing waits".to_owned(),
        1 => "1 message waits".to_owned(),
        count => format!("{count} messages wait"),
    };
    let lost: u64 = state.lanes.iter().map(|lane| lane.last_hour.lost).sum();
    let is_stuck = |lane: &Lane| lane.queue.failure.is_some();
    if lost > 0 {
        format!("DAMAGE: {lost} messages were lost in the last hour; {waiting}")
    } else if state.lanes.iter().any(is_stuck) {
        format!(
            "NOT READY: new messages cannot be stored and stay with the MQTT broker; what is stored is safe, {waiting}"
        )
    } else if !is_ready {
        format!("NOT READY: needs a person; all that is stored is safe, {waiting}")
    } else if state.lanes.iter().any(|lane| lane.queue.is_full) {
        format!("queue full: its policy decides about new messages; {waiting}")
    } else if state.lanes.iter().any(|lane| lane.kafka != Link::Up) {
        format!("buffering: Kafka is away, all that is stored is safe; {waiting}")
    } else if state
        .lanes
        .iter()
        .any(|lane| lane.brokers.iter().any(|broker| broker.link != Link::Up))
    {
        format!("an MQTT broker is away; what is stored is delivered, {waiting}")
    } else {
        format!("all is well; {waiting}")
    }
}

fn of_lane(lane: &Lane, state: &State) -> Vec<Advice> {
    let mut advice = Vec::new();
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
    let removed = |reason: Reason| lane.ledger.removed.get(reason.name()).copied().unwrap_or(0);
    let mut advice = Vec::new();
    let lost = removed(Reason::Damaged).saturating_add(lane.letters.lost);
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
            format!("{prefix}{lost} messages were lost by damage, none of them in the last hour"),
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

fn of_letters(lane: &Lane, state: &State) -> Vec<Advice> {
    let (count, new) = (lane.letters.count, lane.last_hour.dead_lettered);
    if count == 0 {
        return Vec::new();
    }
    let prefix = prefix(lane, state);
    let what = match new {
        0 => format!("{prefix}{count} dead letters wait for a decision; none came in the last hour"),
        new => format!("{prefix}{count} dead letters wait for a decision, and {new} came in the last hour"),
    };
    vec![warning(
        what,
        "`edgeferry dead-letter ls` names the reasons; put the route or the topic right, then `edgeferry dead-letter redrive`, or \
         `purge` what nobody wants",
    )]
}

fn of_backlog(lane: &Lane, state: &State) -> Vec<Advice> {
    let age = lane.queue.age_s.unwrap_or(0.0);
    let is_away = matches!(lane.kafka, Link::Down(_) | Link::Connecting);
    if !is_away || age < OLD_BACKLOG_S || lane.ledger.queued == 0 {
        return Vec::new();
    }
    let (prefix, queued) = (prefix(lane, state), lane.ledger.queued);
    vec![warning(
        format!(
            "{prefix}Kafka has been away while {queued} messages wait, the oldest for {:.1} h",
            age / 3600.0
        ),
        "see whether the network and the brokers of kafka.bootstrap_servers can be reached from here; the messages are safe \
         as long as the queue has room",
    )]
}

fn of_whole(state: &State) -> Vec<Advice> {
    let mut advice = Vec::new();
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
    if !state.is_clock_synchronised {
        advice.push(warning(
            "the clock is not known to be right".to_owned(),
            "see `timedatectl`: systemd-timesyncd says when it is (with chrony this cannot be known). Times of messages are \
             corrected once it is, where Kafka has not seen them",
        ));
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    /// One lane, and all is well.
    fn well() -> State {
        let mut state = sample::state();
        state.lanes.truncate(1);
        lane(&mut state).letters.count = 0;
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
        assert!(health.is_ready && !health.is_buffering);
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
            "9 messages wait, the oldest for 1.5 h",
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
            "42 messages were lost by damage, none",
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
            "all is well",
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
            "all is well",
        );
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
    fn a_clock_that_may_be_wrong_is_told() {
        let mut state = well();
        state.is_clock_synchronised = false;
        only(
            &state,
            Level::Warning,
            "the clock is not known to be right",
            "timedatectl",
            "all is well",
        );
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
