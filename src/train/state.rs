//! The state of training, which every step changes and a checkpoint holds.

use std::path::Path;

use tch::{Device, Kind};

use crate::model::hypertransformer::HyperTransformer;
use crate::model::state::ModelState;
use crate::report::averages::Averages;
use crate::run::checkpoint::{self, Checkpoint, Progress};
use crate::run::error::{CheckpointError, RunError};
use crate::run::folder::{CheckpointChoice, RunFolder};
use crate::settings::experiment::Experiment;
use crate::settings::file::to_yaml;
use crate::settings::phases::Phase;
use crate::train::error::TrainError;
use crate::train::metrics;
use crate::train::optimizer::Optimizer;

/// The state of training after some step.
pub(crate) struct State {
    /// Number of steps done.
    pub(crate) step: u64,
    /// Step and accuracy of the best validation.
    pub(crate) best: Option<(u64, f64)>,
    /// Names of the parameters that the checkpoint `train.start_from` lacked.
    pub(crate) fresh: Vec<String>,
    /// What was measured since the last line of the log.
    pub(crate) averages: Averages,
    /// Whether the log line and the validation of the last step are done, if it has them.
    pub(crate) reported: bool,
    /// φ and the moving averages.
    pub(crate) model: ModelState,
    /// The optimizer with its moments.
    pub(crate) optimizer: Optimizer,
}

impl State {
    /// The state before the first step: from `train.start_from`, or initialised.
    pub(crate) fn fresh(
        experiment: &Experiment,
        model: &HyperTransformer,
        device: Device,
    ) -> Result<State, TrainError> {
        let config = &experiment.train;
        let (tensors, fresh) = match &config.start_from {
            Some(path) => {
                checkpoint::load_start(path, model, config.seed).map_err(|error| match error {
                    CheckpointError::Missing(path) => TrainError::NoStart(path),
                    error => error.into(),
                })?
            }
            None => (model.initial_state(config.seed), Vec::new()),
        };
        let tensors = tensors.to_device(device);
        Ok(State {
            step: 0,
            best: None,
            fresh,
            averages: Averages::default(),
            reported: true,
            optimizer: Optimizer::new(config, model.layout(), &tensors.phi),
            model: tensors,
        })
    }

    /// The state in the last checkpoint of a run, or [`fresh`](Self::fresh) if the run was stopped before its first.
    pub(crate) fn resumed(
        experiment: &Experiment,
        phases: &[Phase],
        model: &HyperTransformer,
        device: Device,
        folder: &RunFolder,
    ) -> Result<State, TrainError> {
        let last = folder.checkpoint(&CheckpointChoice::Last);
        if !last.exists() {
            return match folder.any_checkpoint() {
                Some(other) => Err(RunError::LastMissing { last, other }.into()),
                None => State::fresh(experiment, model, device),
            };
        }
        let saved = checkpoint::load(&last, model)?;
        let tensors = saved.model.to_device(device);
        // The phase of the last step; the next one starts with an optimizer of its own.
        let begun = phases.iter().rev().find(|phase| phase.start < saved.step);
        let train = begun.map_or(&experiment.train, |phase| &phase.experiment.train);
        let mut optimizer = Optimizer::new(train, model.layout(), &tensors.phi);
        optimizer.load_state(&saved.optimizer)?;
        Ok(State {
            step: saved.step,
            best: saved.best,
            fresh: Vec::new(),
            averages: Averages::from_sums(saved.progress.averages, metrics::description),
            reported: !saved.progress.unreported,
            model: tensors,
            optimizer,
        })
    }

    /// Writes the state as a checkpoint, completely or not at all.
    pub(crate) fn save(
        &self,
        path: &Path,
        experiment: &Experiment,
        model: &HyperTransformer,
    ) -> Result<(), TrainError> {
        let saved = Checkpoint {
            step: self.step,
            best: self.best,
            model: self
                .model
                .map(|tensor| tensor.to_device(Device::Cpu).to_kind(Kind::Float)),
            optimizer: self.optimizer.state().into_iter().collect(),
            experiment: to_yaml(experiment),
            preparation: None,
            progress: Progress {
                averages: self.averages.sums(),
                unreported: !self.reported,
            },
        };
        checkpoint::save(path, model, &saved)?;
        Ok(())
    }
}
