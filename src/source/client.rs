//! The MQTT client as the rest of the source sees it: events in, acknowledgements out, one value per
//! connection.
//!
//! A connection is a client and an event stream that are made together and thrown away together. That is
//! deliberate. `rumqttc` can reconnect by itself, but then events of the old connection come up on the new
//! one, and acknowledgements of the old one go out on the new one, where the same packet id may mean another
//! message.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod identifiers;
mod pipe;
mod relay;
mod shorten;
mod transport;
mod trouble;
pub mod v4;
pub mod v5;
mod websocket;

pub use transport::file_problems;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::Subscription;
use crate::message::Properties;

/// Requests that the client takes before its event loop has sent one.
///
/// What is in there at the end of a connection was handed over but never sent, so it is in doubt (see
/// `source::redelivery`): few. The loop flushes after each request anyway, so more would not be faster.
pub const REQUESTS: usize = 64;

/// Most that each half of establishing a connection may take, seconds: reaching the broker (name, TCP, TLS, WebSocket), and its
/// CONNACK. A slow satellite link needs three round trips of one to two seconds for the first.
pub const CONNECT_TIMEOUT_S: u64 = 10;

/// Largest packet of a connection beside the data, bytes: a broker's own topics hold numbers.
const SMALL_PACKETS: u32 = 64 * 1024;

/// What an event stream tells.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// CONNACK.
    Connected {
        /// The broker still has our session.
        session_present: bool,
    },
    /// PUBLISH.
    Published(Publish),
    /// Our next SUBSCRIBE left, under this packet id.
    SubscribeSent(u16),
    /// SUBACK.
    Granted {
        /// Of the SUBSCRIBE that it answers.
        packet_id: u16,
        /// One answer per filter, in order.
        answers: Vec<Answer>,
    },
    /// Our next UNSUBSCRIBE left, under this packet id.
    UnsubscribeSent(u16),
    /// UNSUBACK.
    Unsubscribed {
        /// Of the UNSUBSCRIBE that it answers.
        packet_id: u16,
        /// The broker's words when it did not do it. MQTT 3.1.1 has none.
        refused: Option<String>,
    },
    /// PINGRESP: whatever the broker sent before has come.
    Pong,
    /// Our PINGREQ left.
    PingSent,
    /// An acknowledgement of a PUBLISH left.
    AcknowledgementSent,
    /// Our DISCONNECT was flushed to the pipe to the connection; so was everything before it. A pipe only moves while the process goes
    /// on: see `until_closed`.
    DisconnectSent,
    /// Something that only shows that the connection lives.
    Other,
}

/// What the broker says to one filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Subscribed, with this QoS.
    Granted(u8),
    /// Not subscribed, and why, in words.
    Refused(String),
}

/// One PUBLISH, whichever version it came by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Never empty.
    pub topic: String,
    /// A view into the client's read buffer, which it keeps alive.
    pub payload: Bytes,
    /// How long the payload was, bytes, when only its beginning was let through.
    pub whole: Option<u64>,
    /// 0 for QoS 0.
    pub packet_id: u16,
    /// 0, 1 or 2.
    pub qos: u8,
    /// DUP flag.
    pub dup: bool,
    /// RETAIN flag.
    pub retained: bool,
    /// MQTT 5 only.
    pub properties: Option<Box<Properties>>,
}

/// Which PUBLISH to acknowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Packet id of the PUBLISH.
    pub packet_id: u16,
    /// Its QoS, 1 or 2.
    pub qos: u8,
}

/// How a connection failed, as far as it makes a difference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection, or it broke: network, name, time limit.
    #[error("{0}")]
    Unreachable(String),
    /// The broker closed the connection without a word.
    #[error("the broker closed the connection")]
    Closed,
    /// The broker refuses what we are configured to be. Needs a person.
    #[error("{0}")]
    Refused(String),
    /// A file that we need cannot be used. Needs a person, or whoever renews it.
    #[error("{0}")]
    Files(String),
    /// MQTT 5: another client connected with our client id.
    #[error("another client took over the session")]
    TakenOver,
    /// A packet is over the limit that we set.
    #[error("a packet of {size} bytes is over the transport limit")]
    TooLarge {
        /// Its remaining length, bytes.
        size: usize,
    },
    /// The broker broke the protocol, or says that we did.
    #[error("{0}")]
    Protocol(String),
}

