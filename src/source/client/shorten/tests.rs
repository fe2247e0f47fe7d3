use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use super::*;

const PAYLOAD: usize = TRANSPORT_LIMIT as usize + 1_000;

fn v4(qos: u8, payload: Vec<u8>) -> Vec<u8> {
    let mut publish = v4::Publish::new("devices/1", rumqttc::mqttbytes::qos(qos).expect("a QoS"), payload);
    publish.pkid = u16::from(qos) * 77;
    let mut bytes = BytesMut::new();
    publish.write(&mut bytes).expect("it can be written");
    bytes.to_vec()
}

fn v5(user: usize, payload: Vec<u8>) -> Vec<u8> {
    let properties = v5::PublishProperties {
        content_type: Some("text/plain".to_owned()),
        user_properties: vec![(String::new(), String::new()); user],
        ..Default::default()
    };
    let qos = rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
    let mut publish = v5::Publish::new("devices/1", qos, payload, Some(properties));
    publish.pkid = 77;
    let mut bytes = BytesMut::new();
    publish.write(&mut bytes).expect("it can be written");
    bytes.to_vec()
}

/// What goes on of `packets`, which come in pieces of so many bytes.
fn passed(has_properties: bool, packets: &[u8], piece: usize) -> (Vec<u8>, Cuts) {
    let (mut shortener, cuts) = Shortener::new(has_properties);
    let mut out = Vec::new();
    for part in packets.chunks(piece) {
        shortener.pass(part, &mut out);
    }
    (out, cuts)
}

fn read_v4(bytes: &[u8]) -> Vec<v4::Publish> {
    let mut bytes = BytesMut::from(bytes);
    let mut found = Vec::new();
    while !bytes.is_empty() {
        match v4::Packet::read(&mut bytes, usize::MAX).expect("whole packets") {
            v4::Packet::Publish(publish) => found.push(publish),
            other => panic!("{other:?}"),
        }
    }
    found
}

#[test]
fn a_payload_over_the_transport_limit_goes_on_as_its_beginning_and_its_neighbours_untouched() {
    for (qos, piece) in [(0, 16_384), (1, 16_384), (1, 1_000_000), (1, 7)] {
        let large = vec![b'x'; PAYLOAD];
        let packets = [
            v4(1, b"before".to_vec()),
            v4(qos, large),
            v4(1, b"behind".to_vec()),
        ];
        let (out, mut cuts) = passed(false, &packets.concat(), piece);
        let found = read_v4(&out);
        let payloads: Vec<&[u8]> = found.iter().map(|publish| &*publish.payload).collect();
        assert_eq!(
            payloads,
            [b"before", vec![b'x'; OVERSIZE_KEPT_BYTES].as_slice(), b"behind"]
        );
        assert_eq!(found[1].pkid, u16::from(qos) * 77);
        assert_eq!(found[1].topic, "devices/1");
        let whole = [cuts.published(), cuts.published(), cuts.published()];
        assert_eq!(whole, [None, Some(PAYLOAD as u64), None]);
    }
}

#[test]
fn properties_that_would_fill_the_memory_do_not_go_on() {
    // Five bytes each on the wire.
    let bomb = v5(PROPERTIES_LIMIT / 5 + 1, b"payload".to_vec());
    let packets = [v5(3, b"before".to_vec()), bomb, v5(3, b"behind".to_vec())].concat();
    let (out, mut cuts) = passed(true, &packets, 16_384);
    let mut bytes = BytesMut::from(&out[..]);
    let mut next = || match v5::Packet::read(&mut bytes, None).expect("a whole packet") {
        v5::Packet::Publish(publish) => publish,
        other => panic!("{other:?}"),
    };
    let found = [next(), next(), next()];
    assert_eq!(found[1].payload, "payload");
    assert!(
        found[1]
            .properties
            .clone()
            .unwrap_or_default()
            .user_properties
            .is_empty()
    );
    for neighbour in [&found[0], &found[2]] {
        let properties = neighbour.properties.clone().expect("untouched");
        assert_eq!(properties.user_properties.len(), 3);
    }
    let whole = [cuts.published(), cuts.published(), cuts.published()];
    assert_eq!(whole, [None, Some(7), None]);
}

#[test]
fn a_large_payload_keeps_its_properties() {
    let (out, mut cuts) = passed(true, &v5(3, vec![b'x'; PAYLOAD]), 16_384);
    let mut bytes = BytesMut::from(&out[..]);
    let Ok(v5::Packet::Publish(publish)) = v5::Packet::read(&mut bytes, None) else {
        panic!("a PUBLISH");
    };
    assert_eq!(publish.payload.len(), OVERSIZE_KEPT_BYTES);
    let properties = publish.properties.expect("they are there");
    assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
    assert_eq!(properties.user_properties.len(), 3);
    assert_eq!(cuts.published(), Some(PAYLOAD as u64));
}

#[test]
fn what_is_no_mqtt_goes_on_for_the_client_to_say_so() {
    // A length of five bytes; a PUBLISH whose topic is longer than itself.
    let endless = [0x30, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let mut short = vec![0x32];
    short.extend_from_slice(&[0x81, 0x80, 0x20]);
    short.extend_from_slice(&vec![0xff; PROPERTIES_LIMIT + 1]);
    for wrong in [&endless[..], &short] {
        for has_properties in [false, true] {
            let (out, _) = passed(has_properties, wrong, 16_384);
            assert!(wrong.starts_with(&out), "only what was there goes on");
        }
    }
    assert_eq!(passed(true, &endless, 1).0, endless);
}

proptest! {
    /// Nothing is added, and nothing is held back but the beginning of a packet.
    #[test]
    fn any_bytes_go_on_as_they_came_unless_they_are_a_large_publish_and_never_panic(
        bytes in vec(any::<u8>(), 0..4_000),
        piece in 1_usize..100,
        has_properties in any::<bool>(),
    ) {
        let (out, cuts) = passed(has_properties, &bytes, piece);
        let is_cut = !cuts.notes.0.lock().expect("nobody panicked").is_empty();
        prop_assert!(is_cut || bytes.starts_with(&out));
        prop_assert_eq!(passed(has_properties, &bytes, bytes.len().max(1)).0, out);
    }

    #[test]
    fn packets_of_any_sizes_come_out_the_same_however_they_are_cut_into_pieces(
        sizes in vec(0_usize..3_000, 1..20),
        piece in 1_usize..5_000,
    ) {
        let packets: Vec<u8> = sizes.iter().flat_map(|size| v4(1, vec![b'y'; *size])).collect();
        prop_assert_eq!(passed(false, &packets, piece).0, packets);
    }
}
