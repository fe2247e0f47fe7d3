//! All chance of a simulation comes from here, and so from its seed.

use crate::seed::Seed;

/// Dice of one part of the world. Parts have dice of their own, so that what one part does more or less leaves the luck of the
/// others as it is.
#[derive(Debug, Clone)]
pub struct Dice(Seed);

impl Dice {
    /// For the part `name` of the world of `seed`.
    pub fn of(seed: u64, name: &str) -> Self {
        let mut first = Seed::new(seed ^ xxhash_rust::xxh3::xxh3_64(name.as_bytes()));
        Self(Seed::new(first.next()))
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0.next()
    }

    /// A number in `low..high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.between(low, high)
    }

    /// An index below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.0.next() % count.max(1) as u64).expect("below a usize")
    }

    /// True in so many of a thousand cases.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.0.next() % 1000 < per_mille
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}
