//! Pictures that show nothing once they are prepared.

use image::{DynamicImage, GenericImageView};

use crate::pictures::decoding::{USERS, decode_as_stored};

/// Largest difference between the values of a picture that shows nothing.
const BLANK_RANGE: u8 = 8;
/// Largest 16-bit value of a picture that becomes almost black in 8 bits.
const DARK: u16 = 4095;

/// Whether a picture shows nothing: all its values are almost the same.
pub(crate) fn is_blank(values: &[u8]) -> bool {
    let (least, most) = values.iter().fold((u8::MAX, 0), |(least, most), &value| {
        (least.min(value), most.max(value))
    });
    most.saturating_sub(least) <= BLANK_RANGE
}

/// Why a picture became blank and what to do, if that is known; to follow "is blank after preparation".
pub(crate) fn why_blank(content: &[u8]) -> Option<&'static str> {
    let dark = |values: &[u16]| {
        (values.iter().max() <= Some(&DARK)).then_some(
            "its 16-bit values are a small part of 0 to 65535: scale them up, or save it with 8 bits",
        )
    };
    let why = |picture: DynamicImage| match &picture {
        DynamicImage::ImageLuma16(picture) => dark(picture),
        DynamicImage::ImageRgb16(picture) => dark(picture),
        _ if !picture.color().has_alpha() => None,
        _ if picture.pixels().all(|(_, _, pixel)| pixel.0[3] == 0) => {
            Some("it is transparent everywhere")
        }
        _ => Some(
            "what it shows is white on transparency, which becomes white: put it on a darker ground",
        ),
    };
    decode_as_stored(content, USERS, why).ok()?
}
