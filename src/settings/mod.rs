//! The settings of an experiment as plain data with defaults. [`mod@file`] reads and validates experiment files.

pub mod augmentation;
pub mod cnn;
pub mod episode;
pub mod experiment;
pub mod file;
pub mod generated_layers;
pub mod generator;
pub mod model;
pub mod phases;
pub mod train;
mod tree;
