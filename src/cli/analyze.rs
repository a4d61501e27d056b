//! `analyze`: what a trained model does inside, and what it could do at best.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use hypertransformer::analysis::attention::{attention_maps, write_attention_maps};
use hypertransformer::data::pack::Part;
use hypertransformer::train::evaluation_sampler;

use super::opened_run::{OpenedRun, RunArguments};
use super::oracle::{self, OracleArguments};

#[derive(Subcommand)]
pub(super) enum AnalyzeCommand {
    /// Pictures of who attends to whom while weights are generated (paper, Figures 8 and 9)
    Attention(AnalyzeArguments),
    /// How well the CNN fits when it is trained in the ordinary way on all images of a few classes (paper, Figure 3)
    Oracle(OracleArguments),
}

/// What every analysis asks.
#[derive(Args)]
pub(super) struct AnalyzeArguments {
    #[command(flatten)]
    run: RunArguments,
    /// Classes to draw episodes from
    #[arg(long, default_value = "validation")]
    split: Part,
    /// Number of episodes to average over
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    episodes: u64,
    /// Seed of the episode list
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the files [default: analysis in the run folder]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(super) fn run(command: &AnalyzeCommand) -> anyhow::Result<ExitCode> {
    match command {
        AnalyzeCommand::Attention(arguments) => attention(arguments),
        AnalyzeCommand::Oracle(arguments) => oracle::run(arguments),
    }
}

fn attention(arguments: &AnalyzeArguments) -> anyhow::Result<ExitCode> {
    let run = OpenedRun::open(&arguments.run)?;
    let sampler = evaluation_sampler(&run.experiment, &run.pack, arguments.split, arguments.seed)?;
    let maps = attention_maps(
        &run.trained(),
        &run.experiment.generator,
        &sampler,
        arguments.episodes,
        run.experiment.batch_norm,
    );
    let folder = arguments
        .output
        .clone()
        .unwrap_or_else(|| run.folder.path().join("analysis"));
    let paths = write_attention_maps(&maps, &folder)
        .with_context(|| format!("could not write to {}", folder.display()))?;
    eprintln!(
        "{} {} episodes, checkpoint step {}; rows attend to columns: W weight slices, numbers class slots, U unlabelled",
        arguments.episodes, arguments.split, run.step
    );
    for path in paths {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
