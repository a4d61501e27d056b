//! Mean and standard deviation of the pixels of a pack.

use rayon::prelude::*;

use crate::pack::pack::Pack;
use crate::pack::shape::Element;

/// Mean and standard deviation of one channel, population formula; bytes are scaled to 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelMoments {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub deviation: f64,
}

/// Adds a value to `[sum of values, sum of squares]`.
fn add(sums: &mut [f64; 2], value: f64) {
    *sums = [sums[0] + value, sums[1] + value * value];
}

/// Computes the moments of each channel over all images, `[C]`; for embeddings those of each element, `[D]`.
pub fn moments(pack: &Pack) -> Vec<ChannelMoments> {
    let shape = pack.shape();
    let channels = shape.channels;
    let zero = || vec![[0.0; 2]; channels];
    let add_image = |mut sums: Vec<[f64; 2]>, image: usize| {
        let bytes = pack.image(image);
        match shape.element {
            Element::Byte => {
                for pixel in bytes.chunks_exact(channels) {
                    for (sums, &byte) in sums.iter_mut().zip(pixel) {
                        add(sums, f64::from(byte) / 255.0);
                    }
                }
            }
            Element::Float => {
                for pixel in bytes.as_chunks().0.chunks_exact(channels) {
                    for (sums, &value) in sums.iter_mut().zip(pixel) {
                        add(sums, f64::from(f32::from_le_bytes(value)));
                    }
                }
            }
        }
        sums
    };
    let combine = |one: Vec<[f64; 2]>, other: Vec<[f64; 2]>| {
        let pairs = one.into_iter().zip(other);
        pairs.map(|(a, b)| [a[0] + b[0], a[1] + b[1]]).collect()
    };
    let sums = (0..pack.image_count())
        .into_par_iter()
        .fold(zero, add_image)
        .reduce(zero, combine);
    let count = (pack.image_count() * shape.height * shape.width) as f64;
    let from_sums = |[sum, squares]: [f64; 2]| {
        let mean = sum / count;
        ChannelMoments {
            mean,
            deviation: (squares / count - mean * mean).max(0.0).sqrt(),
        }
    };
    sums.into_iter().map(from_sums).collect()
}
