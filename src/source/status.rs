//! The connection to a broker beside the data: the gateway's own word there, a retained message that says whether it is there
//! (`status_topic`), and the broker's own word, what it has dropped (`$SYS`, see [`super::dropped`]).
//!
//! One connection for both, made with either. Without a `status_topic` nothing depends on it, so whatever becomes of it is
//! said at debug level alone: the connections of the data say the same. A broker that refuses all that we would hear, or ends the
//! connection instead, is not asked again before the next start or reload; a connection that was made for nothing else is given back.
//!
//! It has no session, and sends with QoS 0: whatever becomes of it, nothing of the data waits
//! for it. The broker publishes the last will when this connection ends without a goodbye, so `offline` comes one and a
//! half keep alives after a power cut at the latest, and `stopped` only from an orderly stop.
//!
//! What an access list does to a message with QoS 0 nobody says: the broker drops it in silence.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::client::v4::V4;
use super::client::v5::V5;
use super::client::{
    Announce, Announcement, Announcer, Answer, CONNECT_TIMEOUT_S, Event, Events, Failure, Identity,
    until_closed,
};
use super::connection::End;
use super::dropped::{Dropped, FILTERS};
use super::retry::{Retry, Step, Why};
use super::{Config, TRANSPORT_LIMIT, Version, backoff};
use crate::clock;
use crate::message::rfc3339;
use crate::outages::{Outages, Say, Trouble};

/// What stands behind the `-` of the client id, where the connections of the data have their lane's name.
pub const STATUS: &str = "status";

/// The same, of a connection without a `status_topic`. No lane can have that name.
const WATCH: &str = "broker-watch";

/// Between two attempts to connect only to listen: what is heard late is heard early enough.
const WATCH_PAUSE: Duration = Duration::from_mins(1);

/// Connections that ended when we asked for `$SYS`, before we stop asking: one may have been cut by chance.
const UNANSWERED_MAX: u32 = 2;

/// Longest that the goodbye may take: one packet each way on a slow link. What is not said then the last will says.
const GOODBYE: Duration = Duration::from_secs(3);

/// What the message says; JSON.
#[derive(Debug, Serialize)]
struct Word<'a> {
    state: State,
    gateway: &'a str,
    /// RFC 3339, milliseconds. Of `offline` it is when the connection began that is over: the broker tells it, and knows
    /// no other time.
    since: String,
    version: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Online,
    Offline,
    Stopped,
}

/// Who says it, and where.
#[derive(Debug)]
pub struct Status {
    identity: Identity,
    /// Complete.
    topic: Option<String>,
    gateway: Arc<str>,
    retry: Retry,
    outages: Outages,
    dropped: Arc<Dropped>,
    /// Connections that ended when the broker was asked for its own topics.
    unanswered: u32,
    /// Another one goes on in its place.
    handover: CancellationToken,
}

/// How one connection ended.
enum Over {
    /// As asked, with a goodbye if there was time.
    Stopped,
    Failed(Failure),
}

impl Status {
    /// For the broker of `config`, if there is something to say or to hear: `status_topic`, `watch_broker`. With the former no
    /// lane may be called [`STATUS`]. What the broker says comes to `dropped`.
    ///
    /// # Errors
    /// A built-in bound is wrong.
    pub fn new(
        config: &Config,
        gateway: &str,
        dropped: Arc<Dropped>,
    ) -> Result<Option<Self>, backoff::Invalid> {
        if config.status_topic.is_none() && !config.watch_broker {
            return Ok(None);
        }
        let topic = config.status_topic.as_ref();
        let purpose = topic.map_or(WATCH, |_| STATUS);
        Ok(Some(Self {
            topic: topic.map(|topic| super::status_topic::of_gateway(topic, gateway)),
            identity: Identity {
                config: config.clone(),
                client_id: format!("{}-{purpose}", config.client_id_of(gateway)),
            },
            gateway: gateway.into(),
            retry: Retry::new(TRANSPORT_LIMIT, rand::random())?,
            outages: Outages::default(),
            dropped,
            unanswered: 0,
            handover: CancellationToken::new(),
        }))
    }

    /// With a token that is cancelled before the stop when another one goes on in its place: then it leaves without a word, for the
    /// gateway does not stop.
    #[must_use]
    pub fn followed(mut self, handover: CancellationToken) -> Self {
        self.handover = handover;
        self
    }

    /// Whether the gateway's own word is told, so that no lane may have its name.
    #[must_use]
    pub const fn is_telling(&self) -> bool {
        self.topic.is_some()
    }

    /// Whether the broker is asked what it dropped.
    const fn is_watching(&self) -> bool {
        self.identity.config.watch_broker && self.unanswered < UNANSWERED_MAX
    }

    /// Runs until `stop`, and says then that it stops.
    pub async fn run(self, stop: CancellationToken) {
        match self.identity.config.version {
            Version::V3_1_1 => {
                let connector = V4(self.identity.clone());
                self.drive(&connector, &stop).await;
            }
            Version::V5 => {
                let connector = V5::new(self.identity.clone());
                self.drive(&connector, &stop).await;
            }
        }
    }

