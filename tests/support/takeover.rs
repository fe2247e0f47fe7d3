//! What edgeferry has taken over from an MQTT 5 broker: a proxy on the way between them that reads along.
//!
//! A killed broker loses what it had acknowledged to devices and not saved, and nobody can hold edgeferry to that. To each message that
//! edgeferry acknowledged it can be held, whatever became of the broker.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::Error as CodecError;
use rumqttc::v5::mqttbytes::v5::Packet;

use super::mosquitto::Mosquitto;
use super::proxy::{Proxy, Side, Tap};
use super::{payload, ports};

/// Messages, by device and by their numbers.
#[derive(Debug, Clone, Default)]
pub struct Messages(BTreeMap<String, BTreeSet<u64>>);

impl Messages {
    fn add(&mut self, (device, seq): (String, u64)) {
        self.0.entry(device).or_default().insert(seq);
    }

    /// Whether message `seq` of `device` is among them.
    pub fn has(&self, device: &str, seq: u64) -> bool {
        self.0.get(device).is_some_and(|seqs| seqs.contains(&seq))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }
}

/// A way to a broker on which every PUBACK is noted.
#[derive(Debug)]
pub struct Takeover {
    proxy: Proxy,
    notes: Arc<Notes>,
}

impl Takeover {
    /// A proxy in front of `mosquitto`. Whoever connects to it is taken for edgeferry.
    pub fn start(mosquitto: &Mosquitto) -> Self {
        Self::start_before(mosquitto.port())
    }

    /// The same in front of whatever listens there.
    pub fn start_before(port: u16) -> Self {
        let notes = Arc::<Notes>::default();
        let tap = Arc::clone(&notes) as Arc<dyn Tap>;
        Self {
            proxy: Proxy::start_tapped(ports::free(), port, tap),
            notes,
        }
    }

    /// The way itself, to disturb it.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Where edgeferry finds the broker.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.proxy.port())
    }

    /// Messages for which a PUBACK has come by.
    ///
    /// # Panics
    ///
    /// When something came by that is not MQTT 5: then nobody knows.
    pub fn messages(&self) -> Messages {
        let notes = self.notes.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(notes.trouble.is_empty(), "{:?}", notes.trouble);
        notes.taken.clone()
    }
}

#[derive(Debug, Default)]
struct Notes(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    /// By the number of the connection. They stay: a test has few.
    connections: HashMap<u64, Connection>,
    taken: Messages,
    trouble: Vec<CodecError>,
}

#[derive(Debug, Default)]
struct Connection {
    from_client: BytesMut,
    from_broker: BytesMut,
    /// By packet identifier, which means nothing on another connection.
    under_way: HashMap<u16, (String, u64)>,
}

impl Tap for Notes {
    fn heard(&self, connection: u64, side: Side, bytes: &[u8]) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Book {
            connections,
            taken,
            trouble,
        } = &mut *book;
        let connection = connections.entry(connection).or_default();
        connection.buffer(side).extend_from_slice(bytes);
        loop {
            match Packet::read(connection.buffer(side), None) {
                Ok(packet) => connection.note(side, &packet, taken),
                // A DISCONNECT of its header alone, which MQTT 5 allows (section 3.14.2.1) and the codec reads and does not know.
                Err(CodecError::PayloadRequired) => {}
                Err(CodecError::InsufficientBytes(_)) => return,
                Err(error) => return trouble.push(error),
            }
        }
    }
}

impl Connection {
    fn buffer(&mut self, side: Side) -> &mut BytesMut {
        match side {
            Side::Client => &mut self.from_client,
            Side::Broker => &mut self.from_broker,
        }
    }

    /// What edgeferry publishes itself has packet identifiers of its own.
    fn note(&mut self, side: Side, packet: &Packet, taken: &mut Messages) {
        match (side, packet) {
            (Side::Broker, Packet::Publish(publish)) => {
                if let Some(message) = payload::origin(&publish.payload) {
                    self.under_way.insert(publish.pkid, message);
                }
            }
            (Side::Client, Packet::PubAck(ack)) => {
                if let Some(message) = self.under_way.remove(&ack.pkid) {
                    taken.add(message);
                }
            }
            _ => {}
        }
    }
}
