use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde::ser::{Error as _, SerializeTuple as _};

use super::fuzz::make_checksum_right;
use super::*;
use crate::message::{Arrival, Delivery, Properties, SessionTag, Stamp};
use crate::queue::seal::tests::counting_from;

prop_compose! {
    /// Up to `most` messages.
    fn arrivals(most: usize)(parts in vec((".{0,40}", vec(any::<u8>(), 0..2000), any::<(u64, u16, bool, bool)>()), 1..=most))
        -> Vec<Arrival> {
        parts.into_iter().map(|(topic, payload, (position, packet_id, dup, retained))| Arrival {
            broker: Arc::from("default"),
            topic,
            payload: Bytes::from(payload),
            oversize: None,
            properties: dup.then(|| Box::new(Properties {
                user: vec![("k".to_owned(), "v".to_owned())],
                correlation_data: Some(Bytes::from_static(b"\0\xff")),
                ..Properties::default()
            })),
            delivery: Delivery {
                session: SessionTag(7), position, packet_id, qos: 1, dup, retained, fingerprint: position,
            },
            stamp: Stamp { unix_ms: -1, boot_ms: 5, boot: 9, synchronised: retained },
            origin: None,
        }).collect()
    }
}

fn encode(first: u64, arrivals: &[Arrival], compression: Compression) -> Vec<Chunk> {
    seal(first, arrivals, compression, &Keys::default())
}

fn seal(first: u64, arrivals: &[Arrival], compression: Compression, keys: &Keys) -> Vec<Chunk> {
    Encoder::new(Epoch(3), compression, keys)
        .expect("encoder")
        .encode(Seq(first), arrivals)
        .expect("encodes")
}

