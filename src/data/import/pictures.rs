//! Picture files into a pack: decoded, brought to one size and kind, in bounded memory.

use std::path::{Path, PathBuf};

use image::DynamicImage;
use image::imageops::FilterType;
use rayon::prelude::*;

use super::super::error::{DataError, list_names};
use super::super::pack::{Element, ImageShape, PackMetadata};
use super::super::pack_writer::PackWriter;
use super::files::FoundFile;

/// Extensions of the kinds of pictures that can be read.
pub const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];
/// Pictures decoded before they are written.
const CHUNK: usize = 1024;
/// Largest side of a picture in pixels: a guard against decompression bombs.
const LARGEST_SIDE: u32 = 16_384;
/// Sides a pack may have, in pixels.
const SIDES: std::ops::RangeInclusive<u32> = 1..=1024;

/// Told of how many pictures are done, and of how many there are.
pub type Watch<'a> = &'a dyn Fn(usize, usize);

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

/// Decodes the files in parallel, as many at a time as fit in memory, and writes them in their order.
pub(super) fn write_pictures(
    files: &[&FoundFile],
    decode: impl Fn(&FoundFile) -> Result<Vec<u8>, DataError> + Sync,
    writer: &mut PackWriter,
    watch: Watch<'_>,
) -> Result<(), DataError> {
    for (chunk, part) in files.chunks(CHUNK).enumerate() {
        let pictures = part
            .par_iter()
            .map(|file| decode(file))
            .collect::<Result<Vec<_>, _>>()?;
        for picture in &pictures {
            writer.push(picture)?;
        }
        watch(chunk * CHUNK + part.len(), files.len());
    }
    Ok(())
}

/// `[H, W, C]`, squashed to `shape` where it has another size (Lanczos, as the field's scripts do; the aspect ratio is
/// not kept).
fn picture(file: &FoundFile, shape: ImageShape) -> Result<Vec<u8>, DataError> {
    let bad = |problem: String| DataError::BadImage {
        file: file.display(),
        problem,
    };
    let decoded = decode(&file.read()?)
        .map_err(|error| bad(format!("is no readable JPEG or PNG ({error})")))?;
    let (width, height) = (shape.width as u32, shape.height as u32);
    let sized = if (decoded.width(), decoded.height()) == (width, height) {
        decoded
    } else {
        decoded.resize_exact(width, height, FilterType::Lanczos3)
    };
    Ok(if shape.channels == 1 {
        sized.into_luma8().into_raw()
    } else {
        sized.into_rgb8().into_raw()
    })
}

/// By content, not by extension: mini-ImageNet copies hold PNGs named `.jpg`.
fn decode(bytes: &[u8]) -> Result<DynamicImage, image::ImageError> {
    let mut reader = image::ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    reader.limits(limits);
    reader.decode()
}

/// The places that were searched, for a message.
pub(super) fn searched(from: &[PathBuf]) -> String {
    list_names(from.iter().map(|path| path.display()), 5)
}

/// A class and its pictures, in order.
pub(super) type ClassFiles = (String, Vec<FoundFile>);

/// Writes all classes as a pack; `metadata.class_names` are filled in.
pub(super) fn write_classes(
    output: &Path,
    classes: &[ClassFiles],
    shape: ImageShape,
    mut metadata: PackMetadata,
    watch: Watch<'_>,
) -> Result<(), DataError> {
    metadata.class_names = classes.iter().map(|(name, _)| name.clone()).collect();
    metadata.notes.insert(
        "resize_filter".to_owned(),
        format!("lanczos to {shape} where of another size, aspect ratio not kept"),
    );
    let sizes: Vec<usize> = classes.iter().map(|(_, files)| files.len()).collect();
    let files: Vec<&FoundFile> = classes.iter().flat_map(|(_, files)| files).collect();
    let mut writer = PackWriter::create(output, shape, &sizes, metadata)?;
    write_pictures(&files, |file| picture(file, shape), &mut writer, watch)?;
    writer.finish()
}
