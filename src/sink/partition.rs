//! Which partition a key belongs to. Pure.
//!
//! edgeferry chooses it itself, so that it is known, and said, which partition count is in use, and so that a new one can
//! be kept waiting. All producers of a topic must agree in the hash, or the order per key is lost.

/// `partitioner`: which hash of a key chooses its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partitioner {
    /// `"murmur2"` (default): as Java's default partitioner, Kafka Connect, kafkajs, and librdkafka's `murmur2_random`.
    #[default]
    Murmur2,
    /// `"crc32"`: as librdkafka's `consistent` and its default `consistent_random`.
    Crc32,
}

impl Partitioner {
    /// As it is written in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Murmur2 => "murmur2",
            Self::Crc32 => "crc32",
        }
    }

    /// What librdkafka calls it: for records whose partition the client chooses. Theirs always have a key.
    #[must_use]
    pub const fn in_librdkafka(self) -> &'static str {
        match self {
            Self::Murmur2 => "murmur2_random",
            Self::Crc32 => "consistent_random",
        }
    }

    /// The partition of `key` in a topic of `count` partitions; `None` when there is none.
    #[must_use]
    pub fn partition(self, key: &str, count: usize) -> Option<i32> {
        let hash = match self {
            // Java has no unsigned integers: its partitioner clears the sign.
            Self::Murmur2 => murmur2::murmur2(key.as_bytes(), murmur2::KAFKA_SEED) & 0x7fff_ffff,
            // librdkafka has them (`rd_kafka_msg_partitioner_consistent`).
            Self::Crc32 => crc32fast::hash(key.as_bytes()),
        };
        i32::try_from(hash.checked_rem(u32::try_from(count).ok()?)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key and its partition among 4, 5, 8 and 15.
    type Vectors = [(&'static str, [i32; 4])];

    fn check(partitioner: Partitioner, vectors: &Vectors) {
        for (key, expected) in vectors {
            let ours = [4, 5, 8, 15].map(|count| partitioner.partition(key, count).expect("there are some"));
            assert_eq!(ours, *expected, "{key}");
        }
    }

    #[test]
    fn keys_are_where_javas_producer_puts_them() {
        // Taken from a Java producer.
        let vectors: &Vectors = &[
            ("574bd77c-4aba-4557-aa9e-066939f938cc", [2, 3, 6, 3]),
            ("nrf-111111111111111", [3, 2, 3, 7]),
            ("NPO-101", [3, 2, 7, 12]),
            ("sensor-1", [1, 1, 5, 1]),
            ("urn:ngsi-ld:Sensor:001", [2, 3, 6, 8]),
            ("Thing:id_sen1", [1, 0, 1, 10]),
            ("sérial-é", [1, 2, 5, 2]),
        ];
        check(Partitioner::default(), vectors);
        assert_eq!(Partitioner::Murmur2.partition("TT0124", 15), Some(10));
    }

    #[test]
    fn with_crc32_keys_are_where_librdkafka_puts_them_by_default() {
        // Published vectors, held against librdkafka itself in `tests/parts/partition_vectors.rs`.
        let vectors: &Vectors = &[
            ("574bd77c-4aba-4557-aa9e-066939f938cc", [2, 4, 6, 4]),
            ("nrf-111111111111111", [1, 4, 5, 4]),
            ("NPO-101", [0, 4, 0, 9]),
            ("sensor-1", [3, 0, 3, 10]),
            ("urn:ngsi-ld:Sensor:001", [0, 2, 4, 2]),
            ("Thing:id_sen1", [3, 0, 7, 5]),
            ("sérial-é", [3, 2, 3, 12]),
        ];
        check(Partitioner::Crc32, vectors);
        assert_eq!(Partitioner::Crc32.partition("TT0124", 15), Some(9));
    }

    #[test]
    fn a_topic_without_partitions_has_no_place() {
        for partitioner in [Partitioner::Murmur2, Partitioner::Crc32] {
            assert_eq!(partitioner.partition("key", 0), None);
        }
    }
}