    async fn drive<A: Announcer>(mut self, announcer: &A, stop: &CancellationToken) {
        while !stop.is_cancelled() && (self.is_telling() || self.is_watching()) {
            let mut up = None;
            let failure = match self.connect(announcer, &mut up, stop).await {
                Over::Stopped => return,
                Over::Failed(failure) => failure,
            };
            self.dropped.gone(Instant::now());
            let up = up.map(|at| Instant::now().duration_since(at));
            let Step::Again { wait, why } = self.retry.ended(End::Failed(failure), up) else {
                return;
            };
            self.tell(&why);
            let wait = match self.is_telling() {
                true => wait,
                false => wait.max(WATCH_PAUSE),
            };
            stop.run_until_cancelled(sleep(wait)).await;
        }
    }

    /// One connection: `online` when it is there, `stopped` at its end.
    async fn connect<A: Announcer>(
        &mut self,
        announcer: &A,
        up: &mut Option<Instant>,
        stop: &CancellationToken,
    ) -> Over {
        let (client, mut events) = announcer.announce(self.word(State::Offline));
        let is_watching = self.is_watching();
        let stopped = self.word(State::Stopped);
        let handover = self.handover.clone();
        // Polled to its end by one future: it is not cancel safe.
        let listen = async {
            // A watchdog as for the data: an end that nobody tells is noticed by silence.
            let silence = self.identity.keep_alive() * 3 + Duration::from_secs(CONNECT_TIMEOUT_S);
            loop {
                let event = timeout(silence, events.next()).await;
                self.dropped.tell(&self.identity.config.name, Instant::now());
                match event {
                    Err(_) => return Over::Failed(Failure::Unreachable("nothing heard for long".to_owned())),
                    Ok(Err(failure)) => return Over::Failed(failure),
                    Ok(Ok(Event::Connected { .. })) => {
                        *up = Some(Instant::now());
                        if self.topic.is_some() {
                            recovered(&mut self.outages, &self.identity.config.name);
                        }
                        // Requests wait in the client until it is polled.
                        if let Some(online) = self.word(State::Online)
                            && client.publish(online).await.is_err()
                        {
                            return Over::Failed(Failure::Closed);
                        }
                        if is_watching {
                            self.unanswered += 1;
                            if client.listen(&FILTERS).await.is_err() {
                                return Over::Failed(Failure::Closed);
                            }
                        }
                    }
                    Ok(Ok(Event::Granted { answers, .. })) => {
                        let is_refused = |answer: &Answer| matches!(answer, Answer::Refused(_));
                        self.unanswered = 0;
                        if is_watching && answers.iter().all(is_refused) {
                            self.unanswered = UNANSWERED_MAX;
                            debug!(
                                broker = self.identity.config.name,
                                "the broker lets nobody hear what it has dropped"
                            );
                            if self.topic.is_none() && client.leave().await.is_err() {
                                return Over::Failed(Failure::Closed);
                            }
                        }
                    }
                    Ok(Ok(Event::Published(said))) => self.dropped.heard(&said.topic, &said.payload),
                    Ok(Ok(Event::DisconnectSent)) => break,
                    Ok(Ok(_)) => {}
                }
            }
            until_closed(&mut events).await;
            Over::Stopped
        };
        let leave = async {
            stop.cancelled().await;
            let goodbye = async {
                let is_said = match stopped.filter(|_| !handover.is_cancelled()) {
                    Some(stopped) => client.publish(stopped).await.is_ok(),
                    None => true,
                };
                if is_said && client.leave().await.is_ok() {
                    // Until it has been sent.
                    std::future::pending::<()>().await;
                }
            };
            // Without an answer so far there is nobody to say it to.
            drop(timeout(GOODBYE, goodbye).await);
        };
        tokio::select! {
            over = listen => over,
            () = leave => Over::Stopped,
        }
    }

    fn word(&self, state: State) -> Option<Announcement> {
        Some(word(state, self.topic.as_deref()?, &self.gateway))
    }

    fn tell(&mut self, why: &Why) {
        let broker = &*self.identity.config.name;
        let (trouble, reason) = match why {
            Why::Down(reason) => (Trouble::Passing, reason.clone()),
            Why::Refused(reason) | Why::Files(reason) => (Trouble::Wrong, reason.clone()),
            Why::TakenOver => {
                let client_id = &self.identity.client_id;
                (
                    Trouble::Wrong,
                    format!("another client uses client id {client_id}"),
                )
            }
            Why::TooLarge { size } => (Trouble::Passing, format!("a packet of {size} bytes came")),
        };
        if !self.is_telling() {
            return debug!(broker, reason, "what the broker has dropped is not heard");
        }
        match (self.outages.failed(trouble, Instant::now()), trouble) {
            (Say::Quietly, _) => debug!(broker, reason, "the status is not told; trying again"),
            (Say::Loudly { untold }, Trouble::Wrong) => {
                error!(
                    broker,
                    reason, untold, "the status is not told; the data is another connection"
                );
            }
            (Say::Loudly { untold }, _) => {
                warn!(broker, reason, untold, "the status is not told; trying again");
            }
        }
    }
}

fn recovered(outages: &mut Outages, broker: &str) {
    match outages.recovered(Instant::now()) {
        Some(recovery) if recovery.loud => {
            info!(broker, away = ?recovery.away, "the status is told again");
        }
        _ => debug!(broker, "the status is told"),
    }
}

fn word(state: State, topic: &str, gateway: &str) -> Announcement {
    let word = Word {
        state,
        gateway,
        since: rfc3339(clock::unix_ms()),
        version: env!("CARGO_PKG_VERSION"),
    };
    Announcement {
        topic: topic.to_owned(),
        // Text and numbers become JSON without fail.
        payload: serde_json::to_vec(&word).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
