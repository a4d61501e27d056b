//! Draws rectangles and text, and writes PNG files.

use std::io;
use std::path::Path;

use font8x8::{BASIC_FONTS, UnicodeFonts};
use image::{ImageFormat, Rgb, RgbImage};

use crate::base::atomic;

/// Height and width of a letter in pixels.
pub(crate) const LETTER: u32 = 8;
/// Colour of text.
const INK: Rgb<u8> = Rgb([0x20, 0x20, 0x20]);

/// Fills the part of a rectangle that lies inside the picture.
pub(crate) fn fill(
    picture: &mut RgbImage,
    (left, top): (u32, u32),
    (width, height): (u32, u32),
    color: Rgb<u8>,
) {
    for y in top..(top + height).min(picture.height()) {
        for x in left..(left + width).min(picture.width()) {
            picture.put_pixel(x, y, color);
        }
    }
}

/// Writes text on one line; unknown characters are left blank.
pub(crate) fn write(picture: &mut RgbImage, text: &str, (left, top): (u32, u32)) {
    for (position, letter) in text.chars().enumerate() {
        let rows = BASIC_FONTS.get(letter).unwrap_or_default();
        for (y, bits) in (top..).zip(rows) {
            for x in (0..LETTER).filter(|x| bits >> x & 1 == 1) {
                fill(
                    picture,
                    (left + position as u32 * LETTER + x, y),
                    (1, 1),
                    INK,
                );
            }
        }
    }
}

/// Writes `picture` to `path` as PNG, atomically.
///
/// # Errors
/// If the picture cannot be encoded or the file cannot be written.
pub fn write_png(picture: &RgbImage, path: &Path) -> io::Result<()> {
    let mut bytes = io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(io::Error::other)?;
    atomic::write(path, bytes.get_ref())
}
