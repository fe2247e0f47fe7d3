//! What an operator is told about the link to one broker: its state, and lines in the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::retry::Why;
use super::subscribe::Outcome;
use crate::link::Link;
use crate::outages::{Outages, Repeated, Say, Trouble};

/// Stands for a filter that was granted with a lower QoS.
const LOWERED: &str = "QoS 0";

/// The link to one broker, as told.
#[derive(Debug)]
pub struct Line {
    broker: Arc<str>,
    client_id: String,
    link: Arc<watch::Sender<Link>>,
    outages: Outages,
    losses: Repeated,
    /// What the broker said to filters last, as far as it was told: it is asked again every minute, and at each connection.
    answers: BTreeMap<String, String>,
    /// The broker kept our session before.
    had_session: bool,
}

impl Line {
    pub fn new(
        broker: Arc<str>,
        client_id: String,
        link: Arc<watch::Sender<Link>>,
        had_session: bool,
    ) -> Self {
        Self {
            broker,
            client_id,
            link,
            outages: Outages::default(),
            losses: Repeated::default(),
            answers: BTreeMap::new(),
            had_session,
        }
    }

    /// CONNACK. `refusal`: subscriptions that are known to be refused.
    pub fn connected(&mut self, session_present: bool, refusal: Option<String>) {
        let broker = &*self.broker;
        match self.outages.recovered(Instant::now()) {
            Some(recovery) if recovery.loud => info!(broker, away = ?recovery.away, "connected again"),
            Some(recovery) => debug!(broker, away = ?recovery.away, "connected again"),
            None => info!(broker, session_present, "connected"),
        }
        if self.had_session && !session_present {
            match self.losses.again(Instant::now()) {
                Say::Loudly { untold } => warn!(
                    broker,
                    untold,
                    "the broker has lost the session, and with it what it kept for us while we were away"
                ),
                Say::Quietly => debug!(broker, "the broker has lost the session"),
            }
        }
        self.had_session = true;
        self.works(refusal);
    }

    /// SUBACK.
    pub fn answered(&mut self, outcome: &Outcome, refusal: Option<String>) {
        for (filter, reason) in &outcome.refused {
            if self.is_news(filter, reason) {
                let broker = &*self.broker;
                error!(
                    broker,
                    filter, reason, "the broker refuses the subscription; asking again every minute"
                );
            }
        }
        for filter in &outcome.lowered {
            if self.is_news(filter, LOWERED) {
                let broker = &*self.broker;
                warn!(
                    broker,
                    filter, "granted with QoS 0 only: what is sent while we are away is lost"
                );
            }
        }
        if refusal.is_none() {
            // Nothing is refused any more: when it is again, that is news.
            self.answers.retain(|_, told| told == LOWERED);
        }
        self.works(refusal);
    }

    /// UNSUBACK.
    pub fn unsubscribed(&self, filter: &str, refused: Option<String>) {
        let (broker, client_id) = (&*self.broker, &self.client_id);
        match refused {
            None => info!(
                broker,
                client_id, filter, "unsubscribed: no route of this lane wants it any more"
            ),
            Some(reason) => warn!(
                broker,
                client_id, filter, reason, "the broker does not unsubscribe; trying again later"
            ),
        }
    }

    /// Whether the broker says something else to the filter than what was told last.
    fn is_news(&mut self, filter: &str, answer: &str) -> bool {
        let told = self.answers.insert(filter.to_owned(), answer.to_owned());
        told.is_none_or(|told| told != answer)
    }

    /// The broker keeps nothing for us any more.
    pub fn session_ended(&self) {
        let (broker, client_id) = (&*self.broker, &self.client_id);
        info!(
            broker,
            client_id, "the MQTT session is no longer needed, and was ended"
        );
    }

    fn works(&self, refusal: Option<String>) {
        self.set(refusal.map_or(Link::Up, Link::Refused));
    }

    /// The queue is full and we left.
    pub fn pushed_back(&mut self) {
        let broker = &*self.broker;
        match self.outages.failed(Trouble::Full, Instant::now()) {
            Say::Loudly { untold } => {
                warn!(
                    broker,
                    untold, "the queue is full; disconnected until there is room, the broker keeps the data"
                );
            }
            Say::Quietly => debug!(broker, "the queue is full; disconnected until there is room"),
        }
        self.set(Link::PushedBack);
    }

