//! The MQTT side: everything between the broker's socket and the queue's [`Intake`].
//!
//! # What it promises
//!
//! 1. A PUBACK goes out only when the message, and all before it from this broker, is durable.
//! 2. PUBACKs go out in the order of arrival (MQTT 3.1.1 and 5, 4.6), on the connection on which the message
//!    came.
//! 3. Messages enter the queue in the order of arrival. What does not fit stays with the broker.
//! 4. A redelivery is dropped only when it certainly is a message that we have; in doubt it is stored again.
//!
//! # How
//!
//! ```text
//!             ┌──────────────── connection (a value, thrown away as a whole) ───────────────┐
//! broker ───▶ │ client::Events ──▶ reader ──▶ Inbound: judge, cut, stamp, reserve, offer ──▶│──▶ Intake
//!        ◀─── │ client::Client ◀── sender ◀── FIFO of Owed        SessionFile: handed over  │◀── durable
//!             └─────────────────────────────────────────────────────────────────────────────┘
//!                          its end ──▶ Retry: again when? ──▶ Line: state and log
//! ```
//!
//! Every attempt to connect makes a new client and event loop. So no event, request or acknowledgement of one
//! connection can turn up on the next, where its packet id may mean another message.
//!
//! **Pushing back.** While the queue has no room the reader does not poll, and TCP holds the broker. After
//! one keep alive (the broker would cut us off at one and a half) it leaves in order, the session stays, and
//! it comes back when half of the memory budget is free. The message in hand was not stored, so the broker
//! sends it again.
//!
//! **Filters no longer wanted.** A session outlives its configuration. What it may hold is remembered beside it
//! (`held`); what the lane does not want any more is unsubscribed as soon as nothing is lost by it (`leftover`,
//! `handover`). What the broker has queued for it meanwhile is taken like everything else. A source that wants nothing
//! at all empties the session so, waits until the broker has been quiet for [`QUIET`], and ends it.
//!
//! **Positions** ascend for the life of the store: they go on behind the highest that the store or the
//! session file knows.
//!
//! **Large packets.** There are two limits. A payload over `max_packet_size` is cut and flows on, to become a
//! dead letter. A packet over the *transport limit* ([`TRANSPORT_LIMIT`]) cannot be received at all. MQTT 5
//! tells it to the broker, which then drops such a packet itself. With 3.1.1 the broker would send it for
//! ever and nothing behind it, so the limit is raised for it, up to what MQTT can express.
//!
//! **What remains possible.** A message with QoS 0 that comes while we leave is lost, as QoS 0 is. Of QoS 1, a message that we
//! never saw, which comes for the first time as a repetition, and is equal to an older one that had its packet id, is
//! taken for that one, and lost, when one of these is true as well:
//!
//! * The broker dropped, between the last message that we stored and this one, so many messages that used up ids that its counter
//!   came round to what we had seen *on the same connection*: 65,535 ids less what came since. Any message stored behind
//!   such a gap, or a new connection on which anything fresh comes, makes it visible.
//! * Its counter went back to a value above `U` (see `redelivery`), as with a restored state, and we stored nothing since.
//!   From 1 it does not reach what we recognise.
//! * It had more than `U` messages under way that we never saw, and its counter began anew or it gives the smallest free id.
//! * It forgot an in-flight message within a session (it crashed and came back with an old state, or the message
//!   expired in flight).
//! * It lost the session, made a new one, and its CONNACK was lost: the next one says, rightly, that there is a session. (All
//!   filters are subscribed anew then; what came before is still taken for that session's.)
//! * Another client acknowledged it in our session, and that was not noticed: MQTT 3.1.1 cannot say it, not every MQTT 5 broker
//!   does, and of short connections it takes three.
//!
//! In each the two histories look the same in every byte that we have. Nothing but storing each repetition would be safe.

