//! What an experiment file says, typed: plain data with defaults. [`file`] reads and checks it.

pub mod augmentation;
pub mod cnn;
pub mod episode;
pub mod experiment;
pub mod file;
pub mod generated_layers;
pub mod generator;
pub mod train;
