use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::*;
use crate::message::{Arrival, Delivery, Properties, SessionTag, Stamp};

prop_compose! {
    fn arrivals()(parts in vec((".{0,40}", vec(any::<u8>(), 0..2000), any::<(u64, u16, bool, bool)>()), 1..40))
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
    Encoder::new(Epoch(3), compression)
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
    fn what_is_encoded_is_decoded(arrivals in arrivals(), first in 1_u64..1 << 40, zstd in any::<bool>()) {
        let compression = if zstd { Compression::Zstd } else { Compression::None };
        let chunks = encode(first, &arrivals, compression);
        prop_assert!(chunks.iter().all(|chunk| chunk.bytes.len() <= CHUNK_BYTES));
        prop_assert!(chunks.is_sorted_by(|a, b| a.key < b.key));
        let mut next = Seq(first);
        let mut decoded = Vec::new();
        for parts in blocks(&chunks) {
            let block = decode::<Arrival>(&parts).expect("decodes");
            prop_assert_eq!(block.first, next);
            prop_assert_eq!(block.epoch, Epoch(3));
            prop_assert!(block.messages.iter().map(|(seq, _)| seq.0).eq(next.0..=block.last.0));
            next = block.last.next();
            decoded.extend(block.messages.into_iter().map(|(_, arrival)| arrival));
        }
        prop_assert_eq!(decoded, arrivals);
    }

    #[test]
    fn a_flipped_bit_is_noticed(arrivals in arrivals(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let chunks = encode(1, &arrivals, Compression::Zstd);
        let mut parts = blocks(&chunks).swap_remove(0);
        let part = parts.len() - 1;
        let byte = at.index(parts[part].len());
        parts[part][byte] ^= 1 << bit;
        prop_assert!(decode::<Arrival>(&parts).is_err());
    }

    #[test]
    fn what_is_left_of_a_block_keeps_its_sequences(arrivals in arrivals(), kept in vec(any::<bool>(), 40)) {
        let chunks = encode(9, &arrivals, Compression::Zstd);
        for parts in blocks(&chunks) {
            let mut block = decode::<Arrival>(&parts).expect("decodes");
            let mut keep = kept.iter();
            block.messages.retain(|_| *keep.next().unwrap_or(&false));
            let mut encoder = Encoder::new(Epoch(99), Compression::Zstd).expect("encoder");
            let sparse = blocks(&encoder.encode_sparse(&block).expect("encodes")).swap_remove(0);
            prop_assert_eq!(decode::<Arrival>(&sparse).expect("decodes"), block);
        }
    }

    #[test]
    fn decoding_never_panics(bytes in vec(vec(any::<u8>(), 0..200), 0..4)) {
        prop_assert!(decode::<Arrival>(&bytes).is_err());
    }
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
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut arrival = arrivals()
        .new_tree(&mut runner)
        .expect("tree")
        .current()
        .swap_remove(0);
    arrival.payload = Bytes::from(payload);
    let parts = blocks(&encode(1, &[arrival], Compression::Zstd)).swap_remove(0);
    assert!(parts.len() > 2, "noise does not compress");
    for missing in 0..parts.len() {
        let mut without = parts.clone();
        without.remove(missing);
        assert!(decode::<Arrival>(&without).is_err(), "slice {missing} missing");
    }
    let mut leftover = parts.clone();
    leftover.push(b"left over from a group that was never finished".to_vec());
    assert!(decode::<Arrival>(&leftover).is_ok());
}
