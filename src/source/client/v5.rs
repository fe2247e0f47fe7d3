//! MQTT 5 by `rumqttc`.

use rumqttc::NetworkOptions;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, ConnectReturnCode, DisconnectReasonCode, Filter, LastWill, PublishProperties,
    RetainForwardRule, SubscribeProperties, SubscribeReasonCode, UnsubAckReason,
};
use rumqttc::v5::mqttbytes::{self, QoS};
use rumqttc::v5::{AsyncClient, ConnectionError, EventLoop, Incoming, MqttOptions, StateError};

use tokio::sync::watch;

use super::identifiers::Identifiers;
use super::pipe::Near;
use super::shorten::Cuts;
use super::transport::{address, prepare};
use super::trouble::Trouble;
use super::{
    Acknowledgement, Announce, Announcement, Announcer, Answer, CONNECT_TIMEOUT_S, Capabilities, Client,
    Connector, Event, Events, Failure, Gone, Identity, Publish, REQUESTS, SMALL_PACKETS,
};
use crate::message::Properties;
use crate::source::{Qos, RetainHandling, Subscription, TRANSPORT_LIMIT};

/// Slots for PUBLISH packets of our own, of which there are none. The client's default of 65,535 costs 14 MB.
const OUTGOING_INFLIGHT: u16 = 16;

/// Makes MQTT 5 connections.
#[derive(Debug)]
pub struct V5 {
    identity: Identity,
    identifiers: Identifiers,
}

/// The sending side.
pub struct V5Client {
    client: AsyncClient,
    identifiers: Identifiers,
}

/// The receiving side.
pub struct V5Events {
    events: EventLoop,
    keep_alive: std::time::Duration,
    /// What the connection is made with is read when it is first asked for.
    is_prepared: bool,
    /// Whether the broker is held, once there is a connection.
    hold: Option<watch::Sender<bool>>,
    /// Payloads that came as their beginning alone.
    cuts: Cuts,
    trouble: Trouble,
    broker: String,
    identifiers: Identifiers,
}

impl Connector for V5 {
    type Client = V5Client;
    type Events = V5Events;

    fn connect(&self, packet_limit: u32) -> (V5Client, V5Events) {
        self.open(options(&self.identity, packet_limit))
    }

    fn connect_clean(&self) -> (V5Client, V5Events) {
        let mut options = options(&self.identity, TRANSPORT_LIMIT);
        options.set_clean_start(true);
        // Without it the session ends with its connection (MQTT 5, 3.1.2.11.2).
        options.set_session_expiry_interval(None);
        self.open(options)
    }
}

impl Announcer for V5 {
    type Client = V5Client;
    type Events = V5Events;

    fn announce(&self, will: Option<Announcement>) -> (V5Client, V5Events) {
        let mut options = options(&self.identity, SMALL_PACKETS);
        options.set_clean_start(true);
        options.set_session_expiry_interval(None);
        if let Some(will) = will {
            let will = LastWill::new(will.topic, will.payload, QoS::AtMostOnce, true, None);
            options.set_last_will(will);
        }
        self.open(options)
    }
}

impl V5 {
    /// Makes connections of this identity.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            identifiers: Identifiers::default(),
        }
    }

    /// Asks the broker for a session as the data has it, and gives what it says to that. The session is left behind: whoever
    /// asks ends it.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn capabilities(&self) -> Result<Capabilities, Failure> {
        let mut options = options(&self.identity, TRANSPORT_LIMIT);
        options.set_clean_start(true);
        let (client, mut events) = self.open(options);
        events.prepare().await?;
        loop {
            let polled = events.events.poll().await;
            let event = polled.map_err(|error| failure(&error, &events.trouble))?;
            if let rumqttc::v5::Event::Incoming(Incoming::ConnAck(connack)) = event {
                drop(client);
                let said = connack.properties.map(|said| Capabilities {
                    session_expiry: said
                        .session_expiry_interval
                        .map(|seconds| std::time::Duration::from_secs(seconds.into())),
                    max_qos: said.max_qos,
                });
                return Ok(said.unwrap_or_default());
            }
        }
    }

    fn open(&self, options: MqttOptions) -> (V5Client, V5Events) {
        let (client, events) = AsyncClient::new(options, REQUESTS);
        let events = V5Events {
            events,
            keep_alive: self.identity.keep_alive(),
            is_prepared: false,
            hold: None,
            cuts: Cuts::default(),
            trouble: Trouble::new(self.identity.config.clone()),
            broker: self.identity.config.name.clone(),
            identifiers: self.identifiers.clone(),
        };
        let client = V5Client {
            client,
            identifiers: self.identifiers.clone(),
        };
        (client, events)
    }
}

