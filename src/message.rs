//! What travels through the pipeline, as plain data: no I/O, no clients, no store.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Position of a message in the log of one lane.
///
/// Sequences start at 1, ascend by one per stored message, never go back and are never reused, not even
/// after the queue has been emptied. [`Seq::ZERO`] stands for "before the first message".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Seq(pub u64);

impl Seq {
    /// The position before the first message: the cursor of a new store.
    pub const ZERO: Self = Self(0);

    /// The position `count` messages further on. Saturates: 2⁶⁴ messages outlive every gateway.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// The position behind this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The position before this one; [`Seq::ZERO`] stays.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identity of one store: random, made with the store, and made anew when the store finds itself on
/// other hardware (a cloned card), so that two gateways never stamp the same message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    /// 16 hex digits, lower case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// `<epoch>-<lane>-<sequence>`: the same for every copy of one stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageId {
    /// Epoch of the store in which the message was stamped.
    pub epoch: Epoch,
    /// Name of the lane.
    pub lane: Arc<str>,
    /// Position in the log of that lane.
    pub seq: Seq,
}

impl MessageId {
    /// No gateway gets further: a thousand million messages a second for a hundred years. So numbers of sequences can be added.
    const SEQ_MAX: u64 = 1 << 62;

    /// Reads what [`fmt::Display`] writes of a message; `None` for anything else. Others may write ids too, in Kafka.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let (epoch, lane, seq) = (parts.next()?, parts.next()?, parts.next()?);
        let is_epoch = epoch.len() == 16 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_lane = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let has_sign = seq.starts_with('+');
        if !is_epoch || lane.is_empty() || !lane.bytes().all(is_lane) || has_sign {
            return None;
        }
        Some(Self {
            epoch: Epoch(u64::from_str_radix(epoch, 16).ok()?),
            lane: Arc::from(lane),
            seq: Seq(seq.parse().ok().filter(|seq| (1..=Self::SEQ_MAX).contains(seq))?),
        })
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.epoch, self.lane, self.seq)
    }
}

/// When a message arrived, in every sense that survives a board without a clock battery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Wall clock, milliseconds since 1970-01-01 UTC. As good as the gateway's clock was.
    pub unix_ms: i64,
    /// `CLOCK_BOOTTIME`, milliseconds since boot: comparable only between equal `boot`.
    pub boot_ms: u64,
    /// First eight bytes of the kernel's boot id.
    pub boot: u64,
    /// Whether the wall clock was known to be synchronised at arrival: `systemd-timesyncd` had said so in this boot.
    /// `false` also when another service keeps the time; see [`crate::clock`].
    pub synchronised: bool,
}

impl Stamp {
    /// A time by a clock that was right, of no known boot.
    #[must_use]
    pub const fn right(unix_ms: i64) -> Self {
        Self {
            unix_ms,
            boot_ms: 0,
            boot: 0,
            synchronised: true,
        }
    }

    /// The wall clock in [`rfc3339`].
    #[must_use]
    pub fn rfc3339(&self) -> String {
        rfc3339(self.unix_ms)
    }
}

/// Values of which no two may have the same time: the records of a key, the rows of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// Hash of its name.
    pub hash: u64,
    /// Milliseconds that a message takes in it, from its stamp on: one for each value without a time of its own, at least 1.
    pub times: u32,
}

/// A time, in milliseconds since 1970, as RFC 3339 with milliseconds, UTC. One before 1970 reads as 1970, one that the
/// format cannot say as the end of the year 9999.
#[must_use]
pub fn rfc3339(unix_ms: i64) -> String {
    const YEAR_9999_MS: u64 = 253_402_300_799_999;
    const RFC3339_BYTES: usize = "1970-01-01T00:00:00.000Z".len();
    let since = Duration::from_millis(u64::try_from(unix_ms).unwrap_or(0).min(YEAR_9999_MS));
    let time = humantime::format_rfc3339_millis(UNIX_EPOCH + since);
    let mut text = String::with_capacity(RFC3339_BYTES);
    // A string takes everything.
    let _written: fmt::Result = write!(text, "{time}");
    text
}

/// Tag of one MQTT session as edgeferry sees it: a new random one whenever a broker answers CONNECT
/// without a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionTag(pub u64);

/// QoS of a subscription. There is no 2: the client cannot carry its second handshake over a lost connection, and a broker
/// that tries makes it reconnect for ever (bytebeamio/rumqtt#664). Publishers may use 2 all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// 0
    AtMostOnce = 0,
    /// 1
    AtLeastOnce = 1,
}

