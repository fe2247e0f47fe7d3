//! What an operator is told about the link to one broker: its state, and lines in the log.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::outages::{Outages, Say, Trouble};
use super::retry::Why;
use super::subscribe::Outcome;
use crate::link::Link;

/// The link to one broker, as told.
#[derive(Debug)]
pub struct Line {
    broker: Arc<str>,
    client_id: String,
    link: Arc<watch::Sender<Link>>,
    outages: Outages,
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
            warn!(
                broker,
                "the broker has lost the session, and with it what it kept for us while we were away"
            );
        }
        self.had_session = true;
        self.works(refusal);
    }

    /// SUBACK.
    pub fn answered(&self, outcome: &Outcome, refusal: Option<String>) {
        let broker = &*self.broker;
        for (filter, why) in &outcome.refused {
            error!(
                broker,
                filter, why, "the broker refuses the subscription; asking again every minute"
            );
        }
        for filter in &outcome.lowered {
            warn!(
                broker,
                filter, "granted with QoS 0 only: what is sent while we are away is lost"
            );
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
            Some(why) => warn!(
                broker,
                client_id, filter, why, "the broker does not unsubscribe; trying again later"
            ),
        }
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
            Why::Down(_) | Why::TooLarge { .. } => Trouble::Passing,
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
            Why::Refused(reason) => {
                self.complain(say, &format!("no connection: {reason}"));
                Link::Refused(reason)
            }
            Why::Files(reason) => {
                self.complain(
                    say,
                    &format!("no connection, for a file cannot be used: {reason}"),
                );
                Link::Refused(reason)
            }
            Why::TakenOver => {
                let text = format!("another client uses client id {}", self.client_id);
                self.complain(say, &text);
                Link::Refused(text)
            }
            Why::TooLarge { size } => {
                // Always told: it happens once per new largest size.
                error!(
                    broker,
                    bytes = size,
                    "a packet is over the transport limit; the limit is raised to let it in"
                );
                Link::Down(format!("a packet of {size} bytes was over the transport limit"))
            }
        };
        self.set(link);
    }

    /// What needs a person is an error.
    fn complain(&self, say: Say, text: &str) {
        let broker = &*self.broker;
        match say {
            Say::Loudly { untold } => error!(broker, untold, "{text}"),
            Say::Quietly => debug!(broker, "{text}"),
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
