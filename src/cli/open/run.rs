//! A run, opened to read its experiment, pack, model and one checkpoint.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use hypertransformer::base::compute::Compute;
use hypertransformer::episode::sampler::EpisodeSampler;
use hypertransformer::model::hypertransformer::HyperTransformer;
use hypertransformer::model::state::ModelState;
use hypertransformer::model::trained::Trained;
use hypertransformer::pack::error::DataError;
use hypertransformer::pack::pack::Pack;
use hypertransformer::pack::part::Part;
use hypertransformer::report::console::say;
use hypertransformer::run::assemble::{build_model, evaluation_sampler_with};
use hypertransformer::run::checkpoint;
use hypertransformer::run::folder::{CONFIG, CheckpointChoice, RunFolder};
use hypertransformer::settings::episode::QuerySampling;
use hypertransformer::settings::experiment::Experiment;
use hypertransformer::settings::file::parse;
use hypertransformer::settings::train::Precision;

use crate::cli::open::pack::{PackArguments, pack_of_run};
use crate::cli::shared::ComputeArguments;

/// Options for the run and where to compute.
#[derive(Args)]
pub(in crate::cli) struct RunArguments {
    /// The run folder
    run: PathBuf,
    /// Checkpoint to load: best (by validation accuracy), last or step-N
    #[arg(long, default_value = "best")]
    checkpoint: CheckpointChoice,
    #[command(flatten)]
    pack: PackArguments,
    #[command(flatten)]
    compute: ComputeArguments,
}

/// Note on an accuracy whose queries may be support images.
pub(in crate::cli) fn overlap_note(overlapping: bool) -> &'static str {
    match overlapping {
        true => ", queries overlap the support",
        false => "",
    }
}

pub(in crate::cli) struct OpenedRun {
    pub(in crate::cli) folder: RunFolder,
    pub(in crate::cli) experiment: Experiment,
    pub(in crate::cli) pack: Arc<Pack>,
    pub(in crate::cli) model: HyperTransformer,
    pub(in crate::cli) checkpoint: PathBuf,
    pub(in crate::cli) step: u64,
    pub(in crate::cli) compute: Compute,
    state: ModelState,
}

impl OpenedRun {
    pub(in crate::cli) fn open(arguments: &RunArguments) -> anyhow::Result<OpenedRun> {
        let compute = arguments.compute.start(Precision::Full)?;
        let (folder, mut experiment) = RunFolder::open(&arguments.run)?;
        experiment.data.pack = pack_of_run(&experiment.data.pack, folder.path())?;
        let pack = Arc::new(arguments.pack.open(&experiment.data.pack)?);
        folder.check_pack(&pack)?;
        let model = build_model(&experiment, &pack)?;
        let checkpoint = folder.checkpoint(&arguments.checkpoint);
        let saved = checkpoint::load(&checkpoint, &model)?;
        let trained = parse(&saved.experiment, &checkpoint)?;
        for edit in folder.edits(&trained, &experiment)? {
            let config = arguments.run.join(CONFIG);
            say(format!(
                "warning: {} was edited since the run was trained:\n{edit}",
                config.display()
            ));
        }
        Ok(OpenedRun {
            state: saved.model.to_device(compute.device),
            step: saved.step,
            folder,
            experiment,
            pack,
            model,
            checkpoint,
            compute,
        })
    }

    /// Sampler of evaluation episodes; `overlapping` draws queries from all images, including support images.
    pub(in crate::cli) fn sampler(
        &self,
        part: Part,
        overlapping: bool,
        seed: u64,
    ) -> Result<EpisodeSampler, DataError> {
        let query_sampling = match overlapping {
            true => QuerySampling::Overlapping,
            false => QuerySampling::Balanced,
        };
        evaluation_sampler_with(&self.experiment, &self.pack, part, query_sampling, seed)
    }

    pub(in crate::cli) fn trained(&self) -> Trained<'_> {
        Trained {
            model: &self.model,
            state: &self.state,
        }
    }
}
