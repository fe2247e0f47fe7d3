//! The messages of the load: everything about one follows from its position.

use edgeferry::message::Arrival;

use crate::support::seed::Seed;

/// A message that arrived as number `position`.
pub fn arrival(position: u64) -> Arrival {
    Arrival::trial(
        position,
        format!("devices/d{}/telemetry", position % 7),
        payload(position),
    )
}

/// From this position on all messages are large: for lanes that have to fill up quickly.
pub const LARGE_FROM: u64 = 1 << 40;

/// What message `position` carries: noise, mostly short, now and then larger than a chunk, a block, several blocks.
pub fn payload(position: u64) -> Vec<u8> {
    let mut noise = Seed::new(position);
    let size = match noise.between(0, 100) {
        _ if position >= LARGE_FROM => noise.between(20_000, 60_000),
        0..80 => noise.between(0, 400),
        80..95 => noise.between(400, 8_000),
        95..99 => noise.between(8_000, 70_000),
        _ => noise.between(70_000, 200_000),
    };
    let size = usize::try_from(size).expect("64 bits");
    let words = std::iter::repeat_with(|| noise.next().to_be_bytes());
    words.flatten().take(size).collect()
}
