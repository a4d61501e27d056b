//! `bundle`: packs a run into one file that needs neither the run folder nor the pack.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use hypertransformer::report::console::tell;
use hypertransformer::run::checkpoint::{self, Checkpoint, Progress};
use hypertransformer::run::folder::CheckpointChoice;

use crate::cli::open::writer::open;

#[derive(Args)]
pub(super) struct BundleArguments {
    /// The run folder
    run: PathBuf,
    /// The file to write, e.g. models/mine.safetensors
    #[arg(long, alias = "out", value_name = "FILE")]
    output: PathBuf,
    /// Checkpoint: best (by validation accuracy), last or step-N
    #[arg(long, default_value = "best")]
    checkpoint: CheckpointChoice,
    /// Replace FILE if it exists
    #[arg(long)]
    force: bool,
}

pub(super) fn run(arguments: &BundleArguments) -> anyhow::Result<ExitCode> {
    let output = &arguments.output;
    ensure!(
        arguments.force || !output.exists(),
        "{} exists\nhint: replace it with --force, or name another file with --output",
        output.display()
    );
    let opened = open(&arguments.run, &arguments.checkpoint)?;
    let bundle = Checkpoint {
        optimizer: HashMap::new(),
        progress: Progress::default(),
        preparation: Some(opened.preparation),
        ..opened.saved
    };
    checkpoint::save(output, &opened.model, &bundle)?;
    let bytes = std::fs::metadata(output)?.len();
    tell(format!(
        "{}: {bytes} bytes, checkpoint step {}, for at most {} classes",
        output.display(),
        bundle.step,
        opened.experiment.episode.way
    ))?;
    Ok(ExitCode::SUCCESS)
}