mod backoff;
mod client;
mod config;
mod connection;
mod counters;
mod dropped;
mod fingerprint;
mod handover;
mod held;
mod inbound;
mod leftover;
mod line;
mod redelivery;
mod retained;
mod retry;
#[cfg(test)]
mod scripted;
mod session;
mod stamping;
mod status;
mod subscribe;
mod telling;
mod tls;
mod twins;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::faults;
use crate::link::Link;
use crate::message::Qos;
use crate::outages::Repeated;
use crate::queue::intake::Position;
use crate::queue::{Closed, Intake, Recalled};
use crate::slots::SlotError;
pub use client::Capabilities;
#[cfg(any(test, fuzzing))]
pub(crate) use client::fuzz;
use client::v4::V4;
use client::v5::V5;
use client::{Connector, Identity};
pub use config::{ClientCertificate, Config, Endpoint, Server, Tls, Version, status_topic};
pub(crate) use config::{Raw, resolve};
pub use counters::Counters;
pub use dropped::Dropped;
use handover::Copies;
pub use handover::{Handover, Seat};
use held::HeldFile;
use inbound::{Durable, Inbound};
use leftover::Leftover;
use line::Line;
use redelivery::{LEAST_UNSEEN, Window};
use retained::Retained;
use retry::{Retry, Step};
use session::{Found, SessionFile};
pub use stamping::SeriesOf;
use stamping::Stamping;
pub use status::{STATUS, Status};
use subscribe::Subscriptions;
pub use telling::{Moment, STATE, Telling};
use twins::Twins;

/// Largest packet that is received at first, bytes: the largest `max_packet_size` that can be configured (16
/// MiB), a topic and the usual properties of at most 64 KiB each, and as much again for user properties.
pub const TRANSPORT_LIMIT: u32 = 16 * 1024 * 1024 + 256 * 1024;

/// Silence after which a broker that answers has nothing left for a session without filters: it sends what it has as
/// fast as the window and the link allow.
pub const QUIET: Duration = Duration::from_secs(10);
/// Keep alive of a connection that only waits for that silence: its end is noticed with an answer to a ping. The least
/// that the client takes.
const WAITING_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// MQTT topic filter.
    pub filter: String,
    /// QoS to ask for.
    pub qos: Qos,
    /// Whether the broker is to send the retained messages that match. MQTT 3.1.1 cannot say it.
    pub retain: RetainHandling,
    /// Subscription identifier, where the filter overlaps with another one in part. MQTT 5 only.
    pub id: Option<u32>,
}

#[cfg(test)]
impl Subscription {
    /// At QoS 1.
    pub(crate) fn for_test(filter: &str) -> Self {
        Self {
            filter: filter.to_owned(),
            qos: Qos::AtLeastOnce,
            retain: RetainHandling::OnNewSubscription,
            id: None,
        }
    }
}

/// When the broker sends retained messages (MQTT 5, 3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetainHandling {
    /// When the subscription is new. Subscribing again does not bring them again.
    OnNewSubscription,
    /// Never: every route skips them.
    Never,
}

/// What a source is made of.
#[derive(Debug)]
pub struct Parts {
    /// `[[mqtt]]`
    pub config: Config,
    /// Complete: with gateway id and lane.
    pub client_id: String,
    /// What to subscribe to. Nothing: the session is emptied and ended.
    pub subscriptions: Vec<Subscription>,
    /// Filters that the session may hold when nothing is remembered about it.
    pub assumed: Vec<String>,
    /// This lane's place among all that want something of the broker.
    pub seat: Seat,
    /// Where arrivals go.
    pub intake: Intake,
    /// What the store remembers of this broker, oldest first.
    pub recalled: Vec<Recalled>,
    /// Where the session is remembered; its folder exists.
    pub session_file: PathBuf,
    /// Where the session's filters are remembered.
    pub filters_file: PathBuf,
    /// State of the link, for the operator.
    pub link: Arc<watch::Sender<Link>>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Stamps arrivals.
    pub clock: Clock,
    /// Where the newest message of each topic is remembered.
    pub retained_file: PathBuf,
    /// Which messages need times that ascend strictly.
    pub series_of: SeriesOf,
    /// Files may have changed: a source that waits for its next attempt tries at once.
    pub nudge: Arc<Notify>,
}

/// Why a source cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No broker keeps a session for nobody.
    #[error("the client id is empty")]
    NoClientId,
    /// Not a topic filter.
    #[error("`{0}` is not an MQTT topic filter")]
    Filter(String),
    /// The session file cannot be opened or made.
    #[error("cannot open session file {path}: {error}")]
    Session {
        /// As given.
        path: PathBuf,
        /// What the system says.
        error: SlotError,
    },
    /// A built-in bound is wrong.
    #[error(transparent)]
    Backoff(#[from] backoff::Invalid),
}

impl OpenError {
    /// Whether the store is at fault rather than the configuration.
    #[must_use]
    pub const fn is_storage(&self) -> bool {
        matches!(self, Self::Session { .. })
    }
}

