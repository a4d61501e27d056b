//! Rearranges the pixels of one image.

use crate::pack::shape::ImageShape;

/// Copies `source`, `[H, W, C]`, to `target`, `[C, H, W]`.
pub(crate) fn channels_first(source: &[u8], shape: ImageShape, target: &mut [u8]) {
    if shape.channels == 1 {
        target.copy_from_slice(source);
        return;
    }
    let area = shape.height * shape.width;
    for (channel, plane) in target.chunks_exact_mut(area).enumerate() {
        for (pixel, values) in plane.iter_mut().zip(source.chunks_exact(shape.channels)) {
            *pixel = values[channel];
        }
    }
}

/// Rotates a square image, `[H, W, C]`, counter-clockwise by 1, 2 or 3 quarter turns.
pub(crate) fn turn(source: &[u8], shape: ImageShape, quarters: u8) -> Vec<u8> {
    let (last, channels) = (shape.width - 1, shape.channels);
    let mut turned = Vec::with_capacity(source.len());
    for row in 0..shape.height {
        for column in 0..shape.width {
            // The source pixel that the rotation moves here.
            let (from_row, from_column) = match quarters {
                1 => (column, last - row),
                2 => (last - row, last - column),
                _ => (last - column, row),
            };
            let start = (from_row * shape.width + from_column) * channels;
            turned.extend_from_slice(&source[start..start + channels]);
        }
    }
    turned
}
