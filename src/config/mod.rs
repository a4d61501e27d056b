//! The experiment file: typed, validated as a whole, every fault named at once.

pub mod augmentation;
pub mod experiment;
mod faults;
pub mod generated_layers;
mod generator_faults;
mod load;
pub mod model_options;
pub mod train_options;
mod validate;

pub use load::{ConfigError, load, parse, to_yaml};
