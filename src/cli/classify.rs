//! `classify`: classifies pictures with a generated CNN, without the Transformer that wrote it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::failure;
use crate::cli::open::cnn::CnnArguments;
use hypertransformer::report::console::{say, tell};

#[derive(Args)]
pub(super) struct ClassifyArguments {
    #[command(flatten)]
    cnn: CnnArguments,
    /// The pictures to classify
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How many classes to print for each picture, the most probable first
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// Print one JSON object per line: file, label, probability, top
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &ClassifyArguments) -> anyhow::Result<ExitCode> {
    let cnn = arguments.cnn.open()?;
    let mut failed = 0;
    for file in &arguments.files {
        let pixels = match cnn.preparation.file(file) {
            Ok(pixels) => pixels,
            Err(error) => {
                failed += 1;
                failure::print(&error.into());
                continue;
            }
        };
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
    if failed > 0 {
        say(format!(
            "{failed} of {} files could not be classified",
            arguments.files.len()
        ));
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}