/// The connection ended while something was handed to it; its event stream tells why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// What an MQTT 5 broker says in its CONNACK of what it does not do as it was asked (MQTT 5, 3.2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// How long it keeps the session, when that is not what was asked for.
    pub session_expiry: Option<Duration>,
    /// The highest QoS that it gives; `None` means 2.
    pub max_qos: Option<u8>,
}

/// Makes connections.
pub trait Connector {
    /// Takes requests.
    type Client: Client;
    /// Gives events; connects when first asked.
    type Events: Events;

    /// A new connection that accepts packets up to `packet_limit` bytes.
    fn connect(&self, packet_limit: u32) -> (Self::Client, Self::Events);

    /// A new connection that ends the session: the one that the broker keeps, and its own with its DISCONNECT.
    ///
    /// That is how both versions can say it. (MQTT 5 could say it with a DISCONNECT too, but the client cannot.)
    fn connect_clean(&self) -> (Self::Client, Self::Events);
}

/// Makes connections beside the data: they publish, listen to the broker's own topics, and may leave a word behind.
pub trait Announcer {
    /// Takes requests.
    type Client: Announce;
    /// Gives events; connects when first asked.
    type Events: Events;

    /// A new connection without a session. The broker publishes `will` when it ends without a DISCONNECT.
    fn announce(&self, will: Option<Announcement>) -> (Self::Client, Self::Events);
}

/// The sending side of a connection that publishes, and listens to the broker's own topics. Every method may wait until [`Events::next`] made room.
pub trait Announce {
    /// PUBLISH with QoS 0.
    fn publish(&self, what: Announcement) -> impl Future<Output = Result<(), Gone>> + Send;
    /// One SUBSCRIBE packet with QoS 0.
    fn listen(&self, filters: &[&str]) -> impl Future<Output = Result<(), Gone>> + Send;
    /// DISCONNECT: nothing is left behind.
    fn leave(&self) -> impl Future<Output = Result<(), Gone>> + Send;
}

/// A retained message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// A topic without wildcards.
    pub topic: String,
    /// What it says.
    pub payload: Vec<u8>,
}

/// The receiving side of a connection.
pub trait Events {
    /// The next event. Not cancel safe: whoever drops the future drops the connection. Requests move only
    /// while this is awaited. After an error there is nothing more.
    fn next(&mut self) -> impl Future<Output = Result<Event, Failure>> + Send;

    /// Takes nothing more off the connection, or goes on. What was taken before still comes, and requests leave as ever.
    fn hold(&mut self, is_held: bool) {
        let _: bool = is_held;
    }
}

/// How long a broker may take to close behind our DISCONNECT.
const FAREWELL: Duration = Duration::from_secs(2);

/// Behind [`Event::DisconnectSent`]: until the broker has closed the connection, so that what we said has left this process.
pub async fn until_closed(events: &mut impl Events) {
    let closed = async { while events.next().await.is_ok() {} };
    // A broker that does not close has it as well, or never will.
    drop(timeout(FAREWELL, closed).await);
}

/// The sending side of a connection. Every method may wait until [`Events::next`] made room.
pub trait Client {
    /// PUBACK (QoS 1) or PUBREC (QoS 2).
    fn acknowledge(&self, what: Acknowledgement) -> impl Future<Output = Result<(), Gone>> + Send;
    /// One SUBSCRIBE packet with all of `filters`.
    fn subscribe(&self, filters: &[Subscription]) -> impl Future<Output = Result<(), Gone>> + Send;
    /// One UNSUBSCRIBE packet for one filter.
    fn unsubscribe(&self, filter: &str) -> impl Future<Output = Result<(), Gone>> + Send;
    /// DISCONNECT that leaves the session with the broker.
    fn disconnect(&self) -> impl Future<Output = Result<(), Gone>> + Send;
}

/// Where and as whom to connect. Passwords and certificates are not in it: they are read for each attempt.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `[[mqtt]]`.
    pub config: super::Config,
    /// Complete client id, not empty.
    pub client_id: String,
}

impl Identity {
    /// Keep alive as both versions and the client accept it: whole seconds, 5 to 65,535.
    pub fn keep_alive(&self) -> Duration {
        Duration::from_secs(self.config.keep_alive.as_secs().clamp(5, 65_535))
    }
}

#[cfg(test)]
impl Publish {
    /// QoS 1, packet id 1.
    #[must_use]
    pub fn for_test(topic: &str, payload: &'static [u8]) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: Bytes::from_static(payload),
            whole: None,
            packet_id: 1,
            qos: 1,
            dup: false,
            retained: false,
            properties: None,
        }
    }
}
