//! `evaluate`: measures a run on a fixed list of episodes.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use hypertransformer::base::interrupt::{self, INTERRUPTED};
use hypertransformer::base::{atomic, files};
use hypertransformer::evaluate::episodes::evaluate;
use hypertransformer::evaluate::summary::{EpisodeRecord, Summary};
use hypertransformer::pack::part::Part;
use hypertransformer::report::console::{say, tell};
use hypertransformer::run::facts::argv;
use hypertransformer::settings::cnn::BatchNormMode;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::open::run::{OpenedRun, RunArguments, overlap_note};
use crate::cli::output::{ensure_replaceable, has_key};

#[derive(Args)]
pub(super) struct EvaluateArguments {
    #[command(flatten)]
    run: RunArguments,
    /// Part of the classes to draw episodes from: train, validation or test
    #[arg(long, default_value = "test")]
    split: Part,
    /// Number of episodes
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(2..=10_000_000))]
    episodes: u64,
    /// Statistics that normalise the queries [default: as in training]
    #[arg(long, value_enum)]
    batch_norm: Option<BatchNormMode>,
    /// Labelled images per class [default: as in training]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    shot: Option<u64>,
    /// Draw queries from all images of a class, including support images, as the authors' program does. This reproduces
    /// its numbers, but does not measure generalisation from a support set
    #[arg(long)]
    overlapping: bool,
    /// Seed of the episode list
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The summary to write; one record per episode is written beside it as .jsonl [default:
    /// evaluation-<split>-<batch norm>.json in the run folder, with -<shot>shot, -overlapping, -<checkpoint> and
    /// -seed<seed> added where these options are given]
    #[arg(long, value_name = "FILE.json")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &EvaluateArguments) -> anyhow::Result<ExitCode> {
    if let Some(output) = &arguments.output {
        // Otherwise the records, written beside it as .jsonl, could replace the summary or other records.
        ensure!(
            output
                .extension()
                .is_some_and(|extension| extension == "json"),
            "--output {}: expected a name that ends in .json\nhint: use e.g. --output {0}.json",
            output.display()
        );
    }
    let mut run = OpenedRun::open(&arguments.run)?;
    let mode = arguments.batch_norm.unwrap_or(run.experiment.batch_norm);
    let mut name = format!("evaluation-{}-{mode}", arguments.split);
    if let Some(shot) = arguments.shot {
        run.experiment.episode.shot = shot as usize;
        name += &format!("-{shot}shot");
    }
    if arguments.overlapping {
        name += "-overlapping";
    }
    let sampler = run.sampler(arguments.split, arguments.overlapping, arguments.seed)?;
    let checkpoint = run.checkpoint.file_stem().unwrap_or_default();
    if checkpoint != "best" {
        name += &format!("-{}", checkpoint.display());
    }
    if arguments.seed != 0 {
        name += &format!("-seed{}", arguments.seed);
    }
    let default = || run.folder.path().join(name + ".json");
    let output = arguments.output.clone().unwrap_or_else(default);
    let records_path = output.with_extension("jsonl");
    for (path, key) in [(&output, "accuracy_mean"), (&records_path, "accuracy")] {
        ensure_replaceable(path, "an evaluation", |head| has_key(head, key))?;
    }
    let earlier = files::read_text(&output, files::LARGEST_TABLE).unwrap_or_default();
    let earlier: Value = serde_json::from_str(&earlier).unwrap_or_default();
    let longer = earlier["episodes"]
        .as_u64()
        .filter(|&count| count > arguments.episodes);
    ensure!(
        longer.is_none(),
        "{} has an evaluation of {} episodes, which one of {} would replace\nhint: name another file with --output",
        output.display(),
        longer.unwrap_or_default(),
        arguments.episodes
    );
    atomic::sweep(atomic::folder_of(&output));
    interrupt::stops_within_a_second("stopping: nothing is written");
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} episodes  {msg}  eta {eta}")?;
    let bar = ProgressBar::new(arguments.episodes).with_style(style);
    let records = evaluate(
        &run.compute,
        &run.trained(),
        &sampler,
        arguments.episodes,
        mode,
        |records| {
            bar.set_position(records.len() as u64);
            bar.set_message(Summary::of(records).to_string());
            !interrupt::asked()
        },
    );
    bar.finish_and_clear();
    if records.len() as u64 != arguments.episodes {
        say(format!(
            "interrupted after {} episodes, nothing is written",
            records.len()
        ));
        return Ok(ExitCode::from(INTERRUPTED));
    }
    run.pack.check_unchanged()?;
    let summary = Summary::of(&records);
    ensure!(
        summary.loss_mean.is_finite(),
        "{} computes logits that are not finite",
        run.checkpoint.display()
    );
    let mut object = serde_json::to_value(summary)?;
    let facts = json!({
        "split": arguments.split,
        "batch_norm": mode,
        "query_sampling": sampler.draw().query_sampling,
        "seed": arguments.seed,
        "checkpoint": run.checkpoint.display().to_string(),
        "checkpoint_step": run.step,
        "pack": run.experiment.data.pack.display().to_string(),
        "scheme": sampler.scheme(),
        "pack_content_hash": run.pack.metadata().content_hash,
        "way": sampler.shape().way,
        "shot": sampler.shape().shot,
        "unlabeled": sampler.shape().unlabeled,
        "distractors": sampler.shape().distractors,
        "query": sampler.shape().query,
        "command": argv().join(" "),
    });
    if let (Some(object), Some(facts)) = (object.as_object_mut(), facts.as_object()) {
        object.extend(facts.clone());
    }
    let files = [
        (&records_path, lines(&records)?),
        (&output, serde_json::to_vec_pretty(&object)?),
    ];
    atomic::write_set(&files).with_context(|| format!("could not write {}", output.display()))?;
    tell(format!(
        "{} accuracy {} ({} episodes, 95 % interval, batch-norm {mode}{}, {}-way {}-shot, checkpoint step {})",
        arguments.split,
        summary,
        summary.episodes,
        overlap_note(arguments.overlapping),
        sampler.shape().way,
        sampler.shape().shot,
        run.step,
    ))?;
    say(format!(
        "written: {} and {}",
        output.display(),
        records_path.display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn lines(records: &[EpisodeRecord]) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    for record in records {
        serde_json::to_writer(&mut text, record)?;
        writeln!(text)?;
    }
    Ok(text)
}
