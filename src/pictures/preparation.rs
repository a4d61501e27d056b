//! How a picture file becomes what a model reads: decoded, made grey or colour, turned over, squared, resized.
use std::path::Path;

use image::imageops::{FilterType, overlay, resize};
use image::{DynamicImage, GrayImage, ImageDecoder, ImageReader, Luma};
use serde::{Deserialize, Serialize};

use crate::pack::error::DataError;
use crate::pack::pack::{Element, ImageShape, PackMetadata};
use crate::pack::pixels::channels_first;
use crate::pictures::decoding::{LARGEST_SIDE, fit, on_white};

/// Smallest side: less than this shows nothing.
const SMALLEST_SIDE: u32 = 4;
/// Largest file in bytes.
const LARGEST_FILE: u64 = 256 << 20;

/// Which filter resizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Triangle, antialiased (Omniglot).
    Triangle,
    /// Lanczos of 3 lobes (photographs).
    Lanczos3,
}

/// Whether grey values are turned over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Invert {
    /// For models of ink: pictures whose border is light, as paper is. For models of photographs: none.
    Auto,
    /// All.
    Yes,
    /// None.
    No,
}

/// How a picture file becomes what a model reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    /// 1 (grey) or 3 (colour).
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// How it is resized.
    pub filter: Filter,
    /// Whether the model knows light ink on a dark ground, as Omniglot's packs hold it.
    pub ink: bool,
    /// Which pictures are turned over.
    pub invert: Invert,
}

impl Preparation {
    /// As the pictures of a pack were prepared.
    ///
    /// # Errors
    /// If the pack holds embeddings, or images of neither 1 nor 3 channels.
    pub fn of_pack(
        path: &Path,
        shape: ImageShape,
        metadata: &PackMetadata,
    ) -> Result<Preparation, DataError> {
        if shape.element != Element::Byte || ![1, 3].contains(&shape.channels) {
            return Err(DataError::BadPack {
                path: path.to_path_buf(),
                problem: format!("its images are {shape}, expected pictures, grey or in colour"),
            });
        }
        let note = |key: &str, start: &str| {
            let value = metadata.notes.get(key);
            value.is_some_and(|value| value.starts_with(start))
        };
        // Synthetic packs of old do not say so.
        let ink = note("ink", "high") || metadata.name == "synthetic";
        Ok(Preparation {
            channels: shape.channels,
            height: shape.height,
            width: shape.width,
            filter: match ink || note("resize_filter", "triangle") {
                true => Filter::Triangle,
                false => Filter::Lanczos3,
            },
            ink,
            invert: Invert::Auto,
        })
    }

