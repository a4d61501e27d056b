//! `classify`: classifies pictures with a generated CNN, without the Transformer that wrote it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use hypertransformer::pictures::remarks::Remarks;
use hypertransformer::pictures::search::{Files, files_below};
use hypertransformer::report::console::{say, tell};
use serde_json::json;

use crate::cli::failure;
use crate::cli::open::cnn::CnnArguments;

#[derive(Args)]
pub(super) struct ClassifyArguments {
    #[command(flatten)]
    cnn: CnnArguments,
    /// The pictures to classify, or folders of pictures
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How many classes to print for each picture, the most probable first
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// Pass over pictures that cannot be used, and count them
    #[arg(long)]
    skip_broken: bool,
    /// Print one JSON object per line: file, label, probability, top
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &ClassifyArguments) -> anyhow::Result<ExitCode> {
    let cnn = arguments.cnn.open()?;
    let mut remarks = Remarks::default();
    let files = pictures(&arguments.files, &mut remarks)?;
    let mut failed = 0;
    for file in &files {
        let pixels = match cnn.preparation.file(file) {
            Ok(pixels) => pixels,
            Err(error) if arguments.skip_broken => {
                remarks.broken.push(error.to_string());
                continue;
            }
            Err(error) => {
                failed += 1;
                failure::print(&error.into());
                continue;
            }
        };
        remarks.look_at(file, &pixels);
        let probabilities = cnn.probabilities(&pixels);
        let mut ranked: Vec<(&str, f64)> = cnn
            .labels
            .iter()
            .map(String::as_str)
            .zip(probabilities)
            .collect();
        ranked.sort_by(|left, right| right.1.total_cmp(&left.1));
        let (label, probability) = ranked[0];
        ranked.truncate(usize::from(arguments.top));
        let line = if arguments.json {
            let file = file.display().to_string();
            json!({ "file": file, "label": label, "probability": probability, "top": ranked })
                .to_string()
        } else {
            let answer = |(label, probability): &(&str, f64)| format!("{label} {probability:.3}");
            let answers: Vec<String> = ranked.iter().map(answer).collect();
            format!("{}\t{}", file.display(), answers.join("\t"))
        };
        tell(&line)?;
    }
    remarks.lines().iter().for_each(say);
    if failed > 0 {
        say(format!(
            "{failed} of {} files could not be classified",
            files.len()
        ));
    }
    let none_left = remarks.broken.len() == files.len();
    Ok(ExitCode::from(u8::from(failed > 0 || none_left)))
}

/// The files, and the pictures in folders among them.
///
/// # Errors
/// If a folder holds no picture.
fn pictures(paths: &[PathBuf], remarks: &mut Remarks) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let Files { pictures, others } = files_below(path)?;
        ensure!(!pictures.is_empty(), "{} holds no picture", path.display());
        all.extend(pictures);
        remarks.others.extend(others);
    }
    Ok(all)
}
