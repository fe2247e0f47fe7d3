//! Packets as the drill's broker sees them, whichever version of MQTT they are written in. The codec is the client's own.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes as three;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes as five;
use rumqttc::v5::mqttbytes::v5;

use super::Message;
use crate::source::Version;

/// Largest packet that is read, bytes: what edgeferry says to its broker is far smaller.
const READ_MAX: u32 = 1024 * 1024;
/// Largest packet that is written, bytes: that of edgeferry's highest `max_packet_size`, with its header.
const WRITE_MAX: u32 = 17 * 1024 * 1024;

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// CONNECT
    Connect {
        client: String,
        is_clean: bool,
        /// `receive_maximum`, which only MQTT 5 announces.
        window: Option<u16>,
    },
    /// SUBSCRIBE: filters with their QoS.
    Subscribe {
        packet: u16,
        filters: Vec<(String, u8)>,
        identifier: Option<usize>,
    },
    /// UNSUBSCRIBE
    Unsubscribe { packet: u16, filters: Vec<String> },
    /// PUBACK
    Acknowledged { packet: u16, is_refused: bool },
    /// PUBLISH: nobody reads what the daemon says, but it is acknowledged.
    Published { packet: u16 },
    /// PINGREQ
    Ping,
    /// DISCONNECT
    Leaving,
    /// What a client of QoS 1 never says.
    Other,
}

/// What the broker says.
#[derive(Debug, Clone)]
pub(super) enum Say {
    /// CONNACK
    Connected { has_session: bool },
    /// SUBACK with the QoS that are granted.
    Subscribed { packet: u16, granted: Vec<u8> },
    /// UNSUBACK
    Unsubscribed { packet: u16, count: usize },
    /// PUBACK
    Acknowledged { packet: u16 },
    /// PINGRESP
    Pong,
    /// PUBLISH; packet 0 is QoS 0.
    Publish {
        packet: u16,
        is_again: bool,
        message: std::sync::Arc<Message>,
        identifiers: Vec<usize>,
    },
}

/// Bytes that are no MQTT.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("MQTT 3.1.1: {0:?}")]
    Three(three::Error),
    #[error("MQTT 5: {0:?}")]
    Five(five::Error),
}

/// DISCONNECT without anything in it, which the codec of MQTT 5 does not read.
const LEAVING: [u8; 2] = [0xe0, 0];