    /// Channels, rows, columns.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// A picture file as `[C, H, W]` bytes.
    ///
    /// # Errors
    /// If it cannot be read, is no picture, or is too small or too large.
    pub fn file(&self, path: &Path) -> Result<Vec<u8>, DataError> {
        let failed = DataError::io("read", path);
        let size = match std::fs::metadata(path) {
            Ok(facts) => facts.len(),
            Err(error) => return Err(failed(error)),
        };
        if size > LARGEST_FILE {
            return Err(DataError::BadImage {
                file: path.display().to_string(),
                problem: format!("has {size} bytes, expected at most {LARGEST_FILE}"),
            });
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        self.bytes(&bytes, &path.display().to_string())
    }

    /// The same of a file's content; `name` is for messages.
    ///
    /// # Errors
    /// If it is no picture, or is too small or too large.
    pub fn bytes(&self, content: &[u8], name: &str) -> Result<Vec<u8>, DataError> {
        let picture = decode(content).map_err(|problem| DataError::BadImage {
            file: name.to_owned(),
            problem,
        })?;
        let filter = match self.filter {
            Filter::Triangle => FilterType::Triangle,
            Filter::Lanczos3 => FilterType::Lanczos3,
        };
        if self.ink {
            let mut grey = picture.into_luma8();
            let ground = median_of_border(&grey);
            let light = ground > 127;
            if self.invert == Invert::Yes || self.invert == Invert::Auto && light {
                grey.pixels_mut()
                    .for_each(|pixel| pixel.0[0] = 255 - pixel.0[0]);
            }
            let mut grey = squared(grey);
            let (height, width) = (self.height as u32, self.width as u32);
            if grey.dimensions() != (width, height) {
                grey = resize(&grey, width, height, filter);
            }
            return Ok(grey.into_raw().repeat(self.channels));
        }
        let shape = ImageShape {
            height: self.height,
            width: self.width,
            channels: self.channels,
            element: Element::Byte,
        };
        let mut pixels = vec![0; shape.bytes()];
        channels_first(&fit(picture, shape, filter), shape, &mut pixels);
        if self.invert == Invert::Yes {
            pixels.iter_mut().for_each(|pixel| *pixel = 255 - *pixel);
        }
        Ok(pixels)
    }
}

/// What another program has to do before it runs an exported model.
impl std::fmt::Display for Preparation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (height, width) = (self.height, self.width);
        let filter = match self.filter {
            Filter::Triangle => "triangle (antialiased)",
            Filter::Lanczos3 => "Lanczos",
        };
        formatter.write_str("transparent pixels on white; ")?;
        formatter.write_str(match self.channels {
            1 => "grey (0.2126 R + 0.7152 G + 0.0722 B); ",
            _ => "RGB; ",
        })?;
        match (self.invert, self.ink) {
            (Invert::Yes, _) => formatter.write_str("values turned over, 255 - x; ")?,
            (Invert::Auto, true) => formatter.write_str(
                "values turned over, 255 - x, where the median of the border is above 127 (ink is high, paper is 0); ",
            )?,
            _ => {}
        }
        if self.ink {
            formatter.write_str("padded to a square with the median of the border; ")?;
        }
        write!(
            formatter,
            "resized to {height}x{width} with a {filter} filter; divided by 255; [batch, channel, row, column]"
        )
    }
}

/// By content, not by extension; turned upright as its EXIF data says; transparent places on white.
fn decode(content: &[u8]) -> Result<DynamicImage, String> {
    let none = |error: &dyn std::fmt::Display| {
        format!("is no readable JPEG, PNG, BMP, GIF, TIFF or WebP ({error})")
    };
    let reader = ImageReader::new(std::io::Cursor::new(content)).with_guessed_format();
    let mut decoder = reader
        .map_err(|error| none(&error))?
        .into_decoder()
        .map_err(|error| none(&error))?;
    let (width, height) = decoder.dimensions();
    if width.min(height) < SMALLEST_SIDE || width.max(height) > LARGEST_SIDE {
        return Err(format!(
            "is {width}×{height} pixels, expected {SMALLEST_SIDE} to {LARGEST_SIDE} a side"
        ));
    }
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(2 << 30);
    decoder.set_limits(limits).map_err(|error| none(&error))?;
    let orientation = decoder.orientation().map_err(|error| none(&error))?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| none(&error))?;
    picture.apply_orientation(orientation);
    Ok(on_white(picture))
}

fn median_of_border(picture: &GrayImage) -> u8 {
    let (width, height) = picture.dimensions();
    let mut border: Vec<u8> = (0..width)
        .flat_map(|x| [(x, 0), (x, height - 1)])
        .chain((0..height).flat_map(|y| [(0, y), (width - 1, y)]))
        .map(|(x, y)| picture.get_pixel(x, y).0[0])
        .collect();
    border.sort_unstable();
    border[border.len() / 2]
}

/// In the middle of a square of its ground, so that nothing is distorted.
fn squared(picture: GrayImage) -> GrayImage {
    let (width, height) = picture.dimensions();
    if width == height {
        return picture;
    }
    let side = width.max(height);
    let mut square = GrayImage::from_pixel(side, side, Luma([median_of_border(&picture)]));
    let (left, top) = ((side - width) / 2, (side - height) / 2);
    overlay(&mut square, &picture, i64::from(left), i64::from(top));
    square
}
