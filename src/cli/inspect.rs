//! `inspect`: shows an experiment without training it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use hypertransformer::base::files;
use hypertransformer::model::hypertransformer::HyperTransformer;
use hypertransformer::model::map_size::MapSize;
use hypertransformer::model::summary::{LayerSummary, ModelSummary};
use hypertransformer::pack::pack::Pack;
use hypertransformer::report::console::{OutputError, say, tell};
use hypertransformer::settings::experiment::Experiment;
use hypertransformer::settings::file::{Loaded, to_yaml};
use hypertransformer::settings::model::ModelOptions;
use serde_json::json;

use crate::cli::shared::SettingsArguments;

#[derive(Args)]
pub(super) struct InspectArguments {
    /// The experiment, a YAML file (see experiments/)
    experiment: PathBuf,
    #[command(flatten)]
    settings: SettingsArguments,
    /// Channels, height and width of the images [default: as in the pack of the experiment]
    #[arg(long, value_name = "CxHxW", value_parser = image)]
    image: Option<MapSize>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &InspectArguments) -> anyhow::Result<ExitCode> {
    let loaded = arguments.settings.load(&arguments.experiment)?;
    let experiment = &loaded.experiment;
    let image = match arguments.image {
        Some(image) => image,
        None => image_of_pack(experiment)?,
    };
    let model = HyperTransformer::new(&ModelOptions::from(experiment), image)?;
    let episode = &experiment.episode;
    let unlabeled = (episode.way + episode.distractors) * episode.unlabeled;
    let support = episode.way * episode.shot + unlabeled;
    let summary = ModelSummary::new(&model, support, episode.way * episode.query);
    if let Some(note) = experiment.train.shortened_warmup() {
        say(note);
    }
    if arguments.json {
        tell(json!({
            "experiment": experiment,
            "origins": loaded.origins,
            "model": summary,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    tell(with_origins(&loaded))?;
    print(&summary)?;
    Ok(ExitCode::SUCCESS)
}

/// Column of the origins, if the value leaves space.
const ORIGIN_COLUMN: usize = 40;

/// The experiment as YAML, with the origin of each value that is not a default as a comment.
fn with_origins(loaded: &Loaded) -> String {
    let mut text = String::new();
    // The keys that the line is below, with their indentation.
    let mut open: Vec<(usize, String)> = Vec::new();
    for line in to_yaml(&loaded.experiment).lines() {
        let indentation = line.len() - line.trim_start().len();
        let key = line.trim_start().split(':').next().unwrap_or_default();
        open.retain(|(outer, _)| *outer < indentation);
        open.push((indentation, key.to_owned()));
        let keys: Vec<&str> = open.iter().map(|(_, key)| key.as_str()).collect();
        match loaded.origins.get(&keys.join(".")) {
            Some(origin) => text.push_str(&format!("{line:ORIGIN_COLUMN$} # {origin}\n")),
            None => text.push_str(&format!("{line}\n")),
        }
    }
    text
}

fn image(text: &str) -> Result<MapSize, String> {
    let number = |text: &str| {
        text.parse()
            .ok()
            .filter(|number| (1..=4096).contains(number))
    };
    let numbers: Option<Vec<usize>> = text.split(['x', '×']).map(number).collect();
    match numbers.as_deref() {
        Some(&[channels, height, width]) => Ok([channels, height, width].into()),
        _ => Err("expected channels, height and width, e.g. 1x28x28".to_owned()),
    }
}

fn image_of_pack(experiment: &Experiment) -> anyhow::Result<MapSize> {
    let path = &experiment.data.pack;
    if !path.exists() {
        bail!(
            "the pack {} does not exist{}\nhint: give the size of its images instead, e.g. --image 1x28x28",
            path.display(),
            files::place(path)
        );
    }
    let shape = Pack::open(path)
        .with_context(|| format!("could not read the pack {}", path.display()))?
        .shape();
    Ok(shape.into())
}

fn print(model: &ModelSummary) -> Result<(), OutputError> {
    tell("target CNN")?;
    tell(format!(
        "  {:8} {:>12} {:>12} {:>9} {:>13}  weights are",
        "layer", "input", "output", "weights", "multiply-adds"
    ))?;
    for layer in &model.layers {
        tell(format!(
            "  {:8} {:>12} {:>12} {:>9} {:>13}  {}",
            layer.name,
            layer.input.to_string(),
            layer.output.to_string(),
            layer.weights,
            layer.multiply_adds,
            origin(layer),
        ))?;
    }
    tell("generators")?;
    tell(format!(
        "  {:8} {:>15} {:>7} {:>8} {:>13} {:>6} {:>5} {:>10} {:>13}",
        "layer",
        "slices",
        "samples",
        "features",
        "token widths",
        "layers",
        "heads",
        "parameters",
        "multiply-adds"
    ))?;
    for layer in &model.layers {
        if let Some(generator) = &layer.generator {
            tell(format!(
                "  {:8} {:>15} {:>7} {:>8} {:>13} {:>6} {:>5} {:>10} {:>13}",
                layer.name,
                format!("{} of {}", generator.slices, generator.slice_length),
                generator.samples,
                generator.features,
                format!("{}, {}", generator.weight_token, generator.sample_token),
                generator
                    .transformer_layers
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" + "),
                generator.heads,
                generator.parameters,
                generator.multiply_adds,
            ))?;
        }
    }
    tell(format!(
        "learned parameters φ             {:>12}",
        model.phi
    ))?;
    tell(format!(
        "  of which image embedding       {:>12}",
        model.image_embedding
    ))?;
    if model.training_heads > 0 {
        tell(format!(
            "  of which training heads        {:>12}",
            model.training_heads
        ))?;
    }
    tell(format!(
        "weights of the CNN               {:>12}",
        model.cnn_weights
    ))?;
    tell(format!(
        "generated per task, θ            {:>12}",
        model.theta
    ))?;
    tell(format!(
        "multiply-adds, CNN, one image    {:>12}",
        model.cnn_multiply_adds
    ))?;
    tell(format!(
        "multiply-adds, support set to θ  {:>12}",
        model.generator_multiply_adds
    ))?;
    let mebibytes = model.activation_bytes as f64 / f64::from(1 << 20);
    tell(format!(
        "activations kept per episode     {mebibytes:>12.1} MiB (estimate)"
    ))?;
    Ok(())
}

fn origin(layer: &LayerSummary) -> &'static str {
    match (layer.learned, &layer.generator) {
        (true, Some(_)) => "learned + generated",
        (false, Some(_)) => "generated",
        _ => "learned",
    }
}
