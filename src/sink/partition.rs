//! Which partition a key belongs to. Pure.
//!
//! edgeferry chooses it itself, so that it is known, and said, which partition count is in use, and so that a new one can
//! be kept waiting. The choice is that of Java's default partitioner and of librdkafka's `murmur2_random`: all producers
//! of a topic must agree, or the order per key is lost.

/// The partition of `key` in a topic of `count` partitions; `None` when there is none.
#[must_use]
pub fn of(key: &str, count: usize) -> Option<i32> {
    let hash = murmur2::murmur2(key.as_bytes(), murmur2::KAFKA_SEED);
    // Java has no unsigned integers: its partitioner clears the sign.
    let positive = hash & 0x7fff_ffff;
    i32::try_from(positive.checked_rem(u32::try_from(count).ok()?)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_where_javas_producer_puts_them() {
        /// Key and its partition among 4, 5, 8 and 15; taken from a Java producer.
        const VECTORS: &[(&str, [i32; 4])] = &[
            ("574bd77c-4aba-4557-aa9e-066939f938cc", [2, 3, 6, 3]),
            ("nrf-111111111111111", [3, 2, 3, 7]),
            ("NPO-101", [3, 2, 7, 12]),
            ("sensor-1", [1, 1, 5, 1]),
            ("urn:ngsi-ld:Sensor:001", [2, 3, 6, 8]),
            ("Thing:id_sen1", [1, 0, 1, 10]),
            ("sérial-é", [1, 2, 5, 2]),
        ];
        for (key, expected) in VECTORS {
            let ours = [4, 5, 8, 15].map(|count| of(key, count).expect("there are some"));
            assert_eq!(ours, *expected, "{key}");
        }
        assert_eq!(of("TT0124", 15), Some(10));
    }

    #[test]
    fn a_topic_without_partitions_has_no_place() {
        assert_eq!(of("key", 0), None);
    }
}
