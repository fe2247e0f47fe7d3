//! `[status] mqtt_topic`: the state of the gateway at a broker, now and then, as a retained message.
//!
//! A connection of its own beside the lanes, as that of [`super::status`], without a session and with QoS 0: nothing of the data waits for it,
//! and nothing is queued. Retained, so that whoever comes later finds the newest; the last will says `offline` in its place.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::client::v4::V4;
use super::client::v5::V5;
use super::client::{
    Announce, Announcement, Announcer, CONNECT_TIMEOUT_S, Event, Events, Failure, Identity, until_closed,
};
use super::connection::End;
use super::retry::{Retry, Step};
use super::{Config, TRANSPORT_LIMIT, Version, backoff};
use crate::outages::{Outages, Say, Trouble};

/// What stands behind the `-` of the client id, where the connections of the data have their lane's name.
pub const STATE: &str = "state";
/// Longest that the goodbye may take.
const GOODBYE: Duration = Duration::from_secs(3);

/// When something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Now and then.
    Now,
    /// At an orderly stop.
    Stop,
    /// By the broker, when the connection ends without a goodbye.
    Will,
}

/// What is said; JSON.
pub type Words = Arc<dyn Fn(Moment) -> Vec<u8> + Send + Sync>;

/// Tells one broker.
pub struct Telling {
    identity: Identity,
    /// Complete.
    topic: String,
    interval: Duration,
    words: Words,
    retry: Retry,
    outages: Outages,
    /// Another one goes on in its place.
    handover: CancellationToken,
}

impl std::fmt::Debug for Telling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telling")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl Telling {
    /// For the broker of `config`. No lane may be called [`STATE`].
    ///
    /// # Errors
    /// A built-in bound is wrong.
    pub fn new(
        config: &Config,
        gateway: &str,
        topic: &str,
        interval: Duration,
        words: Words,
    ) -> Result<Self, backoff::Invalid> {
        Ok(Self {
            topic: super::status_topic::of_gateway(topic, gateway),
            identity: Identity {
                config: config.clone(),
                client_id: format!("{}-{STATE}", config.client_id_of(gateway)),
            },
            interval,
            words,
            retry: Retry::new(TRANSPORT_LIMIT, rand::random())?,
            outages: Outages::default(),
            handover: CancellationToken::new(),
        })
    }

    /// With a token that is cancelled before the stop when another one goes on in its place: then it leaves without a word, for the
    /// gateway does not stop.
    #[must_use]
    pub fn followed(mut self, handover: CancellationToken) -> Self {
        self.handover = handover;
        self
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
        while !stop.is_cancelled() {
            let mut up = None;
            let Some(failure) = self.connect(announcer, &mut up, stop).await else {
                return;
            };
            let up = up.map(|at| Instant::now().duration_since(at));
            failed(&mut self.outages, &self.identity.config.name, &failure);
            let Step::Again { wait, .. } = self.retry.ended(End::Failed(failure), up) else {
                return;
            };
            stop.run_until_cancelled(sleep(wait)).await;
        }
    }

    /// One connection. `None`: it ended as asked.
    async fn connect<A: Announcer>(
        &mut self,
        announcer: &A,
        up: &mut Option<Instant>,
        stop: &CancellationToken,
    ) -> Option<Failure> {
        let (topic, words, interval) = (self.topic.clone(), Arc::clone(&self.words), self.interval);
        let say = |moment| announcement(&topic, &words, moment);
        let Some(will) = say(Moment::Will).await else {
            return Some(Failure::Unreachable("the state cannot be looked at".to_owned()));
        };
        let (client, mut events) = announcer.announce(Some(will));
        let (connected, is_connected) = tokio::sync::watch::channel(false);
        let (identity, handover) = (&self.identity, &self.handover);
        let outages = &mut self.outages;
        // Polled to its end by one future: it is not cancel safe.
        let listen = async {
            let silence = identity.keep_alive() * 3 + Duration::from_secs(CONNECT_TIMEOUT_S);
            loop {
                match timeout(silence, events.next()).await {
                    Err(_) => return Some(Failure::Unreachable("nothing heard for long".to_owned())),
                    Ok(Err(failure)) => return Some(failure),
                    Ok(Ok(Event::Connected { .. })) => {
                        *up = Some(Instant::now());
                        recovered(outages, &identity.config.name);
                        connected.send_replace(true);
                    }
                    Ok(Ok(Event::DisconnectSent)) => break,
                    Ok(Ok(_)) => {}
                }
            }
            until_closed(&mut events).await;
            None
        };
        let tell = async {
            let mut is_connected = is_connected;
            if is_connected.wait_for(|connected| *connected).await.is_ok() {
                // One at a time: while the link does not take it, nothing gathers.
                while let Some(now) = say(Moment::Now).await
                    && client.publish(now).await.is_ok()
                {
                    sleep(interval).await;
                }
            }
            // The other future tells why.
            std::future::pending::<Option<Failure>>().await
        };
        let leave = async {
            stop.cancelled().await;
            let goodbye = async {
                let is_said = match handover.is_cancelled() {
                    true => true,
                    false => match say(Moment::Stop).await {
                        Some(last) => client.publish(last).await.is_ok(),
                        None => false,
                    },
                };
                if is_said && client.leave().await.is_ok() {
                    // Until it has been sent.
                    std::future::pending::<()>().await;
                }
            };
            // Without an answer so far there is nobody to say it to.
            drop(timeout(GOODBYE, goodbye).await);
            None
        };
        tokio::select! {
            over = listen => over,
            never = tell => never,
            over = leave => over,
        }
    }
}

/// What is to be said now. A look at the gateway is taken for it, on another thread: this one serves all MQTT connections, and
/// nobody can promise how long a look at a card that stalls takes. `None` when it failed.
async fn announcement(topic: &str, words: &Words, moment: Moment) -> Option<Announcement> {
    let words = Arc::clone(words);
    let payload = tokio::task::spawn_blocking(move || words(moment)).await.ok()?;
    Some(Announcement {
        topic: topic.to_owned(),
        payload,
    })
}

/// A link that comes and goes is told now and then.
fn failed(outages: &mut Outages, broker: &str, failure: &Failure) {
    match outages.failed(Trouble::Passing, Instant::now()) {
        Say::Loudly { untold } => {
            warn!(broker, %failure, untold, "the state is not told; trying again. The data is another connection");
        }
        Say::Quietly => debug!(broker, %failure, "the state is not told; trying again"),
    }
}

fn recovered(outages: &mut Outages, broker: &str) {
    match outages.recovered(Instant::now()) {
        Some(recovery) if recovery.loud => {
            info!(broker, away = ?recovery.away, "the state is told again");
        }
        _ => debug!(broker, "the state is told"),
    }
}

#[cfg(test)]
mod tests;