/// How a source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As asked.
    Stopped,
    /// Nothing was wanted, and the session is no more. Its files are removed.
    SessionOver,
}

/// Why a source ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The queue is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// One broker's way into the queue.
#[derive(Debug)]
pub struct Source {
    identity: Identity,
    inbound: Inbound,
    subscriptions: Subscriptions,
    session: Mutex<SessionFile>,
    leftover: Mutex<Leftover>,
    held: HeldFile,
    seat: Seat,
    /// What is removed when the session is over.
    files: [PathBuf; 3],
    /// See [`QUIET`]; only when nothing is wanted.
    quiet: Option<Duration>,
    retry: Retry,
    line: Line,
    nudge: Arc<Notify>,
}

impl Source {
    /// Reads the session's files, and takes in what the store remembers. Connects nowhere. All sources
    /// of all lanes are opened before the first one runs: each has to know what the others want.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(parts: Parts) -> Result<Self, OpenError> {
        check(&parts)?;
        let (session, found) =
            SessionFile::open(&parts.session_file, parts.clock.boot()).map_err(|error| {
                OpenError::Session {
                    path: parts.session_file.clone(),
                    error,
                }
            })?;
        let (session, last) = believe(session, found, &parts)?;
        let broker: Arc<str> = parts.config.name.as_str().into();
        let had_session = found != Found::Nothing;
        let line = Line::new(
            Arc::clone(&broker),
            parts.client_id.clone(),
            Arc::clone(&parts.link),
            had_session,
        );
        let (held, leftover) = remember(&parts, had_session);
        let files = [
            parts.session_file.clone(),
            parts.filters_file.clone(),
            parts.retained_file.clone(),
        ];
        let quiet = parts.subscriptions.is_empty().then_some(QUIET);
        let mut config = parts.config.clone();
        if quiet.is_some() {
            config.keep_alive = config.keep_alive.min(WAITING_KEEP_ALIVE);
        }
        let identity = Identity {
            config,
            client_id: parts.client_id.clone(),
        };
        let subscriptions = Subscriptions::new(parts.subscriptions.clone());
        let seat = parts.seat.clone();
        let copies = Copies::new(
            parts.seat.clone(),
            &parts.subscriptions,
            !leftover.is_empty(),
            held.settled().map(<[_]>::to_vec),
        );
        let nudge = Arc::clone(&parts.nudge);
        let inbound = inbound(parts, &identity, &session, broker, last, copies);
        Ok(Self {
            subscriptions,
            seat,
            inbound,
            session: Mutex::new(session),
            leftover: Mutex::new(leftover),
            held,
            files,
            quiet,
            retry: Retry::new(TRANSPORT_LIMIT, faults::random())?,
            line,
            nudge,
            identity,
        })
    }

    /// Runs until `stop`, or until the queue is closed. Lost connections are its business alone.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn run(self, stop: CancellationToken) -> Result<Ended, Error> {
        match self.identity.config.version {
            Version::V3_1_1 => {
                let connector = V4(self.identity.clone());
                Box::pin(self.drive(&connector, &stop)).await
            }
            Version::V5 => {
                let connector = V5::new(self.identity.clone());
                Box::pin(self.drive(&connector, &stop)).await
            }
        }
    }

    /// The same on connections of whoever plays the broker.
    ///
    /// # Errors
    /// [`Error::Closed`].
    #[doc(hidden)]
    pub async fn drive<C: Connector>(
        mut self,
        connector: &C,
        stop: &CancellationToken,
    ) -> Result<Ended, Error> {
        let mut ended = Ended::Stopped;
        self.inbound.copies.begin();
        self.settle();
        while !stop.is_cancelled() {
            match self.connect(connector, stop).await {
                Step::Finish => break,
                Step::Closed => return Err(Closed.into()),
                Step::AwaitRoom => {
                    self.line.pushed_back();
                    // Half of the budget, so that we do not come back for a handful of messages.
                    let room = self.inbound.intake.reserve(self.inbound.intake.memory() / 2);
                    if let Some(room) = stop.run_until_cancelled(room).await {
                        room?;
                    }
                }
                Step::EndSession => {
                    if stop
                        .run_until_cancelled(self.end_session(connector))
                        .await
                        .is_some()
                    {
                        ended = Ended::SessionOver;
                    }
                    break;
                }
                Step::Again { wait, why } => {
                    if why == retry::Why::TakenOver {
                        self.doubt();
                    }
                    self.line.failed(why);
                    let nudge = Arc::clone(&self.nudge);
                    let waited = async {
                        tokio::select! {
                            biased; // In one order, so that a simulation goes the same way again.
                            () = sleep(wait) => {}
                            () = nudge.notified() => {}
                        }
                    };
                    stop.run_until_cancelled(waited).await;
                }
            }
            counters::count(&self.inbound.counters.reconnects);
        }
        if ended == Ended::Stopped {
            self.settle();
            self.inbound.keep_retained();
        }
        self.inbound.counters.say(&self.inbound.broker);
        Ok(ended)
    }

    /// See [`HeldFile::settle`].
    fn settle(&mut self) {
        self.held.settle(self.inbound.copies.settled());
    }

    /// Another client used the session: nothing that came so far is certain any more, now or after a restart.
    fn doubt(&mut self) {
        self.inbound.window.doubt(self.inbound.last);
        if let Err(error) = connection::lock(&self.session).doubt(self.inbound.last) {
            // The next connection begins the session anew, or acknowledges nothing.
            warn!(broker = %self.inbound.broker, %error, "cannot note that another client used the session");
        }
    }

    /// Ends the session, however long that takes, and forgets it.
    async fn end_session<C: Connector>(&mut self, connector: &C) {
        while let Err(failure) = connection::end_session(connector).await {
            if let Step::Again { wait, why } = self.retry.ended(connection::End::Failed(failure), None) {
                self.line.failed(why);
                sleep(wait).await;
            }
        }
        for path in &self.files {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    warn!(path = %path.display(), %error, "cannot forget the session; it will be looked for again");
                }
                _ => {}
            }
        }
        self.line.session_ended();
    }

    /// One connection, and what its end means.
    async fn connect<C: Connector>(&mut self, connector: &C, stop: &CancellationToken) -> Step {
        let shared = connection::Shared {
            inbound: &mut self.inbound,
            subscriptions: &mut self.subscriptions,
            session: &self.session,
            leftover: &self.leftover,
            held: &mut self.held,
            seat: &self.seat,
            line: &mut self.line,
            keep_alive: self.identity.keep_alive(),
            quiet: self.quiet,
        };
        let (end, established) = connection::run(connector, self.retry.packet_limit(), shared, stop).await;
        self.seat.disconnected();
        if established.is_none() {
            self.subscriptions.unanswered();
        }
        self.retry
            .ended(end, established.map(|at| Instant::now().duration_since(at)))
    }
}

