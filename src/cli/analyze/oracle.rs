//! `analyze oracle`: accuracy of the CNN when it is trained directly on all images of some classes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::Args;
use hypertransformer::analysis::oracle::{OracleOptions, oracle};
use hypertransformer::base::atomic;
use hypertransformer::evaluate::summary::Summary;
use hypertransformer::pack::part::Part;
use hypertransformer::report::console::tell;
use hypertransformer::run::assemble::evaluation_sampler;
use hypertransformer::run::facts::argv;
use hypertransformer::settings::train::Precision;
use indicatif::ProgressBar;
use serde_json::json;

use crate::cli::open::pack::{PackArguments, ensure_pack};
use crate::cli::output::{ensure_replaceable, has_key};
use crate::cli::shared::{ComputeArguments, SettingsArguments};

#[derive(Args)]
pub(in crate::cli) struct OracleArguments {
    /// The experiment, whose CNN, pack and number of classes are used
    experiment: PathBuf,
    #[command(flatten)]
    settings: SettingsArguments,
    /// Part of the classes to draw from: train, validation or test
    #[arg(long, default_value = "train")]
    split: Part,
    /// Number of random sets of classes, with one oracle each
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..=100_000))]
    sets: u64,
    /// Number of training steps per oracle, each on all images
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    steps: u64,
    /// Highest learning rate (AdamW with warm-up and cosine schedule)
    #[arg(long, default_value_t = 0.02)]
    learning_rate: f64,
    /// Seed of the sets
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Also write a JSON summary to this file
    #[arg(long, value_name = "FILE.json")]
    output: Option<PathBuf>,
    #[command(flatten)]
    pack: PackArguments,
    #[command(flatten)]
    compute: ComputeArguments,
}

pub(in crate::cli) fn run(arguments: &OracleArguments) -> anyhow::Result<ExitCode> {
    let rate = arguments.learning_rate;
    ensure!(
        rate.is_finite() && rate > 0.0,
        "--learning-rate {rate}: expected a number more than 0"
    );
    if let Some(output) = &arguments.output {
        ensure_replaceable(output, "a summary of oracles", |head| has_key(head, "sets"))?;
    }
    let experiment = arguments.settings.load(&arguments.experiment)?.experiment;
    let compute = arguments.compute.start(Precision::Full)?;
    ensure_pack(&experiment.data.pack, false)?;
    let pack = Arc::new(arguments.pack.open(&experiment.data.pack)?);
    let sampler = evaluation_sampler(&experiment, &pack, arguments.split, arguments.seed)?;
    let options = OracleOptions {
        steps: arguments.steps,
        learning_rate: arguments.learning_rate,
    };
    let bar = ProgressBar::new(arguments.sets);
    let sets: Vec<u64> = (0..arguments.sets).collect();
    let mut records = Vec::new();
    for part in sets.chunks(compute.threads) {
        records.extend(oracle(&compute, &experiment.cnn, &sampler, part, options)?);
        bar.set_position(records.len() as u64);
    }
    bar.finish_and_clear();
    let summary = Summary::of(&records);
    ensure!(
        summary.loss_mean.is_finite(),
        "the weights of the oracles are not finite\nhint: try a lower --learning-rate"
    );
    let way = sampler.shape().way;
    tell(format!(
        "oracle, {} channels: accuracy {summary} on its own training images ({} sets of {way} {} classes, 95 % interval, batch-norm of all images)",
        experiment.cnn.channels, summary.episodes, arguments.split,
    ))?;
    if let Some(output) = &arguments.output {
        let object = json!({
            "summary": summary,
            "options": options,
            "split": arguments.split,
            "seed": arguments.seed,
            "sets": records,
            "command": argv().join(" "),
        });
        atomic::write(output, &serde_json::to_vec_pretty(&object)?)
            .with_context(|| format!("could not write {}", output.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