/// Splits chunks into blocks by their keys, as a store does.
fn blocks(chunks: &[Chunk]) -> Vec<Vec<Vec<u8>>> {
    let mut blocks: Vec<(Seq, Vec<Vec<u8>>)> = Vec::new();
    for chunk in chunks {
        match blocks.last_mut() {
            Some((first, parts)) if *first == chunk.key.first => parts.push(chunk.bytes.clone()),
            _ => blocks.push((chunk.key.first, vec![chunk.bytes.clone()])),
        }
    }
    blocks.into_iter().map(|(_, parts)| parts).collect()
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(arrivals in arrivals(39), first in 1_u64..1 << 40, zstd in any::<bool>(), key in any::<Option<u8>>()) {
        let compression = if zstd { Compression::Zstd } else { Compression::None };
        let keys = Keys::of(key, &[]);
        let chunks = seal(first, &arrivals, compression, &keys);
        prop_assert!(chunks.iter().all(|chunk| chunk.bytes.len() <= CHUNK_BYTES));
        prop_assert!(chunks.is_sorted_by(|a, b| a.key < b.key));
        let mut next = Seq(first);
        let mut decoded = Vec::new();
        for parts in blocks(&chunks) {
            let block = decode::<Arrival>(&parts, &keys).expect("decodes");
            prop_assert_eq!(block.first, next);
            prop_assert_eq!(block.epoch, Epoch(3));
            prop_assert!(block.messages.iter().map(|(seq, _)| seq.0).eq(next.0..=block.last.0));
            next = block.last.next();
            decoded.extend(block.messages.into_iter().map(|(_, arrival)| arrival));
        }
        prop_assert_eq!(decoded, arrivals);
    }

    #[test]
    fn a_flipped_bit_is_noticed(arrivals in arrivals(39), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let chunks = encode(1, &arrivals, Compression::Zstd);
        let mut parts = blocks(&chunks).swap_remove(0);
        let part = parts.len() - 1;
        let byte = at.index(parts[part].len());
        parts[part][byte] ^= 1 << bit;
        prop_assert!(decode::<Arrival>(&parts, &Keys::default()).is_err());
    }

    #[test]
    fn what_is_left_of_a_block_keeps_its_sequences(arrivals in arrivals(39), kept in vec(any::<bool>(), 40)) {
        let chunks = encode(9, &arrivals, Compression::Zstd);
        for parts in blocks(&chunks) {
            let mut block = decode::<Arrival>(&parts, &Keys::default()).expect("decodes");
            let mut keep = kept.iter();
            block.messages.retain(|_| *keep.next().unwrap_or(&false));
            let mut encoder = Encoder::new(Epoch(99), Compression::Zstd, &Keys::default()).expect("encoder");
            let sparse = blocks(&encoder.encode_sparse(&block).expect("encodes")).swap_remove(0);
            prop_assert_eq!(decode::<Arrival>(&sparse, &Keys::default()).expect("decodes"), block);
        }
    }

    #[test]
    fn decoding_never_panics(bytes in vec(vec(any::<u8>(), 0..200), 0..4)) {
        prop_assert!(decode::<Arrival>(&bytes, &Keys::of(Some(1), &[2])).is_err());
    }

    /// What somebody may write who can make checksums.
    #[test]
    fn decoding_what_claims_to_be_a_block_never_panics(
        flags in any::<u8>(), parts in 0..4_u16, span in any::<u32>(), raw_length in 0..10_000_u32,
        first in any::<u64>(), known_key in any::<bool>(), slices in vec(vec(any::<u8>(), 0..200), 1..4),
    ) {
        let keys = Keys::of(Some(1), &[2]);
        let KeyId(id) = keys.ids()[1];
        let key_id = if known_key { id.get() } else { 0 };
        let chunks: Vec<_> = (0_u16..).zip(&slices).map(|(part, slice)| {
            let length = u16::try_from(slice.len()).expect("short");
            let head = Header {
                flags, part, parts, length, span, first: Seq(first), epoch: Epoch(3), raw_length, key_id,
            };
            write_chunk(&head, slice)
        }).collect();
        if flags & FLAG_SEALED != 0 {
            prop_assert!(decode::<Arrival>(&chunks, &keys).is_err());
        } else {
            // One in billions is a block indeed.
            drop(decode::<Arrival>(&chunks, &keys));
        }
    }

    /// Behind the checksums: lengths, counts and compressed data that are nearly right.
    #[test]
    fn decoding_a_block_with_any_bytes_changed_never_panics(
        arrivals in arrivals(8), zstd in any::<bool>(),
        changes in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let compression = if zstd { Compression::Zstd } else { Compression::None };
        let mut parts = blocks(&encode(1, &arrivals, compression)).swap_remove(0);
        for (part, at, byte) in changes {
            let part = part.get_mut(parts.as_mut_slice());
            *at.get_mut(part.as_mut_slice()) = byte;
            make_checksum_right(part);
        }
        drop(decode::<Arrival>(&parts, &Keys::default()));
    }

    #[test]
    fn a_sealed_block_opens_only_with_its_key(arrivals in arrivals(8), zstd in any::<bool>()) {
        let compression = if zstd { Compression::Zstd } else { Compression::None };
        let sealed = Keys::of(Some(1), &[]);
        let id = sealed.current().expect("there is one");
        for parts in blocks(&seal(1, &arrivals, compression, &sealed)) {
            prop_assert_eq!(read_chunk(&parts[0]).expect("whole").0.sealed_by(), Some(id));
            prop_assert!(decode::<Arrival>(&parts, &Keys::of(Some(2), &[3, 1])).is_ok());
            for without in [Keys::default(), Keys::of(Some(2), &[3])] {
                prop_assert_eq!(decode::<Arrival>(&parts, &without), Err(Unreadable::NoKey(id)));
            }
        }
    }

    /// Also with the checksums made right again.
    #[test]
    fn a_flipped_bit_in_a_sealed_block_is_refused(
        arrivals in arrivals(8), at in any::<prop::sample::Index>(), bit in 0..8_u8, in_all in any::<bool>(),
    ) {
        let keys = Keys::of(Some(1), &[]);
        let mut parts = blocks(&seal(1, &arrivals, Compression::Zstd, &keys)).swap_remove(0);
        let last = parts.len() - 1;
        let byte = if in_all { at.index(HEADER_BYTES - 4) } else { at.index(parts[last].len()) };
        for part in &mut parts[if in_all { 0 } else { last }..] {
            part[byte] ^= 1 << bit;
            make_checksum_right(part);
        }
        let crc = HEADER_BYTES - 4..HEADER_BYTES;
        prop_assert_eq!(decode::<Arrival>(&parts, &keys).is_err(), !crc.contains(&byte));
    }

    #[test]
    fn nothing_of_a_message_can_be_read_from_a_sealed_block(at in any::<prop::sample::Index>()) {
        let secret = *b"the quick brown fox jumps over the lazy dog";
        let mut arrival = one_arrival();
        arrival.topic = String::from_utf8(secret.to_vec()).expect("text");
        arrival.payload = Bytes::copy_from_slice(&secret);
        let four = &secret[at.index(secret.len() - 4)..][..4];
        let holds = |chunks: &[Chunk]| chunks.iter().any(|chunk| chunk.bytes.windows(4).any(|bytes| bytes == four));
        let plain = encode(1, std::slice::from_ref(&arrival), Compression::None);
        prop_assert!(holds(&plain));
        let sealed = seal(1, &[arrival], Compression::None, &Keys::of(Some(1), &[]));
        prop_assert!(!holds(&sealed));
    }
}

/// Says something, and then that it cannot be said.
struct Unsayable;

impl Serialize for Unsayable {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(2)?;
        tuple.serialize_element("something")?;
        Err(S::Error::custom("the rest"))
    }
}

