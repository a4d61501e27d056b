//! Writes pictures into a pack: decodes them in parallel and resizes them, in bounded memory.

use std::borrow::Cow;
use std::sync::Arc;

use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};
use rayon::prelude::*;

use crate::import::data_set::{ImportRequest, Origin};
use crate::import::read::files::FoundFile;
use crate::import::read::mapped::Slice;
use crate::import::read::numpy::Stored;
use crate::import::read::progress::{Progress, Watch};
use crate::pack::error::{DataError, list_names};
use crate::pack::pack::{BLANK, BROKEN, PARTIAL, PackMetadata};
use crate::pack::shape::{Element, ImageShape};
use crate::pack::writer::PackWriter;
use crate::pictures::blank::is_blank;
use crate::pictures::decoding::{FOLDERS, PUBLISHED, decode, fit};
use crate::pictures::kinds::Kind;
use crate::pictures::remarks::{Remarks, blank, few};

/// Limits on the pictures that are decoded before they are written: their number, and their bytes in total.
const CHUNK: usize = 1024;
const CHUNK_BYTES: usize = 64 << 20;
/// Accepted height and width of a pack's images, in pixels.
const SIDES: std::ops::RangeInclusive<u32> = 1..=1024;

/// Whether a file has the extension of a picture that an import reads.
pub(crate) fn is_picture(inner: &str) -> bool {
    Kind::of_name(inner) == Some(Kind::Picture)
}

/// The shape of square images of bytes, `size` pixels a side.
///
/// # Errors
/// If `size` is not 1 to 1024, or `channels` is neither 1 nor 3.
pub(crate) fn square(size: u32, channels: usize) -> Result<ImageShape, DataError> {
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

/// How the picture files of a data set are read.
#[derive(Clone, Copy)]
struct Reading {
    /// Whether they are the user's own: then they are turned upright, and blank ones are told.
    own: bool,
    /// Whether broken ones are passed over.
    skip_broken: bool,
}

/// What became of a picture.
pub(crate) enum Outcome {
    /// `[H, W, C]`.
    Pixels(Vec<u8>),
    /// Pixels that show nothing, and the remark on them.
    Blank(Vec<u8>, String),
    /// No pixels, and why the picture cannot be used.
    Broken(String),
}

/// Reads pictures in parallel and writes them in their order, without broken ones. At most 1024 pictures and 64 MiB are
/// in memory at a time. Returns what was noticed.
///
/// # Errors
/// If `read` fails, writing fails, or `watch` asks to stop.
pub(crate) fn write_pictures<P: Sync>(
    pictures: &[P],
    read: impl Fn(&P) -> Result<Outcome, DataError> + Sync,
    writer: &mut PackWriter,
    watch: Watch<'_>,
) -> Result<Remarks, DataError> {
    let chunk_size = (CHUNK_BYTES / writer.image_bytes()).clamp(1, CHUNK);
    let mut done = 0;
    let mut remarks = Remarks::default();
    for chunk in pictures.chunks(chunk_size) {
        let chunk_read = chunk.par_iter().map(&read).collect::<Result<Vec<_>, _>>()?;
        for picture in chunk_read {
            match picture {
                Outcome::Pixels(pixels) => writer.push(&pixels)?,
                Outcome::Blank(pixels, remark) => {
                    writer.push(&pixels)?;
                    remarks.blank.push(remark);
                }
                Outcome::Broken(problem) => {
                    writer.pass_over();
                    remarks.broken.push(problem);
                }
            }
        }
        done += chunk.len();
        if !watch(Progress::Written(done, pictures.len())) {
            return Err(DataError::Interrupted);
        }
    }
    Ok(remarks)
}

/// Where a picture is stored.
#[derive(Clone, Debug)]
pub(crate) enum Picture {
    /// A picture file.
    File(FoundFile),
    /// A picture file stored with others in one file, and its index.
    Encoded(Arc<EncodedPictures>, usize),
    /// Pixels in an array of many pictures, and the picture's index.
    Pixels(Arc<PixelArray>, usize),
}

/// Picture files stored in one file.
#[derive(Debug)]
pub(crate) struct EncodedPictures {
    /// Name of the file, for messages.
    pub file: String,
    pub pictures: Vec<Stored>,
}

/// Pixels of many pictures in one file, one byte per channel.
#[derive(Debug)]
pub(crate) struct PixelArray {
    pub pixels: Slice,
    pub height: usize,
    pub width: usize,
    pub order: PixelOrder,
}

/// Memory layout of a picture's pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PixelOrder {
    /// `[H, W, 3]`, red first.
    Colour,
    /// `[H, W, 3]`, blue first, as OpenCV stores pictures.
    BlueFirst,
    /// `[3, H, W]`, red first.
    ColourPlanes,
    /// `[H, W]`.
    Grey,
    /// `[W, H]`.
    GreyColumns,
}

