//! The model's side of `serve`: from the JSON of a request to a CNN.

use std::io::Cursor;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::StatusCode;
use hypertransformer::export::model_file::onnx_bytes;
use hypertransformer::export::standalone::StandaloneCnn;
use hypertransformer::model::state::Views;
use hypertransformer::pictures::labelled::{LabelledPicture, LabelledPictures};
use image::ImageReader;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use crate::cli::open::writer::OpenedWriter;
use crate::cli::serve::http::{Content, Job, Refusal, Task};

/// Most pictures of a request.
const MOST_PICTURES: usize = 400;
/// Most pixels of all pictures of a request, enough for 400 of 204×204 or one of 4000×3000. Each picture counts as the
/// square of its longer side, because models of ink pad it to a square. A few compressed kilobytes can hold billions of
/// pixels, while this many are decoded and prepared within about a second in every format.
const MOST_PIXELS: u64 = 1 << 24;
/// Longest name of a class in characters.
const LONGEST_NAME: usize = 100;

/// The body of `/generate` and `/onnx`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drawings {
    classes: Vec<DrawnClass>,
    /// A picture file to be classified, in base64.
    #[serde(default)]
    question: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DrawnClass {
    name: String,
    /// Picture files in base64.
    pictures: Vec<String>,
}

/// The picture files of a request, decoded from base64.
struct Files {
    /// Labelled pictures, each with the index of its class.
    support: Vec<(usize, File)>,
    /// The picture to be classified.
    question: Option<File>,
}

/// A picture file and its name in messages.
struct File {
    name: String,
    bytes: Vec<u8>,
}

/// An opened model that answers requests.
pub(super) struct Answers<'a> {
    opened: &'a OpenedWriter,
    views: Views,
}

impl Answers<'_> {
    pub(super) fn new(opened: &OpenedWriter) -> Answers<'_> {
        Answers {
            opened,
            views: opened.writer.views(&opened.state),
        }
    }

    /// What the page has to know of the model.
    pub(super) fn model(&self) -> Content {
        let preparation = self.opened.writer.preparation();
        Content::json(&json!({
            "way": self.opened.writer.way(),
            "ink": preparation.ink,
            "height": preparation.height,
            "width": preparation.width,
        }))
    }

    /// Answers requests in turn until the sender of the queue is dropped.
    pub(super) fn serve(&self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            if job.reply.is_closed() {
                continue;
            }
            let answer = match job.task {
                Task::Generate => self.generate(&job.body),
                Task::Onnx => self.onnx(&job.body),
            };
            // The client may have closed its connection meanwhile.
            let _ = job.reply.send(answer);
        }
    }

    /// Writes the CNN and, if a picture is asked about, classifies it.
    fn generate(&self, body: &[u8]) -> Result<Content, Refusal> {
        let (support, question) = self.pictures(body)?;
        let start = Instant::now();
        let cnn = self.write(&support)?;
        let milliseconds = 1000.0 * start.elapsed().as_secs_f64();
        let answer = question.map(|pixels| {
            let probabilities = cnn.probabilities(&pixels);
            cnn.labels.iter().zip(probabilities).collect::<Vec<_>>()
        });
        let cost = cnn
            .cost()
            .map_err(|problem| Refusal(StatusCode::INTERNAL_SERVER_ERROR, problem))?;
        Ok(Content::json(&json!({
            "milliseconds": milliseconds,
            "parameters": cost.parameters,
            "multiply_adds": cost.multiply_adds,
            "answer": answer,
        })))
    }

    fn onnx(&self, body: &[u8]) -> Result<Content, Refusal> {
        let (support, _) = self.pictures(body)?;
        Ok(Content::file(onnx_bytes(&self.write(&support)?)))
    }

    fn write(&self, support: &LabelledPictures) -> Result<StandaloneCnn, Refusal> {
        let cnn = self.opened.writer.write(&self.views, support, &[]);
        cnn.map_err(|error| bad_request(error.to_string()))
    }

    /// The support set and the picture to be classified, prepared.
    fn pictures(&self, body: &[u8]) -> Result<(LabelledPictures, Option<Vec<u8>>), Refusal> {
        let drawings: Drawings = serde_json::from_slice(body)
            .map_err(|error| bad_request(format!("not what the page sends ({error})")))?;
        let classes = class_names(&drawings)?;
        let files = files(&drawings)?;
        check_pixels(&files)?;
        let mut support = LabelledPictures {
            classes,
            pictures: Vec::new(),
        };
        for (class, file) in files.support {
            support.pictures.push(LabelledPicture {
                pixels: self.prepared(&file)?,
                file: file.name.into(),
                class,
            });
        }
        let question = files
            .question
            .map(|file| self.prepared(&file))
            .transpose()?;
        Ok((support, question))
    }

    /// The pixels `[C, H, W]` that the model reads.
    fn prepared(&self, file: &File) -> Result<Vec<u8>, Refusal> {
        let preparation = self.opened.writer.preparation();
        let prepared = preparation.bytes(&file.bytes, &file.name);
        prepared.map_err(|error| bad_request(error.to_string()))
    }
}

