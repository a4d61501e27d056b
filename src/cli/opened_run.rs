//! A run opened for reading: its experiment, pack, model and a checkpoint.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use hypertransformer::compute::Compute;
use hypertransformer::config::experiment::{Experiment, QuerySampling};
use hypertransformer::config::train_options::Precision;
use hypertransformer::data::episode_sampler::EpisodeSampler;
use hypertransformer::data::error::DataError;
use hypertransformer::data::pack::{Pack, Part};
use hypertransformer::evaluate::Trained;
use hypertransformer::model::hypertransformer::HyperTransformer;
use hypertransformer::train::run_folder::{CheckpointChoice, RunFolder};
use hypertransformer::train::{build_model, checkpoint, evaluation_sampler_with};
use tch::Tensor;

use super::ComputeArguments;

/// Which run, and where to compute.
#[derive(Args)]
pub(super) struct RunArguments {
    /// The run folder
    run: PathBuf,
    /// Checkpoint: best (by validation accuracy), last or step-N
    #[arg(long, default_value = "best")]
    checkpoint: CheckpointChoice,
    #[command(flatten)]
    compute: ComputeArguments,
}

/// What is said of a number whose queries may be support images.
pub(super) fn told_overlap(overlapping: bool) -> &'static str {
    match overlapping {
        true => ", queries overlap the support",
        false => "",
    }
}

pub(super) struct OpenedRun {
    pub(super) folder: RunFolder,
    pub(super) experiment: Experiment,
    pub(super) pack: Arc<Pack>,
    pub(super) model: HyperTransformer,
    pub(super) checkpoint: PathBuf,
    pub(super) step: u64,
    pub(super) compute: Compute,
    phi: Tensor,
    buffers: Tensor,
}

impl OpenedRun {
    pub(super) fn open(arguments: &RunArguments) -> anyhow::Result<OpenedRun> {
        let compute = arguments.compute.start(Precision::Full)?;
        let (folder, experiment) = RunFolder::open(&arguments.run)?;
        let pack = Arc::new(Pack::open(&experiment.data.pack)?);
        folder.check_pack(&pack)?;
        let model = build_model(&experiment, &pack)?;
        let checkpoint = folder.checkpoint(&arguments.checkpoint);
        let saved = checkpoint::load(&checkpoint, model.layout(), model.buffers())?;
        Ok(OpenedRun {
            phi: saved.phi.to_device(compute.device),
            buffers: saved.buffers.to_device(compute.device),
            step: saved.step,
            folder,
            experiment,
            pack,
            model,
            checkpoint,
            compute,
        })
    }

    /// Episodes of evaluation, queries among them that are support images if these overlap.
    pub(super) fn sampler(
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

    pub(super) fn trained(&self) -> Trained<'_> {
        Trained {
            model: &self.model,
            phi: &self.phi,
            buffers: &self.buffers,
        }
    }
}
