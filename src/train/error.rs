//! Why training stops.
use std::path::PathBuf;

use thiserror::Error;

use crate::base::compute::ComputeError;
use crate::pack::error::DataError;
use crate::report::ReportError;
use crate::run::assemble::AssembleError;
use crate::run::checkpoint::CheckpointError;
use crate::run::folder::RunError;
use crate::train::optimizer::OptimizerError;

/// Why training stopped.
#[derive(Debug, Error)]
pub enum TrainError {
    /// Loss or gradient is not a number.
    #[error(
        "the {what} is not finite at step {step} (episodes {first_episode} to {last_episode}): φ is not saved; the last good checkpoint is {last_good}; try a smaller train.learning_rate or train.clip_norm"
    )]
    NotFinite {
        /// `loss` or `gradient`.
        what: &'static str,
        /// The step, from 0.
        step: u64,
        /// First episode index of the step.
        first_episode: u64,
        /// Last episode index of the step.
        last_episode: u64,
        /// Its path, or that there is none.
        last_good: String,
    },
    /// The head of real classes has another number of outputs than there are classes.
    #[error(
        "train.real_class_head.classes: {asked}: expected {classes}, the training classes of `{pack}`"
    )]
    RealClasses {
        /// What the experiment says.
        asked: usize,
        /// How many there are.
        classes: usize,
        /// The pack.
        pack: String,
    },
    /// What a run is to start from is not there.
    #[error(
        "train.start_from: {}: expected a checkpoint, and none is there: train the run that it belongs to first, or name another",
        .0.display()
    )]
    NoStart(PathBuf),
    /// The experiment and the pack do not fit together.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// Episodes cannot be drawn.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Trouble with the run's folder.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Trouble with a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The optimizer's state does not fit.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// Metrics cannot be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Threads could not be started, or a GPU is not there.
    #[error(transparent)]
    Compute(#[from] ComputeError),
}
