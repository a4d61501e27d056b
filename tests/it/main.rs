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
mod files;
mod fuzz;
mod generation;
mod gpu;
mod import;
mod intact;
mod layout;
mod learning;
mod limits;
mod model;
mod outputs;
mod own_pictures;
mod parity;
mod run_folder;
mod serve;
mod training_heads;