/// What a connection is made of, for whoever plays the broker.
#[doc(hidden)]
pub mod played {
    pub use super::client::{
        Acknowledgement, Answer, Client, Connector, Event, Events, Failure, Gone, Publish, REQUESTS,
    };
}

pub use tls::{first_end, mismatch};

/// What is wrong with the files that `[[mqtt]]` names, by this machine's clock and rights; connects nowhere.
#[must_use]
pub fn file_problems(config: &Config) -> Vec<String> {
    let unusable = client::file_problems(config).into_iter();
    let client = config.tls.as_ref().and_then(|tls| tls.client.as_ref());
    let untimely = client
        .and_then(tls::untimely)
        .map(|untimely| untimely.to_string());
    unusable.chain(untimely).collect()
}

/// What a look at a broker found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It lets us in.
    Welcome,
    /// Nobody answers, or not in time. That may pass.
    Away(String),
    /// It needs a person.
    Refused(String),
}

/// Connects once, without a session, and leaves. `client_id` must be that of no other connection.
pub async fn look(config: &Config, client_id: String) -> Look {
    let identity = Identity {
        config: config.clone(),
        client_id,
    };
    let ended = match config.version {
        Version::V3_1_1 => connection::end_session(&V4(identity)).await,
        Version::V5 => connection::end_session(&V5::new(identity)).await,
    };
    match ended {
        Ok(()) => Look::Welcome,
        Err(client::Failure::Refused(why) | client::Failure::Files(why)) => Look::Refused(why),
        Err(failure) => Look::Away(failure.to_string()),
    }
}

