//! What happens to the disk under the queue: somebody else takes all of it, and gives it back.

use std::ops::Range;
use std::time::Instant;

use super::pass;
use crate::support::disk::Disk;
use crate::support::seed::Seed;

/// How long it is full, milliseconds: several lives of the daemon.
const FULL_MS: Range<u64> = 500..8_000;
/// How long there is room before, milliseconds.
const ROOM_MS: Range<u64> = 2_000..15_000;

/// Until `end`, and how often; there is room afterwards.
pub fn torment(disk: &Disk, seed: &mut Seed, end: Instant) -> u32 {
    let mut fills = 0;
    while Instant::now() < end {
        pass("there is room on the disk", seed, ROOM_MS);
        disk.eat();
        pass("the disk is full", seed, FULL_MS);
        disk.leave();
        fills += 1;
    }
    fills
}
