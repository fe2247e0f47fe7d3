//! A small MQTT 3.1.1 client that hides nothing: the harness must know exactly which PUBLISH was
//! acknowledged, which was sent again, and that nothing was reordered on the way out. Client libraries
//! keep that to themselves. Only the packet codec is rumqttc's.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet};
use rumqttc::{Connect, Login, PubAck, Publish, QoS, Subscribe};

/// Larger than anything the tests send.
const MAX_PACKET_BYTES: usize = 256 * 1024 * 1024;
/// How long a broker may take to answer where a test needs the answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// One connection.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    incoming: BytesMut,
    outgoing: BytesMut,
    session_present: bool,
}

impl Link {
    /// Connects and waits for the CONNACK. Keep-alive is off: a paused broker is waited for.
    pub fn connect(port: u16, client_id: &str, clean_session: bool) -> io::Result<Self> {
        Self::connect_as(port, client_id, clean_session, None)
    }

    /// Waits until the broker has looked at a connection: it refuses this one for its empty name with a lasting session, or hears
    /// nothing more of it.
    pub fn knock(port: u16) -> io::Result<Self> {
        Self::connect_as(port, "", false, None)
    }

    /// The same with a user name and a password.
    pub fn connect_as(
        port: u16,
        client_id: &str,
        clean_session: bool,
        login: Option<(&str, &str)>,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let mut link = Self {
            stream,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            session_present: false,
        };
        let mut connect = Connect::new(client_id);
        connect.keep_alive = 0;
        connect.clean_session = clean_session;
        connect.login = login.map(|(user, password)| Login::new(user, password));
        link.queue(&Packet::Connect(connect));
        link.flush()?;
        match link.receive(ANSWER_LIMIT)? {
            Some(Packet::ConnAck(answer)) if answer.code == ConnectReturnCode::Success => {
                link.session_present = answer.session_present;
                Ok(link)
            }
            other => Err(io::Error::other(format!("expected a CONNACK, got {other:?}"))),
        }
    }

    /// Whether the broker knew this client.
    pub fn session_present(&self) -> bool {
        self.session_present
    }

    /// Puts a packet behind those that wait for [`Link::flush`].
    pub fn queue(&mut self, packet: &Packet) {
        packet
            .write(&mut self.outgoing, MAX_PACKET_BYTES)
            .expect("the packet is small enough");
    }

    /// Sends all that was queued.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.outgoing)?;
        self.outgoing.clear();
        Ok(())
    }

    /// The next packet, or `None` when none has come within `limit`.
    pub fn receive(&mut self, limit: Duration) -> io::Result<Option<Packet>> {
        let deadline = Instant::now() + limit;
        loop {
            match Packet::read(&mut self.incoming, MAX_PACKET_BYTES) {
                Ok(packet) => return Ok(Some(packet)),
                Err(CodecError::InsufficientBytes(_)) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
            // A zero timeout would mean "for ever"; what is in the buffer has been looked at already.
            let left = deadline
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left))?;
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => self.incoming.extend_from_slice(&buffer[..len]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Publishes one message at QoS 1 and waits for the PUBACK.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.publish_packet(Publish::new(topic, QoS::AtLeastOnce, payload));
    }

    /// Publishes one message and, at QoS 1, waits for the PUBACK.
    pub fn publish_packet(&mut self, mut publish: Publish) {
        let wants_answer = publish.qos == QoS::AtLeastOnce;
        publish.pkid = u16::from(wants_answer);
        self.queue(&Packet::Publish(publish));
        self.flush().expect("the broker is there");
        if wants_answer {
            let answer = self.receive(ANSWER_LIMIT).expect("the broker is there");
            assert!(
                matches!(answer, Some(Packet::PubAck(_))),
                "expected a PUBACK, got {answer:?}"
            );
        }
    }

    /// Subscribes at QoS 1 and waits for the SUBACK.
    pub fn subscribe(&mut self, filter: &str) {
        let mut subscribe = Subscribe::new(filter, QoS::AtLeastOnce);
        subscribe.pkid = 1;
        self.queue(&Packet::Subscribe(subscribe));
        self.flush().expect("the broker is there");
        let answer = self.receive(ANSWER_LIMIT).expect("the broker is there");
        assert!(
            matches!(answer, Some(Packet::SubAck(_))),
            "expected a SUBACK, got {answer:?}"
        );
    }

    /// The next message; acknowledges nothing.
    pub fn next_message(&mut self) -> Publish {
        match self.receive(ANSWER_LIMIT).expect("the broker is there") {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("expected a PUBLISH, got {other:?}"),
        }
    }

    /// Acknowledges a message.
    pub fn acknowledge(&mut self, publish: &Publish) {
        self.queue(&Packet::PubAck(PubAck::new(publish.pkid)));
        self.flush().expect("the broker is there");
    }
}
