//! MQTT 3.1.1 by `rumqttc`.

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, EventLoop, LastWill, MqttOptions, NetworkOptions,
    Outgoing, Packet, QoS, StateError, SubscribeFilter, SubscribeReasonCode, mqttbytes,
};

use tokio::sync::watch;

use super::pipe::Near;
use super::shorten::Cuts;
use super::transport::{address, prepare};
use super::trouble::Trouble;
use super::{
    Acknowledgement, Announce, Announcement, Announcer, Answer, CONNECT_TIMEOUT_S, Client, Connector, Event,
    Events, Failure, Gone, Identity, Publish, REQUESTS, SMALL_PACKETS,
};
use crate::source::{Qos, Subscription, TRANSPORT_LIMIT};

/// Largest packet that we send, bytes: a SUBSCRIBE with a full batch of the longest filters (64 KiB) fits.
const OUTGOING_LIMIT: usize = 1024 * 1024;

/// Makes 3.1.1 connections.
#[derive(Debug)]
pub struct V4(pub Identity);

/// The sending side.
pub struct V4Client(AsyncClient);

/// The receiving side.
pub struct V4Events {
    events: EventLoop,
    /// What the connection is made with is read when it is first asked for.
    is_prepared: bool,
    /// Whether the broker is held, once there is a connection.
    hold: Option<watch::Sender<bool>>,
    /// Payloads that came as their beginning alone.
    cuts: Cuts,
    trouble: Trouble,
}

impl Connector for V4 {
    type Client = V4Client;
    type Events = V4Events;

    fn connect(&self, packet_limit: u32) -> (V4Client, V4Events) {
        self.open(options(&self.0, packet_limit))
    }

    fn connect_clean(&self) -> (V4Client, V4Events) {
        let mut options = options(&self.0, TRANSPORT_LIMIT);
        options.set_clean_session(true);
        self.open(options)
    }
}

impl Announcer for V4 {
    type Client = V4Client;
    type Events = V4Events;

    fn announce(&self, will: Option<Announcement>) -> (V4Client, V4Events) {
        let mut options = options(&self.0, SMALL_PACKETS);
        options.set_clean_session(true);
        if let Some(will) = will {
            options.set_last_will(LastWill::new(will.topic, will.payload, QoS::AtMostOnce, true));
        }
        self.open(options)
    }
}

impl V4 {
    fn open(&self, options: MqttOptions) -> (V4Client, V4Events) {
        let (client, mut events) = AsyncClient::new(options, REQUESTS);
        let mut network = NetworkOptions::new();
        network.set_connection_timeout(CONNECT_TIMEOUT_S);
        events.set_network_options(network);
        let events = V4Events {
            events,
            is_prepared: false,
            hold: None,
            cuts: Cuts::default(),
            trouble: Trouble::new(self.0.config.clone()),
        };
        (V4Client(client), events)
    }
}

fn options(identity: &Identity, packet_limit: u32) -> MqttOptions {
    let (host, port) = address();
    let mut options = MqttOptions::new(&identity.client_id, host, port);
    options.set_keep_alive(identity.keep_alive());
    options.set_clean_session(false);
    options.set_manual_acks(true);
    options.set_max_packet_size(
        usize::try_from(packet_limit).unwrap_or(usize::MAX),
        OUTGOING_LIMIT,
    );
    options
}

impl Announce for V4Client {
    async fn publish(&self, what: Announcement) -> Result<(), Gone> {
        let sent = self.0.publish(what.topic, QoS::AtMostOnce, true, what.payload);
        sent.await.map_err(|_| Gone)
    }

    async fn listen(&self, filters: &[&str]) -> Result<(), Gone> {
        let filters = filters.iter();
        let filters = filters.map(|filter| SubscribeFilter::new((*filter).to_owned(), QoS::AtMostOnce));
        let sent = self.0.subscribe_many(filters.collect::<Vec<_>>());
        sent.await.map_err(|_| Gone)
    }

    async fn leave(&self) -> Result<(), Gone> {
        self.0.disconnect().await.map_err(|_| Gone)
    }
}

impl Client for V4Client {
    async fn acknowledge(&self, what: Acknowledgement) -> Result<(), Gone> {
        let qos = if what.qos == 2 {
            QoS::ExactlyOnce
        } else {
            QoS::AtLeastOnce
        };
        let mut publish = rumqttc::Publish::new("", qos, Vec::new());
        publish.pkid = what.packet_id;
        self.0.ack(&publish).await.map_err(|_| Gone)
    }