proptest! {
    /// Whatever was packed and unpacked before: also what failed, was damaged, is large, or does not get smaller.
    #[test]
    fn buffers_that_stay_change_nothing(groups in vec((arrivals(20), any::<bool>(), any::<bool>()), 1..6), large in 0..6_usize) {
        let keys = Keys::default();
        let new = |compression| Encoder::new(Epoch(3), compression, &keys).expect("encoder");
        let (mut packing, mut plain) = (new(Compression::Zstd), new(Compression::None));
        let mut decoder = Decoder::default();
        for (at, (mut arrivals, zstd, is_damaged)) in groups.into_iter().enumerate() {
            if at == large {
                arrivals[0].payload = Bytes::from(vec![7; 3 * BLOCK_BYTES]);
            }
            let (compression, encoder) = match zstd {
                true => (Compression::Zstd, &mut packing),
                false => (Compression::None, &mut plain),
            };
            prop_assert!(encoder.encode(Seq(1), [&Unsayable]).is_err());
            let chunks = encoder.encode(Seq(1), &arrivals).expect("encodes");
            prop_assert_eq!(&chunks, &encode(1, &arrivals, compression));
            for mut parts in blocks(&chunks) {
                if is_damaged {
                    *parts[0].last_mut().expect("it has a header") ^= 0x55;
                    make_checksum_right(&mut parts[0]);
                }
                let again = decoder.decode::<Arrival>(&parts, &keys);
                prop_assert_eq!(format!("{again:?}"), format!("{:?}", decode::<Arrival>(&parts, &keys)));
            }
        }
    }
}

fn one_arrival() -> Arrival {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let tree = arrivals(1).new_tree(&mut runner).expect("tree");
    tree.current().swap_remove(0)
}

#[test]
fn two_blocks_of_the_same_messages_are_sealed_differently() {
    let keys = Keys::of(Some(1), &[]);
    let chunks = || seal(1, &[one_arrival()], Compression::Zstd, &keys);
    assert_ne!(chunks(), chunks());
}

#[test]
fn a_chunk_of_another_version_is_no_damage() {
    let mut bytes = encode(1, &[one_arrival()], Compression::Zstd)
        .swap_remove(0)
        .bytes;
    for version in [0, 1, VERSION + 1, u8::MAX] {
        bytes[4] = version;
        assert_eq!(read_chunk(&bytes), Err(Unreadable::Damaged(Damage::Checksum)));
        make_checksum_right(&mut bytes);
        assert_eq!(read_chunk(&bytes), Err(Unreadable::Version(version)));
    }
}

/// Magic, version, flags, part, parts, length, span, first, epoch, raw length, key id, checksum, slice: these bytes are on
/// disks. A change here is a new format version.
const GOLDEN: &str = "45465131 02 04 0000 0001 0007 00000003 0102030405060708 1112131415161718 00000007 00000000 \
                      80c7a6a5 010568656c6c6f";
/// The same, sealed under the nonce a0 to b7 with the key 01 to 20. Made with libsodium.
const GOLDEN_SEALED: &str = "45465131 02 06 0000 0001 002f 00000003 0102030405060708 1112131415161718 00000007 f9458af2 \
                             a8e68362 a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7 8537ed7acf9ee8 \
                             b4dc77d19d48c02fc20e4a5be62b3a73";

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.bytes().filter(|digit| *digit != b' ').collect();
    let pairs = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).expect("text"));
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).expect("hex"))
        .collect()
}

#[test]
fn the_format_stays() {
    let block = Block {
        first: Seq(0x0102_0304_0506_0708),
        last: Seq(0x0102_0304_0506_070A),
        epoch: Epoch(0x1112_1314_1516_1718),
        messages: vec![(Seq(0x0102_0304_0506_0709), "hello".to_owned())],
    };
    let mut encoder = Encoder::new(Epoch(9), Compression::None, &Keys::default()).expect("encoder");
    let plain = encoder
        .encode_sparse(&block)
        .expect("encodes")
        .swap_remove(0)
        .bytes;
    assert_eq!(plain, bytes_of(GOLDEN));

    let keys = Keys::of(Some(1), &[]);
    let golden = bytes_of(GOLDEN_SEALED);
    assert_eq!(decode(&[&golden], &keys), Ok(block));
    let (head, slice) = read_chunk(&golden).expect("whole");
    let body = keys.seal_under(counting_from(0xA0), &head.sealed_with(), b"\x01\x05hello");
    assert_eq!(body, slice);
    assert_eq!(write_chunk(&head, &body), golden);
}

#[test]
fn a_missing_slice_is_noticed() {
    let mut noise = 1_u32;
    let payload: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.to_be_bytes()[0]
    })
    .take(50_000)
    .collect();
    let mut arrival = one_arrival();
    arrival.payload = Bytes::from(payload);
    let parts = blocks(&encode(1, &[arrival], Compression::Zstd)).swap_remove(0);
    assert!(parts.len() > 2, "noise does not compress");
    for missing in 0..parts.len() {
        let mut without = parts.clone();
        without.remove(missing);
        assert!(
            decode::<Arrival>(&without, &Keys::default()).is_err(),
            "slice {missing} missing"
        );
    }
    let mut leftover = parts.clone();
    leftover.push(b"left over from a group that was never finished".to_vec());
    assert!(decode::<Arrival>(&leftover, &Keys::default()).is_ok());
}
