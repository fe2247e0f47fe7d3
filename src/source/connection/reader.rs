//! Polls the connection and takes messages in.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{End, ORDERS, Order, Shared, lock};
use crate::faults;
use crate::source::Subscription;
use crate::source::client::{Answer, Event, Events, Failure, Publish};
use crate::source::counters::count;
use crate::source::inbound::Refusal;
use crate::source::session::new_tag;

/// Orders waiting for the sender at which nothing more is taken off the connection: twice what waits to become durable at most (2 MiB of the
/// smallest messages), so that there is always something to acknowledge, and an eighth of all packet ids.
const HOLD_AT: usize = 8_192;
/// And at which it goes on.
const GO_ON_AT: usize = 4_096;

/// How long the broker may take to close the connection after our DISCONNECT: it reads as fast as the link allows. What is
/// lost then comes again, and may be stored twice.
const GOODBYE: Duration = Duration::from_secs(2);

pub struct Reader<'a, E> {
    events: E,
    shared: Shared<'a>,
    orders: mpsc::Sender<Order>,
    leave: CancellationToken,
    established: &'a OnceLock<Instant>,
    /// Wakes whoever unsubscribes.
    answered: &'a Notify,
    pushed_back: bool,
    /// When something last came for a lane that wants nothing.
    busy: Instant,
    /// The broker has nothing left for us.
    unused: bool,
    /// When our DISCONNECT left.
    goodbye: Option<Instant>,
}

impl<'a, E: Events> Reader<'a, E> {
    pub fn new(
        events: E,
        shared: Shared<'a>,
        orders: mpsc::Sender<Order>,
        leave: CancellationToken,
        established: &'a OnceLock<Instant>,
        answered: &'a Notify,
    ) -> Self {
        Self {
            events,
            shared,
            orders,
            leave,
            established,
            answered,
            pushed_back: false,
            busy: Instant::now(),
            unused: false,
            goodbye: None,
        }
    }

    pub async fn run(mut self) -> End {
        loop {
            // The watchdog throws the connection away as a whole, so the future may be dropped.
            let patience = self.patience();
            let end = match timeout(patience, self.events.next()).await {
                // Whoever closed it, all that was owed had left.
                Err(_) | Ok(Err(_)) if self.goodbye.is_some() => Err(End::Stopped),
                Err(_) => Err(End::Silent),
                Ok(Err(failure)) => Err(End::Failed(failure)),
                Ok(Ok(event)) => self.handle(event).await,
            };
            if let Err(end) = end {
                return match end {
                    _ if self.pushed_back => End::PushedBack,
                    // The goodbye left behind all that was owed.
                    End::Stopped if self.unused => End::Unused,
                    end => end,
                };
            }
        }
    }

    /// How long to wait for the next event.
    fn patience(&self) -> Duration {
        match self.goodbye {
            Some(since) => GOODBYE.saturating_sub(since.elapsed()),
            None => self.shared.keep_alive * 3,
        }
    }