fn options(identity: &Identity, packet_limit: u32) -> MqttOptions {
    let (host, port) = address();
    let mut options = MqttOptions::new(&identity.client_id, host, port);
    options.set_keep_alive(identity.keep_alive());
    options.set_clean_start(false);
    options.set_manual_acks(true);
    options.set_connect_properties(properties(identity, packet_limit));
    options.set_outgoing_inflight_upper_limit(OUTGOING_INFLIGHT);
    options.set_connection_timeout(CONNECT_TIMEOUT_S);
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(CONNECT_TIMEOUT_S);
    options.set_network_options(network);
    options
}

/// No Topic Alias Maximum, which means none: the client hands up aliased messages without their topic.
fn properties(identity: &Identity, packet_limit: u32) -> ConnectProperties {
    let config = &identity.config;
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval =
        Some(u32::try_from(config.session_expiry.as_secs()).unwrap_or(u32::MAX));
    properties.receive_maximum = Some(config.receive_maximum.max(1));
    properties.max_packet_size = Some(packet_limit);
    properties
}

impl Client for V5Client {
    async fn acknowledge(&self, what: Acknowledgement) -> Result<(), Gone> {
        let qos = if what.qos == 2 {
            QoS::ExactlyOnce
        } else {
            QoS::AtLeastOnce
        };
        let packet = mqttbytes::v5::Publish {
            pkid: what.packet_id,
            qos,
            ..Default::default()
        };
        self.client.ack(&packet).await.map_err(|_| Gone)
    }

    async fn subscribe(&self, filters: &[Subscription]) -> Result<(), Gone> {
        let id = self
            .identifiers
            .allowed(filters.first().and_then(|wanted| wanted.id));
        let filters: Vec<_> = filters.iter().map(filter).collect();
        let sent = match id {
            Some(id) => {
                let properties = SubscribeProperties {
                    id: Some(id),
                    user_properties: Vec::new(),
                };
                self.client
                    .subscribe_many_with_properties(filters, properties)
                    .await
            }
            None => self.client.subscribe_many(filters).await,
        };
        sent.map_err(|_| Gone)
    }

    async fn unsubscribe(&self, filter: &str) -> Result<(), Gone> {
        self.client.unsubscribe(filter).await.map_err(|_| Gone)
    }

    async fn disconnect(&self) -> Result<(), Gone> {
        self.client.disconnect().await.map_err(|_| Gone)
    }
}

impl Announce for V5Client {
    async fn publish(&self, what: Announcement) -> Result<(), Gone> {
        let sent = self
            .client
            .publish(what.topic, QoS::AtMostOnce, true, what.payload);
        sent.await.map_err(|_| Gone)
    }

    async fn listen(&self, filters: &[&str]) -> Result<(), Gone> {
        let filters = filters.iter();
        let filters = filters.map(|filter| Filter::new(*filter, QoS::AtMostOnce));
        let sent = self.client.subscribe_many(filters.collect::<Vec<_>>());
        sent.await.map_err(|_| Gone)
    }

    async fn leave(&self) -> Result<(), Gone> {
        self.client.disconnect().await.map_err(|_| Gone)
    }
}

fn filter(wanted: &Subscription) -> Filter {
    let qos = match wanted.qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    };
    let mut filter = Filter::new(&wanted.filter, qos);
    filter.retain_forward_rule = match wanted.retain {
        // Subscribing again must not bring all retained messages again.
        RetainHandling::OnNewSubscription => RetainForwardRule::OnNewSubscribe,
        RetainHandling::Never => RetainForwardRule::Never,
    };
    filter
}

impl Events for V5Events {
    async fn next(&mut self) -> Result<Event, Failure> {
        use rumqttc::v5::Event::{Incoming, Outgoing as Sent};
        if !self.is_prepared {
            self.prepare().await?;
        }
        let polled = self.events.poll().await;
        if polled.as_ref().is_err_and(is_identifiers_refused) {
            self.identifiers.refuse(&self.broker);
        }
        match polled.map_err(|error| failure(&error, &self.trouble))? {
            Incoming(packet) => self.incoming(packet),
            Sent(Outgoing::Subscribe(packet_id)) => Ok(Event::SubscribeSent(packet_id)),
            Sent(Outgoing::Unsubscribe(packet_id)) => Ok(Event::UnsubscribeSent(packet_id)),
            Sent(Outgoing::Disconnect) => Ok(Event::DisconnectSent),
            Sent(Outgoing::PingReq) => Ok(Event::PingSent),
            Sent(Outgoing::PubAck(_)) => Ok(Event::AcknowledgementSent),
            Sent(_) => Ok(Event::Other),
        }
    }

