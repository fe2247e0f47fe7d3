//! `payloadId`: a message id in the shape of a UUID version 4, and back.
//!
//! WASP's `payloadId` is the only place for a message id there. It has the shape of a random UUID, and 122 bits that are
//! free:
//!
//! ```text
//! eeeeeeee-eeee-4eee-veel-llssssssssss...   from left to right, without version (4) and variant (10):
//! epoch, 64 bits | lane, 12 bits | sequence, 46 bits
//! ```
//!
//! The lane is the lowest 12 bits of the CRC-32 of its name: names have no short form. The configuration refuses two lanes of
//! the same mark, so who knows the lanes knows the lane. An imported message keeps the id that its first gateway gave it.

use std::sync::Arc;

use crate::message::{Epoch, MessageId, Seq};

/// Bits of the sequence: at 20,000 messages a second they last for 111 years.
const SEQ_BITS: u32 = 46;
const SEQ_MAX: u64 = (1 << SEQ_BITS) - 1;
/// Bits of the lane's mark.
const LANE_BITS: u32 = 12;
const LANE_MASK: u16 = (1 << LANE_BITS) - 1;
/// Bits of the epoch that stand behind the variant.
const EPOCH_TAIL_BITS: u32 = 4;
/// Bits behind the variant.
const TAIL_BITS: u32 = EPOCH_TAIL_BITS + LANE_BITS + SEQ_BITS;

/// What a `payloadId` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadId {
    /// Epoch of the store in which the message was stamped.
    pub epoch: Epoch,
    /// Mark of the lane's name, see [`lane_mark`].
    pub lane: u16,
    /// Position in the log of that lane.
    pub seq: Seq,
}

/// What stands for a lane's name.
#[must_use]
pub fn lane_mark(name: &str) -> u16 {
    let [.., high, low] = crc32fast::hash(name.as_bytes()).to_be_bytes();
    u16::from_be_bytes([high, low]) & LANE_MASK
}

/// The `payloadId` of a message. `None` for a sequence over 2⁴⁶, which no gateway lives to see.
#[must_use]
pub fn encode(id: &MessageId) -> Option<String> {
    if id.seq.0 > SEQ_MAX {
        return None;
    }
    let Epoch(epoch) = id.epoch;
    let first = epoch >> 32;
    let second = (epoch >> 16) & 0xffff;
    let third = 0x4000 | ((epoch >> EPOCH_TAIL_BITS) & 0xfff);
    let epoch_tail = epoch & ((1 << EPOCH_TAIL_BITS) - 1);
    let tail =
        (epoch_tail << (LANE_BITS + SEQ_BITS)) | (u64::from(lane_mark(&id.lane)) << SEQ_BITS) | id.seq.0;
    let last = (0b10 << TAIL_BITS) | tail;
    let (fourth, fifth) = (last >> 48, last & 0xffff_ffff_ffff);
    Some(format!(
        "{first:08x}-{second:04x}-{third:04x}-{fourth:04x}-{fifth:012x}"
    ))
}

/// What a `payloadId` says; `None` when it is no UUID of version 4. Every such UUID says something: that it is one of ours
/// is seen by its epoch.
#[must_use]
pub fn decode(text: &str) -> Option<PayloadId> {
    if !is_uuid(text) {
        return None;
    }
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let bits = u128::from_str_radix(&digits, 16).ok()?;
    let head = u64::try_from(bits >> 64).ok()?;
    let tail = u64::try_from(bits & u128::from(u64::MAX)).ok()?;
    if (head >> 12) & 0xf != 4 || tail >> TAIL_BITS != 0b10 {
        return None;
    }
    let epoch_tail = (tail >> (LANE_BITS + SEQ_BITS)) & ((1 << EPOCH_TAIL_BITS) - 1);
    let epoch = ((head >> 16) << 16) | ((head & 0xfff) << EPOCH_TAIL_BITS) | epoch_tail;
    let lane = u16::try_from(tail >> SEQ_BITS & u64::from(LANE_MASK)).ok()?;
    Some(PayloadId {
        epoch: Epoch(epoch),
        lane,
        seq: Seq(tail & SEQ_MAX),
    })
}

