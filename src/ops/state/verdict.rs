//! The answer to the one question, is my data safe? This is the only place that decides it: the terminal, the page, the probes
//! and the topics of `[status]` show these words as they are.

use super::{Advice, Grade, Lane, Level, State};
use crate::link::Link;
use crate::queue::Reason;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Grade,
    pub(super) heading: String,
    pub(super) more: String,
    pub(super) summary: String,
}

/// The first of these that holds, the worst first. `advice` is what a person should do.
pub(super) fn of(state: &State, advice: &[Advice]) -> Verdict {
    let found = lost(state)
        .or_else(|| miscounted(state))
        .or_else(|| stalled(state))
        .or_else(|| no_lane(state))
        .or_else(|| stuck(state))
        .or_else(|| full(state))
        .or_else(|| reloading(state))
        .or_else(|| thrown_away(state))
        .or_else(|| away(state))
        .or_else(|| needs_a_person(state, advice));
    let mut verdict = found.unwrap_or_else(|| well(state));
    let lost_before: u64 = state.lanes.iter().map(lost_earlier).sum();
    if lost_before > 0 {
        if !verdict.more.is_empty() {
            verdict.more.push(' ');
        }
        let were = plural(lost_before, "message was", "messages were");
        verdict.more.push_str(&were);
        verdict.more.push_str(" lost by damage earlier.");
    }
    verdict
}

impl Lane {
    /// Messages wait because Kafka is away.
    #[must_use]
    pub fn is_buffering(&self) -> bool {
        self.ledger.queued > 0 && self.kafka != Link::Up
    }
}

/// Messages that were lost by damage, of longer ago than the last hour.
fn lost_earlier(lane: &Lane) -> u64 {
    lost_in_all(lane).saturating_sub(lane.last_hour.lost)
}

/// Messages that were lost by damage since the store was made, queued or as dead letters.
pub(super) fn lost_in_all(lane: &Lane) -> u64 {
    let damaged = lane.ledger.removed.get(Reason::Damaged.name());
    damaged.copied().unwrap_or(0).saturating_add(lane.letters.lost)
}

