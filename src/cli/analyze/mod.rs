//! `analyze`: attention maps and adaptation of a trained model, and the oracle of its CNN.

mod oracle;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use hypertransformer::analysis::attention::{attention_maps, write_attention_maps};
use hypertransformer::base::atomic;
use hypertransformer::evaluate::adaptation::MeanWeights;
use hypertransformer::evaluate::episodes::evaluate;
use hypertransformer::evaluate::summary::{EpisodeRecord, Summary};
use hypertransformer::pack::part::Part;
use hypertransformer::report::console::{say, tell};
use hypertransformer::run::facts::argv;
use hypertransformer::run::folder::ANALYSIS;
use serde_json::json;

use crate::cli::analyze::oracle::OracleArguments;
use crate::cli::open::run::{OpenedRun, RunArguments, overlap_note};

#[derive(Subcommand)]
pub(super) enum AnalyzeCommand {
    /// Draw the attention maps of weight generation (paper, Figures 8 and 9)
    Attention(AnalyzeArguments),
    /// Measure how much generated convolutions vary between tasks, and how much accuracy that gains
    Adaptation(AnalyzeArguments),
    /// Train the CNN directly on all images of a few classes: an upper bound of accuracy (paper, Figure 3)
    Oracle(OracleArguments),
}

/// Options that all analyses of a run share.
#[derive(Args)]
pub(super) struct AnalyzeArguments {
    #[command(flatten)]
    run: RunArguments,
    /// Part of the classes to draw episodes from: train, validation or test
    #[arg(long, default_value = "validation")]
    split: Part,
    /// Number of episodes to average over [default: 1; adaptation: 200]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    episodes: Option<u64>,
    /// Draw queries from all images of a class, including support images, as `evaluate --overlapping` does
    #[arg(long)]
    overlapping: bool,
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
        AnalyzeCommand::Adaptation(arguments) => adaptation(arguments),
        AnalyzeCommand::Oracle(arguments) => oracle::run(arguments),
    }
}

impl AnalyzeArguments {
    fn folder(&self, run: &OpenedRun) -> PathBuf {
        let default = || run.folder.path().join(ANALYSIS);
        self.output.clone().unwrap_or_else(default)
    }
}

fn attention(arguments: &AnalyzeArguments) -> anyhow::Result<ExitCode> {
    let (_, run, loaded) = arguments.run.open()?;
    let sampler = run.sampler(arguments.split, arguments.overlapping, arguments.seed)?;
    let episodes = arguments.episodes.unwrap_or(1);
    let maps = attention_maps(
        &run.trained(&loaded),
        &run.experiment.generator,
        &sampler,
        episodes,
        run.experiment.batch_norm,
    );
    let folder = arguments.folder(&run);
    let paths = write_attention_maps(&maps, &folder)
        .with_context(|| format!("could not write to {}", folder.display()))?;
    say(format!(
        "{episodes} {} episodes, checkpoint step {}; rows attend to columns: W weight slices, numbers class slots, U unlabelled",
        arguments.split, loaded.step
    ));
    for path in paths {
        tell(path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn adaptation(arguments: &AnalyzeArguments) -> anyhow::Result<ExitCode> {
    let (compute, run, loaded) = arguments.run.open()?;
    let sampler = run.sampler(arguments.split, arguments.overlapping, arguments.seed)?;
    let (trained, mode) = (run.trained(&loaded), run.experiment.batch_norm);
    let episodes = arguments.episodes.unwrap_or(200);
    if episodes < 2 {
        bail!("--episodes {episodes}: expected at least 2, because tasks are compared");
    }
    let means = MeanWeights::over_tasks(&trained, &sampler, episodes, mode);
    if means.deviations.is_empty() {
        bail!(
            "{}: no convolution is generated (generator.generates is {}), so there is nothing to compare between tasks",
            run.folder.path().display(),
            run.experiment.generator.generates
        );
    }
    tell("layer  norm of the mean kernel  deviation between tasks  share")?;
    for found in &means.deviations {
        let share = 100.0 * found.share();
        tell(format!(
            "{:<5}  {:<23.4}  {:<23.7}  {share:.4} %",
            found.layer, found.norm, found.deviation
        ))?;
    }
    let own = evaluate(&compute, &trained, &sampler, episodes, mode, |_| true);
    let shared = means.evaluate(&trained, &sampler, episodes, mode);
    let gain = Summary::of(&differences(&own, &shared));
    let points = |share: f64| 100.0 * share;
    let (own, shared) = (Summary::of(&own), Summary::of(&shared));
    tell(format!(
        "{} accuracy {own} with convolutions generated per task, {shared} with their means over tasks: a gain of {:.2} ± {:.2} points ({episodes} episodes, paired, 95 % intervals, batch-norm {mode}{}, checkpoint step {})",
        arguments.split,
        points(gain.accuracy_mean),
        points(gain.accuracy_ci95),
        overlap_note(arguments.overlapping),
        loaded.step
    ))?;
    let path = arguments.folder(&run).join("adaptation.json");
    let object = json!({
        "split": arguments.split,
        "query_sampling": sampler.draw().query_sampling,
        "seed": arguments.seed,
        "step": loaded.step,
        "batch_norm": mode,
        "layers": means.deviations,
        "own": own,
        "means": shared,
        "gain": gain,
        "command": argv().join(" "),
    });
    std::fs::create_dir_all(arguments.folder(&run))
        .and_then(|()| atomic::write(&path, &serde_json::to_vec_pretty(&object)?))
        .with_context(|| format!("could not write {}", path.display()))?;
    say(format!("written: {}", path.display()));
    Ok(ExitCode::SUCCESS)
}

/// Accuracy and loss of `one` minus those of `other`, for each episode.
fn differences(one: &[EpisodeRecord], other: &[EpisodeRecord]) -> Vec<EpisodeRecord> {
    one.iter()
        .zip(other)
        .map(|(one, other)| EpisodeRecord {
            episode: one.episode,
            accuracy: one.accuracy - other.accuracy,
            loss: one.loss - other.loss,
        })
        .collect()
}
