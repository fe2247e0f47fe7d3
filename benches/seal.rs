//! `./dev bench seal`: what encryption at rest costs. CPU time of packing and unpacking messages with and without a key,
//! and the bytes it adds; nothing touches a disk.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and gives up when something is wrong"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeferry::message::{Arrival, Delivery, Epoch, Seq, SessionTag, Stamp};
use edgeferry::queue::Compression;
use edgeferry::queue::codec::{Chunk, Encoder, decode};
use edgeferry::queue::seal::Keys;
use rand::RngExt;
use rustix::time::{ClockId, clock_gettime};

const MESSAGES: usize = 100_000;
const PAYLOAD_BYTES: usize = 200;
/// The least of several rounds: what disturbs only adds.
const ROUNDS: usize = 5;

fn main() {
    let key = tempfile::NamedTempFile::new().expect("temp file");
    std::fs::write(key.path(), rand::rng().random::<[u8; 32]>()).expect("writes");
    let sealed = Keys::load(Some(key.path()), &[]).expect("a key");
    let arrivals: Vec<_> = (0..MESSAGES as u64).map(arrival).collect();
    println!(
        "CPU seconds per 100,000 messages of {PAYLOAD_BYTES} bytes, least of {ROUNDS} rounds; bytes of chunks"
    );
    println!(
        "{:>18} {:>8} {:>8} {:>8} {:>12}",
        "messages in group", "", "pack", "unpack", "bytes"
    );
    for group in [1, 16, 256] {
        for (name, keys) in [("plain", &Keys::default()), ("sealed", &sealed)] {
            let (pack, unpack, bytes) = measure(&arrivals, group, keys);
            println!("{group:>18} {name:>8} {pack:>8.3} {unpack:>8.3} {bytes:>12}");
        }
    }
}

/// A few readings in JSON, with noise that compresses to about half.
fn arrival(number: u64) -> Arrival {
    let mut text = format!("{{\"device\":\"d{}\",\"seq\":{number},\"noise\":\"", number % 100);
    let mut rng = rand::rng();
    while text.len() < PAYLOAD_BYTES - 2 {
        text.push(char::from_digit(rng.random_range(0..16), 16).expect("a digit"));
    }
    text.push_str("\"}");
    Arrival {
        broker: Arc::from("default"),
        topic: format!("devices/d{}/telemetry", number % 100),
        payload: Bytes::from(text),
        oversize: None,
        properties: None,
        delivery: Delivery {
            session: SessionTag(1),
            position: number,
            packet_id: 1,
            qos: 1,
            dup: false,
            retained: false,
            fingerprint: number.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        },
        stamp: Stamp {
            unix_ms: 1_763_600_000_000,
            boot_ms: number,
            boot: 1,
            synchronised: true,
        },
        origin: None,
    }
}

/// CPU time to pack and to unpack, seconds, and the size of the chunks.
fn measure(arrivals: &[Arrival], group: usize, keys: &Keys) -> (f64, f64, usize) {
    let rounds = (0..ROUNDS).map(|_| {
        let mut encoder = Encoder::new(Epoch(1), Compression::Zstd, keys).expect("encoder");
        let begin = cpu();
        let mut first = Seq(1);
        let mut groups: Vec<Vec<Chunk>> = Vec::with_capacity(arrivals.len() / group + 1);
        for arrivals in arrivals.chunks(group) {
            groups.push(encoder.encode(first, arrivals).expect("encodes"));
            first = first.plus(arrivals.len() as u64);
        }
        let packed = cpu();
        let messages: usize = groups.iter().map(|chunks| unpack(chunks, keys)).sum();
        let unpacked = cpu();
        assert_eq!(messages, arrivals.len());
        let bytes = groups.iter().flatten().map(|chunk| chunk.bytes.len()).sum();
        (packed - begin, unpacked - packed, bytes)
    });
    rounds
        .reduce(|a, b| (a.0.min(b.0), a.1.min(b.1), a.2))
        .expect("at least one round")
}

fn unpack(chunks: &[Chunk], keys: &Keys) -> usize {
    let blocks = chunks.chunk_by(|a, b| a.key.first == b.key.first);
    let blocks = blocks.map(|block| block.iter().map(|chunk| &chunk.bytes).collect::<Vec<_>>());
    blocks
        .map(|block| decode::<Arrival>(&block, keys).expect("decodes").messages.len())
        .sum()
}

/// CPU time of this thread so far, seconds.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("not negative").as_secs_f64()
}
