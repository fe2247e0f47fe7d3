//! Randomness that can be repeated.

/// A small generator (SplitMix64): good enough to choose moments and to fill payloads.
#[derive(Debug, Clone)]
pub struct Seed(u64);

impl Seed {
    /// A generator that gives the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed of this run: `EDGEFERRY_SEED` when it is set, otherwise a new one. Printed either way, so
    /// that a failure can be repeated.
    pub fn of_this_run(test: &str) -> Self {
        let seed = std::env::var("EDGEFERRY_SEED")
            .ok()
            .map_or_else(rand::random, |text| {
                text.parse().expect("EDGEFERRY_SEED is a number")
            });
        eprintln!("{test}: EDGEFERRY_SEED={seed}");
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `low..high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }
}
