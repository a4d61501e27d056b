//! Training: episodes → gradient → φ, watched, checkpointed and resumable to the bit.

mod assemble;
pub mod checkpoint;
mod error;
pub mod gradient;
mod masking;
pub mod optimizer;
pub mod run_folder;
pub mod schedule;
mod state;
mod training;
mod window;

pub use assemble::{
    build_model, evaluation_sampler, evaluation_sampler_with, training_loader, training_sampler,
};
pub use error::TrainError;
pub use training::{Outcome, TrainOptions, train};
