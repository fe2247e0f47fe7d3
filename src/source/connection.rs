//! One connection, from CONNECT to its end.
//!
//! Four futures in one task, joined so that the event stream is polled for as long as the connection lives
//! and is never dropped halfway (it is not cancel safe):
//!
//! * [`reader`] polls, takes messages in, and puts what the broker is owed into a FIFO.
//! * [`sender`] takes from the FIFO, waits until the position is durable, and hands the acknowledgement to
//!   the client.
//! * [`clearing`] puts an UNSUBSCRIBE into the FIFO whenever the session can spare a filter.
//! * a time limit on leaving.
//!
//! The client moves requests only while it is polled, so whoever polls must never wait for the client. The
//! reader does not: it waits for room in the queue at most. The end of the reader ends the sender, and with
//! it every acknowledgement that was not handed over: the broker will repeat those messages.
//!
//! # Leaving
//!
//! On a stop, and when the queue has had no room for a keep alive, the connection is left in order: no
//! message is taken any more, what was taken becomes durable and is acknowledged, and DISCONNECT goes out
//! behind the last PUBACK. So nothing is in doubt afterwards. [`LEAVE`] bounds it.

mod clearing;
mod reader;
mod sender;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Subscription;
use super::client::{CONNECT_TIMEOUT_S, Client, Connector, Event, Events, Failure, until_closed};
use super::handover::Seat;
use super::held::HeldFile;
use super::inbound::{Inbound, Owed};
use super::leftover::Leftover;
use super::line::Line;
use super::session::SessionFile;
use super::subscribe::Subscriptions;
use crate::slots::SlotError;
use reader::Reader;
use sender::Sender;

/// Longest that leaving may take: a group commit on a slow card takes well under a second, and systemd gives
/// a service 90 s to stop. What is not done then is sent again by the broker.
pub const LEAVE: Duration = Duration::from_secs(5);

/// Most orders waiting for the sender: all packet ids. A broker that has more unacknowledged messages has
/// broken the protocol.
const ORDERS: usize = 65_535;

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    /// As asked.
    Stopped,
    /// The queue had no room for a keep alive, or leaving in order took too long.
    PushedBack,
    /// Nothing is wanted of this broker any more, and it has nothing left for us.
    Unused,
    /// The queue is closed.
    Closed,
    /// Nothing was heard for three keep alives.
    Silent,
    /// The client says so.
    Failed(Failure),
    /// The session file cannot be written, so nothing may be acknowledged.
    SessionFile(SlotError),
}

/// Something for the sender.
#[derive(Debug)]
enum Order {
    Subscribe(Vec<Subscription>),
    Unsubscribe(String),
    Acknowledge(Owed),
}

/// What connections share, one after the other.
pub struct Shared<'a> {
    pub inbound: &'a mut Inbound,
    pub subscriptions: &'a mut Subscriptions,
    pub session: &'a Mutex<SessionFile>,
    pub leftover: &'a Mutex<Leftover>,
    pub held: &'a mut HeldFile,
    pub seat: &'a Seat,
    pub line: &'a mut Line,
    /// Without an event for three of these the connection is given up.
    pub keep_alive: Duration,
    /// Nothing is wanted: the connection is left when the broker has been quiet for so long.
    pub quiet: Option<Duration>,
}

/// Runs one connection. Gives how it ended, and when it was established, if it was.
pub async fn run<C: Connector>(
    connector: &C,
    packet_limit: u32,
    shared: Shared<'_>,
    stop: &CancellationToken,
) -> (End, Option<Instant>) {
    let (client, events) = connector.connect(packet_limit);
    let (orders, ordered) = mpsc::channel(ORDERS);
    let (leave, established) = (stop.child_token(), OnceLock::new());
    let (durable, session) = (shared.inbound.durable.clone(), shared.session);
    let (leftover, seat, answered) = (shared.leftover, shared.seat, Notify::new());
    lock(leftover).connecting();
    let clearing = clearing::run(leftover, seat, &answered, orders.clone());
    let reader = Reader::new(events, shared, orders, leave.clone(), &established, &answered);
    let sender = Sender::new(&client, ordered, durable, session, leave.clone());
    let end = tokio::select! {
        // In one order, so that a simulation goes the same way again. The sender comes first: under load the reader uses up what a
        // task may do at a time, and nothing would be acknowledged.
        biased;
        error = sender.run() => End::SessionFile(error),
        end = reader.run() => end,
        never = clearing => match never {},
        () = leaving_takes_too_long(&leave, &established) => End::PushedBack,
    };
    // Whatever ended it while a stop was asked for, it is the end that was asked for.
    let end = if stop.is_cancelled() && !matches!(end, End::Closed) {
        End::Stopped
    } else {
        end
    };
    (end, established.get().copied())
}

/// Before the connection is established there is nothing to leave in order.
async fn leaving_takes_too_long(leave: &CancellationToken, established: &OnceLock<Instant>) {
    leave.cancelled().await;
    if established.get().is_some() {
        sleep(LEAVE).await;
    }
}

/// Ends the session that the broker keeps for us, and whatever it still has for it.
///
/// # Errors
/// [`Failure`]: the session may or may not be there.
pub async fn end_session<C: Connector>(connector: &C) -> Result<(), Failure> {
    let (client, mut events) = connector.connect_clean();
    let ended = async {
        loop {
            match events.next().await? {
                // The request waits in the client until it is polled.
                Event::Connected { .. } if client.disconnect().await.is_err() => return Err(Failure::Closed),
                Event::DisconnectSent => {
                    until_closed(&mut events).await;
                    return Ok(());
                }
                _ => {}
            }
        }
    };
    let limit = Duration::from_secs(2 * CONNECT_TIMEOUT_S);
    let late = |_| Err(Failure::Unreachable("no answer in time".to_owned()));
    timeout(limit, ended).await.unwrap_or_else(late)
}

/// Locks the session file or the leftover filters. Only ever held for one call; a panic inside one leaves them as they
/// were or changed, and both are fit for use.
pub fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
