//! A run or a bundle, opened to write CNNs.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use hypertransformer::base::compute::Compute;
use hypertransformer::export::generation::CnnWriter;
use hypertransformer::model::hypertransformer::HyperTransformer;
use hypertransformer::model::state::ModelState;
use hypertransformer::pack::pack::Pack;
use hypertransformer::pictures::preparation::{Invert, Preparation};
use hypertransformer::run::checkpoint::{self, Checkpoint};
use hypertransformer::run::folder::{CheckpointChoice, RunFolder};
use hypertransformer::settings::cnn::BatchNormMode;
use hypertransformer::settings::experiment::Experiment;
use hypertransformer::settings::file::parse;
use hypertransformer::settings::train::Precision;

use crate::cli::open::pack::pack_of_run;
use crate::cli::shared::ComputeArguments;

/// Path of the model that comes with the program.
pub(in crate::cli) const INCLUDED_MODEL: &str = "models/omniglot-20way.safetensors";

/// The included model where it is not in the current folder: in a folder that contains the program.
fn beside_the_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let mut places = program
        .ancestors()
        .map(|folder| folder.join(INCLUDED_MODEL));
    places.find(|place| place.is_file())
}

#[derive(Args)]
pub(in crate::cli) struct WriterArguments {
    /// Checkpoint of a run folder to load: best (by validation accuracy), last or step-N
    #[arg(long, default_value = "best")]
    checkpoint: CheckpointChoice,
    /// Statistics of batch-norm [default: as in training]
    #[arg(long, value_parser = inductive())]
    batch_norm: Option<BatchNormMode>,
    /// Whether to invert light and dark. Models of ink (Omniglot) expect light strokes on a dark ground: auto inverts
    /// pictures whose border is light, as paper is. For models of photographs auto inverts nothing
    #[arg(long, value_enum, default_value = "auto")]
    invert: Invert,
    #[command(flatten)]
    compute: ComputeArguments,
}

/// Parses the modes in which queries do not influence each other. A written CNN sees one picture at a time.
fn inductive() -> impl TypedValueParser<Value = BatchNormMode> {
    let modes = [BatchNormMode::Support, BatchNormMode::Running];
    let values = modes.iter().filter_map(ValueEnum::to_possible_value);
    PossibleValuesParser::new(values).try_map(|name| BatchNormMode::from_str(&name, false))
}

pub(in crate::cli) struct OpenedWriter {
    pub(in crate::cli) writer: CnnWriter,
    pub(in crate::cli) compute: Compute,
    pub(in crate::cli) state: ModelState,
}

/// A model with its parameters, experiment and preparation of pictures.
pub(in crate::cli) struct Opened {
    pub(in crate::cli) experiment: Experiment,
    pub(in crate::cli) preparation: Preparation,
    pub(in crate::cli) model: HyperTransformer,
    pub(in crate::cli) saved: Checkpoint,
}

/// Opens a run folder and its pack, or a bundle.
pub(in crate::cli) fn open(run: &Path, choice: &CheckpointChoice) -> anyhow::Result<Opened> {
    let (experiment, preparation, file) = match run.is_file() {
        true if *choice != CheckpointChoice::Best => bail!(
            "--checkpoint: expected a run folder, but {} is a file",
            run.display()
        ),
        true => from_bundle(run)?,
        false => from_folder(run, choice)?,
    };
    let model = HyperTransformer::new(&(&experiment).into(), preparation.shape().into())?;
    let saved = checkpoint::load(&file, &model)?;
    Ok(Opened {
        experiment,
        preparation,
        model,
        saved,
    })
}

fn from_bundle(file: &Path) -> anyhow::Result<(Experiment, Preparation, PathBuf)> {
    let (experiment, preparation) = checkpoint::described(file)?;
    let Some(preparation) = preparation else {
        bail!(
            "{} is a checkpoint, which does not say how pictures are prepared\nhint: name its run folder, or make a \
             bundle with `hypertransformer bundle RUN --output FILE`",
            file.display()
        );
    };
    Ok((parse(&experiment, file)?, preparation, file.to_path_buf()))
}

fn from_folder(
    run: &Path,
    choice: &CheckpointChoice,
) -> anyhow::Result<(Experiment, Preparation, PathBuf)> {
    let (folder, experiment) = RunFolder::open(run)?;
    let needed = || {
        format!(
            "{} needs its pack, which says how pictures are prepared\nhint: use a bundle (`hypertransformer bundle`), \
             which needs no pack",
            run.display()
        )
    };
    let path = pack_of_run(&experiment.data.pack, run).with_context(needed)?;
    let pack = Pack::open(&path).with_context(needed)?;
    folder.check_pack(&pack)?;
    let preparation = Preparation::of_pack(pack.path(), pack.shape(), pack.metadata())?;
    Ok((experiment, preparation, folder.checkpoint(choice)))
}

impl OpenedWriter {
    pub(in crate::cli) fn open(
        run: &Path,
        arguments: &WriterArguments,
    ) -> anyhow::Result<OpenedWriter> {
        let compute = arguments.compute.start(Precision::Full)?;
        let elsewhere = match run == Path::new(INCLUDED_MODEL) && !run.exists() {
            true => beside_the_program(),
            false => None,
        };
        let run = elsewhere.as_deref().unwrap_or(run);
        let Opened {
            experiment,
            mut preparation,
            model,
            saved,
        } = open(run, &arguments.checkpoint)?;
        preparation.invert = arguments.invert;
        let origin = (&*run.display().to_string(), saved.step);
        let writer = CnnWriter::new(
            model,
            &experiment,
            preparation,
            arguments.batch_norm,
            origin,
        )?;
        Ok(OpenedWriter {
            state: saved.model.to_device(compute.device),
            writer,
            compute,
        })
    }
}
