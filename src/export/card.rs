//! What a generated CNN is, on one page: for people as HTML, for programs as JSON.
use std::fmt::Write;
use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use image::{GrayImage, ImageFormat, RgbImage};
use serde::Serialize;

use crate::evaluate::answers::Answers;
use crate::export::standalone::{Cost, Origin, StandaloneCnn};
use crate::pictures::labelled::LabelledPictures;
use crate::pictures::preparation::Preparation;

/// What is said of the accuracy where no picture could be held out.
pub const NOT_KNOWN: &str =
    "not known: no class has two pictures; `evaluate-folder` measures it on others";

/// What is said of it where pictures could have been held out and were not: that takes as many CNNs as pictures.
const NOT_MEASURED: &str =
    "not measured with `generate --list`; `generate --support` or `evaluate-folder` measures it";

/// What a generated CNN is.
#[derive(Clone, Debug, Serialize)]
pub struct Card {
    /// Of the CNN.
    pub name: String,
    /// Its classes.
    pub classes: Vec<CardClass>,
    /// Unlabelled pictures that it was made from, too.
    pub unlabeled: usize,
    /// Parameters and multiply-adds.
    #[serde(flatten)]
    pub cost: Cost,
    /// Size of the ONNX file.
    pub onnx_bytes: usize,
    /// Size of the safetensors file.
    pub safetensors_bytes: usize,
    /// From prepared pictures to weights.
    pub generation_milliseconds: f64,
    /// Each picture asked of the CNN that the others give, where there were enough.
    pub held_out: Option<HeldOut>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out_missing: Option<&'static str>,
    /// What is done to a picture before.
    pub preprocessing: String,
    /// The run.
    pub origin: Origin,
}

/// A class and the pictures it was made from.
#[derive(Clone, Debug, Serialize)]
pub struct CardClass {
    /// Its name.
    pub label: String,
    /// Files.
    pub pictures: Vec<String>,
}

/// Accuracy on pictures that were held out one by one.
#[derive(Clone, Debug, Serialize)]
pub struct HeldOut {
    /// Pictures.
    pub pictures: usize,
    /// Of these, answered right.
    pub right: usize,
    /// Fraction.
    pub accuracy: f64,
    /// Ends of Wilson's 95 % interval.
    pub interval: [f64; 2],
    /// Pictures there were.
    pub of: usize,
    text: String,
}

impl HeldOut {
    /// Of counted answers, some or all of so many pictures.
    pub fn new(answers: &Answers, pictures: usize) -> HeldOut {
        HeldOut {
            of: pictures,
            pictures: answers.total(),
            right: answers.right(),
            accuracy: answers.accuracy(),
            interval: answers.interval(),
            text: answers.to_string(),
        }
    }
}

impl Card {
    /// Of a CNN and what it was made from; `sizes` are the bytes of its ONNX and safetensors files.
    ///
    /// # Errors
    /// If its layers do not fit together.
    pub fn new(
        name: &str,
        cnn: &StandaloneCnn,
        support: &LabelledPictures,
        unlabeled: usize,
        sizes: (usize, usize),
        generation_milliseconds: f64,
        held_out: Option<&Answers>,
    ) -> Result<Card, String> {
        let of_class = |(class, label): (usize, &String)| CardClass {
            label: label.clone(),
            pictures: support
                .pictures
                .iter()
                .filter(|picture| picture.class == class)
                .map(|picture| picture.file.display().to_string())
                .collect(),
        };
        let held_out_missing = match held_out {
            Some(_) => None,
            None if support.counts().iter().any(|&count| count > 1) => Some(NOT_MEASURED),
            None => Some(NOT_KNOWN),
        };
        Ok(Card {
            name: name.to_owned(),
            classes: cnn.labels.iter().enumerate().map(of_class).collect(),
            unlabeled,
            cost: cnn.cost()?,
            onnx_bytes: sizes.0,
            safetensors_bytes: sizes.1,
            generation_milliseconds,
            held_out: held_out.map(|answers| HeldOut::new(answers, support.pictures.len())),
            held_out_missing,
            preprocessing: cnn.preparation.to_string(),
            origin: cnn.origin.clone(),
        })
    }

