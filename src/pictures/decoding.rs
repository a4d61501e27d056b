//! The one decoder of picture files: accepted sizes, EXIF orientation and transparency.

use std::io::Cursor;

use image::imageops::{FilterType, overlay};
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, Rgba, RgbaImage};

use crate::pack::shape::ImageShape;

/// Longest side of a picture in pixels: a guard against decompression bombs.
const LONGEST_SIDE: u32 = 16_384;
/// Memory that decoding one picture may take, in bytes.
const LARGEST_ALLOCATION: u64 = 2 << 30;

/// What differs between uses of the decoder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoding {
    /// Shortest side of a picture in pixels.
    shortest_side: u32,
    /// Whether to turn the picture upright as its EXIF data say.
    upright: bool,
    /// File formats named in messages. The format is recognized by content.
    formats: &'static str,
}

/// Imports: pixels as stored. Published data sets and the results on them ignore EXIF orientation.
pub(crate) const IMPORTED: Decoding = Decoding {
    shortest_side: 1,
    upright: false,
    formats: "JPEG or PNG",
};

/// A user's pictures for a model: upright, and at least 4 pixels a side, because fewer show nothing.
pub(crate) const USERS: Decoding = Decoding {
    shortest_side: 4,
    upright: true,
    formats: "JPEG, PNG, BMP, GIF, TIFF or WebP",
};

/// Decodes a picture file. Its format is recognized by content, because mini-ImageNet copies hold PNGs named `.jpg`.
/// Transparent areas become white.
///
/// # Errors
/// If the content is not a picture or its size is out of range; the text follows the file's name in the message.
pub(crate) fn decode(content: &[u8], decoding: Decoding) -> Result<DynamicImage, String> {
    let unreadable =
        |error: &dyn std::fmt::Display| format!("is no readable {} ({error})", decoding.formats);
    let mut decoder = ImageReader::new(Cursor::new(content))
        .with_guessed_format()
        .map_err(|error| unreadable(&error))?
        .into_decoder()
        .map_err(|error| unreadable(&error))?;
    let (width, height) = decoder.dimensions();
    let shortest = decoding.shortest_side;
    if width.min(height) < shortest || width.max(height) > LONGEST_SIDE {
        return Err(format!(
            "is {width}×{height} pixels, expected {shortest} to {LONGEST_SIDE} a side"
        ));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(LARGEST_ALLOCATION);
    decoder
        .set_limits(limits)
        .map_err(|error| unreadable(&error))?;
    let orientation = match decoding.upright {
        true => Some(decoder.orientation().map_err(|error| unreadable(&error))?),
        false => None,
    };
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| unreadable(&error))?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    Ok(on_white(picture))
}

/// Puts transparent areas on white, as most programs show them; the pixels below them are usually black.
fn on_white(picture: DynamicImage) -> DynamicImage {
    if !picture.color().has_alpha() {
        return picture;
    }
    let mut white = RgbaImage::from_pixel(picture.width(), picture.height(), Rgba([255; 4]));
    overlay(&mut white, &picture.into_rgba8(), 0, 0);
    DynamicImage::ImageRgba8(white).into_rgb8().into()
}

/// The picture as `[H, W, C]` bytes. A picture of another size is resized without keeping its aspect ratio.
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

#[cfg(test)]
mod tests {
    use image::{ImageFormat, RgbImage};

    use super::*;

    fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut content = Cursor::new(Vec::new());
        picture.into().write_to(&mut content, format).unwrap();
        content.into_inner()
    }

    /// A JPEG of 8×4 pixels whose EXIF data say: rotate by 90°.
    fn rotated_jpeg() -> Vec<u8> {
        let mut content = encoded(RgbImage::new(8, 4), ImageFormat::Jpeg);
        // Little-endian TIFF with one entry: orientation (0x0112), one 16-bit number, 6.
        let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let segment = [b"Exif\0\0", &tiff[..]].concat();
        let length = (segment.len() as u16 + 2).to_be_bytes();
        let segment = [&[0xff, 0xe1], &length[..], &segment].concat();
        content.splice(2..2, segment);
        content
    }

    #[test]
    fn exif_orientation_applies_to_a_users_pictures_and_not_to_imports() {
        let size = |decoding| {
            let picture = decode(&rotated_jpeg(), decoding).unwrap();
            (picture.width(), picture.height())
        };
        assert_eq!(size(IMPORTED), (8, 4));
        assert_eq!(size(USERS), (4, 8));
    }

    #[test]
    fn tiny_pictures_can_be_imported_but_not_given_to_a_model() {
        let dot = encoded(RgbImage::new(1, 1), ImageFormat::Png);
        assert!(decode(&dot, IMPORTED).is_ok());
        let error = decode(&dot, USERS).unwrap_err();
        assert_eq!(error, "is 1×1 pixels, expected 4 to 16384 a side");
    }

    #[test]
    fn transparent_areas_become_white() {
        let mut glass = RgbaImage::new(8, 8);
        glass.put_pixel(0, 0, Rgba([9, 8, 7, 255]));
        let glass = encoded(glass, ImageFormat::Png);
        for decoding in [IMPORTED, USERS] {
            let picture = decode(&glass, decoding).unwrap().into_rgb8();
            assert_eq!(picture.get_pixel(0, 0).0, [9, 8, 7]);
            assert_eq!(picture.get_pixel(7, 7).0, [255; 3]);
        }
    }
}
