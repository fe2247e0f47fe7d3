//! What the Kafka client counts before it takes a record: librdkafka 2.12, `rd_kafka_msg_new0`. Pure.

use crate::route::KafkaRecord;
use crate::sink::Config;

/// Largest record that the client takes unless `kafka.properties` says otherwise (librdkafka's default).
pub(crate) const MESSAGE_MAX_BYTES: usize = 1_000_000;
/// The property that says otherwise.
const MESSAGE_MAX_PROPERTY: &str = "message.max.bytes";
/// What it counts beside key, value and headers (`RD_KAFKAP_MESSAGE_V2_MAX_OVERHEAD`): five numbers of 32 bits and one of 64 as
/// the longest varints, and a byte of attributes.
const FRAME_BYTES: usize = 5 * 5 + 10 + 1;

/// The largest record that the client takes, bytes as in [`of`].
#[must_use]
pub(crate) fn most(config: &Config) -> usize {
    let set = config.properties.get(MESSAGE_MAX_PROPERTY);
    set.and_then(|bytes| bytes.parse().ok())
        .unwrap_or(MESSAGE_MAX_BYTES)
}

/// What a record counts there, bytes.
#[must_use]
pub(crate) fn of(record: &KafkaRecord) -> usize {
    let lengths = record
        .headers
        .iter()
        .flat_map(|header| [header.name.len(), header.value.len()]);
    record.bytes() + lengths.map(varint_bytes).sum::<usize>() + FRAME_BYTES
}

/// A length as a zigzag varint: 6 bits in the first byte, 7 in each that follows.
const fn varint_bytes(length: usize) -> usize {
    let bits = usize::BITS as usize - length.leading_zeros() as usize;
    (bits + 1).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use rdkafka::ClientConfig;
    use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};
    use rdkafka::producer::{BaseProducer, BaseRecord};

    use super::*;
    use crate::route::Header;

    /// Whether librdkafka itself takes the record; it needs no cluster to say so.
    fn is_taken(record: &KafkaRecord, most: usize) -> bool {
        let producer: BaseProducer = ClientConfig::new()
            .set("message.max.bytes", most.to_string())
            .create()
            .expect("a producer");
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, header| {
                headers.insert(KafkaHeader {
                    key: &header.name,
                    value: Some(header.value.as_ref()),
                })
            });
        let out = BaseRecord::to(&record.topic)
            .key(&record.key)
            .payload(record.payload.as_ref())
            .headers(headers);
        producer.send(out).is_ok()
    }

    fn record(key: String, value: usize, headers: Vec<(String, usize)>) -> KafkaRecord {
        let headers = headers.into_iter();
        KafkaRecord {
            route: 0,
            is_templated: false,
            topic: "t".to_owned(),
            key,
            partition_by: None,
            payload: Bytes::from(vec![b'x'; value]),
            headers: headers
                .map(|(name, length)| Header::raw(name, vec![b'y'; length]))
                .collect(),
            timestamp_ms: 0,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_record_counts_what_the_client_counts(
            key in "[a-z]{1,80}",
            value in 1_000_usize..20_000,
            headers in prop::collection::vec(("[a-z]{1,70}", 0_usize..9_000), 0..4),
        ) {
            let record = record(key, value, headers);
            let bytes = of(&record);
            prop_assert!(is_taken(&record, bytes), "{} bytes are enough", bytes);
            prop_assert!(!is_taken(&record, bytes - 1), "{} bytes are needed", bytes);
        }
    }

    #[test]
    fn lengths_take_as_many_bytes_as_their_varints() {
        let lengths = [0, 63, 64, 8_191, 8_192, 1_048_575, 1_048_576];
        assert_eq!(lengths.map(varint_bytes), [1, 1, 2, 2, 3, 3, 4]);
    }
}