    /// Not connected.
    pub fn failed(&mut self, why: Why) {
        let trouble = match why {
            Why::Down(_) => Trouble::Passing,
            Why::TooLarge { .. } => Trouble::Large,
            Why::Refused(_) | Why::Files(_) | Why::TakenOver => Trouble::Wrong,
        };
        let say = self.outages.failed(trouble, Instant::now());
        let broker = &*self.broker;
        let link = match why {
            Why::Down(reason) => {
                match say {
                    Say::Loudly { untold } => warn!(broker, reason, untold, "disconnected; trying again"),
                    Say::Quietly => debug!(broker, reason, "disconnected; trying again"),
                }
                Link::Down(reason)
            }
            // The reason says which it is.
            Why::Refused(reason) | Why::Files(reason) => {
                self.complain(say, &reason);
                Link::Refused(reason)
            }
            Why::TakenOver => {
                let text = format!("another client uses client id {}", self.client_id);
                self.complain(say, &text);
                Link::Refused(text)
            }
            Why::TooLarge { size } => {
                match say {
                    Say::Loudly { untold } => error!(
                        broker,
                        bytes = size,
                        untold,
                        "a packet is over the transport limit; the limit is raised to let it in"
                    ),
                    Say::Quietly => debug!(broker, bytes = size, "a packet is over the transport limit"),
                }
                Link::Down(format!("a packet of {size} bytes was over the transport limit"))
            }
        };
        self.set(link);
    }

    /// What needs a person is an error.
    fn complain(&self, say: Say, reason: &str) {
        let broker = &*self.broker;
        match say {
            Say::Loudly { untold } => error!(
                broker,
                reason, untold, "no connection until a person puts it right"
            ),
            Say::Quietly => debug!(broker, reason, "no connection"),
        }
    }

    fn set(&self, link: Link) {
        self.link.send_if_modified(|current| {
            let changed = *current != link;
            *current = link;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ops::events::heard;

    fn line() -> Line {
        let link = Arc::new(watch::Sender::new(Link::Connecting));
        Line::new("local".into(), "id-default".to_owned(), link, true)
    }

    /// Lines of an hour in which `each_second` happens.
    async fn lines_of_an_hour(mut each_second: impl FnMut(&mut Line, u32)) -> u64 {
        let mut line = line();
        let mut lines = 0;
        for second in 0..3600 {
            lines += heard(|| each_second(&mut line, second));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        lines
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_comes_and_goes_for_an_hour_leaves_dozens_of_lines() {
        let lines = lines_of_an_hour(|line, second| match second % 2 {
            0 => line.failed(Why::Down("no route".to_owned())),
            // The session is lost each time as well.
            _ => line.connected(false, None),
        });
        let lines = lines.await;
        assert!((24..=60).contains(&lines), "{lines}");
    }

    #[tokio::test(start_paused = true)]
    async fn troubles_of_all_kinds_for_an_hour_leave_dozens_of_lines() {
        let lines = lines_of_an_hour(|line, second| match second % 5 {
            0 => line.failed(Why::Refused("not authorised".to_owned())),
            1 => line.failed(Why::TakenOver),
            2 => line.failed(Why::TooLarge {
                size: second as usize,
            }),
            3 => line.pushed_back(),
            _ => line.failed(Why::Down("no route".to_owned())),
        });
        let lines = lines.await;
        assert!((24..=60).contains(&lines), "{lines}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_filter_that_is_refused_every_minute_is_told_once_and_again_when_the_reason_changes() {
        let outcome = |why: &str| Outcome {
            refused: vec![("a/#".to_owned(), why.to_owned())],
            lowered: vec!["b/#".to_owned()],
        };
        let lines = lines_of_an_hour(|line, second| {
            let why = if second < 1800 { "0x87" } else { "0x97" };
            line.answered(&outcome(why), Some("a/#".to_owned()));
        });
        assert_eq!(lines.await, 3);
    }
}
