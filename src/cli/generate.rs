//! `generate`: pictures of a user's own → a CNN that stands alone, as ONNX and safetensors, with a card.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use hypertransformer::atomic;
use hypertransformer::data::labelled_pictures::{LabelledPictures, unlabeled_pictures};
use hypertransformer::evaluate::answers::Answers;
use hypertransformer::export::card::{Card, NOT_KNOWN};
use hypertransformer::export::generation::CnnWriter;
use hypertransformer::export::model_file::{onnx_bytes, safetensors_bytes};
use hypertransformer::export::standalone::StandaloneCnn;
use hypertransformer::model::hypertransformer::Views;

use super::generate_list;
use super::opened_writer::{OpenedWriter, WriterArguments};

#[derive(Args)]
pub(super) struct GenerateArguments {
    /// The run folder, or a bundle such as models/omniglot-20way.safetensors
    run: PathBuf,
    /// Labelled pictures: a folder of class folders, or a CSV file with the columns file and label
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    support: Option<PathBuf>,
    /// Unlabelled pictures: a folder
    #[arg(long, value_name = "DIR", requires = "support")]
    unlabeled: Option<PathBuf>,
    /// NAME.onnx, NAME.safetensors, NAME.html and NAME.json are written
    #[arg(long, value_name = "NAME", required_unless_present = "list")]
    out: Option<PathBuf>,
    /// Many CNNs in one process: a CSV or .jsonl file with support, out and, if need be, unlabeled of each; paths are
    /// taken from where the list lies
    #[arg(long, value_name = "FILE", conflicts_with_all = ["support", "unlabeled", "out"])]
    list: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    writer: WriterArguments,
}

/// One CNN to make.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) support: PathBuf,
    pub(super) unlabeled: Option<PathBuf>,
    /// Without an extension.
    pub(super) out: PathBuf,
}

/// A CNN and what it was made from.
pub(super) struct Made {
    pub(super) cnn: StandaloneCnn,
    support: LabelledPictures,
    unlabeled: Vec<Vec<u8>>,
    pub(super) milliseconds: f64,
}

pub(super) fn run(arguments: &GenerateArguments) -> anyhow::Result<ExitCode> {
    let opened = OpenedWriter::open(&arguments.run, &arguments.writer)?;
    let (Some(support), Some(out)) = (&arguments.support, &arguments.out) else {
        let list = arguments.list.as_ref().context("--list is missing")?;
        return generate_list::run(&opened, list, arguments.force);
    };
    let task = Task {
        support: support.clone(),
        unlabeled: arguments.unlabeled.clone(),
        out: without_extension(out),
    };
    task.check(arguments.force)?;
    let views = opened.writer.views(&opened.phi, &opened.buffers);
    let made = task.make(&opened.writer, &views)?;
    let held_out = opened.writer.leave_one_out(
        &opened.compute,
        [&opened.phi, &opened.buffers],
        &made.support,
        &made.unlabeled,
    )?;
    let card = task.write(&made, held_out.as_ref())?;
    let name = task.out.display();
    println!(
        "{name}: {} classes from {} pictures in {:.1} ms; {} parameters, {} bytes as ONNX, {} multiply-adds a picture",
        card.classes.len(),
        made.support.pictures.len(),
        card.generation_milliseconds,
        card.cost.parameters,
        card.onnx_bytes,
        card.cost.multiply_adds
    );
    match held_out {
        Some(answers) => println!(
            "held out one by one, {} of {} pictures: {answers}",
            answers.total(),
            made.support.pictures.len()
        ),
        None => println!("accuracy {NOT_KNOWN}"),
    }
    eprintln!("written: {name}.onnx, {name}.safetensors, {name}.html and {name}.json");
    Ok(ExitCode::SUCCESS)
}

/// `mine.onnx` means `mine`.
pub(super) fn without_extension(name: &Path) -> PathBuf {
    match name.extension().and_then(|extension| extension.to_str()) {
        Some("onnx" | "safetensors" | "html" | "json") => name.with_extension(""),
        _ => name.to_path_buf(),
    }
}

/// The path with this at its end, whatever dots are in it.
pub(super) fn appended(path: &Path, end: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(end);
    path.into()
}

/// # Errors
/// If this is the path of a folder: extensions could not be put behind it.
pub(super) fn ensure_names_files(option: &str, stem: &Path) -> anyhow::Result<()> {
    let folder = stem.as_os_str().as_encoded_bytes().ends_with(b"/");
    ensure!(
        stem.file_name().is_some() && !folder,
        "{option} {}: expected a name for the files, e.g. {}",
        stem.display(),
        stem.join("mine").display()
    );
    Ok(())
}

impl Task {
    /// # Errors
    /// If a file would be replaced unasked.
    pub(super) fn check(&self, force: bool) -> anyhow::Result<()> {
        ensure_names_files("--out", &self.out)?;
        for extension in ["onnx", "safetensors", "html", "json"] {
            let path = self.file(extension);
            ensure!(
                force || !path.exists(),
                "{} is there; replace it with --force, or name another with --out",
                path.display()
            );
        }
        Ok(())
    }

    /// Reads the pictures and writes the CNN's weights.
    pub(super) fn make(&self, writer: &CnnWriter, views: &Views) -> anyhow::Result<Made> {
        let preparation = writer.preparation();
        let support = LabelledPictures::read(&self.support, preparation)?;
        let unlabeled = match &self.unlabeled {
            Some(folder) => unlabeled_pictures(folder, preparation)?,
            None => Vec::new(),
        };
        let start = Instant::now();
        let cnn = writer.write(views, &support, &unlabeled)?;
        Ok(Made {
            milliseconds: 1000.0 * start.elapsed().as_secs_f64(),
            cnn,
            support,
            unlabeled,
        })
    }

    /// Writes the four files.
    pub(super) fn write(&self, made: &Made, held_out: Option<&Answers>) -> anyhow::Result<Card> {
        let (onnx, safetensors) = (onnx_bytes(&made.cnn), safetensors_bytes(&made.cnn)?);
        let name = self.out.file_name().unwrap_or_default().to_string_lossy();
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
        for (extension, bytes) in [
            ("onnx", onnx),
            ("safetensors", safetensors),
            ("html", html.into_bytes()),
            ("json", serde_json::to_vec_pretty(&card)?),
        ] {
            let path = self.file(extension);
            atomic::write(&path, &bytes)
                .with_context(|| format!("could not write {}", path.display()))?;
        }
        Ok(card)
    }

    fn file(&self, extension: &str) -> PathBuf {
        appended(&self.out, &format!(".{extension}"))
    }
}