/// What an MQTT 5 broker says to a session such as the data has. `client_id` must be that of no other connection; its session
/// is ended again by [`look`]. `None` with MQTT 3.1.1, which has no words for it, and when the broker does not answer.
pub async fn capabilities(config: &Config, client_id: String) -> Option<Capabilities> {
    if config.version == Version::V3_1_1 {
        return None;
    }
    let identity = Identity {
        config: config.clone(),
        client_id,
    };
    let limit = Duration::from_secs(2 * client::CONNECT_TIMEOUT_S);
    let client = V5::new(identity);
    let said = tokio::time::timeout(limit, Box::pin(client.capabilities())).await;
    said.ok()?.ok()
}

/// What the broker says it has dropped, when it says so within a moment. `client_id` must be that of no other connection.
pub async fn dropped_by(config: &Config, client_id: String) -> Option<u64> {
    let identity = Identity {
        config: config.clone(),
        client_id,
    };
    match config.version {
        Version::V3_1_1 => Box::pin(dropped::ask(&V4(identity))).await,
        Version::V5 => Box::pin(dropped::ask(&V5::new(identity))).await,
    }
}

fn check(parts: &Parts) -> Result<(), OpenError> {
    if parts.client_id.is_empty() {
        return Err(OpenError::NoClientId);
    }
    let wrong = parts
        .subscriptions
        .iter()
        .find(|wanted| !rumqttc::valid_filter(&wanted.filter));
    wrong.map_or(Ok(()), |wanted| Err(OpenError::Filter(wanted.filter.clone())))
}

/// Settles how much of the session file holds, and which position was the last.
fn believe(
    mut session: SessionFile,
    found: Found,
    parts: &Parts,
) -> Result<(SessionFile, Position), OpenError> {
    let newest = parts
        .recalled
        .iter()
        .map(|recalled| recalled.delivery.position)
        .max()
        .unwrap_or(0);
    let last = newest.max(session.handed());
    let broker = &parts.config.name;
    match found {
        Found::SameBoot => {}
        Found::OtherBoot => {
            // Any PUBACK may have left before the machine went down.
            let error = |error| OpenError::Session {
                path: parts.session_file.clone(),
                error,
            };
            session.doubt(last).map_err(error)?;
            session.hand_over(last).map_err(error)?;
        }
        Found::Nothing => info!(
            broker,
            "no usable session file; redeliveries of earlier messages will be stored again"
        ),
    }
    Ok((session, last))
}

/// Notes what the session will hold, before anything is asked for, and finds what it holds and should not.
fn remember(parts: &Parts, had_session: bool) -> (HeldFile, Leftover) {
    let mut held = HeldFile::open(&parts.filters_file);
    let assumed = if had_session { &parts.assumed[..] } else { &[] };
    let before = held.filters().unwrap_or(assumed).to_vec();
    parts.seat.want(&parts.subscriptions, &before);
    let mut filters: Vec<String> = parts
        .subscriptions
        .iter()
        .map(|wanted| wanted.filter.clone())
        .collect();
    let is_left = |filter: &String| !filters.contains(filter);
    let left: Vec<String> = before.into_iter().filter(is_left).collect();
    filters.extend_from_slice(&left);
    held.remember(filters);
    (held, Leftover::new(left))
}

fn inbound(
    parts: Parts,
    identity: &Identity,
    session: &SessionFile,
    broker: Arc<str>,
    last: Position,
    copies: Copies,
) -> Inbound {
    let receive_maximum = parts.config.receive_maximum.max(1);
    let mut window = Window::new(usize::from(receive_maximum).max(LEAST_UNSEEN));
    window.recall(&parts.recalled, session.tag());
    // The session file may know of later ones: passed over, or no longer in the store.
    window.begin_behind(last);
    window.doubt(session.doubtful());
    let mut retained = Retained::open(parts.retained_file);
    let mut stamping = Stamping::new(parts.series_of);
    for recalled in &parts.recalled {
        retained.recall(recalled.topic, recalled.delivery.fingerprint);
        for series in &recalled.series {
            stamping.took(*series, recalled.unix_ms);
        }
    }
    Inbound {
        broker,
        max_payload: parts.config.max_packet_size,
        receive_maximum: receive_maximum.into(),
        patience: identity.keep_alive(),
        durable: Durable::new(last, &parts.intake),
        intake: parts.intake,
        window,
        copies,
        twins: Twins::new(&parts.subscriptions),
        retained,
        stamping,
        clock: parts.clock,
        counters: parts.counters,
        last,
        last_stored: last,
        oversize: Repeated::default(),
    }
}

#[cfg(test)]
mod tests;
