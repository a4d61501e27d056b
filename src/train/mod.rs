//! Training: episodes → gradient → φ, watched, checkpointed and resumable to the bit.

mod error;
pub mod gradient;
mod loader;
mod masking;
pub mod optimizer;
pub mod schedule;
mod state;
mod training;
mod window;

pub use error::TrainError;
pub use loader::training_loader;
pub use training::{Outcome, TrainOptions, train};
