//! One PUBLISH on its way into the queue.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::client::{Acknowledgement, Publish};
use super::counters::{Counters, count};
use super::fingerprint::fingerprint;
use super::handover::Copies;
use super::redelivery::{Seen, Verdict, Window};
use super::retained::{Retained, topic_hash};
use super::stamping::Stamping;
use super::twins::{First, Twins};
use crate::clock::Clock;
use crate::faults;
use crate::message::{Arrival, Delivery, OVERSIZE_KEPT_BYTES, SessionTag};
use crate::outages::{Repeated, Say};
use crate::queue::intake::Position;
use crate::queue::{Closed, Intake};

/// An acknowledgement that the broker gets once `position` is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    /// Position of the message; that of an earlier delivery when it was recognised.
    pub position: Position,
    /// The position that has to be durable: another one, when the message is left out because of that.
    pub after: Position,
    /// What to acknowledge.
    pub what: Acknowledgement,
}

/// Why a PUBLISH was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The queue ended.
    Closed,
    /// No room within the patience.
    Full,
    /// The file of retained messages holds what will not be true any more, and cannot be removed.
    Stale,
}

impl From<Closed> for Refusal {
    fn from(Closed: Closed) -> Self {
        Self::Closed
    }
}

/// Positions that are durable: what the store remembered at the start, and what it confirmed since.
#[derive(Debug, Clone)]
pub struct Durable {
    /// Everything up to here was in the store before this process began.
    floor: Position,
    confirmed: watch::Receiver<Position>,
}

impl Durable {
    pub fn new(floor: Position, intake: &Intake) -> Self {
        Self {
            floor,
            confirmed: intake.durable(),
        }
    }

    /// The highest durable position.
    pub fn now(&self) -> Position {
        (*self.confirmed.borrow()).max(self.floor)
    }

    /// Waits until `position` is durable. For ever, if the queue ended.
    pub async fn reached(&mut self, position: Position) {
        if position <= self.floor {
            return;
        }
        if self
            .confirmed
            .wait_for(|confirmed| *confirmed >= position)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }
}

/// What outlives connections on the way in.
#[derive(Debug)]
pub struct Inbound {
    pub broker: Arc<str>,
    /// Payloads over this are cut, bytes.
    pub max_payload: usize,
    /// Arrivals that wait for durability when the broker sends no more.
    pub receive_maximum: u64,
    /// How long to wait for room.
    pub patience: Duration,
    pub intake: Intake,
    pub window: Window,
    pub copies: Copies,
    pub twins: Twins,
    pub retained: Retained,
    pub stamping: Stamping,
    pub clock: Clock,
    pub counters: Arc<Counters>,
    /// Position of the newest arrival.
    pub last: Position,
    /// Position of the newest one that went to the queue, or was there before: what is passed over never becomes durable.
    pub last_stored: Position,
    pub durable: Durable,
    /// Payloads that were cut, as the log tells them.
    pub oversize: Repeated,
}

