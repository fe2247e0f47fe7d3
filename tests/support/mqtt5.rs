//! A small MQTT 5 publisher, for what MQTT 3.1.1 cannot say: user properties, content type, correlation data. Like [`super::mqtt`]
//! it hides nothing, and only the packet codec is rumqttc's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectReturnCode, Packet, PubAckReason, Publish, PublishProperties,
};
use rumqttc::v5::mqttbytes::{Error as CodecError, QoS};

/// How long a broker may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// The only message under way; MQTT has no packet identifier 0.
const PACKET_ID: u16 = 1;

/// One connection.
#[derive(Debug)]
pub struct Publisher {
    stream: TcpStream,
    incoming: BytesMut,
}

impl Publisher {
    /// Connects with a clean start and waits for the CONNACK. Keep-alive is off.
    pub fn connect(port: u16, client_id: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it accepts");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(ANSWER_LIMIT)).expect("a socket");
        let mut publisher = Self {
            stream,
            incoming: BytesMut::new(),
        };
        let connect = Connect {
            keep_alive: 0,
            client_id: client_id.into(),
            clean_start: true,
            properties: None,
        };
        publisher.send(&Packet::Connect(connect, None, None));
        let answer = publisher.receive();
        assert!(
            matches!(&answer, Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success),
            "expected a CONNACK, got {answer:?}"
        );
        publisher
    }

    /// Publishes one message at QoS 1 and waits until the broker has taken it for at least one subscriber.
    pub fn publish(&mut self, topic: &str, payload: &[u8], properties: PublishProperties) {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload.to_vec(), Some(properties));
        publish.pkid = PACKET_ID;
        self.send(&Packet::Publish(publish));
        let answer = self.receive();
        assert!(
            matches!(&answer, Packet::PubAck(answer) if answer.reason == PubAckReason::Success),
            "expected a PUBACK of a message that somebody gets, got {answer:?}"
        );
    }

    fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).expect("the packet can be written");
        self.stream.write_all(&bytes).expect("the broker is there");
    }

    fn receive(&mut self) -> Packet {
        loop {
            match Packet::read(&mut self.incoming, None) {
                Ok(packet) => return packet,
                Err(CodecError::InsufficientBytes(_)) => {}
                Err(error) => panic!("the broker's answer cannot be read: {error}"),
            }
            let mut buffer = [0; 4096];
            let len = self.stream.read(&mut buffer).expect("the broker answers");
            assert!(len > 0, "the broker has closed the connection");
            self.incoming.extend_from_slice(&buffer[..len]);
        }
    }
}

/// Nothing but user properties.
pub fn user_properties<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> PublishProperties {
    PublishProperties {
        user_properties: pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        ..PublishProperties::default()
    }
}
