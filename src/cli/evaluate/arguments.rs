//! The options of `evaluate`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use hypertransformer::pack::part::Part;
use hypertransformer::run::folder::CheckpointChoice;
use hypertransformer::settings::cnn::BatchNormMode;

use crate::cli::open::pack::PackArguments;
use crate::cli::shared::ComputeArguments;

#[derive(Args)]
pub(in crate::cli) struct EvaluateArguments {
    /// The run folders. A table of all follows if there are several
    #[arg(required = true, value_name = "RUN")]
    pub(super) runs: Vec<PathBuf>,
    /// Checkpoint to load: best (by validation accuracy), last, step-N, or all: each that the run has, in the order of
    /// steps
    #[arg(long, default_value = "best", value_name = "CHECKPOINT")]
    pub(super) checkpoint: Checkpoints,
    /// Part of the classes to draw episodes from: train, validation or test
    #[arg(long, default_value = "test")]
    pub(super) split: Part,
    /// Number of episodes
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(2..=10_000_000))]
    pub(super) episodes: u64,
    /// Statistics that normalise the queries [default: as in training]
    #[arg(long, value_enum)]
    pub(super) batch_norm: Option<BatchNormMode>,
    /// Classes per episode, at most as in training: the first slots of the logits are used, as in `generate` with fewer
    /// classes [default: as in training]
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..=100_000))]
    pub(super) way: Option<u64>,
    /// Labelled images per class [default: as in training]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(super) shot: Option<u64>,
    /// Queries per class [default: episode.evaluation_query of the run]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(super) query: Option<u64>,
    /// Draw queries from all images of a class, including support images, as the authors' program does. This reproduces
    /// its numbers, but does not measure generalisation from a support set
    #[arg(long)]
    pub(super) overlapping: bool,
    /// Another pack to draw episodes from, with images of the same size. The split is the one of the run's name, or else
    /// the pack's default [default: the run's pack, looked for by its contents if it was moved]
    #[arg(long, value_name = "FILE")]
    pub(super) pack: Option<PathBuf>,
    /// Seed of the episode list
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// The summary to write; one record per episode is written beside it as .jsonl [default:
    /// evaluation-<split>-<batch norm>.json in the run folder, with -<way>way, -<shot>shot, -<query>query, -overlapping,
    /// -on-<pack>, -<checkpoint> and -seed<seed> added where these options are given]
    #[arg(long, value_name = "FILE.json")]
    pub(super) output: Option<PathBuf>,
    #[command(flatten)]
    pub(super) verify: PackArguments,
    #[command(flatten)]
    pub(super) compute: ComputeArguments,
}

/// Which checkpoints of a run to evaluate.
#[derive(Clone, Debug)]
pub(super) enum Checkpoints {
    All,
    One(CheckpointChoice),
}

impl FromStr for Checkpoints {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Checkpoints::All),
            _ => CheckpointChoice::from_str(text)
                .map(Checkpoints::One)
                .map_err(|_| format!("`{text}`: expected best, last, step-N or all")),
        }
    }
}