    async fn handle(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Connected { session_present } => self.connected(session_present)?,
            Event::Published(publish) => self.published(publish).await?,
            Event::SubscribeSent(packet_id) => self.shared.subscriptions.sent(packet_id),
            Event::Granted { packet_id, answers } => self.granted(packet_id, &answers),
            Event::UnsubscribeSent(packet_id) => lock(self.shared.leftover).sent(packet_id),
            Event::Unsubscribed { packet_id, refused } => self.unsubscribed(packet_id, refused),
            Event::PingSent => self.shared.inbound.copies.pinged(),
            Event::AcknowledgementSent => self.shared.inbound.copies.acknowledged(),
            Event::Pong => {
                self.shared.inbound.copies.ponged();
                self.settle();
                self.look_whether_unused();
            }
            // The broker closes. Until then what it still sends is read: a socket that is closed with something unread in
            // it is reset, and that may throw away our PUBACKs before the broker has read them.
            Event::DisconnectSent => self.goodbye = Some(Instant::now()),
            Event::Other => {}
        }
        self.keep_pace();
        // Pings come every keep alive, so that is how late a refused filter is asked for again.
        let due = self.shared.subscriptions.due(Instant::now());
        self.subscribe(due)
    }

    fn connected(&mut self, session_present: bool) -> Result<(), End> {
        self.established.get_or_init(Instant::now);
        let is_known = session_present && lock(self.shared.session).is_settled();
        if is_known {
            self.shared
                .inbound
                .window
                .resume(lock(self.shared.session).handed());
        } else {
            self.shared.inbound.window.clear();
            lock(self.shared.session)
                .begin(new_tag())
                .map_err(End::SessionFile)?;
        }
        self.busy = Instant::now();
        // A session that was new when that could not be noted, or not be told, holds nothing yet.
        let is_held = is_known && !self.shared.subscriptions.is_unsure();
        let is_held = is_held || faults::omits(faults::SUBSCRIBES_AGAIN);
        self.shared.seat.connected(is_held);
        self.shared.inbound.connected(session_present);
        // Before anything is subscribed: a crash must not bring back what was settled with the session before.
        self.settle();
        if lock(self.shared.leftover).connected(session_present) {
            self.remember();
        }
        self.answered.notify_one();
        let packets = self.shared.subscriptions.connected(is_held);
        self.tell_granted();
        self.shared
            .line
            .connected(session_present, self.shared.subscriptions.refusal());
        self.subscribe(packets)
    }

    fn subscribe(&mut self, packets: Vec<Vec<Subscription>>) -> Result<(), End> {
        packets.into_iter().try_for_each(|filters| {
            self.shared.seat.ask(&filters);
            self.order(Order::Subscribe(filters))
        })
    }

    /// Other lanes' sessions wait for this before they do without.
    fn tell_granted(&self) {
        self.shared.seat.grant(self.shared.subscriptions.granted());
    }

    fn unsubscribed(&mut self, packet_id: u16, refused: Option<String>) {
        self.busy = Instant::now();
        let filter = lock(self.shared.leftover).answered(packet_id, refused.is_none());
        self.answered.notify_one();
        let Some(filter) = filter else { return };
        self.shared.line.unsubscribed(&filter, refused);
        self.remember();
    }

    /// What the session holds now: what is wanted, and what is left to be unsubscribed.
    fn remember(&mut self) {
        let mut filters: Vec<String> = self.shared.subscriptions.wanted().map(str::to_owned).collect();
        let leftover = lock(self.shared.leftover);
        let left: Vec<&str> = leftover.filters().collect();
        self.shared.seat.hold(&left);
        filters.extend(left.into_iter().map(str::to_owned));
        drop(leftover);
        self.shared.held.remember(filters);
    }

    /// Writes down what the other lanes surely have their own copies of.
    fn settle(&mut self) {
        let settled = self.shared.inbound.copies.settled();
        self.shared.held.settle(settled);
    }

    /// With nothing subscribed any more, and nothing sent for a while by a broker that answers, nothing is left there.
    fn look_whether_unused(&mut self) {
        let Some(quiet) = self.shared.quiet else { return };
        if lock(self.shared.leftover).is_empty() && self.busy.elapsed() >= quiet {
            self.unused = true;
            self.leave.cancel();
        }
    }

    fn granted(&mut self, packet_id: u16, answers: &[Answer]) {
        let outcome = self
            .shared
            .subscriptions
            .answered(packet_id, answers, Instant::now());
        self.tell_granted();
        self.settle();
        self.shared
            .line
            .answered(&outcome, self.shared.subscriptions.refusal());
    }

    async fn published(&mut self, publish: Publish) -> Result<(), End> {
        self.busy = Instant::now();
        self.shared.inbound.copies.came(publish.qos);
        if self.unused {
            // There was something left after all. It comes again on the next connection.
            self.unused = false;
            let why = "a message came while the session was given up".to_owned();
            return Err(End::Failed(Failure::Unreachable(why)));
        }
        if self.leave.is_cancelled() {
            // Not acknowledged: the broker keeps it.
            count(&self.shared.inbound.counters.received);
            count(&self.shared.inbound.counters.put_back);
            return Ok(());
        }
        let session = lock(self.shared.session).tag();
        let taken = tokio::select! {
            biased; // A message that there is room for is taken even when a stop comes now.
            taken = self.shared.inbound.take(publish, session) => taken,
            () = self.leave.cancelled() => return Ok(()),
        };
        match taken {
            Ok(None) => Ok(()),
            Ok(Some(owed)) => self.order(Order::Acknowledge(owed)),
            Err(Refusal::Closed) => Err(End::Closed),
            Err(Refusal::Stale) => {
                let why = "the file of known retained messages cannot be removed".to_owned();
                Err(End::Failed(Failure::Files(why)))
            }
            Err(Refusal::Full) => {
                self.pushed_back = true;
                self.leave.cancel();
                Ok(())
            }
        }
    }

    /// Lets acknowledgements catch up: with a broker that does not keep to a window they fall behind without end otherwise, because the
    /// client takes several messages for each that it acknowledges.
    fn keep_pace(&mut self) {
        let owed = ORDERS.saturating_sub(self.orders.capacity());
        if owed >= HOLD_AT {
            self.events.hold(true);
        } else if owed <= GO_ON_AT {
            self.events.hold(false);
        }
    }

    /// Never waits, for the sender may be waiting for us to poll.
    fn order(&mut self, order: Order) -> Result<(), End> {
        self.orders.try_send(order).map_err(|_| {
            End::Failed(Failure::Protocol(
                "more unacknowledged messages than packet ids".to_owned(),
            ))
        })
    }
}
