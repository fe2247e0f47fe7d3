//! Looks after the link: brokers that cannot be reached although others answer, and new secrets.

use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::{Drain, PAUSE_MIN};
use crate::link::Link;
use crate::outages::Repeated;
use crate::sink::producer::Connector;

/// Records that are under way for so long, while a broker cannot be reached, wait for that broker: a restart of one takes some
/// seconds, and its partitions move meanwhile.
const STALLED: Duration = Duration::from_secs(10);

/// What is known of the link beside its state.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// A broker cannot be reached, and no record was confirmed since.
    away: Option<(Code, Instant)>,
    /// [`crate::sink::Monitor::reload`]s that were followed.
    reloads: u64,
    /// Records that Kafka did not take, as the log tells them.
    pub(super) refusals: Repeated,
}

impl Watch {
    /// A record was confirmed.
    pub(super) const fn is_well(&mut self) {
        self.away = None;
    }

    pub(super) const fn note(&mut self, code: Code, now: Instant) {
        let is_away = matches!(
            code,
            Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut
        );
        if is_away && self.away.is_none() {
            self.away = Some((code, now));
        }
    }

    /// Why records do not get on, if they do not.
    fn stalled(&self, now: Instant) -> Option<Code> {
        let (code, since) = self.away?;
        (now.saturating_duration_since(since) > STALLED).then_some(code)
    }
}

impl<C: Connector> Drain<C> {
    /// Whether nothing is under way because `max_rate` lets nothing through.
    pub(super) fn waits_for_rate(&self) -> bool {
        self.gate.closed_until().is_some() && self.window.is_settled(self.unsent.len())
    }

    /// Kafka answers; it may have been away.
    pub(super) fn link_is_up(&mut self) {
        match self.monitor.link() {
            Link::Up => return,
            Link::Down(_) => self.pace.forget(),
            _ => {}
        }
        self.monitor.set_link(Link::Up);
    }

    pub(super) fn look_after_link(&mut self, now: Instant) {
        self.take_new_secrets(now);
        let is_waiting = self.producer.is_some() && !self.window.is_settled(self.unsent.len());
        let Some(code) = self.watch.stalled(now).filter(|_| is_waiting) else {
            return;
        };
        // Other brokers answer, so the link seems to be up; it is not for these records.
        if self.monitor.link() == Link::Up {
            let reason = format!("the broker that has to take the records cannot be reached: {code}");
            self.monitor.set_link(Link::Down(reason));
        }
    }

    /// Makes the client anew when the secrets may have changed. A link that is well is left alone; the news is kept for
    /// the time when it is not.
    fn take_new_secrets(&mut self, now: Instant) {
        let reloads = self.monitor.reloads();
        let is_troubled = matches!(self.monitor.link(), Link::Refused(_) | Link::Down(_));
        if reloads == self.watch.reloads || !is_troubled {
            return;
        }
        self.watch.reloads = reloads;
        tracing::info!("connecting to Kafka with the secrets as they are now");
        self.rewind(now);
        self.topics.doubt_all();
        self.refused_since = None;
        self.pause = PAUSE_MIN;
        self.feed_after = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_stalled_when_a_broker_was_away_for_long_and_none_was_confirmed() {
        let mut watch = Watch::default();
        let start = Instant::now();
        assert_eq!(watch.stalled(start + 2 * STALLED), None);
        watch.note(Code::Authentication, start);
        assert_eq!(
            watch.stalled(start + 2 * STALLED),
            None,
            "that has a state of its own"
        );
        watch.note(Code::Resolve, start);
        watch.note(Code::BrokerTransportFailure, start + STALLED);
        assert_eq!(watch.stalled(start + STALLED), None);
        let later = start + STALLED + Duration::from_millis(1);
        assert_eq!(watch.stalled(later), Some(Code::Resolve), "since the first");
        watch.is_well();
        assert_eq!(watch.stalled(later), None);
    }
}