impl Picture {
    /// The pixels as `[H, W, C]`. Pictures of another size are resized with Lanczos, as the field's scripts do; their
    /// aspect ratio is not kept.
    fn read(&self, shape: ImageShape, reading: Reading) -> Result<Outcome, DataError> {
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
                let pixels = fit(picture, shape, FilterType::Lanczos3);
                return Ok(Outcome::Pixels(pixels));
            }
        };
        let decoding = if reading.own { FOLDERS } else { PUBLISHED };
        let pixels = decode(&encoded, decoding, |picture| {
            fit(picture, shape, FilterType::Lanczos3)
        });
        let read = match pixels {
            Ok(pixels) if reading.own && is_blank(&pixels) => {
                Ok(Outcome::Blank(pixels, blank(&file, &encoded)))
            }
            Ok(pixels) => Ok(Outcome::Pixels(pixels)),
            Err(problem) if reading.skip_broken => {
                let error = DataError::BadImage { file, problem };
                Ok(Outcome::Broken(error.to_string()))
            }
            Err(mut problem) => {
                if reading.own {
                    problem += "\nhint: fix or remove it, or pass over all such pictures with --skip-broken";
                }
                Err(DataError::BadImage { file, problem })
            }
        };
        if let Picture::Encoded(all, index) = self {
            all.pictures[*index].release();
        }
        read
    }
}

impl PixelArray {
    /// Bytes per picture.
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

/// A class's name and its pictures, in the order of the pack.
pub(crate) type ClassPictures = (String, Vec<Picture>);

/// Writes classes as a pack; fills in `metadata.class_names` and the notes on resizing, orientation, and broken and blank
/// pictures.
///
/// # Errors
/// If a picture cannot be decoded and `request` does not say to pass it over, a class loses all its pictures, writing
/// fails, or `request.watch` asks to stop. Then no pack is left behind.
pub(crate) fn write_classes(
    request: &ImportRequest<'_>,
    classes: &[ClassPictures],
    shape: ImageShape,
    mut metadata: PackMetadata,
) -> Result<(), DataError> {
    metadata.class_names = classes.iter().map(|(name, _)| name.clone()).collect();
    metadata.notes.insert(
        "resize_filter".to_owned(),
        format!("lanczos to {shape} where of another size, aspect ratio not kept"),
    );
    let reading = Reading {
        own: request.data_set.origin == Origin::Own,
        skip_broken: request.skip_broken || request.partial,
    };
    let orientation = if reading.own {
        "upright by EXIF"
    } else {
        "as stored"
    };
    metadata
        .notes
        .insert("orientation".to_owned(), orientation.to_owned());
    let sizes: Vec<usize> = classes.iter().map(|(_, pictures)| pictures.len()).collect();
    let pictures: Vec<&Picture> = classes.iter().flat_map(|(_, pictures)| pictures).collect();
    let mut writer = PackWriter::create(request.output, shape, &sizes, metadata)?;
    let read = |picture: &&Picture| picture.read(shape, reading);
    let remarks = write_pictures(&pictures, read, &mut writer, request.watch)?;
    let emptied = writer.emptied();
    if !emptied.is_empty() {
        let names = list_names(emptied, 3);
        return Err(request.incomplete(format!(
            "no picture of these classes can be used: {names}; {}",
            few(&remarks.broken)
        )));
    }
    if !remarks.broken.is_empty() {
        // Of a published data set, the pictures are missing.
        let key = if reading.own { BROKEN } else { PARTIAL };
        writer.note(
            key,
            &format!(
                "{} pictures passed over: {}",
                remarks.broken.len(),
                few(&remarks.broken)
            ),
        );
    }
    if !remarks.blank.is_empty() {
        writer.note(
            BLANK,
            &format!("{} pictures: {}", remarks.blank.len(), few(&remarks.blank)),
        );
    }
    writer.finish()
}