    /// One page, which needs nothing else; it shows the pictures as the model saw them.
    pub fn html(&self, support: &LabelledPictures, preparation: &Preparation) -> String {
        let mut rows = String::new();
        for (class, of_class) in self.classes.iter().enumerate() {
            let mut pictures = String::new();
            for picture in &support.pictures {
                if picture.class == class {
                    let source = data_url(&picture.pixels, preparation);
                    let file = escaped(&picture.file.display().to_string());
                    let _ = write!(
                        pictures,
                        r#"<img src="{source}" alt="{file}" title="{file}">"#
                    );
                }
            }
            let label = escaped(&of_class.label);
            let _ = writeln!(rows, "<tr><th>{label}</th><td>{pictures}</td></tr>");
        }
        let held_out = self.held_out.as_ref().map_or_else(
            || self.held_out_missing.unwrap_or_default().to_owned(),
            |held_out| {
                format!(
                    "{}; {} of {} pictures, each asked of the CNN that all others give",
                    held_out.text, held_out.pictures, held_out.of
                )
            },
        );
        let unlabeled = match self.unlabeled {
            0 => String::new(),
            count => format!(", and {count} unlabelled ones"),
        };
        let facts = [
            ("classes", self.classes.len().to_string()),
            ("held-out accuracy", held_out),
            ("parameters", self.cost.parameters.to_string()),
            (
                "multiply-adds",
                format!("{} a picture", self.cost.multiply_adds),
            ),
            (
                "size",
                format!(
                    "{} bytes as ONNX, {} as safetensors",
                    self.onnx_bytes, self.safetensors_bytes
                ),
            ),
            ("input", self.preprocessing.clone()),
            (
                "made",
                format!(
                    "from {} pictures{unlabeled} in {:.1} ms by {}, checkpoint step {}, batch-norm {}; {}",
                    support.pictures.len(),
                    self.generation_milliseconds,
                    self.origin.run,
                    self.origin.checkpoint_step,
                    self.origin.batch_norm,
                    self.origin.program
                ),
            ),
        ];
        let facts: String = facts
            .iter()
            .map(|(name, value)| format!("<tr><th>{name}</th><td>{}</td></tr>\n", escaped(value)))
            .collect();
        let name = escaped(&self.name);
        format!(
            r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{name}</title><style>
body {{ font: 16px/1.4 sans-serif; max-width: 50em; margin: 2em auto; padding: 0 1em; }}
th {{ text-align: left; vertical-align: top; padding-right: 1em; white-space: nowrap; }}
img {{ width: 56px; height: 56px; margin: 2px; border: 1px solid #ccc; image-rendering: pixelated; }}
</style></head><body>
<h1>{name}</h1>
<table>
{facts}</table>
<h2>The pictures it was made from, as the model saw them</h2>
<table>
{rows}</table>
</body></html>
"#
        )
    }
}

/// `[C, H, W]` bytes as a PNG in a URL.
fn data_url(pixels: &[u8], preparation: &Preparation) -> String {
    let (width, height) = (preparation.width as u32, preparation.height as u32);
    let area = preparation.width * preparation.height;
    let mut png = Cursor::new(Vec::new());
    let written = match preparation.channels {
        1 => GrayImage::from_raw(width, height, pixels.to_vec())
            .map(|picture| picture.write_to(&mut png, ImageFormat::Png)),
        _ => {
            let interleaved =
                (0..area).flat_map(|place| [0, 1, 2].map(|c| pixels[c * area + place]));
            RgbImage::from_raw(width, height, interleaved.collect())
                .map(|picture| picture.write_to(&mut png, ImageFormat::Png))
        }
    };
    match written {
        Some(Ok(())) => format!("data:image/png;base64,{}", BASE64.encode(png.into_inner())),
        _ => String::new(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
