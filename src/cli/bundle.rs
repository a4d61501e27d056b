//! `bundle`: a run as one file that needs neither its folder nor its pack.
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use hypertransformer::run::checkpoint::{self, Checkpoint};
use hypertransformer::run::folder::CheckpointChoice;

use crate::cli::open::writer::open;

#[derive(Args)]
pub(super) struct BundleArguments {
    /// The run folder
    run: PathBuf,
    /// The file to write, e.g. models/mine.safetensors
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Checkpoint: best (by validation accuracy), last or step-N
    #[arg(long, default_value = "best")]
    checkpoint: CheckpointChoice,
    /// Replace FILE if it is there
    #[arg(long)]
    force: bool,
}

pub(super) fn run(arguments: &BundleArguments) -> anyhow::Result<ExitCode> {
    let out = &arguments.out;
    ensure!(
        arguments.force || !out.exists(),
        "{} is there; replace it with --force, or name another file",
        out.display()
    );
    let opened = open(&arguments.run, &arguments.checkpoint)?;
    let bundle = Checkpoint {
        optimizer: HashMap::new(),
        preparation: Some(opened.preparation),
        ..opened.saved
    };
    checkpoint::save(out, opened.model.layout(), opened.model.buffers(), &bundle)?;
    let bytes = std::fs::metadata(out)?.len();
    println!(
        "{}: {bytes} bytes, checkpoint step {}, for at most {} classes",
        out.display(),
        bundle.step,
        opened.experiment.episode.way
    );
    Ok(ExitCode::SUCCESS)
}
