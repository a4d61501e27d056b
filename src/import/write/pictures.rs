//! Picture files into a pack: decoded, brought to one size and kind, in bounded memory.
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};
use rayon::prelude::*;

use crate::import::read::files::{FoundFile, has_extension};
use crate::import::read::mapped::Slice;
use crate::import::read::numpy::Stored;
use crate::import::read::progress::{Progress, Watch};
use crate::pack::error::{DataError, list_names};
use crate::pack::pack::{Element, ImageShape, PackMetadata};
use crate::pack::writer::PackWriter;
use crate::pictures::decoding::{LARGEST_SIDE, fit, on_white};

/// Pictures decoded before they are written: at most so many, of at most so many bytes together.
const CHUNK: usize = 1024;
const CHUNK_BYTES: usize = 64 << 20;
/// Sides a pack may have, in pixels.
const SIDES: std::ops::RangeInclusive<u32> = 1..=1024;

/// Whether a file is called as the kinds of pictures are that can be read.
pub(crate) fn is_picture(inner: &str) -> bool {
    has_extension(inner, &["jpg", "jpeg", "png"])
}

/// The shape of square pictures of `size` pixels a side.
///
/// # Errors
/// If the size or the number of channels is none that a pack may have.
pub fn square(size: u32, channels: usize) -> Result<ImageShape, DataError> {
    if !SIDES.contains(&size) {
        return Err(DataError::InvalidOption {
            field: "size",
            value: size.to_string(),
            expected: format!("{} to {} pixels", SIDES.start(), SIDES.end()),
        });
    }
    if channels != 1 && channels != 3 {
        return Err(DataError::InvalidOption {
            field: "channels",
            value: channels.to_string(),
            expected: "1 (grey) or 3 (colour)".to_owned(),
        });
    }
    let side = size as usize;
    Ok(ImageShape {
        height: side,
        width: side,
        channels,
        element: Element::Byte,
    })
}

/// Decodes pictures in parallel, as many at a time as fit in memory, and writes them in their order.
pub(crate) fn write_pictures<P: Sync>(
    pictures: &[P],
    decode: impl Fn(&P) -> Result<Vec<u8>, DataError> + Sync,
    writer: &mut PackWriter,
    watch: Watch<'_>,
) -> Result<(), DataError> {
    let chunk_size = (CHUNK_BYTES / writer.image_bytes()).clamp(1, CHUNK);
    let mut done = 0;
    for chunk in pictures.chunks(chunk_size) {
        let decoded = chunk
            .par_iter()
            .map(&decode)
            .collect::<Result<Vec<_>, _>>()?;
        for picture in &decoded {
            writer.push(picture)?;
        }
        done += chunk.len();
        if !watch(Progress::Written(done, pictures.len())) {
            return Err(DataError::Interrupted);
        }
    }
    Ok(())
}

/// A picture and where it lies.
#[derive(Clone, Debug)]
pub(crate) enum Picture {
    /// A file, JPEG or PNG.
    File(FoundFile),
    /// One of many such files inside one.
    Encoded(Arc<EncodedPictures>, usize),
    /// Pixels among those of many pictures.
    Pixels(Arc<PixelArray>, usize),
}

/// JPEG or PNG files inside one file.
#[derive(Debug)]
pub(crate) struct EncodedPictures {
    /// The file, for messages.
    pub file: String,
    pub pictures: Vec<Stored>,
}

/// Pixels of many pictures in one file, one byte a channel.
#[derive(Debug)]
pub(crate) struct PixelArray {
    pub pixels: Slice,
    pub height: usize,
    pub width: usize,
    pub order: PixelOrder,
}

/// In which order a picture's pixels lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PixelOrder {
    /// Row by row, red, green and blue together.
    Colour,
    /// The same, from blue to red.
    BlueFirst,
    /// Channel by channel, each row by row.
    ColourPlanes,
    /// Row by row.
    Grey,
    /// Column by column.
    GreyColumns,
}

