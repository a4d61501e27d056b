//! From a picture file to the input of a model: decoding, grey or colour, inverted values, padding, resizing.

use std::path::Path;

use image::imageops::{FilterType, overlay, resize};
use image::{DynamicImage, GrayImage, Luma};
use serde::{Deserialize, Serialize};

use crate::base::files;
use crate::pack::error::DataError;
use crate::pack::pack::PackMetadata;
use crate::pack::pixels::channels_first;
use crate::pack::shape::{Element, ImageShape};
use crate::pictures::decoding::{LARGEST_FILE, USERS, decode, fit};
use crate::pictures::kinds::Kind;

/// Longest side of a prepared picture in pixels.
const LONGEST_SIDE: usize = 1024;

/// Filter for resizing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Triangle, antialiased; for drawings such as Omniglot's.
    Triangle,
    /// Lanczos with 3 lobes; for photographs.
    Lanczos3,
}

/// Which pictures have their values inverted (255 - x).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Invert {
    /// Models of ink: pictures with a light border, such as paper. Models of photographs: none.
    Auto,
    /// All pictures.
    Yes,
    /// No picture.
    No,
}

/// How a picture file becomes the input of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    /// 1 (grey) or 3 (colour).
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// Filter for resizing.
    pub filter: Filter,
    /// Whether the model was trained on light ink on a dark background, as in Omniglot's packs. Then pictures are made
    /// grey and padded to a square.
    pub ink: bool,
    /// Which pictures have their values inverted.
    pub invert: Invert,
}

impl Preparation {
    /// The preparation that gives pictures the size, channels and values of a pack's images.
    ///
    /// # Errors
    /// If the pack holds embeddings, or its images have neither 1 nor 3 channels.
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
        // Older synthetic packs have no such note.
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

    /// Describes what is wrong with a preparation that was read from a file; `None` if it is valid.
    pub(crate) fn fault(&self) -> Option<String> {
        let [channels, height, width] = self.shape();
        let valid = [1, 3].contains(&channels)
            && [height, width]
                .iter()
                .all(|side| (1..=LONGEST_SIDE).contains(side));
        (!valid).then(|| {
            format!(
                "its pictures are {channels}×{height}×{width}, expected 1 or 3 channels and sides \
                 of 1 to {LONGEST_SIDE}"
            )
        })
    }

    /// `[C, H, W]`: channels, rows, columns.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// Prepares a picture file; returns `[C, H, W]` bytes.
    ///
    /// # Errors
    /// If the file cannot be read or is larger than 256 MiB, or as [`Preparation::bytes`].
    pub fn file(&self, path: &Path) -> Result<Vec<u8>, DataError> {
        let failed = DataError::io("read", path);
        let size = match std::fs::metadata(path) {
            Ok(facts) => facts.len(),
            Err(error) => return Err(failed(error)),
        };
        let name = path.display().to_string();
        let bad = |problem: String| DataError::BadImage {
            file: name.clone(),
            problem,
        };
        // By its name: the content of many RAW files looks like that of a TIFF.
        if let Some(problem) = Kind::of_file(path).problem() {
            return Err(bad(problem));
        }
        if size > LARGEST_FILE {
            return Err(bad(format!(
                "has {size} bytes, expected at most {LARGEST_FILE}"
            )));
        }
        let bytes = files::read(path, LARGEST_FILE).map_err(failed)?;
        self.bytes(&bytes, &name)
    }

    /// Prepares the content of a picture file; returns `[C, H, W]` bytes. `name` is for messages.
    ///
    /// # Errors
    /// If the content is not a picture or not a whole one, a side is shorter than 4 or longer than 16384 pixels, or
    /// decoding would take more than 768 MiB.
    pub fn bytes(&self, content: &[u8], name: &str) -> Result<Vec<u8>, DataError> {
        let prepared = decode(content, USERS, |picture| self.prepared(picture));
        prepared.map_err(|problem| DataError::BadImage {
            file: name.to_owned(),
            problem,
        })
    }

    /// `[C, H, W]` bytes.
    fn prepared(&self, picture: DynamicImage) -> Vec<u8> {
        let filter = match self.filter {
            Filter::Triangle => FilterType::Triangle,
            Filter::Lanczos3 => FilterType::Lanczos3,
        };
        if self.ink {
            let mut grey = picture.into_luma8();
            let light = median_of_border(&grey) > 127;
            if self.invert == Invert::Yes || self.invert == Invert::Auto && light {
                grey.pixels_mut()
                    .for_each(|pixel| pixel.0[0] = 255 - pixel.0[0]);
            }
            let mut grey = squared(grey);
            let (height, width) = (self.height as u32, self.width as u32);
            if grey.dimensions() != (width, height) {
                grey = resize(&grey, width, height, filter);
            }
            return grey.into_raw().repeat(self.channels);
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
        pixels
    }
}

/// Describes the preparation for programs that run an exported model.
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
            (Invert::Yes, _) => formatter.write_str("values inverted, 255 - x; ")?,
            (Invert::Auto, true) => formatter.write_str(
                "values inverted, 255 - x, where the median of the border is above 127 (ink is high, paper is 0); ",
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

/// Pads a picture to a square with the median of its border, so that resizing does not distort it.
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
