//! Pixels of one image on their way from a file into a pack, and from a pack into an episode.

use image::imageops::{FilterType, overlay};
use image::{DynamicImage, Rgba, RgbaImage};

use super::pack::ImageShape;

/// Largest side of a picture in pixels: a guard against decompression bombs.
pub(super) const LARGEST_SIDE: u32 = 16_384;

/// Transparent places on white, as most programs show them: below them lies black as a rule.
pub(super) fn on_white(picture: DynamicImage) -> DynamicImage {
    if !picture.color().has_alpha() {
        return picture;
    }
    let mut white = RgbaImage::from_pixel(picture.width(), picture.height(), Rgba([255; 4]));
    overlay(&mut white, &picture.into_rgba8(), 0, 0);
    DynamicImage::ImageRgba8(white).into_rgb8().into()
}

/// A picture as `[H, W, C]`, squashed to `shape` where it has another size: the aspect ratio is not kept.
pub(super) fn fit(picture: DynamicImage, shape: ImageShape, filter: FilterType) -> Vec<u8> {
    let (width, height) = (shape.width as u32, shape.height as u32);
    let sized = if (picture.width(), picture.height()) == (width, height) {
        picture
    } else {
        picture.resize_exact(width, height, filter)
    };
    if shape.channels == 1 {
        sized.into_luma8().into_raw()
    } else {
        sized.into_rgb8().into_raw()
    }
}

/// `[H, W, C]` → `[C, H, W]`
pub(super) fn channels_first(source: &[u8], shape: ImageShape, target: &mut [u8]) {
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

/// A square image, `[H, W, C]`, turned counter-clockwise by this many quarters.
pub(super) fn turn(source: &[u8], shape: ImageShape, quarters: u8) -> Vec<u8> {
    let (last, channels) = (shape.width - 1, shape.channels);
    let mut turned = Vec::with_capacity(source.len());
    for row in 0..shape.height {
        for column in 0..shape.width {
            // Where the pixel that the turn brings here comes from.
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
