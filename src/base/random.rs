//! Random numbers from independent generators that are addressed by seed, purpose and index. A generator yields the
//! same values on any machine and for any number of threads.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Purpose of a generator. The numbers must not change: they determine every episode, split and initial value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Purpose {
    /// The classes, images and slots of an episode.
    Episode = 1,
    /// The initial values of learned parameters.
    Initialization = 2,
    /// The shapes and variations of synthetic glyphs.
    Synthetic = 3,
    /// The assignment of classes to training, validation and test.
    Split = 4,
    /// The augmentation of an episode's images.
    Augmentation = 5,
    /// The support samples that a training step hides.
    Masking = 6,
    /// The elements that dropout removes in a training step.
    Dropout = 7,
    /// The colour change that all images of an episode share.
    EpisodeColors = 8,
}

/// A random number generator: ChaCha8, keyed by seed, purpose and index.
#[derive(Debug, Clone)]
pub struct Random {
    generator: ChaCha8Rng,
}

impl Random {
    /// Creates generator number `index` of `purpose` under `seed`. The key is the three as little-endian u64, then
    /// zeros.
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        let mut key = [0; 32];
        key[0..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
        key[16..24].copy_from_slice(&index.to_le_bytes());
        Self {
            generator: ChaCha8Rng::from_seed(key),
        }
    }

    /// Draws an integer uniformly from `0..n` (Lemire's multiplication with rejection). Returns 0 for `n` = 0.
    pub fn below(&mut self, n: u32) -> u32 {
        loop {
            let product = u64::from(self.generator.next_u32()) * u64::from(n);
            let low = product as u32;
            // 2^32 mod n of the 2^32 possible draws must be rejected for equal shares: those with the lowest remainder.
            if low >= n || n == 0 || low >= n.wrapping_neg() % n {
                return (product >> 32) as u32;
            }
        }
    }

    /// Draws a number uniformly from `[0, 1)`, a multiple of 2^-24.
    pub(crate) fn unit_f32(&mut self) -> f32 {
        (self.generator.next_u32() >> 8) as f32 / (1_u32 << 24) as f32
    }

    /// Draws a number uniformly from `[low, high)`.
    pub(crate) fn uniform_f32(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit_f32()
    }

    /// Draws from the standard normal distribution (Box–Muller). The computation is in double precision, so differences
    /// between platforms in the last bit of the logarithm almost never reach the rounded result.
    pub(crate) fn normal_f32(&mut self) -> f32 {
        const STEPS: f64 = (1_u64 << 32) as f64;
        // Half a step is added because the logarithm of 0 is infinite.
        let radius = (f64::from(self.generator.next_u32()) + 0.5) / STEPS;
        let angle = f64::from(self.generator.next_u32()) / STEPS * std::f64::consts::TAU;
        ((-2.0 * radius.ln()).sqrt() * angle.cos()) as f32
    }

    /// Shuffles `items` uniformly (Fisher–Yates from the end), for up to 2^32 − 1 items.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let chosen = self.below(u32::try_from(last + 1).unwrap_or(u32::MAX));
            items.swap(last, chosen as usize);
        }
    }

    /// Draws `k` distinct integers from `0..n` in random order (partial Fisher–Yates); all `n` of them if `k > n`.
    pub(crate) fn choose_distinct(&mut self, n: u32, k: u32) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..n).collect();
        let count = k.min(n);
        for position in 0..count {
            let chosen = position + self.below(n - position);
            numbers.swap(position as usize, chosen as usize);
        }
        numbers.truncate(count as usize);
        numbers
    }
}