impl Inbound {
    /// Stores the message, or recognises it. Waits while the queue has no room. Dropping the future, like a
    /// refusal, leaves the message with the broker.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn take(&mut self, mut publish: Publish, session: SessionTag) -> Result<Option<Owed>, Refusal> {
        count(&self.counters.received);
        let seen = Seen {
            packet_id: publish.packet_id,
            fingerprint: fingerprint(&publish),
            qos: publish.qos,
            dup: publish.dup,
        };
        let what = Acknowledgement {
            packet_id: seen.packet_id,
            qos: seen.qos,
        };
        self.twins.arrived(seen.fingerprint, seen.packet_id);
        if seen.dup && faults::omits(faults::DUP_IS_JUDGED) {
            let position = self.pass_over(seen);
            let after = self.last_stored;
            return Ok(Some(Owed {
                position,
                after,
                what,
            }));
        }
        let (position, after) = match self.window.judge(seen) {
            Verdict::Recognised(position) => {
                count(&self.counters.recognised);
                let ids = subscription_ids(&publish);
                self.twins.stored(&publish.topic, ids, seen.fingerprint, position);
                (position, position)
            }
            Verdict::Store => {
                if let Some(after) = self.has_already(&mut publish, seen) {
                    (self.pass_over(seen), after)
                } else {
                    let put_back = PutBack(Some(Arc::clone(&self.counters)));
                    let position = self.store(publish, seen, session).await?;
                    put_back.disarm();
                    (position, position)
                }
            }
        };
        Ok((seen.qos > 0).then_some(Owed {
            position,
            after,
            what,
        }))
    }

    /// A connection began: the broker sends no more second copies of what came before.
    pub fn connected(&mut self, session_present: bool) {
        self.copies.connected(session_present);
        self.twins.clear();
    }

    /// Writes down which retained messages are known. At an orderly end: nothing may be stored any more.
    pub fn keep_retained(&mut self) {
        self.retained.keep(self.durable.now());
    }

    /// The position that has to be durable before this may be acknowledged without being stored: it is a second copy, or a
    /// retained message that is known. What may be a second copy, and may be not, is marked.
    fn has_already(&mut self, publish: &mut Publish, seen: Seen) -> Option<Position> {
        match self.twins.first_of(subscription_ids(publish), seen.fingerprint) {
            Some(First::Certain(first)) => {
                count(&self.counters.second_copies);
                return Some(first);
            }
            Some(First::Perhaps) => {
                publish.dup = true;
                return None;
            }
            None => {}
        }
        if self.retained.knows(publish, seen.fingerprint) {
            count(&self.counters.retained_known);
            return Some(self.last_stored);
        }
        None
    }

    /// Takes a position for what is not stored, so that it can be known how many packet ids the broker gave.
    fn pass_over(&mut self, seen: Seen) -> Position {
        self.last += 1;
        self.window.passed_over(seen, self.last);
        self.last
    }

    async fn store(&mut self, publish: Publish, seen: Seen, tag: SessionTag) -> Result<Position, Refusal> {
        let position = self.last + 1;
        let mut arrival = self.arrival(publish, seen, tag, position);
        let (stamp, series) = self.stamping.stamp(&arrival);
        arrival.stamp = stamp;
        let room = match timeout(self.patience, self.intake.reserve(arrival.cost())).await {
            Ok(room) => room?,
            Err(_) => return Err(Refusal::Full),
        };
        let waiting = position.saturating_sub(self.durable.now());
        let oversize = arrival.oversize.is_some();
        self.stamping.stamped(stamp, series);
        // Before the message is in the queue: whatever happens then, an old file is not believed.
        if self
            .retained
            .note(topic_hash(&arrival.topic), seen.fingerprint, position)
            .is_err()
        {
            return Err(Refusal::Stale);
        }
        let ids = arrival
            .properties
            .as_deref()
            .map_or(&[][..], |of| &of.subscription_ids);
        self.twins.stored(&arrival.topic, ids, seen.fingerprint, position);
        self.intake
            .offer(arrival, room, waiting >= self.receive_maximum)?;
        (self.last, self.last_stored) = (position, position);
        self.window.stored(seen, position);
        self.count_stored(seen, oversize);
        Ok(position)
    }

    fn count_stored(&self, seen: Seen, oversize: bool) {
        count(&self.counters.stored);
        if seen.qos == 0 {
            count(&self.counters.unprotected);
        }
        if oversize {
            count(&self.counters.oversize);
        }
    }

    fn arrival(&mut self, publish: Publish, seen: Seen, session: SessionTag, position: Position) -> Arrival {
        let Publish {
            topic,
            payload,
            whole,
            dup,
            retained,
            mut properties,
            ..
        } = publish;
        if let Some(properties) = properties.as_deref_mut() {
            properties.correlation_data = properties.correlation_data.as_deref().map(own);
        }
        // Marked like what a broker sends twice: a consumer has to know either way.
        let dup = dup || self.copies.has(&topic);
        let (payload, oversize) = self.cut(&topic, &payload, whole);
        let Seen {
            packet_id,
            fingerprint,
            qos,
            ..
        } = seen;
        let delivery = Delivery {
            session,
            position,
            packet_id,
            qos,
            dup,
            retained,
            fingerprint,
        };
        let (broker, stamp) = (Arc::clone(&self.broker), self.clock.now());
        Arrival {
            broker,
            topic,
            payload,
            oversize,
            properties,
            delivery,
            stamp,
            origin: None,
        }
    }

    /// What is kept of the payload, and its whole length if that is not all.
    fn cut(&mut self, topic: &str, payload: &[u8], whole: Option<u64>) -> (Bytes, Option<u64>) {
        if whole.is_none() && payload.len() <= self.max_payload {
            return (own(payload), None);
        }
        let whole = whole.unwrap_or(payload.len() as u64);
        match self.oversize.again(Instant::now()) {
            Say::Loudly { untold } => warn!(
                broker = %self.broker, topic, bytes = whole, limit = self.max_payload, untold,
                "payload over max_packet_size; its beginning is kept as a dead letter"
            ),
            Say::Quietly => {
                debug!(broker = %self.broker, topic, bytes = whole, "payload over max_packet_size");
            }
        }
        let (kept, _) = payload
            .split_at_checked(OVERSIZE_KEPT_BYTES)
            .unwrap_or((payload, &[]));
        (own(kept), Some(whole))
    }
}

/// The subscriptions that this copy is for, as far as they have identifiers.
fn subscription_ids(publish: &Publish) -> &[u32] {
    let properties = publish.properties.as_deref();
    properties.map_or(&[], |properties| &properties.subscription_ids)
}

/// A copy of its own. The client's `Bytes` keep a whole read buffer alive, after a large packet one of
/// megabytes, and the memory budget counts only what a message itself holds.
fn own(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// Counts a message as put back unless it was taken; also when the future that takes it is dropped.
struct PutBack(Option<Arc<Counters>>);

impl PutBack {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for PutBack {
    fn drop(&mut self) {
        if let Some(counters) = &self.0 {
            count(&counters.put_back);
        }
    }
}
