//! Pictures of convolution kernels.

use image::{Rgb, RgbImage};
use ndarray::ArrayView4;

use crate::draw::canvas::fill;

/// Height and width of a weight in pixels.
const CELL: u32 = 8;
/// Space between kernels in pixels.
const GAP: u32 = 2;
/// The first channels are shown, at most this many.
const MOST_CHANNELS: usize = 32;
/// Colours of the most positive and the most negative weight; 0 is white.
const RED: [f32; 3] = [178.0, 24.0, 43.0];
const BLUE: [f32; 3] = [33.0, 102.0, 172.0];

/// Draws kernels, `[output channels, input channels, k, k]`: a row for each output channel, a column for each input
/// channel.
pub(crate) fn kernel_picture(kernels: ArrayView4<'_, f32>) -> RgbImage {
    let (outputs, inputs, height, width) = kernels.dim();
    let (rows, columns) = (outputs.min(MOST_CHANNELS), inputs.min(MOST_CHANNELS));
    let (step_down, step_right) = (height as u32 * CELL + GAP, width as u32 * CELL + GAP);
    let size = (
        columns as u32 * step_right + GAP,
        rows as u32 * step_down + GAP,
    );
    let mut picture = RgbImage::from_pixel(size.0, size.1, Rgb([0xd0; 3]));
    let largest = kernels
        .iter()
        .map(|weight| weight.abs())
        .fold(f32::MIN_POSITIVE, f32::max);
    for ((output, input, y, x), weight) in kernels.indexed_iter() {
        if output < rows && input < columns {
            let left = GAP + input as u32 * step_right + x as u32 * CELL;
            let top = GAP + output as u32 * step_down + y as u32 * CELL;
            fill(
                &mut picture,
                (left, top),
                (CELL, CELL),
                color(weight / largest),
            );
        }
    }
    picture
}

/// The colour of a weight from −1 to 1.
fn color(weight: f32) -> Rgb<u8> {
    let end = if weight < 0.0 { BLUE } else { RED };
    Rgb(end.map(|end| (255.0 + weight.abs() * (end - 255.0)) as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_at_its_channels_and_its_sign_is_a_colour() {
        let mut kernels = ndarray::Array4::<f32>::zeros((2, 3, 3, 3));
        kernels[[1, 2, 0, 1]] = -2.0;
        kernels[[0, 0, 2, 2]] = 1.0;
        let picture = kernel_picture(kernels.view());
        assert_eq!(picture.dimensions(), (3 * 26 + 2, 2 * 26 + 2));
        assert_eq!(picture[(2 + 2 * 26 + 8, 2 + 26)], Rgb([33, 102, 172]));
        assert_eq!(picture[(2 + 16, 2 + 16)], Rgb([216, 139, 149]));
        assert_eq!(picture[(2, 2)], Rgb([255; 3]));
    }
}
