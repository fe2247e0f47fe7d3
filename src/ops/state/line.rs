//! The state in one line: the service manager's status, and what a terminal shows first.

use std::fmt;

use bytesize::ByteSize;

use super::{Lane, State};
use crate::queue::Reason;

impl State {
    /// Messages that are durable and not done, in all lanes.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.ledger.queued).sum()
    }
}

impl Lane {
    /// Whether the configuration works on all links, everything can be stored, and what should move does. A link that is merely
    /// away is no reason to be unready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.kafka.is_ready()
            && self.brokers.iter().all(|broker| broker.link.is_ready())
            && self.queue.failure.is_none()
            && self.held.is_none()
            && self.stalled_s.is_none()
    }
}

impl fmt::Display for State {
    /// One lane is not named; several stand one behind the other.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.health.is_ready {
            f.write_str("NOT READY; ")?;
        }
        match &self.lanes[..] {
            [] => f.write_str("no lane runs")?,
            [lane] => lane.fmt(f)?,
            lanes => fmt_lanes(lanes, f)?,
        }
        match &self.not_forwarded {
            Some(reason) => write!(f, "; dead letters not forwarded: {reason}"),
            None => Ok(()),
        }
    }
}

fn fmt_lanes(lanes: &[Lane], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, lane) in lanes.iter().enumerate() {
        let gap = if index == 0 { "" } else { " | " };
        let leaving = if lane.is_leaving { " (being removed)" } else { "" };
        write!(f, "{gap}{}{leaving}: {lane}", lane.name)?;
    }
    Ok(())
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backlog {}", self.ledger.queued)?;
        if self.is_reloading {
            f.write_str("; being changed by a reload")?;
        }
        if let Some(time) = self.stalled_s {
            write!(f, "; HANGS for {time} s")?;
        }
        if self.queue.is_full {
            f.write_str(" (queue full)")?;
        }
        if let Some(failure) = &self.queue.failure {
            write!(f, "; cannot store: {failure}")?;
        }
        if let Some(held) = &self.held {
            write!(f, "; delivery held: {held}")?;
        }
        for broker in &self.brokers {
            write!(f, "; mqtt {}: {}", broker.name, broker.link)?;
        }
        write!(f, "; kafka: {}; delivered {}", self.kafka, self.ledger.delivered)?;
        let letters = &self.letters;
        if letters.count > 0 {
            write!(
                f,
                "; dead letters {} ({})",
                letters.count,
                ByteSize(letters.bytes)
            )?;
        }
        if letters.dropped > 0 {
            write!(f, "; dead letters dropped {}", letters.dropped)?;
        }
        if letters.lost > 0 {
            write!(f, "; dead letters LOST {}", letters.lost)?;
        }
        for (reason, count) in self.ledger.removed.iter().filter(|(_, count)| **count > 0) {
            if reason == Reason::Damaged.name() {
                write!(f, "; LOST {count}")?;
            } else {
                write!(f, "; {reason} {count}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::sample;
    use crate::link::Link;

    #[test]
    fn one_lane_is_not_named_and_several_are() {
        let mut state = sample::state();
        let mut second = state.lanes.pop().expect("two lanes");
        let first = state.lanes.first_mut().expect("two lanes");
        first.letters.count = 0;
        first.ledger.removed = BTreeMap::new();
        state.health.is_ready = true;
        let line = "backlog 0; mqtt local: up; kafka: up; delivered 1000";
        assert_eq!(state.to_string(), line);
        second.is_leaving = true;
        second.kafka = Link::Refused("no".to_owned());
        second.letters.dropped = 2;
        second.letters.lost = 1;
        second.ledger.removed = [("damaged", 3), ("expired", 4), ("purged", 0)]
            .map(|(name, count)| (name.to_owned(), count))
            .into();
        state.lanes.push(second);
        state.health.is_ready = false;
        state.not_forwarded = Some("why".to_owned());
        assert_eq!(state.backlog(), 17);
        assert_eq!(
            state.to_string(),
            format!(
                "NOT READY; default: {line} | alarms (being removed): backlog 17; mqtt local: up; kafka: refused (no); delivered \
                 1000; dead letters 5 (2.0 KiB); dead letters dropped 2; dead letters LOST 1; LOST 3; expired 4; dead letters \
                 not forwarded: why"
            )
        );
    }
}
