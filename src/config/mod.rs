//! The experiment file: typed, validated as a whole, every fault named at once.

pub mod experiment;
mod load;
mod validate;

pub use load::{ConfigError, load, to_yaml};