/// The names of the classes, after checking everything but the content of the pictures.
fn class_names(drawings: &Drawings) -> Result<Vec<String>, Refusal> {
    let pictures = drawings.classes.iter().map(|class| class.pictures.len());
    let count: usize = pictures.sum();
    if count > MOST_PICTURES {
        let text = format!("{count} pictures, expected at most {MOST_PICTURES}");
        return Err(bad_request(text));
    }
    if drawings.classes.len() < 2 {
        return Err(bad_request("draw at least two classes".to_owned()));
    }
    let mut names: Vec<String> = Vec::new();
    for DrawnClass { name, pictures } in &drawings.classes {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > LONGEST_NAME {
            return Err(bad_request(format!(
                "class {}: expected a name of 1 to {LONGEST_NAME} characters",
                names.len() + 1
            )));
        }
        if names.iter().any(|known| known == name) {
            return Err(bad_request(format!("two classes are called `{name}`")));
        }
        if pictures.is_empty() {
            return Err(bad_request(format!("class `{name}` has no picture")));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

fn files(drawings: &Drawings) -> Result<Files, Refusal> {
    let mut support = Vec::new();
    for (class, drawn) in drawings.classes.iter().enumerate() {
        for (index, content) in drawn.pictures.iter().enumerate() {
            let name = format!("{}, picture {}", drawn.name.trim(), index + 1);
            support.push((class, file(name, content)?));
        }
    }
    let question = drawings.question.as_ref();
    let question = question
        .map(|content| file("the picture to be classified".to_owned(), content))
        .transpose()?;
    Ok(Files { support, question })
}

fn file(name: String, base64: &str) -> Result<File, Refusal> {
    match BASE64.decode(base64) {
        Ok(bytes) => Ok(File { name, bytes }),
        Err(error) => Err(bad_request(format!("{name} is not in base64 ({error})"))),
    }
}

/// Refuses too many pixels by what the headers of the files say, before anything is decoded.
fn check_pixels(files: &Files) -> Result<(), Refusal> {
    let support = files.support.iter().map(|(_, file)| file);
    let mut pixels: u64 = 0;
    for file in support.chain(&files.question) {
        let reader = ImageReader::new(Cursor::new(&file.bytes)).with_guessed_format();
        // The decoder refuses a file without dimensions and says why.
        let Some((width, height)) = reader.ok().and_then(|reader| reader.into_dimensions().ok())
        else {
            continue;
        };
        let side = u64::from(width.max(height));
        pixels = pixels.saturating_add(side.saturating_mul(side));
        if pixels > MOST_PIXELS {
            return Err(bad_request(format!(
                "{} is {width}×{height} pixels: padded to squares, the pictures up to it have more than {MOST_PIXELS} \
                 pixels; send smaller ones",
                file.name
            )));
        }
    }
    Ok(())
}

fn bad_request(text: String) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, text)
}