impl PayloadId {
    /// The message id, when the lane is one of `lanes`.
    #[must_use]
    pub fn message_id<'n>(&self, lanes: impl IntoIterator<Item = &'n str>) -> Option<MessageId> {
        let lane = lanes.into_iter().find(|name| lane_mark(name) == self.lane)?;
        Some(MessageId {
            epoch: self.epoch,
            lane: Arc::from(lane),
            seq: self.seq,
        })
    }
}

/// Whether it is a UUID as WASP looks at it: 8-4-4-4-12 hex digits of either case, of any version.
#[must_use]
pub fn is_uuid(text: &str) -> bool {
    let is_hex = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    let groups = text.split('-');
    groups.clone().map(str::len).eq([8, 4, 4, 4, 12]) && groups.into_iter().all(is_hex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(epoch: u64, lane: &str, seq: u64) -> MessageId {
        MessageId {
            epoch: Epoch(epoch),
            lane: Arc::from(lane),
            seq: Seq(seq),
        }
    }

    #[test]
    fn a_payload_id_is_the_same_for_ever() {
        let text = encode(&id(0x0123_4567_89ab_cdef, "default", 42));
        assert_eq!(text.as_deref(), Some("01234567-89ab-4cde-bc37-c0000000002a"));
    }

    #[test]
    fn a_sequence_that_does_not_fit_is_refused_and_not_cut() {
        assert!(encode(&id(1, "default", SEQ_MAX)).is_some());
        assert_eq!(encode(&id(1, "default", SEQ_MAX + 1)), None);
    }

    #[test]
    fn a_lane_is_found_by_its_mark_and_an_unknown_one_is_not() {
        let message = id(7, "alarms", 9);
        let said = decode(&encode(&message).expect("fits")).expect("ours");
        assert_eq!(said.message_id(["default", "alarms"]), Some(message));
        assert_eq!(said.message_id(["default"]), None);
    }

    #[test]
    fn a_uuid_has_five_groups_of_hex_digits_in_either_case() {
        assert!(is_uuid("574bd77c-4aba-4557-aa9e-066939f938cc"));
        assert!(is_uuid("574BD77C-4aba-1557-0a9e-066939F938CC"));
        for wrong in [
            "",
            "abc",
            "574bd77c4aba4557aa9e066939f938cc",
            "574bd77c-4aba-4557-aa9e-066939f938c",
            "574bd77c-4aba-4557-aa9e-066939f938cg",
            "574bd77c-4aba-4557-aa9e-066939f938cc-",
            "574bd77c-4aba-4557-aa9e-066939f938ccc",
            "+74bd77c-4aba-4557-aa9e-066939f938cc",
            "\u{e9}74bd77-4aba-4557-aa9e-066939f938cc",
        ] {
            assert!(!is_uuid(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn only_version_four_is_decoded() {
        assert_eq!(decode("574bd77c-4aba-1557-aa9e-066939f938cc"), None);
        assert_eq!(decode("574bd77c-4aba-4557-ca9e-066939f938cc"), None);
        assert!(decode("574BD77C-4ABA-4557-AA9E-066939F938CC").is_some());
    }

    proptest! {
        #[test]
        fn a_payload_id_leads_back_to_the_message_id(epoch: u64, lane in "[a-z0-9_]{1,16}", seq in 0..=SEQ_MAX) {
            let message = id(epoch, &lane, seq);
            let text = encode(&message).expect("fits");
            prop_assert!(is_uuid(&text));
            prop_assert_eq!(text.as_bytes()[14], b'4');
            prop_assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
            prop_assert_eq!(decode(&text).and_then(|said| said.message_id([lane.as_str()])), Some(message));
        }

        #[test]
        fn different_messages_of_a_lane_have_different_payload_ids(a in 0..=SEQ_MAX, b in 0..=SEQ_MAX) {
            let same = encode(&id(5, "default", a)) == encode(&id(5, "default", b));
            prop_assert_eq!(same, a == b);
        }

        #[test]
        fn decoding_a_payload_id_never_panics(text in "\\PC{0,40}|[0-9a-fA-F-]{36}") {
            let _said = decode(&text);
        }
    }
}
