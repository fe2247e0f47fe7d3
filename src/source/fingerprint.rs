//! What two deliveries of one message have in common.

use xxhash_rust::xxh3::Xxh3;

use super::client::Publish;
use crate::message::Properties;

/// XXH3 of topic, payload and the properties that stay the same between deliveries.
///
/// Left out: the Message Expiry Interval, which a broker counts down while it holds the message (MQTT 5,
/// 3.3.2.3.3), and the subscription identifiers, which belong to the subscription rather than the message.
/// Every part goes in with its length, so that no two different messages make the same bytes.
pub fn fingerprint(publish: &Publish) -> u64 {
    let mut hash = Xxh3::new();
    part(&mut hash, publish.topic.as_bytes());
    part(&mut hash, &publish.payload);
    if let Some(whole) = publish.whole {
        hash.update(&whole.to_le_bytes());
    }
    if let Some(properties) = publish.properties.as_deref() {
        add_properties(&mut hash, properties);
    }
    hash.digest()
}

fn add_properties(hash: &mut Xxh3, properties: &Properties) {
    option(hash, properties.payload_format.as_ref().map(std::slice::from_ref));
    option(hash, properties.content_type.as_deref().map(str::as_bytes));
    option(hash, properties.response_topic.as_deref().map(str::as_bytes));
    option(hash, properties.correlation_data.as_deref());
    length(hash, properties.user.len());
    for (name, value) in &properties.user {
        part(hash, name.as_bytes());
        part(hash, value.as_bytes());
    }
}

fn option(hash: &mut Xxh3, value: Option<&[u8]>) {
    hash.update(&[u8::from(value.is_some())]);
    if let Some(value) = value {
        part(hash, value);
    }
}

fn part(hash: &mut Xxh3, bytes: &[u8]) {
    length(hash, bytes.len());
    hash.update(bytes);
}

fn length(hash: &mut Xxh3, length: usize) {
    // As u64, so that 32 and 64 bit builds agree: the store moves with the card.
    hash.update(&(length as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn with(properties: Properties) -> Publish {
        Publish {
            properties: Some(Box::new(properties)),
            ..Publish::for_test("a/b", b"x")
        }
    }

    #[test]
    fn the_border_between_topic_and_payload_counts() {
        let one = Publish::for_test("a/b", b"cd");
        let two = Publish::for_test("a/bc", b"d");
        assert_ne!(fingerprint(&one), fingerprint(&two));
    }

    #[test]
    fn what_a_redelivery_may_change_does_not_count() {
        let one = Publish::for_test("a/b", b"x");
        let two = Publish {
            dup: true,
            packet_id: 9,
            retained: true,
            ..one.clone()
        };
        assert_eq!(fingerprint(&one), fingerprint(&two));
        let one = with(Properties {
            expiry_s: Some(60),
            subscription_ids: vec![1],
            ..Properties::default()
        });
        let two = with(Properties {
            expiry_s: Some(59),
            ..Properties::default()
        });
        assert_eq!(fingerprint(&one), fingerprint(&two));
    }

    #[test]
    fn every_other_property_counts() {
        let plain = fingerprint(&with(Properties::default()));
        let text = || Some("t".to_owned());
        let others = [
            Properties {
                payload_format: Some(1),
                ..Properties::default()
            },
            Properties {
                content_type: text(),
                ..Properties::default()
            },
            Properties {
                response_topic: text(),
                ..Properties::default()
            },
            Properties {
                correlation_data: Some(Bytes::from_static(b"t")),
                ..Properties::default()
            },
            Properties {
                user: vec![("t".to_owned(), String::new())],
                ..Properties::default()
            },
        ];
        let mut seen: Vec<u64> = others
            .into_iter()
            .map(|other| fingerprint(&with(other)))
            .collect();
        seen.push(plain);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 6);
    }
}