    async fn subscribe(&self, filters: &[Subscription]) -> Result<(), Gone> {
        let filters = filters
            .iter()
            .map(|wanted| SubscribeFilter::new(wanted.filter.clone(), qos(wanted.qos)));
        self.0
            .subscribe_many(filters.collect::<Vec<_>>())
            .await
            .map_err(|_| Gone)
    }

    async fn unsubscribe(&self, filter: &str) -> Result<(), Gone> {
        self.0.unsubscribe(filter).await.map_err(|_| Gone)
    }

    async fn disconnect(&self) -> Result<(), Gone> {
        self.0.disconnect().await.map_err(|_| Gone)
    }
}

const fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

impl Events for V4Events {
    async fn next(&mut self) -> Result<Event, Failure> {
        if !self.is_prepared {
            self.prepare().await?;
        }
        let polled = self.events.poll().await;
        match polled.map_err(|error| failure(&error, &self.trouble))? {
            rumqttc::Event::Incoming(packet) => {
                if matches!(packet, Packet::ConnAck(_)) {
                    self.trouble.connected();
                }
                self.incoming(packet)
            }
            rumqttc::Event::Outgoing(Outgoing::Subscribe(packet_id)) => Ok(Event::SubscribeSent(packet_id)),
            rumqttc::Event::Outgoing(Outgoing::Unsubscribe(packet_id)) => {
                Ok(Event::UnsubscribeSent(packet_id))
            }
            rumqttc::Event::Outgoing(Outgoing::Disconnect) => Ok(Event::DisconnectSent),
            rumqttc::Event::Outgoing(Outgoing::PingReq) => Ok(Event::PingSent),
            rumqttc::Event::Outgoing(Outgoing::PubAck(_)) => Ok(Event::AcknowledgementSent),
            rumqttc::Event::Outgoing(_) => Ok(Event::Other),
        }
    }

    fn hold(&mut self, is_held: bool) {
        if let Some(hold) = &self.hold {
            hold.send_if_modified(|held| std::mem::replace(held, is_held) != is_held);
        }
    }
}

impl V4Events {
    /// Reads what the connection is made with.
    async fn prepare(&mut self) -> Result<(), Failure> {
        let options = &mut self.events.mqtt_options;
        let (name, _) = options.broker_address();
        // On the heap: it is over before the connection begins, which is long.
        let packet_limit = options.max_packet_size();
        let prepared = Box::pin(prepare(&self.trouble, &name, packet_limit, false)).await?;
        options.set_transport(rumqttc::Transport::Unix);
        if let Some((name, password)) = prepared.credentials {
            options.set_credentials(name, password);
        }
        let Near { broken, hold } = prepared.near;
        self.trouble.listen(broken);
        self.hold = Some(hold);
        self.cuts = prepared.cuts;
        self.is_prepared = true;
        Ok(())
    }

    fn incoming(&mut self, packet: Packet) -> Result<Event, Failure> {
        match packet {
            Packet::ConnAck(connack) => Ok(Event::Connected {
                session_present: connack.session_present,
            }),
            Packet::Publish(packet) => publish(packet, self.cuts.published()).map(Event::Published),
            Packet::SubAck(suback) => {
                let answers = suback.return_codes.into_iter().map(answer).collect();
                Ok(Event::Granted {
                    packet_id: suback.pkid,
                    answers,
                })
            }
            Packet::UnsubAck(unsuback) => Ok(Event::Unsubscribed {
                packet_id: unsuback.pkid,
                refused: None,
            }),
            Packet::PingResp => Ok(Event::Pong),
            _ => Ok(Event::Other),
        }
    }
}

fn publish(packet: rumqttc::Publish, whole: Option<u64>) -> Result<Publish, Failure> {
    if packet.topic.is_empty() {
        return Err(Failure::Protocol(
            "the broker sent a PUBLISH without a topic".to_owned(),
        ));
    }
    Ok(Publish {
        topic: packet.topic,
        payload: packet.payload,
        whole,
        packet_id: packet.pkid,
        qos: packet.qos as u8,
        dup: packet.dup,
        retained: packet.retain,
        properties: None,
    })
}

