//! MQTT 3.1.1 by `rumqttc`.

use std::io;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, EventLoop, MqttOptions, NetworkOptions, Outgoing,
    Packet, QoS, StateError, SubscribeFilter, SubscribeReasonCode, mqttbytes,
};

use super::{
    Acknowledgement, Answer, CONNECT_TIMEOUT_S, Client, Connector, Event, Events, Failure, Gone, Identity,
    Publish, REQUESTS,
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
pub struct V4Events(EventLoop);

impl Connector for V4 {
    type Client = V4Client;
    type Events = V4Events;

    fn connect(&self, packet_limit: u32) -> (V4Client, V4Events) {
        open(options(&self.0, packet_limit))
    }

    fn connect_clean(&self) -> (V4Client, V4Events) {
        let mut options = options(&self.0, TRANSPORT_LIMIT);
        options.set_clean_session(true);
        open(options)
    }
}

fn open(options: MqttOptions) -> (V4Client, V4Events) {
    let (client, mut events) = AsyncClient::new(options, REQUESTS);
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(CONNECT_TIMEOUT_S);
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    (V4Client(client), V4Events(events))
}

fn options(identity: &Identity, packet_limit: u32) -> MqttOptions {
    let config = &identity.config;
    let mut options = MqttOptions::new(&identity.client_id, &config.host, config.port);
    options.set_keep_alive(identity.keep_alive());
    options.set_clean_session(false);
    options.set_manual_acks(true);
    options.set_max_packet_size(
        usize::try_from(packet_limit).unwrap_or(usize::MAX),
        OUTGOING_LIMIT,
    );
    if let Some((name, password)) = identity.credentials() {
        options.set_credentials(name, password);
    }
    options
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
        match self.0.poll().await.map_err(|error| failure(&error))? {
            rumqttc::Event::Incoming(packet) => incoming(packet),
            rumqttc::Event::Outgoing(Outgoing::Subscribe(packet_id)) => Ok(Event::SubscribeSent(packet_id)),
            rumqttc::Event::Outgoing(Outgoing::Unsubscribe(packet_id)) => {
                Ok(Event::UnsubscribeSent(packet_id))
            }
            rumqttc::Event::Outgoing(Outgoing::Disconnect) => Ok(Event::DisconnectSent),
            rumqttc::Event::Outgoing(_) => Ok(Event::Other),
        }
    }
}

fn incoming(packet: Packet) -> Result<Event, Failure> {
    match packet {
        Packet::ConnAck(connack) => Ok(Event::Connected {
            session_present: connack.session_present,
        }),
        Packet::Publish(packet) => publish(packet).map(Event::Published),
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

fn publish(packet: rumqttc::Publish) -> Result<Publish, Failure> {
    if packet.topic.is_empty() {
        return Err(Failure::Protocol(
            "the broker sent a PUBLISH without a topic".to_owned(),
        ));
    }
    Ok(Publish {
        topic: packet.topic,
        payload: packet.payload,
        packet_id: packet.pkid,
        qos: packet.qos as u8,
        dup: packet.dup,
        retained: packet.retain,
        properties: None,
    })
}

fn answer(code: SubscribeReasonCode) -> Answer {
    match code {
        SubscribeReasonCode::Success(qos) => Answer::Granted(qos as u8),
        SubscribeReasonCode::Failure => Answer::Refused("0x80, the broker gives no reason".to_owned()),
    }
}

fn failure(error: &ConnectionError) -> Failure {
    match error {
        ConnectionError::MqttState(error) => state_failure(error),
        ConnectionError::Io(error) if is_close(error) => Failure::Closed,
        ConnectionError::ConnectionRefused(code) => refusal(*code),
        ConnectionError::NetworkTimeout => Failure::Unreachable("no answer in time".to_owned()),
        error => Failure::Unreachable(error.to_string()),
    }
}

fn state_failure(error: &StateError) -> Failure {
    use mqttbytes::Error::{Io, PayloadSizeLimitExceeded};
    match error {
        StateError::ConnectionAborted => Failure::Closed,
        StateError::Io(error) | StateError::Deserialization(Io(error)) if is_close(error) => Failure::Closed,
        StateError::Io(error) | StateError::Deserialization(Io(error)) => {
            Failure::Unreachable(error.to_string())
        }
        StateError::Deserialization(PayloadSizeLimitExceeded(size)) => Failure::TooLarge { size: *size },
        StateError::AwaitPingResp => Failure::Unreachable("the broker does not answer PINGREQ".to_owned()),
        error => Failure::Protocol(error.to_string()),
    }
}

/// Whether the peer ended the connection, in order or not.
pub(super) fn is_close(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

fn refusal(code: ConnectReturnCode) -> Failure {
    let text = match code {
        ConnectReturnCode::ServiceUnavailable | ConnectReturnCode::Success => {
            return Failure::Unreachable("the broker says that it is unavailable".to_owned());
        }
        ConnectReturnCode::RefusedProtocolVersion => "it does not speak MQTT 3.1.1",
        ConnectReturnCode::BadClientId => "it does not accept the client id",
        ConnectReturnCode::BadUserNamePassword => "wrong user name or password",
        ConnectReturnCode::NotAuthorized => "not authorised",
    };
    Failure::Refused(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_over_the_limit_tells_its_size() {
        let error = StateError::Deserialization(mqttbytes::Error::PayloadSizeLimitExceeded(77));
        assert_eq!(
            failure(&ConnectionError::MqttState(error)),
            Failure::TooLarge { size: 77 }
        );
    }

    #[test]
    fn refusals_that_pass_by_themselves_need_no_person() {
        let refused = |code| failure(&ConnectionError::ConnectionRefused(code));
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
        assert!(matches!(publish(packet), Err(Failure::Protocol(_))));
    }
}