    fn hold(&mut self, is_held: bool) {
        if let Some(hold) = &self.hold {
            hold.send_if_modified(|held| std::mem::replace(held, is_held) != is_held);
        }
    }
}

impl V5Events {
    /// Reads what the connection is made with.
    async fn prepare(&mut self) -> Result<(), Failure> {
        let options = &mut self.events.options;
        let (name, _) = options.broker_address();
        // On the heap: it is over before the connection begins, which is long.
        let packet_limit = options.max_packet_size().unwrap_or(TRANSPORT_LIMIT);
        let packet_limit = usize::try_from(packet_limit).unwrap_or(usize::MAX);
        let prepared = Box::pin(prepare(&self.trouble, &name, packet_limit, true)).await?;
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

    fn incoming(&mut self, packet: Incoming) -> Result<Event, Failure> {
        match packet {
            Incoming::ConnAck(connack) => {
                self.keep_pinging();
                self.trouble.connected();
                if connack
                    .properties
                    .is_some_and(|said| said.subscription_identifiers_available == Some(0))
                {
                    self.identifiers.refuse(&self.broker);
                }
                Ok(Event::Connected {
                    session_present: connack.session_present,
                })
            }
            Incoming::Publish(packet) => publish(packet, self.cuts.published()).map(Event::Published),
            Incoming::SubAck(suback) => {
                if suback
                    .return_codes
                    .contains(&SubscribeReasonCode::SubscriptionIdNotSupported)
                {
                    self.identifiers.refuse(&self.broker);
                }
                let answers = suback.return_codes.into_iter().map(answer).collect();
                Ok(Event::Granted {
                    packet_id: suback.pkid,
                    answers,
                })
            }
            Incoming::UnsubAck(unsuback) => Ok(Event::Unsubscribed {
                packet_id: unsuback.pkid,
                refused: unsuback.reasons.into_iter().find_map(unsubscribe_refusal),
            }),
            Incoming::PingResp(_) => Ok(Event::Pong),
            _ => Ok(Event::Other),
        }
    }

    /// A broker may switch keep alive off (Server Keep Alive 0), which this client takes for "ping all the
    /// time".
    fn keep_pinging(&mut self) {
        if self.events.options.keep_alive().is_zero() {
            self.events.options.set_keep_alive(self.keep_alive);
        }
    }
}

fn publish(packet: mqttbytes::v5::Publish, whole: Option<u64>) -> Result<Publish, Failure> {
    let topic = String::from_utf8(packet.topic.into())
        .map_err(|_| Failure::Protocol("the broker sent a topic that is not UTF-8".to_owned()))?;
    if topic.is_empty() {
        return Err(Failure::Protocol(
            "the broker sent a PUBLISH without a topic".to_owned(),
        ));
    }
    Ok(Publish {
        topic,
        payload: packet.payload,
        whole,
        packet_id: packet.pkid,
        qos: packet.qos as u8,
        dup: packet.dup,
        retained: packet.retain,
        properties: packet.properties.map(|properties| Box::new(own(properties))),
    })
}

/// Reads packets until there is no whole one, and makes our own messages of what devices published.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(bytes: &mut bytes::BytesMut, cuts: &mut Cuts) {
    while let Ok(packet) = mqttbytes::v5::Packet::read(bytes, None) {
        if let mqttbytes::v5::Packet::Publish(packet) = packet {
            drop(publish(packet, cuts.published()));
        }
    }
}

fn own(properties: PublishProperties) -> Properties {
    let ids = properties.subscription_identifiers.into_iter();
    Properties {
        payload_format: properties.payload_format_indicator,
        expiry_s: properties.message_expiry_interval,
        content_type: properties.content_type,
        response_topic: properties.response_topic,
        correlation_data: properties.correlation_data,
        user: properties.user_properties,
        // At most 268,435,455 on the wire (MQTT 5, 3.3.2.3.8).
        subscription_ids: ids.filter_map(|id| u32::try_from(id).ok()).collect(),
    }
}

