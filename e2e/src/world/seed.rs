//! Random decisions that can be made again: every draw is a function of the seed and of what it is for.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::RangeInclusive;

use crate::failed::Result;

/// Where random decisions come from. Whoever makes one prints it, so that a failure can be run again with `SEED=…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// A seed with this number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// The seed in the environment variable `SEED`, else a new one.
    ///
    /// # Errors
    /// `SEED` is no number.
    pub fn given_or_new() -> Result<Self> {
        match std::env::var("SEED") {
            Ok(given) => Ok(Self(given.parse()?)),
            Err(_) => Ok(Self(RandomState::new().hash_one(()))),
        }
    }

    /// The seed of one of several things that draw for themselves.
    #[must_use]
    pub fn of(self, which: u64) -> Self {
        Self(mix(self.0 ^ mix(which)))
    }

    /// The draw number `which`.
    #[must_use]
    pub fn draw(self, which: u64) -> u64 {
        self.of(which).0
    }

    /// The draw number `which`, within `range`, each order of magnitude as likely as the others.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )] // clamped below
    pub fn magnitude(self, which: u64, range: &RangeInclusive<u64>) -> u64 {
        let (least, most) = ((*range.start()).max(1) as f64, (*range.end()).max(1) as f64);
        let part = (self.draw(which) >> 11) as f64 / (1_u64 << 53) as f64;
        let drawn = (least * (most / least).powf(part)) as u64;
        drawn.clamp(*range.start(), *range.end())
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// SplitMix64's output function.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_every_magnitude() {
        let (one, again, other) = (Seed::new(7), Seed::new(7), Seed::new(8));
        let draws = |seed: Seed| (0..1000).map(|n| seed.magnitude(n, &(10..=10_000))).collect::<Vec<_>>();
        assert_eq!(draws(one), draws(again));
        assert_ne!(draws(one), draws(other));
        for decade in [10..=99, 100..=999, 1000..=10_000] {
            let hits = draws(one).into_iter().filter(|drawn| decade.contains(drawn)).count();
            assert!((250..420).contains(&hits), "{decade:?} was drawn {hits} times");
        }
    }
}
