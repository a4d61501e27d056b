//! One CNN to write from pictures, and its files.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};
use hypertransformer::base::atomic;
use hypertransformer::evaluate::answers::Answers;
use hypertransformer::export::card::Card;
use hypertransformer::export::generation::CnnWriter;
use hypertransformer::export::model_file::{onnx_bytes, safetensors_bytes};
use hypertransformer::export::standalone::StandaloneCnn;
use hypertransformer::model::state::Views;
use hypertransformer::pictures::labelled::{Expected, LabelledPictures, unlabeled_pictures};
use hypertransformer::pictures::remarks::Remarks;

/// One CNN to write.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Task {
    pub(in crate::cli) support: PathBuf,
    pub(in crate::cli) unlabeled: Option<PathBuf>,
    /// Whether to pass over pictures that cannot be used.
    pub(in crate::cli) skip_broken: bool,
    /// Name of the files, without an extension.
    pub(in crate::cli) output: PathBuf,
}

/// A CNN and the pictures it was made from.
pub(in crate::cli) struct Made {
    pub(in crate::cli) cnn: StandaloneCnn,
    pub(in crate::cli) support: LabelledPictures,
    pub(in crate::cli) unlabeled: Vec<Vec<u8>>,
    pub(in crate::cli) remarks: Remarks,
    pub(in crate::cli) milliseconds: f64,
}

/// Name of the files, of which the user may have given one: `mine` for `mine.onnx`.
pub(in crate::cli) fn without_extension(name: &Path) -> PathBuf {
    match name.extension().and_then(|extension| extension.to_str()) {
        Some("onnx" | "safetensors" | "html" | "json") => name.with_extension(""),
        _ => name.to_path_buf(),
    }
}

/// The path with `end` appended, whatever dots are in it.
pub(in crate::cli) fn appended(path: &Path, end: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(end);
    path.into()
}

/// Checks that extensions can be appended to the name of files that `option` gives.
///
/// # Errors
/// If it is the path of a folder.
pub(in crate::cli) fn ensure_names_files(option: &str, stem: &Path) -> anyhow::Result<()> {
    let folder = stem.as_os_str().as_encoded_bytes().ends_with(b"/");
    ensure!(
        stem.file_name().is_some() && !folder,
        "{option} {}: expected a name for the files, not a folder\nhint: use e.g. {}",
        stem.display(),
        stem.join("mine").display()
    );
    Ok(())
}

impl Task {
    /// Checks that the files can be written.
    ///
    /// # Errors
    /// If the name is a folder, or if a file exists and `force` is not set.
    pub(in crate::cli) fn check(&self, force: bool) -> anyhow::Result<()> {
        ensure_names_files("--output", &self.output)?;
        for extension in ["onnx", "safetensors", "html", "json"] {
            let path = self.file(extension);
            ensure!(
                force || !path.exists(),
                "{} exists\nhint: replace it with --force, or name another with --output",
                path.display()
            );
        }
        Ok(())
    }

    /// Reads the pictures and writes the CNN's weights.
    pub(in crate::cli) fn make(&self, writer: &CnnWriter, views: &Views) -> anyhow::Result<Made> {
        let preparation = writer.preparation();
        let expected = Expected {
            classes: 2,
            skip_broken: self.skip_broken,
        };
        let (support, mut remarks) = LabelledPictures::read(&self.support, preparation, expected)?;
        let mut unlabeled = Vec::new();
        if let Some(folder) = &self.unlabeled {
            let more;
            (unlabeled, more) = unlabeled_pictures(folder, preparation, self.skip_broken)?;
            remarks.extend(more);
        }
        let start = Instant::now();
        let cnn = writer.write(views, &support, &unlabeled)?;
        Ok(Made {
            milliseconds: 1000.0 * start.elapsed().as_secs_f64(),
            cnn,
            support,
            unlabeled,
            remarks,
        })
    }

    /// Writes the four files.
    pub(in crate::cli) fn write(
        &self,
        made: &Made,
        held_out: Option<&Answers>,
    ) -> anyhow::Result<Card> {
        let (onnx, safetensors) = (onnx_bytes(&made.cnn), safetensors_bytes(&made.cnn)?);
        let name = self
            .output
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let card = Card::new(
            &name,
            &made.cnn,
            &made.support,
            made.unlabeled.len(),
            (onnx.len(), safetensors.len()),
            made.milliseconds,
            held_out,
        )
        .map_err(|problem| anyhow!("the generated CNN {problem}"))?;
        let html = card.html(&made.support, &made.cnn.preparation);
        let files = [
            ("safetensors", safetensors),
            ("html", html.into_bytes()),
            ("json", serde_json::to_vec_pretty(&card)?),
            ("onnx", onnx),
        ]
        .map(|(extension, bytes)| (self.file(extension), bytes));
        atomic::write_set(&files)
            .with_context(|| format!("could not write {}", self.output.display()))?;
        Ok(card)
    }

    /// The folder of the files.
    pub(in crate::cli) fn folder(&self) -> &Path {
        atomic::folder_of(&self.output)
    }

    fn file(&self, extension: &str) -> PathBuf {
        appended(&self.output, &format!(".{extension}"))
    }
}
