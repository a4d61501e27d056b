//! All integration tests, one module a topic.

mod analyze;
mod augmentation;
mod bench;
mod cli;
mod common;
mod config;
mod data;
mod episodes;
mod experiments;
mod export;
mod generation;
mod gpu;
mod import;
mod layout;
mod learning;
mod model;
mod outputs;
mod own_pictures;
mod parity;
mod results;
mod run_folder;
mod serve;
mod training_heads;
