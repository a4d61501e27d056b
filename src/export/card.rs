//! The card of a generated CNN: a summary on one page, as HTML for people and as JSON for programs.

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

/// Text in place of the accuracy if no picture could be held out.
pub const NOT_KNOWN: &str =
    "not known: no class has two pictures; measure it on other pictures with `evaluate-folder`";

/// Text in place of the accuracy if pictures could have been held out but were not, because each costs a generation.
const NOT_MEASURED: &str = "not measured with `generate --list`; measure it with `generate --support` or `evaluate-folder`";

/// The card of a generated CNN.
#[derive(Clone, Debug, Serialize)]
pub struct Card {
    /// Name of the CNN.
    pub name: String,
    /// Classes, in the order of the logits.
    pub classes: Vec<CardClass>,
    /// Number of unlabelled pictures that were used.
    pub unlabeled: usize,
    /// Numbers of parameters and multiply-adds.
    #[serde(flatten)]
    pub cost: Cost,
    /// Size of the ONNX file in bytes.
    pub onnx_bytes: usize,
    /// Size of the safetensors file in bytes.
    pub safetensors_bytes: usize,
    /// Time from prepared pictures to weights, in milliseconds.
    pub generation_milliseconds: f64,
    /// Leave-one-out accuracy, if it was measured.
    pub held_out: Option<HeldOut>,
    /// Why it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out_missing: Option<&'static str>,
    /// How a picture is prepared.
    pub preprocessing: String,
    /// The run that generated the CNN.
    pub origin: Origin,
}

/// A class and its labelled pictures.
#[derive(Clone, Debug, Serialize)]
pub struct CardClass {
    /// Name of the class.
    pub label: String,
    /// Files of its pictures.
    pub pictures: Vec<String>,
}

/// Leave-one-out accuracy: each picture is classified by the CNN generated from all others.
#[derive(Clone, Debug, Serialize)]
pub struct HeldOut {
    /// Number of pictures that were held out.
    pub pictures: usize,
    /// Number of correct answers.
    pub right: usize,
    /// Fraction of correct answers.
    pub accuracy: f64,
    /// Lower and upper end of Wilson's 95 % interval.
    pub interval: [f64; 2],
    /// Number of labelled pictures.
    #[serde(rename = "of")]
    pub available: usize,
    text: String,
}

impl HeldOut {
    /// Summarises `answers` to some or all of `pictures` labelled pictures.
    pub fn new(answers: &Answers, pictures: usize) -> HeldOut {
        HeldOut {
            available: pictures,
            pictures: answers.total(),
            right: answers.right(),
            accuracy: answers.accuracy(),
            interval: answers.interval(),
            text: answers.to_string(),
        }
    }
}

impl Card {
    /// Describes `cnn`, which was generated from `support` and `unlabeled` unlabelled pictures. `sizes` are the sizes
    /// of its ONNX and safetensors files in bytes.
    ///
    /// # Errors
    /// If the layers of `cnn` do not fit together.
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

    /// Renders a self-contained HTML page that shows the pictures as the model saw them.
    pub fn html(&self, support: &LabelledPictures, preparation: &Preparation) -> String {
        let mut rows = String::new();
        for (class, of_class) in self.classes.iter().enumerate() {
            let mut pictures = String::new();
            for picture in &support.pictures {
                if picture.class == class {
                    let source = data_url(&picture.pixels, preparation);
                    let file = escape_html(&picture.file.display().to_string());
                    let _ = write!(
                        pictures,
                        r#"<img src="{source}" alt="{file}" title="{file}">"#
                    );
                }
            }
            let label = escape_html(&of_class.label);
            let _ = writeln!(rows, "<tr><th>{label}</th><td>{pictures}</td></tr>");
        }
        let held_out = self.held_out.as_ref().map_or_else(
            || self.held_out_missing.unwrap_or_default().to_owned(),
            |held_out| {
                format!(
                    "{}; {} of {} pictures, each classified by the CNN generated from all others",
                    held_out.text, held_out.pictures, held_out.available
                )
            },
        );
        let unlabeled = match self.unlabeled {
            0 => String::new(),
            count => format!(" and {count} unlabelled ones"),
        };
        let facts = [
            ("classes", self.classes.len().to_string()),
            ("held-out accuracy", held_out),
            ("parameters", self.cost.parameters.to_string()),
            (
                "multiply-adds",
                format!("{} per picture", self.cost.multiply_adds),
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
                "generated",
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
            .map(|(name, value)| {
                format!("<tr><th>{name}</th><td>{}</td></tr>\n", escape_html(value))
            })
            .collect();
        let name = escape_html(&self.name);
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
<h2>Labelled pictures, as the model saw them</h2>
<table>
{rows}</table>
</body></html>
"#
        )
    }
}

/// Encodes a picture, `[C, H, W]` bytes, as a PNG in a data URL; returns an empty string if that fails.
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

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
