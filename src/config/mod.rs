//! The experiment file: typed, validated as a whole, every fault named at once.

pub mod experiment;
pub mod generated_layers;
mod load;
pub mod model_options;
pub mod train_options;
mod validate;

pub use load::{ConfigError, load, to_yaml};
