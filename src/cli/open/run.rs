//! A run, opened to read its experiment, pack, model and checkpoints.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
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
use hypertransformer::run::error::RunError;
use hypertransformer::run::folder::{CONFIG, CheckpointChoice, RunFolder};
use hypertransformer::run::pack_of::find_pack;
use hypertransformer::settings::episode::QuerySampling;
use hypertransformer::settings::experiment::Experiment;
use hypertransformer::settings::file::parse;
use hypertransformer::settings::train::Precision;
use tch::Device;

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

impl RunArguments {
    /// Opens the run and the chosen checkpoint.
    pub(in crate::cli) fn open(&self) -> anyhow::Result<(Compute, OpenedRun, Loaded)> {
        let compute = self.compute.start(Precision::Full)?;
        let run = OpenedRun::open(&self.run, None, &self.pack)?;
        let loaded = run.load(&run.folder.checkpoint(&self.checkpoint), compute.device)?;
        Ok((compute, run, loaded))
    }
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
    /// What distinguishes the pack from the one that the run was trained on: images, splits, or class names and notes.
    pub(in crate::cli) pack_differs_in: Option<&'static str>,
    /// The experiment as `config.yaml` has it.
    configured: Experiment,
    /// Whether it was compared with what a checkpoint was trained with.
    is_checked: Cell<bool>,
}

/// A checkpoint.
pub(in crate::cli) struct Loaded {
    pub(in crate::cli) step: u64,
    pub(in crate::cli) state: ModelState,
}

impl OpenedRun {
    /// Opens a run with its own pack, or with `other`, which may be another data set.
    pub(in crate::cli) fn open(
        run: &Path,
        other: Option<&Path>,
        arguments: &PackArguments,
    ) -> anyhow::Result<OpenedRun> {
        let (folder, configured) = RunFolder::open(run)?;
        let mut experiment = configured.clone();
        let path = match other {
            Some(path) => path.to_path_buf(),
            None => pack_of_run(&experiment.data.pack, run)?,
        };
        let pack = Arc::new(arguments.open(&path)?);
        let pack_differs_in = match folder.check_pack(&pack) {
            Err(RunError::OtherPack { what, .. }) if other.is_some() => Some(what),
            checked => checked.map(|()| None)?,
        };
        if pack_differs_in.is_some() {
            ensure_same_size(&pack, &experiment, run)?;
            // The split of the other pack that has the same name, or else its default.
            let splits = &pack.metadata().splits;
            let split = &mut experiment.data.split;
            *split = split.take().filter(|split| splits.contains_key(split));
        }
        experiment.data.pack = path;
        let model = build_model(&experiment, &pack)?;
        Ok(OpenedRun {
            folder,
            experiment,
            pack,
            model,
            pack_differs_in,
            configured,
            is_checked: Cell::new(false),
        })
    }

    pub(in crate::cli) fn load(&self, checkpoint: &Path, device: Device) -> anyhow::Result<Loaded> {
        let saved = checkpoint::load(checkpoint, &self.model);
        let saved = match self.pack_differs_in {
            None => saved?,
            Some(_) => saved.with_context(|| {
                format!(
                    "{} cannot be evaluated on {}, whose images are {}",
                    self.folder.path().display(),
                    self.pack.path().display(),
                    self.pack.shape()
                )
            })?,
        };
        if !self.is_checked.replace(true) {
            let trained = parse(&saved.experiment, checkpoint)?;
            let config = self.folder.path().join(CONFIG);
            for edit in self.folder.edits(&trained, &self.configured)? {
                say(format!(
                    "warning: {} was edited since the run was trained:\n{edit}",
                    config.display()
                ));
            }
        }
        Ok(Loaded {
            step: saved.step,
            state: saved.model.to_device(device),
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

    pub(in crate::cli) fn trained<'a>(&'a self, loaded: &'a Loaded) -> Trained<'a> {
        Trained {
            model: &self.model,
            state: &loaded.state,
        }
    }
}

/// Checks that the images have the size that the run was trained on. If its own pack is gone, the size is not known;
/// parameters that do not fit it are found when a checkpoint is loaded.
fn ensure_same_size(pack: &Pack, experiment: &Experiment, run: &Path) -> anyhow::Result<()> {
    let own = find_pack(&experiment.data.pack, run).ok();
    let Some(own) = own.and_then(|path| Pack::open(&path).ok()) else {
        return Ok(());
    };
    ensure!(
        pack.shape() == own.shape(),
        "--pack {}: its images are {}, but {} was trained on images of {}\nhint: import it again with that size \
         (`hypertransformer data import --help`)",
        pack.path().display(),
        pack.shape(),
        run.display(),
        own.shape()
    );
    Ok(())
}
