//! Training: episodes → gradient → φ, with validation, checkpoints and a resume that gives the same bits.

mod error;
pub mod gradient;
mod illustrations;
mod loader;
mod masking;
mod metrics;
pub mod optimizer;
pub(crate) mod schedule;
mod state;
mod steps;
mod stopwatch;
mod training;
mod validation;

pub use error::TrainError;
pub use loader::training_loader;
pub(crate) use metrics::ACCURACY as TRAINING_ACCURACY;
pub use steps::Outcome;
pub use training::{TrainOptions, train};