fn verdict(level: Grade, heading: impl Into<String>, more: impl Into<String>, summary: String) -> Verdict {
    Verdict {
        level,
        heading: heading.into(),
        more: more.into(),
        summary,
    }
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn waiting(state: &State) -> String {
    match state.backlog() {
        0 => "nothing waits".to_owned(),
        count => plural(count, "message waits", "messages wait"),
    }
}

/// As a sentence.
fn waiting_here(state: &State) -> String {
    match state.backlog() {
        0 => "Nothing waits.".to_owned(),
        count => format!(
            "{} on the disk of this gateway.",
            plural(count, "message waits", "messages wait")
        ),
    }
}

fn sum(state: &State, of: impl Fn(&Lane) -> u64) -> u64 {
    state.lanes.iter().map(of).sum()
}

/// Brokers in this state, each once.
fn brokers(state: &State, is_it: impl Fn(&Link) -> bool) -> String {
    let all = state.lanes.iter().flat_map(|lane| &lane.brokers);
    let mut names: Vec<&str> = Vec::new();
    for broker in all.filter(|broker| is_it(&broker.link)) {
        if !names.contains(&broker.name.as_str()) {
            names.push(&broker.name);
        }
    }
    names.join(", ")
}

fn lost(state: &State) -> Option<Verdict> {
    let lost = sum(state, |lane| lane.last_hour.lost);
    let missing = plural(lost, "message is", "messages are");
    let were = plural(lost, "message was", "messages were");
    (lost > 0).then(|| {
        verdict(
            Grade::Bad,
            "Messages were lost.",
            format!("The store is damaged: {missing} missing, found in the last hour. What else is stored is delivered."),
            format!("DAMAGE: {were} lost in the last hour; {}", waiting(state)),
        )
    })
}

/// Nobody can say that it is safe while messages are missing from the account.
fn miscounted(state: &State) -> Option<Verdict> {
    let off = |lane: &Lane| lane.ledger.unaccounted.map_or(0, i64::unsigned_abs);
    let off = sum(state, off);
    (off > 0).then(|| {
        verdict(
            Grade::Bad,
            "The account does not add up.",
            format!(
                "It is wrong by {}. `edgeferry verify` says whether Kafka has all of them.",
                plural(off, "message", "messages")
            ),
            format!(
                "THE ACCOUNT IS WRONG by {}; {}",
                plural(off, "message", "messages"),
                waiting(state)
            ),
        )
    })
}

fn stalled(state: &State) -> Option<Verdict> {
    let lanes = state.lanes.iter().filter_map(|lane| lane.stalled_s);
    let time = lanes.chain(state.stalled_s).max()?;
    Some(verdict(
        Grade::Bad,
        "edgeferry hangs: nothing moves.",
        format!(
            "There has been no progress for {time} s. What is stored stays on the disk; what is not acknowledged stays with the \
             MQTT brokers, as long as those keep it. {}",
            waiting_here(state)
        ),
        format!("NOT READY: it hangs for {time} s; {}", waiting(state)),
    ))
}

fn no_lane(state: &State) -> Option<Verdict> {
    state.lanes.is_empty().then(|| {
        verdict(
            Grade::Warn,
            "No lane runs at the moment.",
            "edgeferry is starting, or its configuration is being changed. What waits is not known until that is done.",
            "NOT READY: no lane runs; what waits is not known".to_owned(),
        )
    })
}

/// Somebody has to act.
fn stuck(state: &State) -> Option<Verdict> {
    let some = |test: fn(&Lane) -> bool| state.lanes.iter().any(test);
    let refusing = brokers(state, |link| matches!(link, Link::Refused(_)));
    let (heading, more) = if some(|lane| lane.queue.failure.is_some()) {
        return Some(verdict(
            Grade::Bad,
            "Not safe: new messages cannot be stored.",
            "What was stored before stays. New messages stay with the brokers, as long as those keep them.",
            format!(
                "NOT READY: new messages cannot be stored and stay with the MQTT broker; what is stored is safe, {}",
                waiting(state)
            ),
        ));
    } else if some(|lane| matches!(lane.kafka, Link::Refused(_))) {
        (
            "Stored safely, but stuck until somebody acts.",
            "Kafka answers, and refuses what the configuration asks for. What is stored stays; the queue fills until that is put \
             right."
                .to_owned(),
        )
    } else if some(|lane| lane.held.is_some()) {
        (
            "Stored safely, but held on this gateway.",
            "Something on this machine keeps messages from leaving. What is stored stays; the queue fills until that is put right."
                .to_owned(),
        )
    } else if !refusing.is_empty() {
        (
            "What arrived is safe. Nothing new comes from a broker that refuses.",
            format!("Refused by: {refusing}. Somebody has to put right what the configuration asks of it."),
        )
    } else {
        return None;
    };
    let summary = format!(
        "NOT READY: needs a person; all that is stored is safe, {}",
        waiting(state)
    );
    Some(verdict(Grade::Bad, heading, more, summary))
}

fn full(state: &State) -> Option<Verdict> {
    state.lanes.iter().any(|lane| lane.queue.is_full).then(|| {
        verdict(
            Grade::Bad,
            "The queue is full.",
            "What is stored is safe. What happens to new messages is what on_full says in the configuration.",
            format!(
                "queue full: its policy decides about new messages; {}",
                waiting(state)
            ),
        )
    })
}

fn reloading(state: &State) -> Option<Verdict> {
    state.lanes.iter().any(|lane| lane.is_reloading).then(|| {
        verdict(
            Grade::Warn,
            "The configuration is being changed.",
            format!(
                "What is shown of the lanes is from before that. What is stored is safe. {}",
                waiting_here(state)
            ),
            format!(
                "the configuration is being changed; what is stored is safe, {} as of a moment ago",
                waiting(state)
            ),
        )
    })
}

/// Messages do not reach Kafka, and the configuration or Kafka wants it so. Nobody should read that all is well.
fn thrown_away(state: &State) -> Option<Verdict> {
    let dropped = sum(state, |lane| lane.last_hour.dropped);
    let letters = sum(state, |lane| lane.last_hour.dead_lettered);
    let is_away = state.lanes.iter().any(Lane::is_buffering);
    let now = if is_away { "Kafka is away. " } else { "" };
    let what_is_left = format!("{now}What is stored is safe. {}", waiting_here(state));
    let were = plural(dropped, "message was", "messages were");
    let became = plural(
        letters,
        "message became a dead letter",
        "messages became dead letters",
    );
    if dropped > 0 {
        let also = if letters > 0 {
            format!(" {became}.")
        } else {
            String::new()
        };
        Some(verdict(
            Grade::Warn,
            format!("{were} removed by policy in the last hour."),
            format!(
                "A full queue, an age or a full store of dead letters: the configuration says what goes.{also} {what_is_left}"
            ),
            format!(
                "{were} removed by policy in the last hour; what is stored is safe, {}",
                waiting(state)
            ),
        ))
    } else if letters > 0 {
        Some(verdict(
            Grade::Warn,
            format!("{became} in the last hour."),
            format!("They are not in their topics; somebody has to decide about them. {what_is_left}"),
            format!(
                "{became} in the last hour; what is stored is safe, {}",
                waiting(state)
            ),
        ))
    } else {
        None
    }
}

/// A link is away. Buffering is the job.
fn away(state: &State) -> Option<Verdict> {
    let some = |test: fn(&Lane) -> bool| state.lanes.iter().any(test);
    let away = brokers(state, |link| matches!(link, Link::Down(_)));
    let too = if away.is_empty() {
        String::new()
    } else {
        format!(" MQTT brokers away: {away}.")
    };
    let is_away = |lane: &Lane| !matches!(lane.kafka, Link::Up | Link::Connecting);
    if some(Lane::is_buffering) {
        let why = if some(is_away) {
            "Kafka is away"
        } else {
            "Kafka is being connected to"
        };
        Some(verdict(
            Grade::Warn,
            "Your data is safe, and waits for Kafka.",
            format!("{why}. {}{too}", waiting_here(state)),
            format!("buffering: {why}, all that is stored is safe; {}", waiting(state)),
        ))
    } else if some(is_away) {
        Some(verdict(
            Grade::Warn,
            "Your data is safe. Kafka is away.",
            format!("Nothing waits yet; what comes is stored here.{too}"),
            "Kafka is away; what comes is stored, nothing waits".to_owned(),
        ))
    } else if !away.is_empty() {
        Some(verdict(
            Grade::Warn,
            "What arrived is safe. Nothing new comes from a broker that is away.",
            format!("Away: {away}. It keeps messages for edgeferry if it runs and its session lasts."),
            format!(
                "an MQTT broker is away; what is stored is delivered, {}",
                waiting(state)
            ),
        ))
    } else if some(|lane| lane.kafka != Link::Up || lane.brokers.iter().any(|broker| broker.link != Link::Up))
    {
        Some(verdict(
            Grade::Warn,
            "Your data is safe. Links are being made.",
            "",
            format!("links are being made; what is stored is safe, {}", waiting(state)),
        ))
    } else {
        None
    }
}

/// Nothing is the matter with the path, but something beside it cannot wait.
fn needs_a_person(state: &State, advice: &[Advice]) -> Option<Verdict> {
    let urgent = advice.iter().find(|advice| advice.level == Level::Error)?;
    Some(verdict(
        Grade::Warn,
        "Your data is safe, but something needs a person.",
        urgent.what.clone(),
        format!(
            "needs a person: {}; what is stored is safe, {}",
            urgent.what,
            waiting(state)
        ),
    ))
}

fn well(state: &State) -> Verdict {
    let count = state.backlog();
    let more = match count {
        0 => "Everything that arrived is in Kafka, a dead letter, or was removed as the configuration says."
            .to_owned(),
        count => format!(
            "Everything that arrives is stored and on its way to Kafka; {} not confirmed yet.",
            plural(count, "message is", "messages are")
        ),
    };
    verdict(
        Grade::Ok,
        if state.lanes.iter().any(|lane| lost_earlier(lane) > 0) {
            "What is stored is safe."
        } else {
            "Your data is safe."
        },
        more,
        format!("all is well; {}", waiting(state)),
    )
}
