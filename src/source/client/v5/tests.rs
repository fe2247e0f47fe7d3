use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::source::client::trouble::tests::{connected, connecting};

fn any_publish() -> Vec<u8> {
    let properties = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(60),
        response_topic: Some("r".to_owned()),
        correlation_data: Some("c".into()),
        user_properties: vec![("a".to_owned(), "b".to_owned())],
        subscription_identifiers: vec![7],
        content_type: Some("text/plain".to_owned()),
        ..Default::default()
    };
    let qos = QoS::AtLeastOnce;
    let mut packet = mqttbytes::v5::Publish::new("devices/1", qos, "payload", Some(properties));
    packet.pkid = 7;
    let mut bytes = bytes::BytesMut::new();
    packet.write(&mut bytes).expect("it can be written");
    bytes.to_vec()
}

proptest! {
    /// From the bytes on the link to our own [`Publish`], through the client's reader.
    #[test]
    fn a_packet_with_any_bytes_changed_never_panics(
        changes in vec((any::<Index>(), any::<u8>()), 1..4), cut in any::<Index>(),
    ) {
        let mut packet = any_publish();
        for (at, byte) in changes {
            *at.get_mut(packet.as_mut_slice()) = byte;
        }
        packet.truncate(cut.index(packet.len() + 1).max(1));
        let mut bytes = bytes::BytesMut::from(&packet[..]);
        if let Ok(mqttbytes::v5::Packet::Publish(packet)) = mqttbytes::v5::Packet::read(&mut bytes, None) {
            drop(publish(packet, None));
        }
    }
}

fn disconnected(code: DisconnectReasonCode) -> Failure {
    let error = StateError::ServerDisconnect {
        reason_code: code,
        reason_string: None,
    };
    failure(&ConnectionError::MqttState(error), &connected())
}

#[test]
fn what_is_configured_is_announced_and_a_session_is_kept_only_for_the_data() {
    let mut config = connecting().config().clone();
    config.session_expiry = std::time::Duration::from_hours(2);
    config.receive_maximum = 321;
    let identity = Identity {
        config,
        client_id: "id".to_owned(),
    };
    let data = options(&identity, 4_711);
    let announced = data.connect_properties().expect("announced");
    assert_eq!(announced.session_expiry_interval, Some(7_200));
    assert_eq!(announced.receive_maximum, Some(321));
    assert_eq!(announced.max_packet_size, Some(4_711));
    assert_eq!(announced.topic_alias_max, None, "the client loses their topics");
    assert!(!data.clean_start());
    let will = Announcement {
        topic: "t".to_owned(),
        payload: b"offline".to_vec(),
    };
    let (_, status) = V5::new(identity).announce(Some(will));
    let status = &status.events.options;
    assert!(status.clean_start());
    let kept = status
        .connect_properties()
        .and_then(|said| said.session_expiry_interval);
    assert_eq!(kept, None, "it ends with its connection");
    assert!(
        status
            .last_will()
            .is_some_and(|will| will.retain && will.qos == QoS::AtMostOnce)
    );
}

#[test]
fn a_takeover_is_told_apart() {
    assert_eq!(
        disconnected(DisconnectReasonCode::SessionTakenOver),
        Failure::TakenOver
    );
    assert!(matches!(
        disconnected(DisconnectReasonCode::ServerShuttingDown),
        Failure::Unreachable(_)
    ));
}

#[test]
fn a_packet_over_the_limit_tells_its_size() {
    let error = mqttbytes::Error::PayloadSizeLimitExceeded {
        pkt_size: 77,
        max: 10,
    };
    let error = ConnectionError::MqttState(StateError::Deserialization(error));
    assert_eq!(failure(&error, &connected()), Failure::TooLarge { size: 77 });
}

#[test]
fn refusals_that_pass_by_themselves_need_no_person() {
    let refused = |code| failure(&ConnectionError::ConnectionRefused(code), &connecting());
    assert!(matches!(
        refused(ConnectReturnCode::ServerBusy),
        Failure::Unreachable(_)
    ));
    assert!(matches!(
        refused(ConnectReturnCode::BadUserNamePassword),
        Failure::Refused(_)
    ));
}

#[test]
fn a_disconnect_because_of_an_identifier_is_seen() {
    let refused = |reason_code| {
        let said = StateError::ServerDisconnect {
            reason_code,
            reason_string: None,
        };
        is_identifiers_refused(&ConnectionError::MqttState(said))
    };
    assert!(refused(DisconnectReasonCode::SubscriptionIdentifiersNotSupported));
    assert!(!refused(DisconnectReasonCode::ServerBusy));
}

#[test]
fn a_publish_by_alias_is_a_protocol_error() {
    let packet = mqttbytes::v5::Publish {
        pkid: 1,
        ..Default::default()
    };
    assert!(matches!(publish(packet, None), Err(Failure::Protocol(_))));
}
