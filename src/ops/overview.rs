//! The state of the whole daemon at one moment, in one line.

use std::fmt;

use bytesize::ByteSize;

use crate::link::Link;
use crate::queue;
use crate::sink::dead_letter::Stand;
use crate::sink::monitor::Counts;

/// One look at everything.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// All lanes that run.
    pub lanes: Vec<LaneOverview>,
    /// Why dead letters are not forwarded to their topic at the moment; they wait here.
    pub not_forwarded: Option<String>,
}

/// One look at a lane.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneOverview {
    /// Its name.
    pub name: String,
    /// No route uses it: it runs until it is empty.
    pub is_leaving: bool,
    /// `[[mqtt]] name` and state, in file order.
    pub brokers: Vec<(String, Link)>,
    /// The link to Kafka.
    pub kafka: Link,
    /// The queue.
    pub queue: queue::Status,
    /// Why delivery is held by something on this machine.
    pub held: Option<String>,
    /// The sink's counters.
    pub counts: Counts,
    /// Its dead letters.
    pub letters: Stand,
}

impl Overview {
    /// Whether the configuration works on all links. A link that is merely away is no reason to be unready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lanes.iter().all(LaneOverview::is_ready)
    }

    /// Messages that are durable and not done, in all lanes.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.queue.balance.queued).sum()
    }
}

impl LaneOverview {
    /// See [`Overview::is_ready`].
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.kafka.is_ready()
            && self.brokers.iter().all(|(_, link)| link.is_ready())
            && self.queue.failure.is_none()
            && self.held.is_none()
    }
}

impl fmt::Display for Overview {
    /// One lane is not named; several stand one behind the other.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_ready() {
            f.write_str("NOT READY; ")?;
        }
        match &self.lanes[..] {
            [lane] => lane.fmt(f)?,
            lanes => fmt_lanes(lanes, f)?,
        }
        match &self.not_forwarded {
            Some(reason) => write!(f, "; dead letters not forwarded: {reason}"),
            None => Ok(()),
        }
    }
}

fn fmt_lanes(lanes: &[LaneOverview], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, lane) in lanes.iter().enumerate() {
        let gap = if index == 0 { "" } else { " | " };
        let leaving = if lane.is_leaving { " (being removed)" } else { "" };
        write!(f, "{gap}{}{leaving}: {lane}", lane.name)?;
    }
    Ok(())
}

impl fmt::Display for LaneOverview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backlog {}", self.queue.balance.queued)?;
        if self.queue.full {
            f.write_str(" (queue full)")?;
        }
        if let Some(failure) = &self.queue.failure {
            write!(f, "; cannot store: {failure}")?;
        }
        if let Some(held) = &self.held {
            write!(f, "; delivery held: {held}")?;
        }
        for (name, link) in &self.brokers {
            write!(f, "; mqtt {name}: {link}")?;
        }
        write!(f, "; kafka: {}; delivered {}", self.kafka, self.counts.delivered)?;
        let letters = &self.letters;
        if letters.letters > 0 {
            write!(
                f,
                "; dead letters {} ({})",
                letters.letters,
                ByteSize(letters.bytes)
            )?;
        }
        if letters.dropped > 0 {
            write!(f, "; dead letters dropped {}", letters.dropped)?;
        }
        if letters.lost > 0 {
            write!(f, "; dead letters LOST {}", letters.lost)?;
        }
        for reason in queue::Reason::ALL {
            let count = self.queue.balance.removed.of(reason);
            match reason {
                queue::Reason::Skipped => {}
                _ if count == 0 => {}
                queue::Reason::Damaged => write!(f, "; LOST {count}")?,
                reason => write!(f, "; {} {count}", reason.name())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
impl LaneOverview {
    /// A lane that works, with this backlog.
    pub(crate) fn for_test(name: &str, queued: u64) -> Self {
        let balance = queue::Balance {
            queued,
            ..queue::Balance::default()
        };
        Self {
            name: name.to_owned(),
            is_leaving: false,
            brokers: Vec::new(),
            kafka: Link::Up,
            queue: queue::Status {
                balance,
                bytes: 0,
                wear: queue::Wear::default(),
                full: false,
                failure: None,
            },
            held: None,
            counts: Counts::default(),
            letters: Stand::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lane_is_not_named_and_several_are() {
        let mut first = LaneOverview::for_test("default", 3);
        first.brokers = vec![("local".to_owned(), Link::Up)];
        let one = Overview {
            lanes: vec![first.clone()],
            not_forwarded: None,
        };
        let line = "backlog 3; mqtt local: up; kafka: up; delivered 0";
        assert_eq!(one.to_string(), line);
        let mut second = LaneOverview::for_test("alarms", 1);
        second.is_leaving = true;
        second.kafka = Link::Refused("no".to_owned());
        second.letters = Stand {
            letters: 3,
            bytes: 2048,
            dropped: 2,
            lost: 1,
        };
        let two = Overview {
            lanes: vec![first, second],
            not_forwarded: Some("why".to_owned()),
        };
        assert_eq!(two.backlog(), 4);
        assert_eq!(
            two.to_string(),
            format!(
                "NOT READY; default: {line} | alarms (being removed): backlog 1; kafka: refused (no); delivered 0; \
                 dead letters 3 (2.0 KiB); dead letters dropped 2; dead letters LOST 1; dead letters not forwarded: why"
            )
        );
    }
}
