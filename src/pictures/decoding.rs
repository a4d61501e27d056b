//! The one decoder of picture files: accepted sizes, missing data, EXIF orientation and transparency.

use std::io::{Cursor, ErrorKind};
use std::sync::{Mutex, PoisonError};

use image::imageops::FilterType;
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Pixel, RgbImage,
    Rgba, guess_format,
};

use crate::pack::shape::ImageShape;
use crate::pictures::jpeg::{Jpeg, ending};
use crate::pictures::kinds::{Kind, READ};

/// Bytes of the largest picture file that is read.
pub(crate) const LARGEST_FILE: u64 = 256 << 20;
/// Longest side of a picture in pixels: a guard against decompression bombs.
const LONGEST_SIDE: u32 = 16_384;
/// Bytes that decoding one picture may take, enough for the longest sides in 8-bit colours.
const MOST_DECODED: u64 = 768 << 20;
/// Bytes from which pictures are decoded one at a time, whatever the number of threads.
const LARGE: u64 = 64 << 20;

/// What differs between uses of the decoder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoding {
    /// Shortest side of a picture in pixels.
    shortest_side: u32,
    /// Whether to turn the picture upright as its EXIF data say.
    upright: bool,
    /// Whether to refuse a JPEG whose data break off before its end mark.
    strict: bool,
}

/// Published data sets: pixels as stored, and what libjpeg only warns of, because the published results rest on such
/// pictures.
pub(crate) const PUBLISHED: Decoding = Decoding {
    shortest_side: 1,
    upright: false,
    strict: false,
};

/// A user's pictures for a pack.
pub(crate) const FOLDERS: Decoding = Decoding {
    shortest_side: 1,
    upright: true,
    strict: true,
};

/// A user's pictures for a model: at least 4 pixels a side, because fewer show nothing.
pub(crate) const USERS: Decoding = Decoding {
    shortest_side: 4,
    upright: true,
    strict: true,
};

/// Decodes a picture file and passes the picture to `then`. Its format is recognized by content, because mini-ImageNet
/// copies hold PNGs named `.jpg`. Transparent areas become white. A large picture waits until `then` is done with
/// another large one.
///
/// # Errors
/// If the content is not a picture or not a whole one, or its size is out of range; the text follows the file's name in
/// the message.
pub(crate) fn decode<T>(
    content: &[u8],
    decoding: Decoding,
    then: impl FnOnce(DynamicImage) -> T,
) -> Result<T, String> {
    decode_as_stored(content, decoding, |picture| then(on_white(picture)))
}

/// As [`decode`], with transparent areas as they are.
pub(super) fn decode_as_stored<T>(
    content: &[u8],
    decoding: Decoding,
    then: impl FnOnce(DynamicImage) -> T,
) -> Result<T, String> {
    static ONE_LARGE_PICTURE: Mutex<()> = Mutex::new(());
    let opened = open(content, decoding)?;
    let turn = (opened.memory > LARGE).then(|| {
        // Whoever panicked left nothing behind the lock.
        let turn = ONE_LARGE_PICTURE.lock();
        turn.unwrap_or_else(PoisonError::into_inner)
    });
    let result = then(opened.decode(decoding)?);
    drop(turn);
    Ok(result)
}

/// A picture file whose header was read.
struct Opened<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    /// Bytes that decoding takes.
    memory: u64,
}

/// Reads the header of a picture and checks it.
fn open(content: &[u8], decoding: Decoding) -> Result<Opened<'_>, String> {
    let format = readable_format(content)?;
    let cut = || "is cut off, its end is missing: copy or download it again".to_owned();
    let (decoder, memory): (Box<dyn ImageDecoder>, u64) = if format == ImageFormat::Jpeg {
        let ending = ending(content).ok_or_else(cut)?;
        let jpeg = Jpeg::new(content, &ending, decoding.strict).map_err(unreadable)?;
        let memory = jpeg.memory();
        (Box::new(jpeg), memory)
    } else {
        if !is_whole(content, format) {
            return Err(cut());
        }
        let decoder = ImageReader::with_format(Cursor::new(content), format).into_decoder();
        let decoder = decoder.map_err(unreadable)?;
        let memory = decoder.total_bytes();
        (Box::new(decoder), memory)
    };
    let (width, height) = decoder.dimensions();
    let shortest = decoding.shortest_side;
    if width.min(height) < shortest || width.max(height) > LONGEST_SIDE {
        return Err(format!(
            "is {width}×{height} pixels, expected {shortest} to {LONGEST_SIDE} a side"
        ));
    }
    if memory > MOST_DECODED {
        return Err(format!(
            "is {width}×{height} pixels and takes {} MiB of memory, expected at most {}: make it smaller",
            memory >> 20,
            MOST_DECODED >> 20
        ));
    }
    Ok(Opened { decoder, memory })
}