/// How a message was delivered by the broker: everything that recognises a redelivery later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Session in which the message came.
    pub session: SessionTag,
    /// Ascending number of the arrival at this broker's source; never reused for the life of the store.
    pub position: u64,
    /// MQTT packet id; 0 for QoS 0.
    pub packet_id: u16,
    /// QoS of the PUBLISH as it came.
    pub qos: u8,
    /// DUP flag of the PUBLISH, or its topic is moving from one lane to another: it may be a second copy.
    pub dup: bool,
    /// RETAIN flag of the PUBLISH.
    pub retained: bool,
    /// XXH3 of topic, properties and payload.
    pub fingerprint: u64,
}

/// MQTT 5 properties that a record may need later. Empty for MQTT 3.1.1.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Properties {
    /// Payload Format Indicator (MQTT 5, 3.3.2.3.2).
    pub payload_format: Option<u8>,
    /// Message Expiry Interval as received, seconds.
    pub expiry_s: Option<u32>,
    /// Content Type.
    pub content_type: Option<String>,
    /// Response Topic.
    pub response_topic: Option<String>,
    /// Correlation Data.
    pub correlation_data: Option<Bytes>,
    /// User properties, in order.
    pub user: Vec<(String, String)>,
    /// Subscription identifiers: which subscriptions this copy belongs to.
    pub subscription_ids: Vec<u32>,
}

/// One MQTT message as it arrived. What is stored is what arrived; topic, key and headers of the Kafka
/// record are made on the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// `name` of the `[[mqtt]]` table whose connection brought it.
    pub broker: Arc<str>,
    /// MQTT topic.
    pub topic: String,
    /// Payload, byte for byte; cut to [`OVERSIZE_KEPT_BYTES`] when `oversize` is set.
    pub payload: Bytes,
    /// Length of the whole payload when it was over the configured `max_packet_size`.
    pub oversize: Option<u64>,
    /// MQTT 5 properties, if any came.
    pub properties: Option<Box<Properties>>,
    /// How it was delivered.
    pub delivery: Delivery,
    /// When it arrived.
    pub stamp: Stamp,
    /// Where it was stored first, when it was imported: its id stays.
    pub origin: Option<Box<Origin>>,
}

/// The place of a message in the store of the gateway that received it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// That gateway's id.
    pub gateway: String,
    /// Epoch in which it was stamped.
    pub epoch: Epoch,
    /// Name of the lane.
    pub lane: String,
    /// Position in the log of that lane.
    pub seq: Seq,
}

/// How much of a payload over `max_packet_size` is kept for the dead letter: enough to recognise the
/// sender, small enough that a row of them cannot fill a small disk.
pub const OVERSIZE_KEPT_BYTES: usize = 64 * 1024;

impl Arrival {
    /// Structs, allocator slack and channel slots of one message, rounded up: the least that [`Arrival::cost`] says.
    pub const OVERHEAD_BYTES: usize = 512;

    /// What this message costs in memory while it waits, in bytes: contents and a fixed share for the
    /// structures around them.
    #[must_use]
    pub fn cost(&self) -> usize {
        let properties = self.properties.as_deref().map_or(0, Properties::len);
        Self::OVERHEAD_BYTES + self.topic.len() + self.payload.len() + properties
    }

    /// A message that no broker brought: for trying out routes, and for tests. It is number `position` of its session, of QoS 1,
    /// from the broker `default`, at the beginning of 1970 by a clock that is right.
    #[must_use]
    pub fn trial(position: u64, topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            broker: Arc::from("default"),
            topic: topic.into(),
            payload: payload.into(),
            oversize: None,
            properties: None,
            delivery: Delivery {
                session: SessionTag(1),
                position,
                packet_id: 1,
                qos: 1,
                dup: false,
                retained: false,
                fingerprint: position,
            },
            stamp: Stamp::right(0),
            origin: None,
        }
    }
}

impl Properties {
    /// Bytes of all variable-length contents.
    fn len(&self) -> usize {
        let text = |value: &Option<String>| value.as_ref().map_or(0, String::len);
        let user: usize = self
            .user
            .iter()
            .map(|(name, value)| name.len() + value.len() + 48)
            .sum();
        text(&self.content_type)
            + text(&self.response_topic)
            + self.correlation_data.as_ref().map_or(0, Bytes::len)
            + user
            + 4 * self.subscription_ids.len()
    }
}

/// A durable message with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Position in the log.
    pub seq: Seq,
    /// Epoch in which it was stamped; a cloned store keeps the old one for its old backlog.
    pub epoch: Epoch,
    /// What arrived.
    pub arrival: Arrival,
}