/// Reads packets until there is no whole one, and makes our own messages of what devices published.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(bytes: &mut bytes::BytesMut, cuts: &mut Cuts) {
    while let Ok(packet) = Packet::read(bytes, usize::MAX) {
        if let Packet::Publish(packet) = packet {
            drop(publish(packet, cuts.published()));
        }
    }
}

fn answer(code: SubscribeReasonCode) -> Answer {
    match code {
        SubscribeReasonCode::Success(qos) => Answer::Granted(qos as u8),
        SubscribeReasonCode::Failure => Answer::Refused("0x80, the broker gives no reason".to_owned()),
    }
}

fn failure(error: &ConnectionError, trouble: &Trouble) -> Failure {
    match error {
        ConnectionError::MqttState(error) => state_failure(error, trouble),
        ConnectionError::Io(error) => trouble.io(error),
        ConnectionError::Tls(error) => trouble.handshake(error),
        ConnectionError::ConnectionRefused(code) => refusal(*code, trouble),
        ConnectionError::NotConnAck(_) => trouble.no_broker("MQTT"),
        ConnectionError::NetworkTimeout => Failure::Unreachable("no answer in time".to_owned()),
        error => Failure::Unreachable(error.to_string()),
    }
}

fn state_failure(error: &StateError, trouble: &Trouble) -> Failure {
    use mqttbytes::Error::{Io, PayloadSizeLimitExceeded};
    match error {
        StateError::ConnectionAborted => trouble.closed(),
        StateError::Io(error) | StateError::Deserialization(Io(error)) => trouble.io(error),
        StateError::Deserialization(_) if !trouble.is_up() => trouble.no_broker("MQTT"),
        StateError::Deserialization(PayloadSizeLimitExceeded(size)) => Failure::TooLarge { size: *size },
        StateError::AwaitPingResp => Failure::Unreachable("the broker does not answer PINGREQ".to_owned()),
        error => Failure::Protocol(error.to_string()),
    }
}

fn refusal(code: ConnectReturnCode, trouble: &Trouble) -> Failure {
    let text = match code {
        ConnectReturnCode::ServiceUnavailable | ConnectReturnCode::Success => {
            return Failure::Unreachable("the broker says that it is unavailable".to_owned());
        }
        ConnectReturnCode::RefusedProtocolVersion => "the broker does not speak MQTT 3.1.1",
        ConnectReturnCode::BadClientId => "the broker does not accept the client id",
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => return trouble.login(),
    };
    Failure::Refused(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::client::trouble::tests::{connected, connecting};

    #[test]
    fn a_session_is_kept_only_for_the_data() {
        let identity = Identity {
            config: connecting().config().clone(),
            client_id: "id".to_owned(),
        };
        let data = options(&identity, 4_711);
        assert!(!data.clean_session());
        assert_eq!(data.max_packet_size(), 4_711);
        let will = Announcement {
            topic: "t".to_owned(),
            payload: b"offline".to_vec(),
        };
        let (_, status) = V4(identity).announce(Some(will));
        let status = &status.events.mqtt_options;
        assert!(status.clean_session());
        assert!(
            status
                .last_will()
                .is_some_and(|will| will.retain && will.qos == QoS::AtMostOnce)
        );
    }

    #[test]
    fn a_packet_over_the_limit_tells_its_size() {
        let error = StateError::Deserialization(mqttbytes::Error::PayloadSizeLimitExceeded(77));
        assert_eq!(
            failure(&ConnectionError::MqttState(error), &connected()),
            Failure::TooLarge { size: 77 }
        );
    }

    #[test]
    fn refusals_that_pass_by_themselves_need_no_person() {
        let refused = |code| failure(&ConnectionError::ConnectionRefused(code), &connecting());
        assert!(matches!(
            refused(ConnectReturnCode::ServiceUnavailable),
            Failure::Unreachable(_)
        ));
        assert!(matches!(
            refused(ConnectReturnCode::BadUserNamePassword),
            Failure::Refused(_)
        ));
        assert!(matches!(
            refused(ConnectReturnCode::NotAuthorized),
            Failure::Refused(_)
        ));
    }

    #[test]
    fn a_publish_without_topic_is_a_protocol_error() {
        let packet = rumqttc::Publish::new("", QoS::AtLeastOnce, Vec::new());
        assert!(matches!(publish(packet, None), Err(Failure::Protocol(_))));
    }
}
