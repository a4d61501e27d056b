//! `episodes export`: writes the list of episodes that `evaluate` uses, for programs in any language.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use hypertransformer::episode::episode::{EpisodeDraw, EpisodeShape};
use hypertransformer::episode::list::write_episode_list;
use hypertransformer::episode::sampler::EpisodeSampler;
use hypertransformer::pack::part::Part;
use hypertransformer::report::console::say;
use hypertransformer::settings::episode::QuerySampling;

use crate::cli::open::pack::PackArguments;
use crate::cli::output::ensure_replaceable;

#[derive(Subcommand)]
pub(super) enum EpisodesCommand {
    /// Write the image indices of episodes as one safetensors file; `evaluate` with the same sizes, split and seed uses
    /// exactly these
    Export(ExportArguments),
}

#[derive(Args)]
pub(super) struct ExportArguments {
    /// The pack
    pack: PathBuf,
    #[command(flatten)]
    intact: PackArguments,
    /// Part of the classes to draw episodes from: train, validation or test
    #[arg(long, default_value = "test")]
    split: Part,
    /// Name of the class split [default: the default split of the pack]
    #[arg(long, value_name = "NAME")]
    scheme: Option<String>,
    /// Number of classes in an episode
    #[arg(long, default_value_t = 20, value_parser = count(2))]
    way: u64,
    /// Labelled images per class
    #[arg(long, default_value_t = 1, value_parser = count(1))]
    shot: u64,
    /// Query images per class, as episode.evaluation_query of an experiment
    #[arg(long, default_value_t = 5, value_parser = count(1))]
    query: u64,
    /// Unlabelled images per class in the support set
    #[arg(long, default_value_t = 0, value_parser = count(0))]
    unlabeled: u64,
    /// Number of further classes that have only unlabelled images
    #[arg(long, default_value_t = 0, value_parser = count(0))]
    distractors: u64,
    /// Draw queries from all images of a class, including support images, as `evaluate --overlapping` does
    #[arg(long)]
    overlapping: bool,
    /// Number of episodes
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    episodes: u64,
    /// Seed of the episode list
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The file to write
    #[arg(long, value_name = "FILE.safetensors")]
    output: PathBuf,
}

fn count(least: u64) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(least..=10_000)
}

pub(super) fn run(command: &EpisodesCommand) -> anyhow::Result<ExitCode> {
    let EpisodesCommand::Export(arguments) = command;
    // The name of a tensor in the header of a list.
    let is_list = |head: &[u8]| head.windows(14).any(|name| name == b"support_labels");
    ensure_replaceable(&arguments.output, "a list of episodes", is_list)?;
    let pack = Arc::new(arguments.intact.open(&arguments.pack)?);
    let default = pack.metadata().default_split.clone();
    let scheme = arguments.scheme.as_deref().unwrap_or(&default);
    let shape = EpisodeShape {
        way: arguments.way as usize,
        shot: arguments.shot as usize,
        unlabeled: arguments.unlabeled as usize,
        distractors: arguments.distractors as usize,
        query: arguments.query as usize,
    };
    let (part, seed) = (arguments.split, arguments.seed);
    let mut draw = EpisodeDraw::PLAIN;
    if arguments.overlapping {
        draw.query_sampling = QuerySampling::Overlapping;
    }
    let sampler = EpisodeSampler::new(pack, scheme, part, shape, draw, seed)?;
    write_episode_list(&arguments.output, &sampler, arguments.episodes)?;
    say(format!(
        "written: {} ({} episodes of `{scheme}`, {part}, {}-way {}-shot, seed {seed})",
        arguments.output.display(),
        arguments.episodes,
        shape.way,
        shape.shot
    ));
    Ok(ExitCode::SUCCESS)
}
