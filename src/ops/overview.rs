//! The state of the whole daemon at one moment, in one line.

use std::fmt;

use crate::link::Link;
use crate::queue;
use crate::sink::monitor::Counts;

/// One look at everything.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
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
}

impl Overview {
    /// Whether the configuration works on all links. A link that is merely away is no reason to be unready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.kafka.is_ready()
            && self.brokers.iter().all(|(_, link)| link.is_ready())
            && self.queue.failure.is_none()
            && self.held.is_none()
    }
}

impl fmt::Display for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_ready() {
            f.write_str("NOT READY; ")?;
        }
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
        if self.counts.dead_letters > 0 {
            write!(f, "; dead letters {}", self.counts.dead_letters)?;
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
