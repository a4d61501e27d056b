//! Errors that stop training.

use std::path::PathBuf;

use thiserror::Error;

use crate::base::compute::ComputeError;
use crate::pack::error::DataError;
use crate::report::ReportError;
use crate::run::assemble::AssembleError;
use crate::run::error::{CheckpointError, RunError};
use crate::train::optimizer::OptimizerError;

/// An error that stops training.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The loss or the gradient is infinite or not a number.
    #[error(
        "the {what} is not finite at step {step} (episodes {first_episode} to {last_episode}): φ is not saved, the last good checkpoint is {last_good}\nhint: try a smaller train.learning_rate or train.clip_norm"
    )]
    NotFinite {
        /// `loss`, `gradient` or `validation loss`.
        what: &'static str,
        /// The step, counted from 0.
        step: u64,
        /// First episode index of the step.
        first_episode: u64,
        /// Last episode index of the step.
        last_episode: u64,
        /// Path of the last good checkpoint, or a note that there is none.
        last_good: String,
    },
    /// The real-class head has a number of outputs that is not the number of training classes.
    #[error(
        "train.real_class_head.classes: {outputs}: expected {classes}, the number of training classes of `{pack}`"
    )]
    RealClasses {
        /// Number of outputs in the experiment.
        outputs: usize,
        /// Number of training classes of the pack.
        classes: usize,
        /// Path of the pack.
        pack: String,
    },
    /// The settings of a phase are invalid.
    #[error("{0}")]
    Phases(String),
    /// A change would move the phases of steps that are already taken.
    #[error(
        "train.steps or train.phases: the run has already taken {0} steps, expected the same phases for them\nhint: \
         change only the length of the phase that is not finished, or add phases after it"
    )]
    PhaseTaken(u64),
    /// The checkpoint that a run is to start from does not exist.
    #[error(
        "train.start_from: {}: expected a checkpoint, found no such file\nhint: train the run that it belongs to first, or name another checkpoint",
        .0.display()
    )]
    NoStart(PathBuf),
    /// The experiment and the pack do not fit together.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// Episodes cannot be drawn.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The run folder cannot be used.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The optimizer state of a checkpoint does not fit.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// Metrics cannot be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Threads could not be started, or there is no such GPU.
    #[error(transparent)]
    Compute(#[from] ComputeError),
}
