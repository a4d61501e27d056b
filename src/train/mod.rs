//! Training: episodes → gradient → φ, watched, checkpointed and resumable to the bit.

pub mod checkpoint;
pub mod gradient;
pub mod optimizer;
pub mod run_folder;
pub mod schedule;
mod training;
mod window;

pub use training::{
    Outcome, TrainError, TrainOptions, build_model, evaluation_sampler, train, training_sampler,
};