/// The next packet of `bytes`, once it is whole.
pub(super) fn read(version: Version, bytes: &mut BytesMut) -> Result<Option<Said>, WireError> {
    if bytes.starts_with(&LEAVING) {
        return Ok(Some(Said::Leaving));
    }
    match version {
        Version::V3_1_1 => match v4::Packet::read(bytes, READ_MAX as usize) {
            Ok(packet) => Ok(Some(of_three(packet))),
            Err(three::Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(WireError::Three(error)),
        },
        Version::V5 => match v5::Packet::read(bytes, Some(READ_MAX)) {
            Ok(packet) => Ok(Some(of_five(packet))),
            Err(five::Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(WireError::Five(error)),
        },
    }
}

fn of_three(packet: v4::Packet) -> Said {
    use v4::Packet;
    match packet {
        Packet::Connect(connect) => Said::Connect {
            client: connect.client_id,
            is_clean: connect.clean_session,
            window: None,
        },
        Packet::Subscribe(subscribe) => Said::Subscribe {
            packet: subscribe.pkid,
            filters: subscribe
                .filters
                .into_iter()
                .map(|filter| (filter.path, filter.qos as u8))
                .collect(),
            identifier: None,
        },
        Packet::Unsubscribe(unsubscribe) => Said::Unsubscribe {
            packet: unsubscribe.pkid,
            filters: unsubscribe.topics,
        },
        Packet::PubAck(ack) => Said::Acknowledged {
            packet: ack.pkid,
            is_refused: false,
        },
        Packet::Publish(publish) => Said::Published { packet: publish.pkid },
        Packet::PingReq => Said::Ping,
        Packet::Disconnect => Said::Leaving,
        _ => Said::Other,
    }
}

fn of_five(packet: v5::Packet) -> Said {
    use v5::Packet;
    match packet {
        Packet::Connect(connect, _, _) => Said::Connect {
            client: connect.client_id,
            is_clean: connect.clean_start,
            window: connect
                .properties
                .and_then(|properties| properties.receive_maximum),
        },
        Packet::Subscribe(subscribe) => Said::Subscribe {
            packet: subscribe.pkid,
            filters: subscribe
                .filters
                .into_iter()
                .map(|filter| (filter.path, filter.qos as u8))
                .collect(),
            identifier: subscribe.properties.and_then(|properties| properties.id),
        },
        Packet::Unsubscribe(unsubscribe) => Said::Unsubscribe {
            packet: unsubscribe.pkid,
            filters: unsubscribe.filters,
        },
        Packet::PubAck(ack) => Said::Acknowledged {
            packet: ack.pkid,
            is_refused: !matches!(
                ack.reason,
                v5::PubAckReason::Success | v5::PubAckReason::NoMatchingSubscribers
            ),
        },
        Packet::Publish(publish) => Said::Published { packet: publish.pkid },
        Packet::PingReq(_) => Said::Ping,
        Packet::Disconnect(_) => Said::Leaving,
        _ => Said::Other,
    }
}

/// Appends a packet to `bytes`.
pub(super) fn write(version: Version, say: &Say, bytes: &mut BytesMut) -> Result<(), WireError> {
    match version {
        Version::V3_1_1 => to_three(say)
            .write(bytes, WRITE_MAX as usize)
            .map_err(WireError::Three),
        Version::V5 => to_five(say)
            .write(bytes, Some(WRITE_MAX))
            .map_err(WireError::Five),
    }
    .map(drop)
}

fn to_three(say: &Say) -> v4::Packet {
    use v4::Packet;
    match say {
        Say::Connected { has_session } => {
            Packet::ConnAck(v4::ConnAck::new(v4::ConnectReturnCode::Success, *has_session))
        }
        Say::Subscribed { packet, granted } => {
            let granted = granted.iter().map(|qos| match qos {
                0 => v4::SubscribeReasonCode::Success(three::QoS::AtMostOnce),
                _ => v4::SubscribeReasonCode::Success(three::QoS::AtLeastOnce),
            });
            Packet::SubAck(v4::SubAck::new(*packet, granted.collect()))
        }
        Say::Unsubscribed { packet, .. } => Packet::UnsubAck(v4::UnsubAck::new(*packet)),
        Say::Acknowledged { packet } => Packet::PubAck(v4::PubAck::new(*packet)),
        Say::Pong => Packet::PingResp,
        Say::Publish {
            packet,
            is_again,
            message,
            ..
        } => {
            let qos = match packet {
                0 => three::QoS::AtMostOnce,
                _ => three::QoS::AtLeastOnce,
            };
            let mut publish = v4::Publish::from_bytes(message.topic.clone(), qos, message.payload.clone());
            publish.pkid = *packet;
            publish.dup = *is_again;
            Packet::Publish(publish)
        }
    }
}

fn to_five(say: &Say) -> v5::Packet {
    use v5::Packet;
    match say {
        Say::Connected { has_session } => Packet::ConnAck(v5::ConnAck {
            session_present: *has_session,
            code: v5::ConnectReturnCode::Success,
            properties: None,
        }),
        Say::Subscribed { packet, granted } => {
            let granted = granted.iter().map(|qos| match qos {
                0 => v5::SubscribeReasonCode::Success(five::QoS::AtMostOnce),
                _ => v5::SubscribeReasonCode::Success(five::QoS::AtLeastOnce),
            });
            Packet::SubAck(v5::SubAck {
                pkid: *packet,
                return_codes: granted.collect(),
                properties: None,
            })
        }
        Say::Unsubscribed { packet, count } => Packet::UnsubAck(v5::UnsubAck {
            pkid: *packet,
            reasons: vec![v5::UnsubAckReason::Success; *count],
            properties: None,
        }),
        Say::Acknowledged { packet } => Packet::PubAck(v5::PubAck::new(*packet, None)),
        Say::Pong => Packet::PingResp(v5::PingResp),
        Say::Publish {
            packet,
            is_again,
            message,
            identifiers,
        } => {
            let qos = match packet {
                0 => five::QoS::AtMostOnce,
                _ => five::QoS::AtLeastOnce,
            };
            Packet::Publish(v5::Publish {
                dup: *is_again,
                qos,
                retain: false,
                topic: Bytes::copy_from_slice(message.topic.as_bytes()),
                pkid: *packet,
                payload: message.payload.clone(),
                properties: Some(v5::PublishProperties {
                    subscription_identifiers: identifiers.clone(),
                    user_properties: message.user.clone(),
                    content_type: message.content_type.clone(),
                    response_topic: message.response_topic.clone(),
                    ..v5::PublishProperties::default()
                }),
            })
        }
    }
}