fn answer(code: SubscribeReasonCode) -> Answer {
    let text = match code {
        SubscribeReasonCode::Success(qos) => return Answer::Granted(qos as u8),
        SubscribeReasonCode::Failure | SubscribeReasonCode::Unspecified => "0x80, the broker gives no reason",
        SubscribeReasonCode::ImplementationSpecific => "0x83, the broker has reasons of its own",
        SubscribeReasonCode::NotAuthorized => "0x87, not authorised",
        SubscribeReasonCode::TopicFilterInvalid => "0x8F, topic filter not allowed",
        SubscribeReasonCode::PkidInUse => "0x91, packet id in use",
        SubscribeReasonCode::QuotaExceeded => "0x97, quota exceeded",
        SubscribeReasonCode::SharedSubscriptionsNotSupported => "0x9E, no shared subscriptions",
        SubscribeReasonCode::SubscriptionIdNotSupported => "0xA1, no subscription identifiers",
        SubscribeReasonCode::WildcardSubscriptionsNotSupported => "0xA2, no wildcards",
    };
    Answer::Refused(text.to_owned())
}

fn unsubscribe_refusal(reason: UnsubAckReason) -> Option<String> {
    match reason {
        UnsubAckReason::Success | UnsubAckReason::NoSubscriptionExisted => None,
        reason => Some(format!("{reason:?}")),
    }
}

fn failure(error: &ConnectionError, trouble: &Trouble) -> Failure {
    match error {
        ConnectionError::MqttState(error) => state_failure(error, trouble),
        ConnectionError::Io(error) => trouble.io(error),
        ConnectionError::Tls(error) => trouble.handshake(error),
        ConnectionError::ConnectionRefused(code) => refusal(*code, trouble),
        ConnectionError::NotConnAck(_) => trouble.no_broker("MQTT"),
        ConnectionError::Timeout(_) => Failure::Unreachable("no answer in time".to_owned()),
        error @ ConnectionError::RequestsDone => Failure::Unreachable(error.to_string()),
    }
}

fn is_identifiers_refused(error: &ConnectionError) -> bool {
    let ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) = error else {
        return false;
    };
    *reason_code == DisconnectReasonCode::SubscriptionIdentifiersNotSupported
}

fn state_failure(error: &StateError, trouble: &Trouble) -> Failure {
    use mqttbytes::Error::{Io, PayloadSizeLimitExceeded};
    match error {
        StateError::ConnectionAborted => trouble.closed(),
        StateError::Io(error) | StateError::Deserialization(Io(error)) => trouble.io(error),
        StateError::Deserialization(_) if !trouble.is_up() => trouble.no_broker("MQTT 5"),
        StateError::Deserialization(PayloadSizeLimitExceeded { pkt_size, .. })
        | StateError::IncomingPacketTooLarge { pkt_size, .. } => Failure::TooLarge { size: *pkt_size },
        StateError::AwaitPingResp => Failure::Unreachable("the broker does not answer PINGREQ".to_owned()),
        StateError::ConnFail { reason } => refusal(*reason, trouble),
        StateError::ServerDisconnect {
            reason_code,
            reason_string,
        } => server_disconnect(*reason_code, reason_string.as_deref()),
        error => Failure::Protocol(error.to_string()),
    }
}

fn server_disconnect(code: DisconnectReasonCode, text: Option<&str>) -> Failure {
    use DisconnectReasonCode as Code;
    let said = format!(
        "the broker disconnected us: {code:?} {}",
        text.unwrap_or_default()
    );
    let said = said.trim_end().to_owned();
    match code {
        Code::SessionTakenOver => Failure::TakenOver,
        Code::NotAuthorized => Failure::Refused("the broker disconnected us: not authorised".to_owned()),
        Code::MalformedPacket | Code::ProtocolError | Code::ReceiveMaximumExceeded => Failure::Protocol(said),
        _ => Failure::Unreachable(said),
    }
}

fn refusal(code: ConnectReturnCode, trouble: &Trouble) -> Failure {
    use ConnectReturnCode as Code;
    let text = match code {
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => {
            "the broker does not speak MQTT 5: write version = \"3.1.1\""
        }
        Code::BadClientId | Code::ClientIdentifierNotValid => "the broker does not accept the client id",
        Code::BadUserNamePassword | Code::NotAuthorized => return trouble.login(),
        Code::Banned => "the broker has banned this client",
        Code::BadAuthenticationMethod => "the broker wants another authentication method",
        Code::UseAnotherServer | Code::ServerMoved => "the broker wants us to use another server",
        Code::Success
        | Code::ServiceUnavailable
        | Code::ServerUnavailable
        | Code::ServerBusy
        | Code::QuotaExceeded
        | Code::ConnectionRateExceeded => {
            return Failure::Unreachable(format!("the broker answers {code:?}"));
        }
        _ => return Failure::Refused(format!("the broker refuses the connection: {code:?}")),
    };
    Failure::Refused(text.to_owned())
}

#[cfg(test)]
mod tests;