impl Opened<'_> {
    fn decode(mut self, decoding: Decoding) -> Result<DynamicImage, String> {
        let mut limits = Limits::default();
        limits.max_alloc = Some(MOST_DECODED);
        self.decoder.set_limits(limits).map_err(unreadable)?;
        let orientation = match decoding.upright {
            true => Some(self.decoder.orientation().map_err(unreadable)?),
            false => None,
        };
        let mut picture = DynamicImage::from_decoder(self.decoder).map_err(unreadable)?;
        if let Some(orientation) = orientation {
            picture.apply_orientation(orientation);
        }
        Ok(picture)
    }
}

/// The format of the content, if it is one that is read.
fn readable_format(content: &[u8]) -> Result<ImageFormat, String> {
    if content.is_empty() {
        return Err("is empty: copy or download it again".to_owned());
    }
    match (Kind::of_start(content), guess_format(content)) {
        (Kind::Picture, Ok(format)) => Ok(format),
        (Kind::Archive, _) => Err("is an archive, not a picture: unpack it".to_owned()),
        (kind, _) => Err(kind
            .problem()
            .unwrap_or_else(|| format!("is no readable {READ}"))),
    }
}

/// Whether the end of a file is there, for formats whose decoders do not read up to it.
fn is_whole(content: &[u8], format: ImageFormat) -> bool {
    let whole = || match format {
        ImageFormat::Png => {
            // After 8 bytes, chunks of length, name, data and checksum.
            let mut place = 8;
            loop {
                let (length, rest) = content.get(place..)?.split_first_chunk()?;
                place += 12 + u32::from_be_bytes(*length) as usize;
                content.get(place - 1)?;
                if rest.starts_with(b"IEND") {
                    return Some(());
                }
            }
        }
        ImageFormat::WebP => {
            // `RIFF` and the length of what follows.
            let length = content.get(4..)?.first_chunk()?;
            content
                .get(7 + u32::from_le_bytes(*length) as usize)
                .map(|_| ())
        }
        _ => Some(()),
    };
    whole().is_some()
}

fn unreadable(error: ImageError) -> String {
    match &error {
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            "is cut off, data are missing: copy or download it again".to_owned()
        }
        _ => format!("is no readable {READ} ({error})"),
    }
}

/// Puts transparent areas on white, as most programs show them; the pixels below them are usually black.
fn on_white(picture: DynamicImage) -> DynamicImage {
    if !picture.color().has_alpha() {
        return picture;
    }
    let picture = picture.into_rgba8();
    let (width, height) = picture.dimensions();
    // In place, because pictures may be large.
    let mut values = picture.into_raw();
    for pixel in 0..values.len() / 4 {
        let mut white = Rgba([255; 4]);
        white.blend(Rgba::from_slice(&values[4 * pixel..][..4]));
        values[3 * pixel..][..3].copy_from_slice(&white.0[..3]);
    }
    values.truncate(values.len() / 4 * 3);
    RgbImage::from_raw(width, height, values)
        .unwrap_or_default()
        .into()
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
    use image::RgbaImage;

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
    fn exif_orientation_applies_to_a_users_pictures_and_not_to_published_ones() {
        let size = |decoding| {
            let size = |picture: DynamicImage| (picture.width(), picture.height());
            decode(&rotated_jpeg(), decoding, size).unwrap()
        };
        assert_eq!(size(PUBLISHED), (8, 4));
        assert_eq!(size(FOLDERS), (4, 8));
        assert_eq!(size(USERS), (4, 8));
    }

    #[test]
    fn tiny_pictures_can_be_imported_but_not_given_to_a_model() {
        let dot = encoded(RgbImage::new(1, 1), ImageFormat::Png);
        assert!(decode(&dot, FOLDERS, drop).is_ok());
        let error = decode(&dot, USERS, drop).unwrap_err();
        assert_eq!(error, "is 1×1 pixels, expected 4 to 16384 a side");
    }

    #[test]
    fn transparent_areas_become_white() {
        let mut glass = RgbaImage::new(8, 8);
        glass.put_pixel(0, 0, Rgba([9, 8, 7, 255]));
        let glass = encoded(glass, ImageFormat::Png);
        for decoding in [PUBLISHED, FOLDERS, USERS] {
            let picture = decode(&glass, decoding, DynamicImage::into_rgb8).unwrap();
            assert_eq!(picture.get_pixel(0, 0).0, [9, 8, 7]);
            assert_eq!(picture.get_pixel(7, 7).0, [255; 3]);
        }
    }
}