impl Picture {
    /// `[H, W, C]`, squashed to `shape` where it has another size (Lanczos, as the field's scripts do; the aspect ratio
    /// is not kept).
    fn pixels(&self, shape: ImageShape) -> Result<Vec<u8>, DataError> {
        let (encoded, file) = match self {
            Picture::File(file) => (Cow::Owned(file.read()?), file.display()),
            Picture::Encoded(all, index) => (
                all.pictures[*index].read(),
                format!("{}: number {index}", all.file),
            ),
            Picture::Pixels(array, index) => {
                let picture = array.picture(*index);
                let length = array.picture_bytes();
                array.pixels.release(index * length, length);
                return Ok(fit(picture, shape, FilterType::Lanczos3));
            }
        };
        let decoded = decode(&encoded);
        if let Picture::Encoded(all, index) = self {
            all.pictures[*index].release();
        }
        let decoded = decoded.map_err(|error| DataError::BadImage {
            file,
            problem: format!("is no readable JPEG or PNG ({error})"),
        })?;
        Ok(fit(decoded, shape, FilterType::Lanczos3))
    }
}

impl PixelArray {
    /// Bytes of a picture.
    pub(crate) fn picture_bytes(&self) -> usize {
        let channels = match self.order {
            PixelOrder::Colour | PixelOrder::BlueFirst | PixelOrder::ColourPlanes => 3,
            PixelOrder::Grey | PixelOrder::GreyColumns => 1,
        };
        self.height * self.width * channels
    }

    fn picture(&self, index: usize) -> DynamicImage {
        let length = self.picture_bytes();
        let bytes = &self.pixels.as_ref()[index * length..][..length];
        let (width, height) = (self.width as u32, self.height as u32);
        let plane = self.height * self.width;
        match self.order {
            PixelOrder::Grey | PixelOrder::Colour => {
                let pixels = bytes.to_vec();
                if self.order == PixelOrder::Grey {
                    GrayImage::from_raw(width, height, pixels)
                        .unwrap_or_default()
                        .into()
                } else {
                    RgbImage::from_raw(width, height, pixels)
                        .unwrap_or_default()
                        .into()
                }
            }
            PixelOrder::GreyColumns => GrayImage::from_fn(width, height, |x, y| {
                Luma([bytes[x as usize * self.height + y as usize]])
            })
            .into(),
            PixelOrder::BlueFirst => RgbImage::from_fn(width, height, |x, y| {
                let place = 3 * (y as usize * self.width + x as usize);
                Rgb([bytes[place + 2], bytes[place + 1], bytes[place]])
            })
            .into(),
            PixelOrder::ColourPlanes => RgbImage::from_fn(width, height, |x, y| {
                let place = y as usize * self.width + x as usize;
                Rgb([0, 1, 2].map(|channel| bytes[channel * plane + place]))
            })
            .into(),
        }
    }
}

/// By content, not by extension: mini-ImageNet copies hold PNGs named `.jpg`. Transparent places on white.
fn decode(bytes: &[u8]) -> Result<DynamicImage, image::ImageError> {
    let mut reader = image::ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    reader.limits(limits);
    reader.decode().map(on_white)
}

/// The places that were searched, for a message.
pub(crate) fn searched(from: &[PathBuf]) -> String {
    list_names(from.iter().map(|path| path.display()), 5)
}

/// A class and its pictures, in order.
pub(crate) type ClassPictures = (String, Vec<Picture>);

/// Writes all classes as a pack; `metadata.class_names` are filled in.
pub(crate) fn write_classes(
    output: &Path,
    classes: &[ClassPictures],
    shape: ImageShape,
    mut metadata: PackMetadata,
    watch: Watch<'_>,
) -> Result<(), DataError> {
    metadata.class_names = classes.iter().map(|(name, _)| name.clone()).collect();
    metadata.notes.insert(
        "resize_filter".to_owned(),
        format!("lanczos to {shape} where of another size, aspect ratio not kept"),
    );
    let sizes: Vec<usize> = classes.iter().map(|(_, pictures)| pictures.len()).collect();
    let pictures: Vec<&Picture> = classes.iter().flat_map(|(_, pictures)| pictures).collect();
    let mut writer = PackWriter::create(output, shape, &sizes, metadata)?;
    write_pictures(
        &pictures,
        |picture| picture.pixels(shape),
        &mut writer,
        watch,
    )?;
    writer.finish()
}
