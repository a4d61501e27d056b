//! Rectangles, letters and files: what pictures are made with.
use std::io;
use std::path::Path;

use font8x8::{BASIC_FONTS, UnicodeFonts};
use image::{ImageFormat, Rgb, RgbImage};

use crate::base::atomic;

/// Height and width of a letter.
pub(crate) const LETTER: u32 = 8;
/// The colour of letters.
const INK: Rgb<u8> = Rgb([0x20, 0x20, 0x20]);

/// Fills a rectangle, as far as it lies in the picture.
pub(crate) fn fill(
    picture: &mut RgbImage,
    (left, top): (u32, u32),
    (width, height): (u32, u32),
    ink: Rgb<u8>,
) {
    for y in top..(top + height).min(picture.height()) {
        for x in left..(left + width).min(picture.width()) {
            picture.put_pixel(x, y, ink);
        }
    }
}

/// Writes letters, 8 pixels high and wide.
pub(crate) fn write(picture: &mut RgbImage, text: &str, (left, top): (u32, u32)) {
    for (place, letter) in text.chars().enumerate() {
        let rows = BASIC_FONTS.get(letter).unwrap_or_default();
        for (y, bits) in (top..).zip(rows) {
            for x in (0..LETTER).filter(|x| bits >> x & 1 == 1) {
                fill(picture, (left + place as u32 * LETTER + x, y), (1, 1), INK);
            }
        }
    }
}

/// # Errors
/// If the file cannot be written.
pub fn write_png(picture: &RgbImage, path: &Path) -> io::Result<()> {
    let mut bytes = io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(io::Error::other)?;
    atomic::write(path, bytes.get_ref())
}
