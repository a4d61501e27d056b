//! Decoded pictures on their way into a pack.
use image::imageops::{FilterType, overlay};
use image::{DynamicImage, Rgba, RgbaImage};

use crate::pack::pack::ImageShape;

/// Largest side of a picture in pixels: a guard against decompression bombs.
pub(crate) const LARGEST_SIDE: u32 = 16_384;

/// Transparent places on white, as most programs show them: below them lies black as a rule.
pub(crate) fn on_white(picture: DynamicImage) -> DynamicImage {
    if !picture.color().has_alpha() {
        return picture;
    }
    let mut white = RgbaImage::from_pixel(picture.width(), picture.height(), Rgba([255; 4]));
    overlay(&mut white, &picture.into_rgba8(), 0, 0);
    DynamicImage::ImageRgba8(white).into_rgb8().into()
}

/// A picture as `[H, W, C]`, squashed to `shape` where it has another size: the aspect ratio is not kept.
pub(crate) fn fit(picture: DynamicImage, shape: ImageShape, filter: FilterType) -> Vec<u8> {
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
